//! Disks behind one queue, each with a thread of its own.

use super::regs::*;
use super::service_tests::{EVER, Stuck};
use super::tests::{AVAIL, DATA, DESC, Driver, NEXT, SIZE, USED, WRITE};
use super::*;
use crate::storage::tests::Ram;
use crate::storage::{Drive, Kind, Unit};
use crate::{Service, lock};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

const CONTROL: u16 = 0;
const REQUESTS: u16 = 2;
/// Of request n, its parts: head, response, data.
fn places(number: u16) -> [u64; 3] {
    [0, 0x100, 0x200].map(|part| DATA + 0x1000 * u64::from(number) + part)
}

/// A host with a disk that is stuck at target 0 and one that is not at target 1, with all their threads.
struct Host {
    driver: Driver,
    services: Vec<Arc<dyn Service>>,
    threads: Vec<JoinHandle<()>>,
    asked: Receiver<()>,
    go: Sender<()>,
}

fn host() -> Host {
    let ((say, asked), (go, wait)) = (channel(), channel());
    let stuck = Drive::new(Box::new(Stuck { asked: say, go: wait }), "");
    let units = vec![Unit::new(Kind::Disk, stuck), Unit::new(Kind::Disk, Ram::new(8).drive())];
    let driver = Driver::new(Scsi::new(units)).started(REQUESTS);
    let queues = lock(&driver.function).service();
    let mut services: Vec<Arc<dyn Service>> = vec![queues.clone()];
    services.extend(queues.lanes().iter().map(|lane| lane.clone() as Arc<dyn Service>));
    let run = |service: &Arc<dyn Service>| {
        let own = service.clone();
        spawn(move || own.run())
    };
    let threads = services.iter().map(run).collect();
    Host { driver, services, threads, asked, go }
}

impl Host {
    /// Offers chain `head`, of a part that is read and others that are written.
    fn offer(&mut self, head: u16, parts: &[(u64, u32)]) {
        for (n, &(address, len)) in (0..).zip(parts) {
            let more = if usize::from(n) + 1 < parts.len() { NEXT } else { 0 };
            self.driver.describe(DESC, head * 3 + n, address, len, if n == 0 { more } else { more | WRITE });
        }
        self.driver.offer(head * 3);
        self.driver.write(NOTIFY + 4 * u64::from(self.driver.queue), self.driver.queue.to_le_bytes());
    }

    /// A read of one block of a target by request n.
    fn read(&mut self, number: u16, target: u8) {
        let [head, response, data] = places(number);
        let mut bytes = [0u8; 51];
        (bytes[0], bytes[1], bytes[2]) = (1, target, 0x40);
        (bytes[19], bytes[27]) = (0x28, 1);
        self.driver.memory.ram().write_slice(&bytes, GuestAddress(head)).unwrap();
        self.offer(number, &[(head, 51), (response, 108), (data, 512)]);
    }

    /// The heads of the chains that came back, in their order.
    fn done(&self) -> Vec<u32> {
        let count = u16::from_le_bytes(self.driver.take(USED + 2));
        (0..u64::from(count)).map(|n| u32::from_le_bytes(self.driver.take(USED + 4 + 8 * n)) / 3).collect()
    }

    fn until(&self, done: &[u32]) {
        let since = Instant::now();
        while self.done() != done {
            assert!(since.elapsed() < EVER, "{:?}", self.done());
            sleep(Duration::from_millis(1));
        }
    }

    fn end(self) {
        drop(self.go);
        self.services.iter().for_each(|service| service.end());
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_disk_that_is_stuck_keeps_no_other_waiting() {
    let mut host = host();
    host.read(0, 0);
    host.asked.recv_timeout(EVER).unwrap();
    host.read(1, 1);
    host.until(&[1]);
    host.go.send(()).unwrap();
    host.until(&[1, 0]);
    host.end();
}

#[test]
fn who_is_not_there_is_answered_while_a_disk_is_stuck() {
    let mut host = host();
    host.read(0, 0);
    host.asked.recv_timeout(EVER).unwrap();
    host.read(1, 2);
    host.until(&[1]);
    host.end();
}

#[test]
fn nothing_is_written_after_a_reset_by_what_was_in_a_lane() {
    let mut host = host();
    host.read(0, 0);
    host.read(1, 0);
    host.asked.recv_timeout(EVER).unwrap();
    host.driver.set_status(0);
    let all = |host: &Host| host.driver.take::<0x8000>(0);
    let before = all(&host);
    host.go.send(()).unwrap();
    host.services.iter().for_each(|service| service.end());
    assert!(host.services.iter().all(|service| service.rests(EVER)));
    assert!(all(&host) == before);
    host.end();
}

#[test]
fn a_host_that_was_reset_serves_its_new_driver() {
    let mut host = host();
    host.read(0, 0);
    host.asked.recv_timeout(EVER).unwrap();
    host.driver.set_status(0);
    host.driver.put(AVAIL + 2, 0u16);
    host.driver.submitted = 0;
    host.driver = host.driver.started(REQUESTS);
    host.read(0, 1);
    host.until(&[0]);
    host.read(1, 0);
    host.go.send(()).unwrap();
    host.go.send(()).unwrap();
    host.until(&[0, 1]);
    host.end();
}

#[test]
fn a_pause_holds_every_lane() {
    let mut host = host();
    host.read(0, 0);
    host.asked.recv_timeout(EVER).unwrap();
    let rest: Vec<bool> =
        host.services.iter().map(|service| service.pause(Duration::from_millis(1))).collect();
    assert_eq!(rest, [true, false, true]);
    host.go.send(()).unwrap();
    assert!(host.services[1].rests(EVER));
    assert!(host.done().is_empty());
    host.services.iter().for_each(|service| service.resume());
    host.until(&[0]);
    host.end();
}

/// A ring that is filled again and again while nothing comes back.
#[test]
fn more_chains_under_way_than_a_queue_has_break_the_device() {
    let mut host = host();
    host.read(0, 0);
    host.asked.recv_timeout(EVER).unwrap();
    let since = Instant::now();
    while host.driver.status() & STATUS_NEEDS_RESET == 0 {
        assert!(since.elapsed() < EVER && host.driver.submitted < 1000);
        host.driver.offer(0);
        host.driver.write(NOTIFY + 4 * u64::from(REQUESTS), REQUESTS.to_le_bytes());
        sleep(Duration::from_millis(1));
    }
    assert!(host.driver.submitted > SIZE);
    host.end();
}

/// A reset of a target's unit, by the control queue.
#[test]
fn task_management_comes_behind_what_its_target_is_at() {
    const DESC: u64 = 0x1_0000;
    const AVAIL: u64 = 0x1_1000;
    const USED: u64 = 0x1_2000;
    const REQUEST: u64 = 0x1_3000;
    const RESPONSE: u64 = 0x1_4000;
    let mut host = host();
    host.read(0, 0);
    host.asked.recv_timeout(EVER).unwrap();
    let driver = &host.driver;
    driver.write(QUEUE_SELECT, CONTROL.to_le_bytes());
    driver.write(QUEUE_SIZE, SIZE.to_le_bytes());
    for (register, place) in [(QUEUE_DESC, DESC), (QUEUE_DRIVER, AVAIL), (QUEUE_DEVICE, USED)] {
        driver.write(register, place.to_le_bytes());
    }
    driver.write(QUEUE_ENABLE, 1u16.to_le_bytes());
    let manage = |target: u8| {
        driver.put(REQUEST + 4, 5u32);
        driver.put(REQUEST + 8, [1, target, 0x40, 0]);
        driver.describe(DESC, 0, REQUEST, 24, NEXT);
        driver.describe(DESC, 1, RESPONSE, 1, WRITE);
        let count: u16 = u16::from_le_bytes(driver.take(AVAIL + 2)) + 1;
        driver.put(AVAIL + 2, count);
        driver.write(NOTIFY, CONTROL.to_le_bytes());
    };
    let managed = || u16::from_le_bytes(driver.take(USED + 2));
    let until = |count: u16| {
        let since = Instant::now();
        while managed() != count {
            assert!(since.elapsed() < EVER);
            sleep(Duration::from_millis(1));
        }
    };
    manage(1);
    until(1);
    manage(0);
    sleep(Duration::from_millis(20));
    assert_eq!(managed(), 1);
    host.go.send(()).unwrap();
    until(2);
    host.until(&[0]);
    host.end();
}
