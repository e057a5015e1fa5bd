//! TCP's segments (RFC 9293, 3.1).

use super::checksum::Sum;
use super::ip::{self, Head, Ip};
use super::{long, put, word};
use std::net::SocketAddr;

pub const HEADER: usize = 20;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    pub source: u16,
    pub destination: u16,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    pub window: u16,
    /// Of a SYN: the longest segment, and how far windows are shifted.
    pub maximum: Option<u16>,
    pub scale: Option<u8>,
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    pub fn parse(ip: &Ip<'a>) -> Option<Self> {
        let bytes = ip.payload;
        let header = usize::from(*bytes.get(12)? >> 4) * 4;
        let payload = bytes.get(header..).filter(|_| header >= HEADER)?;
        let sum = Sum::default().pseudo(ip.source, ip.destination, ip::TCP, bytes.len()).bytes(bytes);
        if !sum.is_whole() {
            return None;
        }
        let flags = bytes[13];
        let options = if flags & SYN != 0 { options(&bytes[HEADER..header]) } else { (None, None) };
        Some(Self {
            source: word(bytes, 0)?,
            destination: word(bytes, 2)?,
            sequence: long(bytes, 4)?,
            acknowledgment: long(bytes, 8)?,
            flags,
            window: word(bytes, 14)?,
            maximum: options.0,
            scale: options.1,
            payload,
        })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// RFC 9293, 3.2, and RFC 7323, 2.2.
fn options(mut bytes: &[u8]) -> (Option<u16>, Option<u8>) {
    let (mut maximum, mut scale) = (None, None);
    while let Some(&kind) = bytes.first() {
        let len = match kind {
            0 => break,
            1 => 1,
            _ => usize::from(bytes.get(1).copied().unwrap_or(0)),
        };
        match (kind, len) {
            (_, 0) => break,
            (1, _) => (),
            (_, 1) => break,
            (2, 4) => maximum = word(bytes, 2),
            (3, 3) => scale = bytes.get(2).map(|shift| (*shift).min(14)),
            _ => (),
        }
        let Some(rest) = bytes.get(len..) else { break };
        bytes = rest;
    }
    (maximum, scale)
}

/// What a segment of ours says.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    pub window: u16,
    pub maximum: Option<u16>,
    pub scale: Option<u8>,
}

impl Words {
    /// Appends the whole packet. The payload comes in two pieces.
    pub fn packet(&self, frame: &mut Vec<u8>, payload: [&[u8]; 2]) {
        let options = if self.maximum.is_some() { 4 } else { 0 } + if self.scale.is_some() { 4 } else { 0 };
        let len = HEADER + options + payload[0].len() + payload[1].len();
        Head::new(self.from.ip(), self.to.ip(), ip::TCP).write(frame, len);
        let at = frame.len();
        let mut header = [0; HEADER];
        put(&mut header, 0, &self.from.port().to_be_bytes());
        put(&mut header, 2, &self.to.port().to_be_bytes());
        put(&mut header, 4, &self.sequence.to_be_bytes());
        put(&mut header, 8, &self.acknowledgment.to_be_bytes());
        header[12] = (((HEADER + options) / 4) << 4) as u8;
        header[13] = self.flags;
        put(&mut header, 14, &self.window.to_be_bytes());
        frame.extend_from_slice(&header);
        if let Some(maximum) = self.maximum {
            let [high, low] = maximum.to_be_bytes();
            frame.extend_from_slice(&[2, 4, high, low]);
        }
        if let Some(scale) = self.scale {
            frame.extend_from_slice(&[1, 3, 3, scale]);
        }
        payload.iter().for_each(|piece| frame.extend_from_slice(piece));
        let sum = Sum::default().pseudo(self.from.ip(), self.to.ip(), ip::TCP, len).bytes(&frame[at..]);
        put(frame, at + 16, &sum.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_reads_as_it_was_written() {
        for (from, to) in [("10.0.0.1:80", "10.0.0.2:999"), ("[fd00::1]:80", "[fd00::2]:999")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let (maximum, scale) = (Some(1460), Some(7));
            let (sequence, acknowledgment, flags, window) = (1, 2, SYN | ACK, 3);
            let words = Words { from, to, sequence, acknowledgment, flags, window, maximum, scale };
            let mut bytes = Vec::new();
            words.packet(&mut bytes, [b"ab", b"c"]);
            let ip = Ip::parse4(&bytes).or_else(|| Ip::parse6(&bytes)).unwrap();
            let segment = Segment::parse(&ip).unwrap();
            assert_eq!((segment.sequence, segment.acknowledgment, segment.flags), (1, 2, SYN | ACK));
            assert_eq!((segment.window, segment.maximum, segment.scale), (3, maximum, scale));
            assert_eq!((segment.source, segment.destination, segment.payload), (80, 999, &b"abc"[..]));
        }
    }

    #[test]
    fn options_that_make_no_sense_are_passed_over() {
        assert_eq!(options(&[5, 0, 2, 4, 1, 2]), (None, None));
        assert_eq!(options(&[1, 1, 2, 4, 1, 2, 3, 3, 200]), (Some(0x102), Some(14)));
        assert_eq!(options(&[2, 40, 1]), (None, None));
        assert_eq!(options(&[8]), (None, None));
    }
}
