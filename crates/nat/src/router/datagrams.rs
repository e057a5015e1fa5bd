//! Datagrams: UDP, questions for names, and ICMP's echo. Each pair of ends has a socket of its own, that hears nobody else.

use super::Router;
use super::flows::{Flow, Kind, Way};
use super::streams::is_exhausted;
use crate::context::{Context, Key};
use crate::dns::{Asked, LONGEST_QUESTION, PORT, Question};
use crate::host::{Host, Wire};
use crate::packet::icmp::{self, Icmp, Unreachable, echo_types};
use crate::packet::ip::{self, Fragment, Head, Ip};
use crate::packet::udp::{self, Udp};
use crate::packet::{Mac, ethernet, put};
use crate::table::Id;
use crate::tcp::Over;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// What a flow of datagrams is.
#[derive(Debug)]
pub enum Via {
    Plain,
    Echo,
    Name(Asked),
    /// Somebody came to a listener.
    Forwarded {
        listener: u64,
        peer: SocketAddr,
    },
}

#[derive(Debug)]
pub struct Datagrams<S> {
    /// `None`: it is the listener's.
    pub socket: Option<S>,
    pub via: Via,
    /// Frames for which the wire had no room: one, or the parts of one packet.
    pub waiting: VecDeque<Vec<u8>>,
}

/// Datagrams that a flow gives before others have their turn.
const TURN: usize = 64;
/// After this time another resolver is asked, and so often one is.
const NEXT_RESOLVER: Duration = Duration::from_secs(2);
const TRIES: usize = 4;

/// Sends what follows IP's header, in parts if it is too long. Gives the frames for which the wire had no room.
fn send<H: Host>(
    cx: &mut Context<'_, H>,
    mac: Mac,
    head: &Head,
    bytes: &[u8],
    parts: &mut u32,
) -> VecDeque<Vec<u8>> {
    let mut left = VecDeque::new();
    let kind = if head.source.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
    let header = ip::header(head.source);
    if header + bytes.len() <= cx.mtu {
        ethernet::start(cx.frame, mac, cx.own, kind);
        head.write(cx.frame, bytes.len());
        cx.frame.extend_from_slice(bytes);
        if !cx.emit() {
            left.push_back(cx.frame.clone());
        }
        return left;
    }
    *parts = parts.wrapping_add(1);
    let part_header = if head.source.is_ipv4() { 0 } else { 8 };
    let most = (cx.mtu - header - part_header) & !7;
    for (n, piece) in bytes.chunks(most).enumerate() {
        let offset = n * most;
        let part = Fragment { id: *parts, offset, more: offset + piece.len() < bytes.len() };
        ethernet::start(cx.frame, mac, cx.own, kind);
        head.write_part(cx.frame, piece.len(), Some(part));
        cx.frame.extend_from_slice(piece);
        if !left.is_empty() || !cx.emit() {
            left.push_back(cx.frame.clone());
        }
    }
    left
}

impl<H: Host> Router<H> {
    pub(super) fn datagram(
        &mut self,
        mac: Mac,
        packet: &Ip<'_>,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<()> {
        let message = Udp::parse(packet)?;
        let key = Key::of(mac, packet, [message.source, message.destination], 0);
        let remote = key.remote;
        // Questions have flows of their own, by their numbers, of which 0 is one.
        if self.config.is_router(remote.ip()) && remote.port() == PORT {
            return self.asked(key, message.payload, now, wire);
        }
        if let Some(id) = self.find(&key) {
            self.touch(id, now);
            self.pass_on(id, message.payload, packet, now, wire);
            return Some(());
        }
        if remote.port() == 0 {
            return None;
        }
        let Way::Host(to) = self.way(ip::UDP, remote) else {
            self.core.counters.refused += 1;
            self.tell(mac, packet, Unreachable::Port, now, wire);
            return Some(());
        };
        if !self.make_room(mac, false, now, wire) {
            return Some(());
        }
        let token = self.flows.next().number();
        match self.core.host.datagrams(to, token) {
            Ok(socket) => {
                let datagrams = Datagrams { socket: Some(socket), via: Via::Plain, waiting: VecDeque::new() };
                if let Some(id) = self.insert(Flow::new(key, Kind::Datagrams(datagrams), now)) {
                    self.pass_on(id, message.payload, packet, now, wire);
                }
            }
            Err(error) => self.no_socket(mac, packet, &error, now, wire),
        }
        Some(())
    }

    fn no_socket(&mut self, mac: Mac, packet: &Ip<'_>, error: &io::Error, now: Instant, wire: &mut dyn Wire) {
        if is_exhausted(error) {
            self.core.counters.sockets_refused += 1;
        } else {
            self.core.counters.refused += 1;
            self.tell(mac, packet, crate::tcp::why(error), now, wire);
        }
    }

    /// To the host.
    fn pass_on(&mut self, id: Id, bytes: &[u8], packet: &Ip<'_>, now: Instant, wire: &mut dyn Wire) {
        let Some(flow) = self.flows.get(id) else { return };
        let Kind::Datagrams(datagrams) = &flow.kind else { return };
        let sent = match (&datagrams.via, &datagrams.socket) {
            (Via::Forwarded { listener, peer }, _) => match self.listeners.socket(*listener) {
                Some(socket) => self.core.host.send_to(socket, bytes, *peer),
                None => return,
            },
            (_, Some(socket)) => self.core.host.send(socket, bytes),
            (_, None) => return,
        };
        let mac = flow.key.mac;
        match sent {
            Ok(_) => (),
            // As on any wire that is full.
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.core.counters.wire_full += 1,
            Err(error) => {
                // Of the datagram before this one: this one may still go.
                let again = error.kind() == ErrorKind::ConnectionRefused;
                self.tell(mac, packet, crate::tcp::why(&error), now, wire);
                if !again {
                    self.remove(id, Over::Closed);
                }
            }
        }
    }

    /// A question for a name.
    fn asked(&mut self, key: Key, message: &[u8], now: Instant, wire: &mut dyn Wire) -> Option<()> {
        let question = Question::parse(message).filter(|question| !question.is_answer)?;
        if message.len() > LONGEST_QUESTION {
            return None;
        }
        // The host's resolver may let its own machine do more than ask.
        if !question.is_query() {
            self.say_udp(&key, &question.refusal(), now, wire);
            return Some(());
        }
        if let Some(answer) = question.answer(&self.config, &self.guests, now) {
            self.say_udp(&key, &answer, now, wire);
            return Some(());
        }
        let key = Key { tag: question.id, ..key };
        if let Some(id) = self.find(&key) {
            // It asks again: the next resolver may know more.
            self.ask_next(id, now, wire);
            return Some(());
        }
        if !self.make_room(key.mac, false, now, wire) {
            return Some(());
        }
        let ours = self.core.random() as u16;
        let asked =
            Asked { id: question.id, ours, message: message.to_vec(), tries: 0, again: now + NEXT_RESOLVER };
        let datagrams = Datagrams { socket: None, via: Via::Name(asked), waiting: VecDeque::new() };
        if let Some(id) = self.insert(Flow::new(key, Kind::Datagrams(datagrams), now)) {
            self.ask_next(id, now, wire);
        }
        Some(())
    }

    fn ask_next(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        let Some(flow) = self.flows.entry(id) else { return };
        let key = flow.key;
        let Kind::Datagrams(datagrams) = &mut flow.kind else { return };
        let Via::Name(asked) = &mut datagrams.via else { return };
        let resolvers = &self.config.resolvers;
        while asked.tries < TRIES.max(resolvers.len()) && !resolvers.is_empty() {
            let resolver = SocketAddr::new(resolvers[asked.tries % resolvers.len()], PORT);
            asked.tries += 1;
            asked.again = now + NEXT_RESOLVER;
            let mut message = asked.message.clone();
            put(&mut message, 0, &asked.ours.to_be_bytes());
            let sent = self.core.host.datagrams(resolver, id.number()).and_then(|socket| {
                self.core.host.send(&socket, &message)?;
                Ok(socket)
            });
            if let Ok(socket) = sent {
                datagrams.socket = Some(socket);
                self.arm(id);
                return;
            }
        }
        let failure = Question::parse(&asked.message).map(|question| question.failure());
        self.remove(id, Over::Closed);
        if let Some(failure) = failure {
            self.say_udp(&key, &failure, now, wire);
        }
    }

    /// A resolver has taken its time.
    pub(super) fn name_again(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        if let Some(flow) = self.flows.get(id)
            && let Kind::Datagrams(Datagrams { via: Via::Name(asked), .. }) = &flow.kind
            && asked.again <= now
        {
            self.ask_next(id, now, wire);
        }
    }

    /// A datagram of the router's own.
    pub(super) fn say_udp(&mut self, key: &Key, payload: &[u8], now: Instant, wire: &mut dyn Wire) {
        let mut bytes = Vec::with_capacity(udp::HEADER + payload.len());
        udp::write(&mut bytes, key.remote, key.guest, payload);
        let head = Head::new(key.remote.ip(), key.guest.ip(), ip::UDP);
        let mut parts = self.core.parts;
        let mut cx = self.core.context(&self.config, wire, now, true);
        let left = send(&mut cx, key.mac, &head, &bytes, &mut parts);
        self.core.parts = parts;
        if !left.is_empty() {
            self.wait_with(key, left);
        }
    }

    /// Frames that wait for the wire with their flow, if that has none yet; else they are lost.
    fn wait_with(&mut self, key: &Key, left: VecDeque<Vec<u8>>) {
        if let Some(id) = self.find(key)
            && let Some(flow) = self.flows.entry(id)
            && let Kind::Datagrams(datagrams) = &mut flow.kind
            && datagrams.waiting.is_empty()
        {
            datagrams.waiting = left;
            flow.waits = true;
            self.blocked.push(id);
        } else {
            self.core.counters.wire_full += 1;
        }
    }

    /// A message of ICMP to somebody else, or to the router.
    pub(super) fn message(
        &mut self,
        mac: Mac,
        packet: &Ip<'_>,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<()> {
        let message = Icmp::parse(packet)?;
        let (request, reply) = echo_types(packet.source);
        if message.kind != request {
            // What a guest says of flows that the host has is not passed on.
            self.core.counters.not_forwarded += 1;
            return Some(());
        }
        if self.config.is_router(packet.destination) {
            let mut answer = message.message.to_vec();
            answer[0] = reply;
            icmp::fill(&mut answer, 0, packet.destination, packet.source);
            self.say_icmp(mac, packet.destination, packet.source, &answer, now, wire);
            return Some(());
        }
        let (tag, _) = message.echo()?;
        let key = Key::of(mac, packet, [0, 0], tag);
        let id = match self.find(&key) {
            Some(id) => id,
            None => {
                if !self.make_room(mac, false, now, wire) {
                    return Some(());
                }
                let token = self.flows.next().number();
                match self.core.host.echo(packet.destination, token) {
                    Ok(socket) => {
                        let datagrams =
                            Datagrams { socket: Some(socket), via: Via::Echo, waiting: VecDeque::new() };
                        self.insert(Flow::new(key, Kind::Datagrams(datagrams), now))?
                    }
                    Err(error) => {
                        let denied = error.kind() == ErrorKind::PermissionDenied;
                        self.core.counters.echoes_refused += u64::from(denied);
                        self.no_socket(mac, packet, &error, now, wire);
                        return Some(());
                    }
                }
            }
        };
        self.touch(id, now);
        self.pass_on(id, message.message, packet, now, wire);
        Some(())
    }

    pub(super) fn say_icmp(
        &mut self,
        mac: Mac,
        from: IpAddr,
        to: IpAddr,
        message: &[u8],
        now: Instant,
        wire: &mut dyn Wire,
    ) {
        let protocol = if from.is_ipv4() { ip::ICMP } else { ip::ICMPV6 };
        let mut parts = self.core.parts;
        let mut cx = self.core.context(&self.config, wire, now, true);
        let left = send(&mut cx, mac, &Head::new(from, to, protocol), message, &mut parts);
        cx.counters.wire_full += u64::from(!left.is_empty());
        self.core.parts = parts;
    }

    /// What came from the host, as much as the wire takes.
    pub(super) fn datagrams_ready(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        for _ in 0..TURN {
            match self.one_datagram(id, now, wire) {
                Some(true) => (),
                Some(false) => return,
                None => {
                    self.remove(id, Over::Closed);
                    return;
                }
            }
        }
        self.again.push(id);
    }

    /// `None`: the flow is over. False: there is nothing more for now.
    fn one_datagram(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) -> Option<bool> {
        let Some(flow) = self.flows.entry(id) else { return Some(false) };
        let Kind::Datagrams(datagrams) = &mut flow.kind else { return Some(false) };
        let mut parts = self.core.parts;
        let mut cx = self.core.context(&self.config, wire, now, true);
        flow.waits = false;
        while let Some(frame) = datagrams.waiting.pop_front() {
            cx.frame.clear();
            cx.frame.extend_from_slice(&frame);
            if !cx.emit() {
                datagrams.waiting.push_front(frame);
                flow.waits = true;
                self.blocked.push(id);
                return Some(false);
            }
        }
        let Some(socket) = &datagrams.socket else { return Some(false) };
        let count = match cx.host.receive(socket, cx.room) {
            Ok(count) => count.min(cx.room.len()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Some(false);
            }
            Err(error) => return self.datagram_failed(id, &error, now, wire),
        };
        flow.used = now;
        let key = flow.key;
        let mut bytes = Vec::with_capacity(udp::HEADER + count);
        match &datagrams.via {
            Via::Name(asked) => {
                if !asked.fits(&mut cx.room[..count]) {
                    cx.counters.answers_refused += 1;
                    return Some(true);
                }
                udp::write(&mut bytes, key.remote, key.guest, &cx.room[..count]);
            }
            Via::Echo => {
                let (_, reply) = echo_types(key.remote.ip());
                if count < 8 || cx.room[0] != reply {
                    return Some(true);
                }
                bytes.extend_from_slice(&cx.room[..count]);
                put(&mut bytes, 4, &key.tag.to_be_bytes());
                icmp::fill(&mut bytes, 0, key.remote.ip(), key.guest.ip());
            }
            _ if count > 65535 - ip::HEADER6 - udp::HEADER => return Some(true),
            _ => udp::write(&mut bytes, key.remote, key.guest, &cx.room[..count]),
        }
        let head = Head::new(key.remote.ip(), key.guest.ip(), key.protocol);
        let is_name = matches!(datagrams.via, Via::Name(_));
        datagrams.waiting = send(&mut cx, key.mac, &head, &bytes, &mut parts);
        if !datagrams.waiting.is_empty() {
            flow.waits = true;
            self.blocked.push(id);
        }
        self.core.parts = parts;
        let waits = flow.waits;
        (!is_name || waits).then_some(!waits)
    }

    fn datagram_failed(
        &mut self,
        id: Id,
        error: &io::Error,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<bool> {
        let flow = self.flows.get(id)?;
        let key = flow.key;
        let Kind::Datagrams(datagrams) = &flow.kind else { return None };
        match datagrams.via {
            Via::Name(_) => {
                self.ask_next(id, now, wire);
                return Some(false);
            }
            Via::Plain => {
                let mut about = Vec::new();
                udp::packet(&mut about, key.guest, key.remote, &[]);
                let why = crate::tcp::why(error);
                self.tell_about(key.mac, key.guest.ip(), key.remote.ip(), &about, why, now, wire);
            }
            Via::Echo | Via::Forwarded { .. } => (),
        }
        None
    }
}
