//! Behind which port an address was last seen.

use crate::frame::Mac;
use crate::peers::Id;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// IEEE 802.1D, 7.9.2: the recommended ageing time.
pub const AGE: Duration = Duration::from_secs(300);
/// More addresses than this are not learned: who makes them up gains nothing.
pub const MOST: usize = 1024;

#[derive(Debug, Default)]
pub struct Learned {
    places: HashMap<Mac, (Id, Instant)>,
}

impl Learned {
    pub fn see(&mut self, mac: Mac, port: Id, now: Instant) {
        if let Some((place, seen)) = self.places.get_mut(&mac) {
            *seen = now;
            *place = port;
            return;
        }
        if self.places.len() == MOST {
            self.places.retain(|_, (_, seen)| now.duration_since(*seen) < AGE);
        }
        if self.places.len() < MOST {
            self.places.insert(mac, (port, now));
        }
    }

    pub fn place(&self, mac: &Mac, now: Instant) -> Option<Id> {
        let (place, seen) = self.places.get(mac)?;
        (now.duration_since(*seen) < AGE).then_some(*place)
    }

    pub fn forget(&mut self, port: Id) {
        self.places.retain(|_, (place, _)| *place != port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_it_was_last_seen() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.see([2; 6], Id::of("a"), now);
        learned.see([2; 6], Id::of("b"), now);
        assert_eq!(learned.place(&[2; 6], now), Some(Id::of("b")));
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.see([2; 6], Id::of("a"), now);
        assert_eq!(learned.place(&[2; 6], now + AGE), None);
    }

    #[test]
    fn made_up_addresses_do_not_fill_the_memory() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        (0..100_000u32).for_each(|n| {
            let [a, b, c, d] = n.to_be_bytes();
            learned.see([2, 0, a, b, c, d], Id::of("a"), now);
        });
        assert_eq!(learned.places.len(), MOST);
    }

    #[test]
    fn a_port_that_is_gone_takes_its_addresses_along() {
        let (mut learned, now) = (Learned::default(), Instant::now());
        learned.see([2; 6], Id::of("a"), now);
        learned.forget(Id::of("a"));
        assert_eq!(learned.place(&[2; 6], now), None);
    }
}
