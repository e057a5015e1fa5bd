//! `ireko serve`: the operations as a REST API.

use anyhow::{Context, Result};
use clap::Args;
use ireko_manage::server::{Doors, Tcp, Token, openapi, serve};
use std::net::SocketAddr;
use std::path::PathBuf;
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
    /// Let --listen be an address that other machines reach. HTTP hides neither token nor answers: use it only behind a proxy with TLS.
    #[arg(long, requires = "listen")]
    pub allow_remote: bool,
    /// Print the OpenAPI document instead.
    #[arg(long, exclusive = true)]
    pub openapi: bool,
}

pub fn run(args: &ServeArgs) -> Result<ExitCode> {
    if args.openapi {
        println!("{:#}", openapi::document());
        return Ok(ExitCode::SUCCESS);
    }
    let host = crate::vm::host()?;
    let own = || host.store.home().join("server/api.sock");
    let socket = std::path::absolute(args.socket.clone().unwrap_or_else(own)).context("the socket's path")?;
    let doors = Doors::new(&socket, tcp(args)?)?;
    eprintln!("ireko: listening on {}", socket.display());
    if let Some(address) = doors.address() {
        eprintln!("ireko: listening on http://{address}, with the token");
    }
    serve(Arc::new(host), doors)?;
    Ok(ExitCode::SUCCESS)
}

fn tcp(args: &ServeArgs) -> Result<Option<Tcp>> {
    let (Some(address), Some(file)) = (args.listen, &args.token_file) else { return Ok(None) };
    Ok(Some(Tcp { address, token: Token::from_file(file)?, allow_remote: args.allow_remote }))
}
