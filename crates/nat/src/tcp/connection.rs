//! One connection: the guest's segments and the host's socket moved on together.

use super::receiver::{self, Receiver};
use super::sender::{Piece, Sender, Timeout};
use super::sequence::distance;
use crate::context::{Context, Key};
use crate::host::{Host, Ready};
use crate::packet::icmp::Unreachable;
use crate::packet::tcp::{ACK, FIN, PSH, RST, SYN, Segment, Words};
use crate::packet::{ethernet, ip, tcp};
use std::io::{self, ErrorKind};
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The guest asked for it, and the host's connection does not stand yet.
    Connecting,
    /// The guest was told that it stands.
    SynReceived,
    /// Somebody came to the host, and the guest was asked.
    SynSent,
    Open,
}

/// Bytes that are worth a system call.
const GATHERED: usize = 64 * 1024;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// In order, or because the host's end is gone.
    Closed,
    /// The host's end is to hear that it broke off.
    Broken,
    /// It never stood.
    Refused(Unreachable),
}

#[derive(Debug)]
pub struct Connection<S> {
    socket: S,
    stage: Stage,
    sender: Sender,
    receiver: Receiver,
    /// The guest's SYN, while the host's connection does not stand.
    scaled: bool,
    window: u16,
    readable: bool,
    writable: bool,
    /// Behind what can be read is the end.
    peer_closed: bool,
    /// The host was told that the guest's stream has ended.
    told_end: bool,
    owes: bool,
    /// The wire had no room.
    pub blocked: bool,
    /// There was no memory for more.
    pub starved: bool,
    broken: bool,
}

/// The longest segment for packets of this length.
fn segment(mtu: usize, key: &Key) -> usize {
    mtu - ip::header(key.guest.ip()) - tcp::HEADER
}

impl<S> Connection<S> {
    fn new(socket: S, stage: Stage, sequence: u32) -> Self {
        Self {
            socket,
            stage,
            sender: Sender::new(sequence),
            receiver: Receiver::new(0, false),
            scaled: false,
            window: 0,
            readable: false,
            writable: false,
            peer_closed: false,
            told_end: false,
            owes: false,
            blocked: false,
            starved: false,
            broken: false,
        }
    }

    /// The guest asked for it by this SYN; the host's socket is on its way.
    pub fn asked_by_guest(socket: S, sequence: u32, mtu: usize, key: &Key, syn: &Segment<'_>) -> Self {
        let mut one = Self::new(socket, Stage::Connecting, sequence);
        one.heed_syn(mtu, key, syn);
        one
    }

    /// Somebody came to the host, and wants this guest.
    pub fn asked_by_host(socket: S, sequence: u32) -> Self {
        let mut one = Self::new(socket, Stage::SynSent, sequence);
        (one.readable, one.writable, one.peer_closed) = (true, true, true);
        one
    }

    fn heed_syn(&mut self, mtu: usize, key: &Key, syn: &Segment<'_>) {
        self.receiver = Receiver::new(syn.sequence.wrapping_add(1), syn.scale.is_some());
        self.scaled = syn.scale.is_some();
        self.sender.scale = syn.scale.unwrap_or(0);
        // RFC 9293, 3.7.1: without the option it is 536 (IPv6: 1220). Nobody needs pieces of a few bytes.
        let default = if key.guest.is_ipv4() { 536 } else { 1220 };
        let wanted = usize::from(syn.maximum.unwrap_or(default)).max(64);
        self.sender.segment = wanted.min(segment(mtu, key));
        self.window = syn.window;
    }

    /// Bytes that wait here, both ways.
    pub fn held(&self) -> usize {
        self.sender.held() + self.receiver.held()
    }

    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// One side has ended: who only waits for the other is not kept for as long.
    pub fn is_half_closed(&self) -> bool {
        self.sender.has_ended() || self.receiver.has_ended()
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.sender.deadline
    }

    pub fn owes(&self) -> bool {
        self.owes
    }

    pub fn shrink(&mut self) {
        self.sender.shrink();
        self.receiver.shrink();
    }

    /// The number of the SYN with which the guest asked.
    pub fn asked_at(&self) -> u32 {
        self.receiver.next().wrapping_sub(1)
    }

    pub fn into_socket(self) -> S {
        self.socket
    }

    /// Says something to the guest.
    fn say<H: Host>(
        &mut self,
        cx: &mut Context<'_, H>,
        key: &Key,
        flags: u8,
        sequence: u32,
        piece: Option<&Piece>,
    ) -> bool {
        let syn = flags & SYN != 0;
        let scaled = syn && (self.scaled || self.stage == Stage::SynSent);
        let window = match self.stage {
            Stage::SynSent => u16::MAX,
            // RFC 7323, 2.2: the window of a SYN is not shifted.
            _ if syn => (receiver::LIMIT.min(usize::from(u16::MAX))) as u16,
            _ => self.receiver.window(),
        };
        let words = Words {
            from: key.remote,
            to: key.guest,
            sequence,
            acknowledgment: if flags & ACK != 0 { self.receiver.next() } else { 0 },
            flags,
            window,
            maximum: syn.then(|| segment(cx.mtu, key) as u16),
            scale: scaled.then_some(receiver::SCALE),
        };
        let kind = if key.guest.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
        ethernet::start(cx.frame, key.mac, cx.own, kind);
        let bytes = piece.map_or([&[][..], &[]], |piece| self.sender.bytes(piece));
        words.packet(cx.frame, bytes);
        let sent = cx.emit();
        if sent && flags & ACK != 0 {
            self.owes = false;
        }
        self.blocked |= !sent;
        sent
    }

    fn say_piece<H: Host>(&mut self, cx: &mut Context<'_, H>, key: &Key, piece: &Piece) -> bool {
        let end = if piece.end { FIN } else { 0 };
        let push = if piece.push && piece.len > 0 { PSH } else { 0 };
        let sent = self.say(cx, key, ACK | end | push, piece.sequence, Some(piece));
        if sent {
            self.sender.sent(piece, cx.now);
        }
        sent
    }

    /// What is owed behind a batch of frames: to the host what has gathered, to the guest an acknowledgment, if no data that went
    /// out has brought it.
    pub fn pay<H: Host<Socket = S>>(&mut self, cx: &mut Context<'_, H>, key: &Key) -> Option<Over> {
        let over = self.drive(cx, key);
        if over.is_none() {
            self.flush(cx, key);
        }
        over
    }

    fn flush<H: Host>(&mut self, cx: &mut Context<'_, H>, key: &Key) {
        if self.owes && self.stage == Stage::Open {
            let last = self.sender.last();
            self.say(cx, key, ACK, last, None);
        }
    }

    /// The connection is over: the guest hears it.
    pub fn reset<H: Host>(&mut self, cx: &mut Context<'_, H>, key: &Key) {
        match self.stage {
            // The answer to a SYN has no number of its own.
            Stage::Connecting => self.say(cx, key, RST | ACK, 0, None),
            Stage::SynSent => self.say(cx, key, RST, self.sender.first().wrapping_add(1), None),
            _ => self.say(cx, key, RST | ACK, self.sender.last(), None),
        };
    }

    /// The first words: the guest's SYN is answered, or it is asked by one.
    pub fn greet<H: Host>(&mut self, cx: &mut Context<'_, H>, key: &Key) {
        let flags = if self.stage == Stage::SynSent { SYN } else { SYN | ACK };
        let first = self.sender.first();
        self.say(cx, key, flags, first, None);
        self.sender.syn_sent(cx.now);
    }

    /// A segment of the guest's.
    pub fn segment<H: Host<Socket = S>>(
        &mut self,
        cx: &mut Context<'_, H>,
        key: &Key,
        segment: &Segment<'_>,
    ) -> Option<Over> {
        match self.stage {
            Stage::Connecting => segment.has(RST).then_some(Over::Broken),
            Stage::SynReceived => self.answered(cx, key, segment),
            Stage::SynSent => self.agreed(cx, key, segment),
            Stage::Open => self.moved(cx, key, segment),
        }
    }

    fn answered<H: Host<Socket = S>>(
        &mut self,
        cx: &mut Context<'_, H>,
        key: &Key,
        segment: &Segment<'_>,
    ) -> Option<Over> {
        if segment.has(RST) {
            return Some(Over::Broken);
        }
        if segment.has(SYN) {
            self.greet(cx, key);
            return None;
        }
        let acknowledged = segment.acknowledgment == self.sender.first().wrapping_add(1);
        if !segment.has(ACK) || !acknowledged {
            return None;
        }
        self.sender.established(segment.window, true);
        self.stage = Stage::Open;
        (self.readable, self.writable, self.peer_closed) = (true, true, true);
        self.moved(cx, key, segment)
    }

    fn agreed<H: Host<Socket = S>>(
        &mut self,
        cx: &mut Context<'_, H>,
        key: &Key,
        segment: &Segment<'_>,
    ) -> Option<Over> {
        let acknowledged = segment.has(ACK) && segment.acknowledgment == self.sender.first().wrapping_add(1);
        if !acknowledged {
            return None;
        }
        if segment.has(RST) {
            return Some(Over::Broken);
        }
        if !segment.has(SYN) {
            return None;
        }
        self.heed_syn(cx.mtu, key, segment);
        self.sender.established(segment.window, false);
        self.stage = Stage::Open;
        self.owes = true;
        self.drive(cx, key)
    }

    fn moved<H: Host<Socket = S>>(
        &mut self,
        cx: &mut Context<'_, H>,
        key: &Key,
        segment: &Segment<'_>,
    ) -> Option<Over> {
        let len = segment.payload.len() + usize::from(segment.has(FIN));
        if !self.receiver.is_near(segment.sequence, len) {
            self.owes = !segment.has(RST);
            return None;
        }
        if segment.has(RST) {
            // RFC 5961, 3.2: one that does not fit exactly is asked about.
            self.owes = true;
            return (segment.sequence == self.receiver.next()).then_some(Over::Broken);
        }
        if segment.has(SYN) {
            self.owes = true;
            return None;
        }
        if !segment.has(ACK) {
            return None;
        }
        if self.sender.acknowledged(segment.acknowledgment, segment.window, len == 0, cx.now) {
            let piece = self.sender.first_piece();
            self.say_piece(cx, key, &piece);
        }
        if len > 0 {
            self.owes = true;
            self.take(cx, key, segment);
            // The rest behind the batch: see `pay`.
            if !segment.has(FIN) && !self.broken {
                return None;
            }
        }
        self.drive(cx, key)
    }

    fn take<H: Host<Socket = S>>(&mut self, cx: &mut Context<'_, H>, key: &Key, segment: &Segment<'_>) {
        let (sequence, payload) = (segment.sequence, segment.payload);
        if segment.has(FIN) {
            self.receiver.ends(sequence.wrapping_add(payload.len() as u32));
        }
        if distance(self.receiver.next(), sequence) > 0 {
            if cx.may_hold {
                self.receiver.keep_early(sequence, payload);
            }
            // RFC 5681, 4.2: a gap is told at once, each time.
            self.flush(cx, key);
            return;
        }
        if let Some(fresh) = self.receiver.fresh(sequence, payload) {
            self.give(cx, fresh);
        }
        while let Some((sequence, piece)) = self.receiver.due() {
            if let Some(fresh) = self.receiver.fresh(sequence, &piece) {
                self.give(cx, fresh);
            }
        }
    }

    /// The guest's next bytes. They go to the host behind the batch of frames that they are in, or when they are many.
    fn give<H: Host<Socket = S>>(&mut self, cx: &mut Context<'_, H>, fresh: &[u8]) {
        if !cx.may_hold {
            self.empty(cx);
        }
        if cx.may_hold || self.held() == 0 {
            self.receiver.came(fresh);
        }
        if self.receiver.held() >= GATHERED {
            self.empty(cx);
        }
    }

    fn failed(&mut self, error: &io::Error) {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => (),
            _ => self.broken = true,
        }
    }

    /// What the host's socket says.
    pub fn ready<H: Host<Socket = S>>(
        &mut self,
        cx: &mut Context<'_, H>,
        key: &Key,
        ready: Ready,
    ) -> Option<Over> {
        self.readable |= ready.read || ready.error;
        self.writable |= ready.write || ready.error;
        self.peer_closed |= ready.end || ready.error;
        match self.stage {
            Stage::Connecting => match cx.host.error(&self.socket) {
                Some(error) => Some(Over::Refused(why(&error))),
                None if ready.write && !ready.error => {
                    self.stage = Stage::SynReceived;
                    self.greet(cx, key);
                    None
                }
                None => ready.error.then_some(Over::Refused(Unreachable::Host)),
            },
            Stage::SynReceived | Stage::SynSent => None,
            Stage::Open => self.drive(cx, key),
        }
    }

    /// Moves all that can be moved.
    pub fn drive<H: Host<Socket = S>>(&mut self, cx: &mut Context<'_, H>, key: &Key) -> Option<Over> {
        if self.stage != Stage::Open {
            return None;
        }
        (self.blocked, self.starved) = (false, false);
        self.empty(cx);
        while self.put_out(cx, key) && self.fill(cx) {}
        self.sender.rests(cx.now);
        self.owes |= self.receiver.window_grew();
        if self.broken {
            self.reset(cx, key);
            return Some(Over::Closed);
        }
        let done = self.sender.is_done() && self.told_end;
        if done {
            self.flush(cx, key);
        }
        done.then_some(Over::Closed)
    }

    /// What waits for the host.
    fn empty<H: Host<Socket = S>>(&mut self, cx: &mut Context<'_, H>) {
        while self.writable && !self.receiver.nothing_waits() {
            match cx.host.send(&self.socket, self.receiver.waiting()) {
                Ok(0) => self.writable = false,
                Ok(count) => self.receiver.taken(count),
                Err(error) => {
                    self.writable = false;
                    self.failed(&error);
                }
            }
        }
        self.owes |= self.receiver.arrive_at_end();
        if self.receiver.has_ended() && self.receiver.nothing_waits() && !self.told_end {
            cx.host.end(&self.socket);
            self.told_end = true;
        }
    }

    /// From the host, as much as the guest will take soon. False: nothing came.
    fn fill<H: Host<Socket = S>>(&mut self, cx: &mut Context<'_, H>) -> bool {
        let room = self.sender.room();
        if !self.readable || room == 0 {
            return false;
        }
        if !cx.may_hold && self.held() > 0 {
            self.starved = true;
            return false;
        }
        let room = room.min(cx.room.len());
        match cx.host.receive(&self.socket, &mut cx.room[..room]) {
            Ok(0) => {
                self.sender.end();
                self.readable = false;
            }
            Ok(count) => {
                self.sender.give(&cx.room[..count.min(room)]);
                // epoll(7): less than there was room for is all that there was.
                self.readable = count >= room || self.peer_closed;
            }
            Err(error) => {
                // What comes from now on is told.
                (self.readable, self.peer_closed) = (false, false);
                self.failed(&error);
                return false;
            }
        }
        true
    }

    /// To the guest, as much as it takes. False: the wire has no room.
    fn put_out<H: Host>(&mut self, cx: &mut Context<'_, H>, key: &Key) -> bool {
        while let Some(piece) = self.sender.piece() {
            if !self.say_piece(cx, key, &piece) {
                return false;
            }
        }
        true
    }

    /// The passing of time.
    pub fn tick<H: Host<Socket = S>>(&mut self, cx: &mut Context<'_, H>, key: &Key) -> Option<Over> {
        match (self.sender.timeout(cx.now), self.stage) {
            (Timeout::NotYet, _) | (Timeout::Probe, Stage::Connecting) => None,
            (Timeout::GiveUp, _) => {
                self.reset(cx, key);
                Some(Over::Broken)
            }
            (Timeout::Probe, _) => {
                let before = self.sender.first().wrapping_sub(1);
                self.say(cx, key, ACK, before, None);
                None
            }
            (Timeout::Again, Stage::Open) => self.drive(cx, key),
            (Timeout::Again, _) => {
                self.greet(cx, key);
                None
            }
        }
    }
}

/// What a guest is told of an error of the host's.
pub fn why(error: &io::Error) -> Unreachable {
    match error.kind() {
        ErrorKind::ConnectionRefused => Unreachable::Port,
        ErrorKind::NetworkUnreachable => Unreachable::Network,
        ErrorKind::PermissionDenied => Unreachable::Prohibited,
        _ => Unreachable::Host,
    }
}
