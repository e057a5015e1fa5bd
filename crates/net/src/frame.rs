//! What a switch looks at in a frame.

use ireko_vmcore::port::{LONGEST_FRAME, SHORTEST_FRAME};

/// A MAC address.
pub type Mac = [u8; 6];

/// IEEE 802.3, 3.2.3: addresses of many have the first bit set.
pub fn is_group(mac: &Mac) -> bool {
    mac[0] & 1 != 0
}

/// A frame of a length that goes over the wire.
#[derive(Clone, Copy)]
pub struct Frame<'a>(&'a [u8]);

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

    fn word(self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([*self.0.get(at)?, *self.0.get(at + 1)?]))
    }

    /// A DHCP server's words (RFC 2131, 4.1: UDP from port 67; RFC 8415, 7.2: UDP from port 547).
    pub fn is_dhcp_offer(self) -> bool {
        match self.word(ETHERTYPE) {
            Some(IPV4) => {
                let header = self.0.get(IP).map_or(0, |first| usize::from(first & 15) * 4);
                self.0.get(IP + 9) == Some(&UDP) && self.word(IP + header) == Some(67)
            }
            Some(IPV6) => self.0.get(IP + 6) == Some(&UDP) && self.word(IP + 40) == Some(547),
            _ => false,
        }
    }

    /// A router's advertisement or redirect (RFC 4861, 4.2 and 4.5; RFC 792: types 5 and 9).
    pub fn is_router_advertisement(self) -> bool {
        match self.word(ETHERTYPE) {
            Some(IPV4) => {
                let header = self.0.get(IP).map_or(0, |first| usize::from(first & 15) * 4);
                self.0.get(IP + 9) == Some(&ICMP) && matches!(self.0.get(IP + header), Some(5 | 9))
            }
            Some(IPV6) => {
                self.0.get(IP + 6) == Some(&ICMPV6) && matches!(self.0.get(IP + 40), Some(134 | 137))
            }
            _ => false,
        }
    }
}

const ETHERTYPE: usize = 12;
const IP: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
