//! The Address Resolution Protocol for IPv4 on Ethernet (RFC 826).

use super::{Mac, array, ethernet, word};
use std::net::Ipv4Addr;

pub const REQUEST: u16 = 1;
pub const REPLY: u16 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub operation: u16,
    pub sender: (Mac, Ipv4Addr),
    pub target: (Mac, Ipv4Addr),
}

impl Arp {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        const ETHERNET_AND_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
        if bytes.get(..6)? != ETHERNET_AND_IPV4 {
            return None;
        }
        let address = |at| array::<4>(bytes, at).map(Ipv4Addr::from);
        Some(Self {
            operation: word(bytes, 6)?,
            sender: (array(bytes, 8)?, address(14)?),
            target: (array(bytes, 18)?, address(24)?),
        })
    }

    /// A frame from the sender to `to`.
    pub fn write(&self, frame: &mut Vec<u8>, to: Mac) {
        ethernet::start(frame, to, self.sender.0, ethernet::ARP);
        frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
        frame.extend_from_slice(&self.operation.to_be_bytes());
        for (mac, address) in [self.sender, self.target] {
            frame.extend_from_slice(&mac);
            frame.extend_from_slice(&address.octets());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_reads_as_it_was_written() {
        let own = ([2; 6], Ipv4Addr::new(10, 0, 0, 1));
        let arp = Arp { operation: REQUEST, sender: own, target: ([0; 6], Ipv4Addr::new(10, 0, 0, 2)) };
        let mut frame = Vec::new();
        arp.write(&mut frame, super::super::BROADCAST);
        assert_eq!(Arp::parse(&frame[ethernet::HEADER..]), Some(arp));
    }
}
