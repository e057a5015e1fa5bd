use super::VirtioPci;
use super::fs::Fs;
use super::regs::*;
use super::tests::{DATA, Driver, WRITE};
use crate::lock;
use ireko_vmcore::folder::Folder;
use std::io;
use std::sync::{Arc, Mutex};

const REQUESTS: u16 = 1;

/// Notes what it is asked, and says something.
#[derive(Debug, Default)]
struct Told {
    asked: Mutex<Vec<(Vec<u8>, usize)>>,
    says: Option<Vec<u8>>,
}

impl Folder for Told {
    fn ask(&self, request: &[u8], most: usize) -> io::Result<Vec<u8>> {
        lock(&self.asked).push((request.to_owned(), most));
        self.says.clone().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

fn device(says: Option<Vec<u8>>) -> (Driver, Arc<Told>) {
    let told = Arc::new(Told { says, ..Told::default() });
    let folder = told.clone();
    let driver = Driver::with(|memory, msi, line| {
        VirtioPci::new(Box::new(Fs::new("home", folder)), memory, msi, line)
    });
    (driver.negotiated(REQUESTS, F_VERSION_1 | F_INDIRECT_DESC), told)
}

#[test]
fn the_tag_and_one_queue_of_requests_are_in_the_configuration() {
    let (driver, _) = device(None);
    assert_eq!(driver.read(DEVICE, 4), u64::from(u32::from_le_bytes(*b"home")));
    assert_eq!((driver.read(DEVICE + 4, 4), driver.read(DEVICE + 36, 4)), (0, 1));
}

#[test]
fn a_request_is_handed_on_and_its_answer_comes_back() {
    let (mut driver, told) = device(Some(vec![7; 24]));
    driver.put(DATA, 0x1122_3344_5566_7788u64);
    driver.submit(&[(DATA, 8, 0), (DATA + 64, 16, WRITE), (DATA + 128, 100, WRITE)]);
    assert_eq!(*lock(&told.asked), [(0x1122_3344_5566_7788u64.to_le_bytes().to_vec(), 116)]);
    assert_eq!(
        (u64::from_le_bytes(driver.take(DATA + 72)), u64::from_le_bytes(driver.take(DATA + 128))),
        (u64::from_le_bytes([7; 8]), u64::from_le_bytes([7; 8]))
    );
}

#[test]
fn more_of_an_answer_than_there_is_room_is_not_written() {
    let (mut driver, _) = device(Some(vec![7; 1000]));
    driver.put(DATA + 80, 5u64);
    driver.submit(&[(DATA, 8, 0), (DATA + 64, 16, WRITE)]);
    assert_eq!(
        (u64::from_le_bytes(driver.take(DATA + 72)), u64::from_le_bytes(driver.take(DATA + 80))),
        (u64::from_le_bytes([7; 8]), 5)
    );
}

#[test]
fn where_nobody_answers_programs_are_told_that_nobody_is_connected() {
    let (mut driver, _) = device(None);
    driver.put(DATA + 8, 77u64);
    driver.submit(&[(DATA, 40, 0), (DATA + 64, 16, WRITE)]);
    let said = u64::from_le_bytes(driver.take(DATA + 64));
    assert_eq!(
        (said as u32, (said >> 32) as i32, u64::from_le_bytes(driver.take(DATA + 72))),
        (16, -107, 77)
    );
}

#[test]
fn a_request_that_is_longer_than_any_breaks_the_device() {
    let (mut driver, told) = device(Some(Vec::new()));
    driver.submit(&[(0, 1 << 20, 0), (0, 1 << 20, 0)]);
    assert!(lock(&told.asked).is_empty());
    assert_eq!(driver.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
}
