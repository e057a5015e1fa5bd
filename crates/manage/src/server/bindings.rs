//! Who may come in: the owner's socket, and TCP with a token.

use super::admission::Admission;
use super::connections::{ConnectionLimit, Peer, Slot};
use super::patience::HEAD_PATIENCE;
use super::{ServeError, Server, Tls, Token, connection, runtime};
use crate::host::Host;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

/// Where to listen on TCP, and what to ask for there.
pub struct Tcp {
    pub address: SocketAddr,
    pub token: Token,
    /// Without it, only this machine's own addresses are listened on.
    pub tls: Option<Tls>,
    /// Names of this server, beside those that it knows itself.
    pub names: Vec<String>,
}

/// The ways in, already listened on.
pub struct Bindings {
    socket: UnixListener,
    tcp: Option<TcpBinding>,
}

struct TcpBinding {
    listener: std::net::TcpListener,
    admission: Admission,
    tls: Option<TlsAcceptor>,
}

/// Connections of a binding and of one peer; a quarter of the descriptors at most.
const MOST_ON_SOCKET: (usize, usize) = (128, 96);
const MOST_ON_TCP: (usize, usize) = (256, 64);

impl Bindings {
    pub fn new(socket: &Path, tcp: Option<Tcp>) -> Result<Self, ServeError> {
        let tcp = tcp.map(listen).transpose()?;
        Ok(Self { socket: bind(socket)?, tcp })
    }

    /// The address on TCP, with the port that it got.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.listener.local_addr().ok())
    }

    /// Serves whoever comes, each binding on a thread of its own.
    pub(super) fn open(self, host: Arc<Host>) -> Result<(), ServeError> {
        if let Some(tcp) = self.tcp {
            tcp.listener.set_nonblocking(true)?;
            let (server, runtime) = (Server::new(host.clone(), tcp.admission), runtime()?);
            let listener = {
                let _inside = runtime.enter();
                tokio::net::TcpListener::from_std(tcp.listener)?
            };
            let serve = move || runtime.block_on(accept_tcp(server, listener, tcp.tls));
            std::thread::Builder::new().name("tcp".into()).spawn(serve)?;
        }
        self.socket.set_nonblocking(true)?;
        let (server, runtime) = (Server::new(host, Admission::default()), runtime()?);
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(self.socket)?;
            accept_unix(server, listener).await;
            Ok(())
        })
    }
}

fn limit((most, most_of_a_peer): (usize, usize)) -> Arc<ConnectionLimit> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 4).unwrap_or(usize::MAX)).max(1);
    ConnectionLimit::new(most.min(quarter), most_of_a_peer.min(quarter))
}

/// Out of descriptors, most likely: others must end first.
const REST: Duration = Duration::from_millis(50);

async fn accept_unix(server: Arc<Server>, listener: tokio::net::UnixListener) {
    let (limit, own) = (limit(MOST_ON_SOCKET), rustix::process::geteuid().as_raw());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        // The socket's mode keeps others out; this does, too, where somebody has changed it. Root may do anything anyway.
        let user = stream.peer_cred().ok().map(|peer| peer.uid()).filter(|&user| user == own || user == 0);
        let Some(place) = user.and_then(|user| limit.enter(Peer::User(user))) else { continue };
        tokio::spawn(connection(server.clone(), stream, place, Instant::now() + HEAD_PATIENCE));
    }
}

async fn accept_tcp(server: Arc<Server>, listener: tokio::net::TcpListener, tls: Option<TlsAcceptor>) {
    let limit = limit(MOST_ON_TCP);
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let Some(place) = limit.enter(Peer::at(address.ip())) else { continue };
        let _ = stream.set_nodelay(true);
        let (server, until) = (server.clone(), Instant::now() + HEAD_PATIENCE);
        match tls.clone() {
            None => drop(tokio::spawn(connection(server, stream, place, until))),
            Some(tls) => drop(tokio::spawn(secured(server, stream, place, until, tls))),
        }
    }
}

/// The handshake is part of the first head's time.
async fn secured(server: Arc<Server>, stream: TcpStream, place: Slot, until: Instant, tls: TlsAcceptor) {
    let secured = place.unless_lost(timeout_at(until, tls.accept(stream))).await;
    if let Some(Ok(Ok(stream))) = secured {
        connection(server, stream, place, until).await;
    }
}

fn listen(tcp: Tcp) -> Result<TcpBinding, ServeError> {
    let address = tcp.address;
    if !address.ip().to_canonical().is_loopback() && tcp.tls.is_none() {
        return Err(ServeError::Remote(address));
    }
    let listener = std::net::TcpListener::bind(address).map_err(|why| ServeError::Listen { address, why })?;
    let admission = Admission::tcp(tcp.token, &tcp.names, tcp.tls.is_some());
    Ok(TcpBinding { listener, admission, tls: tcp.tls.map(|tls| tls.acceptor) })
}

/// A socket that is its owner's alone from its first moment on: it is made in a directory of its own, and moved.
fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    if connect(path).is_ok() {
        return Err(ServeError::Taken(path.to_owned()));
    }
    let made = || -> io::Result<UnixListener> {
        let place = directory_of(path);
        if !place.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(place)?;
        }
        if fs::symlink_metadata(path)
            .is_ok_and(|meta| !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()))
        {
            return Err(io::Error::other("something that is no socket is there; move it away"));
        }
        let staging = place.join(format!(".serve-{}-{}", std::process::id(), crate::Guid::random()?));
        DirBuilder::new().mode(0o700).create(&staging)?;
        let bound = bind_in(&staging, path);
        let _ = fs::remove_dir_all(&staging);
        bound
    };
    made().map_err(|why| ServeError::Socket { path: path.to_owned(), why })
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Through the directory's descriptor: a socket's path may have 107 bytes only.
fn bind_in(staging: &Path, path: &Path) -> io::Result<UnixListener> {
    let opened = File::open(staging)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/socket", opened.as_raw_fd()))?;
    let fresh = staging.join("socket");
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}

/// As [`bind_in`], for clients.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let opened = File::open(directory_of(path))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))
}
