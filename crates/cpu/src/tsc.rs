//! The time-stamp counter: the host's, moved so that the machine's starts at zero.

use crate::host;
use ireko_nested::Control;
use std::time::{Duration, Instant};

/// The machine's counter, which all its processors share. Cheap to copy; copies of one measurement stay in step.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    /// Ahead of the host's when the machine was made.
    start: u64,
    /// And since then, for the times that the machine's clock stood still ([`ireko_vmcore::Clock::counter_offset`]).
    stood: u64,
    khz: u64,
}

impl Counter {
    /// Starts at zero now, at the host's rate: from the hypervisor's timing leaf if that gives it, else measured in
    /// about 10 ms.
    pub fn measure() -> Self {
        let khz = hypervisor_khz().unwrap_or_else(measured_khz);
        Self { start: host::rdtsc().wrapping_neg(), stood: 0, khz }
    }

    #[inline]
    pub fn read(&self) -> u64 {
        host::rdtsc().wrapping_add(self.offset())
    }

    /// This counter minus the host's.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.start.wrapping_add(self.stood)
    }

    /// This counter when that of the machine's clock ([`ireko_vmcore::Clock::counter`]) has a value.
    pub fn at(&self, clock: u64) -> u64 {
        clock.wrapping_add(self.start)
    }

    /// Makes it have `value` when that of the clock has the other.
    pub fn set(&mut self, value: u64, clock: u64) {
        self.start = value.wrapping_sub(clock);
    }

    /// The machine's clock went on after it stood still: its counter is so far ahead of the host's now. Gives whether that is news.
    pub fn follow(&mut self, stood: u64) -> bool {
        std::mem::replace(&mut self.stood, stood) != stood
    }

    pub fn khz(&self) -> u64 {
        self.khz
    }

    /// Ticks for which the host has run this thread, which a halted processor's does not.
    pub fn running(&self) -> u64 {
        (u128::from(host::thread_time()) * u128::from(self.khz) / 1_000_000) as u64
    }

    /// Nanoseconds that `ticks` take, rounded up.
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        let ns = (u128::from(ticks) * 1_000_000).div_ceil(u128::from(self.khz));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// A processor's counter, as its own world sees it (no guest's offset and ratio): the machine's, and what TSC_ADJUST has (SDM vol. 3,
/// 18.17.3).
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    pub counter: Counter,
    pub adjust: u64,
}

impl Tsc {
    #[inline]
    pub fn read(&self) -> u64 {
        self.counter.read().wrapping_add(self.adjust)
    }
    /// This counter minus the host's.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.counter.offset().wrapping_add(self.adjust)
    }
}

/// What RDTSC gives in the current world: ratio, then offset (APM vol. 2, 15.30.5).
#[inline]
pub fn in_world(control: Option<&Control>, tsc: u64) -> u64 {
    control.map_or(tsc, |control| control.guest_tsc(tsc))
}

/// The rate that leaf 4000_0010h tells, where there is one (as VMware defined it; Ireko gives it too).
fn hypervisor_khz() -> Option<u64> {
    if !ireko_x86::cpuid::HYPERVISOR.is_in(&host::cpuid(1, 0)) {
        return None;
    }
    let max = host::cpuid(0x4000_0000, 0)[0];
    let khz = host::cpuid(0x4000_0010, 0)[0];
    let told = (0x4000_0010..0x4000_ffff).contains(&max) && (100_000..20_000_000).contains(&khz);
    told.then_some(khz.into())
}

fn measured_khz() -> u64 {
    let (start, from) = (Instant::now(), host::rdtsc());
    std::thread::sleep(Duration::from_millis(10));
    let (elapsed, to) = (start.elapsed(), host::rdtsc());
    let khz = u128::from(to.wrapping_sub(from)) * 1_000_000 / elapsed.as_nanos().max(1);
    (khz as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_stood_still_with_its_clock_goes_on_from_there() {
        let mut tsc = Counter { start: 1 << 60, stood: 0, khz: 1_000_000 };
        let before = tsc.offset();
        assert!(tsc.follow(1u64.wrapping_neg()) && tsc.offset() == before - 1);
        assert!(!tsc.follow(1u64.wrapping_neg()));
    }

    #[test]
    fn a_thread_that_sleeps_does_not_run() {
        let tsc = Counter { start: 0, stood: 0, khz: 1_000_000 };
        let before = tsc.running();
        std::thread::sleep(Duration::from_millis(300));
        assert!(tsc.nanoseconds(tsc.running() - before) < 200_000_000);
    }

    #[test]
    fn ticks_become_nanoseconds_rounded_up() {
        let tsc = Counter { start: 0, stood: 0, khz: 3_000_000 };
        assert_eq!(tsc.nanoseconds(3001), 1001);
    }
}
