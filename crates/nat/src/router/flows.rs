//! Flows: found by what their packets say, bounded, ended when nobody uses them, woken when their time has come.

use super::Router;
use super::datagrams::{Datagrams, Via};
use crate::context::Key;
use crate::dns;
use crate::host::{Host, Wire};
use crate::packet::{Mac, ip};
use crate::table::Id;
use crate::tcp::{Connection, Over};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

pub enum Kind<S> {
    Stream(Connection<S>),
    Datagrams(Datagrams<S>),
}

pub struct Flow<S> {
    pub key: Key,
    pub used: Instant,
    pub kind: Kind<S>,
    /// It is in the list of those that owe, and of those that wait.
    pub owes: bool,
    pub waits: bool,
    timer: Option<Instant>,
}

/// How long what is unused is kept: as Windows' NAT has it for streams that stand and for datagrams; RFC 5382 asks for two hours
/// and four minutes, and is met by keeping on while there is room.
const OPEN: Duration = Duration::from_secs(7440);
const HALF_CLOSED: Duration = Duration::from_secs(240);
const HALF_OPEN: Duration = Duration::from_secs(75);
const DATAGRAMS: Duration = Duration::from_secs(120);
const NAMES: Duration = Duration::from_secs(10);
const ECHO: Duration = Duration::from_secs(30);

impl<S> Flow<S> {
    pub fn new(key: Key, kind: Kind<S>, now: Instant) -> Self {
        Self { key, used: now, kind, owes: false, waits: false, timer: None }
    }

    fn patience(&self) -> Duration {
        match &self.kind {
            Kind::Stream(stream) if !stream.is_open() => HALF_OPEN,
            Kind::Stream(stream) if stream.is_half_closed() => HALF_CLOSED,
            Kind::Stream(_) => OPEN,
            Kind::Datagrams(Datagrams { via: Via::Name(_), .. }) => NAMES,
            Kind::Datagrams(Datagrams { via: Via::Echo, .. }) => ECHO,
            Kind::Datagrams(_) if self.key.remote.port() == dns::PORT => NAMES,
            Kind::Datagrams(_) => DATAGRAMS,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Stream(stream) => stream.deadline(),
            Kind::Datagrams(Datagrams { via: Via::Name(asked), .. }) => Some(asked.again),
            Kind::Datagrams(_) => None,
        }
    }
}

/// Who is to be woken when. An entry whose flow has another time by now is none.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Id)>>,
}

impl Timers {
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub fn due(&mut self, now: Instant) -> Option<Id> {
        let at = self.next()?;
        (at <= now).then(|| self.heap.pop().map(|Reverse((_, id))| id))?
    }

    /// Each flow has at most one entry that counts, and those that do not count go when the heap is twice as large as the flows.
    fn arm(&mut self, at: Instant, id: Id) {
        self.heap.push(Reverse((at, id)));
    }
}

impl<H: Host> Router<H> {
    /// A flow that is there.
    pub(super) fn find(&mut self, key: &Key) -> Option<Id> {
        self.by_key.get(key).copied()
    }

    /// Makes room for one more of this guest's. False: there is none.
    pub(super) fn make_room(&mut self, mac: Mac, stream: bool, now: Instant, wire: &mut dyn Wire) -> bool {
        let limits = self.limits;
        let Some(guest) = self.guests.enter(mac, now) else { return false };
        let (own, full) = (guest.flows, guest.flows >= limits.guest_flows);
        let crowded = !stream && guest.datagrams_count >= limits.guest_datagrams;
        let half_open = stream && guest.half_open_count >= limits.half_open;
        let oldest = self.flows.oldest(&guest.order);
        if half_open {
            while let Some(id) = self.guests.known(mac).and_then(|guest| guest.half_open.pop_front()) {
                let is_half = |flow: &Flow<H::Socket>| matches!(&flow.kind, Kind::Stream(s) if !s.is_open());
                if self.flows.get(id).is_some_and(is_half) {
                    self.evict(id, now, wire);
                    break;
                }
            }
        } else if crowded || !stream && self.datagrams >= limits.datagrams {
            let most = self.guests.all().max_by_key(|guest| guest.datagrams_count).map(|guest| guest.mac);
            let from = if crowded { Some(mac) } else { most };
            let Some(victim) = from.and_then(|mac| self.unused_datagrams(mac)) else { return false };
            self.evict(victim, now, wire);
        } else if full || self.flows.len() >= limits.flows {
            // Who has as many as anybody gives up one of its own; who has fewer takes from who has most.
            let most = self.guests.all().max_by_key(|guest| guest.flows);
            let most = most.filter(|most| !full && most.flows > own + 1);
            let victim = most.map_or(oldest, |most| self.flows.oldest(&most.order));
            let Some(victim) = victim else { return false };
            self.evict(victim, now, wire);
        }
        true
    }

    /// A flow of datagrams of this guest's that was not used since it was looked at last (Corbato's clock).
    fn unused_datagrams(&mut self, mac: Mac) -> Option<Id> {
        let guest = self.guests.known(mac)?;
        for _ in 0..2 * guest.datagrams.len() {
            let (id, seen) = guest.datagrams.pop_front()?;
            match self.flows.get(id) {
                None => (),
                Some(flow) if flow.used > seen => guest.datagrams.push_back((id, flow.used)),
                Some(_) => return Some(id),
            }
        }
        None
    }

    fn evict(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        self.core.counters.flows_evicted += 1;
        self.cut(id, now, wire);
    }

    /// Ends a flow that still stands; both ends hear of it.
    fn cut(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        if let Some(flow) = self.flows.entry(id)
            && let Kind::Stream(stream) = &mut flow.kind
        {
            let mut cx = self.core.context(&self.config, wire, now, true);
            stream.reset(&mut cx, &flow.key);
        }
        self.remove(id, Over::Broken);
    }

    pub(super) fn insert(&mut self, flow: Flow<H::Socket>) -> Option<Id> {
        let key = flow.key;
        let guest = self.guests.known(key.mac)?;
        let half = matches!(&flow.kind, Kind::Stream(stream) if !stream.is_open());
        let (datagrams, used) = (matches!(&flow.kind, Kind::Datagrams(_)), flow.used);
        let id = self.flows.insert(flow, &mut guest.order);
        guest.flows += 1;
        if half {
            guest.half_open_count += 1;
            guest.half_open.push_back(id);
            if guest.half_open.len() > 4 * self.limits.half_open {
                let flows = &self.flows;
                guest.half_open.retain(|id| flows.get(*id).is_some());
            }
        }
        if datagrams {
            self.datagrams += 1;
            guest.datagrams_count += 1;
            guest.datagrams.push_back((id, used));
            if guest.datagrams.len() > 2 * self.limits.guest_datagrams {
                let flows = &self.flows;
                guest.datagrams.retain(|(id, _)| flows.get(*id).is_some());
            }
        }
        self.by_key.insert(key, id);
        self.core.counters.flows_begun += 1;
        Some(id)
    }

    pub(super) fn remove(&mut self, id: Id, over: Over) {
        let Some(key) = self.flows.get(id).map(|flow| flow.key) else { return };
        let Some(guest) = self.guests.known(key.mac) else { return };
        let Some(flow) = self.flows.remove(id, &mut guest.order) else { return };
        guest.flows -= 1;
        if self.by_key.get(&key) == Some(&id) {
            self.by_key.remove(&key);
        }
        match flow.kind {
            Kind::Stream(stream) => {
                guest.half_open_count -= usize::from(!stream.is_open());
                self.held -= stream.held();
                if over == Over::Broken {
                    self.core.host.abort(stream.into_socket());
                }
            }
            Kind::Datagrams(datagrams) => {
                self.datagrams -= 1;
                guest.datagrams_count -= 1;
                self.listeners.forget(&datagrams.via);
            }
        }
    }

    pub(super) fn touch(&mut self, id: Id, now: Instant) {
        let Some(flow) = self.flows.entry(id) else { return };
        flow.used = now;
        let mac = flow.key.mac;
        if let Some(guest) = self.guests.known(mac) {
            self.flows.touch(id, &mut guest.order);
        }
    }

    /// Notes when a flow is to be woken.
    pub(super) fn arm(&mut self, id: Id) {
        let Some(flow) = self.flows.entry(id) else { return };
        let Some(deadline) = flow.deadline() else { return };
        if flow.timer.is_none_or(|timer| deadline < timer) {
            flow.timer = Some(deadline);
            self.timers.arm(deadline, id);
        }
    }

    /// A flow's timer went off.
    pub(super) fn time(&mut self, id: Id, now: Instant, wire: &mut dyn Wire) {
        let Some(flow) = self.flows.entry(id) else { return };
        if flow.timer.is_none_or(|timer| timer > now) {
            return;
        }
        flow.timer = None;
        if flow.deadline().is_some_and(|deadline| deadline <= now) {
            self.stream_ticks(id, now, wire);
            self.name_again(id, now, wire);
        }
        self.arm(id);
    }

    /// Ends what is unused for too long.
    pub(super) fn sweep(&mut self, now: Instant, wire: &mut dyn Wire) {
        self.fragments.expire(now);
        let ids: Vec<Id> = self.flows.ids().collect();
        for id in ids {
            let Some(flow) = self.flows.entry(id) else { continue };
            let unused = now.saturating_duration_since(flow.used);
            if let (Kind::Stream(stream), true) = (&mut flow.kind, unused >= super::SWEEP) {
                stream.shrink();
            }
            if unused >= flow.patience() {
                self.core.counters.flows_expired += 1;
                self.cut(id, now, wire);
            }
        }
        self.listen();
    }
}

/// Where a flow's socket leads, if a guest may go there.
pub enum Way {
    Host(std::net::SocketAddr),
    /// A service of the router that nobody offers.
    Closed,
}

impl<H: Host> Router<H> {
    /// Where what a guest sends there goes.
    pub(super) fn way(&self, protocol: u8, remote: std::net::SocketAddr) -> Way {
        if !self.config.is_router(remote.ip()) {
            return Way::Host(remote);
        }
        let loopback: std::net::IpAddr = match remote {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        if self.config.host_loopback.contains(&remote.port()) {
            return Way::Host((loopback, remote.port()).into());
        }
        match self.config.resolvers.first() {
            Some(resolver) if protocol == ip::TCP && remote.port() == dns::PORT => {
                Way::Host((*resolver, dns::PORT).into())
            }
            _ => Way::Closed,
        }
    }
}
