//! TLS over a socket that is connected to the checked address: who the other side must be, and what it is shown. I/O.
//!
//! A handshake that fails is [`Trouble::TlsFailure`], but counts as an answer only if the other side spoke TLS: whoever
//! may name an endpoint must not learn what else listens there.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Fault;
use crate::domain::locks::Trouble;
use crate::observer::{Secret, Tls};

/// The authorities of the operator's system: files, which are read once.
static SYSTEM_ROOTS: OnceCell<Arc<RootCertStore>> = OnceCell::const_new();

/// A connection whose other side has proven who it is.
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    /// Whether the server asked for our certificate. It says that it doesn't like it, or that there is none, only after
    /// the handshake, by closing.
    pub(super) asked: bool,
}

/// The handshake. `host`: the server's name as it is written in the resource, or as others announce it.
pub(super) async fn secure(stream: TcpStream, host: &str, tls: &Tls) -> Result<Secured, Fault> {
    const OURS: Fault = Fault::said(Trouble::TlsFailure);
    let name = server_name(tls.server_name.as_deref().unwrap_or(host)).ok_or(OURS)?;
    let asked = Arc::new(AtomicBool::new(false));
    let identity = Identity {
        certificate: identity(tls).map_err(|_| OURS)?,
        asked: Arc::clone(&asked),
    };
    let roots = match &tls.ca {
        Some(pem) => Arc::new(authorities(pem).map_err(|_| OURS)?),
        None => system_roots().await,
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|_| OURS)?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(identity));
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| fault(&error))?;
    Ok(Secured {
        stream,
        asked: asked.load(Ordering::Relaxed),
    })
}

/// What of these settings can't be used, for people; nothing of their content is repeated.
pub(in crate::observer) fn problem(tls: &Tls) -> Option<&'static str> {
    let authorities = tls.ca.as_ref().map(authorities).transpose().err();
    authorities.or(identity(tls).err()).or_else(|| {
        let name = tls.server_name.as_deref()?;
        server_name(name)
            .is_none()
            .then_some("serverName is no name of a server")
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// IP literals stand for themselves; a name counts without the dot that makes it absolute.
fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(ServerName::from(address));
    }
    ServerName::try_from(bare.trim_end_matches('.').to_owned()).ok()
}

fn authorities(pem: &Secret) -> Result<RootCertStore, &'static str> {
    const PROBLEM: &str = "caFrom holds no certificate in PEM";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.expose().as_bytes()) {
        roots
            .add(certificate.map_err(|_| PROBLEM)?)
            .map_err(|_| PROBLEM)?;
    }
    if roots.is_empty() { Err(PROBLEM) } else { Ok(roots) }
}

fn identity(tls: &Tls) -> Result<Option<Arc<CertifiedKey>>, &'static str> {
    let Some((certificate, key)) = &tls.client else {
        return Ok(None);
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.expose().as_bytes()).collect();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or("tls.crt holds no certificate in PEM")?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| "tls.key holds no private key in PEM")?;
    CertifiedKey::from_der(chain, key, &provider())
        .map(|identity| Some(Arc::new(identity)))
        .map_err(|_| "tls.key does not belong to tls.crt, or is of an unknown kind")
}

async fn system_roots() -> Arc<RootCertStore> {
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            tracing::warn!(
                "this system has no certificate authorities: TLS without caFrom can't be verified"
            );
        }
        Arc::new(roots)
    };
    let read = || async {
        tokio::task::spawn_blocking(load)
            .await
            .unwrap_or_else(|_| Arc::new(RootCertStore::empty()))
    };
    Arc::clone(SYSTEM_ROOTS.get_or_init(read).await)
}

/// Our certificate, if there is one; notes that the server asked for it.
#[derive(Debug)]
struct Identity {
    certificate: Option<Arc<CertifiedKey>>,
    asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certificate.clone()
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}

fn fault(error: &io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(inner) = inner else {
        return Fault {
            trouble: Trouble::Unreachable,
            spoke: false,
        };
    };
    // These take at least one record of TLS that made sense.
    let spoke = matches!(
        inner,
        Error::InvalidCertificate(_)
            | Error::NoCertificatesPresented
            | Error::AlertReceived(_)
            | Error::PeerIncompatible(_)
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
    );
    Fault {
        trouble: Trouble::TlsFailure,
        spoke,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_as_they_are_written() {
        for (host, name) in [
            ("redis.shop", Some("redis.shop")),
            ("redis.example.com.", Some("redis.example.com")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("[fd00::1]", Some("fd00::1")),
            ("fd00::1", Some("fd00::1")),
            ("", None),
            ("a b", None),
        ] {
            let found = server_name(host);
            assert_eq!(
                found.as_ref().map(|found| found.to_str().into_owned()).as_deref(),
                name,
                "{host}"
            );
        }
    }

    #[test]
    fn what_is_no_pem_is_said_without_repeating_it() {
        let secret = Secret::new("hunter2");
        let good = Tls::default();
        assert_eq!(problem(&good), None);
        let bad = |tls: Tls| problem(&tls).unwrap();
        for said in [
            bad(Tls {
                ca: Some(secret.clone()),
                ..good.clone()
            }),
            bad(Tls {
                client: Some((secret.clone(), secret.clone())),
                ..good.clone()
            }),
            bad(Tls {
                server_name: Some("hunter2 ?".to_owned()),
                ..good.clone()
            }),
        ] {
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
