//! What a switch looks at in a frame.

use ireko_vmcore::port::{LONGEST_FRAME, SHORTEST_FRAME};
use std::net::IpAddr;

/// A MAC address.
pub type Mac = [u8; 6];

/// IEEE 802.3, 3.2.3: addresses of many have the first bit set.
pub fn is_group(mac: &Mac) -> bool {
    mac[0] & 1 != 0
}

/// A frame of a length that goes over the wire.
#[derive(Clone, Copy)]
pub struct Frame<'a>(&'a [u8]);

/// IEEE 802.1Q, 9.6: the type of a tag, and how long one is. A service tag (802.1ad) is one, too.
pub const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;
pub const TAG_SIZE: usize = 4;
/// Where a tag is, if there is one.
pub const TAG_AT: usize = 12;
/// The bits of a tag that are the VLAN's id; 0 is none.
const VLAN: u16 = 0xfff;
/// Of tags and of IPv6's headers, more than so many are not passed over.
const MOST_HEADERS: usize = 8;

impl<'a> Frame<'a> {
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        (SHORTEST_FRAME..=LONGEST_FRAME).contains(&bytes.len()).then_some(Self(bytes))
    }
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
    pub fn destination(self) -> Mac {
        self.mac(0)
    }
    pub fn source(self) -> Mac {
        self.mac(6)
    }
    fn mac(self, at: usize) -> Mac {
        let mut mac = Mac::default();
        mac.iter_mut().zip(&self.0[at..]).for_each(|(to, from)| *to = *from);
        mac
    }

    fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }
    fn word(self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([*self.0.get(at)?, *self.0.get(at + 1)?]))
    }

    /// The VLAN's id in its tag; 0 is a tag of priority alone. `None`: it has no tag.
    pub fn tag(self) -> Option<u16> {
        (self.word(TAG_AT)? == TAG).then_some(())?;
        Some(self.word(TAG_AT + 2)? & VLAN)
    }
    /// The VLAN that it is in; 0: none.
    pub fn vlan(self) -> u16 {
        self.tag().unwrap_or(0)
    }

    /// What it carries behind all tags, and where that begins.
    fn payload(self) -> Option<(u16, usize)> {
        let mut at = TAG_AT;
        for _ in 0..MOST_HEADERS {
            match self.word(at)? {
                TAG | SERVICE_TAG => at += TAG_SIZE,
                other => return Some((other, at + 2)),
            }
        }
        None
    }

    /// IPv6's upper layer behind its extension headers (RFC 8200, 4), and where that begins.
    fn upper_of_six(self, ip: usize) -> Option<(u8, usize)> {
        let (mut next, mut at) = (self.byte(ip + 6)?, ip + 40);
        for _ in 0..MOST_HEADERS {
            let length = match next {
                HOP_BY_HOP | ROUTING | DESTINATION => usize::from(self.byte(at + 1)?) * 8 + 8,
                FRAGMENT => 8,
                other => return Some((other, at)),
            };
            next = self.byte(at)?;
            at += length;
        }
        None
    }

    /// The upper layer and where it begins, of IPv4 and IPv6.
    fn upper(self) -> Option<(bool, u8, usize)> {
        let (kind, ip) = self.payload()?;
        match kind {
            IPV4 => Some((false, self.byte(ip + 9)?, ip + usize::from(self.byte(ip)? & 15) * 4)),
            IPV6 => self.upper_of_six(ip).map(|(next, at)| (true, next, at)),
            _ => None,
        }
    }

    /// A DHCP server's words (RFC 2131, 4.1: UDP from port 67; RFC 8415, 7.2: UDP from port 547).
    pub fn is_dhcp_offer(self) -> bool {
        match self.upper() {
            Some((six, UDP, at)) => self.word(at) == Some(if six { 547 } else { 67 }),
            _ => false,
        }
    }

    /// A router's advertisement or redirect (RFC 4861, 4.2 and 4.5; RFC 792: types 5 and 9).
    pub fn is_router_advertisement(self) -> bool {
        match self.upper() {
            Some((false, ICMP, at)) => matches!(self.byte(at), Some(5 | 9)),
            Some((true, ICMPV6, at)) => matches!(self.byte(at), Some(134 | 137)),
            _ => false,
        }
    }

    /// The address that its sender says it has: in ARP (RFC 826), or in a neighbour's solicitation or advertisement
    /// (RFC 4861, 4.3 and 4.4).
    pub fn told_address(self) -> Option<IpAddr> {
        let (kind, at) = self.payload()?;
        match kind {
            ARP if self.word(at + 2)? == IPV4 => {
                let four: [u8; 4] = self.0.get(at + 14..at + 18)?.try_into().ok()?;
                Some(IpAddr::from(four))
            }
            IPV6 => {
                let (next, upper) = self.upper_of_six(at)?;
                let place = match (next, self.byte(upper)?) {
                    (ICMPV6, 135) => at + 8,
                    (ICMPV6, 136) => upper + 8,
                    _ => return None,
                };
                let six: [u8; 16] = self.0.get(place..place + 16)?.try_into().ok()?;
                Some(IpAddr::from(six))
            }
            _ => None,
        }
        .filter(|address| !address.is_unspecified() && !address.is_multicast())
    }
}

pub const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &kind.to_be_bytes(), payload].concat();
        bytes.resize(bytes.len().max(60), 0);
        bytes
    }

    fn advertisement(first: u8, headers: &[u8]) -> Vec<u8> {
        let mut packet = vec![0u8; 40];
        (packet[0], packet[6]) = (0x60, first);
        packet.extend(headers);
        packet.extend([134, 0, 0, 0]);
        packet
    }

    #[test]
    fn an_advertisement_is_seen_behind_extension_headers() {
        let destination = [58, 0, 0, 0, 0, 0, 0, 0];
        let two = [60, 0, 0, 0, 0, 0, 0, 0, 58, 0, 0, 0, 0, 0, 0, 0];
        for packet in [advertisement(58, &[]), advertisement(60, &destination), advertisement(0, &two)] {
            assert!(Frame::new(&frame(IPV6, &packet)).unwrap().is_router_advertisement());
        }
    }

    #[test]
    fn an_advertisement_is_seen_behind_tags() {
        let tagged = [&[0, 0, 0x86, 0xdd][..], &advertisement(58, &[])].concat();
        assert!(Frame::new(&frame(TAG, &tagged)).unwrap().is_router_advertisement());
        let twice = [&[0, 0, 0x81, 0, 0, 7, 0x86, 0xdd][..], &advertisement(58, &[])].concat();
        assert!(Frame::new(&frame(SERVICE_TAG, &twice)).unwrap().is_router_advertisement());
    }

    #[test]
    fn a_tag_is_read() {
        let vlan = |bytes: &[u8]| Frame::new(bytes).unwrap().tag();
        assert_eq!(vlan(&frame(TAG, &[0xe0, 7, 8, 0])), Some(7));
        assert_eq!(vlan(&frame(IPV4, &[0xe0, 7, 8, 0])), None);
    }

    #[test]
    fn arp_and_neighbours_tell_addresses() {
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2, 0, 0, 0, 0, 1], &[10, 0, 0, 7], &[0; 10]].concat();
        let told = |bytes: &[u8]| Frame::new(bytes).unwrap().told_address();
        assert_eq!(told(&frame(ARP, &arp)), Some(IpAddr::from([10, 0, 0, 7])));
        let mut neighbour = vec![0u8; 64];
        (neighbour[0], neighbour[6], neighbour[40]) = (0x60, 58, 136);
        neighbour[48..64].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(told(&frame(IPV6, &neighbour)), Some("fe80::9".parse().unwrap()));
        neighbour[40] = 135;
        assert_eq!(told(&frame(IPV6, &neighbour)), None);
    }
}
