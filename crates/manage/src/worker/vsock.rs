//! Streams between the guest and its host, as Firecracker and Cloud Hypervisor have them. Who connects to the VM's socket and says
//! `CONNECT 22` reaches that port of the guest's, and hears `OK` with a number; nothing, if nobody listens there. What the guest
//! connects to is a socket that somebody made beside it, whose name ends in `_` and the port.

use super::client;
use super::server::{Control, confine};
use ireko_machine::{VsockHost, VsockStream};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// In the VM's directory.
pub const SOCKET: &str = "run/vsock.sock";
/// Connections at a time; more are turned away.
const MOST: usize = 64;
/// To say what is wanted, and for who listens here.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the guest to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Who takes nothing for so long is let go.
const STUCK: Duration = Duration::from_secs(60);
/// How long a machine's end, and the next after a reset, may go unnoticed.
const LOOK: Duration = Duration::from_millis(500);
/// What is longer is no request.
const LONGEST: usize = 32;
const PIECE: usize = 64 << 10;

/// How many are connected.
#[derive(Clone, Default)]
struct ConnectionLimit(Arc<AtomicUsize>);

struct ConnectionSlot(ConnectionLimit);

impl ConnectionLimit {
    fn take(&self) -> Option<ConnectionSlot> {
        let place = ConnectionSlot(self.clone());
        (self.0.fetch_add(1, Ordering::SeqCst) < MOST).then_some(place)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves who connects here until the process ends.
pub fn serve(control: &Arc<Control>, listener: &UnixListener) {
    confine(&control.jail);
    let places = ConnectionLimit::default();
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                let Some(place) = places.take() else { continue };
                let control = control.clone();
                super::lifecycle::spawn("vsock", move || {
                    // A connection that breaks concerns nobody else.
                    let _ = outwards(&control, stream);
                    drop(place);
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Looks for what the guest asks for, until the process ends.
pub fn heed(control: &Arc<Control>) {
    confine(&control.jail);
    let places = ConnectionLimit::default();
    loop {
        let Some(host) = host(control) else {
            std::thread::sleep(LOOK);
            continue;
        };
        let Some(offer) = host.offer(LOOK) else {
            if !host.alive() {
                std::thread::sleep(LOOK);
            }
            continue;
        };
        let (path, port) = (control.directory.join(SOCKET), offer.port());
        let found = control.broker.ask(move || listener_of(&path, port));
        let (Some(Ok(socket)), Some(place)) = (found, places.take()) else { continue };
        super::lifecycle::spawn("vsock", move || {
            let _ = carry(&offer.accept(), socket);
            drop(place);
        });
    }
}

fn host(control: &Control) -> Option<VsockHost> {
    let remote = control.lock().remote.clone();
    remote.vsock()
}

/// Who listens beside the socket for this port of the host's. Not waited for: the broker serves others, too.
fn listener_of(socket: &Path, port: u32) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(format!("{}_{port}", socket.display()))?;
    let made = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&made, sockopt::Timeout::Send, Some(Duration::from_millis(100)))?;
    connect(&made, &address)?;
    Ok(made.into())
}

fn outwards(control: &Control, mut socket: UnixStream) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let port = wanted(&mut socket)?;
    let host = host(control).ok_or(io::ErrorKind::NotConnected)?;
    let stream = host.connect(port, ANSWER).map_err(|_| io::ErrorKind::ConnectionRefused)?;
    socket.write_all(format!("OK {}\n", stream.port()).as_bytes())?;
    carry(&stream, socket)
}

/// `CONNECT` and a port, on a line.
fn wanted(from: &mut impl Read) -> io::Result<u32> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LONGEST {
        from.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        line.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&line);
    let port = text.strip_prefix("CONNECT ").and_then(|port| port.trim_end().parse().ok());
    port.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Bytes both ways, until both sides have said all they have, or one is gone.
fn carry(stream: &VsockStream, socket: UnixStream) -> io::Result<()> {
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(Some(STUCK))?;
    std::thread::scope(|scope| {
        std::thread::Builder::new().name("vsock input".into()).spawn_scoped(scope, || {
            let _ = to_guest(stream, &socket);
            stream.finish();
        })?;
        let carried = from_guest(stream, &socket);
        // Who is not listened to any more need not go on.
        let end = if carried.is_ok() && stream.takes() { Shutdown::Write } else { Shutdown::Both };
        let _ = socket.shutdown(end);
        carried
    })
}

fn to_guest(mut stream: &VsockStream, mut socket: &UnixStream) -> io::Result<()> {
    let mut bytes = vec![0; PIECE];
    loop {
        match socket.read(&mut bytes)? {
            0 => return Ok(()),
            count => stream.write_all(&bytes[..count])?,
        }
    }
}

fn from_guest(mut stream: &VsockStream, mut socket: &UnixStream) -> io::Result<()> {
    let mut bytes = vec![0; PIECE];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            count => socket.write_all(&bytes[..count])?,
        }
    }
}

/// Connects to a port of a guest's, by the socket in its VM's directory. `None`: nobody listens there.
pub fn reach(directory: &Path, port: u32) -> io::Result<Option<UnixStream>> {
    let mut socket = client::connect(directory, SOCKET)?;
    socket.set_read_timeout(Some(PATIENCE + ANSWER))?;
    socket.write_all(format!("CONNECT {port}\n").as_bytes())?;
    let mut byte = [0];
    for _ in 0..LONGEST {
        if socket.read(&mut byte)? == 0 {
            return Ok(None);
        }
        if byte == *b"\n" {
            socket.set_read_timeout(None)?;
            return Ok(Some(socket));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_port_is_asked_for_by_a_line() {
        let asked = |text: &str| wanted(&mut text.as_bytes()).ok();
        assert_eq!((asked("CONNECT 22\n"), asked("CONNECT 4294967295\r\n")), (Some(22), Some(u32::MAX)));
        for wrong in ["", "CONNECT 22", "CONNECT -1\n", "CONNECT 4294967296\n", "GET / HTTP/1.1\n"] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
        assert!(wanted(&mut io::repeat(b'x')).is_err());
    }

    #[test]
    fn the_guest_reaches_what_somebody_listens_at_beside_the_socket() {
        let scratch = Scratch::new();
        let socket = scratch.path().join("vsock.sock");
        assert!(listener_of(&socket, 5000).is_err());
        let _listener = UnixListener::bind(scratch.path().join("vsock.sock_5000")).unwrap();
        assert!(listener_of(&socket, 5000).is_ok() && listener_of(&socket, 5001).is_err());
    }

    #[test]
    fn places_are_bounded_and_free_again() {
        let places = ConnectionLimit::default();
        let taken: Vec<_> = std::iter::from_fn(|| places.take()).collect();
        assert_eq!(taken.len(), MOST);
        drop(taken);
        assert!(places.take().is_some());
    }
}
