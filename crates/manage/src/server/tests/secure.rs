//! TCP with TLS.

use super::*;
use crate::server::Tls;
use std::path::Path;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A client that trusts this certificate and no other.
fn ask(live: &Live, certificate: &Path) -> std::io::Result<String> {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(live.address.unwrap())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(connection, stream);
    let token = format!("Authorization: Bearer {}", live.token);
    stream.write_all(
        format!("GET /host HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn who_knows_the_certificate_gets_an_answer_and_who_does_not_trusts_nobody() {
    let (live, other) = (Live::secured(), Scratch::new());
    assert_eq!(status(&ask(&live, &live.scratch.path().join("server/tls.crt")).unwrap()), 200);
    Tls::own(other.path(), vec!["localhost".into()]).unwrap();
    assert!(ask(&live, &other.path().join("tls.crt")).is_err());
}

#[test]
fn http_in_the_clear_gets_no_answer_there() {
    assert_eq!(status(&Live::secured().over_tcp("")), 0);
}

#[test]
fn a_certificate_of_our_own_stays_and_its_key_is_secret() {
    let scratch = Scratch::new();
    let fingerprint = || {
        let tls = Tls::own(scratch.path(), vec!["localhost".into()]).unwrap();
        tls.fingerprint().to_owned()
    };
    let first = fingerprint();
    assert_eq!((first.len(), &first), (32 * 3 - 1, &fingerprint()));
    let mode = std::fs::metadata(scratch.path().join("tls.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
}

#[test]
fn what_is_no_certificate_or_no_secret_is_refused_with_its_name() {
    let scratch = Scratch::new();
    Tls::own(scratch.path(), vec!["localhost".into()]).unwrap();
    let (certificate, key) = (scratch.path().join("tls.crt"), scratch.path().join("tls.key"));
    let why = |certificate: &Path, key: &Path| Tls::from_files(certificate, key).err().unwrap().to_string();
    assert!(why(&key, &key).contains("no certificate"));
    let open = scratch.path().join("open.key");
    std::fs::write(&open, std::fs::read(&key).unwrap()).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(why(&certificate, &open).contains("open.key: others may read it (mode 0644)"));
}
