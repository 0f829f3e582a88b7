//! Certificates of the tests' own authorities, and a Redis or a Sentinel that shows one.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use lockstep_cluster::RedisOptions;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};

/// An authority, and what it signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For whoever is reached at 127.0.0.1.
    pub(crate) fn of_loopback(&self) -> Identity {
        self.sign(&[SanType::IpAddress(IpAddr::from(Ipv4Addr::LOCALHOST))], |_| {})
    }

    pub(crate) fn sign(&self, names: &[SanType], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::default();
        params.subject_alt_names.extend_from_slice(names);
        // A Sentinel is a server and a client in one.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What a server or a Sentinel with TLS is started with. The files are read at the start; they lie in `folder`.
pub(crate) fn options(
    folder: &Path,
    authority: &Authority,
    identity: &Identity,
    clients: &str,
) -> RedisOptions {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = write("ca.crt", &authority.pem());
    let certificate = write("tls.crt", &identity.certificate);
    let key = write("tls.key", &identity.key);
    let client = authority.of_loopback();
    let client_certificate = write("client.crt", &client.certificate);
    let client_key = write("client.key", &client.key);
    let port = free_port();
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    RedisOptions {
        port: Some(port),
        // The last setting of a name wins: no plain port, and that number for TLS.
        args: words(&[
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-replication",
            "yes",
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            clients,
        ]),
        // Whether it runs is what this client wants to know, not whom it talks to.
        cli_args: words(&[
            "--tls",
            "--insecure",
            "--cert",
            &client_certificate,
            "--key",
            &client_key,
        ]),
        ..RedisOptions::default()
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A folder that goes with the test.
pub(crate) struct Folder(std::path::PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("lockstep-tls-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
