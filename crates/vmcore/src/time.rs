//! Time comes in from outside: one clock, and timers that fire on it.

use crate::thread::{OnThread, Work};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// The machine's time in nanoseconds since the machine was made. Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
    /// Nanoseconds since the machine was made.
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

type Callback = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Queue {
    /// Deadline and timer id, to the callback.
    armed: BTreeMap<(u64, u64), Callback>,
    closed: bool,
}

struct Shared {
    clock: Clock,
    queue: Mutex<Queue>,
    /// Rings at the first deadline. Set under the queue's lock; setting it wakes nobody before its time, which is what
    /// makes arming cheap.
    alarm: OwnedFd,
    next_id: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The thread's body: waits for the first deadline, calls back without holding the lock.
    fn serve(&self) {
        loop {
            let mut queue = self.lock();
            while let Some(callback) = self.due(&mut queue) {
                drop(queue);
                callback();
                queue = self.lock();
            }
            if queue.closed {
                return;
            }
            self.set_alarm(&queue);
            drop(queue);
            let mut rings = [0; 8];
            let _ = rustix::io::read(&self.alarm, &mut rings);
        }
    }

    /// Takes the first timer whose deadline has come.
    fn due(&self, queue: &mut Queue) -> Option<Callback> {
        let (&key, _) = queue.armed.first_key_value().filter(|(key, _)| key.0 <= self.clock.now())?;
        queue.armed.remove(&key)
    }

    /// Rings when the first deadline comes (at once if closed, never if there is none).
    fn set_alarm(&self, queue: &Queue) {
        let wait = match queue.armed.first_key_value() {
            _ if queue.closed => 1,
            Some((&(at, _), _)) => at.saturating_sub(self.clock.now()).max(1),
            None => 0,
        };
        let it_value =
            Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let set =
            timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value });
        debug_assert!(set.is_ok(), "a valid time for a timer");
    }
}

/// Ends the thread when the last handle goes.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.closed = true;
        self.0.set_alarm(&queue);
    }
}

/// A source of timers, served by one thread.
#[derive(Clone)]
pub struct Timers {
    owner: Arc<Owner>,
}

impl Timers {
    pub fn new(clock: Clock) -> Self {
        Self::on(clock, &OnThread::default())
    }

    /// As [`Timers::new`]; the thread begins with this.
    pub fn on(clock: Clock, first: &OnThread) -> Self {
        let first = first.clone();
        let shared = Arc::new(Shared {
            clock,
            queue: Mutex::default(),
            alarm: timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)
                .expect("a timer of the host"),
            next_id: AtomicU64::new(0),
        });
        let served = shared.clone();
        std::thread::Builder::new()
            .name("timers".into())
            .spawn(move || {
                first.begin(Work::Timers);
                served.serve();
            })
            .expect("a thread for timers");
        Self { owner: Arc::new(Owner(shared)) }
    }

    /// A timer, not armed. The callback runs on the timer thread and must be short; it may arm timers.
    pub fn timer(&self, callback: impl Fn() + Send + Sync + 'static) -> Timer {
        let id = self.owner.0.next_id.fetch_add(1, Ordering::Relaxed);
        Timer { timers: self.clone(), id, armed_at: Mutex::new(None), callback: Arc::new(callback) }
    }
}

/// One timer: armed for one deadline at a time.
pub struct Timer {
    timers: Timers,
    id: u64,
    armed_at: Mutex<Option<u64>>,
    callback: Callback,
}

impl Timer {
    /// Arms for `at` nanoseconds of the clock, replacing an earlier deadline. A past deadline fires at once.
    pub fn arm(&self, at: u64) {
        self.set(Some(at));
    }
    pub fn cancel(&self) {
        self.set(None);
    }

    fn set(&self, at: Option<u64>) {
        let mut armed_at = self.armed_at.lock().unwrap_or_else(|e| e.into_inner());
        let shared = &self.timers.owner.0;
        let mut queue = shared.lock();
        let first = queue.armed.first_key_value().map(|(key, _)| *key);
        if let Some(old) = armed_at.take() {
            queue.armed.remove(&(old, self.id));
        }
        if let Some(at) = at {
            queue.armed.insert((at, self.id), self.callback.clone());
        }
        *armed_at = at;
        // A first deadline that moved away needs nothing: the alarm rings early, and is set again.
        let earlier = match (queue.armed.first_key_value().map(|(key, _)| *key), first) {
            (Some(now), Some(before)) => now < before,
            (now, _) => now.is_some(),
        };
        if earlier {
            shared.set_alarm(&queue);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_timer_fires_once_at_its_deadline() {
        let clock = Clock::new();
        let timers = Timers::new(clock);
        let (sent, fired) = mpsc::channel();
        let timer = timers.timer(move || sent.send(()).unwrap());
        let at = clock.now() + 2_000_000;
        timer.arm(at);
        fired.recv().unwrap();
        assert!(clock.now() >= at);
        assert!(fired.recv_timeout(Duration::from_millis(5)).is_err());
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        let clock = Clock::new();
        let timers = Timers::new(clock);
        let (sent, fired) = mpsc::channel();
        let timer = timers.timer(move || sent.send(()).unwrap());
        timer.arm(clock.now() + 3_000_000);
        timer.cancel();
        assert!(fired.recv_timeout(Duration::from_millis(8)).is_err());
    }

    #[test]
    fn a_timer_that_is_armed_for_ever_is_in_the_queue_once() {
        let clock = Clock::new();
        let timers = Timers::new(clock);
        let timer = timers.timer(|| {});
        let later = clock.now() + 3_600_000_000_000;
        (0..10_000).for_each(|n| timer.arm(later + n));
        assert_eq!(timers.owner.0.lock().armed.len(), 1);
    }
}
