use super::datagrams::{ip, udp, udp_of};
use super::{GUEST, LIMITS, OTHER, OWN, ROUTER, SERVER, World, config};
use crate::packet::tcp::{ACK, PSH, RST, SYN, Segment, Words};
use crate::packet::{ethernet, ip as packet_ip};
use crate::{Limits, Mac};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A segment of a guest's.
pub fn segment(mac: Mac, words: Words, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let kind = if words.from.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
    ethernet::start(&mut frame, ROUTER, mac, kind);
    words.packet(&mut frame, [payload, &[]]);
    frame
}

fn words(own: Ipv4Addr, port: u16, to: SocketAddr, flags: u8) -> Words {
    let (sequence, acknowledgment, window) = (1000, 0, 60_000);
    let from = (own, port).into();
    Words { from, to, sequence, acknowledgment, flags, window, maximum: None, scale: None }
}

/// Opens a connection by hand; gives what comes next from the router.
fn open(world: &mut World, mac: Mac, own: Ipv4Addr, port: u16) -> Option<u32> {
    let to = (SERVER, 80).into();
    world.frame(&segment(mac, words(own, port, to, SYN), &[]));
    world.run_until_idle();
    let frames = world.sent();
    let next = frames.iter().find_map(|frame| {
        let packet = ip(frame);
        let answer = Segment::parse(&packet)?;
        answer.has(SYN).then_some(answer.sequence.wrapping_add(1))
    })?;
    let words = Words { sequence: 1001, acknowledgment: next, ..words(own, port, to, ACK) };
    world.frame(&segment(mac, words, &[]));
    Some(next)
}

#[test]
fn ten_thousand_connections_stand_at_once_and_each_carries() {
    let mut world = World::new();
    let open: Vec<(u16, u32)> =
        (10_000..20_000).map(|port| (port, open(&mut world, GUEST, OWN, port).unwrap())).collect();
    assert_eq!(world.router.report(world.now).flows, 10_000);
    let to = (SERVER, 80).into();
    for (n, (port, next)) in open.iter().enumerate() {
        let words = Words { sequence: 1001, acknowledgment: *next, ..words(OWN, *port, to, ACK | PSH) };
        world.frame(&segment(GUEST, words, &port.to_be_bytes()));
        world.run_until_idle();
        assert_eq!(world.router.host().peers[n].got(), port.to_be_bytes());
    }
    assert_eq!(world.router.report(world.now).held, 0);
}

#[test]
fn connections_that_never_stand_push_out_their_own_kind_alone() {
    let mut world = World::new();
    open(&mut world, GUEST, OWN, 9).unwrap();
    let silent = (SERVER, super::host::SILENT).into();
    for port in 10_000..15_000 {
        world.frame(&segment(GUEST, words(OWN, port, silent, SYN), &[]));
    }
    let report = world.router.report(world.now);
    assert_eq!(report.flows, LIMITS.half_open + 1);
    assert_eq!(report.counters.flows_evicted, 5000 - LIMITS.half_open as u64);
    let first = world.router.host().peers[0].clone();
    assert!(!first.0.borrow().aborted);
    let neighbour = Ipv4Addr::new(172, 20, 16, 10);
    assert!(open(&mut world, OTHER, neighbour, 9).is_some());
}

#[test]
fn the_flow_that_was_unused_for_longest_gives_way_when_there_are_too_many() {
    let mut world = World::new();
    let limit = LIMITS.guest_flows as u16;
    for port in 1000..1000 + limit {
        world.frame(&udp((OWN, port).into(), (SERVER, 9).into(), b"x"));
    }
    world.frame(&udp((OWN, 1000).into(), (SERVER, 9).into(), b"x"));
    world.frame(&udp((OWN, 1000 + limit).into(), (SERVER, 9).into(), b"x"));
    let report = world.router.report(world.now);
    assert_eq!((report.flows, report.counters.flows_evicted), (LIMITS.guest_flows, 1));
    let before = world.router.host().peers.len();
    world.frame(&udp((OWN, 1000).into(), (SERVER, 9).into(), b"x"));
    assert_eq!(world.router.host().peers.len(), before, "the one that was used last is still there");
    world.frame(&udp((OWN, 1001).into(), (SERVER, 9).into(), b"x"));
    assert_eq!(world.router.host().peers.len(), before + 1);
}

#[test]
fn who_has_fewer_takes_from_who_has_most_when_all_flows_are_taken() {
    let limits = Limits { flows: 100, guest_flows: 100, ..LIMITS };
    let mut world = World::with(config(), limits);
    let flow = |world: &mut World, mac, from: Ipv4Addr, port| {
        world.frame(&udp_of(mac, (from, port).into(), (SERVER, 9).into(), b"x"))
    };
    let neighbour = Ipv4Addr::new(172, 20, 16, 10);
    (1000..1010).for_each(|port| flow(&mut world, OTHER, neighbour, port));
    (1000..1200).for_each(|port| flow(&mut world, GUEST, OWN, port));
    (2000..2030).for_each(|port| flow(&mut world, OTHER, neighbour, port));
    let report = world.router.report(world.now);
    let flows: Vec<usize> = report.guests.iter().map(|guest| guest.flows).collect();
    assert_eq!((report.flows, flows.iter().sum::<usize>(), flows.contains(&40)), (100, 100, true));
}

#[test]
fn flows_of_datagrams_have_a_bound_of_their_own_and_one_that_is_used_stays() {
    let limits = Limits { guest_datagrams: 50, ..LIMITS };
    let mut world = World::with(config(), limits);
    open(&mut world, GUEST, OWN, 9).unwrap();
    for port in 1000..3000 {
        world.now += Duration::from_millis(1);
        world.frame(&udp((OWN, 999).into(), (SERVER, 9).into(), b"x"));
        world.frame(&udp((OWN, port).into(), (SERVER, 9).into(), b"x"));
    }
    assert_eq!(world.router.report(world.now).flows, 51);
    let before = world.router.host().peers.len();
    world.frame(&udp((OWN, 999).into(), (SERVER, 9).into(), b"x"));
    assert_eq!(world.router.host().peers.len(), before);
}

#[test]
fn a_host_without_sockets_is_no_end() {
    let mut world = World::new();
    world.router.host().exhausted = true;
    assert_eq!(open(&mut world, GUEST, OWN, 9), None);
    world.router.host().exhausted = false;
    assert!(open(&mut world, GUEST, OWN, 9).is_some());
}

#[test]
fn a_segment_of_no_connection_is_answered_with_a_reset() {
    let mut world = World::new();
    let words = Words { acknowledgment: 77, ..words(OWN, 9, (SERVER, 80).into(), ACK) };
    world.frame(&segment(GUEST, words, b"x"));
    let sent = world.sent();
    let packet = ip(&sent[0]);
    let answer = Segment::parse(&packet).unwrap();
    assert_eq!((answer.flags, answer.sequence, packet.protocol), (RST, 77, packet_ip::TCP));
}

#[test]
fn a_reset_that_does_not_fit_exactly_ends_nothing() {
    let mut world = World::new();
    let next = open(&mut world, GUEST, OWN, 9).unwrap();
    let to = (SERVER, 80).into();
    let reset = |sequence| Words { sequence, acknowledgment: next, ..words(OWN, 9, to, RST) };
    world.frame(&segment(GUEST, reset(1500), &[]));
    world.frame(&segment(GUEST, reset(900_000), &[]));
    assert_eq!(world.router.report(world.now).flows, 1);
    world.frame(&segment(GUEST, reset(1001), &[]));
    assert_eq!(world.router.report(world.now).flows, 0);
}

#[test]
fn another_guest_does_not_get_at_a_flow_by_its_address() {
    let mut world = World::new();
    let next = open(&mut world, GUEST, OWN, 9).unwrap();
    let words =
        Words { sequence: 1001, acknowledgment: next, ..words(OWN, 9, (SERVER, 80).into(), ACK | PSH) };
    world.frame(&segment(OTHER, words, b"forged"));
    world.run_until_idle();
    assert!(world.router.host().last().got().is_empty());
}

#[test]
fn a_syn_that_nobody_answers_is_given_up() {
    let mut world = World::new();
    let silent = (SERVER, super::host::SILENT).into();
    world.frame(&segment(GUEST, words(OWN, 9, silent, SYN), &[]));
    world.pass(Duration::from_secs(76));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.router.report(world.now).flows, 0);
}
