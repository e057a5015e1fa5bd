//! The DHCP server (RFC 2131): what a message of a client's comes to.

pub mod leases;
pub mod message;

use crate::config::Config;
use crate::guests::Guests;
use leases::{Leases, TIME};
use message::{ACK, Answer, DECLINE, DISCOVER, INFORM, Message, NAK, OFFER, RELEASE, REQUEST, search_list};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

/// What is answered.
pub struct Reply {
    pub bytes: Vec<u8>,
    /// `None`: to everybody.
    pub to: Option<Ipv4Addr>,
}

/// What a client's message comes to. Nothing: it wants no answer. An error: there was no address to give.
pub fn answer(
    config: &Config,
    leases: &mut Leases,
    guests: &mut Guests,
    message: &Message,
    now: Instant,
) -> Result<Option<Reply>, ()> {
    let own = config.network.router;
    let mac = message.hardware;
    let elsewhere = message.server.is_some_and(|server| server != own);
    match message.kind {
        DISCOVER => {
            let address = choose(config, leases, guests, message, message.requested, now).ok_or(())?;
            if !leases.offer(mac, address, now) {
                return Err(());
            }
            Ok(Some(reply(config, message, OFFER, address)))
        }
        // It has chosen another server.
        REQUEST if elsewhere => Ok(None),
        REQUEST => {
            let wanted = message.requested.unwrap_or(message.client);
            let chosen = choose(config, leases, guests, message, Some(wanted), now);
            if chosen != Some(wanted) || !leases.give(mac, wanted, now) {
                return Ok(Some(reply(config, message, NAK, Ipv4Addr::UNSPECIFIED)));
            }
            guests.see(mac, wanted.into(), now);
            if let Some(guest) = guests.known(mac).filter(|_| !message.host_name.is_empty()) {
                message.host_name.clone_into(&mut guest.host_name);
            }
            Ok(Some(reply(config, message, ACK, wanted)))
        }
        DECLINE if !elsewhere => {
            if let Some(address) = message.requested.filter(|address| leases.decline(mac, *address, now)) {
                guests.forget(address.into());
            }
            Ok(None)
        }
        RELEASE if !elsewhere => {
            if let Some(address) = leases.release(mac) {
                guests.forget(address.into());
            }
            Ok(None)
        }
        INFORM if config.network.is_guest(message.client) => {
            Ok(Some(reply(config, message, ACK, Ipv4Addr::UNSPECIFIED)))
        }
        _ => Ok(None),
    }
}

fn choose(
    config: &Config,
    leases: &mut Leases,
    guests: &Guests,
    message: &Message,
    requested: Option<Ipv4Addr>,
    now: Instant,
) -> Option<Ipv4Addr> {
    let mac = message.hardware;
    // Who speaks for another's address does not take it from who has it by lease.
    let own = leases.address(mac, now);
    let in_use = |address: Ipv4Addr| {
        Some(address) != own && guests.mac(address.into()).is_some_and(|owner| owner != mac)
    };
    leases.choose(config.network, &config.reservations, mac, requested, in_use, now)
}

fn reply(config: &Config, message: &Message, kind: u8, yours: Ipv4Addr) -> Reply {
    let own = config.network.router;
    let mut options = Vec::new();
    if kind != NAK {
        if !yours.is_unspecified() {
            let seconds = |time: u64| (time as u32).to_be_bytes().to_vec();
            let time = TIME.as_secs();
            options.extend([(51, seconds(time)), (58, seconds(time / 2)), (59, seconds(time * 7 / 8))]);
        }
        options.push((1, config.network.mask().to_be_bytes().to_vec()));
        options.push((3, own.octets().to_vec()));
        options.push((6, own.octets().to_vec()));
        options.push((15, config.domain.clone().into_bytes()));
        options.push((28, config.network.broadcast().octets().to_vec()));
        options.push((26, config.mtu.to_be_bytes().to_vec()));
        let names: Vec<String> =
            std::iter::once(config.domain.clone()).chain(config.search.clone()).collect();
        options.push((119, search_list(&names)));
        let name = config.names.iter().find(|(_, mac)| *mac == message.hardware);
        options.extend(name.map(|(name, _)| (12, name.clone().into_bytes())));
    }
    let bytes = Answer { kind, to: message, yours, server: own, options }.write();
    // RFC 2131, 4.1.
    let to = match (kind, message.client, message.wants_broadcast) {
        (NAK, _, _) => None,
        (_, client, _) if !client.is_unspecified() => Some(client),
        (_, _, true) => None,
        _ => Some(yours),
    };
    Reply { bytes, to }
}

/// Whether a server of ours is meant: the frame's sender asks for itself, and there is no relay.
pub fn is_direct(message: &Message, source: crate::packet::Mac, from: IpAddr) -> bool {
    message.hardware == source
        && message.relay.is_unspecified()
        && (from.is_unspecified() || from == IpAddr::V4(message.client))
}
