//! One port of a switch: a datagram socket in the switch's directory. A datagram is a frame.

use crate::frame::{Frame, is_group};
use crate::learned::Learned;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A receiver that takes nothing for so long loses a frame,
const SEND_PATIENCE: Duration = Duration::from_millis(2);
/// and what comes within this time after it: its sender is not to wait for every one.
const PENANCE: Duration = Duration::from_millis(100);

/// Ports of this process are told apart by a number.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The place of a switch's ports, made if need be.
pub fn make(ports: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(ports)
}

/// Removes what a process that is gone has left of its ports with this label.
pub fn clear(ports: &Path, label: &str) {
    let start = format!("{label}.");
    let left = fs::read_dir(ports).into_iter().flatten().flatten();
    for port in left.filter(|port| port.file_name().to_string_lossy().starts_with(&start)) {
        let _ = fs::remove_file(port.path());
    }
}

#[derive(Debug)]
pub struct Socket {
    socket: UnixDatagram,
    /// Names in it are reached through this descriptor: a socket's path may have 107 bytes only.
    directory: File,
    ports: PathBuf,
    name: String,
    learned: Mutex<Learned>,
    /// The port that took nothing lately, and until when it gets nothing.
    slow: Mutex<Option<(String, Instant)>>,
    closed: AtomicBool,
}

impl Socket {
    /// A new port of the switch. `label` is for people who look.
    pub fn open(ports: &Path, label: &str) -> io::Result<Self> {
        let directory = File::open(ports)?;
        let name = format!("{label}.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Left by a process of the same number.
        let _ = fs::remove_file(ports.join(&name));
        let socket = UnixDatagram::bind(path(&directory, &name))?;
        fs::set_permissions(ports.join(&name), fs::Permissions::from_mode(0o600))?;
        socket.set_write_timeout(Some(SEND_PATIENCE))?;
        let (learned, slow) = Default::default();
        let closed = AtomicBool::new(false);
        Ok(Self { socket, directory, ports: ports.into(), name, learned, slow, closed })
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// To the port where the destination was seen, or to all others.
    pub fn send(&self, frame: Frame<'_>) {
        let destination = frame.destination();
        if !is_group(&destination) {
            let place = self.learned().place(&destination, Instant::now()).map(str::to_owned);
            if let Some(port) = place
                && self.give(&port, frame)
            {
                return;
            }
        }
        for port in self.others() {
            self.give(&port, frame);
        }
    }

    fn others(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(&self.ports).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| *name != self.name)
    }

    fn slow(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.slow.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether that port is there. What it has no room for is lost.
    fn give(&self, port: &str, frame: Frame<'_>) -> bool {
        if self.slow().as_ref().is_some_and(|(slow, until)| slow == port && Instant::now() < *until) {
            return true;
        }
        match self.socket.send_to(frame.bytes(), path(&self.directory, port)) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                self.bury(port);
                false
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *self.slow() = Some((port.to_owned(), Instant::now() + PENANCE));
                true
            }
            _ => true,
        }
    }

    /// Nobody listens there any more.
    fn bury(&self, port: &str) {
        self.learned().forget(port);
        let _ = fs::remove_file(self.ports.join(port));
    }

    /// The next frame's length; its source is where it came from. `None`: nothing came, or the port is closed.
    pub fn receive(&self, room: &mut [u8], patience: Duration) -> Option<usize> {
        self.socket.set_read_timeout(Some(patience)).ok()?;
        let (len, from) = self.socket.recv_from(room).ok()?;
        let frame = Frame::new(room.get(..len)?)?;
        if let Some(from) = from.as_pathname().and_then(Path::file_name).and_then(|name| name.to_str())
            && !is_group(&frame.source())
        {
            self.learned().see(frame.source(), from, Instant::now());
        }
        Some(len)
    }

    /// Wakes who receives; nothing comes any more.
    pub fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            let _ = fs::remove_file(self.ports.join(&self.name));
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Whether the switch is still there.
    pub fn stands(&self) -> bool {
        !self.closed.load(Ordering::SeqCst) && self.ports.join(&self.name).exists()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

fn path(directory: &File, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())
}
