//! Devices on threads of their own: a pause, a reset and the end come through whatever they are at.

use super::regs::*;
use super::tests::{AVAIL, DATA, Driver, INDIRECT, NEXT, SIZE, USED, WRITE};
use super::*;
use crate::Service;
use crate::lock;
use crate::probe::until;
use crate::storage::tests::{Ram, until_one_waits};
use ireko_vmcore::{Disk, ErrorPolicy, Rates, Throttle};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

/// Only so that a test that fails ends.
pub(super) const EVER: Duration = Duration::from_secs(60);

/// A disk that says when it is read, and waits to be let go on.
pub(super) struct Stuck {
    pub asked: Sender<()>,
    pub go: Receiver<()>,
}

impl Disk for Stuck {
    fn size(&self) -> u64 {
        1 << 40
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&mut self, _: u64, data: &mut [u8]) -> io::Result<()> {
        let _ = self.asked.send(());
        let _ = self.go.recv();
        data.fill(0x77);
        Ok(())
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        let _ = self.asked.send(());
        let _ = self.go.recv();
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As quick as can be.
#[derive(Default)]
struct Quick {
    /// What is read is at hand.
    cached: bool,
    throttle: Arc<Throttle>,
}

impl Disk for Quick {
    fn throttle(&self) -> Arc<Throttle> {
        self.throttle.clone()
    }
    fn size(&self) -> u64 {
        1 << 40
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&mut self, _: u64, data: &mut [u8]) -> io::Result<()> {
        data.fill(0x77);
        Ok(())
    }
    fn try_read_at(&mut self, _: u64, data: &mut [u8]) -> bool {
        data.fill(0x77);
        self.cached
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rings as a virtual processor does.
fn notify(driver: &Driver) {
    driver.write(NOTIFY, 0u16.to_le_bytes());
}

/// Offers a request for one sector and notifies.
fn offer(driver: &mut Driver, kind: u32, flags: u16) {
    driver.put(0x4000, kind);
    driver.put(0x4008, 0u64);
    let chain = [(0x4000, 16, NEXT), (DATA, 512, flags | NEXT), (0x5000, 1, WRITE)];
    for (index, (address, len, flags)) in (0..).zip(chain) {
        driver.describe(super::tests::DESC, index, address, len, flags);
    }
    driver.offer(0);
    notify(driver);
}

fn used(driver: &Driver) -> u16 {
    u16::from_le_bytes(driver.take(USED + 2))
}

/// A driver whose device has a thread.
struct Threaded {
    driver: Driver,
    service: Arc<Queues>,
    thread: JoinHandle<()>,
}

impl Threaded {
    fn new(disk: impl Disk + 'static) -> Self {
        let driver = Driver::new(Blk::new(Box::new(disk), "")).started(0);
        let service = lock(&driver.function).service();
        let own = service.clone();
        Self { driver, service, thread: spawn(move || own.run()) }
    }

    /// A disk that is stuck, what it says when it was asked, and what lets it go on.
    fn stuck() -> (Self, Receiver<()>, Sender<()>) {
        let ((asked, hear), (say, go)) = (channel(), channel());
        (Self::new(Stuck { asked, go }), hear, say)
    }

    fn request(&mut self, kind: u32, flags: u16) {
        offer(&mut self.driver, kind, flags);
    }

    fn notify(&self) {
        notify(&self.driver);
    }

    /// Every head is one and the same chain of 4 GiB.
    fn request_without_end(&mut self, kind: u32, flags: u16) {
        const TABLE: u64 = 0x4_0000;
        const PART: u32 = 1 << 19;
        let parts = (4u64 << 30) / u64::from(PART);
        self.driver.put(0x4000, kind);
        self.driver.put(0x4008, 0u64);
        let entry = |index: u64, address: u64, len: u32, flags: u16| {
            let at = TABLE + 16 * index;
            self.driver.put(at, address);
            self.driver.put(at + 8, len);
            self.driver.put(at + 12, flags);
            self.driver.put(at + 14, (index + 1) as u16);
        };
        entry(0, 0x4000, 16, NEXT);
        (1..=parts).for_each(|index| entry(index, 0x8_0000, PART, flags | NEXT));
        entry(parts + 1, 0x5000, 1, WRITE);
        let size = 16 * (parts as u32 + 2);
        (0..SIZE).for_each(|head| self.driver.describe(super::tests::DESC, head, TABLE, size, INDIRECT));
        (0..SIZE).for_each(|head| self.driver.offer(head));
        self.notify();
    }

    fn data(&self) -> u8 {
        self.driver.take::<1>(DATA)[0]
    }

    fn used(&self) -> u16 {
        used(&self.driver)
    }

    fn wait_for_used(&self, count: u16) {
        let since = Instant::now();
        while self.used() != count {
            assert!(since.elapsed() < EVER, "{} used", self.used());
            sleep(Duration::from_millis(1));
        }
    }

    /// All that is in memory.
    fn memory(&self) -> Vec<u8> {
        let mut all = vec![0; 0x10_0000];
        self.driver.memory.ram().read_slice(&mut all, GuestAddress(0)).unwrap();
        all
    }

    fn end(self) {
        self.service.end();
        self.thread.join().unwrap();
    }
}

#[test]
fn a_request_is_served_by_the_devices_thread() {
    let mut threaded = Threaded::new(Quick::default());
    threaded.request(0, WRITE);
    threaded.wait_for_used(1);
    assert_eq!(threaded.data(), 0x77);
    threaded.end();
}

/// The status of the request that was served last.
fn status(threaded: &Threaded) -> u8 {
    threaded.driver.take::<1>(0x5000)[0]
}

#[test]
fn what_the_host_cannot_write_is_ioerr() {
    let (disk, errors) = Ram::failing(ErrorPolicy::Report, ErrorKind::StorageFull);
    let mut threaded = Threaded::new(disk);
    threaded.request(1, 0);
    threaded.wait_for_used(1);
    assert_eq!((status(&threaded), errors.standing().count), (1, 1));
    threaded.end();
}

#[test]
fn a_pause_does_not_wait_for_a_request_that_is_held() {
    let (disk, errors) = Ram::failing(ErrorPolicy::Stop, ErrorKind::Other);
    let mut threaded = Threaded::new(disk.clone());
    threaded.request(1, 0);
    until_one_waits(&errors);
    assert!(threaded.service.pause(EVER));
    disk.fail(None);
    errors.try_again();
    until("no request waits", || errors.standing().waiting == 0);
    assert_eq!(threaded.used(), 0);
    threaded.service.resume();
    threaded.wait_for_used(1);
    assert_eq!(status(&threaded), 0);
    threaded.end();
}

#[test]
fn a_request_that_is_held_is_over_with_a_reset() {
    let (disk, errors) = Ram::failing(ErrorPolicy::Stop, ErrorKind::Other);
    let mut threaded = Threaded::new(disk);
    threaded.request(1, 0);
    until_one_waits(&errors);
    threaded.driver.set_status(0);
    until("no request waits", || errors.standing().waiting == 0);
    assert_eq!(threaded.used(), 0);
    threaded.end();
}

/// Requests that were served by ringing alone: nobody else works for the device.
fn served_at_once(cached: bool, kind: u32, flags: u16) -> u16 {
    let mut driver = Driver::new(Blk::new(Box::new(Quick { cached, ..Quick::default() }), "")).started(0);
    offer(&mut driver, kind, flags);
    offer(&mut driver, kind, flags);
    used(&driver)
}

#[test]
fn what_is_at_hand_is_read_at_once() {
    assert_eq!(served_at_once(true, 0, WRITE), 2);
}

#[test]
fn what_the_host_must_fetch_or_store_is_left_to_the_thread() {
    assert_eq!((served_at_once(false, 0, WRITE), served_at_once(true, 1, 0)), (0, 0));
}

#[test]
fn who_rings_does_not_wait_for_a_disk_that_is_stuck() {
    let (mut threaded, asked, go) = Threaded::stuck();
    threaded.request(0, WRITE);
    asked.recv_timeout(EVER).unwrap();
    threaded.notify();
    assert_eq!(threaded.driver.read(DEVICE_STATUS, 1) as u8 & STATUS_NEEDS_RESET, 0);
    drop(go);
    threaded.end();
}

#[test]
fn nothing_is_written_after_a_reset_by_what_was_begun_before_it() {
    let (mut threaded, asked, go) = Threaded::stuck();
    threaded.request(0, WRITE);
    asked.recv_timeout(EVER).unwrap();
    threaded.driver.set_status(0);
    let before = threaded.memory();
    go.send(()).unwrap();
    threaded.service.end();
    assert!(threaded.service.rests(EVER));
    assert!(threaded.memory() == before);
    threaded.end();
}

#[test]
fn a_device_that_was_reset_serves_its_new_driver() {
    let (mut threaded, asked, go) = Threaded::stuck();
    threaded.request(0, WRITE);
    asked.recv_timeout(EVER).unwrap();
    threaded.driver.set_status(0);
    threaded.driver.put(AVAIL + 2, 0u16);
    threaded.driver.submitted = 0;
    threaded.driver = threaded.driver.started(0);
    threaded.request(0, WRITE);
    drop(go);
    threaded.wait_for_used(1);
    assert_eq!(threaded.data(), 0x77);
    threaded.end();
}

#[test]
fn a_pause_comes_through_a_disk_that_is_stuck_and_holds_what_it_gives() {
    let (mut threaded, asked, go) = Threaded::stuck();
    threaded.request(0, WRITE);
    asked.recv_timeout(EVER).unwrap();
    assert!(!threaded.service.pause(Duration::from_millis(1)));
    let before = threaded.memory();
    drop(go);
    assert!(threaded.service.rests(EVER));
    assert!(threaded.memory() == before);
    threaded.service.resume();
    threaded.wait_for_used(1);
    assert_eq!(threaded.data(), 0x77);
    threaded.end();
}

#[test]
fn what_comes_during_a_pause_is_served_after_it() {
    let mut threaded = Threaded::new(Quick::default());
    assert!(threaded.service.pause(EVER));
    let before = threaded.used();
    threaded.request(0, WRITE);
    assert_eq!((before, threaded.used()), (0, 0));
    threaded.service.resume();
    threaded.wait_for_used(1);
    threaded.end();
}

#[test]
fn a_pause_comes_through_endless_requests() {
    for (kind, flags) in [(0, WRITE), (1, 0)] {
        let mut threaded = Threaded::new(Quick::default());
        threaded.request_without_end(kind, flags);
        assert!(threaded.service.pause(EVER));
        let before = threaded.memory();
        threaded.service.resume();
        assert!(threaded.service.pause(EVER));
        // Data has come or gone meanwhile, but no request has ended.
        assert_eq!((threaded.used(), before.len()), (0, 0x10_0000));
        threaded.end();
    }
}

#[test]
fn a_reset_comes_through_endless_requests() {
    let mut threaded = Threaded::new(Quick::default());
    threaded.request_without_end(0, WRITE);
    threaded.driver.set_status(0);
    let before = threaded.memory();
    sleep(Duration::from_millis(5));
    assert!(threaded.memory() == before);
    threaded.end();
}

/// A driver that makes chains available for ever, faster than they are served.
#[test]
fn a_ring_that_never_empties_is_paused_and_ended() {
    let mut threaded = Threaded::new(Quick::default());
    threaded.request(0, WRITE);
    let (memory, enough) = (threaded.driver.memory.clone(), Arc::new(AtomicBool::new(false)));
    let stop = enough.clone();
    let feeder = spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let used: u16 = memory.ram().read_obj(GuestAddress(USED + 2)).unwrap();
            memory.ram().write_obj(used.wrapping_add(4), GuestAddress(AVAIL + 2)).unwrap();
        }
    });
    until("a hundred requests are done", || {
        threaded.notify();
        threaded.used() >= 100
    });
    assert!(threaded.service.pause(EVER));
    let before = threaded.used();
    sleep(Duration::from_millis(5));
    assert_eq!(threaded.used(), before);
    threaded.service.resume();
    threaded.end();
    enough.store(true, Ordering::Relaxed);
    feeder.join().unwrap();
}

/// Half an hour for the first request: nobody waits for it.
#[test]
fn what_waits_for_its_limit_is_paused_and_ended_and_goes_on_without_one() {
    let throttle = Arc::new(Throttle::new(Rates { bytes: 0, operations: 1 }));
    throttle.take(0, 1800, Instant::now());
    let mut threaded = Threaded::new(Quick { cached: true, throttle: throttle.clone() });
    threaded.request(0, WRITE);
    assert!(threaded.service.pause(EVER));
    threaded.service.resume();
    assert_eq!(threaded.used(), 0);
    throttle.set(Rates::default());
    threaded.wait_for_used(1);
    threaded.end();
}

#[test]
fn a_device_that_is_held_finishes_what_it_has_begun_and_begins_nothing_more() {
    let (mut threaded, asked, go) = Threaded::stuck();
    threaded.request(0, WRITE);
    asked.recv_timeout(EVER).unwrap();
    threaded.service.hold();
    assert!(!threaded.service.finishes(Duration::from_millis(5)));
    go.send(()).unwrap();
    assert!(threaded.service.finishes(EVER));
    assert_eq!((threaded.used(), threaded.data()), (1, 0x77));
    threaded.request(0, WRITE);
    assert!(asked.recv_timeout(Duration::from_millis(20)).is_err());
    threaded.service.resume();
    asked.recv_timeout(EVER).unwrap();
    go.send(()).unwrap();
    threaded.wait_for_used(2);
    threaded.end();
}

/// What had rung when the pause came, and what comes meanwhile, is served after it.
#[test]
fn no_ring_is_lost_over_a_pause() {
    let mut threaded = Threaded::new(Quick::default());
    for round in 1..200 {
        threaded.request(0, WRITE);
        threaded.service.hold();
        assert!(threaded.service.finishes(EVER));
        let memory = threaded.memory();
        sleep(Duration::from_micros(50));
        assert!(memory == threaded.memory());
        threaded.service.resume();
        threaded.wait_for_used(round);
    }
    threaded.end();
}
