use super::datagrams::{ip, udp};
use super::guest::Guest;
use super::{GUEST, NETWORK, OTHER, OWN, ROUTER, SERVER, SIX, World, config};
use crate::packet::arp::{self, Arp};
use crate::packet::icmp::Icmp;
use crate::packet::{BROADCAST, ethernet, ip as packet_ip};
use smoltcp::socket::dhcpv4;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

fn lease(world: &mut World, mac: crate::Mac) -> Option<Ipv4Addr> {
    let mut guest = Guest::new(mac, &[], world.now);
    let handle = guest.sockets.add(dhcpv4::Socket::new());
    let mut address = None;
    guest.until(world, |guest, _| {
        if let Some(dhcpv4::Event::Configured(found)) =
            guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll()
        {
            assert_eq!(found.router, Some(NETWORK.router));
            assert_eq!(found.dns_servers.first(), Some(&NETWORK.router));
            assert_eq!(found.address.prefix_len(), NETWORK.length);
            address = Some(found.address.address());
        }
        address.is_some()
    });
    address
}

#[test]
fn a_client_that_others_wrote_gets_a_lease_and_the_same_again() {
    let mut world = World::new();
    let first = lease(&mut world, GUEST);
    assert!(first.is_some_and(|address| NETWORK.is_guest(address)));
    assert_eq!(lease(&mut world, GUEST), first);
    assert_ne!(lease(&mut world, OTHER), first);
    // From another router, too, which knows of none.
    assert_eq!(lease(&mut World::new(), GUEST), first);
}

#[test]
fn a_reserved_address_is_given() {
    let mut config = config();
    config.reservations = vec![(GUEST, Ipv4Addr::new(172, 20, 17, 5))];
    let mut world = World::with(config, super::LIMITS);
    assert_eq!(lease(&mut world, GUEST), Some(Ipv4Addr::new(172, 20, 17, 5)));
}

#[test]
fn where_a_guest_is_is_known_by_its_lease() {
    let mut world = World::new();
    let address = lease(&mut world, GUEST).unwrap();
    let report = world.router.report(world.now);
    assert_eq!(report.guests[0].addresses, [IpAddr::from(address)]);
}

#[test]
fn who_asks_in_anothers_name_gets_no_lease() {
    let mut world = World::new();
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[28..34].copy_from_slice(&OTHER);
    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, 1, 255]);
    let from = (Ipv4Addr::UNSPECIFIED, 68).into();
    world.frame(&udp(from, (Ipv4Addr::BROADCAST, 67).into(), &message));
    assert!(world.sent().is_empty());
    message[28..34].copy_from_slice(&GUEST);
    world.frame(&udp(from, (Ipv4Addr::BROADCAST, 67).into(), &message));
    assert_eq!(world.sent().len(), 1);
}

fn request(wanted: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[28..34].copy_from_slice(&GUEST);
    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, 3, 50, 4]);
    message.extend(wanted.octets());
    message.push(255);
    udp((Ipv4Addr::UNSPECIFIED, 68).into(), (Ipv4Addr::BROADCAST, 67).into(), &message)
}

/// Which message it was that was answered.
fn kind(world: &mut World) -> u8 {
    let sent = world.sent();
    crate::packet::udp::Udp::parse(&ip(&sent[0])).unwrap().payload[242]
}

#[test]
fn an_address_of_another_network_is_said_no_to() {
    let mut world = World::new();
    world.frame(&request(Ipv4Addr::new(192, 168, 1, 7)));
    assert_eq!(kind(&mut world), 6);
    world.frame(&request(Ipv4Addr::new(172, 20, 18, 7)));
    assert_eq!(kind(&mut world), 5);
}

fn arp(target: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    Arp { operation: arp::REQUEST, sender: (GUEST, OWN), target: ([0; 6], target) }
        .write(&mut frame, BROADCAST);
    frame
}

#[test]
fn the_router_says_where_its_own_address_is_and_no_other() {
    let mut world = World::new();
    world.frame(&arp(Ipv4Addr::new(172, 20, 16, 77)));
    assert!(world.sent().is_empty());
    world.frame(&arp(NETWORK.router));
    let sent = world.sent();
    assert_eq!(Arp::parse(&sent[0][ethernet::HEADER..]).unwrap().sender, (ROUTER, NETWORK.router));
}

#[test]
fn the_router_says_what_networks_addresses_are_made_of() {
    use smoltcp::wire::{Icmpv6Packet, NdiscOption, NdiscPrefixInfoFlags};
    let mut world = World::new();
    world.pass(Duration::from_secs(1));
    let sent = world.sent();
    let packet =
        sent.iter().map(|frame| ip(frame)).find(|packet| packet.protocol == packet_ip::ICMPV6).unwrap();
    assert!(Icmp::parse(&packet).is_some());
    let message = Icmpv6Packet::new_checked(packet.payload).unwrap();
    assert_eq!(message.router_lifetime(), smoltcp::time::Duration::from_secs(1800));
    let mut options = message.payload();
    let mut prefix = None;
    while let Ok(option) = NdiscOption::new_checked(options) {
        if option.option_type() == smoltcp::wire::NdiscOptionType::PrefixInformation {
            assert!(option.prefix_flags().contains(NdiscPrefixInfoFlags::ADDRCONF));
            prefix = Some(option.prefix());
        }
        options = &options[8 * usize::from(option.data_len())..];
    }
    assert_eq!(prefix.map(|prefix| prefix.segments()[..4].to_vec()), Some(SIX.segments()[..4].to_vec()));
}

#[test]
fn what_comes_from_an_address_outside_is_dropped() {
    let mut world = World::new();
    for from in ["10.0.0.1:5", "172.20.16.1:5", "172.20.31.255:5", "[2001:db8::1]:5"] {
        let from: std::net::SocketAddr = from.parse().unwrap();
        let to = if from.is_ipv4() { (SERVER, 9).into() } else { "[2001:db8::9]:9".parse().unwrap() };
        world.frame(&udp(from, to, b"x"));
    }
    assert!(world.router.host().peers.is_empty());
    assert_eq!(world.router.report(world.now).counters.malformed, 4);
}

/// Somebody else says by ARP that it has the address: who has it by lease keeps it, and renews it.
#[test]
fn an_address_that_is_leased_is_not_taken_by_speaking_for_it() {
    let mut world = World::new();
    let address = lease(&mut world, GUEST).unwrap();
    let mut claim = Vec::new();
    Arp { operation: arp::REPLY, sender: (OTHER, address), target: (OTHER, address) }
        .write(&mut claim, BROADCAST);
    world.frame(&claim);
    let report = world.router.report(world.now);
    let of = |mac| report.guests.iter().find(|guest| guest.mac == mac).map(|guest| guest.addresses.clone());
    assert_eq!(of(GUEST), Some(vec![IpAddr::from(address)]));
    assert_eq!(lease(&mut world, GUEST), Some(address));
}
