//! Timers on a clock, served by one thread.

use super::clock::{Clock, Follower};
use crate::thread::{OnThread, Work};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

type Callback = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Queue {
    /// Deadline and timer id, to the callback.
    armed: BTreeMap<(u64, u64), Callback>,
    closed: bool,
    /// The thread is in a callback.
    serving: bool,
    /// Somebody waits for it to have served.
    waiting: usize,
}

struct Shared {
    clock: Clock,
    queue: Mutex<Queue>,
    /// Rings at the first deadline. Set under the queue's lock; setting it wakes nobody before its time, which is what
    /// makes arming cheap.
    alarm: OwnedFd,
    /// The thread has served what it could.
    served: Condvar,
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
                queue.serving = true;
                drop(queue);
                callback();
                queue = self.lock();
                queue.serving = false;
            }
            if queue.waiting > 0 {
                self.served.notify_all();
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

    fn is_due(&self, at: u64) -> bool {
        at <= self.clock.now() && !self.clock.stands()
    }

    /// Takes the first timer whose deadline has come.
    fn due(&self, queue: &mut Queue) -> Option<Callback> {
        let (&key, _) = queue.armed.first_key_value().filter(|(key, _)| self.is_due(key.0))?;
        queue.armed.remove(&key)
    }

    fn wait_while(&self, busy: impl Fn(&Queue) -> bool) {
        let mut queue = self.lock();
        queue.waiting += 1;
        while busy(&queue) {
            queue = self.served.wait(queue).unwrap_or_else(|e| e.into_inner());
        }
        queue.waiting -= 1;
    }

    /// Rings when the first deadline comes (at once if closed, never if there is none).
    fn set_alarm(&self, queue: &Queue) {
        let wait = match queue.armed.first_key_value() {
            _ if queue.closed => 1,
            Some((&(at, _), _)) => self.clock.wait_until(at).unwrap_or(0),
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

impl Follower for Shared {
    fn rest(&self) {
        self.wait_while(|queue| queue.serving);
    }
    fn look(&self) {
        self.set_alarm(&self.lock());
    }
    fn first(&self) -> Option<u64> {
        self.lock().armed.first_key_value().map(|(key, _)| key.0)
    }
    fn catch_up(&self) {
        self.look();
        self.wait_while(|queue| {
            queue.serving || queue.armed.first_key_value().is_some_and(|(key, _)| self.is_due(key.0))
        });
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
            served: Condvar::new(),
            next_id: AtomicU64::new(0),
        });
        let follower: Arc<dyn Follower> = shared.clone();
        shared.clock.add_follower(Arc::downgrade(&follower));
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

    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_timer_fires_once_at_its_deadline() {
        let clock = Clock::new();
        let timers = Timers::new(clock.clone());
        let (sent, fired) = mpsc::channel();
        let timer = timers.timer(move || sent.send(()).unwrap());
        let at = clock.now() + 2_000_000;
        timer.arm(at);
        fired.recv_timeout(LONG).unwrap();
        assert!(clock.now() >= at);
        assert!(fired.recv_timeout(Duration::from_millis(5)).is_err());
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        let clock = Clock::new();
        let timers = Timers::new(clock.clone());
        let (sent, fired) = mpsc::channel();
        let timer = timers.timer(move || sent.send(()).unwrap());
        timer.arm(clock.now() + 3_000_000);
        timer.cancel();
        assert!(fired.recv_timeout(Duration::from_millis(8)).is_err());
    }

    /// Timers on a clock by hand, and what they tell of: the number of each that fires, with the time.
    fn by_hand(count: u64) -> (Clock, Vec<Timer>, mpsc::Receiver<(u64, u64)>) {
        let clock = Clock::by_hand();
        let timers = Timers::new(clock.clone());
        let (sent, fired) = mpsc::channel();
        let timer = |n| {
            let (sent, clock) = (sent.clone(), clock.clone());
            timers.timer(move || sent.send((n, clock.now())).unwrap())
        };
        let made = (0..count).map(timer).collect();
        (clock, made, fired)
    }

    #[test]
    fn timers_of_a_clock_by_hand_fire_in_order_each_at_its_time() {
        let (clock, timers, fired) = by_hand(3);
        [30, 10, 20].iter().zip(&timers).for_each(|(at, timer)| timer.arm(*at));
        clock.advance(25);
        assert_eq!(fired.try_iter().collect::<Vec<_>>(), [(1, 10), (2, 20)]);
        clock.advance(5);
        assert_eq!(fired.try_iter().collect::<Vec<_>>(), [(0, 30)]);
    }

    #[test]
    fn no_timer_fires_while_its_clock_stands_and_what_was_left_is_left_afterwards() {
        let (clock, timers, fired) = by_hand(3);
        timers[0].arm(10);
        timers[1].arm(20);
        clock.advance(4);
        clock.stop();
        clock.advance(100);
        timers[2].arm(0);
        assert!(fired.recv_timeout(Duration::from_millis(5)).is_err());
        clock.go();
        assert_eq!(fired.recv_timeout(LONG).unwrap(), (2, 4));
        clock.advance(6);
        assert_eq!(fired.try_iter().collect::<Vec<_>>(), [(0, 10)]);
        clock.advance(10);
        assert_eq!(fired.try_iter().collect::<Vec<_>>(), [(1, 20)]);
    }

    #[test]
    fn a_clock_stops_when_the_callback_under_way_is_done() {
        let clock = Clock::new();
        let timers = Timers::new(clock.clone());
        let (begun, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let timer = {
            let (begun, done) = (begun.clone(), done.clone());
            timers.timer(move || {
                begun.store(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                done.store(1, Ordering::SeqCst);
            })
        };
        timer.arm(0);
        while begun.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        clock.stop();
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_timer_of_the_hosts_time_stands_still_with_its_clock() {
        let clock = Clock::new();
        let timers = Timers::new(clock.clone());
        let (sent, fired) = mpsc::channel();
        let timer = timers.timer(move || sent.send(()).unwrap());
        timer.arm(clock.now() + 5_000_000);
        clock.stop();
        assert!(fired.recv_timeout(Duration::from_millis(20)).is_err());
        clock.go();
        fired.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn a_timer_that_is_armed_for_ever_is_in_the_queue_once() {
        let clock = Clock::new();
        let timers = Timers::new(clock.clone());
        let timer = timers.timer(|| {});
        let later = clock.now() + 3_600_000_000_000;
        (0..10_000).for_each(|n| timer.arm(later + n));
        assert_eq!(timers.owner.0.lock().armed.len(), 1);
    }
}
