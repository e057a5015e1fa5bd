//! One port of a switch: a datagram socket in the switch's directory. A datagram is a frame.

use crate::frame::{Frame, is_group};
use crate::learned::Learned;
use crate::peers::{Id, Peer, Peers};
use ireko_vmcore::Broker;
use ireko_vmcore::port::LONGEST_FRAME;
use rustix::net::RecvFlags;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A receiver that took nothing loses what comes within this time after it: its sender is not to wait for every frame.
const BACKOFF: Duration = Duration::from_millis(100);

/// A byte more than the longest tells what is longer.
const DATAGRAM: usize = Id::SIZE + LONGEST_FRAME + 1;
/// unix(7): `sun_path` without the zero at its end.
const LONGEST_NAME: usize = 107;

/// Ports of this process are told apart by a number.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The place of a switch's ports, made if need be.
pub fn make(ports: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(ports)
}

/// A name that no port has had: others know one by its name, also a little longer than it is there.
fn name(label: &str) -> io::Result<String> {
    let mut random = [0; 4];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{label}.{number}.{:08x}", u32::from_ne_bytes(random)))
}

/// Removes what a process that is gone has left of its ports with this label.
pub fn clear(ports: &Path, label: &str) {
    let start = format!("{label}.");
    let left = fs::read_dir(ports).into_iter().flatten().flatten();
    for port in left.filter(|port| port.file_name().to_string_lossy().starts_with(&start)) {
        let _ = fs::remove_file(port.path());
    }
}

/// Where a port has its name, and who else has one there. Whoever uses the names is the broker.
#[derive(Debug)]
struct PortDirectory {
    /// Names in it are reached through this descriptor: a socket's path may have 107 bytes only.
    directory: File,
    ports: PathBuf,
    name: String,
    peers: Mutex<Peers>,
}

impl PortDirectory {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[derive(Debug)]
pub struct Socket {
    socket: UnixDatagram,
    at: Arc<PortDirectory>,
    broker: Broker,
    id: Id,
    learned: Mutex<Learned>,
    /// The port that took nothing lately, and until when it gets nothing.
    slow: Mutex<Option<(Id, Instant)>>,
    closed: AtomicBool,
    /// How long a receive waits, as the socket knows it.
    patience: Mutex<Duration>,
}

impl Socket {
    /// A new port of the switch. `label` is for people who look.
    pub fn open(ports: &Path, label: &str) -> io::Result<Self> {
        Self::open_by(&Broker::default(), ports, label)
    }

    /// The same, where this thread may use no names.
    pub fn open_by(broker: &Broker, ports: &Path, label: &str) -> io::Result<Self> {
        let (ports, label, own) = (ports.to_owned(), label.to_owned(), broker.clone());
        let opened = broker.ask(move || Self::make(own, &ports, &label));
        opened.unwrap_or_else(|| Err(io::Error::other("who makes ports is gone")))
    }

    fn make(broker: Broker, ports: &Path, label: &str) -> io::Result<Self> {
        let directory = File::open(ports)?;
        let name = name(label)?;
        let socket = UnixDatagram::bind(path(&directory, ports, &name))?;
        fs::set_permissions(ports.join(&name), fs::Permissions::from_mode(0o660))?;
        let (learned, slow) = Default::default();
        let closed = AtomicBool::new(false);
        let (id, peers) = (Id::of(&name), Mutex::new(Peers::new(ports)));
        let at = Arc::new(PortDirectory { directory, ports: ports.into(), name, peers });
        Ok(Self { socket, at, broker, id, learned, slow, closed, patience: Mutex::default() })
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// As of now.
    fn peers(&self) -> MutexGuard<'_, Peers> {
        let stale = self.at.peers().stale();
        if stale {
            self.at_place(|place| place.peers().look(&place.ports, &place.directory, &place.name));
        }
        self.at.peers()
    }

    fn at_place(&self, job: impl FnOnce(&PortDirectory) + Send + 'static) {
        let place = self.at.clone();
        self.broker.ask(move || job(&place));
    }

    /// To the port where the destination was seen, or to all others.
    pub fn send(&self, frame: Frame<'_>) {
        let mut datagram = [0; DATAGRAM];
        let len = Id::SIZE + frame.bytes().len();
        datagram[..Id::SIZE].copy_from_slice(&self.id.bytes());
        datagram[Id::SIZE..len].copy_from_slice(frame.bytes());
        let datagram = &datagram[..len];
        if self.place(frame).is_some_and(|peer| self.give(&peer, datagram)) {
            return;
        }
        let all = self.peers().all();
        for peer in all.iter() {
            self.give(peer, datagram);
        }
    }

    /// The same, without a wait: the port that has no room now, if the frame is for one port alone.
    pub fn try_send(&self, frame: Frame<'_>) -> Result<(), Arc<Peer>> {
        let mut datagram = [0; DATAGRAM];
        let len = Id::SIZE + frame.bytes().len();
        datagram[..Id::SIZE].copy_from_slice(&self.id.bytes());
        datagram[Id::SIZE..len].copy_from_slice(frame.bytes());
        let datagram = &datagram[..len];
        if let Some(peer) = self.place(frame) {
            match peer.try_send(datagram) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(peer),
                Err(_) => self.lost(&peer),
            }
        }
        let all = self.peers().all();
        for peer in all.iter() {
            match peer.try_send(datagram) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => self.lost(peer),
                _ => (),
            }
        }
        Ok(())
    }

    /// That port's process is gone.
    fn lost(&self, peer: &Peer) {
        self.learned().forget(peer.id);
        let gone = peer.id;
        self.at_place(move |place| place.peers().bury(&place.ports, &place.directory, gone));
    }

    /// Whether somebody else is plugged in. A port whose process is gone without a word takes no datagram, not even one of nothing,
    /// which is no frame.
    pub fn has_company(&self) -> bool {
        let all = self.peers().all();
        let gone = |error: io::Error| error.kind() != ErrorKind::WouldBlock;
        for peer in all.iter().filter(|peer| peer.try_send(&[]).is_err_and(gone)) {
            self.lost(peer);
        }
        !self.peers().all().is_empty()
    }

    /// Readable when there is a frame.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Behind which port the destination was seen.
    fn place(&self, frame: Frame<'_>) -> Option<Arc<Peer>> {
        let destination = frame.destination();
        if is_group(&destination) {
            return None;
        }
        let port = self.learned().place(&destination, Instant::now())?;
        let known = self.at.peers().known(port);
        // One that came lately is found by another look.
        known.or_else(|| self.peers().known(port))
    }

    fn slow(&self) -> MutexGuard<'_, Option<(Id, Instant)>> {
        self.slow.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether that port is there. What it has no room for is lost.
    fn give(&self, peer: &Peer, datagram: &[u8]) -> bool {
        if self.slow().is_some_and(|(slow, until)| slow == peer.id && Instant::now() < until) {
            return true;
        }
        match peer.send(datagram) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *self.slow() = Some((peer.id, Instant::now() + BACKOFF));
                true
            }
            Err(_) => {
                self.lost(peer);
                false
            }
            Ok(_) => true,
        }
    }

    /// The next frame's length; in front of it is where it came from. `None`: nothing came, or the port is closed.
    pub fn receive(&self, room: &mut [u8], patience: Duration) -> Option<usize> {
        let mut datagram = [0; DATAGRAM];
        self.wait_at_most(patience)?;
        let count = self.socket.recv(&mut datagram).ok()?;
        self.came(&datagram[..count], room)
    }

    /// The same, without a wait: an error of the kind `WouldBlock` if nothing is there.
    pub fn try_receive(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        let mut datagram = [0; DATAGRAM];
        let (count, _) = rustix::net::recv(&self.socket, &mut datagram[..], RecvFlags::DONTWAIT)?;
        Ok(self.came(&datagram[..count], room))
    }

    fn came(&self, datagram: &[u8], room: &mut [u8]) -> Option<usize> {
        let (from, bytes) = datagram.split_first_chunk()?;
        let frame = Frame::new(bytes)?;
        if !is_group(&frame.source()) {
            self.learned().see(frame.source(), Id::read(*from), Instant::now());
        }
        room.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(bytes.len())
    }

    /// A system call only where it changes.
    fn wait_at_most(&self, patience: Duration) -> Option<()> {
        let mut set = self.patience.lock().unwrap_or_else(|e| e.into_inner());
        if *set != patience {
            self.socket.set_read_timeout(Some(patience)).ok()?;
            *set = patience;
        }
        Some(())
    }

    /// Wakes who receives; nothing comes any more.
    pub fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            self.at_place(|place| drop(fs::remove_file(place.ports.join(&place.name))));
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Whether the switch is still there.
    pub fn stands(&self) -> bool {
        !self.closed.load(Ordering::SeqCst) && self.peers().present()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

/// A worker's home is its root: what it has no `/proc` for has a short name there.
pub(crate) fn path(directory: &File, ports: &Path, name: &str) -> PathBuf {
    let own = ports.join(name);
    match own.as_os_str().len() <= LONGEST_NAME {
        true => own,
        false => format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into(),
    }
}
