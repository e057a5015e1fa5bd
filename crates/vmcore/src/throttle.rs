//! How much of something may move in a second: a token bucket for bytes and one for operations.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// In a second; 0: as many as can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub bytes: u64,
    pub operations: u64,
}

/// What was saved up may be used at once: so much of a second.
const BURST: f64 = 0.1;
/// Seconds; who waits asks again then.
const LONGEST: f64 = 3600.0;

#[derive(Debug)]
struct Bucket {
    /// Below 0: taken in advance.
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Takes tokens. How long to wait until they are there.
    fn take(&mut self, count: u64, rate: u64, now: Instant) -> Duration {
        if rate == 0 {
            return Duration::ZERO;
        }
        let rate = rate as f64;
        let come = now.saturating_duration_since(self.filled).as_secs_f64() * rate;
        self.filled = now;
        self.tokens = (self.tokens + come).min(rate * BURST) - count as f64;
        Duration::from_secs_f64((-self.tokens / rate).clamp(0.0, LONGEST))
    }
}

#[derive(Debug)]
struct ThrottleState {
    limits: Rates,
    bytes: Bucket,
    operations: Bucket,
}

/// Shared by what moves and by who sets the limits.
#[derive(Debug)]
pub struct Throttle(Mutex<ThrottleState>);

impl Default for Throttle {
    fn default() -> Self {
        Self::new(Rates::default())
    }
}

impl Throttle {
    pub fn new(limits: Rates) -> Self {
        let empty = || Bucket { tokens: 0.0, filled: Instant::now() };
        Self(Mutex::new(ThrottleState { limits, bytes: empty(), operations: empty() }))
    }

    /// Counts from now on; what was taken in advance is forgiven.
    pub fn set(&self, limits: Rates) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.limits != limits {
            state.limits = limits;
            state.bytes.tokens = 0.0;
            state.operations.tokens = 0.0;
        }
    }

    pub fn limited(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).limits != Rates::default()
    }

    /// Takes what moves next. How long it has to wait.
    pub fn take(&self, bytes: u64, operations: u64, now: Instant) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = state.limits;
        let wait = state.bytes.take(bytes, limits.bytes, now);
        wait.max(state.operations.take(operations, limits.operations, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(bytes: u64, operations: u64) -> (Throttle, Instant) {
        (Throttle::new(Rates { bytes, operations }), Instant::now() + Duration::from_secs(1))
    }

    #[test]
    fn without_limits_nothing_waits() {
        let (throttle, now) = throttle(0, 0);
        assert_eq!((throttle.take(u64::MAX, u64::MAX, now), throttle.limited()), (Duration::ZERO, false));
    }

    #[test]
    fn what_moves_waits_until_its_bytes_have_come() {
        let (throttle, now) = throttle(1000, 0);
        assert_eq!(throttle.take(100, 1, now), Duration::ZERO);
        assert_eq!(throttle.take(500, 1, now), Duration::from_millis(500));
        assert_eq!(throttle.take(500, 1, now + Duration::from_secs(1)), Duration::from_millis(400));
    }

    #[test]
    fn operations_count_apart_from_bytes() {
        let (throttle, now) = throttle(1 << 40, 10);
        throttle.take(1, 1, now);
        assert_eq!(throttle.take(1, 1, now), Duration::from_millis(100));
    }

    #[test]
    fn what_is_saved_up_has_an_end() {
        let (throttle, now) = throttle(1000, 0);
        let later = now + Duration::from_secs(3600);
        assert_eq!(throttle.take(1100, 1, later), Duration::from_secs(1));
    }

    #[test]
    fn new_limits_count_at_once() {
        let (throttle, now) = throttle(1, 0);
        throttle.take(1000, 1, now);
        throttle.set(Rates::default());
        assert_eq!(throttle.take(1000, 1, now), Duration::ZERO);
    }
}
