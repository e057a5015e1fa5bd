//! Ethernet II (IEEE 802.3, 3.1).

use super::{Mac, array, word};

pub const HEADER: usize = 14;
pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;

/// A frame's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet<'a> {
    pub destination: Mac,
    pub source: Mac,
    pub kind: u16,
    pub payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (destination, source, kind) = (array(frame, 0)?, array(frame, 6)?, word(frame, 12)?);
        Some(Self { destination, source, kind, payload: &frame[HEADER..] })
    }
}

/// A frame with its header, to be filled.
pub fn start(frame: &mut Vec<u8>, destination: Mac, source: Mac, kind: u16) {
    frame.clear();
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&kind.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_as_it_was_written() {
        let mut frame = Vec::new();
        start(&mut frame, [1; 6], [2; 6], ARP);
        let read = Ethernet::parse(&frame).unwrap();
        assert_eq!(read, Ethernet { destination: [1; 6], source: [2; 6], kind: ARP, payload: &[] });
    }

    #[test]
    fn less_than_a_header_is_no_frame() {
        assert_eq!(Ethernet::parse(&[0; 13]), None);
    }
}
