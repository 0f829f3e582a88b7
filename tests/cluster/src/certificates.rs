//! The certificates of one cluster: an authority of its own and what it signed.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::Error;
use crate::error::IoContext;

/// An authority that lives as long as its cluster.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM files.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes a new authority; its files and those of its identities lie in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).while_trying("create", folder)?;
        let make = || {
            let mut params = parameters("lockstep-cluster", None);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        let issuer = make().map_err(|source| failed("the authority", source))?;
        let authority = Self {
            folder: folder.to_owned(),
            issuer,
        };
        write_private(&authority.certificate(), &authority.issuer.pem())?;
        Ok(authority)
    }

    /// The certificate that signs all others.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// An identity of a server that is reached under these addresses.
    pub(crate) fn server(&self, name: &str, addresses: &[IpAddr], names: &[&str]) -> Result<Identity, Error> {
        let mut params = parameters(name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params
            .subject_alt_names
            .extend(addresses.iter().copied().map(rcgen::SanType::IpAddress));
        for name in names {
            let name = (*name).try_into().map_err(|source| failed(name, source))?;
            params.subject_alt_names.push(rcgen::SanType::DnsName(name));
        }
        self.sign(name, &params)
    }

    /// An identity of a client, as Kubernetes reads it: user and group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Error> {
        let mut params = parameters(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(user, &params)
    }

    fn sign(&self, name: &str, params: &CertificateParams) -> Result<Identity, Error> {
        let key = KeyPair::generate().map_err(|source| failed(name, source))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|source| failed(name, source))?;
        let file = |extension: &str| {
            self.folder
                .join(format!("{}.{extension}", name.replace(':', "-")))
        };
        let identity = Identity {
            certificate: file("crt"),
            key: file("key"),
        };
        write_private(&identity.certificate, &certificate.pem())?;
        write_private(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }

    /// A bare key pair, for the tokens of service accounts: the certificate is the public key here.
    pub(crate) fn service_account_keys(&self) -> Result<Identity, Error> {
        let key = KeyPair::generate().map_err(|source| failed("service accounts", source))?;
        let file = |name: &str| self.folder.join(name);
        let identity = Identity {
            certificate: file("service-account.pub"),
            key: file("service-account.key"),
        };
        write_private(&identity.certificate, &key.public_key_pem())?;
        write_private(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }

    /// Writes a kubeconfig that holds the identity itself, so that the file can be copied elsewhere.
    pub(crate) fn kubeconfig(&self, path: &Path, server: &str, identity: &Identity) -> Result<(), Error> {
        let data = |path: &Path| -> Result<String, Error> {
            Ok(STANDARD.encode(std::fs::read(path).while_trying("read", path)?))
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lockstep", "cluster": {
                "server": server,
                "certificate-authority-data": data(&self.certificate())?,
            }}],
            "users": [{"name": "lockstep", "user": {
                "client-certificate-data": data(&identity.certificate)?,
                "client-key-data": data(&identity.key)?,
            }}],
            "contexts": [{"name": "lockstep", "context": {"cluster": "lockstep", "user": "lockstep"}}],
            "current-context": "lockstep",
        });
        // JSON is YAML.
        write_private(path, &format!("{config:#}\n"))
    }
}

fn parameters(user: &str, group: Option<&str>) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params
}

fn failed(subject: &str, source: rcgen::Error) -> Error {
    Error::Certificate {
        subject: subject.to_owned(),
        source,
    }
}

/// Writes a file that only this user can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .while_trying("write", path)
}
