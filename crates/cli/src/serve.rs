//! `ireko serve`: the operations as a REST API.

use crate::{out, say};
use anyhow::{Context, Result};
use clap::Args;
use ireko_manage::host_start;
use ireko_manage::server::{Bindings, Tcp, Tls, Token, openapi, serve};
use ireko_manage::store::Config;
use ireko_manage::{Answer, Host};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// HTTP/1.1 with JSON: the operations of `ireko vm` at the paths of /openapi.json, and events as a stream at /events.
/// Virtual machines go on when the server stops.
#[derive(Args)]
pub struct ServeArgs {
    /// The Unix socket; without this, server/api.sock in the directory of the virtual machines. Only its owner may use it.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Also listen on TCP, like 127.0.0.1:8006. Clients must send the token.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "token_file")]
    pub listen: Option<SocketAddr>,
    /// The file with the token (mode 0600); if there is none it is made, with a random one.
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub token_file: Option<PathBuf>,
    /// Speak TLS on --listen, with a certificate made on first use and told by its fingerprint. Needed for addresses that other
    /// machines reach.
    #[arg(long, requires = "listen")]
    pub tls: bool,
    /// Speak TLS with this certificate (PEM, with its chain).
    #[arg(long, value_name = "FILE", requires = "listen", requires = "tls_key", conflicts_with = "tls")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM, mode 0600).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// A name under which clients reach --listen, beside localhost, this machine's name and addresses; may be repeated.
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub name: Vec<String>,
    /// Print the OpenAPI document instead.
    #[arg(long, exclusive = true)]
    pub openapi: bool,
    /// Print a unit for systemd instead, by which this server runs from each start of the host on, and starts what is to start with it.
    #[arg(long, exclusive = true)]
    pub unit: bool,
}

pub fn run(args: &ServeArgs) -> Result<ExitCode> {
    if args.openapi {
        out!("{:#}", openapi::document())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.unit {
        out!("{}", crate::unit::of_this_program()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let host = crate::vm::host()?;
    let own = || host.store.home().join("server/api.sock");
    let socket = std::path::absolute(args.socket.clone().unwrap_or_else(own)).context("the socket's path")?;
    let tcp = tcp(args, &host.store.home().join("server"))?;
    let shown = tcp.as_ref().and_then(|tcp| tcp.tls.as_ref()).map(shown);
    let bindings = Bindings::new(&socket, tcp)?;
    say!("ireko: listening on {}", socket.display());
    match (bindings.address(), shown) {
        (Some(address), Some(tls)) => say!("ireko: listening on https://{address}, with the token; {tls}"),
        (Some(address), None) => say!("ireko: listening on http://{address}, with the token"),
        (None, _) => (),
    }
    let host = Arc::new(host);
    let own = host.clone();
    std::thread::spawn(move || start_with_host(&own));
    serve(host, bindings)?;
    Ok(ExitCode::SUCCESS)
}

/// Machines that start when the host has started.
fn start_with_host(host: &Host) {
    let told = |config: &Config, answer: &Answer| match answer.errors.first() {
        Some(failure) => say!("ireko: {}", failure.message),
        None => say!("ireko: '{}' starts with the host", config.name),
    };
    if let Err(failure) = host_start::waiting(host).and_then(|waiting| waiting.start(told)) {
        say!("ireko: what starts with the host is not known any more: {}", failure.message);
    }
}

fn shown(tls: &Tls) -> String {
    format!("certificate {}, SHA-256 fingerprint {}", tls.certificate().display(), tls.fingerprint())
}

fn tcp(args: &ServeArgs, directory: &Path) -> Result<Option<Tcp>> {
    let (Some(address), Some(file)) = (args.listen, &args.token_file) else { return Ok(None) };
    let tls = match (&args.tls_certificate, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::from_files(certificate, key)?),
        _ if args.tls => Some(Tls::own(directory, names(address, &args.name))?),
        _ => None,
    };
    Ok(Some(Tcp { address, token: Token::from_file(file)?, tls, names: args.name.clone() }))
}

/// What a certificate of our own is for.
fn names(address: SocketAddr, given: &[String]) -> Vec<String> {
    let host = ireko_manage::server::host_name();
    let fixed = ["localhost".to_owned(), "127.0.0.1".into(), "::1".into(), host];
    let ip = address.ip();
    let listened = (!ip.is_unspecified() && !ip.is_loopback()).then(|| ip.to_string());
    fixed.into_iter().chain(listened).chain(given.iter().cloned()).collect()
}
