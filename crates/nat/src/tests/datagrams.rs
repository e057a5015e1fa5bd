use super::host::{NOWHERE, REFUSES};
use super::{GUEST, OWN, OWN_SIX, ROUTER, SERVER, World, config};
use crate::Mac;
use crate::packet::ethernet::{self, Ethernet};
use crate::packet::icmp::{self, Icmp};
use crate::packet::ip::{self, Fragment, Head, Ip};
use crate::packet::udp::{self, Udp};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    udp_of(GUEST, from, to, payload)
}

pub fn udp_of(mac: Mac, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let kind = if from.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
    ethernet::start(&mut frame, ROUTER, mac, kind);
    udp::packet(&mut frame, from, to, payload);
    frame
}

fn echo(from: IpAddr, to: IpAddr, id: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    let kind = if from.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
    ethernet::start(&mut frame, ROUTER, GUEST, kind);
    let [high, low] = id.to_be_bytes();
    icmp::packet(&mut frame, from, to, 64, &[icmp::echo_types(from).0, 0, 0, 0, high, low, 0, 1, 7, 7]);
    frame
}

pub fn ip(frame: &[u8]) -> Ip<'_> {
    let payload = Ethernet::parse(frame).expect("a frame").payload;
    Ip::parse4(payload).or_else(|| Ip::parse6(payload)).expect("a packet")
}

fn guest() -> SocketAddr {
    (OWN, 5000).into()
}

fn server(port: u16) -> SocketAddr {
    (SERVER, port).into()
}

fn answer(world: &mut World, payload: &[u8]) {
    let peer = world.router.host().last();
    peer.0.borrow_mut().datagrams.push_back((payload.to_vec(), None));
    world.router.host().tell(&peer);
    world.run_until_idle();
}

#[test]
fn an_answer_comes_back_to_who_asked() {
    let mut world = World::new();
    for (guest, server) in
        [(guest(), server(9)), ((OWN_SIX, 5000).into(), "[2001:db8::9]:9".parse().unwrap())]
    {
        world.frame(&udp(guest, server, b"question"));
        assert_eq!(world.router.host().last().got(), b"question");
        answer(&mut world, b"answer");
        let sent = world.sent();
        let packet = ip(&sent[0]);
        let datagram = Udp::parse(&packet).unwrap();
        assert_eq!((packet.source, packet.destination), (server.ip(), guest.ip()));
        assert_eq!((datagram.source, datagram.destination, datagram.payload), (9, 5000, &b"answer"[..]));
    }
}

#[test]
fn one_pair_of_ends_has_one_socket() {
    let mut world = World::new();
    (0..3).for_each(|_| world.frame(&udp(guest(), server(9), b"x")));
    world.frame(&udp(guest(), server(10), b"x"));
    assert_eq!(world.router.host().peers.len(), 2);
}

#[test]
fn a_port_that_nobody_has_is_told_of() {
    let mut world = World::new();
    world.frame(&udp(guest(), server(REFUSES), b"x"));
    world.frame(&udp(guest(), server(NOWHERE), b"x"));
    let told: Vec<(u8, u8)> = world
        .sent()
        .iter()
        .map(|frame| Icmp::parse(&ip(frame)).map(|message| (message.kind, message.code)).unwrap())
        .collect();
    assert_eq!(told, [(3, 3), (3, 0)]);
}

#[test]
fn a_long_answer_comes_in_parts_that_make_the_whole() {
    let mut world = World::new();
    world.frame(&udp(guest(), server(9), b"x"));
    let long: Vec<u8> = (0..20_000u32).map(|n| n as u8).collect();
    answer(&mut world, &long);
    let frames = world.sent();
    assert!(frames.iter().all(|frame| frame.len() <= 1514));
    let mut fragments = crate::fragments::Fragments::default();
    let whole = frames.iter().rev().find_map(|frame| fragments.take(GUEST, &ip(frame), world.now)).unwrap();
    assert_eq!(whole[udp::HEADER..], long);
}

#[test]
fn parts_for_which_the_wire_has_no_room_wait() {
    let mut world = World::new();
    world.frame(&udp(guest(), server(9), b"x"));
    world.wire.most = Some(5);
    answer(&mut world, &[7; 20_000]);
    let mut parts = 0;
    for _ in 0..10 {
        parts += world.sent().len();
        world.run_until_idle();
    }
    assert_eq!(parts, 20_008usize.div_ceil(1480));
}

#[test]
fn parts_of_the_guests_go_out_as_a_whole() {
    let mut world = World::new();
    let mut whole = Vec::new();
    udp::write(&mut whole, guest(), server(9), &[5; 3000]);
    for (n, piece) in whole.chunks(1480).enumerate() {
        let part = Fragment { id: 1, offset: n * 1480, more: (n + 1) * 1480 < whole.len() };
        let mut frame = Vec::new();
        ethernet::start(&mut frame, ROUTER, GUEST, ethernet::IPV4);
        Head::new(OWN.into(), SERVER.into(), ip::UDP).write_part(&mut frame, piece.len(), Some(part));
        frame.extend(piece);
        world.frame(&frame);
    }
    assert_eq!(world.router.host().last().got(), [5; 3000]);
}

#[test]
fn the_router_answers_an_echo_itself() {
    let mut world = World::new();
    for (from, to) in [(OWN.into(), super::NETWORK.router.into()), (OWN_SIX.into(), IpAddr::from(super::SIX))]
    {
        world.frame(&echo(from, to, 77));
        let sent = world.sent();
        let message = ip(&sent[0]);
        let message = Icmp::parse(&message).unwrap();
        assert_eq!((message.kind, message.echo()), (icmp::echo_types(to).1, Some((77, 1))));
    }
    assert!(world.router.host().peers.is_empty());
}

#[test]
fn an_echo_from_outside_has_the_guests_number() {
    let mut world = World::new();
    world.frame(&echo(OWN.into(), SERVER.into(), 77));
    answer(&mut world, &[0, 0, 0, 0, 0x99, 0x99, 0, 1, 7, 7]);
    let sent = world.sent();
    let message = ip(&sent[0]);
    assert_eq!(Icmp::parse(&message).unwrap().echo(), Some((77, 1)));
}

#[test]
fn where_the_host_lets_nobody_send_echoes_the_guest_is_told() {
    let mut world = World::new();
    world.router.host().echo_denied = true;
    world.frame(&echo(OWN.into(), SERVER.into(), 77));
    let sent = world.sent();
    assert_eq!(Icmp::parse(&ip(&sent[0])).map(|message| (message.kind, message.code)), Some((3, 13)));
    assert_eq!(world.router.report(world.now).counters.echoes_refused, 1);
}

#[test]
fn a_packet_without_hops_goes_no_further() {
    let mut world = World::new();
    let mut frame = Vec::new();
    ethernet::start(&mut frame, ROUTER, GUEST, ethernet::IPV4);
    Head { hops: 1, ..Head::new(OWN.into(), SERVER.into(), ip::UDP) }.write(&mut frame, udp::HEADER);
    udp::write(&mut frame, guest(), server(9), &[]);
    world.frame(&frame);
    let sent = world.sent();
    assert_eq!(Icmp::parse(&ip(&sent[0])).map(|message| message.kind), Some(11));
    assert!(world.router.host().peers.is_empty());
}

#[test]
fn a_datagram_flow_that_nobody_uses_ends() {
    let mut world = World::new();
    world.frame(&udp(guest(), server(9), b"x"));
    world.pass(Duration::from_secs(121));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.router.report(world.now).flows, 0);
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut message = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn ask(world: &mut World, id: u16) {
    let router = (super::NETWORK.router, 53).into();
    world.frame(&udp(guest(), router, &question(id, "example.com")));
}

/// What the resolver was asked, and whom.
fn asked(world: &mut World) -> (Vec<u8>, Option<SocketAddr>) {
    let peer = world.router.host().last();
    let state = peer.0.borrow();
    (state.sent.last().unwrap().0.clone(), state.to)
}

#[test]
fn a_question_for_a_name_goes_to_the_hosts_resolver_and_its_answer_back() {
    let mut world = World::new();
    ask(&mut world, 0x1234);
    let (mut message, to) = asked(&mut world);
    assert_eq!(to, Some("192.0.2.53:53".parse().unwrap()));
    assert_eq!(message[2..], question(0, "example.com")[2..]);
    message[2] |= 0x80;
    answer(&mut world, &message);
    let sent = world.sent();
    let packet = ip(&sent[0]);
    let payload = Udp::parse(&packet).unwrap().payload;
    assert_eq!((packet.source, &payload[..2]), (super::NETWORK.router.into(), &[0x12, 0x34][..]));
}

#[test]
fn an_answer_with_another_number_is_no_answer() {
    let mut world = World::new();
    ask(&mut world, 0x1234);
    let (mut message, _) = asked(&mut world);
    message[2] |= 0x80;
    message[1] ^= 1;
    answer(&mut world, &message);
    assert!(world.sent().is_empty());
    assert_eq!(world.router.report(world.now).counters.answers_refused, 1);
}

#[test]
fn a_resolver_that_says_nothing_is_followed_by_the_next_and_at_last_by_a_failure() {
    let mut world = World::new();
    ask(&mut world, 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(asked(&mut world).1, Some("192.0.2.54:53".parse().unwrap()));
    (0..4).for_each(|_| world.pass(Duration::from_secs(2)));
    let sent = world.sent();
    let packet = sent.iter().map(|frame| ip(frame)).find(|packet| packet.protocol == ip::UDP).unwrap();
    let payload = Udp::parse(&packet).unwrap().payload;
    assert_eq!((&payload[..2], payload[3] & 15), (&[0, 1][..], 2));
}

#[test]
fn no_resolver_is_a_failure_at_once() {
    let mut config = config();
    config.resolvers.clear();
    let mut world = World::with(config, super::LIMITS);
    ask(&mut world, 1);
    let sent = world.sent();
    assert_eq!(Udp::parse(&ip(&sent[0])).unwrap().payload[3] & 15, 2);
}

/// 0 is a number as others are: asked again, it is a question still and nothing raw.
#[test]
fn a_question_with_number_0_is_a_question() {
    let mut world = World::new();
    (0..2).for_each(|_| ask(&mut world, 0));
    let (mut message, _) = asked(&mut world);
    message[2] |= 0x80;
    answer(&mut world, &message);
    let sent = world.sent();
    let packet = ip(&sent[0]);
    assert_eq!(Udp::parse(&packet).unwrap().payload[..2], [0, 0]);
}

#[test]
fn what_is_no_question_is_not_passed_on() {
    let mut world = World::new();
    // Opcode 5: an update (RFC 2136).
    let mut message = question(7, "example.com");
    message[2] = 5 << 3;
    world.frame(&udp(guest(), (super::NETWORK.router, 53).into(), &message));
    let sent = world.sent();
    let packet = ip(&sent[0]);
    assert_eq!(Udp::parse(&packet).unwrap().payload[3] & 15, 4);
}
