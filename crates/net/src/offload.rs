//! What a network card would have done: the kernel hands over packets whose checksums are not there yet, and several in one
//! (`struct virtio_net_hdr` in front of each says so: virtio 1.2, 5.1.6). Here they become frames.

use crate::frame::{IPV4, IPV6, TAG, TAG_AT, TAG_SIZE};

/// `struct virtio_net_hdr`, without a number of buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub flags: u8,
    pub kind: u8,
    pub size: u16,
    pub checksum_start: u16,
    pub checksum_offset: u16,
}

pub const SIZE: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
/// TCP with explicit congestion notification.
const ECN: u8 = 0x80;

impl Header {
    pub fn read(bytes: [u8; SIZE]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let (size, checksum_start, checksum_offset) = (word(4), word(6), word(8));
        Self { flags: bytes[0], kind: bytes[1], size, checksum_start, checksum_offset }
    }
}

/// RFC 1071: the sum of words, to be folded.
fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let words = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair)));
    words.sum::<u64>() + rest.first().map_or(0, |last| u64::from(*last) << 8)
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn put(bytes: &mut [u8], at: usize, word: u16) -> Option<()> {
    bytes.get_mut(at..at + 2)?.copy_from_slice(&word.to_be_bytes());
    Some(())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Completes a checksum of whose field the kernel has filled in the pseudo header's part.
fn complete(bytes: &mut [u8], header: &Header) -> Option<()> {
    let start = usize::from(header.checksum_start);
    let checksum = folded(sum(bytes.get(start..)?));
    // 0 says that there is none (RFC 768).
    put(bytes, start + usize::from(header.checksum_offset), if checksum == 0 { 0xffff } else { checksum })
}

/// Where headers are in a packet that is several.
struct Layers {
    six: bool,
    tcp: bool,
    ip: usize,
    transport: usize,
    payload: usize,
}

const FIN_PUSH: u8 = 0x09;
const CWR: u8 = 0x80;

impl Layers {
    fn of(bytes: &[u8], header: &Header) -> Option<Self> {
        let ip = match word(bytes, TAG_AT)? {
            TAG => TAG_AT + TAG_SIZE + 2,
            _ => TAG_AT + 2,
        };
        let six = match word(bytes, ip - 2)? {
            IPV4 => false,
            IPV6 => true,
            _ => return None,
        };
        let tcp = match header.kind & !ECN {
            TCP4 if !six => true,
            TCP6 if six => true,
            UDP => false,
            _ => return None,
        };
        let behind = if six { ip + 40 } else { ip + usize::from(bytes.get(ip)? & 15) * 4 };
        let transport = match header.flags & NEEDS_CHECKSUM {
            0 => behind,
            _ => usize::from(header.checksum_start),
        };
        let length = if tcp { usize::from(bytes.get(transport + 12)? >> 4) * 4 } else { 8 };
        let least = if tcp { 20 } else { 8 };
        let good = transport >= behind && length >= least && behind >= ip + 20;
        let payload = transport + length;
        (good && payload <= bytes.len()).then_some(Self { six, tcp, ip, transport, payload })
    }

    /// The headers of the piece at `offset`, in front of its payload.
    fn adapt(&self, piece: &mut [u8], number: usize, offset: usize, last: bool) -> Option<()> {
        let (ip, transport) = (self.ip, self.transport);
        let length = |from: usize, bytes: &[u8]| u16::try_from(bytes.len() - from).ok();
        if self.six {
            let behind = length(ip + 40, piece)?;
            put(piece, ip + 4, behind)?;
        } else {
            let (whole, id) = (length(ip, piece)?, word(piece, ip + 4)?);
            put(piece, ip + 2, whole)?;
            put(piece, ip + 4, id.wrapping_add(number as u16))?;
            put(piece, ip + 10, 0)?;
            let end = ip + usize::from(piece[ip] & 15) * 4;
            let checksum = folded(sum(piece.get(ip..end)?));
            put(piece, ip + 10, checksum)?;
        }
        let field = if self.tcp {
            let sequence: [u8; 4] = piece.get(transport + 4..transport + 8)?.try_into().ok()?;
            let sequence = u32::from_be_bytes(sequence).wrapping_add(offset as u32);
            piece[transport + 4..transport + 8].copy_from_slice(&sequence.to_be_bytes());
            let flags = &mut piece[transport + 13];
            *flags &= if last { !0 } else { !FIN_PUSH };
            *flags &= if number == 0 { !0 } else { !CWR };
            transport + 16
        } else {
            let whole = length(transport, piece)?;
            put(piece, transport + 4, whole)?;
            transport + 6
        };
        put(piece, field, 0)?;
        let checksum = folded(self.pseudo(piece)? + sum(piece.get(transport..)?));
        put(piece, field, if checksum == 0 { 0xffff } else { checksum })
    }

    /// The pseudo header (RFC 9293, 3.1; RFC 8200, 8.1).
    fn pseudo(&self, piece: &[u8]) -> Option<u64> {
        let (from, to) = if self.six { (self.ip + 8, self.ip + 40) } else { (self.ip + 12, self.ip + 20) };
        let protocol = if self.tcp { 6 } else { 17 };
        Some(sum(piece.get(from..to)?) + protocol + (piece.len() - self.transport) as u64)
    }
}

/// Gives the frames that a packet is, each with its checksums. False: it is none that can be made frames of.
pub fn frames(header: &Header, bytes: &mut [u8], give: impl FnMut(&[u8])) -> bool {
    made(header, bytes, give).is_some()
}

fn made(header: &Header, bytes: &mut [u8], mut give: impl FnMut(&[u8])) -> Option<()> {
    if header.kind == 0 {
        if header.flags & NEEDS_CHECKSUM != 0 {
            complete(bytes, header)?;
        }
        give(bytes);
        return Some(());
    }
    let layers = Layers::of(bytes, header)?;
    let (head, payload) = bytes.split_at(layers.payload);
    let size = usize::from(header.size).max(1);
    // What comes is at most 64 KiB; pieces of a few bytes would be a flood of their own.
    if size < 64 && payload.len() > size {
        return None;
    }
    let count = payload.len().div_ceil(size).max(1);
    let mut piece = Vec::with_capacity(head.len() + size);
    for number in 0..count {
        let offset = number * size;
        piece.clear();
        piece.extend_from_slice(head);
        piece.extend_from_slice(&payload[offset..payload.len().min(offset + size)]);
        layers.adapt(&mut piece, number, offset, number + 1 == count)?;
        give(&piece);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD4: usize = 14 + 20 + 20;

    fn tcp4(payload: usize) -> Vec<u8> {
        let mut bytes = vec![0; HEAD4];
        put(&mut bytes, 12, IPV4).unwrap();
        (bytes[14], bytes[22], bytes[23]) = (0x45, 64, 6);
        put(&mut bytes, 18, 0xffff).unwrap();
        bytes[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        bytes[34 + 12] = 0x50;
        bytes[34 + 13] = FIN_PUSH | 0x10 | CWR;
        bytes.extend((0..payload).map(|n| n as u8));
        bytes
    }

    fn pieces(header: &Header, bytes: &mut [u8]) -> Option<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        frames(header, bytes, |piece| all.push(piece.to_vec())).then_some(all)
    }

    /// Over its checksum, a header's sum is 0.
    fn is_right(layers: &Layers, piece: &[u8]) -> bool {
        let transport = folded(layers.pseudo(piece).unwrap() + sum(&piece[layers.transport..]));
        let ip = if layers.six { 0 } else { folded(sum(&piece[layers.ip..layers.ip + 20])) };
        (transport, ip) == (0, 0)
    }

    #[test]
    fn a_packet_that_is_one_frame_gets_its_checksum_only() {
        let header = Header { flags: 1, checksum_start: 14, checksum_offset: 2, ..Header::default() };
        let mut bytes = vec![0; 14];
        bytes.extend([0x12, 0x34, 0, 0, 0xff]);
        let all = pieces(&header, &mut bytes).unwrap();
        assert_eq!((all.len(), word(&all[0], 16)), (1, Some(!0x1135)));
    }

    #[test]
    fn a_packet_of_several_is_cut_with_all_its_headers() {
        let header = Header { flags: 1, kind: TCP4, size: 1000, checksum_start: 34, checksum_offset: 16 };
        let mut bytes = tcp4(2500);
        let layers = Layers::of(&bytes, &header).unwrap();
        let all = pieces(&header, &mut bytes).unwrap();
        assert_eq!(all.iter().map(|piece| piece.len() - HEAD4).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert!(all.iter().all(|piece| is_right(&layers, piece)));
        let sequences: Vec<_> = all.iter().map(|piece| word(piece, 34 + 6).unwrap()).collect();
        let ids: Vec<_> = all.iter().map(|piece| word(piece, 18).unwrap()).collect();
        assert_eq!((sequences, ids), (vec![0, 1000, 2000], vec![0xffff, 0, 1]));
        let flags: Vec<_> = all.iter().map(|piece| piece[34 + 13]).collect();
        assert_eq!(flags, [0x10 | CWR, 0x10, 0x10 | FIN_PUSH]);
        let payload: Vec<u8> = all.iter().flat_map(|piece| piece[HEAD4..].to_vec()).collect();
        assert_eq!(payload, (0..2500).map(|n| n as u8).collect::<Vec<_>>());
    }

    #[test]
    fn datagrams_of_ipv6_are_cut() {
        let mut bytes = vec![0; 14 + 40 + 8];
        put(&mut bytes, 12, IPV6).unwrap();
        (bytes[14], bytes[20]) = (0x60, 17);
        bytes.extend([7; 150]);
        let header = Header { kind: UDP, size: 100, ..Header::default() };
        let layers = Layers::of(&bytes, &header).unwrap();
        let all = pieces(&header, &mut bytes).unwrap();
        assert!(all.len() == 2 && all.iter().all(|piece| is_right(&layers, piece)));
        assert_eq!(word(&all[1], 14 + 4), Some(58));
    }

    #[test]
    fn whatever_the_kernel_says_is_looked_at() {
        for kind in [0, 1, 3, 4, 5, 0x81, 0x84, 0xff] {
            for start in [0, 14, 34, 54, 60, 65535] {
                for size in [0, 1, 100, 65535] {
                    for length in [0, 13, 14, 33, 34, 53, 54, 60, 3000] {
                        let header =
                            Header { flags: 1, kind, size, checksum_start: start, checksum_offset: start };
                        let mut bytes = tcp4(3000);
                        bytes.truncate(length);
                        let _ = pieces(&header, &mut bytes);
                        bytes.fill(0xff);
                        let _ = pieces(&header, &mut bytes);
                    }
                }
            }
        }
    }
}
