//! A machine's clock. It can stop and go on from there, be set while it stands, and in tests be moved by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

/// In [`Inner::word`]: the clock stands, and the other bits are its time. While it goes they are what is added to the source's
/// time. Both are modulo 2^63 (292 years of nanoseconds).
const STANDS: u64 = 1 << 63;

/// The machine's time in nanoseconds since the machine was made, without the times for which it was stopped. Cheap to clone: all
/// clones are one clock.
#[derive(Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    word: AtomicU64,
    /// What is added to a counter of the host's, so that it stands still with the clock.
    counter_offset: AtomicU64,
    /// Changes of what is above, and who hears of them.
    control: Mutex<Control>,
}

enum Source {
    Host(Instant),
    /// Nanoseconds, moved by [`Clock::advance`].
    Hand(AtomicU64),
}

#[derive(Default)]
struct Control {
    /// The host's counter that goes with the clock.
    counter: Option<fn() -> u64>,
    /// What it was when the clock stopped.
    stopped_at: u64,
    followers: Vec<Weak<dyn Follower>>,
}

/// Who does things at times of the clock.
pub(super) trait Follower: Send + Sync {
    /// The clock stands: comes back when nothing is under way any more.
    fn rest(&self);
    /// The clock goes, or was moved.
    fn look(&self);
    /// The first time at which something is to be done.
    fn first(&self) -> Option<u64>;
    /// Comes back when all is done that is due.
    fn catch_up(&self);
}

impl Clock {
    pub fn new() -> Self {
        Self::of(Source::Host(Instant::now()))
    }

    /// A clock for tests: it goes by [`Clock::advance`] alone.
    pub fn by_hand() -> Self {
        Self::of(Source::Hand(AtomicU64::new(0)))
    }

    fn of(source: Source) -> Self {
        let (word, counter_offset) = Default::default();
        Self { inner: Arc::new(Inner { source, word, counter_offset, control: Mutex::default() }) }
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.inner.control.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn source_now(&self) -> u64 {
        match &self.inner.source {
            Source::Host(origin) => origin.elapsed().as_nanos() as u64,
            Source::Hand(now) => now.load(Ordering::Acquire),
        }
    }

    /// Nanoseconds since the machine was made.
    #[inline]
    pub fn now(&self) -> u64 {
        let word = self.inner.word.load(Ordering::Acquire);
        if word & STANDS != 0 { word & !STANDS } else { self.source_now().wrapping_add(word) & !STANDS }
    }

    pub fn stands(&self) -> bool {
        self.inner.word.load(Ordering::Acquire) & STANDS != 0
    }

    /// Stops the clock. When it comes back no timer fires and none is being served, until [`Clock::go`]. Not to be called by a
    /// timer's callback, nor with a lock held that one takes.
    pub fn stop(&self) {
        let mut control = self.control();
        if !self.stands() {
            control.stopped_at = control.counter.map_or(0, |counter| counter());
            self.inner.word.store(self.now() | STANDS, Ordering::Release);
        }
        let followers = control.followers();
        drop(control);
        followers.iter().for_each(|follower| follower.rest());
    }

    /// Goes on from where it stands. Timers that were due fire in the order of their deadlines.
    pub fn go(&self) {
        let control = self.control();
        if self.stands() {
            let stood = control.counter.map_or(0, |counter| counter().wrapping_sub(control.stopped_at));
            self.inner.counter_offset.fetch_sub(stood, Ordering::Release);
            self.inner.word.store(self.now().wrapping_sub(self.source_now()) & !STANDS, Ordering::Release);
        }
        let followers = control.followers();
        drop(control);
        followers.iter().for_each(|follower| follower.look());
    }

    /// Sets a clock that stands; one that goes is left alone.
    pub fn set(&self, now: u64) {
        let _control = self.control();
        if self.stands() {
            self.inner.word.store(now | STANDS, Ordering::Release);
        }
    }

    /// Moves a clock that goes by hand; timers have fired, each at its time, when it comes back. Does nothing to another clock, nor
    /// while it stands.
    pub fn advance(&self, nanoseconds: u64) {
        let Source::Hand(source) = &self.inner.source else { return };
        if self.stands() {
            return;
        }
        let end = self.now() + nanoseconds;
        let followers = self.control().followers();
        let to = |at: u64| {
            source.fetch_add(at.saturating_sub(self.now()), Ordering::AcqRel);
            followers.iter().for_each(|follower| follower.catch_up());
        };
        while let Some(at) =
            followers.iter().filter_map(|follower| follower.first()).min().filter(|at| *at <= end)
        {
            to(at);
        }
        to(end);
    }

    /// Makes a counter of the host's stand still with the clock; the first one stays.
    pub fn follow(&self, counter: fn() -> u64) {
        let mut control = self.control();
        if control.counter.is_none() {
            (control.counter, control.stopped_at) = (Some(counter), counter());
        }
    }

    /// What is to be added to the host's counter, so that it is one that stands still with the clock. Changes when the clock goes
    /// on.
    #[inline]
    pub fn counter_offset(&self) -> u64 {
        self.inner.counter_offset.load(Ordering::Acquire)
    }

    /// That counter; 0 where there is none.
    pub fn counter(&self) -> u64 {
        let control = self.control();
        let Some(counter) = control.counter else { return 0 };
        let host = if self.stands() { control.stopped_at } else { counter() };
        host.wrapping_add(self.counter_offset())
    }

    pub(super) fn add_follower(&self, follower: Weak<dyn Follower>) {
        let mut control = self.control();
        control.followers.retain(|follower| follower.strong_count() > 0);
        control.followers.push(follower);
    }

    /// For how long the host is to wait until the clock shows `at`: at least 1 ns. `None`: until it hears of a change.
    pub(super) fn wait_until(&self, at: u64) -> Option<u64> {
        if self.stands() {
            return None;
        }
        let wait = at.saturating_sub(self.now()).max(1);
        match &self.inner.source {
            Source::Hand(_) if wait > 1 => None,
            _ => Some(wait),
        }
    }
}

impl Control {
    fn followers(&self) -> Vec<Arc<dyn Follower>> {
        self.followers.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({} ns{})", self.now(), if self.stands() { ", stands" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    #[test]
    fn a_clock_that_stands_goes_on_from_there() {
        let clock = Clock::new();
        clock.stop();
        let stopped = clock.now();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(clock.now(), stopped);
        let resumed = Instant::now();
        clock.go();
        let now = clock.now();
        assert!(now >= stopped && now - stopped <= resumed.elapsed().as_nanos() as u64);
    }

    #[test]
    fn a_clock_that_stands_can_be_set_back_and_forth() {
        let clock = Clock::by_hand();
        clock.advance(1_000);
        clock.set(7);
        assert_eq!(clock.now(), 1_000);
        clock.stop();
        for set in [1 << 62, 7] {
            clock.set(set);
            clock.go();
            assert_eq!(clock.now(), set);
            clock.advance(5);
            assert_eq!(clock.now(), set + 5);
            clock.stop();
        }
    }

    #[test]
    fn a_clock_by_hand_stands_until_it_is_moved() {
        let clock = Clock::by_hand();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(clock.now(), 0);
        clock.advance(3);
        clock.stop();
        clock.advance(3);
        assert_eq!(clock.now(), 3);
    }

    static COUNTER: AtomicU64 = AtomicU64::new(0);
    fn counter() -> u64 {
        COUNTER.load(Ordering::Relaxed)
    }

    #[test]
    fn a_counter_stands_still_with_the_clock() {
        let clock = Clock::new();
        let count = |by| COUNTER.fetch_add(by, Ordering::Relaxed);
        clock.follow(counter);
        count(10);
        assert_eq!(clock.counter(), 10);
        clock.stop();
        count(100);
        assert_eq!(clock.counter(), 10);
        clock.go();
        count(1);
        assert_eq!((clock.counter(), counter().wrapping_add(clock.counter_offset())), (11, 11));
    }
}
