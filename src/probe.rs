//! Asks another Lockstep's health endpoint, for images that hold neither a shell nor `curl`. I/O.
//!
//! In: a URL. Out: what was answered, or why there was no good answer within the time.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{Request, Uri};
use hyper_util::{
    client::legacy::{self, Client},
    rt::TokioExecutor,
};

/// What is read of an answer, in bytes.
const ANSWER: usize = 64 * 1024;
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// There was no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers.
    #[error("no answer: {}", cause(.0))]
    Unanswered(#[from] legacy::Error),
    /// What came is no answer.
    #[error("no answer: {0}")]
    Malformed(#[from] axum::Error),
    /// It is no URL that can be asked.
    #[error("not a URL of the form http://HOST:PORT/PATH: {0}")]
    Url(#[from] http::Error),
    /// Somebody answers, and says that all is not well.
    #[error("{status}: {words}")]
    Refused {
        /// The status code.
        status: http::StatusCode,
        /// What stood beside it.
        words: String,
    },
    /// An attempt took too long.
    #[error("no answer within {} s", ATTEMPT.as_secs())]
    Slow,
}

/// Asks until the answer is good, for `limit` and at least once.
pub async fn until_good(url: &Uri, limit: Duration) -> Result<String, Error> {
    let attempts = async {
        let mut last = attempt(url).await;
        while last.is_err() {
            tokio::time::sleep(PAUSE).await;
            last = attempt(url).await;
        }
        last
    };
    match tokio::time::timeout(limit, attempts).await {
        Ok(answer) => answer,
        // The last word is that of one more attempt, so that it says why.
        Err(_elapsed) => attempt(url).await,
    }
}

/// The client's own words say no more than that it could not connect.
fn cause(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

async fn attempt(url: &Uri) -> Result<String, Error> {
    let asked = tokio::time::timeout(ATTEMPT, async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let request = Request::get(url.clone()).body(Body::empty())?;
        let (head, body) = client.request(request).await?.into_parts();
        let words = to_bytes(Body::new(body), ANSWER).await?;
        Ok((head.status, String::from_utf8_lossy(&words).trim().to_owned()))
    });
    match asked.await.map_err(|_elapsed| Error::Slow)? {
        Ok((status, words)) if status.is_success() => Ok(words),
        Ok((status, words)) => Err(Error::Refused { status, words }),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Answers one request after the other with these status lines, and says what was asked for.
    async fn answering(lines: &'static [&'static str]) -> (Uri, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
        let server = tokio::spawn(async move {
            let mut asked = String::new();
            for line in lines {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).await.unwrap();
                asked = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let answer =
                    format!("HTTP/1.1 {line}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwords");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (url.parse().unwrap(), server)
    }

    #[tokio::test]
    async fn it_asks_for_the_path_until_the_answer_is_good() {
        let (url, server) = answering(&["503 Service Unavailable", "200 OK"]).await;
        assert_eq!(until_good(&url, Duration::from_secs(30)).await.unwrap(), "words");
        assert!(server.await.unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn the_last_answer_is_told() {
        let (url, _server) = answering(&["503 Service Unavailable", "503 Service Unavailable"]).await;
        let error = until_good(&url, Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(error.to_string(), "503 Service Unavailable: words");
    }
}
