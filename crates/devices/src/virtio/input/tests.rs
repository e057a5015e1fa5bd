use super::*;
use crate::virtio::regs::*;
use crate::virtio::tests::{AVAIL, DATA, DESC, Driver, SIZE, WRITE};

fn device() -> (Driver, TabletInput) {
    let mut end = None;
    let driver = Driver::with(|memory, msi, line| {
        let (function, input) = tablet(memory, msi, line);
        end = Some(input);
        function
    });
    (driver.started(0), end.expect("made"))
}

/// A buffer for each event, one behind the other.
fn offer(driver: &mut Driver, buffers: u16) {
    for index in 0..buffers {
        driver.describe(DESC, index, DATA + 8 * u64::from(index), 8, WRITE);
        driver.put(DESC + 16 * u64::from(index) + 14, 0u16);
        driver.put(AVAIL + 4 + 2 * u64::from(index % SIZE), index);
    }
    driver.put(AVAIL + 2, buffers);
    driver.notify();
}

fn seen(driver: &mut Driver) -> Vec<(u16, u16, i32)> {
    let word = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    (0..u64::from(driver.used()))
        .map(|n| driver.take::<8>(DATA + 8 * n))
        .map(|e| (word(&e), word(&e[2..]), i32::from_le_bytes([e[4], e[5], e[6], e[7]])))
        .collect()
}

fn at(x: u16, y: u16) -> Position {
    Position { x, y, ..Position::default() }
}

fn asked(driver: &Driver, select: u8, subselect: u8) -> Vec<u8> {
    driver.write(DEVICE, [select]);
    driver.write(DEVICE + 1, [subselect]);
    let size = driver.read(DEVICE + 2, 1);
    (0..size).map(|n| driver.read(DEVICE + 8 + n, 1) as u8).collect()
}

#[test]
fn the_device_says_what_it_can() {
    let (driver, _) = device();
    assert_eq!(asked(&driver, ID_NAME, 0), b"Ireko tablet");
    assert_eq!(asked(&driver, EV_BITS, EV_ABS as u8), [3]);
    assert_eq!(asked(&driver, EV_BITS, EV_REL as u8), [0, 1]);
    assert_eq!(asked(&driver, EV_BITS, EV_KEY as u8)[34], 7);
    assert_eq!(asked(&driver, ABS_INFO, 1)[4..6], [0xff, 0x7f]);
}

#[test]
fn a_question_that_there_is_not_has_an_empty_answer() {
    let (driver, _) = device();
    for (select, subselect) in [(0, 0), (ID_NAME, 1), (EV_BITS, 0), (ABS_INFO, 2), (0xff, 0xff)] {
        assert!(asked(&driver, select, subselect).is_empty(), "{select:#x} {subselect}");
    }
}

#[test]
fn a_movement_says_both_coordinates_first_and_then_what_has_changed() {
    let (mut driver, input) = device();
    offer(&mut driver, 8);
    assert!(input.moved(at(7, 9)));
    driver.turn();
    input.moved(at(7, 10));
    let report = (EV_SYN, SYN_REPORT, 0);
    assert_eq!(
        seen(&mut driver),
        [(EV_ABS, ABS_X, 7), (EV_ABS, ABS_Y, 9), report, (EV_ABS, ABS_Y, 10), report]
    );
}

#[test]
fn buttons_and_the_wheel_are_told() {
    let (mut driver, input) = device();
    offer(&mut driver, 8);
    input.moved(Position { buttons: 4, wheel: 1, ..at(0, 0) });
    let told = [(EV_KEY, BUTTONS[2], 1), (EV_REL, REL_WHEEL, -1), (EV_SYN, SYN_REPORT, 0)];
    assert_eq!(seen(&mut driver)[2..], told);
}

#[test]
fn without_a_driver_nobody_takes_a_movement() {
    let mut end = None;
    let _driver = Driver::with(|memory, msi, line| {
        let (function, input) = tablet(memory, msi, line);
        end = Some(input);
        function
    });
    assert!(!end.unwrap().moved(at(1, 1)));
}

#[test]
fn what_nobody_takes_is_kept_up_to_a_bound_and_ends_as_it_ended() {
    let (_driver, input) = device();
    for n in 0..10_000u16 {
        input.moved(Position { buttons: n as u8 & 1, wheel: 1, ..at(n, n) });
    }
    let state = lock(&input.state);
    let last = state.reports.back().unwrap();
    assert_eq!((state.reports.len(), last.x, last.buttons, last.wheel), (BACKLOG, 9_999, 1, MOST_TURNS));
}

#[test]
fn a_reset_forgets_what_waits() {
    let (driver, input) = device();
    input.moved(at(1, 1));
    driver.set_status(0);
    assert!(lock(&input.state).reports.is_empty());
}

#[test]
fn a_buffer_that_is_too_small_breaks_the_device() {
    let (mut driver, input) = device();
    driver.submit(&[(DATA, 7, WRITE)]);
    input.moved(at(1, 1));
    driver.turn();
    assert_ne!(driver.status() & STATUS_NEEDS_RESET, 0);
}
