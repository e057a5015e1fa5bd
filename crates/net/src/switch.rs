//! One port of a switch: a datagram socket in the switch's directory. A datagram is a frame.

use crate::frame::{Frame, Mac, is_group};
use crate::learned::Learned;
use crate::peers::{Id, Peer, Peers, Watchers};
use crate::role::{self, Role};
use crate::traffic::{Cause, Traffic};
use ireko_vmcore::Broker;
use ireko_vmcore::port::LONGEST_FRAME;
use rustix::net::RecvFlags;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A receiver that took nothing loses what comes within this time after it: its sender is not to wait for every frame.
const BACKOFF: Duration = Duration::from_millis(100);

/// A byte more than the longest tells what is longer.
const DATAGRAM: usize = Id::SIZE + LONGEST_FRAME + 1;
/// unix(7): `sun_path` without the zero at its end.
pub(crate) const LONGEST_NAME: usize = 107;
/// A port that comes is heard of within this time also by who knows where his frames go.
const NEWS: Duration = Duration::from_millis(100);

/// The place of a switch's ports, made if need be.
pub fn make(ports: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(ports)
}

/// Removes what a process that is gone has left of its ports with this label.
pub fn clear(ports: &Path, label: &str) {
    let start = format!("{}.", role::short(label));
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
    role: Role,
    learned: Mutex<Learned>,
    watchers: Mutex<(Arc<Watchers>, Option<Instant>)>,
    /// Until when who captures gets nothing.
    missing: Mutex<Option<Instant>>,
    traffic: Arc<Traffic>,
    /// The port that took nothing lately, and until when it gets nothing.
    slow: Mutex<Option<(Id, Instant)>>,
    closed: AtomicBool,
    /// How long a receive waits, as the socket knows it.
    patience: Mutex<Duration>,
}

impl Socket {
    /// A new port of the switch. `label` is for people who look.
    pub fn open(ports: &Path, label: &str, role: Role) -> io::Result<Self> {
        Self::open_by(&Broker::default(), ports, label, role, Arc::default())
    }

    /// The same, where this thread may use no names; what is lost on the way is counted there.
    pub fn open_by(
        broker: &Broker,
        ports: &Path,
        label: &str,
        role: Role,
        traffic: Arc<Traffic>,
    ) -> io::Result<Self> {
        let (ports, label, own) = (ports.to_owned(), label.to_owned(), broker.clone());
        let opened = broker.ask(move || Self::make(own, &ports, &label, role, traffic));
        opened.unwrap_or_else(|| Err(io::Error::other("who makes ports is gone")))
    }

    fn make(
        broker: Broker,
        ports: &Path,
        label: &str,
        role: Role,
        traffic: Arc<Traffic>,
    ) -> io::Result<Self> {
        let directory = File::open(ports)?;
        let name = role.name(label)?;
        let socket = UnixDatagram::bind(path(&directory, ports, &name))?;
        fs::set_permissions(ports.join(&name), fs::Permissions::from_mode(0o660))?;
        let (learned, slow, patience, watchers, missing) = Default::default();
        let closed = AtomicBool::new(false);
        let (id, peers) = (Id::of(&name), Mutex::new(Peers::new(ports)));
        let at = Arc::new(PortDirectory { directory, ports: ports.into(), name, peers });
        Ok(Self { socket, at, broker, id, role, learned, watchers, missing, traffic, slow, closed, patience })
    }

    /// What others know of it.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether that address was given to another port.
    pub fn is_anothers(&self, mac: &Mac) -> bool {
        self.learned().owner(mac).is_some()
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(|e| e.into_inner())
    }

    #[cfg(test)]
    pub fn learned_count(&self) -> usize {
        self.learned().count()
    }

    /// As of now.
    fn peers(&self) -> MutexGuard<'_, Peers> {
        let stale = self.at.peers().stale();
        if stale {
            self.at_place(|place| place.peers().look(&place.ports, &place.directory, &place.name));
        }
        let peers = self.at.peers();
        if stale {
            self.learned().give(peers.given());
        }
        peers
    }

    /// Who hears what others hear, as of a moment ago.
    fn watchers(&self) -> Arc<Watchers> {
        let now = Instant::now();
        let mut watchers = self.watchers.lock().unwrap_or_else(|e| e.into_inner());
        if watchers.1.is_none_or(|looked| now.duration_since(looked) >= NEWS) {
            *watchers = (self.peers().watchers(), Some(now));
        }
        watchers.0.clone()
    }

    /// Gives a copy to who captures. One that takes nothing for a moment misses what comes within a while.
    fn captured(&self, datagram: &[u8]) {
        for peer in &self.watchers().captures {
            let mut missing = self.missing.lock().unwrap_or_else(|e| e.into_inner());
            if missing.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            match peer.send(datagram) {
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *missing = Some(Instant::now() + BACKOFF)
                }
                Err(_) => self.lost(peer),
            }
        }
    }

    /// A copy for who hears what is mirrored.
    pub fn mirror(&self, frame: Frame<'_>) {
        let watchers = self.watchers();
        if watchers.mirrors.is_empty() {
            return;
        }
        let mut datagram = [0; DATAGRAM];
        let datagram = datagram_of(Id::COPY, frame, &mut datagram);
        for peer in &watchers.mirrors {
            if peer.try_send(datagram).is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
                self.lost(peer);
            }
        }
    }

    fn at_place(&self, job: impl FnOnce(&PortDirectory) + Send + 'static) {
        let place = self.at.clone();
        self.broker.ask(move || job(&place));
    }

    /// To the port where the destination was seen, or to all others.
    pub fn send(&self, frame: Frame<'_>) {
        let mut datagram = [0; DATAGRAM];
        let datagram = datagram_of(self.id, frame, &mut datagram);
        self.captured(datagram);
        if self.place(frame).is_some_and(|peer| self.give(&peer, datagram)) {
            return;
        }
        let all = self.peers().all();
        for peer in all.iter().filter(|peer| takes_part(peer)) {
            self.give(peer, datagram);
        }
    }

    /// The same, without a wait: the port that has no room now, if the frame is for one port alone.
    pub fn try_send(&self, frame: Frame<'_>) -> Result<(), Arc<Peer>> {
        let mut datagram = [0; DATAGRAM];
        let datagram = datagram_of(self.id, frame, &mut datagram);
        if let Some(peer) = self.place(frame) {
            match peer.try_send(datagram) {
                Ok(_) => {
                    self.captured(datagram);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(peer),
                Err(_) => self.lost(&peer),
            }
        }
        self.captured(datagram);
        let all = self.peers().all();
        for peer in all.iter().filter(|peer| takes_part(peer)) {
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
        self.peers().all().iter().any(|peer| takes_part(peer))
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
        let port = self.learned().place(frame.vlan(), &destination, Instant::now())?;
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
            self.traffic.dropped(Cause::Congestion);
            return true;
        }
        match peer.send(datagram) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *self.slow() = Some((peer.id, Instant::now() + BACKOFF));
                self.traffic.dropped(Cause::Congestion);
                true
            }
            Err(_) => {
                self.lost(peer);
                false
            }
            Ok(_) => true,
        }
    }

    /// The next datagram as it is, for who captures: who sent the frame, and the frame.
    pub fn overhear(&self, room: &mut [u8], patience: Duration) -> Option<(Id, usize)> {
        let mut datagram = [0; DATAGRAM];
        self.wait_at_most(patience)?;
        let count = self.socket.recv(&mut datagram).ok()?;
        let (from, bytes) = datagram[..count].split_first_chunk()?;
        room.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some((Id::read(*from), bytes.len()))
    }

    /// The ports that are there now, with their labels as they are in names.
    pub fn others(&self) -> Vec<(Id, String, Role)> {
        self.peers().all().iter().map(|peer| (peer.id, peer.label().to_owned(), peer.role)).collect()
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
        let from = Id::read(*from);
        if from != Id::COPY && !is_group(&frame.source()) {
            self.learned().see(frame.vlan(), frame.source(), from, Instant::now());
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

/// Who captures hears all there is in another way.
fn takes_part(peer: &Peer) -> bool {
    peer.role.kind != role::Kind::Capture
}

/// A frame behind who it comes from.
fn datagram_of<'a>(from: Id, frame: Frame<'_>, room: &'a mut [u8; DATAGRAM]) -> &'a [u8] {
    let len = Id::SIZE + frame.bytes().len();
    room[..Id::SIZE].copy_from_slice(&from.bytes());
    room[Id::SIZE..len].copy_from_slice(frame.bytes());
    &room[..len]
}

/// A worker's home is its root: what it has no `/proc` for has a short name there.
pub(crate) fn path(directory: &File, ports: &Path, name: &str) -> PathBuf {
    let own = ports.join(name);
    match own.as_os_str().len() <= LONGEST_NAME {
        true => own,
        false => format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into(),
    }
}
