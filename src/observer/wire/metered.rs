//! A socket that hands over only so much between two answers. The Redis client keeps a reply in memory until it is
//! whole, whatever its size; who may name an endpoint must not be able to fill our memory with one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may come between two answers: a batch of the largest values is 2 MiB, invalidations of 20,000 long key names
/// that come meanwhile are 10 MiB.
const ALLOWANCE: usize = 32 << 20;

/// Bytes that may still come; cloned by whoever sees the answers.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(ALLOWANCE)))
    }

    /// An answer came: it starts anew.
    pub(super) fn renew(&self) {
        self.0.store(ALLOWANCE, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            })
            .map(drop)
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
    }
}

/// The socket.
pub(super) struct Metered<S> {
    stream: S,
    allowance: Allowance,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, allowance: Allowance) -> Self {
        Self { stream, allowance }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.allowance.take(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn an_endless_reply_ends_the_connection_and_answers_renew_the_allowance() {
        let allowance = Allowance::new();
        let mut socket = Metered::new(
            tokio::io::join(tokio::io::repeat(b'x'), tokio::io::sink()),
            allowance.clone(),
        );
        let mut chunk = vec![0; ALLOWANCE / 2];
        socket.read_exact(&mut chunk).await.unwrap();
        allowance.renew();
        socket.read_exact(&mut chunk).await.unwrap();
        socket.read_exact(&mut chunk).await.unwrap();
        assert_eq!(
            socket.read_exact(&mut chunk).await.unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
