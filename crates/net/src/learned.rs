//! Behind which port an address is: where it was given, else where it was last seen.

use crate::frame::Mac;
use crate::peers::Id;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// IEEE 802.1D, 7.9.2: the recommended ageing time.
pub const AGE: Duration = Duration::from_secs(300);
/// More addresses than this are not learned behind one port: who makes them up has his own share only.
pub const MOST_BEHIND: usize = 256;
/// And of all ports together.
pub const MOST: usize = 64 * MOST_BEHIND;
/// What is old is looked for no more often than this.
const SWEEP: Duration = Duration::from_secs(1);

/// An address in a VLAN.
type Place = (u16, Mac);

#[derive(Debug, Default)]
pub struct Learned {
    places: HashMap<Place, (Id, Instant)>,
    behind: HashMap<Id, usize>,
    /// Addresses that ports were given. Nobody else's frames say where these are.
    given: HashMap<Mac, Id>,
    swept: Option<Instant>,
}

impl Learned {
    /// Who was given which address. One that two were given is nobody's: then it is learned.
    pub fn give(&mut self, given: impl Iterator<Item = (Mac, Id)>) {
        self.given.clear();
        let mut twice = Vec::new();
        for (mac, port) in given {
            if self.given.insert(mac, port).is_some_and(|other| other != port) {
                twice.push(mac);
            }
        }
        self.given.retain(|mac, _| !twice.contains(mac));
    }

    /// The port that was given this address.
    pub fn owner(&self, mac: &Mac) -> Option<Id> {
        self.given.get(mac).copied()
    }

    pub fn see(&mut self, vlan: u16, mac: Mac, port: Id, now: Instant) {
        if self.given.contains_key(&mac) {
            return;
        }
        if let Some((place, seen)) = self.places.get_mut(&(vlan, mac)) {
            *seen = now;
            if *place == port {
                return;
            }
            // It has moved: counted anew below.
            self.remove((vlan, mac));
        }
        if self.is_full(port) && self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.keep(|seen| now.duration_since(seen) < AGE);
        }
        if !self.is_full(port) {
            self.places.insert((vlan, mac), (port, now));
            *self.behind.entry(port).or_default() += 1;
        }
    }

    fn is_full(&self, port: Id) -> bool {
        self.places.len() >= MOST || self.behind.get(&port).is_some_and(|count| *count >= MOST_BEHIND)
    }

    fn remove(&mut self, place: Place) {
        let Some((port, _)) = self.places.remove(&place) else { return };
        if let Some(count) = self.behind.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.behind.remove(&port);
            }
        }
    }

    fn keep(&mut self, young: impl Fn(Instant) -> bool) {
        let old: Vec<Place> =
            self.places.iter().filter(|(_, (_, seen))| !young(*seen)).map(|(place, _)| *place).collect();
        old.into_iter().for_each(|place| self.remove(place));
    }

    pub fn place(&self, vlan: u16, mac: &Mac, now: Instant) -> Option<Id> {
        self.owner(mac).or_else(|| {
            let (place, seen) = self.places.get(&(vlan, *mac))?;
            (now.duration_since(*seen) < AGE).then_some(*place)
        })
    }

    pub fn forget(&mut self, port: Id) {
        self.places.retain(|_, (place, _)| *place != port);
        self.behind.remove(&port);
        self.given.retain(|_, place| *place != port);
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        assert_eq!(self.behind.values().sum::<usize>(), self.places.len());
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forged(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    #[test]
    fn an_address_is_where_it_was_last_seen() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.see(0, [2; 6], Id::of("a"), now);
        learned.see(0, [2; 6], Id::of("b"), now);
        assert_eq!((learned.place(0, &[2; 6], now), learned.count()), (Some(Id::of("b")), 1));
    }

    #[test]
    fn an_address_of_two_vlans_is_two() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.see(1, [2; 6], Id::of("a"), now);
        learned.see(2, [2; 6], Id::of("b"), now);
        assert_eq!(learned.place(1, &[2; 6], now), Some(Id::of("a")));
        assert_eq!(
            (learned.place(2, &[2; 6], now), learned.place(0, &[2; 6], now)),
            (Some(Id::of("b")), None)
        );
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.see(0, [2; 6], Id::of("a"), now);
        assert_eq!(learned.place(0, &[2; 6], now + AGE), None);
    }

    #[test]
    fn a_given_address_stays_where_it_was_given() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.give([([2; 6], Id::of("a"))].into_iter());
        learned.see(0, [2; 6], Id::of("b"), now);
        assert_eq!(learned.place(0, &[2; 6], now), Some(Id::of("a")));
    }

    #[test]
    fn an_address_that_two_were_given_is_where_it_was_last_seen() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.give([([2; 6], Id::of("a")), ([2; 6], Id::of("b"))].into_iter());
        learned.see(0, [2; 6], Id::of("b"), now);
        assert_eq!(learned.place(0, &[2; 6], now), Some(Id::of("b")));
    }

    #[test]
    fn made_up_addresses_push_no_one_out_and_grow_nothing() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.see(0, [2; 6], Id::of("b"), now);
        (0..100_000u32).for_each(|n| learned.see(0, forged(n), Id::of("a"), now));
        assert_eq!(learned.count(), MOST_BEHIND + 1);
        // Who was there stays, and who comes finds room.
        learned.see(0, [4; 6], Id::of("c"), now);
        let (b, c) = (learned.place(0, &[2; 6], now), learned.place(0, &[4; 6], now));
        assert_eq!((b, c), (Some(Id::of("b")), Some(Id::of("c"))));
    }

    #[test]
    fn made_up_addresses_age() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        (0..1000).for_each(|n| learned.see(0, forged(n), Id::of("a"), now));
        learned.see(0, [2; 6], Id::of("a"), now + AGE);
        assert_eq!((learned.place(0, &[2; 6], now + AGE), learned.count()), (Some(Id::of("a")), 1));
    }

    #[test]
    fn a_port_that_is_gone_takes_its_addresses_along() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.see(0, [2; 6], Id::of("a"), now);
        learned.give([([4; 6], Id::of("a"))].into_iter());
        learned.forget(Id::of("a"));
        assert_eq!((learned.place(0, &[2; 6], now), learned.place(0, &[4; 6], now)), (None, None));
    }
}
