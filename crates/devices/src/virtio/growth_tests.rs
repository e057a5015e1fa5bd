//! Drivers that ask for as much as they can.

use super::regs::*;
use super::tests::{DATA, Driver, INDIRECT, NEXT, WRITE};
use super::*;
use crate::lock;
use ireko_vmcore::Memory;
use std::io;

const TABLE: u64 = 0x10_0000;
const MOST: u16 = u16::MAX;

fn entropy() -> Driver {
    let memory = Memory::new(&[(0, 0x40_0000)]).unwrap();
    let rng = Rng::new(Box::new(io::repeat(0x5a)));
    Driver::over(memory, |memory, msi, line| VirtioPci::new(Box::new(rng), memory, msi, line)).started(0)
}

#[test]
fn the_longest_chain_is_served() {
    let mut driver = entropy();
    for index in 0..MOST {
        let next = if index + 1 < MOST { NEXT } else { 0 };
        driver.describe(TABLE, index, DATA, 1, WRITE | next);
    }
    driver.submit(&[(TABLE, 16 * u32::from(MOST), INDIRECT)]);
    assert_eq!(driver.used_len(0), u32::from(MOST));
}

#[test]
fn a_longer_chain_breaks_the_device() {
    let mut driver = entropy();
    driver.submit(&[(TABLE, 16 * (u32::from(MOST) + 1), INDIRECT)]);
    assert_ne!(driver.status() & STATUS_NEEDS_RESET, 0);
}

#[test]
fn a_chain_in_a_ring_breaks_the_device() {
    let mut driver = entropy();
    driver.describe(TABLE, 0, DATA, 1, WRITE | NEXT);
    driver.put(TABLE + 14, 0u16);
    driver.submit(&[(TABLE, 16, INDIRECT)]);
    assert_ne!(driver.status() & STATUS_NEEDS_RESET, 0);
}

#[test]
fn console_input_that_nobody_takes_is_kept_up_to_a_bound() {
    let mut input = None;
    let _driver = Driver::with(|memory, msi, line| {
        let (function, end) = console(memory, msi, line, Box::new(io::sink()));
        input = Some(end);
        function
    });
    let input = input.unwrap();
    (0..100).for_each(|_| input.send(&[7; 1 << 16]));
    assert_eq!(lock(&input.backlog).len(), console::BACKLOG);
}
