//! The performance counters (APM vol. 2, 13.2): the four that every AMD64 processor has, PerfEvtSel0-3 and PerfCtr0-3, and
//! two more with PERFCTR_CORE.
//!
//! Translated code counts nothing. Cycles are ticks of the time-stamp counter while the host runs the processor's thread; while instructions or branches are counted, each
//! instruction is done alone ([`Counters::exact`]) and is a cycle: right, and slow. Other events are never met. No interrupt comes at an overflow.

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
const USER: u64 = 1 << 16;
const SYSTEM: u64 = 1 << 17;
const INVERT: u64 = 1 << 23;
/// How many events a cycle has to have; an instruction lasts one, at least.
const LEAST_SHIFT: u64 = 24;
const GUEST_ONLY: u64 = 1 << 40;
const HOST_ONLY: u64 = 1 << 41;

/// Events that count (PPR for AMD Family 19h, "Core Performance Monitor Counters").
const CYCLES: u64 = 0x076;
const INSTRUCTIONS: u64 = 0x0c0;
const BRANCHES: u64 = 0x0c2;
const MISSES: u64 = 0x0c3;

/// An instruction that was retired.
#[derive(Clone, Copy, Debug)]
pub struct Retired {
    pub user: bool,
    /// With EFER.SVME, whether a guest's: only then HG_ONLY means something.
    pub guest: Option<bool>,
    pub branch: bool,
    /// A conditional branch that a processor without memory would have predicted wrongly: backward, and not taken, or forward,
    /// and taken.
    pub missed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counter {
    select: u64,
    /// What it had when it was last written or its event changed, and the time then.
    base: u64,
    since: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    all: [Counter; COUNTERS],
    exact: bool,
    branches: bool,
}

impl Counter {
    /// The event that it counts.
    fn event(&self) -> Option<u64> {
        let on = self.select & ENABLE != 0 && self.select & PRIVILEGES != 0;
        on.then_some(self.select & 0xff | self.select >> 24 & 0xf00)
    }

    fn counts(&self, what: Retired) -> bool {
        let event = match self.event() {
            Some(INSTRUCTIONS | CYCLES) => true,
            Some(BRANCHES) => what.branch,
            Some(MISSES) => what.missed,
            _ => false,
        };
        let privilege = self.select & if what.user { USER } else { SYSTEM } != 0;
        let world = match (what.guest, self.select & (GUEST_ONLY | HOST_ONLY)) {
            (None, _) | (_, 0) => true,
            (Some(guest), only) => only & if guest { GUEST_ONLY } else { HOST_ONLY } != 0,
        };
        let often = self.select & INVERT == 0 && self.select >> LEAST_SHIFT & 0xff <= 1;
        event && privilege && world && often
    }

    /// What it has; `now` where cycles go by time.
    fn read(&self, now: Option<u64>) -> u64 {
        let passed = match (self.event(), now) {
            (Some(CYCLES), Some(now)) => now.wrapping_sub(self.since),
            _ => 0,
        };
        self.base.wrapping_add(passed) & MASK
    }

    fn set(&mut self, value: u64, now: u64) {
        (self.base, self.since) = (value & MASK, now);
    }
}

impl Counters {
    /// RDMSR; `now` is in ticks, here and below.
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
        self.all.get(index as usize).map(|counter| counter.select)
    }

    pub fn set_control(&mut self, index: u32, value: u64, now: u64) -> Option<()> {
        if index as usize >= COUNTERS || value & !SELECT_BITS != 0 {
            return None;
        }
        let time = self.time(now);
        self.all.iter_mut().for_each(|counter| counter.set(counter.read(time), now));
        self.all[index as usize].select = value;
        let counted = |event| self.all.iter().any(|counter| counter.event() == Some(event));
        self.branches = counted(BRANCHES) || counted(MISSES);
        self.exact = self.branches || counted(INSTRUCTIONS);
        Some(())
    }

    /// Whether something is counted for which instructions have to be done one by one; and whether branches are.
    pub fn exact(&self) -> bool {
        self.exact
    }
    pub fn branches(&self) -> bool {
        self.branches
    }

    /// What cycles are counted by, but for instructions.
    fn time(&self, now: u64) -> Option<u64> {
        (!self.exact).then_some(now)
    }

    /// One instruction was done.
    pub fn retire(&mut self, what: Retired) {
        for counter in self.all.iter_mut().filter(|counter| counter.counts(what)) {
            counter.base = counter.base.wrapping_add(1) & MASK;
        }
    }

    /// RDPMC.
    pub fn count(&self, index: u32, now: u64) -> Option<u64> {
        self.all.get(index as usize).map(|counter| counter.read(self.time(now)))
    }

    pub fn set(&mut self, index: u32, value: u64, now: u64) -> Option<()> {
        self.all.get_mut(index as usize)?.set(value, now);
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
        counters.write(PERF_EVENT_FIRST, ON | CYCLES, 100).unwrap();
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

    fn retired(select: u64, what: Retired) -> Option<u64> {
        let mut counters = Counters::default();
        counters.set_control(0, select, 0).unwrap();
        counters.retire(what);
        counters.count(0, 1000)
    }

    const PLAIN: Retired = Retired { user: true, guest: None, branch: false, missed: false };

    #[test]
    fn instructions_and_branches_are_counted_one_by_one() {
        let branch = Retired { branch: true, missed: true, ..PLAIN };
        let of = |event| [PLAIN, branch].map(|what| retired(ON | event, what));
        assert_eq!([of(INSTRUCTIONS), of(BRANCHES)], [[Some(1), Some(1)], [Some(0), Some(1)]]);
        assert_eq!(of(MISSES), [Some(0), Some(1)]);
    }

    #[test]
    fn what_is_counted_is_by_privilege_and_world() {
        let of = |bits, what| retired(ENABLE | INSTRUCTIONS | bits, what);
        let guest = |guest| Retired { guest: Some(guest), ..PLAIN };
        assert_eq!((of(USER, PLAIN), of(SYSTEM, PLAIN)), (Some(1), Some(0)));
        let only = |bits| [guest(false), guest(true)].map(|what| of(USER | bits, what));
        assert_eq!(only(GUEST_ONLY), [Some(0), Some(1)]);
        assert_eq!(only(HOST_ONLY), [Some(1), Some(0)]);
        assert_eq!(of(USER | GUEST_ONLY, PLAIN), Some(1));
    }

    /// Else a program would seem to need hundreds of cycles for an instruction.
    #[test]
    fn an_instruction_is_a_cycle_while_instructions_are_counted() {
        let mut counters = Counters::default();
        counters.set_control(0, ON | CYCLES, 100).unwrap();
        counters.set_control(1, ON | INSTRUCTIONS, 150).unwrap();
        (0..3).for_each(|_| counters.retire(PLAIN));
        counters.set_control(1, 0, 9000).unwrap();
        assert_eq!((counters.count(0, 9010), counters.count(1, 9010)), (Some(50 + 3 + 10), Some(3)));
    }

    /// One instruction a cycle is never two.
    #[test]
    fn a_count_mask_is_heeded() {
        let of = |least: u64| retired(ON | INSTRUCTIONS | least << LEAST_SHIFT, PLAIN);
        assert_eq!([of(0), of(1), of(2)], [Some(1), Some(1), Some(0)]);
    }

    #[test]
    fn only_instructions_and_branches_need_them_one_by_one() {
        let mut counters = Counters::default();
        let mut with = |select| {
            counters.set_control(3, select, 0).unwrap();
            counters.exact()
        };
        assert_eq!(
            [ON | CYCLES, ON | BRANCHES, INSTRUCTIONS, ON | INSTRUCTIONS].map(&mut with),
            [false, true, false, true]
        );
    }
}
