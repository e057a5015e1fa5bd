//! Which adapter has which address: from a number made of its MAC address on, the next that is free, so that who comes again gets
//! the same, also from a router that has just begun.

use crate::config::Network;
use crate::packet::Mac;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// More leases than this are not given.
pub const MOST: usize = 1024;
/// And to those that are none of the switch's own.
const MOST_STRANGERS: usize = MOST / 2;
/// What is given for.
pub const TIME: Duration = Duration::from_secs(24 * 3600);
/// How long an offer stands, and an address that somebody else was found to have is left alone.
const OFFER: Duration = Duration::from_secs(60);
const DECLINED: Duration = Duration::from_secs(600);
const MOST_DECLINED: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Lease {
    address: Ipv4Addr,
    until: Instant,
}

#[derive(Debug, Default)]
pub struct Leases {
    by_mac: HashMap<Mac, Lease>,
    by_address: HashMap<Ipv4Addr, Mac>,
    declined: HashMap<Ipv4Addr, Instant>,
    /// Adapters that are the switch's own. None: nobody is a stranger.
    own: HashSet<Mac>,
}

impl Leases {
    /// Which adapters are the switch's own.
    pub fn set_own(&mut self, own: &[Mac]) {
        self.own = own.iter().copied().collect();
    }

    fn is_stranger(&self, mac: &Mac) -> bool {
        !self.own.is_empty() && !self.own.contains(mac)
    }

    fn is_full(&self, mac: &Mac) -> bool {
        let strangers = || self.by_mac.keys().filter(|mac| self.is_stranger(mac)).count();
        let crowded = self.by_mac.len() >= MOST_STRANGERS && self.is_stranger(mac);
        self.by_mac.len() >= MOST || crowded && strangers() >= MOST_STRANGERS
    }

    /// The address for an adapter: its own, the one that it preferred, or any. `None`: there is none left.
    pub fn choose(
        &mut self,
        network: Network,
        reserved: &[(Mac, Ipv4Addr)],
        mac: Mac,
        requested: Option<Ipv4Addr>,
        in_use: impl Fn(Ipv4Addr) -> bool,
        now: Instant,
    ) -> Option<Ipv4Addr> {
        if let Some((_, address)) = reserved.iter().find(|(owner, _)| *owner == mac) {
            return network.is_guest(*address).then_some(*address);
        }
        let is_free = |address: Ipv4Addr| {
            let taken = self.holder(address, now).is_some_and(|holder| holder != mac);
            let declined = self.declined.get(&address).is_some_and(|until| *until > now);
            let reserved = reserved.iter().any(|(_, one)| *one == address);
            network.is_guest(address) && !taken && !declined && !reserved && !in_use(address)
        };
        let own = self.by_mac.get(&mac).map(|lease| lease.address);
        let preferred = own.into_iter().chain(requested).find(|address| is_free(*address));
        preferred.or_else(|| {
            let size = (!network.mask()).saturating_add(1).max(1);
            let hash = mac
                .iter()
                .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
            // More would only be full, too.
            let tries = size.min(4 * MOST as u32);
            let place = |n: u32| Ipv4Addr::from(network.first() | ((hash % size).wrapping_add(n) % size));
            (0..tries).map(place).find(|address| is_free(*address))
        })
    }

    /// Whether it may have this address.
    pub fn offer(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) -> bool {
        let until = self.by_mac.get(&mac).filter(|lease| lease.address == address).map(|lease| lease.until);
        self.keep(mac, address, until.unwrap_or(now).max(now + OFFER), now)
    }

    pub fn give(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) -> bool {
        self.keep(mac, address, now + TIME, now)
    }

    fn keep(&mut self, mac: Mac, address: Ipv4Addr, until: Instant, now: Instant) -> bool {
        if !self.by_mac.contains_key(&mac) && self.is_full(&mac) {
            self.expire(now);
            if self.is_full(&mac) {
                return false;
            }
        }
        if let Some(before) = self.by_mac.insert(mac, Lease { address, until })
            && before.address != address
        {
            self.by_address.remove(&before.address);
        }
        if let Some(other) = self.by_address.insert(address, mac).filter(|other| *other != mac) {
            self.by_mac.remove(&other);
        }
        true
    }

    pub fn release(&mut self, mac: Mac) -> Option<Ipv4Addr> {
        let lease = self.by_mac.remove(&mac)?;
        self.by_address.remove(&lease.address);
        Some(lease.address)
    }

    /// The adapter that has this address now.
    pub fn holder(&self, address: Ipv4Addr, now: Instant) -> Option<Mac> {
        let mac = self.by_address.get(&address)?;
        self.by_mac.get(mac).is_some_and(|lease| lease.until > now).then_some(*mac)
    }

    pub fn address(&self, mac: Mac, now: Instant) -> Option<Ipv4Addr> {
        self.by_mac.get(&mac).filter(|lease| lease.until > now).map(|lease| lease.address)
    }

    /// Somebody else was found to have its address. False: it is not its own that the adapter tells of.
    pub fn decline(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) -> bool {
        if self.address(mac, now) != Some(address) {
            return false;
        }
        self.release(mac);
        self.declined.retain(|_, until| *until > now);
        if self.declined.len() < MOST_DECLINED {
            self.declined.insert(address, now + DECLINED);
        }
        true
    }

    fn expire(&mut self, now: Instant) {
        self.by_mac.retain(|_, lease| lease.until > now);
        let by_mac = &self.by_mac;
        self.by_address.retain(|address, mac| by_mac.get(mac).is_some_and(|lease| lease.address == *address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Network = Network { router: Ipv4Addr::new(10, 0, 0, 1), length: 24 };

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    fn choose(leases: &mut Leases, mac: Mac, requested: Option<Ipv4Addr>, now: Instant) -> Option<Ipv4Addr> {
        leases.choose(NETWORK, &[], mac, requested, |_| false, now)
    }

    #[test]
    fn who_comes_again_gets_the_same_from_a_router_that_knows_nothing() {
        let now = Instant::now();
        let one = choose(&mut Leases::default(), mac(7), None, now);
        assert_eq!((one.is_some(), one), (true, choose(&mut Leases::default(), mac(7), None, now)));
    }

    #[test]
    fn no_two_have_one_address_and_253_fit() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let mut all = std::collections::BTreeSet::new();
        for n in 0..253 {
            let address = choose(&mut leases, mac(n), None, now).unwrap();
            assert!(leases.give(mac(n), address, now) && all.insert(address));
        }
        assert_eq!(choose(&mut leases, mac(1000), None, now), None);
    }

    #[test]
    fn a_requested_address_is_given_if_the_address_is_free() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let requested = Ipv4Addr::new(10, 0, 0, 77);
        assert_eq!(choose(&mut leases, mac(1), Some(requested), now), Some(requested));
        leases.give(mac(1), requested, now);
        assert_ne!(choose(&mut leases, mac(2), Some(requested), now), Some(requested));
        assert_ne!(choose(&mut leases, mac(3), Some(Ipv4Addr::new(10, 0, 0, 1)), now), Some(NETWORK.router));
    }

    #[test]
    fn a_reserved_address_is_nobody_elses() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let reserved = [(mac(1), Ipv4Addr::new(10, 0, 0, 9))];
        let one = |leases: &mut Leases, mac| {
            leases.choose(NETWORK, &reserved, mac, Some(reserved[0].1), |_| false, now)
        };
        assert_eq!(one(&mut leases, mac(1)), Some(reserved[0].1));
        assert_ne!(one(&mut leases, mac(2)), Some(reserved[0].1));
    }

    #[test]
    fn offers_that_nobody_takes_are_bounded_and_end() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let network = Network { router: Ipv4Addr::new(10, 0, 0, 1), length: 16 };
        let mut given = 0;
        for n in 0..5000 {
            let address = leases.choose(network, &[], mac(n), None, |_| false, now).unwrap();
            given += usize::from(leases.offer(mac(n), address, now));
        }
        assert_eq!((given, leases.by_mac.len()), (MOST, MOST));
        assert!(leases.offer(mac(9999), Ipv4Addr::new(10, 0, 200, 1), now + OFFER));
    }

    #[test]
    fn made_up_adapters_leave_leases_for_the_switchs_own() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let network = Network { router: Ipv4Addr::new(10, 0, 0, 1), length: 16 };
        let own: Vec<Mac> = (0..100).map(mac).collect();
        leases.set_own(&own);
        let mut give = |mac| {
            let address = leases.choose(network, &[], mac, None, |_| false, now);
            address.is_some_and(|address| leases.give(mac, address, now))
        };
        let given = (1000..5000).filter(|n| give(mac(*n))).count();
        assert_eq!((given, own.iter().all(|mac| give(*mac))), (MOST_STRANGERS, true));
    }

    #[test]
    fn an_address_that_was_declined_is_left_alone() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let first = choose(&mut leases, mac(1), None, now).unwrap();
        leases.give(mac(1), first, now);
        leases.decline(mac(1), first, now);
        assert_ne!(choose(&mut leases, mac(1), None, now), Some(first));
        assert_eq!(choose(&mut leases, mac(1), None, now + DECLINED), Some(first));
    }

    /// RFC 2131, 4.3.3: it is the client's own that is declined.
    #[test]
    fn nobody_declines_anothers_address() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        let first = choose(&mut leases, mac(1), None, now).unwrap();
        leases.give(mac(1), first, now);
        assert!(!leases.decline(mac(2), first, now));
        assert_eq!(
            (choose(&mut leases, mac(1), None, now), leases.holder(first, now)),
            (Some(first), Some(mac(1)))
        );
    }
}
