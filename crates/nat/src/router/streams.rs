//! Streams: a guest's SYN becomes a connection of the host's, and what follows moves it on.

use super::Router;
use super::flows::{Flow, Kind, Way};
use crate::context::{Context, Key};
use crate::host::{Host, Ready, Wire};
use crate::packet::icmp::Unreachable;
use crate::packet::ip::{self, Ip};
use crate::packet::tcp::{ACK, FIN, RST, SYN, Segment, Words};
use crate::packet::{Mac, ethernet};
use crate::table::Id;
use crate::tcp::{Connection, Over};
use std::io::{self, ErrorKind};
use std::time::Instant;

/// Whether the host has no socket left for one more.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    // EAGAIN (no port is left), EMFILE, ENFILE and ENOBUFS.
    matches!(error.raw_os_error(), Some(11 | 23 | 24 | 105)) || error.kind() == ErrorKind::OutOfMemory
}

impl<H: Host> Router<H> {
    pub(super) fn stream(
        &mut self,
        mac: Mac,
        packet: &Ip<'_>,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<()> {
        let segment = Segment::parse(packet)?;
        let key = Key::of(mac, packet, [segment.source, segment.destination], 0);
        if let Some(id) = self.find(&key) {
            self.touch(id, now);
            self.serve(id, now, wire, |stream, cx, key| stream.segment(cx, key, &segment));
            return Some(());
        }
        if segment.flags & (SYN | ACK | RST | FIN) != SYN || key.guest.port() == 0 || key.remote.port() == 0 {
            self.reject(&key, &segment, now, wire);
            return Some(());
        }
        self.open(key, packet, &segment, now, wire);
        Some(())
    }

    fn open(&mut self, key: Key, packet: &Ip<'_>, syn: &Segment<'_>, now: Instant, wire: &mut dyn Wire) {
        let Way::Host(to) = self.way(ip::TCP, key.remote) else {
            self.core.counters.refused += 1;
            return self.reject(&key, syn, now, wire);
        };
        if !self.make_room(key.mac, true, now, wire) {
            return;
        }
        let token = self.flows.next().number();
        match self.core.host.connect(to, token) {
            Ok(socket) => {
                let (sequence, mtu) = (self.core.random() as u32, usize::from(self.config.mtu));
                let stream = Connection::asked_by_guest(socket, sequence, mtu, &key, syn);
                self.insert(Flow::new(key, Kind::Stream(stream), now));
            }
            // The guest asks again.
            Err(error) if is_exhausted(&error) => self.core.counters.sockets_refused += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.reject(&key, syn, now, wire),
            Err(error) => {
                self.core.counters.refused += 1;
                self.tell(key.mac, packet, crate::tcp::why(&error), now, wire);
            }
        }
    }

    /// The answer to a segment of no connection (RFC 9293, 3.10.7.1).
    fn reject(&mut self, key: &Key, segment: &Segment<'_>, now: Instant, wire: &mut dyn Wire) {
        if segment.has(RST) {
            return;
        }
        let len = segment.payload.len() as u32 + u32::from(segment.has(SYN)) + u32::from(segment.has(FIN));
        let (flags, sequence, acknowledgment) = match segment.has(ACK) {
            true => (RST, segment.acknowledgment, 0),
            false => (RST | ACK, 0, segment.sequence.wrapping_add(len)),
        };
        let words = Words {
            from: key.remote,
            to: key.guest,
            sequence,
            acknowledgment,
            flags,
            window: 0,
            maximum: None,
            scale: None,
        };
        let kind = if key.guest.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
        let mut cx = self.core.context(&self.config, wire, now, true);
        ethernet::start(cx.frame, key.mac, cx.own, kind);
        words.packet(cx.frame, [&[], &[]]);
        cx.emit();
    }

    /// Somebody came to the host and wants this guest.
    pub(super) fn open_inward(&mut self, key: Key, socket: H::Socket, now: Instant, wire: &mut dyn Wire) {
        let sequence = self.core.random() as u32;
        let stream = Connection::asked_by_host(socket, sequence);
        if let Some(id) = self.insert(Flow::new(key, Kind::Stream(stream), now)) {
            self.serve(id, now, wire, |stream, cx, key| {
                stream.greet(cx, key);
                None
            });
        }
    }

    pub(super) fn stream_ready(&mut self, id: Id, ready: Ready, now: Instant, wire: &mut dyn Wire) {
        self.serve(id, now, wire, |stream, cx, key| stream.ready(cx, key, ready));
    }

    pub(super) fn stream_goes_on(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        if let Some(flow) = self.flows.entry(id) {
            flow.waits = false;
        }
        self.serve(id, now, wire, |stream, cx, key| stream.drive(cx, key));
    }

    pub(super) fn stream_ticks(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        self.serve(id, now, wire, |stream, cx, key| stream.tick(cx, key));
    }

    pub(super) fn pay(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        if let Some(flow) = self.flows.entry(id) {
            flow.owes = false;
        }
        self.serve(id, now, wire, |stream, cx, key| stream.pay(cx, key));
    }

    /// Does something with a stream, and what follows from it.
    fn serve(
        &mut self,
        id: Id,
        now: Instant,
        wire: &mut dyn Wire,
        job: impl FnOnce(&mut Connection<H::Socket>, &mut Context<'_, H>, &Key) -> Option<Over>,
    ) {
        let may_hold = self.held < self.limits.held;
        let Some(flow) = self.flows.entry(id) else { return };
        let Kind::Stream(stream) = &mut flow.kind else { return };
        let mut cx = self.core.context(&self.config, wire, now, may_hold);
        let (was_open, held) = (stream.is_open(), stream.held());
        let over = job(stream, &mut cx, &flow.key);
        self.held = self.held + stream.held() - held;
        if !was_open
            && stream.is_open()
            && let Some(guest) = self.guests.known(flow.key.mac)
        {
            guest.half_open_count -= 1;
        }
        match over {
            Some(Over::Refused(why)) => self.refuse(id, why, now, wire),
            Some(over) => self.remove(id, over),
            None => {
                if stream.blocked && !flow.waits {
                    flow.waits = true;
                    self.blocked.push(id);
                } else if stream.starved && !flow.waits {
                    flow.waits = true;
                    self.starved.push(id);
                }
                // What waits for room in somebody's port may take nothing from its own.
                if stream.owes() && !flow.owes && !stream.blocked {
                    flow.owes = true;
                    self.owing.push(id);
                }
                self.arm(id);
            }
        }
    }

    /// The host's connection never stood: the guest hears why.
    fn refuse(&mut self, id: Id, why: Unreachable, now: Instant, wire: &mut dyn Wire) {
        self.core.counters.refused += 1;
        let Some(flow) = self.flows.entry(id) else { return };
        let key = flow.key;
        let Kind::Stream(stream) = &mut flow.kind else { return };
        if why == Unreachable::Port {
            let mut cx = self.core.context(&self.config, wire, now, true);
            stream.reset(&mut cx, &key);
        } else {
            let words = Words {
                from: key.guest,
                to: key.remote,
                sequence: stream.asked_at(),
                acknowledgment: 0,
                flags: SYN,
                window: 0,
                maximum: None,
                scale: None,
            };
            let mut about = Vec::new();
            words.packet(&mut about, [&[], &[]]);
            self.tell_about(key.mac, key.guest.ip(), key.remote.ip(), &about, why, now, wire);
        }
        self.remove(id, Over::Closed);
    }
}
