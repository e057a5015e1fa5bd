use super::saved::SavedWatchdog;
use super::*;
use crate::pci::regs::COMMAND;
use crate::probe::Probe;
use ireko_vmcore::saved::SaveRestore;
use std::sync::atomic::{AtomicU32, Ordering};

/// A unit of the slow clock, in nanoseconds.
const UNIT: u64 = (1 << 15) * 1000 / MEGAHERTZ;

struct Bench {
    dog: Arc<Mutex<Watchdog>>,
    clock: Clock,
    bites: Arc<AtomicU32>,
    probe: Arc<Probe>,
    _timers: Timers,
}

impl Bench {
    fn new() -> Self {
        let (clock, probe, bites) = (Clock::by_hand(), Probe::new(), Arc::<AtomicU32>::default());
        let timers = Timers::new(clock.clone());
        let counted = bites.clone();
        let bite = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let dog = Watchdog::new(clock.clone(), &timers, probe.line(0), bite);
        Self { dog, clock, bites, probe, _timers: timers }
    }

    fn put(&self, register: u64, value: u32) {
        lock(&self.dog).write_bar(BAR, register, &value.to_le_bytes());
    }
    fn get(&self, register: u64) -> u32 {
        let mut data = [0; 4];
        lock(&self.dog).read_bar(BAR, register, &mut data);
        u32::from_le_bytes(data)
    }
    fn configure(&self, at: usize, value: u8) {
        lock(&self.dog).write_config(at as u16, &[value]);
    }
    fn open(&self) {
        KEYS.iter().for_each(|key| self.put(RELOAD, (*key).into()));
    }
    fn set(&self, register: u64, value: u32) {
        self.open();
        self.put(register, value);
    }
    /// As Linux does it: no interrupt, both stages of this length.
    fn start(&self, units: u32) {
        self.configure(CONFIGURATION, INTERRUPT_TYPE as u8);
        STAGES.iter().for_each(|stage| self.set(*stage, units));
        self.configure(LOCK, ENABLED);
    }
    /// What the timers' thread does after so much time.
    fn pass(&self, nanoseconds: u64) {
        self.clock.advance(nanoseconds);
        lock(&self.dog).fired();
    }
    fn bites(&self) -> u32 {
        self.bites.load(Ordering::SeqCst)
    }
}

#[test]
fn it_is_what_drivers_look_for() {
    let bench = Bench::new();
    let mut id = [0; 4];
    lock(&bench.dog).read_config(0, &mut id);
    assert_eq!(u32::from_le_bytes(id), 0x25ab_8086);
}

#[test]
fn a_system_that_does_nothing_is_bitten_after_both_stages() {
    let bench = Bench::new();
    bench.start(1000);
    bench.pass(1001 * UNIT);
    assert_eq!(bench.bites(), 0);
    bench.pass(1001 * UNIT);
    assert_eq!((bench.bites(), bench.get(RELOAD)), (1, TIMED_OUT.into()));
    bench.pass(10_000 * UNIT);
    assert_eq!(bench.bites(), 1);
}

#[test]
fn one_that_begins_it_anew_is_not() {
    let bench = Bench::new();
    bench.start(1000);
    for _ in 0..100 {
        bench.pass(900 * UNIT);
        bench.set(RELOAD, BEGIN.into());
    }
    assert_eq!(bench.bites(), 0);
}

#[test]
fn nothing_is_written_without_its_keys_and_each_pair_is_for_one_write() {
    let bench = Bench::new();
    bench.put(STAGES[0], 7);
    bench.put(RELOAD, KEYS[1].into());
    bench.put(STAGES[0], 7);
    assert_eq!(bench.get(STAGES[0]), 0);
    bench.set(STAGES[0], u32::MAX);
    bench.put(STAGES[0], 7);
    assert_eq!(bench.get(STAGES[0]), LONGEST);
    bench.start(1000);
    bench.pass(900 * UNIT);
    bench.put(RELOAD, BEGIN.into());
    bench.pass(200 * UNIT);
    bench.pass(1001 * UNIT);
    assert_eq!(bench.bites(), 1);
}

#[test]
fn one_that_is_stopped_does_not_bite_and_one_that_is_locked_is_not_stopped() {
    let bench = Bench::new();
    bench.start(1000);
    bench.configure(LOCK, 0);
    bench.pass(10_000 * UNIT);
    assert_eq!(bench.bites(), 0);
    bench.configure(LOCK, ENABLED | LOCKED);
    bench.configure(LOCK, 0);
    (0..2).for_each(|_| bench.pass(1001 * UNIT));
    assert_eq!(bench.bites(), 1);
}

#[test]
fn the_first_stage_interrupts_by_its_wire_if_it_is_to() {
    let bench = Bench::new();
    bench.start(1000);
    bench.configure(CONFIGURATION, 0);
    bench.pass(1001 * UNIT);
    assert!(bench.probe.level(0) && bench.get(INTERRUPT) == 1);
    bench.put(INTERRUPT, 1);
    assert!(!bench.probe.level(0) && bench.get(INTERRUPT) == 0);
}

#[test]
fn without_an_output_it_runs_for_nothing() {
    let bench = Bench::new();
    bench.start(1000);
    bench.configure(CONFIGURATION, (INTERRUPT_TYPE | NO_OUTPUT) as u8);
    (0..2).for_each(|_| bench.pass(1001 * UNIT));
    assert_eq!((bench.bites(), bench.get(RELOAD)), (0, TIMED_OUT.into()));
    bench.set(RELOAD, TIMED_OUT.into());
    assert_eq!(bench.get(RELOAD), 0);
}

#[test]
fn one_that_runs_freely_begins_anew_and_not_without_end() {
    let bench = Bench::new();
    bench.start(0);
    bench.configure(LOCK, ENABLED | FREE_RUNNING);
    bench.pass(SHORTEST);
    bench.pass(SHORTEST - 1);
    assert_eq!(bench.bites(), 0);
    bench.pass(1);
    assert_eq!(bench.bites(), 1);
    (0..2).for_each(|_| bench.pass(SHORTEST));
    assert_eq!(bench.bites(), 2);
}

#[test]
fn a_reset_stops_it() {
    let bench = Bench::new();
    bench.start(1000);
    {
        let mut dog = lock(&bench.dog);
        dog.config_mut().reset();
        dog.reset();
    }
    bench.pass(10_000 * UNIT);
    assert_eq!((bench.bites(), bench.get(STAGES[0])), (0, 0));
}

#[test]
fn it_goes_on_elsewhere_where_it_was() {
    let bench = Bench::new();
    bench.start(1000);
    bench.pass(1001 * UNIT);
    bench.configure(COMMAND, 2);
    let saved = lock(&bench.dog).save();
    let other = Bench::new();
    other.clock.advance(bench.clock.now());
    lock(&other.dog).restore(saved.clone()).unwrap();
    assert_eq!(lock(&other.dog).save(), saved);
    other.pass(1001 * UNIT);
    assert_eq!(other.bites(), 1);
}

#[test]
fn bits_that_no_register_has_are_no_saved_state() {
    let bench = Bench::new();
    let saved = lock(&bench.dog).save();
    for hostile in [
        SavedWatchdog { keys: 3, ..saved.clone() },
        SavedWatchdog { lengths: [0, LONGEST + 1], ..saved.clone() },
    ] {
        assert!(lock(&bench.dog).restore(hostile).is_err());
    }
    lock(&bench.dog).restore(SavedWatchdog { running: Some((true, 0)), ..saved }).unwrap();
    bench.pass(1);
    assert_eq!(bench.bites(), 0);
}
