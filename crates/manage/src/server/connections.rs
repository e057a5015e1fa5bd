//! How many may be inside: a budget for a binding, and one for each peer.
//!
//! Who comes when the limit is reached takes the place of whoever has waited longest without a request that was let in. So
//! connections that say nothing keep nobody out, however many there are.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use tokio::sync::Notify;

/// Who shares a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    User(u32),
    Address(IpAddr),
}

impl Peer {
    /// All of this machine's own addresses are one peer, and so is an IPv6 network of 64 bits: whoever has one has all of it.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            any if any.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

pub struct ConnectionLimit {
    most: usize,
    most_of_a_peer: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    came: u64,
    /// In the order in which they came.
    all: BTreeMap<u64, Visitor>,
}

struct Visitor {
    peer: Peer,
    admitted: bool,
    leave: Arc<Notify>,
}

/// One connection's place, until it is dropped.
pub struct Slot {
    limit: Arc<ConnectionLimit>,
    number: u64,
    leave: Arc<Notify>,
}

impl ConnectionLimit {
    pub fn new(most: usize, most_of_a_peer: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_a_peer, inside: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: all places are taken by those who were let in.
    pub fn enter(self: &Arc<Self>, peer: Peer) -> Option<Slot> {
        let mut inside = self.lock();
        if inside.all.values().filter(|visitor| visitor.peer == peer).count() >= self.most_of_a_peer {
            inside.send_away(|visitor| visitor.peer == peer)?;
        } else if inside.all.len() >= self.most {
            inside.send_away(|_| true)?;
        }
        inside.came += 1;
        let (number, leave) = (inside.came, Arc::new(Notify::new()));
        inside.all.insert(number, Visitor { peer, admitted: false, leave: leave.clone() });
        Some(Slot { limit: self.clone(), number, leave })
    }
}

impl Inside {
    fn send_away(&mut self, among: impl Fn(&Visitor) -> bool) -> Option<()> {
        let (&number, _) = self.all.iter().find(|(_, visitor)| !visitor.admitted && among(visitor))?;
        self.all.remove(&number)?.leave.notify_one();
        Some(())
    }
}

impl Slot {
    /// A request was let in: from now on nobody takes this place.
    pub fn admit(&self) {
        if let Some(visitor) = self.limit.lock().all.get_mut(&self.number) {
            visitor.admitted = true;
        }
    }

    /// Does it until another gets this place.
    pub async fn unless_lost<T>(&self, task: impl Future<Output = T>) -> Option<T> {
        let (mut task, mut lost) = (pin!(task), pin!(self.leave.notified()));
        poll_fn(|context| match task.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => lost.as_mut().poll(context).map(|()| None),
        })
        .await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.limit.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::task::{Context, Waker};

    fn is_lost(place: &Slot) -> bool {
        let waiting = pin!(place.unless_lost(pending::<()>()));
        waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_longest_silent_one_gives_way() {
        let limit = ConnectionLimit::new(2, 2);
        let places: Vec<_> = (0..3).map(|_| limit.enter(Peer::User(1)).unwrap()).collect();
        assert_eq!(places.iter().map(is_lost).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn who_was_let_in_stays() {
        let limit = ConnectionLimit::new(2, 2);
        let (first, _second) = (limit.enter(Peer::User(1)).unwrap(), limit.enter(Peer::User(1)).unwrap());
        first.admit();
        let _third = limit.enter(Peer::User(1)).unwrap();
        assert!(!is_lost(&first));
    }

    #[test]
    fn a_full_peer_costs_only_itself() {
        let limit = ConnectionLimit::new(4, 2);
        let other = limit.enter(Peer::User(2)).unwrap();
        let places: Vec<_> = (0..8).map(|_| limit.enter(Peer::User(1)).unwrap()).collect();
        assert!(!is_lost(&other) && places.iter().filter(|place| !is_lost(place)).count() == 2);
    }

    #[test]
    fn when_all_were_let_in_nobody_else_is() {
        let limit = ConnectionLimit::new(1, 1);
        let place = limit.enter(Peer::User(1)).unwrap();
        place.admit();
        assert!(limit.enter(Peer::User(1)).is_none() && limit.enter(Peer::User(2)).is_none());
        drop(place);
        assert!(limit.enter(Peer::User(2)).is_some());
    }

    #[test]
    fn addresses_of_one_owner_are_one_peer() {
        let at = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(at("127.0.0.1"), at("127.3.2.1"));
        assert_eq!(at("127.0.0.1"), at("::1"));
        assert_eq!(at("10.0.0.1"), at("::ffff:10.0.0.1"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }
}
