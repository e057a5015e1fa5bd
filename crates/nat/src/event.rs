//! The loop around a router: one thread, which waits for the wire, for the host's sockets, and for time to pass.

pub use crate::host::Wire;
use crate::router::Router;
use crate::sockets::Sockets;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// A wire that can be waited for.
pub trait Port: Wire {
    /// The next frame's length; an error of the kind `WouldBlock` if there is none.
    fn receive(&mut self, room: &mut [u8]) -> io::Result<usize>;
    /// Readable when there is a frame.
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// Writable when a frame that had no room may have some.
    fn full(&self) -> Option<BorrowedFd<'_>>;
    /// Sends what has gathered.
    fn flush(&mut self) {}
    /// Something that has gathered waits for room.
    fn waits(&self) -> bool {
        false
    }
    /// A frame has come already, and the descriptor says nothing of it.
    fn has_more(&self) -> bool {
        false
    }
}

/// Who says what else is to be done.
pub trait Watcher {
    /// Readable when there is something to hear.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    /// There was. False: it is the end.
    fn heard(&mut self, router: &mut Router<Sockets>) -> bool;
    /// Called about every second. False: it is the end.
    fn looked(&mut self, router: &mut Router<Sockets>, now: Instant) -> bool;
}

/// Nobody does.
pub struct Nobody;

impl Watcher for Nobody {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn heard(&mut self, _: &mut Router<Sockets>) -> bool {
        true
    }
    fn looked(&mut self, _: &mut Router<Sockets>, _: Instant) -> bool {
        true
    }
}

const WIRE: u64 = 1 << 61;
const FULL: u64 = 1 << 62;
const WATCHER: u64 = 1 << 63;

/// Frames that are taken before the host's sockets have their turn.
const BATCH: usize = 64;
const LOOK: Duration = Duration::from_secs(1);
/// Where nobody tells when there is room, it is tried again.
const ROOM: Duration = Duration::from_millis(1);
/// And for room in the ports that nobody watches.
const TRY: Duration = Duration::from_millis(50);

/// The longest frame that any wire has: a packet of IP's and a header.
const LONGEST: usize = 65535 + 14;

/// Serves a wire until the watcher says that it is the end.
pub fn serve(router: &mut Router<Sockets>, port: &mut dyn Port, watcher: &mut dyn Watcher) -> io::Result<()> {
    let sockets = router.host();
    sockets.watch(port.descriptor(), WIRE)?;
    if let Some(descriptor) = watcher.descriptor() {
        sockets.watch(descriptor, WATCHER)?;
    }
    let (mut room, mut events) = (vec![0; LONGEST], Vec::new());
    let (mut looked, mut tried) = (None, Instant::now());
    loop {
        let now = Instant::now();
        if looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK) {
            looked = Some(now);
            if !watcher.looked(router, now) {
                return Ok(());
            }
        }
        let mut until = router.tick(now, port).min(now + LOOK);
        port.flush();
        if (router.waits_for_room() || port.waits()) && !watch_room(router, port) {
            until = until.min(now + ROOM);
        } else if router.waits_for_room() {
            until = until.min(now + TRY);
        }
        if port.has_more() {
            until = now;
        }
        router.host().wait(until.saturating_duration_since(Instant::now()), &mut events)?;
        let now = Instant::now();
        for (token, ready) in events.drain(..) {
            match token {
                WIRE => take(router, port, &mut room, now)?,
                FULL => {
                    port.flush();
                    router.room(now, port);
                }
                WATCHER => {
                    if !watcher.heard(router) {
                        return Ok(());
                    }
                }
                token => router.ready(token, ready, now, port),
            }
        }
        if port.has_more() {
            take(router, port, &mut room, now)?;
        }
        // Of several ports that were full one is watched.
        let due = now.saturating_duration_since(tried) >= TRY;
        if router.waits_for_room() && (port.full().is_none() || due) {
            tried = now;
            router.room(now, port);
        }
        router.flush(now, port);
    }
}

fn watch_room(router: &mut Router<Sockets>, port: &dyn Port) -> bool {
    port.full().is_some_and(|descriptor| router.host().watch_room(descriptor, FULL).is_ok())
}

/// Some frames from the wire.
fn take(router: &mut Router<Sockets>, port: &mut dyn Port, room: &mut [u8], now: Instant) -> io::Result<()> {
    for _ in 0..BATCH {
        match port.receive(room) {
            Ok(len) => router.frame(&room[..len.min(room.len())], now, port),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A wire that is one socket of datagrams, each of which is a frame.
#[derive(Debug)]
pub struct Datagrams {
    socket: std::os::unix::net::UnixDatagram,
}

impl Datagrams {
    /// The socket is connected.
    pub fn new(socket: std::os::unix::net::UnixDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }
}

impl Wire for Datagrams {
    /// Who is gone takes everything.
    fn send(&mut self, frame: &[u8]) -> bool {
        !matches!(self.socket.send(frame), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Port for Datagrams {
    fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(room)
    }
    fn descriptor(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.socket)
    }
    fn full(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
