use super::*;
use crate::service::Service;
use crate::virtio::regs::*;
use crate::virtio::tests::{DATA, Driver, WRITE};

const NAME: &str = "org.example.0";

fn on(queue: usize) -> (Driver, ChannelHost) {
    let mut end = None;
    let driver = Driver::with(|memory, msi, line| {
        let (function, host) = channel(memory, msi, line, NAME);
        end = Some(host);
        function
    });
    (driver.negotiated(queue as u16, F_VERSION_1 | F_MULTIPORT), end.expect("made"))
}

fn hear(host: &ChannelHost, event: u16, value: u16) {
    lock(&host.shared.state).hear(PORT, event, value);
}

fn messages(host: &ChannelHost) -> Vec<(u16, Vec<u8>)> {
    let mut state = lock(&host.shared.state);
    let messages = std::iter::from_fn(|| state.message(NAME));
    messages
        .map(|message| (u16::from_le_bytes([message[4], message[5]]), message[MESSAGE..].to_vec()))
        .collect()
}

#[test]
fn there_can_be_two_ports() {
    assert_eq!(on(RECEIVE).0.read(DEVICE + 4, 4), 2);
}

#[test]
fn the_driver_is_told_of_the_port_then_of_its_name_and_that_the_host_is_there() {
    let (_, host) = on(RECEIVE);
    assert_eq!(messages(&host), []);
    hear(&host, DEVICE_READY, 1);
    assert_eq!(messages(&host), [(PORT_ADD, vec![])]);
    hear(&host, PORT_READY, 1);
    assert_eq!(messages(&host), [(PORT_NAME, NAME.into()), (PORT_OPEN, vec![])]);
}

#[test]
fn a_message_of_the_drivers_is_answered_in_the_other_queue() {
    let (mut driver, host) = on(CONTROL_TRANSMIT);
    driver.put(DATA, u64::from(PORT) | 1 << 48);
    driver.submit(&[(DATA, MESSAGE as u32, 0)]);
    assert_eq!(messages(&host), [(PORT_ADD, vec![])]);
}

#[test]
fn messages_that_mean_nothing_do_nothing() {
    let (_, host) = on(RECEIVE);
    for (event, value) in [(DEVICE_READY, 0), (PORT_READY, 7), (PORT_ADD, 1), (2, 1), (99, 1), (PORT_OPEN, 2)]
    {
        hear(&host, event, value);
    }
    lock(&host.shared.state).hear(0, PORT_OPEN, 1);
    assert!(messages(&host).is_empty() && !host.is_open());
}

#[test]
fn nothing_is_sent_while_no_program_has_it_open() {
    let (_, host) = on(RECEIVE);
    assert!(!host.send(b"x"));
    hear(&host, PORT_OPEN, 1);
    assert!(host.is_open() && host.send(b"x"));
    hear(&host, PORT_OPEN, 0);
    assert!(lock(&host.shared.state).to_guest.is_empty());
}

#[test]
fn what_the_program_does_not_take_is_bounded() {
    let (_, host) = on(CONTROL_RECEIVE);
    hear(&host, PORT_OPEN, 1);
    assert!(host.send(&[0; BUFFER]) && !host.send(b"x"));
}

#[test]
fn bytes_go_to_the_program() {
    let (mut driver, host) = on(RECEIVE);
    hear(&host, PORT_OPEN, 1);
    driver.submit(&[(DATA, 64, WRITE)]);
    host.send(b"hello");
    assert_eq!((driver.used(), driver.used_len(0), driver.take::<5>(DATA)), (1, 5, *b"hello"));
}

#[test]
fn bytes_come_from_the_program_and_wait_where_nobody_takes_them() {
    let (mut driver, host) = on(TRANSMIT);
    for _ in 0..3 {
        driver.submit(&[(0x10000, BUFFER as u32 - 1, 0)]);
    }
    assert_eq!(driver.used(), 2);
    let now = Instant::now();
    assert_eq!(host.receive(now).len(), 2 * (BUFFER - 1));
    driver.turn();
    assert_eq!((driver.used(), host.receive(now).len(), host.receive(now).len()), (3, BUFFER - 1, 0));
}

#[test]
fn nothing_moves_while_the_machine_is_paused() {
    let (_driver, host) = on(TRANSMIT);
    hear(&host, PORT_OPEN, 1);
    lock(&host.shared.state).to_host.extend(b"from the guest");
    let function = host.function.upgrade().expect("a device");
    let service = lock(&function).service();
    service.pause(Duration::ZERO);
    assert!(!host.send(b"x") && host.receive(Instant::now()).is_empty());
    service.resume();
    assert!(host.send(b"x") && host.receive(Instant::now()) == b"from the guest");
}

#[test]
fn a_control_message_that_is_cut_breaks_the_device() {
    let (mut driver, _) = on(CONTROL_TRANSMIT);
    driver.submit(&[(DATA, MESSAGE as u32 - 1, 0)]);
    assert_ne!(driver.status() & STATUS_NEEDS_RESET, 0);
}

#[test]
fn a_driver_that_starts_anew_has_no_port_open() {
    let (driver, host) = on(RECEIVE);
    hear(&host, PORT_OPEN, 1);
    driver.set_status(0);
    assert!(!host.is_open());
}

#[test]
fn more_than_can_wait_is_no_saved_state() {
    use ireko_vmcore::saved::{Blob, SaveRestore};
    let mut device = Channel { name: NAME, shared: Arc::default() };
    let mut saved = device.save();
    saved.to_guest = Blob(vec![0; BUFFER]);
    assert!(device.restore(saved.clone()).is_ok());
    assert_eq!(device.save(), saved);
    saved.to_guest = Blob(vec![0; BUFFER + 1]);
    assert!(device.restore(saved).is_err());
}
