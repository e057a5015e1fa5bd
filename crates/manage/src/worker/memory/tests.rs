use super::*;
use crate::store::Config;
use std::sync::{Mutex, MutexGuard};

const EASY: HostMemory = HostMemory { total: 32 << 30, available: 16 << 30, stalled: 0.0 };

/// What a balancer asked for, and a guest that the test moves.
struct Guest {
    state: MemoryState,
    /// Target, and whether by all means.
    requested: Option<(u64, bool)>,
    holds: u32,
    polls: u32,
}

struct Fake(Mutex<Guest>);

impl Fake {
    fn new() -> Self {
        let state = MemoryState {
            base: 1024 * MIB,
            room: 8192 * MIB,
            can_grow: true,
            can_shrink: true,
            ..MemoryState::default()
        };
        Self(Mutex::new(Guest { state, requested: None, holds: 0, polls: 0 }))
    }
    fn guest(&self) -> MutexGuard<'_, Guest> {
        self.0.lock().unwrap()
    }
    /// The guest does what it was asked.
    fn obey(&self) {
        let mut guest = self.guest();
        if let Some((target, _)) = guest.requested {
            guest.state.plugged = target.saturating_sub(guest.state.base);
            guest.state.ballooned = guest.state.base.saturating_sub(target);
        }
    }
    /// So much is in use.
    fn use_memory(&self, mib: u64) {
        let mut guest = self.guest();
        let available = Some(guest.state.assigned().saturating_sub(mib * MIB));
        let number = number(&guest.state) + 1;
        guest.state.statistics =
            Some(ireko_machine::memory::Statistics { available, number, ..Default::default() });
    }
    /// So much is online, the kernel's own not counted.
    fn has_online(&self, mib: u64) {
        let mut guest = self.guest();
        let (available, total) = (Some(100 * MIB), Some(mib * MIB));
        let number = number(&guest.state) + 1;
        guest.state.statistics =
            Some(ireko_machine::memory::Statistics { available, total, number, ..Default::default() });
    }
    fn requested(&self) -> Option<u64> {
        self.guest().requested.map(|(target, _)| target / MIB)
    }
}

impl Remote for Fake {
    fn power_button(&self) {}
    fn turn_off(&self) {}
    fn reset(&self) {}
    fn pause(&self) -> bool {
        true
    }
    fn resume(&self) {}
    fn input(&self, _: &[u8]) {}
    fn memory(&self) -> MemoryState {
        self.guest().state
    }
    fn aim(&self, target: u64, insist: bool) {
        self.guest().requested = Some((target, insist));
    }
    fn hold_memory(&self) {
        self.guest().holds += 1;
    }
    fn poll_memory(&self) {
        self.guest().polls += 1;
    }
    fn hypervisor(&self) -> Option<bool> {
        None
    }
}

fn memory(startup: u64) -> Memory {
    Memory { startup: startup * MIB, ..Config::new(crate::guid::Guid::NIL, "vm", 0).memory }
}

fn dynamic() -> Memory {
    Memory { dynamic: true, maximum: 4096 * MIB, ..memory(1024) }
}

fn rounds(balancer: &mut Balancer, count: u32, hypervisor: bool, fake: &Fake) {
    for _ in 0..count {
        balancer.round(hypervisor, EASY, fake);
    }
}

#[test]
fn a_static_vm_gets_its_new_startup_memory() {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    balancer.change(memory(2048), Some(false), EASY, &fake).unwrap();
    assert_eq!(fake.requested(), Some(2048));
    assert!(balancer.adjusting(fake.memory().assigned()));
    fake.obey();
    assert!(!balancer.adjusting(fake.memory().assigned()));
}

#[test]
fn a_resize_with_a_hypervisor_inside_is_refused_and_works_again_without() {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    let error = balancer.change(memory(2048), Some(true), EASY, &fake).unwrap_err();
    assert!(error.contains("hypervisor runs inside") && error.contains("unload"), "{error}");
    assert_eq!((fake.requested(), balancer.settings.startup), (None, 1024 * MIB));
    balancer.change(memory(2048), Some(false), EASY, &fake).unwrap();
    assert_eq!(fake.requested(), Some(2048));
}

#[test]
fn dynamic_memory_follows_the_demand() {
    let (mut balancer, fake) = (Balancer::new(dynamic()), Fake::new());
    rounds(&mut balancer, 1, false, &fake);
    fake.use_memory(1000);
    rounds(&mut balancer, 1, false, &fake);
    assert_eq!(fake.requested(), Some(1200));
}

#[test]
fn dynamic_memory_stays_constant_while_a_hypervisor_runs_inside() {
    let (mut balancer, fake) = (Balancer::new(dynamic()), Fake::new());
    for _ in 0..50 {
        fake.use_memory(1000);
        rounds(&mut balancer, 1, true, &fake);
    }
    assert_eq!((fake.requested(), fake.guest().holds), (None, 1));
    rounds(&mut balancer, POLL_DYNAMIC, false, &fake);
    fake.use_memory(1000);
    rounds(&mut balancer, 1, false, &fake);
    assert_eq!(fake.requested(), Some(1200));
}

#[test]
fn a_resize_under_way_stops_for_a_hypervisor_and_goes_on_after_it() {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    balancer.change(memory(2048), None, EASY, &fake).unwrap();
    fake.guest().requested = None;
    rounds(&mut balancer, 3, true, &fake);
    assert_eq!((fake.requested(), fake.guest().holds), (None, 1));
    assert!(!balancer.adjusting(fake.memory().assigned()));
    rounds(&mut balancer, 1, false, &fake);
    assert_eq!(fake.requested(), Some(2048));
}

#[test]
fn what_a_guest_does_not_unplug_is_insisted_on() {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    fake.guest().state.plugged = 512 * MIB;
    rounds(&mut balancer, INSIST_AFTER + 1, false, &fake);
    assert_eq!(fake.guest().requested, Some((1024 * MIB, true)));
}

#[test]
fn nobody_waits_for_ever_for_a_guest_that_does_nothing() {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    balancer.change(memory(512), None, EASY, &fake).unwrap();
    rounds(&mut balancer, GIVE_UP_AFTER + 1, false, &fake);
    assert!(!balancer.adjusting(fake.memory().assigned()));
    assert_eq!(balancer.target(), 512 * MIB);
}

#[test]
fn a_reset_starts_with_the_settings_of_now() {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    balancer.change(memory(2048), None, EASY, &fake).unwrap();
    balancer.restart();
    assert_eq!(balancer.target(), 2048 * MIB);
}

#[test]
fn statistics_are_asked_for_until_there_are_some_and_then_seldom() {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    rounds(&mut balancer, 3, false, &fake);
    assert_eq!(fake.guest().polls, 3);
    fake.use_memory(100);
    rounds(&mut balancer, POLL_STATIC, false, &fake);
    assert_eq!(fake.guest().polls, 4);
}

#[test]
fn the_demand_is_what_is_not_available() {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    rounds(&mut balancer, 1, false, &fake);
    assert_eq!(balancer.demand(), None);
    fake.use_memory(300);
    rounds(&mut balancer, 1, false, &fake);
    assert_eq!(balancer.demand(), Some(300 * MIB));
}

#[test]
fn statistics_of_memory_that_moved_meanwhile_count_for_nothing() {
    let (mut balancer, fake) = (Balancer::new(dynamic()), Fake::new());
    rounds(&mut balancer, 1, false, &fake);
    fake.use_memory(1000);
    fake.guest().state.plugged = 512 * MIB;
    rounds(&mut balancer, 1, false, &fake);
    assert_eq!((balancer.demand(), fake.requested()), (None, None));
}

#[test]
fn an_answer_counts_once() {
    let (mut balancer, fake) = (Balancer::new(dynamic()), Fake::new());
    rounds(&mut balancer, 1, false, &fake);
    fake.use_memory(1000);
    rounds(&mut balancer, 1, false, &fake);
    fake.obey();
    fake.guest().requested = None;
    rounds(&mut balancer, POLL_DYNAMIC * 3, false, &fake);
    assert_eq!(fake.requested(), None);
}

#[test]
fn the_status_compares_what_is_there_with_what_is_wanted() {
    let of = |assigned: u64, demand: u64| status(assigned * MIB, demand * MIB, &dynamic());
    assert_eq!([of(1024, 800), of(1024, 900), of(1024, 1020)], ["OK", "Low", "Warning"]);
    assert_eq!(status(1024 * MIB, 900 * MIB, &memory(1024)), "OK");
}

#[test]
fn pressure_and_memory_are_read() {
    let text = "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0 avg300=0 total=1\n";
    assert_eq!((stalled(text), stalled("")), (12.5, 0.0));
    assert_eq!(kibibytes("MemTotal:  8 kB\nMemAvailable:   4 kB\n", "MemAvailable:"), 4096);
}

/// A static machine that was given as much again as it started with, of which its guest has so much online.
fn offline_after_growing(online: u64) -> u64 {
    let (mut balancer, fake) = (Balancer::new(memory(1024)), Fake::new());
    rounds(&mut balancer, 1, false, &fake);
    fake.has_online(960);
    rounds(&mut balancer, 1, false, &fake);
    balancer.change(memory(2048), Some(false), EASY, &fake).unwrap();
    fake.obey();
    rounds(&mut balancer, 2 + MOVED_BEFORE, false, &fake);
    fake.has_online(online);
    rounds(&mut balancer, 1, false, &fake);
    balancer.offline() / MIB
}

#[test]
fn memory_that_the_guest_does_not_take_into_use_is_told() {
    assert_eq!(offline_after_growing(960), 1024);
}

#[test]
fn memory_that_the_guest_uses_is_not_offline_though_its_kernel_keeps_some() {
    assert_eq!(offline_after_growing(960 + 1000), 0);
}
