//! The router: frames in, frames out, and the host's sockets behind [`Host`]. Nothing here waits or asks the clock.

mod datagrams;
mod flows;
mod forwards;
mod local;
mod streams;

use crate::config::Config;
use crate::context::{Context, Counters};
use crate::dhcp::leases::Leases;
use crate::fragments::Fragments;
use crate::guests::Guests;
use crate::host::{Host, Ready, Token, Wire};
use crate::packet::ethernet::{self, Ethernet};
use crate::packet::ip::{self, Ip};
use crate::packet::{Mac, is_group};
use crate::table::{Id, Table};
use flows::{Flow, Timers};
use forwards::Listeners;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What guests can make a router hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows of all guests, and of one.
    pub flows: usize,
    pub guest_flows: usize,
    /// Connections of one guest that do not stand yet.
    pub half_open: usize,
    /// Flows of datagrams of one guest, and of all: each takes a port of the host's.
    pub guest_datagrams: usize,
    pub datagrams: usize,
    /// Bytes that wait, of all flows.
    pub held: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // Of Linux' 28,232 ports for whoever asks for none (net.ipv4.ip_local_port_range) some stay for others.
        Self {
            flows: 32 * 1024,
            guest_flows: 16 * 1024,
            half_open: 1024,
            guest_datagrams: 4096,
            datagrams: 16 * 1024,
            held: 64 << 20,
        }
    }
}

/// One adapter on the wire, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub mac: Mac,
    pub addresses: Vec<IpAddr>,
    pub host_name: String,
    pub flows: usize,
}

/// How a router is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub guests: Vec<Seen>,
    pub counters: Counters,
    pub flows: usize,
    pub held: usize,
    /// Forwards that do not work, a sentence each.
    pub problems: Vec<String>,
}

/// What frames are made with.
struct Core<H> {
    host: H,
    frame: Vec<u8>,
    room: Vec<u8>,
    counters: Counters,
    random: RandomState,
    drawn: u64,
    /// Tells our packets' parts apart.
    parts: u32,
}

impl<H: Host> Core<H> {
    fn context<'a>(
        &'a mut self,
        config: &Config,
        wire: &'a mut dyn Wire,
        now: Instant,
        may_hold: bool,
    ) -> Context<'a, H> {
        Context {
            host: &mut self.host,
            wire,
            frame: &mut self.frame,
            room: &mut self.room,
            counters: &mut self.counters,
            now,
            own: config.mac,
            mtu: usize::from(config.mtu),
            may_hold,
        }
    }

    /// A number that nobody outside can tell in advance: a keyed hash of a counter (RFC 6528 does the same).
    fn random(&mut self) -> u64 {
        self.drawn += 1;
        self.random.hash_one(self.drawn)
    }
}

pub struct Router<H: Host> {
    config: Config,
    limits: Limits,
    core: Core<H>,
    flows: Table<Flow<H::Socket>>,
    by_key: HashMap<crate::context::Key, Id>,
    guests: Guests,
    leases: Leases,
    fragments: Fragments,
    listeners: Listeners<H::Socket>,
    timers: Timers,
    /// Flows that owe an acknowledgment, that wait for the wire, for memory, or for their turn.
    owing: Vec<Id>,
    blocked: Vec<Id>,
    starved: Vec<Id>,
    again: Vec<Id>,
    held: usize,
    /// Flows of datagrams.
    datagrams: usize,
    swept: Option<Instant>,
    advertised: Option<Instant>,
}

/// How often flows that are unused for too long are looked for, and who waits for memory or an address is tried again.
const SWEEP: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(50);
/// RFC 4861, 6.2.1: between MinRtrAdvInterval and MaxRtrAdvInterval.
const ADVERTISE: Duration = Duration::from_secs(300);

/// The longest message that a socket gives.
const ROOM: usize = 64 * 1024;

impl<H: Host> Router<H> {
    pub fn new(host: H, config: Config, limits: Limits) -> Self {
        let core = Core {
            host,
            frame: Vec::with_capacity(2048),
            room: vec![0; ROOM],
            counters: Counters::default(),
            random: RandomState::new(),
            drawn: 0,
            parts: 0,
        };
        let (flows, by_key, guests, leases, fragments) = Default::default();
        let mut router = Self {
            config: config.clone(),
            limits,
            core,
            flows,
            by_key,
            guests,
            leases,
            fragments,
            listeners: Listeners::default(),
            timers: Timers::default(),
            owing: Vec::new(),
            blocked: Vec::new(),
            starved: Vec::new(),
            again: Vec::new(),
            held: 0,
            datagrams: 0,
            swept: None,
            advertised: None,
        };
        router.configure(config);
        router
    }

    pub fn host(&mut self) -> &mut H {
        &mut self.core.host
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What counts from now on.
    pub fn configure(&mut self, config: Config) {
        self.guests.set_own(&config.adapters);
        self.leases.set_own(&config.adapters);
        self.config = config;
        self.listen();
    }

    pub fn report(&self, now: Instant) -> Report {
        let mut guests: Vec<Seen> = (self.guests.all())
            .map(|guest| Seen {
                mac: guest.mac,
                addresses: self.guests.addresses(guest.mac, now),
                host_name: guest.host_name.clone(),
                flows: guest.flows,
            })
            .collect();
        guests.sort_by_key(|guest| guest.mac);
        let counters = Counters { fragments_lost: self.fragments.lost, ..self.core.counters };
        Report {
            guests,
            counters,
            flows: self.flows.len(),
            held: self.held,
            problems: self.listeners.problems(),
        }
    }

    /// A frame from the wire.
    pub fn frame(&mut self, bytes: &[u8], now: Instant, wire: &mut dyn Wire) {
        self.core.counters.frames_in += 1;
        let Some(frame) = Ethernet::parse(bytes) else {
            self.core.counters.malformed += 1;
            return;
        };
        if is_group(frame.source) || frame.source == self.config.mac {
            self.core.counters.malformed += 1;
            return;
        }
        // What is for others comes here as long as nobody knows where they are.
        if frame.destination != self.config.mac && !is_group(frame.destination) {
            return;
        }
        let understood = match frame.kind {
            ethernet::ARP => self.arp(&frame, now, wire),
            ethernet::IPV4 => self.ip(&frame, Ip::parse4(frame.payload), now, wire),
            ethernet::IPV6 if self.config.six.is_some() => {
                self.ip(&frame, Ip::parse6(frame.payload), now, wire)
            }
            _ => Some(()),
        };
        if understood.is_none() {
            self.core.counters.malformed += 1;
        }
    }

    fn ip(
        &mut self,
        frame: &Ethernet<'_>,
        packet: Option<Ip<'_>>,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<()> {
        let packet = packet?;
        if packet.fragment.is_none() {
            return self.packet(frame, &packet, now, wire);
        }
        let Some(whole) = self.fragments.take(frame.source, &packet, now) else { return Some(()) };
        self.packet(frame, &Ip { payload: &whole, fragment: None, ..packet }, now, wire)
    }

    /// A whole packet.
    fn packet(
        &mut self,
        frame: &Ethernet<'_>,
        packet: &Ip<'_>,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<()> {
        if self.local(frame, packet, now, wire)? {
            return Some(());
        }
        // From an address of this network, or nobody could answer.
        if !self.config.is_guest(packet.source) {
            return None;
        }
        self.see(frame.source, packet.source, now);
        if frame.destination != self.config.mac {
            return Some(());
        }
        let to_router = self.config.is_router(packet.destination);
        if !to_router && (self.config.is_inside(packet.destination) || !ip::may_forward(packet.destination)) {
            self.core.counters.not_forwarded += 1;
            return Some(());
        }
        if !to_router && packet.hops <= 1 {
            self.tell(frame.source, packet, crate::packet::icmp::Unreachable::TooManyHops, now, wire);
            return Some(());
        }
        match packet.protocol {
            ip::TCP => self.stream(frame.source, packet, now, wire),
            ip::UDP => self.datagram(frame.source, packet, now, wire),
            ip::ICMP | ip::ICMPV6 => self.message(frame.source, packet, now, wire),
            _ => {
                self.core.counters.not_forwarded += 1;
                Some(())
            }
        }
    }

    /// What the host says of a socket.
    pub fn ready(&mut self, token: Token, ready: Ready, now: Instant, wire: &mut dyn Wire) {
        match forwards::listener(token) {
            Some(listener) => self.arrived(listener, now, wire),
            None => {
                let id = Id::of(token);
                self.stream_ready(id, ready, now, wire);
                self.datagrams_ready(id, now, wire);
            }
        }
    }

    /// The wire may have room again.
    pub fn room(&mut self, now: Instant, wire: &mut dyn Wire) {
        for id in std::mem::take(&mut self.blocked) {
            self.go_on(id, now, wire);
        }
    }

    /// Whether somebody waits for the wire.
    pub fn waits_for_room(&self) -> bool {
        !self.blocked.is_empty()
    }

    fn go_on(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        self.stream_goes_on(id, now, wire);
        self.datagrams_ready(id, now, wire);
    }

    /// Behind a number of frames: what they are owed.
    pub fn flush(&mut self, now: Instant, wire: &mut dyn Wire) {
        for id in std::mem::take(&mut self.owing) {
            self.pay(id, now, wire);
        }
    }

    /// The passing of time. Gives when it wants to be called again at the latest.
    pub fn tick(&mut self, now: Instant, wire: &mut dyn Wire) -> Instant {
        for id in std::mem::take(&mut self.again) {
            self.go_on(id, now, wire);
        }
        while let Some(id) = self.timers.due(now) {
            self.time(id, now, wire);
        }
        for id in std::mem::take(&mut self.starved) {
            self.go_on(id, now, wire);
        }
        self.arrivals_again(now, wire);
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.sweep(now, wire);
        }
        if self.advertised.is_none_or(|last| now.saturating_duration_since(last) >= ADVERTISE) {
            self.advertise(now, wire);
        }
        self.flush(now, wire);
        let mut next = self.swept.unwrap_or(now) + SWEEP;
        if !self.starved.is_empty() || self.listeners.somebody_waits() {
            next = next.min(now + RETRY);
        }
        if !self.again.is_empty() {
            next = now;
        }
        self.timers.next().map_or(next, |timer| timer.min(next))
    }
}
