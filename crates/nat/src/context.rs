//! What a flow works with while it is served: lent by the router for that time.

use crate::host::{Host, Wire};
use crate::packet::Mac;
use crate::packet::ip::Ip;
use std::net::SocketAddr;
use std::time::Instant;

/// Which flow: a guest's end and the other one, as the guest sees them. The adapter is part of it: nobody gets another's
/// answers by taking its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub mac: Mac,
    pub protocol: u8,
    pub guest: SocketAddr,
    pub remote: SocketAddr,
    /// Tells echoes, and questions for names, of one pair of ports apart.
    pub tag: u16,
}

impl Key {
    /// That of a guest's packet, with its ports.
    pub fn of(mac: Mac, packet: &Ip<'_>, [from, to]: [u16; 2], tag: u16) -> Self {
        let (guest, remote) = ((packet.source, from).into(), (packet.destination, to).into());
        Self { mac, protocol: packet.protocol, guest, remote, tag }
    }
}

/// What happened, in numbers. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub frames_in: u64,
    pub frames_out: u64,
    /// What made no sense: headers, checksums, sources.
    pub malformed: u64,
    /// What nobody forwards: other protocols, addresses of the host's own wire.
    pub not_forwarded: u64,
    /// Parts of packets that never became whole.
    pub fragments_lost: u64,
    /// Datagrams for which the wire had no room.
    pub wire_full: u64,
    pub flows_begun: u64,
    /// Flows that had to go for others, and those that were unused for too long.
    pub flows_evicted: u64,
    pub flows_expired: u64,
    pub refused: u64,
    /// Leases that could not be given.
    pub leases_refused: u64,
    /// Answers of resolvers that were none of ours.
    pub answers_refused: u64,
    /// The host let no echo go.
    pub echoes_refused: u64,
    /// The host had no socket left.
    pub sockets_refused: u64,
}

pub struct Context<'a, H> {
    pub host: &'a mut H,
    pub wire: &'a mut dyn Wire,
    /// Where a frame is put together.
    pub frame: &'a mut Vec<u8>,
    /// Where bytes from a socket go first.
    pub room: &'a mut [u8],
    pub counters: &'a mut Counters,
    pub now: Instant,
    /// The router's adapter.
    pub own: Mac,
    pub mtu: usize,
    /// There is memory for more that waits.
    pub may_hold: bool,
}

impl<H: Host> Context<'_, H> {
    /// Sends the frame that was put together. False: there is no room for it now.
    pub fn emit(&mut self) -> bool {
        let sent = self.wire.send(self.frame);
        self.counters.frames_out += u64::from(sent);
        sent
    }
}
