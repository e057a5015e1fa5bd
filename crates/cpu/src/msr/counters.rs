//! The performance counters (APM vol. 2, 13.2): the four that every AMD64 processor has, PerfEvtSel0-3 and PerfCtr0-3, and
//! two more with PERFCTR_CORE.
//!
//! Translated code counts nothing, so what counts is time: cycles are ticks of the time-stamp counter, and an instruction is
//! taken to last one. Other events are never met. No interrupt comes at an overflow.

use ireko_x86::msr::{PERF_CTR_FIRST, PERF_EVENT_FIRST};

const COUNTERS: usize = 6;
/// Those that need no feature.
pub const ALWAYS: u32 = 4;
/// A counter is 48 bits wide.
const MASK: u64 = (1 << 48) - 1;
/// EventSelect, UnitMask, USR, OS, EDGE, INT, EN, INV, CNT_MASK, and HG_ONLY; the rest must be zero (APM vol. 2, 13.2.1).
const SELECT_BITS: u64 = 0x0000_030f_ffd7_ffff;
const ENABLE: u64 = 1 << 22;
/// USR and OS: at which privilege it counts.
const PRIVILEGES: u64 = 3 << 16;

/// Events that count (PPR for AMD Family 19h, "Core Performance Monitor Counters").
const CYCLES: u64 = 0x076;
const INSTRUCTIONS: u64 = 0x0c0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counter {
    select: u64,
    /// What it had when it was last written or its event changed, and the time-stamp counter then.
    base: u64,
    since: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([Counter; COUNTERS]);

impl Counter {
    fn counts(&self) -> bool {
        let event = self.select & 0xff | self.select >> 24 & 0xf00;
        let on = self.select & ENABLE != 0 && self.select & PRIVILEGES != 0;
        on && matches!(event, CYCLES | INSTRUCTIONS)
    }

    fn read(&self, now: u64) -> u64 {
        let passed = if self.counts() { now.wrapping_sub(self.since) } else { 0 };
        self.base.wrapping_add(passed) & MASK
    }

    fn set(&mut self, value: u64, now: u64) {
        (self.base, self.since) = (value & MASK, now);
    }
}

impl Counters {
    /// RDMSR; `now` is the time-stamp counter.
    pub fn read(&self, number: u32, now: u64) -> Option<u64> {
        match number.checked_sub(PERF_CTR_FIRST) {
            Some(index) => self.count(index, now),
            None => self.control(number.wrapping_sub(PERF_EVENT_FIRST)),
        }
    }

    /// WRMSR; `None` is #GP.
    pub fn write(&mut self, number: u32, value: u64, now: u64) -> Option<()> {
        match number.checked_sub(PERF_CTR_FIRST) {
            Some(index) => self.set(index, value, now),
            None => self.set_control(number.wrapping_sub(PERF_EVENT_FIRST), value, now),
        }
    }

    pub fn control(&self, index: u32) -> Option<u64> {
        self.0.get(index as usize).map(|counter| counter.select)
    }

    pub fn set_control(&mut self, index: u32, value: u64, now: u64) -> Option<()> {
        let counter = self.0.get_mut(index as usize)?;
        if value & !SELECT_BITS != 0 {
            return None;
        }
        counter.set(counter.read(now), now);
        counter.select = value;
        Some(())
    }

    /// RDPMC.
    pub fn count(&self, index: u32, now: u64) -> Option<u64> {
        self.0.get(index as usize).map(|counter| counter.read(now))
    }

    pub fn set(&mut self, index: u32, value: u64, now: u64) -> Option<()> {
        self.0.get_mut(index as usize)?.set(value, now);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: u64 = ENABLE | PRIVILEGES;

    fn counted(select: u64) -> Option<u64> {
        let mut counters = Counters::default();
        counters.write(PERF_EVENT_FIRST + 1, select, 1000)?;
        counters.write(PERF_CTR_FIRST + 1, 7, 2000)?;
        counters.count(1, 2500)
    }

    #[test]
    fn cycles_go_on_from_what_was_written() {
        assert_eq!(counted(ON | CYCLES), Some(507));
    }

    #[test]
    fn a_counter_that_is_off_stands() {
        assert_eq!(counted(PRIVILEGES | CYCLES), Some(7));
    }

    #[test]
    fn an_event_that_nobody_knows_is_never_met() {
        assert_eq!(counted(ON | 0xff | 0xf << 32), Some(7));
    }

    #[test]
    fn what_was_counted_stays_when_counting_ends() {
        let mut counters = Counters::default();
        counters.write(PERF_EVENT_FIRST, ON | INSTRUCTIONS, 100).unwrap();
        counters.write(PERF_EVENT_FIRST, 0, 350).unwrap();
        assert_eq!(counters.read(PERF_CTR_FIRST, 9999), Some(250));
    }

    #[test]
    fn a_counter_has_48_bits() {
        let mut counters = Counters::default();
        counters.write(PERF_CTR_FIRST, u64::MAX, 0).unwrap();
        assert_eq!(counters.read(PERF_CTR_FIRST, 0), Some(MASK));
    }

    #[test]
    fn reserved_bits_are_refused() {
        assert!([19, 21, 36, 42, 63].iter().all(|bit| counted(1 << bit).is_none()));
    }

    #[test]
    fn there_are_six() {
        assert_eq!((Counters::default().count(5, 0), Counters::default().count(6, 0)), (Some(0), None));
    }
}
