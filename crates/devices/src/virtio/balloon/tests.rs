use super::*;
use crate::virtio::regs::*;
use crate::virtio::tests::{DATA, Driver, NEXT, SIZE, WRITE};

fn device(queue: usize) -> (Driver, BalloonControl) {
    let mut end = None;
    let driver = Driver::with(|memory, msi, line| {
        let (function, control) = balloon(memory, msi, line);
        end = Some(control);
        function
    });
    let features = F_VERSION_1 | F_INDIRECT_DESC | F_STATS_VQ | F_DEFLATE_ON_OOM;
    (driver.negotiated(queue as u16, features), end.expect("made"))
}

/// Hands in page frame numbers.
fn pages(driver: &mut Driver, frames: &[u32]) {
    for (at, frame) in (DATA..).step_by(4).zip(frames) {
        driver.put(at, *frame);
    }
    driver.submit(&[(DATA, 4 * frames.len() as u32, 0)]);
}

fn statistic(driver: &Driver, index: u64, tag: u16, value: u64) {
    driver.put(DATA + 10 * index, tag);
    driver.put(DATA + 10 * index + 2, value);
}

#[test]
fn what_is_wanted_is_in_the_configuration_in_pages() {
    let (driver, control) = device(INFLATE);
    control.want(5 << 20);
    assert_eq!(driver.read(DEVICE, 4), 1280);
}

#[test]
fn a_new_request_interrupts_once() {
    let (driver, control) = device(INFLATE);
    driver.open_msix();
    control.want(1 << 20);
    control.want(1 << 20);
    assert_eq!(crate::lock(&driver.messages).len(), 1);
}

#[test]
fn inflated_pages_go_back_to_the_host() {
    let (mut driver, control) = device(INFLATE);
    driver.put(0x20008, 7u64);
    driver.put(0x21008, 7u64);
    driver.put(0x22008, 7u64);
    pages(&mut driver, &[0x22, 0x20]);
    let left = [0x20008, 0x21008, 0x22008].map(|at| u64::from_le_bytes(driver.take(at)));
    assert_eq!((left, control.size()), ([0, 7, 0], 2 * PAGE));
    assert_eq!(driver.used(), 1);
}

#[test]
fn inflated_pages_that_were_code_are_reported() {
    let (mut driver, _) = device(INFLATE);
    driver.memory.watch().set(0x21, ireko_vmcore::memory::Reason::Code, true);
    pages(&mut driver, &[0x20, 0x21, 0x22]);
    assert_eq!(driver.memory.watch().take(|_| ()), [0x21]);
}

#[test]
fn a_page_counts_once() {
    let (mut driver, control) = device(INFLATE);
    pages(&mut driver, &[0x20, 0x20]);
    pages(&mut driver, &[0x20]);
    assert_eq!(control.size(), PAGE);
}

#[test]
fn pages_that_are_no_memory_count_for_nothing() {
    let (mut driver, control) = device(INFLATE);
    pages(&mut driver, &[0x100, 0x7fff_ffff, u32::MAX]);
    assert_eq!((control.size(), driver.used()), (0, 1));
}

#[test]
fn deflated_pages_count_no_more() {
    let (mut driver, control) = device(INFLATE);
    pages(&mut driver, &[0x20, 0x21, 0x22]);
    driver.queue = DEFLATE as u16;
    driver.submitted = 0;
    driver.put(crate::virtio::tests::AVAIL + 2, 0u16);
    driver.enable(crate::virtio::tests::DESC);
    pages(&mut driver, &[0x21, 0x77, u32::MAX]);
    assert_eq!(control.size(), 2 * PAGE);
}

#[test]
fn a_new_driver_has_all_pages_and_the_request_stands() {
    let (mut driver, control) = device(INFLATE);
    control.want(1 << 20);
    pages(&mut driver, &[0x20]);
    driver.set_status(0);
    assert_eq!((control.size(), control.wanted()), (0, 1 << 20));
    assert!(!control.driven());
}

#[test]
fn a_part_of_a_page_number_is_left_out() {
    let (mut driver, control) = device(INFLATE);
    driver.put(DATA, 0x20u64);
    driver.submit(&[(DATA, 7, 0)]);
    assert_eq!((control.size(), driver.status() & STATUS_NEEDS_RESET), (PAGE, 0));
}

#[test]
fn a_buffer_of_endless_pages_breaks_the_device() {
    let (mut driver, control) = device(INFLATE);
    let chain = vec![(0, 0x10_0000, 0); SIZE as usize];
    driver.submit(&chain);
    assert_eq!((control.size(), driver.status() & STATUS_NEEDS_RESET), (0, STATUS_NEEDS_RESET));
}

#[test]
fn a_chain_that_loops_breaks_the_device() {
    let (mut driver, _) = device(INFLATE);
    driver.describe(crate::virtio::tests::DESC, 0, DATA, 4, NEXT);
    driver.put(crate::virtio::tests::DESC + 14, 0u16);
    driver.offer(0);
    driver.notify();
    assert_eq!(driver.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
}

#[test]
fn a_buffer_that_the_device_should_write_gives_nothing() {
    let (mut driver, control) = device(INFLATE);
    driver.submit(&[(DATA, 64, WRITE)]);
    assert_eq!((control.size(), driver.used()), (0, 1));
}

#[test]
fn statistics_wait_until_they_are_asked_for() {
    let (mut driver, control) = device(STATS);
    driver.submit(&[(DATA, 10, 0)]);
    assert_eq!((driver.used(), control.statistics()), (0, None));
}

#[test]
fn the_second_buffer_of_statistics_is_the_newest() {
    let (mut driver, control) = device(STATS);
    statistic(&driver, 0, S_MEMTOT, 100);
    driver.submit(&[(DATA, 20, 0)]);
    control.poll();
    assert_eq!((driver.used(), control.statistics()), (1, None));
    statistic(&driver, 0, S_MEMTOT, 200);
    statistic(&driver, 1, S_AVAIL, 50);
    driver.submit(&[(DATA, 20, 0)]);
    // A third one is kept for the next time.
    driver.submit(&[(DATA, 20, 0)]);
    let statistics = control.statistics().expect("given");
    assert_eq!((statistics.total, statistics.available, statistics.free), (Some(200), Some(50), None));
    assert_eq!(driver.used(), 2);
}

#[test]
fn unknown_and_endless_statistics_harm_nobody() {
    let (mut driver, control) = device(STATS);
    statistic(&driver, 0, 0xffff, u64::MAX);
    control.poll();
    driver.submit(&[(0, 0x10_0000, 0); SIZE as usize]);
    assert_eq!((driver.used(), driver.status() & STATUS_NEEDS_RESET), (1, 0));
}

#[test]
fn pages_given_for_ever_are_noted_once_and_only_those_that_are_there() {
    let (mut driver, control) = device(INFLATE);
    let all = control.size();
    for round in 0..8u32 {
        // What is there ends at page 0x100; pages 0x40 to 0x4f, and what is far beyond.
        let frames: Vec<u32> = (0x40..0x50).chain([0x100, 0x101 + round, u32::MAX - round]).collect();
        pages(&mut driver, &frames);
    }
    assert_eq!((all, control.size()), (0, 16 * PAGE));
    assert!(crate::lock(&control.state).inside.words.len() <= 0x100 / 64);
}
