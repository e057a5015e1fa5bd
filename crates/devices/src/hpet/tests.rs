use super::block::{Block, Interrupt, Pin};
use super::*;
use crate::probe::{Probe, messages, until};

const T0: u64 = TIMER;
const T2: u64 = TIMER + 2 * TIMER_SIZE;

fn read(block: &Block, offset: u64, tick: u64) -> u64 {
    let mut data = [0; 8];
    block.read(offset, &mut data, tick);
    u64::from_le_bytes(data)
}

fn write(block: &mut Block, offset: u64, value: u64, tick: u64) {
    block.write(offset, &value.to_le_bytes(), tick);
}

/// Runs since tick 0.
fn running() -> Block {
    let mut block = Block::default();
    write(&mut block, CONFIGURATION, ENABLE, 0);
    block
}

#[test]
fn the_capabilities_say_three_timers_of_64_bits_and_100_mhz() {
    let capabilities = read(&Block::default(), CAPABILITIES, 0);
    assert_eq!((capabilities >> 32, capabilities >> 8 & 0x1f, capabilities >> 13 & 5), (10_000_000, 2, 5));
}

#[test]
fn the_counter_counts_while_it_is_enabled() {
    let mut block = Block::default();
    assert_eq!(read(&block, COUNTER, 50), 0);
    write(&mut block, COUNTER, 7, 50);
    write(&mut block, CONFIGURATION, ENABLE, 60);
    assert_eq!(read(&block, COUNTER, 100), 47);
    write(&mut block, CONFIGURATION, 0, 110);
    assert_eq!(read(&block, COUNTER, 1000), 57);
}

#[test]
fn halves_are_read_and_written_alone() {
    let mut block = Block::default();
    block.write(COUNTER + 4, &7u32.to_le_bytes(), 0);
    block.write(COUNTER, &9u32.to_le_bytes(), 0);
    let mut half = [0; 4];
    block.read(COUNTER + 4, &mut half, 0);
    assert_eq!((half, read(&block, COUNTER, 0)), ([7, 0, 0, 0], 7 << 32 | 9));
}

#[test]
fn parts_of_a_half_are_not_written() {
    let mut block = Block::default();
    block.write(CONFIGURATION, &[1], 0);
    block.write(CONFIGURATION, &[1, 0], 0);
    block.write(CONFIGURATION + 2, &[1, 0, 1, 0], 0);
    assert_eq!(read(&block, CONFIGURATION, 0), 0);
}

#[test]
fn what_a_timer_can_is_not_written() {
    let mut block = Block::default();
    let can = read(&block, T2, 0);
    write(&mut block, T2, u64::MAX, 0);
    assert_eq!(read(&block, T2, 0), can | WRITABLE);
}

#[test]
fn a_timer_matches_once_in_64_bits_and_at_every_round_in_32() {
    let mut block = running();
    write(&mut block, T2, INTERRUPTS, 0);
    write(&mut block, T2 + COMPARATOR, 1000, 10);
    assert_eq!((block.next(2, 10), block.next(2, 1000)), (Some(990), Some(u64::MAX)));
    write(&mut block, T2, INTERRUPTS | NARROW, 0);
    assert_eq!(block.next(2, 1001), Some(0xffff_ffff));
}

#[test]
fn a_timer_that_nobody_hears_or_a_counter_that_stands_matches_not() {
    let mut block = running();
    write(&mut block, T2 + COMPARATOR, 1000, 0);
    assert_eq!(block.next(2, 0), None);
    write(&mut block, T2, INTERRUPTS, 0);
    write(&mut block, CONFIGURATION, 0, 0);
    assert_eq!(block.next(2, 0), None);
}

#[test]
fn a_periodic_timer_goes_on_beyond_what_was_missed() {
    let mut block = running();
    write(&mut block, T0, INTERRUPTS | PERIODIC | VALUE_SET, 0);
    write(&mut block, T0 + COMPARATOR, 100, 0);
    write(&mut block, T0 + COMPARATOR, 30, 0);
    assert_eq!(block.next(0, 0), Some(100));
    block.matched(0, 65);
    assert_eq!((read(&block, T0 + COMPARATOR, 165), block.next(0, 165)), (190, Some(25)));
}

#[test]
fn only_the_first_timer_is_periodic() {
    let mut block = running();
    write(&mut block, T2, PERIODIC | INTERRUPTS, 0);
    assert_eq!(read(&block, T2, 0) & PERIODIC, 0);
}

#[test]
fn a_level_stays_until_its_status_is_cleared() {
    let mut block = running();
    write(&mut block, T2, INTERRUPTS | LEVEL | 21 << ROUTE_SHIFT, 0);
    assert_eq!(block.matched(2, 0), Some(Interrupt::Level));
    assert_eq!(block.asserted().collect::<Vec<_>>(), [Pin::Gsi(21)]);
    write(&mut block, STATUS, 3, 0);
    assert_eq!(read(&block, STATUS, 0), 4);
    write(&mut block, STATUS, 4, 0);
    assert_eq!(block.asserted().count(), 0);
}

#[test]
fn an_edge_goes_where_it_is_routed_and_nowhere_else() {
    let mut block = running();
    for (route, pin) in [(21, Some(Pin::Gsi(21))), (0, None), (19, None), (31, None)] {
        write(&mut block, T2, INTERRUPTS | route << ROUTE_SHIFT, 0);
        assert_eq!(block.matched(2, 0), pin.map(Interrupt::Edge), "{route}");
    }
}

#[test]
fn the_first_two_timers_replace_the_older_ones() {
    let mut block = running();
    write(&mut block, CONFIGURATION, ENABLE | LEGACY, 0);
    write(&mut block, T0, INTERRUPTS | FSB, 0);
    assert_eq!(block.matched(0, 0), Some(Interrupt::Edge(Pin::Legacy(0))));
}

#[test]
fn a_message_has_the_address_and_the_data_that_were_written() {
    let mut block = running();
    write(&mut block, T2, INTERRUPTS | FSB, 0);
    write(&mut block, T2 + FSB_ROUTE, 0xfee0_0000 << 32 | 0x41, 0);
    assert_eq!(block.matched(2, 0), Some(Interrupt::Message { address: 0xfee0_0000, data: 0x41 }));
}

#[test]
fn a_replaced_wire_has_the_level_of_who_has_it() {
    let probe = Probe::new();
    let wire = Legacy::new(probe.line(0));
    wire.own().set(true);
    assert!(probe.level(0));
    wire.replace(true);
    assert!(!probe.level(0));
    wire.replacement().set(true);
    wire.own().set(false);
    assert!(probe.level(0));
    wire.replace(false);
    assert!(!probe.level(0));
}

/// With wires 0 and 8 in place of the older timers' and 20 to 23.
fn device() -> (Hpet, Arc<Probe>, Timers) {
    let (clock, probe) = (Clock::new(), Probe::new());
    let timers = Timers::new(clock.clone());
    let wires = Wires {
        legacy: [0, 8].map(|pin| Legacy::new(probe.line(pin))),
        routes: [20, 21, 22, 23].map(|pin| probe.line(pin)),
        msi: messages().0,
    };
    (Hpet::new(clock.clone(), &timers, wires), probe, timers)
}

#[test]
fn a_periodic_timer_interrupts_again_and_again() {
    let (mut hpet, probe, _timers) = device();
    let mut put = |offset: u64, value: u64| hpet.write(0, offset, &value.to_le_bytes());
    put(T0, INTERRUPTS | PERIODIC | VALUE_SET);
    put(T0 + COMPARATOR, 100_000);
    put(CONFIGURATION, ENABLE | LEGACY);
    until("the timer", || probe.edges(0) >= 3);
}

#[test]
fn a_level_is_a_level_at_the_wire() {
    let (mut hpet, probe, _timers) = device();
    hpet.write(0, T2, &(INTERRUPTS | LEVEL | 22 << ROUTE_SHIFT).to_le_bytes());
    hpet.write(0, T2 + COMPARATOR, &1000u64.to_le_bytes());
    hpet.write(0, CONFIGURATION, &ENABLE.to_le_bytes());
    until("the timer", || probe.level(22));
    hpet.write(0, STATUS, &4u64.to_le_bytes());
    assert!(!probe.level(22));
}

/// The first timer, every so many ticks.
fn every(period: u64) -> Block {
    let mut block = running();
    write(&mut block, T0, INTERRUPTS | PERIODIC, 0);
    write(&mut block, T0 + COMPARATOR, period, 0);
    block
}

#[test]
fn a_periodic_timer_that_is_late_has_matched_more_than_once() {
    assert_eq!(every(10_000).matches(0, 25_000), Some(3));
}

#[test]
fn a_timer_that_is_too_hasty_to_be_served_misses_no_match() {
    assert_eq!(every(100).matches(0, 25_000), Some(1));
}

#[test]
fn a_timer_that_is_not_periodic_misses_no_match() {
    assert_eq!(running().matches(0, 25_000), None);
}
