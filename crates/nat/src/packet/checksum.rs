//! The Internet's checksum (RFC 1071): the one's complement of the sum of all words, in any byte order.

use std::net::IpAddr;

/// A sum that is not folded yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; only the last ones of a message may be odd in number.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (longs, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = longs.iter().map(|long| u64::from(u32::from_ne_bytes(*long))).sum();
        let (words, last) = rest.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum::<u64>();
        sum += last.iter().map(|&byte| u64::from(u16::from_ne_bytes([byte, 0]))).sum::<u64>();
        Self(self.0 + sum)
    }

    /// RFC 9293, 3.1, and RFC 8200, 8.1: what stands in front of TCP, UDP and ICMPv6.
    #[must_use]
    pub fn pseudo(self, source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Self {
        let sum = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.bytes(&source.octets()).bytes(&destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.bytes(&source.octets()).bytes(&destination.octets())
            }
            _ => self,
        };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        sum.bytes(&len.to_be_bytes()).bytes(&[0, 0, 0, protocol])
    }

    /// As it goes into a header.
    pub fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        (!(sum as u16)).to_ne_bytes()
    }

    /// Whether a message that has its checksum in it is whole.
    pub fn is_whole(self) -> bool {
        self.finish() == [0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_has_its_sum() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).finish();
        assert_eq!(sum, (!0xddf2u16).to_be_bytes());
    }

    #[test]
    fn an_odd_byte_counts_as_if_a_zero_followed() {
        assert_eq!(Sum::default().bytes(&[1, 2, 3]).finish(), Sum::default().bytes(&[1, 2, 3, 0]).finish());
    }

    #[test]
    fn a_message_with_its_sum_in_it_is_whole() {
        let mut bytes = vec![0xff; 1500];
        bytes[0..2].copy_from_slice(&[0, 0]);
        let sum = Sum::default().bytes(&bytes).finish();
        bytes[0..2].copy_from_slice(&sum);
        assert!(Sum::default().bytes(&bytes).is_whole());
    }
}
