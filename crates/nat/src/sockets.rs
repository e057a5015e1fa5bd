//! The host's own sockets, watched by epoll(7).

use crate::host::{Host, Ready, Token};
use crate::router::Limits;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, accept_with, bind,
    connect, ipproto, listen, recv, recvfrom, send, sendto, shutdown, socket_with, sockopt,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Who came while nobody took them.
const BACKLOG: i32 = 128;

pub struct Sockets {
    epoll: OwnedFd,
}

/// Events that are taken at a time.
const EVENTS: usize = 128;

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// Descriptors that are not flows'.
const OTHERS: u64 = 128;

impl Sockets {
    /// As many flows as this process may have descriptors, whose limit is raised as far as it may be.
    pub fn limits() -> Limits {
        let mut limits = Limits::default();
        let most = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
        if let Some(most) = getrlimit(Resource::Nofile).current {
            let flows = usize::try_from(most.saturating_sub(OTHERS)).unwrap_or(usize::MAX).max(16);
            limits.flows = limits.flows.min(flows);
            limits.guest_flows = limits.guest_flows.min(flows);
        }
        limits
    }

    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Something else that wakes who waits here.
    pub fn watch(&self, what: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, what, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// The same, once, when it can be written.
    pub fn watch_room(&self, what: impl AsFd, token: Token) -> io::Result<()> {
        let (data, flags) = (EventData::new_u64(token), EventFlags::OUT | EventFlags::ONESHOT);
        match epoll::modify(&self.epoll, &what, data, flags) {
            Err(Errno::NOENT) => Ok(epoll::add(&self.epoll, what, data, flags)?),
            other => Ok(other?),
        }
    }

    /// Waits at most so long.
    pub fn wait(&mut self, patience: Duration, events: &mut Vec<(Token, Ready)>) -> io::Result<()> {
        let patience = rustix::event::Timespec::try_from(patience).ok();
        let mut room = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let found = match epoll::wait(&self.epoll, &mut room, patience.as_ref()) {
            Ok((found, _)) => found,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        events.extend(found.iter().map(|event| {
            let flags = { event.flags };
            let ready = Ready {
                read: flags.intersects(EventFlags::IN | EventFlags::RDHUP),
                write: flags.contains(EventFlags::OUT),
                end: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
                error: flags.intersects(EventFlags::ERR | EventFlags::HUP),
            };
            ({ event.data }.u64(), ready)
        }));
        Ok(())
    }

    fn open(
        &self,
        family: AddressFamily,
        kind: SocketType,
        protocol: Option<Protocol>,
    ) -> io::Result<OwnedFd> {
        Ok(socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, protocol)?)
    }

    /// A change is told once.
    fn watched(&self, socket: OwnedFd, token: Token) -> io::Result<OwnedFd> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &socket, EventData::new_u64(token), flags)?;
        Ok(socket)
    }

    fn at(&self, kind: SocketType, at: SocketAddr) -> io::Result<OwnedFd> {
        let socket = self.open(family(at), kind, None)?;
        if at.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if kind == SocketType::STREAM {
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        bind(&socket, &at)?;
        Ok(socket)
    }
}

impl Host for Sockets {
    type Socket = OwnedFd;

    fn connect(&mut self, to: SocketAddr, token: Token) -> io::Result<OwnedFd> {
        let socket = self.open(family(to), SocketType::STREAM, None)?;
        // The guest's own stack has gathered what belongs together.
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => self.watched(socket, token),
            Err(error) => Err(error.into()),
        }
    }

    fn listen(&mut self, at: SocketAddr, token: Token) -> io::Result<OwnedFd> {
        let socket = self.at(SocketType::STREAM, at)?;
        listen(&socket, BACKLOG)?;
        self.watched(socket, token)
    }

    fn accept(&mut self, listener: &OwnedFd, token: Token) -> io::Result<OwnedFd> {
        let socket = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        self.watched(socket, token)
    }

    fn datagrams(&mut self, to: SocketAddr, token: Token) -> io::Result<OwnedFd> {
        let socket = self.open(family(to), SocketType::DGRAM, None)?;
        connect(&socket, &to)?;
        self.watched(socket, token)
    }

    fn bind(&mut self, at: SocketAddr, token: Token) -> io::Result<OwnedFd> {
        let socket = self.at(SocketType::DGRAM, at)?;
        self.watched(socket, token)
    }

    fn echo(&mut self, to: IpAddr, token: Token) -> io::Result<OwnedFd> {
        let to = SocketAddr::new(to, 0);
        let protocol = if to.is_ipv4() { ipproto::ICMP } else { ipproto::ICMPV6 };
        let socket = self.open(family(to), SocketType::DGRAM, Some(protocol))?;
        connect(&socket, &to)?;
        self.watched(socket, token)
    }

    fn receive(&mut self, socket: &OwnedFd, room: &mut [u8]) -> io::Result<usize> {
        Ok(recv(socket, room, RecvFlags::DONTWAIT)?.0)
    }

    fn send(&mut self, socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    fn receive_from(&mut self, socket: &OwnedFd, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (count, _, from) = recvfrom(socket, room, RecvFlags::DONTWAIT)?;
        let from = from.and_then(|from| SocketAddr::try_from(from).ok());
        Ok((count, from.ok_or_else(|| io::Error::other("a datagram from nowhere"))?))
    }

    fn send_to(&mut self, socket: &OwnedFd, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        Ok(sendto(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to)?)
    }

    fn error(&mut self, socket: &OwnedFd) -> Option<io::Error> {
        match sockopt::socket_error(socket) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error.into()),
        }
    }

    fn end(&mut self, socket: &OwnedFd) {
        // A connection that is gone by now has ended, too.
        let _ = shutdown(socket, Shutdown::Write);
    }

    fn abort(&mut self, socket: OwnedFd) {
        // socket(7): closing then sends a reset.
        let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    }
}
