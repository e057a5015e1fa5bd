//! A router at the end of a Unix socket, for whatever puts frames into it: of datagrams, `wire OWN PEER [PORT=GUESTPORT …]`, or a stream
//! to which one comes, `wire --stream OWN [PORT=GUESTPORT …]`. MTU is that of the wire.
//! LOOPBACK=PORT,… are ports of the host's loopback that are reached at the router's address.

use ireko_nat::event::{Datagrams, Nobody, Port, Wire};
use ireko_nat::{Config, Forward, Limits, Network, Protocol, Router, Sockets, Target, config, serve};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(own), Some(peer)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("which sockets? Give OWN and PEER."));
    };
    let mut port: Box<dyn Port> = match own.as_str() {
        "--stream" => Box::new(Framed::new(UnixListener::bind(peer)?.accept()?.0)?),
        _ => {
            let socket = UnixDatagram::bind(own)?;
            while socket.connect(&peer).is_err() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Box::new(Datagrams::new(socket)?)
        }
    };
    let network = Network { router: Ipv4Addr::new(172, 20, 16, 1), length: 20 };
    let mut config = Config::new([0x02, 0x15, 0x5d, 0, 0, 1], network);
    config.mtu = std::env::var("MTU").ok().and_then(|mtu| mtu.parse().ok()).unwrap_or(1500);
    config.six = Some("fd00:1234:5678::1".parse().expect("an address"));
    (config.resolvers, config.search) =
        config::resolv(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    for forward in arguments {
        let Some((port, guest)) = forward.split_once('=') else { continue };
        let (Ok(port), Ok(guest)) = (port.parse(), guest.parse()) else { continue };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let to = Target::Adapter([2, 0, 0, 0, 0, 9]);
            config.forwards.push(Forward {
                protocol,
                at: (Ipv4Addr::LOCALHOST, port).into(),
                to,
                port: guest,
            });
        }
    }
    let allowed = std::env::var("LOOPBACK").unwrap_or_default();
    config.host_loopback = allowed.split(',').filter_map(|port| port.parse().ok()).collect();
    let mut router = Router::new(Sockets::new()?, config, Limits::default());
    serve(&mut router, &mut *port, &mut Nobody)
}

/// The longest frame that any wire has.
const LONGEST: usize = 65535 + 14;

/// A wire that is one stream, each frame with its length (four bytes, big-endian) in front, as QEMU's and passt's sockets have it.
/// Many frames go by one call.
#[derive(Debug)]
pub struct Framed {
    socket: UnixStream,
    /// The same one, to wait for room at.
    room: UnixStream,
    came: Vec<u8>,
    at: usize,
    out: Vec<u8>,
    written: usize,
}

/// Bytes that wait for the stream at most, and that are taken from it at a time.
const GATHERED: usize = 256 * 1024;

impl Framed {
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let room = socket.try_clone()?;
        Ok(Self { socket, room, came: Vec::new(), at: 0, out: Vec::new(), written: 0 })
    }

    /// The next whole frame that has come.
    fn next(&self) -> Option<Range<usize>> {
        let head = self.came.get(self.at..)?.first_chunk::<4>()?;
        let len = u32::from_be_bytes(*head) as usize;
        let start = self.at + 4;
        let frame = start..start.checked_add(len)?;
        (frame.end <= self.came.len()).then_some(frame)
    }

    fn is_too_long(&self) -> bool {
        let head = self.came.get(self.at..).and_then(|rest| rest.first_chunk::<4>());
        head.is_some_and(|head| u32::from_be_bytes(*head) as usize > LONGEST)
    }
}

impl Wire for Framed {
    fn send(&mut self, frame: &[u8]) -> bool {
        if self.out.len() - self.written >= GATHERED {
            self.flush();
        }
        if self.out.len() - self.written >= GATHERED {
            return false;
        }
        self.out.extend((frame.len() as u32).to_be_bytes());
        self.out.extend_from_slice(frame);
        true
    }
}

impl Port for Framed {
    fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_too_long() {
                return Err(io::Error::other("a frame that is longer than any"));
            }
            if let Some(frame) = self.next() {
                self.at = frame.end;
                let bytes = &self.came[frame];
                room[..bytes.len()].copy_from_slice(bytes);
                return Ok(bytes.len());
            }
            self.came.drain(..self.at);
            self.at = 0;
            let held = self.came.len();
            self.came.resize(held + GATHERED, 0);
            let count = self.socket.read(&mut self.came[held..]);
            self.came.truncate(held + count.as_ref().copied().unwrap_or(0));
            if count? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn has_more(&self) -> bool {
        self.next().is_some()
    }

    /// What the stream does not take now waits.
    fn flush(&mut self) {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Who is gone takes everything.
                Err(_) => self.written = self.out.len(),
            }
        }
        self.out.clear();
        self.written = 0;
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
    fn full(&self) -> Option<BorrowedFd<'_>> {
        Some(self.room.as_fd())
    }
    fn waits(&self) -> bool {
        self.written < self.out.len()
    }
}
