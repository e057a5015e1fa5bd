use super::*;
use crate::virtio::regs::*;
use crate::virtio::tests::{DATA, Driver, WRITE};
use std::ops::Range;
use vm_memory::{Bytes, GuestAddress};

const PLACE: Range<u64> = 0x1000_0000..0x1000_0000 + 16 * BLOCK;
const ANSWER: u64 = DATA + 0x100;

fn device(requested: u64) -> (Driver, MemControl) {
    let mut end = None;
    let memory = Memory::with_room(&[(0, 0x10_0000)], Some((PLACE.start, PLACE.end - PLACE.start))).unwrap();
    let driver = Driver::over(memory, |memory, msi, line| {
        let (function, control) = mem(memory, msi, line).unwrap();
        end = Some(control);
        function
    });
    let control = end.expect("made");
    control.request(requested);
    (driver.started(0), control)
}

/// Type and state of the response.
fn ask(driver: &mut Driver, kind: u16, address: u64, count: u16) -> (u16, u16) {
    driver.put(DATA, u64::from(kind));
    driver.put(DATA + 8, address);
    driver.put(DATA + 16, u64::from(count));
    driver.submit(&[(DATA, 24, 0), (ANSWER, 10, WRITE)]);
    let answer = driver.take::<10>(ANSWER);
    (u16::from_le_bytes([answer[0], answer[1]]), u16::from_le_bytes([answer[8], answer[9]]))
}

#[test]
fn the_configuration_says_block_place_and_sizes() {
    let (driver, _) = device(4 * BLOCK);
    let fields = [0, 16, 24, 32, 40, 48].map(|at| driver.read(DEVICE + at, 8));
    let region = PLACE.end - PLACE.start;
    assert_eq!(fields, [BLOCK, PLACE.start, region, region, 0, 4 * BLOCK]);
}

#[test]
fn blocks_are_plugged_up_to_what_was_requested() {
    let (mut driver, control) = device(2 * BLOCK);
    assert_eq!(ask(&mut driver, PLUG, PLACE.start, 2).0, ACK);
    assert_eq!(ask(&mut driver, PLUG, PLACE.start + 4 * BLOCK, 1).0, NACK);
    assert_eq!(control.plugged().plugged, 2 * BLOCK);
}

#[test]
fn an_unplugged_block_is_not_there_and_comes_back_as_zeros() {
    let (mut driver, control) = device(2 * BLOCK);
    ask(&mut driver, PLUG, PLACE.start, 2);
    driver.put(PLACE.start + 8, 7u64);
    assert_eq!(ask(&mut driver, UNPLUG, PLACE.start, 1).0, ACK);
    assert!(driver.memory.ram().write_obj(7u64, GuestAddress(PLACE.start + 8)).is_err());
    assert_eq!(control.plugged().plugged, BLOCK);
    assert_eq!(ask(&mut driver, PLUG, PLACE.start, 1).0, ACK);
    assert_eq!(u64::from_le_bytes(driver.take(PLACE.start + 8)), 0);
}

#[test]
fn a_request_in_an_unplugged_block_breaks_the_device() {
    let (mut driver, _) = device(BLOCK);
    driver.submit(&[(PLACE.start, 24, 0), (ANSWER, 10, WRITE)]);
    assert_eq!(driver.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
}

#[test]
fn a_block_that_the_request_itself_lies_in_is_busy() {
    let (mut driver, control) = device(BLOCK);
    ask(&mut driver, PLUG, PLACE.start, 1);
    driver.put(PLACE.start, u64::from(UNPLUG));
    driver.put(PLACE.start + 8, PLACE.start);
    driver.put(PLACE.start + 16, 1u64);
    driver.submit(&[(PLACE.start, 24, 0), (PLACE.start + 0x100, 10, WRITE)]);
    assert_eq!(driver.take::<2>(PLACE.start + 0x100), BUSY.to_le_bytes());
    assert_eq!(control.plugged().plugged, BLOCK);
}

#[test]
fn every_block_is_plugged_and_no_more() {
    let (mut driver, control) = device(u64::MAX);
    assert_eq!(ask(&mut driver, PLUG, PLACE.start, 16).0, ACK);
    assert_eq!(ask(&mut driver, PLUG, PLACE.start + 16 * BLOCK, 1).0, ERROR);
    assert_eq!(control.plugged().plugged, PLACE.end - PLACE.start);
}

#[test]
fn the_state_of_blocks_is_told() {
    let (mut driver, _) = device(BLOCK);
    ask(&mut driver, PLUG, PLACE.start, 1);
    let mut state = |address, count| ask(&mut driver, STATE, address, count);
    assert_eq!(state(PLACE.start, 1), (ACK, STATE_PLUGGED));
    assert_eq!(state(PLACE.start + BLOCK, 3), (ACK, STATE_UNPLUGGED));
    assert_eq!(state(PLACE.start, 2), (ACK, STATE_MIXED));
}

#[test]
fn plugging_twice_and_unplugging_what_is_not_there_are_errors() {
    let (mut driver, control) = device(4 * BLOCK);
    ask(&mut driver, PLUG, PLACE.start, 1);
    assert_eq!(ask(&mut driver, PLUG, PLACE.start, 1).0, ERROR);
    assert_eq!(ask(&mut driver, UNPLUG, PLACE.start, 2).0, ERROR);
    assert_eq!(control.plugged().plugged, BLOCK);
}

#[test]
fn what_is_no_block_of_the_region_is_an_error() {
    let (mut driver, control) = device(16 * BLOCK);
    for (address, count) in [
        (0, 1),
        (PLACE.start - BLOCK, 1),
        (PLACE.start + 4096, 1),
        (PLACE.start, 0),
        (PLACE.start, 17),
        (PLACE.end, 1),
        (!(BLOCK - 1), u16::MAX),
    ] {
        for kind in [PLUG, UNPLUG, STATE] {
            assert_eq!(ask(&mut driver, kind, address, count).0, ERROR, "{kind} {address:#x} {count}");
        }
    }
    assert_eq!(control.plugged().plugged, 0);
}

#[test]
fn an_unknown_request_is_an_error() {
    assert_eq!(ask(&mut device(BLOCK).0, 9, PLACE.start, 1).0, ERROR);
}

#[test]
fn unplug_all_takes_everything() {
    let (mut driver, control) = device(4 * BLOCK);
    ask(&mut driver, PLUG, PLACE.start, 4);
    assert_eq!(ask(&mut driver, UNPLUG_ALL, 0, 0).0, ACK);
    assert_eq!(control.plugged().plugged, 0);
}

#[test]
fn a_new_driver_finds_plugged_what_was_plugged() {
    let (mut driver, control) = device(4 * BLOCK);
    ask(&mut driver, PLUG, PLACE.start, 4);
    driver.set_status(0);
    assert_eq!(control.plugged().plugged, 4 * BLOCK);
}

#[test]
fn a_new_request_interrupts_and_counts_up_the_generation() {
    let (driver, control) = device(BLOCK);
    let before = driver.read(CONFIG_GENERATION, 1);
    driver.open_msix();
    control.request(3 * BLOCK + 5);
    assert_eq!(control.plugged().requested, 3 * BLOCK);
    assert_eq!(driver.read(CONFIG_GENERATION, 1), before + 1);
    assert_eq!(crate::lock(&driver.messages).len(), 1);
}

#[test]
fn more_than_the_region_is_not_requested() {
    let (_, control) = device(u64::MAX);
    assert_eq!(control.plugged().requested, PLACE.end - PLACE.start);
}

#[test]
fn a_request_that_is_cut_short_breaks_the_device() {
    let (mut driver, _) = device(BLOCK);
    driver.submit(&[(DATA, 23, 0), (ANSWER, 10, WRITE)]);
    assert_eq!(driver.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
}

#[test]
fn a_response_without_room_breaks_the_device_and_plugs_nothing() {
    let (mut driver, control) = device(BLOCK);
    driver.put(DATA, u64::from(PLUG));
    driver.put(DATA + 8, PLACE.start);
    driver.put(DATA + 16, 1u64);
    driver.submit(&[(DATA, 24, 0), (ANSWER, 9, WRITE)]);
    assert_eq!(driver.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
    assert_eq!(control.plugged().plugged, 0);
}

#[test]
fn memory_that_is_unplugged_and_was_code_is_reported() {
    let (mut driver, _) = device(BLOCK);
    ask(&mut driver, PLUG, PLACE.start, 1);
    let frame = PLACE.start >> 12;
    driver.memory.watch().set(frame, ireko_vmcore::memory::Reason::Code, true);
    driver.memory.ram().write_obj(1u8, GuestAddress(PLACE.start + BLOCK - 1)).unwrap();
    assert!(!driver.memory.watch().any());
    ask(&mut driver, UNPLUG, PLACE.start, 1);
    assert_eq!(driver.memory.watch().take(|_| ()), [frame]);
}
