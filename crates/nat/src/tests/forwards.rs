use super::datagrams::{ip, udp};
use super::guest::{Guest, pattern};
use super::{GUEST, NETWORK, OWN, World, config};
use crate::packet::arp::Arp;
use crate::packet::ethernet;
use crate::packet::udp::Udp;
use crate::{Forward, Protocol, Target};
use smoltcp::socket::tcp::State;
use std::net::SocketAddr;
use std::time::Duration;

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn world(protocol: Protocol, to: Target) -> World {
    let mut config = config();
    config.forwards = vec![Forward { protocol, at: at(2222), to, port: 22 }];
    World::with(config, super::LIMITS)
}

/// A guest that listens, and of which the router has heard.
fn listening(world: &mut World) -> (Guest, smoltcp::iface::SocketHandle) {
    let mut guest = Guest::usual(world);
    let handle = guest.stream();
    guest.tcp(handle).listen(22).unwrap();
    let mut frame = Vec::new();
    let own = (GUEST, OWN);
    Arp { operation: 1, sender: own, target: ([0; 6], NETWORK.router) }.write(&mut frame, [0xff; 6]);
    world.frame(&frame);
    (guest, handle)
}

#[test]
fn who_comes_to_a_published_port_meets_the_guest() {
    let mut world = world(Protocol::Tcp, Target::Adapter(GUEST));
    let (mut guest, handle) = listening(&mut world);
    let peer = world.router.host().come(2222);
    assert!(guest.until(&mut world, |guest, _| guest.tcp(handle).state() == State::Established));
    let bytes = pattern(50_000);
    peer.give(&bytes);
    peer.end();
    world.router.host().tell(&peer);
    let mut got = Vec::new();
    assert!(guest.until(&mut world, |guest, _| {
        let _ = guest.tcp(handle).recv(|part| (part.len(), got.extend_from_slice(part)));
        got.len() == bytes.len()
    }));
    guest.tcp(handle).send_slice(b"thanks").unwrap();
    guest.tcp(handle).close();
    assert!(guest.until(&mut world, |_, world| world.router.report(world.now).flows == 0));
    assert!(got == bytes && peer.got() == b"thanks" && peer.0.borrow().ended_outward);
}

#[test]
fn a_guest_that_refuses_is_heard_of_outside() {
    let mut world = world(Protocol::Tcp, Target::Adapter(GUEST));
    let (mut guest, handle) = listening(&mut world);
    guest.tcp(handle).abort();
    let peer = world.router.host().come(2222);
    assert!(guest.until(&mut world, |_, _| peer.0.borrow().aborted));
}

#[test]
fn who_comes_before_the_guest_waits_and_is_sent_away_at_last() {
    let mut world = world(Protocol::Tcp, Target::Adapter(GUEST));
    let peer = world.router.host().come(2222);
    world.run_until_idle();
    world.pass(Duration::from_secs(4));
    assert!(!peer.0.borrow().aborted);
    world.pass(Duration::from_secs(2));
    assert!(peer.0.borrow().aborted);
    let peer = world.router.host().come(2222);
    world.run_until_idle();
    let (mut guest, handle) = listening(&mut world);
    assert!(guest.until(&mut world, |guest, _| guest.tcp(handle).state() == State::Established));
    assert!(!peer.0.borrow().aborted);
}

#[test]
fn an_address_that_was_never_seen_is_asked_for() {
    let mut world = world(Protocol::Tcp, Target::Address(OWN.into()));
    let mut guest = Guest::usual(&world);
    let handle = guest.stream();
    guest.tcp(handle).listen(22).unwrap();
    world.router.host().come(2222);
    assert!(guest.until(&mut world, |guest, _| guest.tcp(handle).state() == State::Established));
}

#[test]
fn datagrams_go_to_the_guest_and_back_to_who_sent_them() {
    let mut world = world(Protocol::Udp, Target::Adapter(GUEST));
    listening(&mut world);
    world.sent();
    let listener = world.router.host().by_port[&2222].clone();
    for client in [5000, 5001] {
        listener.0.borrow_mut().datagrams.push_back((b"hello".to_vec(), Some(at(client))));
    }
    world.router.host().tell(&listener);
    world.run_until_idle();
    let sent = world.sent();
    assert_eq!(sent.len(), 2);
    for frame in &sent {
        let packet = ip(frame);
        let datagram = Udp::parse(&packet).unwrap();
        assert_eq!((packet.source, datagram.destination), (NETWORK.router.into(), 22));
        world.frame(&udp((OWN, 22).into(), (NETWORK.router, datagram.source).into(), b"answer"));
    }
    let answers: Vec<_> = listener.0.borrow().sent.iter().map(|(_, to)| to.unwrap().port()).collect();
    assert_eq!(answers, [5000, 5001]);
}

#[test]
fn a_port_that_is_taken_is_one_sentence_and_tried_again() {
    let mut config = config();
    config.forwards =
        vec![Forward { protocol: Protocol::Tcp, at: at(2222), to: Target::Adapter(GUEST), port: 22 }];
    let mut world = World::new();
    world.router.host().taken.push(at(2222));
    world.router.configure(config);
    let problems = world.router.report(world.now).problems;
    assert_eq!(problems, ["Tcp 127.0.0.1:2222 is not forwarded: somebody else uses it"]);
    world.router.host().taken.clear();
    world.pass(Duration::from_secs(6));
    assert!(world.router.report(world.now).problems.is_empty());
}

#[test]
fn a_forward_that_is_taken_back_listens_no_more() {
    let mut world = world(Protocol::Tcp, Target::Adapter(GUEST));
    listening(&mut world);
    world.router.configure(config());
    let peer = world.router.host().come(2222);
    world.run_until_idle();
    world.pass(Duration::from_secs(1));
    assert!(peer.0.borrow().token == 0 && world.router.report(world.now).flows == 0);
    let arps = world.sent().iter().filter(|frame| frame[12..14] == ethernet::IPV4.to_be_bytes()).count();
    assert_eq!(arps, 0);
}
