//! The REST API: the operations over HTTP, on a Unix socket and, when asked for, on TCP with a token.
//!
//! The two bindings share nothing that could run out: each has its thread, its limit, its operations and its listeners to events.
//! So nobody on TCP, let in or not, keeps the owner waiting at the socket.
//!
//! A request's path finds the operation (`route`), its query or JSON body become arguments (`input`), and records,
//! warnings and errors go back as JSON (`reply`, `problem`). The server keeps nothing: VMs are in the store and run in
//! workers, so nothing stops when it stops.

mod admission;
mod answer;
mod bindings;
mod connections;
mod events;
mod input;
pub mod openapi;
mod patience;
mod problem;
mod reply;
mod route;
#[cfg(test)]
mod tests;
mod tls;
mod token;

pub use admission::host_name;
pub use bindings::{Bindings, Tcp};
pub use tls::Tls;
pub use token::Token;

use crate::host::Host;
use admission::Admission;
use connections::Slot;
use events::Events;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use patience::{Pace, Patient};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::Instant;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the socket {} cannot be made: {why}", path.display())]
    Socket { path: PathBuf, why: io::Error },
    #[error("another server answers on {}; stop it, or give another --socket", .0.display())]
    Taken(PathBuf),
    #[error("the address {address} cannot be listened on: {why}")]
    Listen { address: SocketAddr, why: io::Error },
    #[error(
        "{0} can be reached from other machines and HTTP hides nothing on its way; say --tls (or give a certificate with --tls-certificate and --tls-key), or listen on 127.0.0.1"
    )]
    Remote(SocketAddr),
    #[error("the token file {}: {why}", path.display())]
    Token { path: PathBuf, why: String },
    #[error("the certificate {}: {why}", path.display())]
    Tls { path: PathBuf, why: String },
    #[error("the server cannot run: {0}")]
    Run(#[from] io::Error),
}

/// Operations at once at a binding; more wait, and not for ever.
const MOST_OPERATIONS: usize = 32;
/// For the next request of a connection.
const IDLE_PATIENCE: Duration = Duration::from_secs(30);

/// What requests at one binding share.
struct Server {
    host: Arc<Host>,
    admission: Admission,
    events: Events,
    operations: Arc<Semaphore>,
}

impl Server {
    fn new(host: Arc<Host>, admission: Admission) -> Arc<Self> {
        let operations = Arc::new(Semaphore::new(MOST_OPERATIONS));
        Arc::new(Self { events: Events::new(host.clone()), host, admission, operations })
    }
}

/// Answers until the process ends. The error is why it could not begin.
pub fn serve(host: Arc<Host>, bindings: Bindings) -> Result<(), ServeError> {
    bindings.open(host)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(MOST_OPERATIONS + 8).build()
}

/// One connection to its end: its own, or that of the server's patience, or another's need of its place. A connection that
/// breaks concerns nobody else.
async fn connection(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    place: Slot,
    head_until: Instant,
) {
    let pace = Arc::new(Pace::default());
    let stream = Patient::new(stream, pace.clone(), head_until);
    let service = service_fn(|request| answer::answer(server.clone(), &place, &pace, request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_PATIENCE)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    let _ = place.unless_lost(served).await;
}
