//! Whatever comes over the wire: nothing panics, nothing grows beyond its bound, and what goes out makes sense. Bytes of
//! the upper layers come in headers that are right, so that they get as far as they can.

use super::datagrams::udp;
use super::guest::pattern;
use super::many::segment;
use super::{GUEST, LIMITS, OWN, OWN_SIX, ROUTER, SERVER, SIX, World};
use crate::packet::ethernet::{self, Ethernet};
use crate::packet::icmp::{self, Icmp};
use crate::packet::ip::{self, Head, Ip};
use crate::packet::tcp::{SYN, Segment, Words};
use crate::packet::udp::Udp;
use crate::packet::{arp, checksum::Sum, put};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The messages in a target's bytes: each has its length in front.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let (piece, rest) = rest.split_at(usize::from(len).min(rest.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// What goes out is whole.
fn sound(frame: &[u8]) -> bool {
    let Some(frame) = Ethernet::parse(frame) else { return false };
    let packet = match frame.kind {
        ethernet::ARP => return arp::Arp::parse(frame.payload).is_some(),
        ethernet::IPV4 => Ip::parse4(frame.payload),
        _ => Ip::parse6(frame.payload),
    };
    let Some(packet) = packet else { return false };
    match packet.protocol {
        _ if packet.fragment.is_some() => true,
        ip::TCP => Segment::parse(&packet).is_some(),
        ip::UDP => Udp::parse(&packet).is_some(),
        _ => Icmp::parse(&packet).is_some(),
    }
}

fn feed(world: &mut World, frames: impl IntoIterator<Item = Vec<u8>>) {
    for frame in frames {
        world.frame(&frame);
        world.run_until_idle();
        for out in world.sent() {
            assert!(out.len() <= 1514 && sound(&out), "{out:?}");
        }
    }
    world.pass(Duration::from_secs(3));
    for out in world.sent() {
        assert!(sound(&out), "{out:?}");
    }
    let report = world.router.report(world.now);
    assert!(report.flows <= LIMITS.flows && report.held <= LIMITS.held + 512 * 1024);
}

fn target(make: impl Fn(&[u8]) -> Vec<u8> + std::panic::RefUnwindSafe) {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut world = World::new();
        feed(&mut world, pieces(bytes).into_iter().map(&make));
    });
}

fn framed(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ethernet::start(&mut frame, ROUTER, GUEST, kind);
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn fuzz_ethernet() {
    target(<[u8]>::to_vec);
}

#[test]
fn fuzz_arp() {
    target(|bytes| framed(ethernet::ARP, &[&[0, 1, 8, 0, 6, 4], bytes].concat()));
}

/// A header whose length and sum are right, and all else the target's.
#[test]
fn fuzz_ipv4() {
    target(|bytes| {
        let mut packet = bytes.to_vec();
        packet.resize(packet.len().max(ip::HEADER4), 0);
        packet[0] = 0x40 | (packet[0] & 15).max(5);
        let header = (usize::from(packet[0] & 15) * 4).min(packet.len());
        let len = (packet.len() as u16).to_be_bytes();
        put(&mut packet, 2, &len);
        if packet[1] & 1 == 0 {
            put(&mut packet, 12, &OWN.octets());
        }
        put(&mut packet, 10, &[0, 0]);
        let sum = Sum::default().bytes(&packet[..header]).finish();
        put(&mut packet, 10, &sum);
        framed(ethernet::IPV4, &packet)
    });
}

#[test]
fn fuzz_ipv6() {
    target(|bytes| {
        let mut packet = bytes.to_vec();
        packet.resize(packet.len().max(ip::HEADER6), 0);
        packet[0] = 0x60;
        let len = ((packet.len() - ip::HEADER6) as u16).to_be_bytes();
        put(&mut packet, 4, &len);
        if packet[1] & 1 == 0 {
            put(&mut packet, 8, &OWN_SIX.octets());
        }
        framed(ethernet::IPV6, &packet)
    });
}

#[test]
fn fuzz_icmp() {
    target(|bytes| {
        let four = bytes.first().is_none_or(|byte| byte & 1 == 0);
        let (from, to): (IpAddr, IpAddr) = match bytes.get(1).is_some_and(|byte| byte & 1 == 0) {
            _ if four => (OWN.into(), SERVER.into()),
            true => (OWN_SIX.into(), SIX.into()),
            false => (OWN_SIX.into(), crate::neighbours::solicited(SIX).into()),
        };
        let mut message = bytes.get(1..).unwrap_or_default().to_vec();
        message.resize(message.len().max(4), 0);
        let kind = if four { ethernet::IPV4 } else { ethernet::IPV6 };
        let mut frame = framed(kind, &[]);
        icmp::packet(&mut frame, from, to, 255, &message);
        frame
    });
}

fn port(bytes: &[u8], at: usize) -> u16 {
    crate::packet::word(bytes, at).unwrap_or(9)
}

#[test]
fn fuzz_udp() {
    target(|bytes| {
        let to: SocketAddr = match bytes.first().is_some_and(|byte| byte & 1 == 0) {
            true => (super::NETWORK.router, port(bytes, 3)).into(),
            false => (SERVER, port(bytes, 3)).into(),
        };
        udp((OWN, port(bytes, 1)).into(), to, bytes.get(5..).unwrap_or_default())
    });
}

/// A connection to a host that sends back what it gets, and segments with any numbers near its own.
#[test]
fn fuzz_tcp() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut world = World::new();
        let to: SocketAddr = (SERVER, super::host::ECHOES).into();
        let (from, payload) = ((OWN, 9).into(), pattern(2000));
        let words = |sequence, acknowledgment, flags, window| Words {
            from,
            to,
            sequence,
            acknowledgment,
            flags,
            window,
            maximum: (flags & SYN != 0).then_some(window),
            scale: (flags & SYN != 0).then_some(window as u8 & 15),
        };
        world.frame(&segment(GUEST, words(1000, 0, SYN, 60_000), &[]));
        world.run_until_idle();
        let first = world.sent().iter().find_map(|frame| {
            let packet = Ip::parse4(&frame[ethernet::HEADER..])?;
            Segment::parse(&packet).map(|answer| answer.sequence)
        });
        let first = first.expect("an answer");
        let frames: Vec<Vec<u8>> = bytes
            .chunks(8)
            .map(|piece| {
                let byte = |at: usize| piece.get(at).copied().unwrap_or(0);
                let near = |base: u32, at: usize| {
                    base.wrapping_add((i32::from(port(piece, at) as i16) * 16 / 16) as u32)
                };
                let len = usize::from(byte(6)) * 5;
                let words =
                    words(near(1001, 0), near(first.wrapping_add(1), 2), byte(4), u16::from(byte(5)) << 4);
                segment(GUEST, words, &payload[..len])
            })
            .collect();
        feed(&mut world, frames);
        world.pass(Duration::from_secs(90));
        world.pass(Duration::from_secs(700));
    });
}

#[test]
fn fuzz_tcp_headers() {
    target(|bytes| {
        let mut packet = framed(ethernet::IPV4, &[]);
        let mut segment = bytes.to_vec();
        segment.resize(segment.len().max(20), 0);
        Head::new(OWN.into(), SERVER.into(), ip::TCP).write(&mut packet, segment.len());
        put(&mut segment, 16, &[0, 0]);
        let sum =
            Sum::default().pseudo(OWN.into(), SERVER.into(), ip::TCP, segment.len()).bytes(&segment).finish();
        put(&mut segment, 16, &sum);
        packet.extend(segment);
        packet
    });
}

#[test]
fn fuzz_dhcp() {
    target(|bytes| {
        let mut message = vec![0; 240];
        message[..3].copy_from_slice(&[1, 1, 6]);
        put(&mut message, 28, &GUEST);
        put(&mut message, 236, &[99, 130, 83, 99]);
        if bytes.len() > 8 && bytes[0] & 1 == 0 {
            put(&mut message, 10, &bytes[1..7]);
        }
        message.extend([53, 1, bytes.first().copied().unwrap_or(0) & 15]);
        message.extend(bytes.get(1..).unwrap_or_default());
        udp((Ipv4Addr::UNSPECIFIED, 68).into(), (Ipv4Addr::BROADCAST, 67).into(), &message)
    });
}

/// Questions of the guest's; and what resolvers answer.
#[test]
fn fuzz_dns() {
    target(|bytes| udp((OWN, 9).into(), (super::NETWORK.router, 53).into(), bytes));
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut world = World::new();
        let mut question = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend(b"\x07example\x03com\0\0\x01\0\x01");
        world.frame(&udp((OWN, 9).into(), (super::NETWORK.router, 53).into(), &question));
        let peer = world.router.host().last();
        let mut answer = peer.0.borrow().sent[0].0.clone();
        answer[2] |= 0x80;
        if bytes.first().is_some_and(|byte| byte & 1 == 0) {
            answer.truncate(2);
        }
        answer.extend(bytes);
        peer.0.borrow_mut().datagrams.push_back((answer, None));
        world.router.host().tell(&peer);
        feed(&mut world, []);
    });
}
