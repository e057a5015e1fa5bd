//! TLS for TCP: a certificate that was given, or one of our own making that clients know by its fingerprint.

use super::{ServeError, host_name};
use crate::place;
use crate::store::atomic;
use std::fs::DirBuilder;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::TLS13;

/// What a server shows of itself.
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    certificate: PathBuf,
    fingerprint: String,
}

/// Certificates with their chain; no file of ours is larger.
const LONGEST: u64 = 1 << 20;

impl Tls {
    /// From PEM files: the certificate with its chain, and the key, which must be its owner's alone.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, ServeError> {
        let wrong = |path: &Path, why: String| ServeError::Tls { path: path.to_owned(), why };
        let text = atomic::read(certificate).map_err(|error| wrong(certificate, error.to_string()))?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(certificate, format!("it is no certificate in PEM: {error}")))?;
        let first = chain.first().ok_or_else(|| wrong(certificate, "it has no certificate".into()))?;
        let fingerprint = fingerprint(first);
        let mut secret = Vec::new();
        let opened = place::open_secret(key).map_err(|why| wrong(key, why))?;
        opened.take(LONGEST).read_to_end(&mut secret).map_err(|error| wrong(key, error.to_string()))?;
        let secret = PrivateKeyDer::from_pem_slice(&secret)
            .map_err(|error| wrong(key, format!("it is no private key in PEM: {error}")))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
            .map_err(|error| wrong(certificate, error.to_string()))?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, certificate: certificate.to_owned(), fingerprint })
    }

    /// From the directory, where they are made when there are none. They stay, so that who has seen the fingerprint once
    /// knows the server again.
    pub fn own(directory: &Path, names: Vec<String>) -> Result<Self, ServeError> {
        let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
        if !certificate.exists() || !key.exists() {
            make(&certificate, &key, names)
                .map_err(|why| ServeError::Tls { path: certificate.clone(), why })?;
        }
        Self::from_files(&certificate, &key)
    }

    /// The certificate's file, for clients that take one as their authority.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }
    /// SHA-256 of the certificate, as browsers and `openssl x509 -fingerprint` show it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

fn make(certificate: &Path, key: &Path, names: Vec<String>) -> Result<(), String> {
    let pair = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
    let mut parameters = rcgen::CertificateParams::new(names).map_err(|error| error.to_string())?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("Ireko on {}", host_name()));
    let made = parameters.self_signed(&pair).map_err(|error| error.to_string())?;
    let directory = certificate.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| error.to_string())?;
    let write =
        |path: &Path, text: String| atomic::write(path, text.as_bytes()).map_err(|error| error.to_string());
    write(key, pair.serialize_pem())?;
    write(certificate, made.pem())
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
