//! What the router answers itself: who has its address, leases, its own advertisements, and why a packet went no further.

use super::Router;
use crate::context::Key;
use crate::dhcp::{self, message::Message};
use crate::host::{Host, Wire};
use crate::neighbours;
use crate::packet::arp::{self, Arp};
use crate::packet::ethernet::{self, Ethernet};
use crate::packet::icmp::{self, Icmp, Unreachable};
use crate::packet::ip::{self, Head, Ip};
use crate::packet::udp::{self, Udp};
use crate::packet::{BROADCAST, Mac, is_group};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;

impl<H: Host> Router<H> {
    /// It sent from this address. What another has by lease does not become its own by that.
    pub(super) fn see(&mut self, mac: Mac, address: IpAddr, now: Instant) {
        let holder = match address {
            IpAddr::V4(address) => self.leases.holder(address, now),
            IpAddr::V6(_) => None,
        };
        if holder.is_none_or(|holder| holder == mac) {
            self.guests.see(mac, address, now);
        }
    }

    pub(super) fn arp(&mut self, frame: &Ethernet<'_>, now: Instant, wire: &mut dyn Wire) -> Option<()> {
        let arp = Arp::parse(frame.payload)?;
        let (mac, address) = arp.sender;
        // Who asks for another is none of this network.
        if mac != frame.source {
            return None;
        }
        if self.config.network.is_guest(address) {
            self.see(mac, address.into(), now);
        }
        let own = self.config.network.router;
        if arp.operation == arp::REQUEST && arp.target.1 == own {
            let answer = Arp { operation: arp::REPLY, sender: (self.config.mac, own), target: arp.sender };
            let mut cx = self.core.context(&self.config, wire, now, true);
            answer.write(cx.frame, mac);
            cx.emit();
        }
        Some(())
    }

    /// Asks who has an address.
    pub(super) fn ask_who(&mut self, address: IpAddr, now: Instant, wire: &mut dyn Wire) {
        match address {
            IpAddr::V4(four) => {
                let sender = (self.config.mac, self.config.network.router);
                let question = Arp { operation: arp::REQUEST, sender, target: ([0; 6], four) };
                let mut cx = self.core.context(&self.config, wire, now, true);
                question.write(cx.frame, BROADCAST);
                cx.emit();
            }
            IpAddr::V6(six) => {
                let Some(own) = self.config.six else { return };
                let message = neighbours::solicitation(six, self.config.mac);
                let to = neighbours::solicited(six);
                self.say_neighbours(neighbours::multicast(to), own, to, &message, now, wire);
            }
        }
    }

    fn say_neighbours(
        &mut self,
        mac: Mac,
        from: Ipv6Addr,
        to: Ipv6Addr,
        message: &[u8],
        now: Instant,
        wire: &mut dyn Wire,
    ) {
        let mut cx = self.core.context(&self.config, wire, now, true);
        ethernet::start(cx.frame, mac, cx.own, ethernet::IPV6);
        icmp::packet(cx.frame, from.into(), to.into(), neighbours::HOPS, message);
        cx.emit();
    }

    pub(super) fn advertise(&mut self, now: Instant, wire: &mut dyn Wire) {
        self.advertised = Some(now);
        let Some(own) = self.config.six else { return };
        let message = neighbours::router_advertisement(&self.config, own);
        let (from, to) = (self.config.link_local(), neighbours::ALL_NODES);
        self.say_neighbours(neighbours::multicast(to), from, to, &message, now, wire);
    }

    /// Whether a packet is one that the router answers before it looks at where it is from.
    pub(super) fn local(
        &mut self,
        frame: &Ethernet<'_>,
        packet: &Ip<'_>,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<bool> {
        match packet.destination {
            IpAddr::V4(to) if packet.protocol == ip::UDP => self.lease(frame, packet, to, now, wire),
            IpAddr::V6(_) if packet.protocol == ip::ICMPV6 => self.neighbour(frame, packet, now, wire),
            _ => Some(false),
        }
    }

    fn lease(
        &mut self,
        frame: &Ethernet<'_>,
        packet: &Ip<'_>,
        to: Ipv4Addr,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<bool> {
        let network = self.config.network;
        if to != network.router && !to.is_broadcast() && to != network.broadcast() {
            return Some(false);
        }
        let datagram = Udp::parse(packet)?;
        if (datagram.source, datagram.destination) != (DHCP_CLIENT, DHCP_SERVER) {
            return Some(false);
        }
        let message = Message::parse(datagram.payload)?;
        if !dhcp::is_direct(&message, frame.source, packet.source) {
            return None;
        }
        let answer = dhcp::answer(&self.config, &mut self.leases, &mut self.guests, &message, now);
        let reply = match answer {
            Ok(Some(reply)) => reply,
            Ok(None) => return Some(true),
            Err(()) => {
                self.core.counters.leases_refused += 1;
                return Some(true);
            }
        };
        let mac = if reply.to.is_none() { BROADCAST } else { message.hardware };
        let key = Key {
            mac,
            protocol: ip::UDP,
            guest: (reply.to.unwrap_or(Ipv4Addr::BROADCAST), DHCP_CLIENT).into(),
            remote: (network.router, DHCP_SERVER).into(),
            tag: 0,
        };
        let mut cx = self.core.context(&self.config, wire, now, true);
        ethernet::start(cx.frame, mac, cx.own, ethernet::IPV4);
        udp::packet(cx.frame, key.remote, key.guest, &reply.bytes);
        cx.emit();
        Some(true)
    }

    fn neighbour(
        &mut self,
        frame: &Ethernet<'_>,
        packet: &Ip<'_>,
        now: Instant,
        wire: &mut dyn Wire,
    ) -> Option<bool> {
        let message = Icmp::parse(packet)?;
        if !(133..=137).contains(&message.kind) {
            return Some(false);
        }
        if packet.hops != neighbours::HOPS {
            return None;
        }
        let IpAddr::V6(source) = packet.source else { return None };
        // Who looks whether an address is free has none yet.
        if self.config.is_guest(packet.source) {
            self.see(frame.source, packet.source, now);
        }
        match message.kind {
            neighbours::ROUTER_SOLICITATION => self.advertise(now, wire),
            neighbours::SOLICITATION => {
                let target = neighbours::target(&message)?;
                if !self.config.is_router(target.into()) {
                    return Some(true);
                }
                let alone = source.is_unspecified();
                let to = if alone { neighbours::ALL_NODES } else { source };
                let mac = if alone { neighbours::multicast(to) } else { frame.source };
                let answer = neighbours::advertisement(target, self.config.mac, !alone);
                self.say_neighbours(mac, target, to, &answer, now, wire);
            }
            _ => (),
        }
        Some(true)
    }

    /// Tells who sent a packet why it went no further.
    pub(super) fn tell(
        &mut self,
        mac: Mac,
        packet: &Ip<'_>,
        why: Unreachable,
        now: Instant,
        wire: &mut dyn Wire,
    ) {
        self.tell_about(mac, packet.source, packet.destination, packet.packet, why, now, wire);
    }

    /// The same of a packet that is not at hand any more.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    pub(super) fn tell_about(
        &mut self,
        mac: Mac,
        to: IpAddr,
        destination: IpAddr,
        about: &[u8],
        why: Unreachable,
        now: Instant,
        wire: &mut dyn Wire,
    ) {
        // What the destination itself would say comes from it, the rest from the router.
        let own = match why {
            Unreachable::Port => Some(destination),
            _ => self.config.own(to),
        };
        let Some(from) = own.filter(|_| !is_group(mac)) else { return };
        let message = why.message(from, about);
        let mut cx = self.core.context(&self.config, wire, now, true);
        let kind = if from.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
        ethernet::start(cx.frame, mac, cx.own, kind);
        icmp::packet(cx.frame, from, to, Head::new(from, to, 0).hops, &message);
        cx.emit();
    }
}
