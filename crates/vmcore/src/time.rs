//! Time comes in from outside: one clock, and timers that fire on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

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
    changed: Condvar,
    next_id: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The thread's body: waits for the first deadline, calls back without holding the lock.
    fn serve(&self) {
        let mut queue = self.lock();
        while !queue.closed {
            let Some((&(at, id), _)) = queue.armed.first_key_value() else {
                queue = self.changed.wait(queue).unwrap_or_else(|e| e.into_inner());
                continue;
            };
            let now = self.clock.now();
            if now < at {
                let wait = Duration::from_nanos(at - now);
                queue = self.changed.wait_timeout(queue, wait).unwrap_or_else(|e| e.into_inner()).0;
                continue;
            }
            if let Some(callback) = queue.armed.remove(&(at, id)) {
                drop(queue);
                callback();
                queue = self.lock();
            }
        }
    }
}

/// Ends the thread when the last handle goes.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

/// A source of timers, served by one thread.
#[derive(Clone)]
pub struct Timers {
    owner: Arc<Owner>,
}

impl Timers {
    pub fn new(clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            clock,
            queue: Mutex::default(),
            changed: Condvar::new(),
            next_id: AtomicU64::new(0),
        });
        let served = shared.clone();
        std::thread::Builder::new()
            .name("timers".into())
            .spawn(move || served.serve())
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
        if queue.armed.first_key_value().map(|(key, _)| *key) != first {
            shared.changed.notify_all();
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
}
