//! IPv4 (RFC 791) and IPv6 (RFC 8200): headers, fragments, and which addresses may be spoken to.

use super::checksum::Sum;
use super::{array, long, put, word};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

pub const HEADER4: usize = 20;
pub const HEADER6: usize = 40;

/// Which part of a packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub id: u32,
    /// Bytes.
    pub offset: usize,
    pub more: bool,
}

/// A packet's parts, of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// Hops that are left.
    pub hops: u8,
    /// `None`: it is a whole one.
    pub fragment: Option<Fragment>,
    pub payload: &'a [u8],
    /// All of it, as errors quote it.
    pub packet: &'a [u8],
}

impl<'a> Ip<'a> {
    /// What is not whole, or has a wrong checksum, is none.
    pub fn parse4(bytes: &'a [u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let header = usize::from(first & 15) * 4;
        let total = usize::from(word(bytes, 2)?);
        if first >> 4 != 4 || header < HEADER4 || total < header {
            return None;
        }
        let packet = bytes.get(..total)?;
        if !Sum::default().bytes(&packet[..header]).is_whole() {
            return None;
        }
        let flags = word(packet, 6)?;
        let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
        let id = u32::from(word(packet, 4)?);
        Some(Self {
            source: Ipv4Addr::from(array::<4>(packet, 12)?).into(),
            destination: Ipv4Addr::from(array::<4>(packet, 16)?).into(),
            protocol: packet[9],
            hops: packet[8],
            fragment: (offset > 0 || more).then_some(Fragment { id, offset, more }),
            payload: &packet[header..],
            packet,
        })
    }

    /// Extension headers are walked over (RFC 8200, 4), a bounded number of them.
    pub fn parse6(bytes: &'a [u8]) -> Option<Self> {
        let total = HEADER6 + usize::from(word(bytes, 4)?);
        if bytes.first()? >> 4 != 6 {
            return None;
        }
        let packet = bytes.get(..total)?;
        let (mut protocol, mut at, mut fragment) = (packet[6], HEADER6, None);
        for _ in 0..EXTENSIONS {
            match protocol {
                // Hop by hop, routing, destination options.
                0 | 43 | 60 => {
                    protocol = *packet.get(at)?;
                    at += 8 + 8 * usize::from(*packet.get(at + 1)?);
                }
                44 => {
                    protocol = *packet.get(at)?;
                    let flags = word(packet, at + 2)?;
                    let (offset, more) = (usize::from(flags & 0xfff8), flags & 1 != 0);
                    let id = long(packet, at + 4)?;
                    at += 8;
                    if offset > 0 || more {
                        fragment = Some(Fragment { id, offset, more });
                        break;
                    }
                }
                _ => break,
            }
        }
        Some(Self {
            source: Ipv6Addr::from(array::<16>(packet, 8)?).into(),
            destination: Ipv6Addr::from(array::<16>(packet, 24)?).into(),
            protocol,
            hops: packet[7],
            fragment,
            payload: packet.get(at..)?,
            packet,
        })
    }
}

/// More extension headers than this are nobody's.
const EXTENSIONS: usize = 8;

/// Hops that our packets have.
const HOPS: u8 = 64;

/// What a header says besides its length.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub hops: u8,
}

impl Head {
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self { source, destination, protocol, hops: HOPS }
    }

    /// Appends the header of a packet with so many bytes of payload.
    pub fn write(&self, frame: &mut Vec<u8>, payload: usize) {
        self.write_part(frame, payload, None);
    }

    /// The same of a fragment. IPv6's part header is in front of the payload then.
    pub fn write_part(&self, frame: &mut Vec<u8>, payload: usize, part: Option<Fragment>) {
        let len = |extra: usize| u16::try_from(payload + extra).unwrap_or(u16::MAX).to_be_bytes();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let at = frame.len();
                let (id, flags) = part.map_or((0, DONT_FRAGMENT), |part| {
                    (part.id as u16, (part.offset / 8) as u16 | u16::from(part.more) << 13)
                });
                frame.extend_from_slice(&[0x45, 0]);
                frame.extend_from_slice(&len(HEADER4));
                frame.extend_from_slice(&id.to_be_bytes());
                frame.extend_from_slice(&flags.to_be_bytes());
                frame.extend_from_slice(&[self.hops, self.protocol, 0, 0]);
                frame.extend_from_slice(&source.octets());
                frame.extend_from_slice(&destination.octets());
                let sum = Sum::default().bytes(&frame[at..]).finish();
                put(frame, at + 10, &sum);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (protocol, extra) = part.map_or((self.protocol, 0), |_| (44, 8));
                frame.extend_from_slice(&[0x60, 0, 0, 0]);
                frame.extend_from_slice(&len(extra));
                frame.extend_from_slice(&[protocol, self.hops]);
                frame.extend_from_slice(&source.octets());
                frame.extend_from_slice(&destination.octets());
                if let Some(part) = part {
                    let flags = part.offset as u16 & 0xfff8 | u16::from(part.more);
                    frame.extend_from_slice(&[self.protocol, 0]);
                    frame.extend_from_slice(&flags.to_be_bytes());
                    frame.extend_from_slice(&part.id.to_be_bytes());
                }
            }
            _ => (),
        }
    }
}

const DONT_FRAGMENT: u16 = 0x4000;

/// The header's length.
pub fn header(address: IpAddr) -> usize {
    if address.is_ipv4() { HEADER4 } else { HEADER6 }
}

/// Whether a router may send to it: not to who is meant on its own wire or its own machine (RFC 3927, 2.7; RFC 1122,
/// 3.2.1.3; RFC 4291, 2.4). An IPv4 address that is dressed as one of IPv6 would be the host's loopback under another name.
pub fn may_forward(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let first = four.octets()[0];
            first != 0 && first != 127 && first < 224 && !four.is_link_local()
        }
        IpAddr::V6(six) => {
            let first = six.segments()[0];
            let embedded = six.segments()[..5] == [0; 5];
            !embedded && first & 0xffc0 != 0xfe80 && first >> 8 != 0xff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> [(IpAddr, IpAddr); 2] {
        [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")]
            .map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()))
    }

    fn parse(packet: &[u8]) -> Option<Ip<'_>> {
        Ip::parse4(packet).or_else(|| Ip::parse6(packet))
    }

    #[test]
    fn a_packet_reads_as_it_was_written() {
        for (source, destination) in addresses() {
            let mut packet = Vec::new();
            Head::new(source, destination, UDP).write(&mut packet, 3);
            packet.extend([1, 2, 3]);
            let read = parse(&packet).unwrap();
            assert_eq!((read.source, read.destination, read.protocol), (source, destination, UDP));
            assert_eq!((read.payload, read.fragment), (&[1, 2, 3][..], None));
        }
    }

    #[test]
    fn a_part_reads_as_it_was_written() {
        for (source, destination) in addresses() {
            let mut packet = Vec::new();
            let part = Fragment { id: 7, offset: 16, more: true };
            Head::new(source, destination, UDP).write_part(&mut packet, 8, Some(part));
            packet.extend([1; 8]);
            let read = parse(&packet).unwrap();
            assert_eq!((read.fragment, read.payload, read.protocol), (Some(part), &[1; 8][..], UDP));
        }
    }

    #[test]
    fn a_packet_that_ends_early_is_none() {
        let mut packet = Vec::new();
        Head::new(addresses()[0].0, addresses()[0].1, UDP).write(&mut packet, 3);
        assert_eq!(Ip::parse4(&packet), None);
    }

    #[test]
    fn a_header_with_a_wrong_sum_is_none() {
        let mut packet = Vec::new();
        Head::new(addresses()[0].0, addresses()[0].1, UDP).write(&mut packet, 0);
        packet[8] ^= 1;
        assert_eq!(Ip::parse4(&packet), None);
    }

    #[test]
    fn nothing_goes_to_the_hosts_own_wire_or_machine() {
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!may_forward(text.parse().unwrap()), "{text}");
        }
        for text in ["fe80::1", "ff02::1", "::127.0.0.1"] {
            assert!(!may_forward(text.parse().unwrap()), "{text}");
        }
        for text in ["8.8.8.8", "192.168.1.1", "2001:db8::1", "fd00::1"] {
            assert!(may_forward(text.parse().unwrap()), "{text}");
        }
    }
}
