//! The seam to the host: sockets that never wait, and the wire to the guests. Tests put their own behind it.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// What a socket's events are told with.
pub type Token = u64;

/// What a socket may be asked for now, as far as it was told since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    pub read: bool,
    pub write: bool,
    /// The other end sends no more: behind what can be read is the end.
    pub end: bool,
    /// The connection is over, one way or another.
    pub error: bool,
}

/// Sockets of the host. None of these calls waits: what cannot be done now is [`io::ErrorKind::WouldBlock`], and the
/// token is told when it can. A change is told once.
pub trait Host {
    type Socket;

    /// A stream to there. That it stands is told as ready to write, that it does not as an error.
    fn connect(&mut self, to: SocketAddr, token: Token) -> io::Result<Self::Socket>;
    /// Takes streams at an address of this host.
    fn listen(&mut self, at: SocketAddr, token: Token) -> io::Result<Self::Socket>;
    fn accept(&mut self, listener: &Self::Socket, token: Token) -> io::Result<Self::Socket>;
    /// Datagrams to and from there only.
    fn datagrams(&mut self, to: SocketAddr, token: Token) -> io::Result<Self::Socket>;
    /// Datagrams at an address of this host, from anybody.
    fn bind(&mut self, at: SocketAddr, token: Token) -> io::Result<Self::Socket>;
    /// Messages of ICMP's echo to and from there only; the identifier is the host's.
    fn echo(&mut self, to: IpAddr, token: Token) -> io::Result<Self::Socket>;

    fn receive(&mut self, socket: &Self::Socket, room: &mut [u8]) -> io::Result<usize>;
    fn send(&mut self, socket: &Self::Socket, bytes: &[u8]) -> io::Result<usize>;
    fn receive_from(&mut self, socket: &Self::Socket, room: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
    fn send_to(&mut self, socket: &Self::Socket, bytes: &[u8], to: SocketAddr) -> io::Result<usize>;
    /// Why a connection is over, if it is.
    fn error(&mut self, socket: &Self::Socket) -> Option<io::Error>;
    /// Nothing more is sent: the other end reads the stream's end.
    fn end(&mut self, socket: &Self::Socket);
    /// The other end hears that the connection broke off.
    fn abort(&mut self, socket: Self::Socket);
}

/// The wire to the guests.
pub trait Wire {
    /// False: who is to get it has no room now. [`crate::Router::room`] is called when there may be some again.
    fn send(&mut self, frame: &[u8]) -> bool;
}
