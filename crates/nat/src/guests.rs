//! Who is on the wire: an adapter's address, what it is called at, and how much of the router it uses.

use crate::packet::Mac;
use crate::table::{Id, Order};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// More adapters than this are not served at a time.
pub const MOST: usize = 256;
/// And of those that are none of the switch's own.
const MOST_STRANGERS: usize = MOST / 2;
/// Addresses that are known of one adapter.
const ADDRESSES: usize = 16;
/// An address that was not seen for so long is not its any more.
const AGE: Duration = Duration::from_secs(2 * 3600);

#[derive(Debug)]
pub struct Guest {
    pub mac: Mac,
    /// Newest last.
    addresses: Vec<(IpAddr, Instant)>,
    /// What it calls itself.
    pub host_name: String,
    pub order: Order,
    pub flows: usize,
    /// Connections that do not stand yet, in the order in which they were begun; some are over.
    pub half_open: VecDeque<Id>,
    pub half_open_count: usize,
    /// Flows of datagrams, each with when it had been used when it was put here; some are over.
    pub datagrams: VecDeque<(Id, Instant)>,
    pub datagrams_count: usize,
    seen: Instant,
}

#[derive(Debug, Default)]
pub struct Guests {
    guests: HashMap<Mac, Guest>,
    by_address: HashMap<IpAddr, Mac>,
    /// Adapters that are the switch's own. None: nobody is a stranger.
    own: HashSet<Mac>,
}

impl Guests {
    pub fn known(&mut self, mac: Mac) -> Option<&mut Guest> {
        self.guests.get_mut(&mac)
    }
    pub fn all(&self) -> impl Iterator<Item = &Guest> {
        self.guests.values()
    }

    /// Which adapters are the switch's own.
    pub fn set_own(&mut self, own: &[Mac]) {
        self.own = own.iter().copied().collect();
    }

    fn is_stranger(&self, mac: &Mac) -> bool {
        !self.own.is_empty() && !self.own.contains(mac)
    }

    /// Makes room for one more. False: there is none. One without flows that was quiet for longest gives way, of strangers to
    /// strangers.
    fn make_room(&mut self, mac: &Mac) -> bool {
        let stranger = self.is_stranger(mac);
        let strangers = || self.guests.keys().filter(|mac| self.is_stranger(mac)).count();
        let crowded = stranger && self.guests.len() >= MOST_STRANGERS && strangers() >= MOST_STRANGERS;
        if self.guests.len() < MOST && !crowded {
            return true;
        }
        let may_go = |guest: &&Guest| guest.flows == 0 && (!stranger || self.is_stranger(&guest.mac));
        let idle = self.guests.values().filter(may_go);
        let Some(gone) = idle.min_by_key(|guest| guest.seen).map(|guest| guest.mac) else { return false };
        self.guests.remove(&gone);
        self.by_address.retain(|_, mac| *mac != gone);
        true
    }

    /// The guest with this adapter. `None`: there are too many.
    pub fn enter(&mut self, mac: Mac, now: Instant) -> Option<&mut Guest> {
        if !self.guests.contains_key(&mac) {
            if !self.make_room(&mac) {
                return None;
            }
            let (order, half_open, datagrams) = Default::default();
            let (addresses, host_name) = Default::default();
            let guest = Guest {
                mac,
                addresses,
                host_name,
                order,
                flows: 0,
                half_open,
                half_open_count: 0,
                datagrams,
                datagrams_count: 0,
                seen: now,
            };
            self.guests.insert(mac, guest);
        }
        let guest = self.guests.get_mut(&mac)?;
        guest.seen = now;
        Some(guest)
    }

    /// It sent from this address.
    pub fn see(&mut self, mac: Mac, address: IpAddr, now: Instant) {
        if self.by_address.get(&address) == Some(&mac)
            && let Some(guest) = self.guests.get_mut(&mac)
            && let Some(at) = guest.addresses.iter().position(|(known, _)| *known == address)
        {
            guest.addresses[at].1 = now;
            guest.seen = now;
            return;
        }
        if self.enter(mac, now).is_none() {
            return;
        }
        // Who speaks last has it.
        if let Some(other) = self.by_address.insert(address, mac)
            && let Some(guest) = self.guests.get_mut(&other)
        {
            guest.addresses.retain(|(known, _)| *known != address);
        }
        if let Some(guest) = self.guests.get_mut(&mac) {
            guest.addresses.push((address, now));
            if guest.addresses.len() > ADDRESSES {
                let oldest = guest.addresses.iter().enumerate().min_by_key(|(_, (_, seen))| *seen);
                if let Some(at) = oldest.map(|(at, _)| at) {
                    let (gone, _) = guest.addresses.remove(at);
                    self.by_address.remove(&gone);
                }
            }
        }
    }

    /// Somebody else may have it now.
    pub fn forget(&mut self, address: IpAddr) {
        if let Some(mac) = self.by_address.remove(&address)
            && let Some(guest) = self.guests.get_mut(&mac)
        {
            guest.addresses.retain(|(known, _)| *known != address);
        }
    }

    pub fn mac(&self, address: IpAddr) -> Option<Mac> {
        self.by_address.get(&address).copied()
    }

    /// Its addresses, IPv4 first, those of its own wire last.
    pub fn addresses(&self, mac: Mac, now: Instant) -> Vec<IpAddr> {
        let known = self.guests.get(&mac).map_or(&[][..], |guest| &guest.addresses);
        let fresh = known.iter().filter(|(_, seen)| now.saturating_duration_since(*seen) < AGE);
        let mut addresses: Vec<IpAddr> = fresh.map(|(address, _)| *address).collect();
        let local = |six: std::net::Ipv6Addr| six.segments()[0] & 0xffc0 == 0xfe80;
        addresses.sort_by_key(|address| match address {
            IpAddr::V4(_) => (0, *address),
            IpAddr::V6(six) => (1 + u8::from(local(*six)), *address),
        });
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: usize) -> Mac {
        let [.., a, b, c, d] = n.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    #[test]
    fn made_up_adapters_do_not_fill_the_memory() {
        let (mut guests, now) = (Guests::default(), Instant::now());
        for n in 0..100_000usize {
            guests.see(mac(n), IpAddr::from([10, 0, (n >> 8) as u8, n as u8]), now);
        }
        assert_eq!((guests.guests.len(), guests.by_address.len() <= MOST * ADDRESSES), (MOST, true));
    }

    #[test]
    fn made_up_adapters_push_out_none_of_the_switchs_own() {
        let (mut guests, now) = (Guests::default(), Instant::now());
        let own: Vec<Mac> = (0..100).map(mac).collect();
        guests.set_own(&own);
        own.iter().for_each(|mac| assert!(guests.enter(*mac, now).is_some()));
        for n in 1000..100_000usize {
            if let Some(guest) = guests.enter(mac(n), now + Duration::from_secs(1)) {
                guest.flows = usize::from(n % 2 == 0);
            }
        }
        assert_eq!(guests.guests.len(), own.len() + MOST_STRANGERS);
        assert!(own.iter().all(|mac| guests.known(*mac).is_some()));
    }

    #[test]
    fn one_with_flows_gives_way_to_nobody() {
        let (mut guests, now) = (Guests::default(), Instant::now());
        guests.enter(mac(7), now).unwrap().flows = 1;
        for n in 100..100 + 2 * MOST {
            guests.enter(mac(n), now + Duration::from_secs(1)).unwrap();
        }
        assert!(guests.known(mac(7)).is_some());
    }

    #[test]
    fn one_adapter_has_a_bounded_number_of_addresses() {
        let (mut guests, now) = (Guests::default(), Instant::now());
        (0..1000u16).for_each(|n| guests.see(mac(1), IpAddr::from([10, 0, (n >> 8) as u8, n as u8]), now));
        assert_eq!(guests.addresses(mac(1), now).len(), ADDRESSES);
        assert_eq!(guests.by_address.len(), ADDRESSES);
    }

    #[test]
    fn an_address_is_whose_it_was_last() {
        let (mut guests, now) = (Guests::default(), Instant::now());
        let address = IpAddr::from([10, 0, 0, 2]);
        guests.see(mac(1), address, now);
        guests.see(mac(2), address, now);
        assert_eq!((guests.mac(address), guests.addresses(mac(1), now)), (Some(mac(2)), Vec::new()));
    }
}
