use super::guest::{Guest, Weather, pattern};
use super::host::{ECHOES, REFUSES, SILENT};
use super::{Limits, OWN, SERVER, SIX, World, config};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const PORT: u16 = 80;

fn server(port: u16) -> SocketAddr {
    (SERVER, port).into()
}

fn open(world: &mut World, guest: &mut Guest, to: SocketAddr) -> SocketHandle {
    let handle = guest.connect(to, 40_000);
    assert!(guest.until(world, |guest, _| guest.tcp(handle).state() == State::Established));
    handle
}

/// Both ends send, and both get all that the other sent.
fn exchange(weather: Weather, to: SocketAddr) {
    let (mut world, bytes) = (World::new(), pattern(400_000));
    let mut guest = Guest::usual(&world);
    let handle = open(&mut world, &mut guest, to);
    guest.weather = weather;
    let peer = world.router.host().last();
    peer.give(&bytes);
    peer.end();
    world.router.host().tell(&peer);
    let (mut sent, mut got) = (0, Vec::new());
    let whole = guest.until(&mut world, |guest, world| {
        let socket = guest.tcp(handle);
        if sent < bytes.len() {
            sent += socket.send_slice(&bytes[sent..]).unwrap_or(0);
        } else if socket.may_send() {
            socket.close();
        }
        let _ = socket.recv(|part| (part.len(), got.extend_from_slice(part)));
        world.router.host().tell(&peer);
        got.len() == bytes.len() && peer.got().len() == bytes.len() && peer.0.borrow().ended_outward
    });
    assert!(whole, "{} of {} came in, {} went out", got.len(), bytes.len(), peer.got().len());
    assert!(got == bytes && peer.got() == bytes);
}

#[test]
fn what_each_end_sends_the_other_gets() {
    exchange(Weather::default(), server(PORT));
}

#[test]
fn ipv6_is_carried_as_ipv4_is() {
    exchange(Weather::default(), "[2001:db8::80]:80".parse().unwrap());
}

#[test]
fn frames_that_are_lost_are_sent_again() {
    exchange(Weather { lost: 3, ..Weather::default() }, server(PORT));
}

#[test]
fn frames_in_another_order_and_twice_change_nothing() {
    exchange(Weather { twice: 10, late: 20, lost: 0 }, server(PORT));
}

#[test]
fn the_guest_hears_that_a_connection_is_refused() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    let handle = guest.connect(server(REFUSES), 40_000);
    assert!(guest.until(&mut world, |guest, _| guest.tcp(handle).state() == State::Closed));
    assert_eq!(world.router.report(world.now).flows, 0);
}

#[test]
fn a_connection_is_not_said_to_stand_before_it_does() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    let handle = guest.connect(server(SILENT), 40_000);
    (0..50).for_each(|_| guest.moment(&mut world));
    assert_eq!(guest.tcp(handle).state(), State::SynSent);
}

#[test]
fn a_host_that_stops_reading_stops_the_guest() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    let handle = open(&mut world, &mut guest, server(PORT));
    let peer = world.router.host().last();
    peer.0.borrow_mut().takes = Some(10_000);
    let bytes = pattern(1_000_000);
    let mut sent = 0;
    for _ in 0..3000 {
        sent += guest.tcp(handle).send_slice(&bytes[sent..]).unwrap_or(0);
        guest.moment(&mut world);
    }
    assert!(sent < 500_000 && world.router.report(world.now).held <= 256 * 1024, "{sent}");
    peer.0.borrow_mut().takes = None;
    assert!(guest.until(&mut world, |guest, world| {
        world.router.host().tell(&peer);
        sent += guest.tcp(handle).send_slice(&bytes[sent..]).unwrap_or(0);
        peer.got().len() == bytes.len()
    }));
    assert!(peer.got() == bytes);
}

#[test]
fn a_guest_that_stops_reading_stops_the_host() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    let handle = open(&mut world, &mut guest, server(PORT));
    let peer = world.router.host().last();
    let bytes = pattern(2_000_000);
    peer.give(&bytes);
    world.router.host().tell(&peer);
    (0..500).for_each(|_| guest.moment(&mut world));
    assert!(world.router.report(world.now).held <= 256 * 1024);
    let mut got = Vec::new();
    assert!(guest.until(&mut world, |guest, _| {
        let _ = guest.tcp(handle).recv(|part| (part.len(), got.extend_from_slice(part)));
        got.len() == bytes.len()
    }));
    assert!(got == bytes);
}

#[test]
fn each_half_closes_by_itself() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    let handle = open(&mut world, &mut guest, server(PORT));
    let peer = world.router.host().last();
    guest.tcp(handle).close();
    assert!(guest.until(&mut world, |_, _| peer.0.borrow().ended_outward));
    peer.give(b"still here");
    world.router.host().tell(&peer);
    let mut got = Vec::new();
    assert!(guest.until(&mut world, |guest, _| {
        let _ = guest.tcp(handle).recv(|part| (part.len(), got.extend_from_slice(part)));
        got == b"still here"
    }));
    peer.end();
    world.router.host().tell(&peer);
    assert!(guest.until(&mut world, |_, world| world.router.report(world.now).flows == 0));
}

#[test]
fn a_guest_that_breaks_off_is_heard_of_outside() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    let handle = open(&mut world, &mut guest, server(PORT));
    let peer = world.router.host().last();
    guest.tcp(handle).abort();
    assert!(guest.until(&mut world, |_, _| peer.0.borrow().aborted));
}

#[test]
fn the_routers_address_leads_to_nothing_of_the_host() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    for (port, own) in (40_000..).zip([IpAddr::from(super::NETWORK.router), SIX.into()]) {
        let handle = guest.connect((own, 22).into(), port);
        assert!(guest.until(&mut world, |guest, _| guest.tcp(handle).state() == State::Closed));
    }
    assert!(world.router.host().peers.is_empty());
}

#[test]
fn a_port_of_the_hosts_loopback_is_reached_where_it_was_allowed() {
    let mut config = config();
    config.host_loopback = vec![8000];
    let mut world = World::with(config, super::LIMITS);
    let mut guest = Guest::usual(&world);
    open(&mut world, &mut guest, (super::NETWORK.router, 8000).into());
    let to = world.router.host().last().0.borrow().to;
    assert_eq!(to, Some("127.0.0.1:8000".parse().unwrap()));
}

#[test]
fn the_hosts_own_addresses_are_nowhere() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    for (port, text) in
        (40_000..).zip(["169.254.169.254:80", "0.1.2.3:80", "240.0.0.1:80", "[::ffff:7f00:1]:80"])
    {
        guest.connect(text.parse().unwrap(), port);
    }
    (0..20).for_each(|_| guest.moment(&mut world));
    assert!(world.router.host().peers.is_empty());
}

#[test]
fn a_wire_without_room_loses_nothing_of_a_stream() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    let handle = open(&mut world, &mut guest, server(PORT));
    world.wire.most = Some(3);
    let (peer, bytes) = (world.router.host().last(), pattern(200_000));
    peer.give(&bytes);
    world.router.host().tell(&peer);
    let mut got = Vec::new();
    let mut moments = 0;
    assert!(guest.until(&mut world, |guest, _| {
        moments += 1;
        let _ = guest.tcp(handle).recv(|part| (part.len(), got.extend_from_slice(part)));
        got.len() == bytes.len()
    }));
    // Without a frame that was sent twice: three a moment.
    assert!(got == bytes && moments <= 2 * bytes.len() / 1460 / 3 + 50, "{moments} moments");
}

#[test]
fn a_stream_that_nobody_uses_is_ended() {
    let mut world = World::new();
    let mut guest = Guest::usual(&world);
    open(&mut world, &mut guest, server(PORT));
    world.pass(Duration::from_secs(7441));
    world.pass(Duration::from_secs(5));
    assert!(world.router.host().last().0.borrow().aborted);
    assert_eq!(world.router.report(world.now).counters.flows_expired, 1);
}

#[test]
fn where_there_is_no_memory_streams_go_on_one_piece_at_a_time() {
    let mut world = World::with(config(), Limits { held: 0, ..super::LIMITS });
    let mut guest = Guest::usual(&world);
    let handle = open(&mut world, &mut guest, server(ECHOES));
    let bytes = pattern(100_000);
    let (mut sent, mut got) = (0, Vec::new());
    assert!(guest.until(&mut world, |guest, world| {
        let socket = guest.tcp(handle);
        sent += socket.send_slice(&bytes[sent..]).unwrap_or(0);
        let _ = socket.recv(|part| (part.len(), got.extend_from_slice(part)));
        let peer = world.router.host().last();
        world.router.host().tell(&peer);
        got.len() == bytes.len()
    }));
    assert!(got == bytes);
    assert_eq!(guest.interface.ipv4_addr(), Some(OWN));
}
