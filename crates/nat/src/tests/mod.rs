//! A router between a TCP/IP stack that others wrote (smoltcp, as the guest) and a host that is made up. Time is made up,
//! too: nothing here waits.

mod addresses;
mod datagrams;
mod forwards;
mod fuzz;
mod guest;
mod host;
mod many;
mod streams;

use crate::{Config, Limits, Mac, Network, Router};
use host::{FakeHost, FakeWire};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

pub const ROUTER: Mac = [2, 0x15, 0x5d, 0, 0, 1];
pub const GUEST: Mac = [0, 0x15, 0x5d, 0, 0, 9];
pub const OTHER: Mac = [0, 0x15, 0x5d, 0, 0, 10];
pub const NETWORK: Network = Network { router: Ipv4Addr::new(172, 20, 16, 1), length: 20 };
pub const OWN: Ipv4Addr = Ipv4Addr::new(172, 20, 16, 9);
pub const SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x1234, 0x5678, 0, 0, 0, 0, 1);
pub const OWN_SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x1234, 0x5678, 0, 0, 0, 0, 9);
/// Somewhere outside.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

pub fn config() -> Config {
    let mut config = Config::new(ROUTER, NETWORK);
    config.six = Some(SIX);
    config.resolvers = vec![IpAddr::from([192, 0, 2, 53]), IpAddr::from([192, 0, 2, 54])];
    config
}

pub const LIMITS: Limits = Limits {
    flows: 12_000,
    guest_flows: 11_000,
    half_open: 64,
    guest_datagrams: 12_000,
    datagrams: 12_000,
    held: 4 << 20,
};

/// A router with its wire.
pub struct World {
    pub router: Router<FakeHost>,
    pub wire: FakeWire,
    pub now: Instant,
}

impl World {
    pub fn new() -> Self {
        Self::with(config(), LIMITS)
    }

    pub fn with(config: Config, limits: Limits) -> Self {
        let router = Router::new(FakeHost::default(), config, limits);
        Self { router, wire: FakeWire::default(), now: Instant::now() }
    }

    pub fn frame(&mut self, frame: &[u8]) {
        self.router.frame(frame, self.now, &mut self.wire);
    }

    /// What the host's sockets have to say, and what is owed.
    pub fn run_until_idle(&mut self) {
        for _ in 0..1000 {
            let events = self.router.host().events();
            if events.is_empty() {
                break;
            }
            for (token, ready) in events {
                self.router.ready(token, ready, self.now, &mut self.wire);
            }
        }
        if self.wire.has_room() {
            self.router.room(self.now, &mut self.wire);
        }
        self.router.flush(self.now, &mut self.wire);
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.router.tick(self.now, &mut self.wire);
        self.run_until_idle();
    }

    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        self.wire.sent.drain(..).collect()
    }
}
