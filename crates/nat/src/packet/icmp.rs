//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, and what a packet's sender is told.

use super::checksum::Sum;
use super::ip::{self, Head, Ip};
use super::{put, word};
use std::net::IpAddr;

/// Echo's request and reply, in the numbers of each version.
pub fn echo_types(address: IpAddr) -> (u8, u8) {
    if address.is_ipv4() { (8, 0) } else { (128, 129) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp<'a> {
    pub kind: u8,
    pub code: u8,
    /// From its first byte on.
    pub message: &'a [u8],
}

impl<'a> Icmp<'a> {
    /// What has a wrong checksum is none.
    pub fn parse(ip: &Ip<'a>) -> Option<Self> {
        let message = ip.payload;
        let sum = match ip.source {
            IpAddr::V4(_) => Sum::default(),
            IpAddr::V6(_) => Sum::default().pseudo(ip.source, ip.destination, ip::ICMPV6, message.len()),
        };
        let whole = message.len() >= 8 && sum.bytes(message).is_whole();
        whole.then(|| Self { kind: message[0], code: message[1], message })
    }

    /// An echo's identifier and sequence number.
    pub fn echo(&self) -> Option<(u16, u16)> {
        Some((word(self.message, 4)?, word(self.message, 6)?))
    }
}

/// Appends a packet with this message, its checksum put in.
pub fn packet(frame: &mut Vec<u8>, source: IpAddr, destination: IpAddr, hops: u8, message: &[u8]) {
    let protocol = if source.is_ipv4() { ip::ICMP } else { ip::ICMPV6 };
    let head = Head { hops, ..Head::new(source, destination, protocol) };
    head.write(frame, message.len());
    let at = frame.len();
    frame.extend_from_slice(message);
    fill(frame, at, source, destination);
}

/// Puts the checksum of the message that begins there.
pub fn fill(frame: &mut [u8], at: usize, source: IpAddr, destination: IpAddr) {
    put(frame, at + 2, &[0, 0]);
    let sum = match source {
        IpAddr::V4(_) => Sum::default(),
        IpAddr::V6(_) => Sum::default().pseudo(source, destination, ip::ICMPV6, frame.len() - at),
    };
    let sum = sum.bytes(&frame[at..]).finish();
    put(frame, at + 2, &sum);
}

/// Why a packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    Network,
    Host,
    Port,
    Prohibited,
    TooManyHops,
}

impl Unreachable {
    /// Type and code.
    fn numbers(self, four: bool) -> (u8, u8) {
        match (self, four) {
            (Self::Network, true) => (3, 0),
            (Self::Host, true) => (3, 1),
            (Self::Port, true) => (3, 3),
            (Self::Prohibited, true) => (3, 13),
            (Self::TooManyHops, true) => (11, 0),
            (Self::Network, false) => (1, 0),
            (Self::Host, false) => (1, 3),
            (Self::Port, false) => (1, 4),
            (Self::Prohibited, false) => (1, 1),
            (Self::TooManyHops, false) => (3, 0),
        }
    }

    /// The message about a packet: as much of it as errors quote (RFC 1812, 4.3.2.3: 576 bytes in all; RFC 4443, 2.4: the
    /// least MTU).
    pub fn message(self, source: IpAddr, about: &[u8]) -> Vec<u8> {
        let four = source.is_ipv4();
        let (kind, code) = self.numbers(four);
        let most = if four { 576 - ip::HEADER4 - 8 } else { 1280 - ip::HEADER6 - 8 };
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&about[..about.len().min(most)]);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_reads_as_it_was_written() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let mut bytes = Vec::new();
            packet(&mut bytes, source, destination, 64, &[echo_types(source).0, 0, 9, 9, 1, 2, 3, 4, 5]);
            let ip = Ip::parse4(&bytes).or_else(|| Ip::parse6(&bytes)).unwrap();
            let icmp = Icmp::parse(&ip).unwrap();
            assert_eq!((icmp.kind, icmp.echo()), (echo_types(source).0, Some((0x102, 0x304))));
        }
    }
}
