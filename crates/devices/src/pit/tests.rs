use super::*;
use crate::probe::{Probe, until, write8};

/// Counter 2 with its gate open, programmed at tick 1000 so that it starts at 1001.
fn counter_2(mode: u8, count: u16) -> Counters {
    let mut counters = Counters::new();
    counters.write(PORT_61, 0, GATE_2, 0);
    program(&mut counters, 2, mode, count, 1000);
    counters
}

fn program(counters: &mut Counters, channel: u8, mode: u8, count: u16, tick: u64) {
    counters.write(0, CONTROL, channel << 6 | 3 << 4 | mode << 1, tick);
    for byte in count.to_le_bytes() {
        counters.write(0, u64::from(channel), byte, tick);
    }
}

fn reading(counters: &mut Counters, channel: u64, tick: u64) -> u16 {
    u16::from_le_bytes([counters.read(0, channel, tick), counters.read(0, channel, tick)])
}

fn out_2(counters: &mut Counters, tick: u64) -> bool {
    counters.read(PORT_61, 0, tick) & OUT_2 != 0
}

#[test]
fn mode_0_raises_out_after_count_plus_one_ticks() {
    let mut counters = counter_2(0, 100);
    assert!(!out_2(&mut counters, 1100));
    assert!(out_2(&mut counters, 1101));
}

#[test]
fn mode_0_counts_down_by_one_a_tick_and_wraps() {
    let mut counters = counter_2(0, 100);
    assert_eq!(reading(&mut counters, 2, 1001), 100);
    assert_eq!(reading(&mut counters, 2, 1031), 70);
    assert_eq!(reading(&mut counters, 2, 1102), 0xffff);
}

#[test]
fn a_closed_gate_pauses_mode_0() {
    let mut counters = counter_2(0, 100);
    counters.write(PORT_61, 0, 0, 1011);
    assert_eq!(reading(&mut counters, 2, 5000), 90);
    counters.write(PORT_61, 0, GATE_2, 6000);
    assert_eq!(reading(&mut counters, 2, 6010), 80);
}

#[test]
fn mode_0_does_not_start_behind_a_closed_gate() {
    let mut counters = Counters::new();
    program(&mut counters, 2, 0, 50, 0);
    assert!(!out_2(&mut counters, 1000));
    counters.write(PORT_61, 0, GATE_2, 1000);
    assert!(out_2(&mut counters, 1050));
}

#[test]
fn mode_2_starts_anew_when_its_gate_opens() {
    let mut counters = Counters::new();
    program(&mut counters, 2, 2, 50, 0);
    counters.write(PORT_61, 0, GATE_2, 1000);
    assert_eq!(reading(&mut counters, 2, 1011), 40);
}

#[test]
fn mode_1_starts_with_a_rising_gate() {
    let mut counters = Counters::new();
    program(&mut counters, 2, 1, 50, 0);
    assert!(out_2(&mut counters, 10));
    counters.write(PORT_61, 0, GATE_2, 100);
    assert!(!out_2(&mut counters, 150));
    assert!(out_2(&mut counters, 151));
}

#[test]
fn mode_2_is_low_for_the_last_tick_of_a_period() {
    let mut counters = counter_2(2, 10);
    let outs: Vec<bool> = (1001..1021).map(|tick| out_2(&mut counters, tick)).collect();
    let lows: Vec<usize> = (0..20).filter(|&i| !outs[i]).collect();
    assert_eq!(lows, [9, 19]);
}

#[test]
fn mode_2_reads_from_count_down_to_one() {
    let mut counters = counter_2(2, 3);
    let readings: Vec<u16> = (1001..1005).map(|tick| reading(&mut counters, 2, tick)).collect();
    assert_eq!(readings, [3, 2, 1, 3]);
}

#[test]
fn mode_3_is_a_square_wave() {
    let mut counters = counter_2(3, 5);
    let outs: Vec<bool> = (1001..1006).map(|tick| out_2(&mut counters, tick)).collect();
    assert_eq!(outs, [true, true, true, false, false]);
}

#[test]
fn mode_3_counts_down_by_two() {
    let mut counters = counter_2(3, 8);
    let readings: Vec<u16> = (1001..1006).map(|tick| reading(&mut counters, 2, tick)).collect();
    assert_eq!(readings, [8, 6, 4, 2, 8]);
}

#[test]
fn mode_3_with_a_count_of_one_does_not_fail() {
    let mut counters = counter_2(3, 1);
    reading(&mut counters, 2, 2000);
    assert!(out_2(&mut counters, 2000));
}

#[test]
fn mode_4_strobes_once() {
    let mut counters = counter_2(4, 20);
    let lows: Vec<u64> = (1001..1100).filter(|&tick| !out_2(&mut counters, tick)).collect();
    assert_eq!(lows, [1021]);
}

#[test]
fn a_count_of_zero_is_65536() {
    let mut counters = counter_2(0, 0);
    assert!(!out_2(&mut counters, 1000 + 65536));
    assert!(out_2(&mut counters, 1001 + 65536));
}

#[test]
fn a_latched_count_holds_until_it_is_read() {
    let mut counters = counter_2(0, 100);
    counters.write(0, CONTROL, 2 << 6, 1011);
    assert_eq!(reading(&mut counters, 2, 1050), 90);
    assert_eq!(reading(&mut counters, 2, 1051), 50);
}

#[test]
fn read_back_latches_status_before_count() {
    let mut counters = counter_2(2, 100);
    counters.write(0, CONTROL, 0xc0 | 1 << 3, 1011);
    assert_eq!(counters.read(0, 2, 1011), STATUS_OUT | 3 << 4 | 2 << 1);
    assert_eq!(reading(&mut counters, 2, 1050), 90);
}

#[test]
fn a_count_that_is_not_loaded_yet_is_null_in_the_status() {
    let mut counters = Counters::new();
    counters.write(0, CONTROL, 0x34, 0);
    counters.write(0, CONTROL, 0xc0 | READ_BACK_NO_COUNT | 1 << 1, 0);
    assert_eq!(counters.read(0, 0, 0) & STATUS_NULL, STATUS_NULL);
}

#[test]
fn bcd_counts_in_decimal() {
    let mut counters = Counters::new();
    counters.write(PORT_61, 0, GATE_2, 0);
    counters.write(0, CONTROL, 2 << 6 | 3 << 4 | BCD, 0);
    counters.write(0, 2, 0x00, 0);
    counters.write(0, 2, 0x10, 0);
    assert_eq!(reading(&mut counters, 2, 2), 0x0999);
}

#[test]
fn the_refresh_bit_toggles() {
    let mut counters = Counters::new();
    assert_ne!(counters.read(PORT_61, 0, 17) & REFRESH, counters.read(PORT_61, 0, 18) & REFRESH);
}

#[test]
fn mode_2_rises_once_a_period() {
    let counters = counter_2(2, 10);
    assert_eq!(counters.channels[2].next_rise(1001), Some(1011));
    assert_eq!(counters.channels[2].next_rise(1011), Some(1021));
}

#[test]
fn mode_0_rises_once() {
    let counters = counter_2(0, 10);
    assert_eq!(counters.channels[2].next_rise(1001), Some(1011));
    assert_eq!(counters.channels[2].next_rise(1011), None);
}

#[test]
fn counter_0_drives_its_line_periodically() {
    let (clock, probe) = (Clock::new(), Probe::new());
    let mut pit = Pit::new(clock.clone(), &Timers::new(clock.clone()), probe.line(0));
    write8(&mut pit, 0, CONTROL, 0x34);
    write8(&mut pit, 0, 0, 0xa9);
    write8(&mut pit, 0, 0, 0x04);
    until("three periods", || probe.edges(0) >= 3);
}

#[test]
fn mode_2_has_risen_once_for_each_period_that_passed() {
    let counters = counter_2(2, 100);
    assert_eq!(counters.channels[2].rises(1101, 1101 + 350), Some(4));
}

#[test]
fn mode_0_has_no_rises_to_be_missed() {
    assert_eq!(counter_2(0, 100).channels[2].rises(1101, 5000), None);
}

#[test]
fn a_period_that_nothing_could_serve_misses_none() {
    assert_eq!(counter_2(2, 2).channels[2].rises(1003, 9000), Some(1));
}
