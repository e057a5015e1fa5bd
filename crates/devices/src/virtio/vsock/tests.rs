use super::connection::Connection;
use super::saved::SavedVsock;
use super::state::{MOST, MOST_RESETS};
use super::*;
use crate::hostile::Random;
use crate::probe::until;
use crate::service::Service;
use crate::virtio::regs::*;
use crate::virtio::tests::{DATA, Driver, WRITE};
use ireko_vmcore::saved::SaveRestore;
use std::sync::Weak;
use std::time::Duration;

const PORT: u32 = 22;
const OWN: u32 = 1024;
const LONG: Duration = Duration::from_secs(60);

/// What the guest sends from its port to one of the host's.
fn packet(operation: u16, host: u32) -> Header {
    Header {
        source: GUEST,
        destination: HOST,
        source_port: OWN,
        destination_port: host,
        kind: STREAM,
        operation,
        room: 4096,
        ..Header::default()
    }
}

fn data(host: u32, bytes: &[u8]) -> (Header, Vec<u8>) {
    (Header { length: bytes.len() as u32, ..packet(RW, host) }, bytes.to_vec())
}

/// A device whose guest may ask, with the host's side of it.
fn listening() -> VsockHost {
    let host = VsockHost { shared: Arc::default(), function: Weak::new() };
    assert!(host.offer(Duration::ZERO).is_none());
    host
}

fn hear(host: &VsockHost, header: Header) {
    lock(&host.shared.state).hear(&header, &[]);
}

/// What the guest gets, as operations.
fn told(host: &VsockHost) -> Vec<u16> {
    let mut state = lock(&host.shared.state);
    std::iter::from_fn(|| state.packet(4096)).map(|(header, _)| header.operation).collect()
}

/// A connection that the guest asked for and got.
fn open() -> (VsockHost, VsockStream) {
    let host = listening();
    hear(&host, packet(REQUEST, PORT));
    let stream = host.offer(Duration::ZERO).expect("asked for").accept();
    assert_eq!(told(&host), [RESPONSE]);
    (host, stream)
}

fn connections(host: &VsockHost) -> usize {
    lock(&host.shared.state).connections.len()
}

#[test]
fn a_header_is_44_bytes_in_the_order_of_the_specification() {
    let header = Header { flags: 0x0102_0304, forwarded: 7, ..packet(RW, 5) };
    let bytes = header.bytes();
    assert_eq!((bytes.len(), bytes[0], bytes[8], bytes[20], bytes[30], bytes[32]), (HEADER, 3, 2, 5, 5, 4));
    assert_eq!(Header::read(&mut bytes.as_slice()).unwrap(), header);
}

#[test]
fn the_guest_finds_its_address() {
    let driver = Driver::with(|memory, msi, line| vsock(memory, msi, line).0);
    assert_eq!(driver.read(DEVICE, 8), 3);
}

#[test]
fn a_port_that_nobody_listens_at_is_reset() {
    let host = VsockHost { shared: Arc::default(), function: Weak::new() };
    hear(&host, packet(REQUEST, PORT));
    assert_eq!(told(&host), [RST]);
}

#[test]
fn a_packet_without_a_connection_is_reset_and_a_reset_is_not() {
    let host = listening();
    for operation in [RESPONSE, RW, SHUTDOWN, CREDIT_UPDATE, CREDIT_REQUEST, 0, 99] {
        hear(&host, packet(operation, PORT));
    }
    assert_eq!(told(&host), [RST; 7]);
    hear(&host, packet(RST, PORT));
    assert_eq!(told(&host), [0u16; 0]);
}

#[test]
fn a_kind_of_socket_that_there_is_not_is_reset_in_its_own_kind() {
    let host = listening();
    hear(&host, Header { kind: 2, ..packet(REQUEST, PORT) });
    let (header, _) = lock(&host.shared.state).packet(100).unwrap();
    assert_eq!((header.operation, header.kind), (RST, 2));
}

#[test]
fn who_is_not_the_guest_is_not_heard() {
    let host = listening();
    hear(&host, Header { source: 4, ..packet(REQUEST, PORT) });
    hear(&host, Header { destination: 1, ..packet(REQUEST, PORT) });
    assert_eq!((told(&host), connections(&host)), (vec![], 0));
}

#[test]
fn resets_that_nobody_takes_are_bounded() {
    let host = listening();
    (0..10_000).for_each(|port| hear(&host, packet(RW, port)));
    assert_eq!(told(&host).len(), MOST_RESETS);
}

#[test]
fn connections_are_bounded_and_one_more_is_refused() {
    let host = listening();
    (0..10_000).for_each(|port| hear(&host, packet(REQUEST, port)));
    assert_eq!(connections(&host), MOST);
    assert_eq!(lock(&host.shared.state).want(1), None);
}

#[test]
fn an_offer_that_nobody_takes_is_reset() {
    let host = listening();
    hear(&host, packet(REQUEST, PORT));
    let offer = host.offer(LONG).unwrap();
    assert_eq!(offer.port(), PORT);
    drop(offer);
    assert_eq!((told(&host), connections(&host)), (vec![RST], 0));
}

#[test]
fn data_goes_both_ways() {
    let (host, stream) = open();
    let (header, bytes) = data(PORT, b"to the host");
    lock(&host.shared.state).hear(&header, &bytes);
    let mut room = [0; 64];
    assert_eq!((&stream).read(&mut room).unwrap(), 11);
    assert_eq!(&room[..11], b"to the host");
    (&stream).write_all(b"to the guest").unwrap();
    let (header, bytes) = lock(&host.shared.state).packet(4096).unwrap();
    assert_eq!((header.operation, header.length, &bytes[..]), (RW, 12, &b"to the guest"[..]));
    assert_eq!((header.room, header.forwarded), (BUFFER as u32, 11));
}

#[test]
fn no_more_is_sent_than_the_guest_has_room_for_and_then_it_is_asked_once() {
    let (host, stream) = open();
    (&stream).write_all(&[7; 5000]).unwrap();
    let (_, first) = lock(&host.shared.state).packet(3000).unwrap();
    let (_, second) = lock(&host.shared.state).packet(3000).unwrap();
    assert_eq!((first.len(), second.len()), (3000, 1096));
    assert_eq!(told(&host), [CREDIT_REQUEST]);
    hear(&host, Header { forwarded: 4096, ..packet(CREDIT_UPDATE, PORT) });
    assert_eq!(told(&host), [RW]);
}

#[test]
fn numbers_of_credit_that_cannot_be_give_none() {
    let (host, stream) = open();
    (&stream).write_all(&[7; 100]).unwrap();
    hear(&host, Header { room: 10, forwarded: 1 << 31, ..packet(CREDIT_UPDATE, PORT) });
    assert_eq!(told(&host), [CREDIT_REQUEST]);
}

#[test]
fn data_beyond_the_hosts_room_resets_the_connection() {
    let (host, stream) = open();
    let (header, bytes) = data(PORT, &[1; BUFFER / 2]);
    for _ in 0..2 {
        lock(&host.shared.state).hear(&header, &bytes);
    }
    assert_eq!(told(&host), [0u16; 0]);
    lock(&host.shared.state).hear(&packet(RW, PORT), &[1]);
    assert_eq!(told(&host), [RST]);
    assert!(!stream.takes());
}

#[test]
fn the_guest_hears_of_room_when_much_was_taken_and_when_it_asks() {
    let (host, stream) = open();
    let (header, bytes) = data(PORT, &[1; BUFFER / 2]);
    lock(&host.shared.state).hear(&header, &bytes);
    let mut room = [0; BUFFER];
    assert_eq!((&stream).read(&mut room[..100]).unwrap(), 100);
    assert_eq!(told(&host), [0u16; 0]);
    assert_eq!((&stream).read(&mut room).unwrap(), BUFFER / 2 - 100);
    assert_eq!(told(&host), [CREDIT_UPDATE]);
    hear(&host, packet(CREDIT_REQUEST, PORT));
    assert_eq!(told(&host), [CREDIT_UPDATE]);
}

#[test]
fn what_came_before_the_guests_end_can_be_read_after_it() {
    let (host, stream) = open();
    lock(&host.shared.state).hear(&packet(RW, PORT), b"last");
    hear(&host, Header { flags: NEITHER, ..packet(SHUTDOWN, PORT) });
    assert_eq!(told(&host), [RST]);
    let mut room = [0; 64];
    assert_eq!((&stream).read(&mut room).unwrap(), 4);
    assert_eq!((&stream).read(&mut room).unwrap(), 0);
    assert!((&stream).write(b"x").is_err());
    drop(stream);
    assert_eq!(connections(&host), 0);
}

#[test]
fn one_who_sends_no_more_can_still_be_told_something() {
    let (host, stream) = open();
    hear(&host, Header { flags: NO_SEND, ..packet(SHUTDOWN, PORT) });
    assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0);
    (&stream).write_all(b"answer").unwrap();
    assert_eq!(told(&host), [RW]);
    lock(&host.shared.state).hear(&packet(RW, PORT), b"after all");
    assert_eq!(told(&host), [RST]);
}

#[test]
fn what_waits_reaches_the_guest_before_the_hosts_end() {
    let (host, stream) = open();
    (&stream).write_all(b"last").unwrap();
    stream.finish();
    assert_eq!(told(&host), [RW, SHUTDOWN]);
    drop(stream);
    assert_eq!((told(&host), connections(&host)), (vec![SHUTDOWN], 1));
    hear(&host, packet(RST, PORT));
    assert_eq!(connections(&host), 0);
}

#[test]
fn of_connections_that_the_host_has_left_the_oldest_gives_way() {
    let host = listening();
    for port in 0..MOST as u32 {
        hear(&host, packet(REQUEST, port));
        drop(host.offer(LONG).unwrap().accept());
    }
    hear(&host, packet(REQUEST, 99));
    assert_eq!((connections(&host), host.offer(LONG).map(|offer| offer.port())), (MOST, Some(99)));
}

#[test]
fn a_second_request_of_the_same_ports_ends_the_first() {
    let (host, stream) = open();
    hear(&host, packet(REQUEST, PORT));
    assert_eq!(told(&host), [RST]);
    assert!(!stream.takes());
}

/// A driver that has its queue for packets, and the host's side.
fn driven() -> (Driver, VsockHost) {
    let mut end = None;
    let driver = Driver::with(|memory, msi, line| {
        let (function, host) = vsock(memory, msi, line);
        end = Some(host);
        function
    });
    (driver.started(RECEIVE as u16), end.expect("made"))
}

#[test]
fn without_a_driver_there_is_no_connection() {
    let host = listening();
    assert_eq!(host.connect(PORT, LONG).err(), Some(NoStream::NoDriver));
}

#[test]
fn the_host_connects_to_a_port_of_the_guests() {
    let (mut driver, host) = driven();
    driver.submit(&[(DATA, 4096, WRITE)]);
    let own = host.clone();
    let asked = std::thread::spawn(move || own.connect(PORT, LONG).map(|_| ()));
    until("the guest is asked", || driver.used() != 0);
    let header = Header::read(&mut driver.take::<HEADER>(DATA).as_slice()).unwrap();
    assert_eq!((header.operation, header.destination, header.destination_port), (REQUEST, GUEST, PORT));
    let answer = Header { source_port: PORT, ..packet(RESPONSE, header.source_port) };
    hear(&host, answer);
    assert_eq!(asked.join().unwrap(), Ok(()));
}

#[test]
fn who_does_not_answer_is_not_waited_for_for_ever() {
    let (_driver, host) = driven();
    assert_eq!(host.connect(PORT, Duration::from_millis(1)).err(), Some(NoStream::Silent));
    assert_eq!(connections(&host), 0);
}

#[test]
fn a_driver_that_starts_anew_ends_all_connections() {
    let (driver, host) = driven();
    host.offer(Duration::ZERO);
    hear(&host, packet(REQUEST, PORT));
    let stream = host.offer(LONG).unwrap().accept();
    driver.set_status(0);
    assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(told(&host), [0u16; 0]);
}

#[test]
fn a_machine_that_ends_ends_all_connections() {
    let (driver, host) = driven();
    host.offer(Duration::ZERO);
    hear(&host, packet(REQUEST, PORT));
    let stream = host.offer(LONG).unwrap().accept();
    drop(driver);
    assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0);
    assert!(!host.alive());
}

#[test]
fn a_packet_that_is_cut_breaks_the_device() {
    for (length, claims) in [(HEADER as u32 - 1, 0), (HEADER as u32 + 4, 5), (HEADER as u32, u32::MAX)] {
        let mut driver =
            Driver::with(|memory, msi, line| vsock(memory, msi, line).0).started(TRANSMIT as u16);
        let header = Header { length: claims, ..packet(RW, PORT) };
        for (at, byte) in (DATA..).zip(header.bytes()) {
            driver.put(at, byte);
        }
        driver.submit(&[(DATA, length, 0)]);
        assert_ne!(driver.status() & STATUS_NEEDS_RESET, 0, "{length} {claims}");
    }
}

#[test]
fn a_receive_buffer_without_room_for_data_breaks_the_device() {
    let (mut driver, host) = driven();
    driver.submit(&[(DATA, HEADER as u32, WRITE)]);
    hear(&host, packet(RW, PORT));
    host.kick(RECEIVE);
    driver.turn();
    assert_ne!(driver.status() & STATUS_NEEDS_RESET, 0);
}

#[test]
fn a_guest_that_goes_on_elsewhere_hears_that_its_connections_are_lost() {
    let (host, _stream) = open();
    // The machine's own end is not meant.
    let device = |host: &VsockHost| std::mem::ManuallyDrop::new(Vsock { shared: host.shared.clone() });
    hear(&host, packet(RW, 9));
    let saved = device(&host).save();
    assert_eq!(saved, SavedVsock { resets: vec![(9, OWN, STREAM)], interrupted: true });
    let mut end = None;
    let mut driver = Driver::with(|memory, msi, line| {
        let (function, host) = vsock(memory, msi, line);
        end = Some(host);
        function
    })
    .started(EVENT as u16);
    let elsewhere = end.unwrap();
    device(&elsewhere).restore(saved.clone()).unwrap();
    assert_eq!(device(&elsewhere).save(), saved);
    driver.put(DATA, u32::MAX);
    driver.submit(&[(DATA, 4, WRITE)]);
    elsewhere.offer(Duration::ZERO);
    assert_eq!((driver.used(), driver.take::<4>(DATA)), (1, [0; 4]));
    assert!(!device(&elsewhere).save().interrupted);
}

#[test]
fn too_many_resets_are_no_saved_state() {
    let mut device = Vsock { shared: Arc::default() };
    let resets = vec![(0, 0, 0); MOST_RESETS + 1];
    assert!(device.restore(SavedVsock { resets, interrupted: false }).is_err());
}

/// Whatever the guest sends, in whatever order, nothing grows beyond its bound.
#[test]
fn fuzz_vsock_packets() {
    bolero::check!().with_test_time(Duration::from_secs(2)).for_each(|input: &[u8]| {
        let host = listening();
        let mut streams = Vec::new();
        for step in input.chunks_exact(4) {
            let mut random = Random(u64::from_le_bytes([step[0], step[1], step[2], step[3], 1, 0, 0, 0]));
            let length = random.below(3) * random.below(BUFFER as u64);
            let header = Header {
                kind: if step[0] & 0x1f == 0 { random.next() as u16 } else { STREAM },
                flags: random.value() as u32,
                room: random.value() as u32,
                forwarded: random.value() as u32,
                length: length as u32,
                ..packet(u16::from(step[1] % 9), u32::from(step[2] % 80))
            };
            lock(&host.shared.state).hear(&header, &vec![0; length as usize]);
            match step[3] % 8 {
                0 => streams.extend(host.offer(Duration::ZERO).map(Offer::accept)),
                1 => drop(streams.pop()),
                2 => streams.last().into_iter().for_each(VsockStream::finish),
                3 => drop(lock(&host.shared.state).packet(1 + random.below(5000) as usize)),
                4 => drop(lock(&host.shared.state).want(u32::from(step[2]))),
                _ => {}
            }
            let state = lock(&host.shared.state);
            assert!(state.connections.len() <= MOST && state.resets.len() <= MOST_RESETS);
            let fits = |one: &Connection| one.to_host.len() <= BUFFER && one.to_guest.len() <= BUFFER;
            assert!(state.connections.values().all(fits) && state.offers.len() <= MOST);
        }
        // What is there can be sent, and ends.
        (0..10_000).take_while(|_| lock(&host.shared.state).packet(4096).is_some()).count();
        assert!(!lock(&host.shared.state).has_packet());
    });
}

/// What the host does waits for the end of a pause; a connection that it wants is not there meanwhile.
#[test]
fn nothing_moves_while_the_machine_is_paused() {
    let mut end = None;
    let driver = Driver::with(|memory, msi, line| {
        let (function, host) = vsock(memory, msi, line);
        end = Some(host);
        function
    });
    let (_driver, host) = (driver.negotiated(RECEIVE as u16, F_VERSION_1), end.expect("made"));
    assert!(host.offer(Duration::ZERO).is_none());
    hear(&host, packet(REQUEST, PORT));
    let stream = host.offer(Duration::ZERO).expect("asked for").accept();
    let service = host.service().expect("a device");
    service.pause(Duration::ZERO);
    assert_eq!(host.connect(PORT, Duration::ZERO).err(), Some(NoStream::Silent));
    let (begins, begun) = std::sync::mpsc::channel();
    let sent = std::thread::spawn(move || {
        let _ = begins.send(());
        (&stream).write(b"hello").map(|sent| (sent, stream))
    });
    begun.recv_timeout(LONG).expect("a thread that writes");
    // However long it has had, it has not sent.
    std::thread::sleep(Duration::from_millis(20));
    let waiting = |host: &VsockHost| {
        lock(&host.shared.state).connections.values().map(|one| one.to_guest.len()).sum::<usize>()
    };
    assert_eq!(waiting(&host), 0);
    service.resume();
    let (sent, _stream) = sent.join().expect("a thread").expect("a connection");
    assert_eq!((sent, waiting(&host)), (5, 5));
}
