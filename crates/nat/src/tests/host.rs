//! A host that is made up: its servers are told by their ports.

use crate::host::{Host, Ready, Token, Wire};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Says nothing for ever; refuses; is nowhere; sends back what it gets.
pub const SILENT: u16 = 3;
pub const REFUSES: u16 = 1;
pub const NOWHERE: u16 = 2;
pub const ECHOES: u16 = 7;

#[derive(Debug, Default)]
pub struct State {
    pub to: Option<SocketAddr>,
    pub token: Token,
    /// From the outside to the guest, and back.
    pub inward: VecDeque<u8>,
    pub outward: Vec<u8>,
    pub datagrams: VecDeque<(Vec<u8>, Option<SocketAddr>)>,
    pub sent: Vec<(Vec<u8>, Option<SocketAddr>)>,
    /// What the outside has not taken yet has a bound.
    pub takes: Option<usize>,
    pub ended_inward: bool,
    pub ended_outward: bool,
    pub aborted: bool,
    pub refused: bool,
    pub waiting: VecDeque<Peer>,
}

/// The outside's end of a socket.
#[derive(Clone, Debug, Default)]
pub struct Peer(pub Rc<RefCell<State>>);

impl Peer {
    pub fn give(&self, bytes: &[u8]) {
        self.0.borrow_mut().inward.extend(bytes);
    }
    pub fn end(&self) {
        self.0.borrow_mut().ended_inward = true;
    }
    pub fn got(&self) -> Vec<u8> {
        self.0.borrow().outward.clone()
    }
}

#[derive(Default)]
pub struct FakeHost {
    pub peers: Vec<Peer>,
    pub events: Vec<(Token, Ready)>,
    /// No socket is left.
    pub exhausted: bool,
    pub echo_denied: bool,
    pub taken: Vec<SocketAddr>,
    pub by_port: HashMap<u16, Peer>,
}

const ALL: Ready = Ready { read: true, write: true, end: true, error: false };

impl FakeHost {
    pub fn events(&mut self) -> Vec<(Token, Ready)> {
        std::mem::take(&mut self.events)
    }

    /// Something happened at this end.
    pub fn tell(&mut self, peer: &Peer) {
        self.events.push((peer.0.borrow().token, ALL));
    }

    pub fn last(&self) -> Peer {
        self.peers.last().cloned().expect("a socket")
    }

    fn make(&mut self, to: Option<SocketAddr>, token: Token) -> io::Result<Peer> {
        if self.exhausted {
            return Err(io::Error::from_raw_os_error(24));
        }
        let peer = Peer::default();
        peer.0.borrow_mut().to = to;
        peer.0.borrow_mut().token = token;
        self.peers.push(peer.clone());
        if let Some(to) = to {
            self.by_port.insert(to.port(), peer.clone());
        }
        Ok(peer)
    }

    /// Somebody comes to a listener.
    pub fn come(&mut self, port: u16) -> Peer {
        let listener = self.by_port[&port].clone();
        let peer = Peer::default();
        listener.0.borrow_mut().waiting.push_back(peer.clone());
        self.tell(&listener);
        peer
    }
}

impl Host for FakeHost {
    type Socket = Peer;

    fn connect(&mut self, to: SocketAddr, token: Token) -> io::Result<Peer> {
        if to.port() == NOWHERE {
            return Err(ErrorKind::NetworkUnreachable.into());
        }
        let peer = self.make(Some(to), token)?;
        peer.0.borrow_mut().refused = to.port() == REFUSES;
        let ready = Ready { error: to.port() == REFUSES, ..ALL };
        if to.port() != SILENT {
            self.events.push((token, ready));
        }
        Ok(peer)
    }

    fn listen(&mut self, at: SocketAddr, token: Token) -> io::Result<Peer> {
        match self.taken.contains(&at) {
            true => Err(ErrorKind::AddrInUse.into()),
            false => self.make(Some(at), token),
        }
    }

    fn accept(&mut self, listener: &Peer, token: Token) -> io::Result<Peer> {
        let peer = listener.0.borrow_mut().waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        peer.0.borrow_mut().token = token;
        self.peers.push(peer.clone());
        Ok(peer)
    }

    fn datagrams(&mut self, to: SocketAddr, token: Token) -> io::Result<Peer> {
        if to.port() == NOWHERE {
            return Err(ErrorKind::NetworkUnreachable.into());
        }
        self.make(Some(to), token)
    }

    fn bind(&mut self, at: SocketAddr, token: Token) -> io::Result<Peer> {
        self.make(Some(at), token)
    }

    fn echo(&mut self, to: IpAddr, token: Token) -> io::Result<Peer> {
        if self.echo_denied {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.make(Some((to, 0).into()), token)
    }

    fn receive(&mut self, socket: &Peer, room: &mut [u8]) -> io::Result<usize> {
        let mut state = socket.0.borrow_mut();
        if let Some((datagram, _)) = state.datagrams.pop_front() {
            room[..datagram.len()].copy_from_slice(&datagram);
            return Ok(datagram.len());
        }
        let count = state.inward.len().min(room.len());
        if count > 0 {
            room.iter_mut().zip(state.inward.drain(..count)).for_each(|(to, byte)| *to = byte);
            return Ok(count);
        }
        if state.ended_inward { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    fn send(&mut self, socket: &Peer, bytes: &[u8]) -> io::Result<usize> {
        let mut state = socket.0.borrow_mut();
        if state.to.is_some_and(|to| to.port() == REFUSES) {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        state.sent.push((bytes.to_vec(), None));
        let room = state.takes.map_or(bytes.len(), |most| most.saturating_sub(state.outward.len()));
        let count = bytes.len().min(room);
        if count == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.outward.extend_from_slice(&bytes[..count]);
        if state.to.is_some_and(|to| to.port() == ECHOES) {
            state.inward.extend(&bytes[..count]);
            self.events.push((state.token, ALL));
        }
        Ok(count)
    }

    fn receive_from(&mut self, socket: &Peer, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (datagram, from) = socket.0.borrow_mut().datagrams.pop_front().ok_or(ErrorKind::WouldBlock)?;
        room[..datagram.len()].copy_from_slice(&datagram);
        Ok((datagram.len(), from.ok_or(ErrorKind::Other)?))
    }

    fn send_to(&mut self, socket: &Peer, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        socket.0.borrow_mut().sent.push((bytes.to_vec(), Some(to)));
        Ok(bytes.len())
    }

    fn error(&mut self, socket: &Peer) -> Option<io::Error> {
        socket.0.borrow().refused.then(|| ErrorKind::ConnectionRefused.into())
    }

    fn end(&mut self, socket: &Peer) {
        socket.0.borrow_mut().ended_outward = true;
    }

    fn abort(&mut self, socket: Peer) {
        socket.0.borrow_mut().aborted = true;
    }
}

/// A wire that keeps what was sent, and may have room for so many frames only.
#[derive(Default)]
pub struct FakeWire {
    pub sent: VecDeque<Vec<u8>>,
    pub most: Option<usize>,
}

impl FakeWire {
    pub fn has_room(&self) -> bool {
        self.most.is_none_or(|most| self.sent.len() < most)
    }
}

impl Wire for FakeWire {
    fn send(&mut self, frame: &[u8]) -> bool {
        let room = self.has_room();
        if room {
            self.sent.push_back(frame.to_vec());
        }
        room
    }
}
