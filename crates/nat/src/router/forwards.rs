//! Forwards: what comes to an address of the host goes on to a guest, which sees the router as its sender.

use super::Router;
use super::datagrams::{Datagrams, Via};
use super::flows::{Flow, Kind};
use crate::config::{Forward, Protocol, Target};
use crate::context::Key;
use crate::host::{Host, Token, Wire};
use crate::packet::{Mac, ip};
use crate::table::Id;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const LISTENER: Token = 1 << 60;
/// Who comes to a guest that is not there yet waits so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients of one forward of datagrams.
const CLIENTS: usize = 4096;
/// What is taken from a listener before others have their turn.
const TURN: usize = 64;

/// Whether a token is that of a listener.
pub fn listener(token: Token) -> Option<u64> {
    (token & LISTENER != 0).then_some(token & !LISTENER)
}

struct Listener<S> {
    forward: Forward,
    socket: S,
    clients: HashMap<SocketAddr, Id>,
    /// Somebody waits since then.
    waits: Option<Instant>,
}

pub struct Listeners<S> {
    all: HashMap<u64, Listener<S>>,
    next: u64,
    problems: HashMap<Forward, String>,
}

impl<S> Default for Listeners<S> {
    fn default() -> Self {
        Self { all: HashMap::new(), next: 0, problems: HashMap::new() }
    }
}

impl<S> Listeners<S> {
    pub fn socket(&self, number: u64) -> Option<&S> {
        self.all.get(&number).map(|listener| &listener.socket)
    }

    pub fn forget(&mut self, via: &Via) {
        if let Via::Forwarded { listener, peer } = via
            && let Some(listener) = self.all.get_mut(listener)
        {
            listener.clients.remove(peer);
        }
    }

    pub fn problems(&self) -> Vec<String> {
        let mut all: Vec<String> = self.problems.values().cloned().collect();
        all.sort();
        all
    }

    pub fn somebody_waits(&self) -> bool {
        self.all.values().any(|listener| listener.waits.is_some())
    }
}

impl<H: Host> Router<H> {
    /// Listens where the configuration says, and nowhere else.
    pub(super) fn listen(&mut self) {
        let wanted = &self.config.forwards;
        self.listeners.all.retain(|_, listener| wanted.contains(&listener.forward));
        self.listeners.problems.retain(|forward, _| wanted.contains(forward));
        for forward in wanted {
            if self.listeners.all.values().any(|listener| listener.forward == *forward) {
                continue;
            }
            let number = self.listeners.next;
            self.listeners.next = (number + 1) & (LISTENER - 1);
            let token = LISTENER | number;
            let opened = match forward.protocol {
                Protocol::Tcp => self.core.host.listen(forward.at, token),
                Protocol::Udp => self.core.host.bind(forward.at, token),
            };
            match opened {
                Ok(socket) => {
                    self.listeners.problems.remove(forward);
                    let (forward, clients) = (*forward, HashMap::new());
                    self.listeners.all.insert(number, Listener { forward, socket, clients, waits: None });
                }
                Err(error) => {
                    let why = match error.kind() {
                        ErrorKind::AddrInUse => "somebody else uses it".to_owned(),
                        ErrorKind::PermissionDenied => "ports below 1024 are root's".to_owned(),
                        ErrorKind::AddrNotAvailable => "this host has no such address".to_owned(),
                        _ => error.to_string(),
                    };
                    let told = format!("{:?} {} is not forwarded: {why}", forward.protocol, forward.at);
                    self.listeners.problems.insert(*forward, told);
                }
            }
        }
    }

    /// Who a forward leads to now: the adapter, and the address that it is called at.
    fn target(&self, forward: &Forward, now: Instant) -> Option<(Mac, IpAddr)> {
        match forward.to {
            Target::Address(address) => Some((self.guests.mac(address)?, address)),
            Target::Adapter(mac) => {
                let known = self.guests.addresses(mac, now);
                let alike = |address: &&IpAddr| address.is_ipv4() == forward.at.is_ipv4();
                let address = known.iter().find(alike).or(known.first()).copied();
                // Who has been silent for long, or since the router began anew, still has its lease.
                let address = address.or_else(|| self.leases.address(mac, now).map(IpAddr::V4));
                Some((mac, address?))
            }
        }
    }

    /// Somebody came to a listener.
    pub(super) fn arrived(&mut self, number: u64, now: Instant, wire: &mut dyn Wire) {
        let Some(forward) = self.listeners.all.get(&number).map(|listener| listener.forward) else { return };
        match self.target(&forward, now) {
            Some((mac, address)) => {
                if let Some(listener) = self.listeners.all.get_mut(&number) {
                    listener.waits = None;
                }
                let to = SocketAddr::new(address, forward.port);
                match forward.protocol {
                    Protocol::Tcp => self.take_streams(number, mac, to, now, wire),
                    Protocol::Udp => self.take_datagrams(number, mac, to, now, wire),
                }
            }
            None => {
                if let Target::Address(address) = forward.to {
                    self.ask_who(address, now, wire);
                }
                self.keep_waiting(number, now);
            }
        }
    }

    /// Those that came wait in the kernel. Whose guest does not come is sent away.
    fn keep_waiting(&mut self, number: u64, now: Instant) {
        let Some(listener) = self.listeners.all.get_mut(&number) else { return };
        let since = *listener.waits.get_or_insert(now);
        if now.saturating_duration_since(since) < PATIENCE {
            return;
        }
        listener.waits = None;
        for _ in 0..TURN {
            match listener.forward.protocol {
                Protocol::Tcp => match self.core.host.accept(&listener.socket, LISTENER - 1) {
                    Ok(socket) => self.core.host.abort(socket),
                    Err(_) => break,
                },
                Protocol::Udp => {
                    if self.core.host.receive_from(&listener.socket, &mut self.core.room).is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// Those that wait for their guest are tried again.
    pub(super) fn arrivals_again(&mut self, now: Instant, wire: &mut dyn Wire) {
        let waiting = self.listeners.all.iter().filter(|(_, listener)| listener.waits.is_some());
        let numbers: Vec<u64> = waiting.map(|(number, _)| *number).collect();
        numbers.into_iter().for_each(|number| self.arrived(number, now, wire));
    }

    /// A port of the router's that this guest's end has no flow with.
    fn free_port(&mut self, mac: Mac, protocol: u8, guest: SocketAddr) -> Option<Key> {
        let own = self.config.own(guest.ip())?;
        for _ in 0..16 {
            let port = 32768 | self.core.random() as u16;
            let key = Key { mac, protocol, guest, remote: (own, port).into(), tag: 0 };
            if self.find(&key).is_none() {
                return Some(key);
            }
        }
        None
    }

    fn take_streams(&mut self, number: u64, mac: Mac, to: SocketAddr, now: Instant, wire: &mut dyn Wire) {
        for _ in 0..TURN {
            if !self.make_room(mac, true, now, wire) {
                return;
            }
            let token = self.flows.next().number();
            let Some(listener) = self.listeners.all.get(&number) else { return };
            let Ok(socket) = self.core.host.accept(&listener.socket, token) else { return };
            match self.free_port(mac, ip::TCP, to) {
                Some(key) => self.open_inward(key, socket, now, wire),
                None => self.core.host.abort(socket),
            }
        }
        // More may have come than were taken.
        if let Some(listener) = self.listeners.all.get_mut(&number) {
            listener.waits = Some(now);
        }
    }

    fn take_datagrams(&mut self, number: u64, mac: Mac, to: SocketAddr, now: Instant, wire: &mut dyn Wire) {
        for _ in 0..TURN {
            let Some(listener) = self.listeners.all.get(&number) else { return };
            let received = self.core.host.receive_from(&listener.socket, &mut self.core.room);
            let Ok((count, peer)) = received else { return };
            let bytes = self.core.room[..count.min(self.core.room.len())].to_vec();
            let known = listener.clients.get(&peer).copied();
            let known = known.and_then(|id| self.flows.get(id)).map(|flow| flow.key);
            let key = match known.filter(|key| key.mac == mac && key.guest == to) {
                Some(key) => key,
                None => match self.meet(number, peer, mac, to, now, wire) {
                    Some(key) => key,
                    None => continue,
                },
            };
            if let Some(id) = self.find(&key) {
                self.touch(id, now);
            }
            if bytes.len() <= 65535 - ip::HEADER6 - crate::packet::udp::HEADER {
                self.say_udp(&key, &bytes, now, wire);
            }
        }
        if let Some(listener) = self.listeners.all.get_mut(&number) {
            listener.waits = Some(now);
        }
    }

    /// A new client of a forward of datagrams.
    fn meet(
        &mut self,
        number: u64,
        peer: SocketAddr,
        mac: Mac,
        to: SocketAddr,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<Key> {
        let full = self.listeners.all.get(&number)?.clients.len() >= CLIENTS;
        if full || !self.make_room(mac, false, now, wire) {
            return None;
        }
        let key = self.free_port(mac, ip::UDP, to)?;
        let via = Via::Forwarded { listener: number, peer };
        let datagrams = Datagrams { socket: None, via, waiting: Default::default() };
        let id = self.insert(Flow::new(key, Kind::Datagrams(datagrams), now))?;
        self.listeners.all.get_mut(&number)?.clients.insert(peer, id);
        Some(key)
    }
}
