//! UDP (RFC 768).

use super::checksum::Sum;
use super::ip::{self, Head, Ip};
use super::{put, word};
use std::net::SocketAddr;

pub const HEADER: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    pub source: u16,
    pub destination: u16,
    pub payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// A checksum of zero is none (IPv4 only).
    pub fn parse(ip: &Ip<'a>) -> Option<Self> {
        let bytes = ip.payload;
        let len = usize::from(word(bytes, 4)?);
        let message = bytes.get(..len).filter(|_| len >= HEADER)?;
        let unchecked = ip.source.is_ipv4() && word(message, 6)? == 0;
        let sum = Sum::default().pseudo(ip.source, ip.destination, ip::UDP, len).bytes(message);
        if !unchecked && !sum.is_whole() {
            return None;
        }
        let (source, destination) = (word(message, 0)?, word(message, 2)?);
        Some(Self { source, destination, payload: &message[HEADER..] })
    }
}

/// Appends header and payload.
pub fn write(frame: &mut Vec<u8>, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
    let at = frame.len();
    let len = HEADER + payload.len();
    frame.extend_from_slice(&from.port().to_be_bytes());
    frame.extend_from_slice(&to.port().to_be_bytes());
    frame.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
    let sum = Sum::default().pseudo(from.ip(), to.ip(), ip::UDP, len).bytes(&frame[at..]);
    // Zero would mean that there is none.
    let sum = if sum.finish() == [0, 0] { [0xff, 0xff] } else { sum.finish() };
    put(frame, at + 6, &sum);
}

/// Appends the whole packet.
pub fn packet(frame: &mut Vec<u8>, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
    Head::new(from.ip(), to.ip(), ip::UDP).write(frame, HEADER + payload.len());
    write(frame, from, to, payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_reads_as_it_was_written() {
        for (from, to) in [("10.0.0.1:53", "10.0.0.2:999"), ("[fd00::1]:53", "[fd00::2]:999")] {
            let mut bytes = Vec::new();
            packet(&mut bytes, from.parse().unwrap(), to.parse().unwrap(), b"hello");
            let ip = Ip::parse4(&bytes).or_else(|| Ip::parse6(&bytes)).unwrap();
            assert_eq!(Udp::parse(&ip), Some(Udp { source: 53, destination: 999, payload: b"hello" }));
        }
    }

    #[test]
    fn a_datagram_with_a_wrong_sum_is_none() {
        let mut bytes = Vec::new();
        packet(&mut bytes, "10.0.0.1:53".parse().unwrap(), "10.0.0.2:999".parse().unwrap(), b"hello");
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(Udp::parse(&Ip::parse4(&bytes).unwrap()), None);
    }
}
