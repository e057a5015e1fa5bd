//! Neighbour discovery and router advertisements (RFC 4861, RFC 8106): the messages that a router reads and writes.

use crate::config::Config;
use crate::packet::icmp::Icmp;
use crate::packet::{Mac, array};
use std::net::Ipv6Addr;

pub const ROUTER_SOLICITATION: u8 = 133;
pub const SOLICITATION: u8 = 135;
const ROUTER_ADVERTISEMENT: u8 = 134;
const ADVERTISEMENT: u8 = 136;

/// RFC 4861, 6.1: what came over a router says nothing of this wire.
pub const HOPS: u8 = 255;

pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// RFC 2464, 7.
pub fn multicast(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    [0x33, 0x33, a, b, c, d]
}

/// RFC 4291, 2.7.1: where who has this address listens for questions about it.
pub fn solicited(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Whom a solicitation asks for.
pub fn target(icmp: &Icmp<'_>) -> Option<Ipv6Addr> {
    array::<16>(icmp.message, 8).map(Ipv6Addr::from)
}

fn link_layer(kind: u8, mac: Mac) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac;
    [kind, 1, a, b, c, d, e, f]
}

/// That this address is here: from a router, asked for or not, in place of what was known.
pub fn advertisement(target: Ipv6Addr, mac: Mac, asked: bool) -> Vec<u8> {
    let flags = if asked { 0xe0 } else { 0xa0 };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    message.extend(link_layer(2, mac));
    message
}

/// Who has this address?
pub fn solicitation(target: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend(link_layer(1, mac));
    message
}

/// The router, its network, whom to ask for names, and what to append to them.
pub fn router_advertisement(config: &Config, own: Ipv6Addr) -> Vec<u8> {
    const LIFETIME: u32 = 1800;
    let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0];
    message.extend((LIFETIME as u16).to_be_bytes());
    message.extend([0; 8]);
    message.extend(link_layer(1, config.mac));
    message.extend([5, 1, 0, 0]);
    message.extend(u32::from(config.mtu).to_be_bytes());
    // On this wire, and addresses are made of it.
    message.extend([3, 4, 64, 0xc0]);
    message.extend([86_400u32, 14_400].iter().flat_map(|seconds| seconds.to_be_bytes()));
    message.extend([0; 4]);
    message.extend(&own.octets()[..8]);
    message.extend([0; 8]);
    message.extend([25, 3, 0, 0]);
    message.extend(LIFETIME.to_be_bytes());
    message.extend(own.octets());
    let mut names = crate::dhcp::message::search_list(std::slice::from_ref(&config.domain));
    names.resize(names.len().next_multiple_of(8), 0);
    message.extend([31, 1 + (names.len() / 8) as u8, 0, 0]);
    message.extend(LIFETIME.to_be_bytes());
    message.extend(names);
    message
}
