//! How much of the host's processors a machine's vCPUs take at most, as Linux' CFS bandwidth control has it: each has an account of
//! processor time that fills with time, and who has overdrawn it waits.
//!
//! A vCPU counts its own time whenever it comes back from guest code, which it is made to do often while there is a quota. What it
//! took beyond its share is a debt, so how often that is changes nothing in the long run.

use crate::run_state::RunState;
use ireko_vmcore::Stop;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// All that a processor can do.
pub const ALL: u32 = 100;
/// Between two looks.
const SLICE: Duration = Duration::from_millis(10);
/// What was not used for so long is lost.
const PERIOD: Duration = Duration::from_millis(100);

/// One vCPU's processor time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    balance: i64,
    /// The clocks at the last look: time, and what the thread had used. `None`: it was not under a quota.
    last: Option<(Duration, Duration)>,
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl Account {
    /// The clocks say so much now; how long the vCPU has to wait for its next turn.
    fn look(&mut self, (now, used): (Duration, Duration), percent: u32) -> Duration {
        let percent = i64::from(percent.clamp(1, ALL));
        let Some((before, had)) = self.last.replace((now, used)) else { return Duration::ZERO };
        let earned = nanoseconds(now.saturating_sub(before)).saturating_mul(percent) / 100;
        let most = nanoseconds(PERIOD) * percent / 100;
        let spent = nanoseconds(used.saturating_sub(had));
        self.balance = self.balance.saturating_add(earned).saturating_sub(spent).min(most);
        let debt = self.balance.min(0).unsigned_abs();
        // Rounded up: after so long there is none.
        Duration::from_nanos(debt.saturating_mul(100).div_ceil(percent.unsigned_abs()))
    }
}

/// Of one machine; shared by whoever changes it.
#[derive(Clone)]
pub struct Quota {
    percent: Arc<AtomicU32>,
    run_state: RunState,
}

impl Quota {
    pub fn new(percent: u32, run_state: RunState) -> Self {
        Self { percent: Arc::new(AtomicU32::new(percent)), run_state }
    }

    fn percent(&self) -> u32 {
        self.percent.load(Ordering::Relaxed)
    }

    /// From now on.
    pub fn set(&self, percent: u32) {
        self.percent.store(percent, Ordering::Relaxed);
        self.run_state.notify();
    }

    /// What makes vCPUs look, on a thread of its own, until the machine's end.
    pub fn run(&self, vcpus: &[Stop]) {
        let mut bounded = false;
        while !self.run_state.ended() {
            if self.percent() >= ALL {
                // Their accounts are closed: time without a quota is nobody's debt.
                if std::mem::take(&mut bounded) {
                    vcpus.iter().for_each(Stop::ask);
                }
                self.run_state.wait_for(|| self.percent() < ALL);
                continue;
            }
            bounded = true;
            vcpus.iter().for_each(Stop::ask);
            self.run_state.wait_running(SLICE);
        }
    }
}

/// One vCPU under its machine's quota, on its own thread.
pub struct Turn<'a> {
    quota: &'a Quota,
    stop: &'a Stop,
    account: Account,
}

impl<'a> Turn<'a> {
    pub fn new(quota: &'a Quota, stop: &'a Stop) -> Self {
        Self { quota, stop, account: Account::default() }
    }

    /// For its runs.
    pub fn stop(&self) -> &'a Stop {
        self.stop
    }

    /// Whether it is this one's. If not, it has waited, and asks again once it has looked what else there is to do.
    pub fn comes(&mut self) -> bool {
        self.stop.clear();
        let percent = self.quota.percent();
        if percent >= ALL {
            self.account = Account::default();
            return true;
        }
        let wait = self.account.look((clock(ClockId::Monotonic), clock(ClockId::ThreadCPUTime)), percent);
        if !wait.is_zero() {
            // It looks again in between: the quota may be another by then.
            self.quota.run_state.rest(wait.min(PERIOD));
        }
        wait.is_zero()
    }
}

fn clock(which: ClockId) -> Duration {
    let time = clock_gettime(which);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What a vCPU that always wants to run has had of a processor after so long, in percent, if it is looked at in
    /// slices that take turns.
    fn share(percent: u32, slices: &[u32]) -> f64 {
        let (mut account, mut now, mut used) = (Account::default(), Duration::ZERO, Duration::ZERO);
        account.look((now, used), percent);
        for slice in slices.iter().cycle() {
            (now, used) = (now + *slice * MS, used + *slice * MS);
            loop {
                let wait = account.look((now, used), percent);
                if wait.is_zero() {
                    break;
                }
                now += wait;
            }
            if now > 20_000 * MS {
                break;
            }
        }
        100.0 * used.as_secs_f64() / now.as_secs_f64()
    }

    #[test]
    fn a_busy_processor_gets_its_share_however_often_it_is_looked_at() {
        for percent in [1, 20, 50, 99] {
            for slices in [&[10][..], &[1], &[37], &[3, 90, 11]] {
                let had = share(percent, slices);
                assert!((had - f64::from(percent)).abs() < 1.0, "{percent} of {slices:?}: {had}");
            }
        }
    }

    #[test]
    fn what_was_not_used_for_long_is_lost() {
        let mut account = Account::default();
        account.look((Duration::ZERO, Duration::ZERO), 20);
        account.look((Duration::from_secs(3600), Duration::ZERO), 20);
        // A period's share, 20 ms, is all that it has saved.
        let later = Duration::from_secs(3600);
        assert_eq!(account.look((later, 20 * MS), 20), Duration::ZERO);
        assert_eq!(account.look((later, 30 * MS), 20), 50 * MS);
    }

    #[test]
    fn who_was_not_looked_at_for_long_owes_no_more_than_it_took_beyond_its_share() {
        let mut account = Account::default();
        account.look((Duration::ZERO, Duration::ZERO), 50);
        assert_eq!(account.look((1000 * MS, 500 * MS), 50), Duration::ZERO);
        assert_eq!(account.look((2000 * MS, 1010 * MS), 50), 20 * MS);
    }

    #[test]
    fn who_uses_little_never_waits() {
        let mut account = Account::default();
        for n in 0..1000 {
            assert_eq!(account.look((n * 10 * MS, n * MS), 20), Duration::ZERO);
        }
    }

    #[test]
    fn without_a_quota_it_is_always_ones_turn() {
        let (quota, stop) = (Quota::new(ALL, RunState::default()), Stop::default());
        stop.ask();
        assert!(Turn::new(&quota, &stop).comes());
        assert!(!stop.asked());
    }

    #[test]
    fn who_makes_vcpus_look_ends_with_the_machine() {
        let run_state = RunState::default();
        let quota = Quota::new(50, run_state.clone());
        let stop = Stop::default();
        std::thread::scope(|scope| {
            scope.spawn(|| quota.run(std::slice::from_ref(&stop)));
            while !stop.asked() {
                std::thread::yield_now();
            }
            // Without one it sleeps until the end.
            quota.set(ALL);
            run_state.end(crate::Outcome::Stopped);
        });
    }
}
