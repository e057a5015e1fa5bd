//! The REST API: the operations over HTTP, on a Unix socket and, when asked for, on TCP with a token.
//!
//! A request's path finds the operation ([`route`]), its query or JSON body become arguments ([`input`]), and records,
//! warnings and errors go back as JSON ([`reply`], [`problem`]). The server keeps nothing: VMs are in the store and run in
//! workers, so nothing stops when it stops.

mod answer;
mod door;
mod events;
mod input;
pub mod openapi;
mod problem;
mod reply;
mod route;
#[cfg(test)]
mod tests;

pub use door::{Doors, Tcp, Token};

use crate::host::Host;
use events::Events;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the socket {} cannot be made: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("another server answers on {}; stop it, or give another --socket", .0.display())]
    Taken(PathBuf),
    #[error("the address {address} cannot be listened on: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(
        "{0} can be reached from other machines and HTTP hides nothing on its way; listen on 127.0.0.1, or say --allow-remote"
    )]
    Remote(SocketAddr),
    #[error("the token file {}: {why}", path.display())]
    Token { path: PathBuf, why: String },
    #[error("the server cannot run: {0}")]
    Run(#[from] io::Error),
}

/// Connections at once; more wait.
const MOST_CONNECTIONS: usize = 256;
/// Operations at once; more wait, and not for ever.
const MOST_OPERATIONS: usize = 32;
/// For a request's head, and for the next request of a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// What requests share.
struct Server {
    host: Arc<Host>,
    events: Events,
    operations: Arc<Semaphore>,
}

/// Answers until the process ends. The error is why it could not begin.
pub fn serve(host: Arc<Host>, doors: Doors) -> Result<(), ServeError> {
    let server = Arc::new(Server {
        events: Events::new(host.clone()),
        host,
        operations: Arc::new(Semaphore::new(MOST_OPERATIONS)),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST_OPERATIONS + 8)
        .build()?;
    runtime.block_on(doors.open(server))
}

/// One connection to its end. A connection that breaks concerns nobody else.
async fn connection(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    token: Option<Arc<Token>>,
) {
    let service = service_fn(|request| answer::answer(server.clone(), token.clone(), request));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
