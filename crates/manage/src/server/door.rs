//! Who may come in: the owner's socket, and TCP with a token.

use super::{MOST_CONNECTIONS, ServeError, Server, connection};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::future::pending;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What a client of TCP must know.
pub struct Token(Vec<u8>);

/// Fewer characters can be guessed.
const SHORTEST: usize = 16;
const LONGEST: u64 = 4096;

impl Token {
    /// Reads the file, which must be its owner's alone; one that is not there is made, with random content.
    pub fn from_file(path: &Path) -> Result<Self, ServeError> {
        let wrong = |why: String| ServeError::Token { path: path.to_owned(), why };
        let io_error = |error: io::Error| wrong(error.to_string());
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => file.write_all(random().map_err(io_error)?.as_bytes()).map_err(io_error)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(io_error(error)),
        }
        let file = File::open(path).map_err(io_error)?;
        let meta = file.metadata().map_err(io_error)?;
        if !meta.is_file() {
            return Err(wrong("it is no file; give a file, or a name that is free".into()));
        }
        if meta.mode() & 0o077 != 0 || meta.uid() != rustix::process::geteuid().as_raw() {
            let mode = meta.mode() & 0o777;
            return Err(wrong(format!(
                "others may read it (mode {mode:04o}); make it your own with mode 0600"
            )));
        }
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).map_err(io_error)?;
        let text = text.trim();
        if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(format!(
                "it must hold one word of {SHORTEST} or more characters; remove it, and one is made"
            )));
        }
        Ok(Self(text.as_bytes().to_owned()))
    }

    /// Whether an Authorization header's value has it. Takes as long for a wrong token as for the right one.
    pub fn is_in(&self, header: &[u8]) -> bool {
        let Some((scheme, given)) = header.split_at_checked(b"Bearer ".len()) else { return false };
        let mut difference = u8::from(given.len() != self.0.len());
        for (index, byte) in self.0.iter().enumerate() {
            difference |= byte ^ std::hint::black_box(given.get(index).copied().unwrap_or(0));
        }
        scheme.eq_ignore_ascii_case(b"Bearer ") && std::hint::black_box(difference) == 0
    }
}

/// 256 bits as hexadecimal digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits + "\n")
}

/// Where to listen on TCP, and what to ask for there.
pub struct Tcp {
    pub address: SocketAddr,
    pub token: Token,
    /// Other machines may reach it.
    pub allow_remote: bool,
}

/// The ways in, already listened on.
pub struct Doors {
    socket: UnixListener,
    tcp: Option<(std::net::TcpListener, Arc<Token>)>,
}

impl Doors {
    pub fn new(socket: &Path, tcp: Option<Tcp>) -> Result<Self, ServeError> {
        let tcp = tcp.map(listen).transpose()?;
        Ok(Self { socket: bind(socket)?, tcp })
    }

    /// The address on TCP, with the port that it got.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Serves whoever comes.
    pub(super) async fn open(self, server: Arc<Server>) -> Result<(), ServeError> {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        self.socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixListener::from_std(self.socket)?;
        let tcp = match self.tcp {
            Some((listener, token)) => {
                listener.set_nonblocking(true)?;
                Some((tokio::net::TcpListener::from_std(listener)?, token))
            }
            None => None,
        };
        let (other, other_room) = (server.clone(), room.clone());
        tokio::spawn(async move {
            match tcp {
                Some((listener, token)) => accept_tcp(other, listener, token, other_room).await,
                None => pending().await,
            }
        });
        accept_unix(server, socket, room).await;
        Ok(())
    }
}

/// Out of descriptors, most likely: others must end first.
const REST: Duration = Duration::from_millis(50);

async fn accept_unix(server: Arc<Server>, listener: tokio::net::UnixListener, room: Arc<Semaphore>) {
    let own = rustix::process::geteuid().as_raw();
    while let Ok(permit) = room.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        // The socket's mode keeps others out; this does, too, where somebody has changed it. Root may do anything anyway.
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
            continue;
        }
        let server = server.clone();
        tokio::spawn(async move {
            connection(server, stream, None).await;
            drop(permit);
        });
    }
}

async fn accept_tcp(
    server: Arc<Server>,
    listener: tokio::net::TcpListener,
    token: Arc<Token>,
    room: Arc<Semaphore>,
) {
    while let Ok(permit) = room.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (server, token) = (server.clone(), token.clone());
        tokio::spawn(async move {
            connection(server, stream, Some(token)).await;
            drop(permit);
        });
    }
}

fn listen(tcp: Tcp) -> Result<(std::net::TcpListener, Arc<Token>), ServeError> {
    let address = tcp.address;
    if !address.ip().is_loopback() && !tcp.allow_remote {
        return Err(ServeError::Remote(address));
    }
    let listener =
        std::net::TcpListener::bind(address).map_err(|source| ServeError::Listen { address, source })?;
    Ok((listener, Arc::new(tcp.token)))
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
        let nursery = place.join(format!(".serve-{}-{}", std::process::id(), crate::Guid::random()?));
        DirBuilder::new().mode(0o700).create(&nursery)?;
        let bound = bind_in(&nursery, path);
        let _ = fs::remove_dir_all(&nursery);
        bound
    };
    made().map_err(|source| ServeError::Socket { path: path.to_owned(), source })
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Through the directory's descriptor: a socket's path may have 107 bytes only.
fn bind_in(nursery: &Path, path: &Path) -> io::Result<UnixListener> {
    let opened = File::open(nursery)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/socket", opened.as_raw_fd()))?;
    let fresh = nursery.join("socket");
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
