use super::*;
use crate::virtio::regs::*;
use crate::virtio::tests::{DATA, Driver, WRITE};
use std::time::Duration;

const MAC: [u8; 6] = [0x00, 0x15, 0x5d, 1, 2, 3];
const TRANSMIT: u16 = 1;

/// A network that notes what it carries.
#[derive(Debug, Default)]
struct Wire {
    sent: Mutex<Vec<Vec<u8>>>,
}

impl Port for Wire {
    fn send(&self, frame: &[u8]) {
        lock(&self.sent).push(frame.to_owned());
    }
    fn receive(&self, _: &mut [u8], _: Duration) -> Option<usize> {
        None
    }
    fn connected(&self) -> bool {
        true
    }
}

fn device(queue: u16) -> (Driver, NetInput, Arc<Wire>) {
    let (mut end, wire) = (None, Arc::new(Wire::default()));
    let port = wire.clone();
    let driver = Driver::with(|memory, msi, line| {
        let (function, input) = net(memory, msi, line, MAC, port);
        end = Some(input);
        function
    });
    let driver = driver.negotiated(queue, F_VERSION_1 | F_INDIRECT_DESC | F_MAC | F_STATUS);
    (driver, end.expect("made"), wire)
}

/// A buffer of `len` bytes for received frames.
fn offer(driver: &mut Driver, len: u32) {
    driver.submit(&[(DATA, len, WRITE)]);
}

#[test]
fn the_address_is_in_the_configuration() {
    let (driver, _, _) = device(0);
    assert_eq!(driver.read(DEVICE, 4) | driver.read(DEVICE + 4, 2) << 32, 0x0302_015d_1500);
}

#[test]
fn a_frame_goes_out_without_its_header() {
    let (mut driver, _, wire) = device(TRANSMIT);
    driver.put(DATA + 12, 0x1122_3344_5566_7788u64);
    driver.submit(&[(DATA, 12, 0), (DATA + 12, 60, 0)]);
    let sent = lock(&wire.sent);
    assert_eq!((sent.len(), sent[0].len(), sent[0][0]), (1, 60, 0x88));
}

#[test]
fn a_frame_that_is_too_long_for_the_wire_is_lost_and_no_more() {
    let (mut driver, _, wire) = device(TRANSMIT);
    driver.submit(&[(DATA, 12 + LONGEST_FRAME as u32 + 1, 0)]);
    assert_eq!((lock(&wire.sent).len(), driver.used()), (0, 1));
}

#[test]
fn a_chain_without_room_for_a_header_breaks_the_device() {
    let (mut driver, _, _) = device(TRANSMIT);
    driver.submit(&[(DATA, 11, 0)]);
    assert_ne!(driver.status() & STATUS_NEEDS_RESET, 0);
}

#[test]
fn a_received_frame_comes_after_a_header_that_says_one_buffer() {
    let (mut driver, input, _) = device(0);
    offer(&mut driver, 1530);
    input.deliver(&[7; 60]);
    assert_eq!((driver.used(), driver.used_len(0)), (1, 72));
    assert_eq!(driver.take::<13>(DATA), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 7]);
}

#[test]
fn frames_wait_for_buffers() {
    let (mut driver, input, _) = device(0);
    input.deliver(&[7; 60]);
    assert_eq!(driver.used(), 0);
    offer(&mut driver, 1530);
    assert_eq!(driver.used(), 1);
}

#[test]
fn the_backlog_has_an_end() {
    let (_driver, input, _) = device(0);
    (0..10 * BACKLOG).for_each(|_| input.deliver(&[7; 60]));
    assert_eq!(lock(&input.state).frames.len(), BACKLOG);
}

#[test]
fn a_receive_buffer_that_is_too_small_breaks_the_device() {
    let (mut driver, input, _) = device(0);
    offer(&mut driver, 100);
    input.deliver(&[7; 60]);
    assert_ne!(driver.status() & STATUS_NEEDS_RESET, 0);
}

#[test]
fn pulling_the_plug_shows_in_the_status_and_interrupts_once() {
    let (driver, input, _) = device(0);
    driver.open_msix();
    assert_eq!(driver.read(DEVICE + 6, 2), 1);
    input.connect(false);
    input.connect(false);
    assert_eq!((driver.read(DEVICE + 6, 2), lock(&driver.messages).len()), (0, 1));
}
