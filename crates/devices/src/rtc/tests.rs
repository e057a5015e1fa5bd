use super::calendar::Date;
use super::chip::SECOND;
use super::*;
use crate::probe::{Probe, read8, until, write8};

/// 2024-02-29 13:14:15 UTC, a Thursday.
const LEAP_DAY: u64 = 1_709_212_455;

fn chip() -> Chip {
    Chip::new(LEAP_DAY, 0)
}

fn read(chip: &mut Chip, index: u8, now: u64) -> u8 {
    chip.select(index);
    chip.read(now)
}

fn write(chip: &mut Chip, index: u8, value: u8, now: u64) {
    chip.select(index);
    chip.write(value, now);
}

#[test]
fn the_time_reads_in_bcd() {
    let mut chip = chip();
    let fields = [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS];
    let bytes = fields.map(|index| read(&mut chip, index, 0));
    assert_eq!(bytes, [0x20, 0x24, 0x02, 0x29, 0x05, 0x13, 0x14, 0x15]);
}

#[test]
fn time_goes_on_with_the_clock() {
    let mut chip = chip();
    assert_eq!(read(&mut chip, SECONDS, 7 * SECOND + 1), 0x22);
}

#[test]
fn binary_mode_and_12_hours_are_shown_as_asked() {
    let mut chip = chip();
    write(&mut chip, B, B_BINARY, 0);
    assert_eq!(read(&mut chip, HOURS, 0), PM | 1);
    assert_eq!(read(&mut chip, SECONDS, 0), 15);
}

#[test]
fn a_time_that_is_set_goes_on_from_there() {
    let mut chip = chip();
    write(&mut chip, B, B_SET | B_24_HOURS, 0);
    for (index, value) in
        [(YEAR, 0x30), (MONTH, 0x12), (DAY, 0x31), (HOURS, 0x23), (MINUTES, 0x59), (SECONDS, 0x58)]
    {
        write(&mut chip, index, value, 0);
    }
    write(&mut chip, B, B_24_HOURS, 0);
    assert_eq!(read(&mut chip, YEAR, 3 * SECOND), 0x31);
    assert_eq!(read(&mut chip, SECONDS, 3 * SECOND), 0x01);
}

#[test]
fn a_stopped_clock_stands() {
    let mut chip = chip();
    write(&mut chip, B, B_SET | B_24_HOURS, 0);
    assert_eq!(read(&mut chip, SECONDS, 9 * SECOND), 0x15);
}

#[test]
fn uip_is_set_shortly_before_an_update() {
    let mut chip = chip();
    assert_eq!(read(&mut chip, A, SECOND - UIP_NANOSECONDS - 1) & A_UIP, 0);
    assert_eq!(read(&mut chip, A, SECOND - UIP_NANOSECONDS) & A_UIP, A_UIP);
    assert_eq!(read(&mut chip, A, SECOND) & A_UIP, 0);
}

#[test]
fn register_d_says_valid() {
    assert_eq!(read(&mut chip(), D, 0), D_VALID);
}

#[test]
fn a_second_sets_the_update_flag_even_when_not_enabled() {
    let mut chip = chip();
    assert!(!chip.advance(SECOND));
    assert_eq!(read(&mut chip, C, SECOND) & UPDATED, UPDATED);
}

#[test]
fn an_enabled_update_interrupts_until_c_is_read() {
    let mut chip = chip();
    write(&mut chip, B, UPDATED | B_24_HOURS, 0);
    assert!(chip.advance(SECOND));
    assert_eq!(read(&mut chip, C, SECOND) & C_IRQF, C_IRQF);
    assert!(!chip.advance(SECOND));
}

#[test]
fn the_alarm_matches_its_time_only() {
    let mut chip = chip();
    for (index, value) in [(SECONDS_ALARM, 0x20), (MINUTES_ALARM, 0x14), (HOURS_ALARM, 0x13)] {
        write(&mut chip, index, value, 0);
    }
    write(&mut chip, B, ALARM | B_24_HOURS, 0);
    assert!(!chip.advance(4 * SECOND));
    assert!(chip.advance(5 * SECOND));
}

#[test]
fn an_alarm_byte_with_its_top_bits_set_matches_all() {
    let mut chip = chip();
    for (index, value) in [(SECONDS_ALARM, 0x20), (MINUTES_ALARM, 0xff), (HOURS_ALARM, 0xc0)] {
        write(&mut chip, index, value, 0);
    }
    assert_eq!(read(&mut chip, C, 6 * SECOND) & ALARM, ALARM);
}

#[test]
fn the_periodic_rate_is_the_registers() {
    let mut chip = chip();
    write(&mut chip, B, PERIODIC | B_24_HOURS, 0);
    assert_eq!(chip.next_event(0), Some(SECOND / 1024));
    assert!(chip.advance(SECOND / 1024));
}

#[test]
fn dates_survive_the_way_there_and_back() {
    for unix in [0, 951_782_400, LEAP_DAY, 4_107_542_399, 7_258_118_400] {
        assert_eq!(Date::from_unix(unix).to_unix(), unix);
    }
}

#[test]
fn nonsense_in_the_time_bytes_is_taken() {
    let mut chip = chip();
    for index in [YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS, CENTURY] {
        write(&mut chip, index, 0xff, 0);
    }
    assert_eq!(read(&mut chip, D, SECOND), D_VALID);
}

#[test]
fn memory_size_is_in_cmos() {
    let clock = Clock::new();
    let mut rtc = Rtc::new(clock.clone(), &Timers::new(clock.clone()), Probe::new().line(8), LEAP_DAY);
    rtc.set_memory_size(512 << 20, 0);
    write8(&mut rtc, 0, 0, HIGH_MEMORY + 1);
    assert_eq!(read8(&mut rtc, 0, 1), 0x1f);
}

#[test]
fn the_line_is_raised_by_a_periodic_interrupt() {
    let (clock, probe) = (Clock::new(), Probe::new());
    let mut rtc = Rtc::new(clock.clone(), &Timers::new(clock.clone()), probe.line(8), LEAP_DAY);
    write8(&mut rtc, 0, 0, B);
    write8(&mut rtc, 0, 1, PERIODIC | B_24_HOURS);
    until("a periodic interrupt", || probe.level(8));
}

/// A chip whose periodic interrupt, 1024 times a second, nobody has served for four periods.
fn late() -> Chip {
    let mut chip = chip();
    write(&mut chip, B, PERIODIC | B_24_HOURS, 0);
    chip.advance(4 * SECOND / 1024 + 1);
    chip
}

#[test]
fn periodic_interrupts_that_were_missed_come_after_the_one_that_was_served() {
    let mut chip = late();
    let served =
        (0..10_000).take_while(|_| read(&mut chip, C, 4 * SECOND / 1024 + 1) & PERIODIC != 0).count();
    assert_eq!(served, 4);
}

#[test]
fn another_rate_owes_nothing() {
    let mut chip = late();
    write(&mut chip, A, 0x2a, 4 * SECOND / 1024 + 1);
    read(&mut chip, C, 4 * SECOND / 1024 + 1);
    assert_eq!(read(&mut chip, C, 4 * SECOND / 1024 + 1) & PERIODIC, 0);
}

#[test]
fn a_missed_periodic_interrupt_is_an_edge_of_its_own() {
    let (clock, probe) = (Clock::new(), Probe::new());
    let mut rtc = Rtc::new(clock.clone(), &Timers::new(clock.clone()), probe.line(8), LEAP_DAY);
    write8(&mut rtc, 0, 0, B);
    write8(&mut rtc, 0, 1, PERIODIC | B_24_HOURS);
    std::thread::sleep(std::time::Duration::from_millis(5));
    write8(&mut rtc, 0, 0, C);
    until("a periodic interrupt", || probe.level(8));
    let before = probe.edges(8);
    read8(&mut rtc, 0, 1);
    read8(&mut rtc, 0, 1);
    assert_eq!(probe.edges(8), before + 2);
}

#[test]
fn periodic_interrupts_that_are_kept_have_a_bound() {
    let mut chip = chip();
    write(&mut chip, B, PERIODIC | B_24_HOURS, 0);
    chip.advance(10 * SECOND);
    let served = (0..10_000).take_while(|_| read(&mut chip, C, 10 * SECOND) & PERIODIC != 0).count();
    assert_eq!(served, 1001);
}

#[test]
fn the_calendar_goes_on_over_a_pause_and_sets_off_an_alarm_that_fell_into_it() {
    let (clock, probe) = (Clock::by_hand(), Probe::new());
    let mut rtc = Rtc::new(clock.clone(), &Timers::new(clock.clone()), probe.line(8), LEAP_DAY);
    let set = |rtc: &mut Rtc, index: u8, value: u8| {
        write8(rtc, 0, 0, index);
        write8(rtc, 0, 1, value);
    };
    let get = |rtc: &mut Rtc, index: u8| {
        write8(rtc, 0, 0, index);
        read8(rtc, 0, 1)
    };
    // At 13:14:25, in ten seconds; alarms interrupt.
    for (index, value) in [(1, 0x25), (3, 0x14), (5, 0x13), (B, B_24_HOURS | ALARM)] {
        set(&mut rtc, index, value);
    }
    rtc.pass(900_000_000);
    assert_eq!((get(&mut rtc, 0), probe.level(8)), (0x15, false));
    rtc.pass(20_100_000_000);
    assert_eq!((get(&mut rtc, 0), probe.level(8)), (0x36, true));
    assert_eq!(get(&mut rtc, C) & ALARM, ALARM);
    clock.advance(SECOND);
    assert_eq!(get(&mut rtc, 0), 0x37);
}
