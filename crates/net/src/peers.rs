//! The other ports of a switch, each with a socket that is connected to it: a frame looks up no name. The directory is looked
//! at only when the kernel says that it has changed.

use crate::frame::Mac;
use crate::role::{self, Role};
use crate::switch::path;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A receiver that takes nothing for so long loses a frame.
const SEND_PATIENCE: Duration = Duration::from_millis(2);
/// More ports than this hear nothing from here.
const MOST: usize = 512;
/// Where the kernel tells nothing (too many are told already), the directory is looked at so often.
const UNTOLD: Duration = Duration::from_millis(100);

/// What a port is known by: in front of every frame that it sends. From its name (FNV-1a), so that a listing tells it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u64);

impl Id {
    pub const SIZE: usize = 8;

    pub fn of(name: &str) -> Self {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }
    pub fn bytes(self) -> [u8; Self::SIZE] {
        self.0.to_le_bytes()
    }
    pub fn read(bytes: [u8; Self::SIZE]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }
    /// Of nobody: a copy, from which nobody learns.
    pub const COPY: Self = Self(0);
}

#[derive(Debug)]
pub struct Peer {
    pub id: Id,
    pub role: Role,
    name: String,
    socket: UnixDatagram,
}

impl Peer {
    fn connect(ports: &Path, directory: &File, name: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path(directory, ports, name))?;
        socket.set_write_timeout(Some(SEND_PATIENCE))?;
        Ok(Self { id: Id::of(name), role: Role::of(name), name: name.to_owned(), socket })
    }

    /// The label in its name.
    pub fn label(&self) -> &str {
        role::label(&self.name)
    }

    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.send(datagram)
    }

    /// The same, without a wait for room.
    pub fn try_send(&self, datagram: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.socket, datagram, SendFlags::DONTWAIT)?)
    }

    /// Writable when there is room.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where the kernel says that the directory has changed, and since when nobody has looked where it cannot.
#[derive(Debug)]
enum News {
    Told(OwnedFd),
    Untold(Option<Instant>),
}

impl News {
    fn of(ports: &Path) -> Self {
        let told = || {
            let news = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let changes = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_TO;
            let changes = changes | WatchFlags::MOVED_FROM | WatchFlags::DELETE_SELF;
            // A port is there before others may send to it.
            inotify::add_watch(&news, ports, changes | WatchFlags::ATTRIB)?;
            Ok::<_, Errno>(news)
        };
        told().map_or(Self::Untold(None), Self::Told)
    }

    fn any(&mut self) -> bool {
        match self {
            Self::Told(news) => {
                let (mut any, mut words) = (false, [0; 4096]);
                while rustix::io::read(&*news, &mut words).is_ok_and(|count| count > 0) {
                    any = true;
                }
                any
            }
            Self::Untold(since) => {
                let old = since.is_none_or(|since| since.elapsed() >= UNTOLD);
                if old {
                    *since = Some(Instant::now());
                }
                old
            }
        }
    }
}

#[derive(Debug)]
pub struct Peers {
    news: News,
    known: Arc<[Arc<Peer>]>,
    /// Those of them that hear what others hear.
    watchers: Arc<Watchers>,
    /// Our own port is there.
    present: bool,
    looked: bool,
}

/// Ports that hear what others hear.
#[derive(Debug, Default)]
pub struct Watchers {
    /// Everything on the switch.
    pub captures: Vec<Arc<Peer>>,
    /// What is mirrored.
    pub mirrors: Vec<Arc<Peer>>,
}

impl Watchers {
    fn of(peers: &[Arc<Peer>]) -> Self {
        let all = |kind| peers.iter().filter(|peer| peer.role.kind == kind).cloned().collect();
        Self { captures: all(role::Kind::Capture), mirrors: all(role::Kind::Mirror) }
    }
}

impl Peers {
    pub fn new(ports: &Path) -> Self {
        let (known, watchers) = (Arc::new([]), Arc::default());
        Self { news: News::of(ports), known, watchers, present: true, looked: false }
    }

    /// All others, as they were when it was last looked.
    pub fn all(&self) -> Arc<[Arc<Peer>]> {
        self.known.clone()
    }

    pub fn watchers(&self) -> Arc<Watchers> {
        self.watchers.clone()
    }

    /// Addresses that ports were given.
    pub fn given(&self) -> impl Iterator<Item = (Mac, Id)> {
        self.known.iter().filter_map(|peer| Some((peer.role.mac?, peer.id)))
    }

    /// One of those that were there when it was last looked.
    pub fn known(&self, id: Id) -> Option<Arc<Peer>> {
        self.known.iter().find(|peer| peer.id == id).cloned()
    }

    /// Whether our own port was there.
    pub fn present(&self) -> bool {
        self.present
    }

    /// Whether somebody has to look before anything else is believed. Needs no names.
    pub fn stale(&mut self) -> bool {
        if self.news.any() {
            self.looked = false;
        }
        !self.looked
    }

    /// Looks, unless somebody else has by now.
    pub fn look(&mut self, ports: &Path, directory: &File, own: &str) {
        if !self.stale() {
            return;
        }
        self.looked = true;
        let entries = fs::read_dir(ports).into_iter().flatten().flatten();
        let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        self.present = names.iter().any(|name| name == own);
        let others = names.iter().filter(|name| *name != own).take(MOST);
        let known: Vec<Arc<Peer>> = others.filter_map(|name| self.peer(ports, directory, name)).collect();
        self.watchers = Arc::new(Watchers::of(&known));
        self.known = known.into();
    }

    /// Those that stay keep their sockets.
    fn peer(&self, ports: &Path, directory: &File, name: &str) -> Option<Arc<Peer>> {
        if let Some(known) = self.known.iter().find(|peer| peer.name == name) {
            return Some(known.clone());
        }
        match Peer::connect(ports, directory, name) {
            // Its process is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = fs::remove_file(ports.join(name));
                None
            }
            other => other.ok().map(Arc::new),
        }
    }

    /// That port's process is gone. Should its name be another's by now, it is known anew by the next look.
    pub fn bury(&mut self, ports: &Path, directory: &File, id: Id) {
        let known = self.known.clone();
        for peer in known.iter().filter(|peer| peer.id == id) {
            self.known = known.iter().filter(|other| other.id != id).cloned().collect();
            self.watchers = Arc::new(Watchers::of(&self.known));
            self.looked = false;
            let _ = self.peer(ports, directory, &peer.name);
        }
    }
}
