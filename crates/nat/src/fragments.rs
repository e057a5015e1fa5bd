//! Parts of packets, kept until they are whole (RFC 791, 3.2; RFC 8200, 4.5), with bounds on everything.

use crate::packet::Mac;
use crate::packet::ip::Ip;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Packets that are put together at a time, the bytes of all of them, and how long that may take.
const PACKETS: usize = 64;
const BYTES: usize = 1 << 20;
const PARTS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);
/// RFC 791, 3.1.
const LONGEST: usize = 65535;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Which {
    mac: Mac,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Debug)]
struct Packet {
    which: Which,
    since: Instant,
    parts: Vec<(usize, Vec<u8>)>,
    total: Option<usize>,
}

impl Packet {
    fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.len()).sum()
    }

    /// RFC 5722: parts that overlap make the whole worthless.
    fn fits(&self, start: usize, end: usize) -> bool {
        self.parts.iter().all(|(at, part)| end <= *at || at + part.len() <= start)
            && self.total.is_none_or(|total| end <= total)
            && self.parts.len() < PARTS
    }
}

#[derive(Debug, Default)]
pub struct Fragments {
    packets: Vec<Packet>,
    /// Packets that never became whole.
    pub lost: u64,
}

impl Fragments {
    /// One more part; if that makes the packet whole, its payload.
    pub fn take(&mut self, mac: Mac, ip: &Ip<'_>, now: Instant) -> Option<Vec<u8>> {
        self.expire(now);
        let part = ip.fragment?;
        let (source, destination, protocol) = (ip.source, ip.destination, ip.protocol);
        let which = Which { mac, source, destination, protocol, id: part.id };
        let (start, end) = (part.offset, part.offset + ip.payload.len());
        let place = self.packets.iter().position(|packet| packet.which == which);
        let odd = part.more && !ip.payload.len().is_multiple_of(8);
        if ip.payload.is_empty() || odd || end > LONGEST {
            self.drop_at(place);
            return None;
        }
        let place = place.unwrap_or_else(|| {
            self.make_room();
            self.packets.push(Packet { which, since: now, parts: Vec::new(), total: None });
            self.packets.len() - 1
        });
        let held: usize = self.packets.iter().map(Packet::bytes).sum();
        let packet = &mut self.packets[place];
        let ends_twice =
            !part.more && (packet.total.is_some() || packet.parts.iter().any(|(at, _)| *at >= end));
        if held + ip.payload.len() > BYTES || !packet.fits(start, end) || ends_twice {
            self.drop_at(Some(place));
            return None;
        }
        packet.parts.push((start, ip.payload.to_vec()));
        if !part.more {
            packet.total = Some(end);
        }
        if packet.total != Some(packet.bytes()) {
            return None;
        }
        let mut whole = self.packets.swap_remove(place);
        whole.parts.sort_by_key(|(at, _)| *at);
        Some(whole.parts.into_iter().flat_map(|(_, part)| part).collect())
    }

    fn drop_at(&mut self, place: Option<usize>) {
        if let Some(place) = place {
            self.packets.swap_remove(place);
        }
        self.lost += 1;
    }

    /// The oldest goes.
    fn make_room(&mut self) {
        if self.packets.len() >= PACKETS {
            let oldest = self.packets.iter().enumerate().min_by_key(|(_, packet)| packet.since);
            self.drop_at(oldest.map(|(at, _)| at));
        }
    }

    pub fn expire(&mut self, now: Instant) {
        let before = self.packets.len();
        self.packets.retain(|packet| now.saturating_duration_since(packet.since) < PATIENCE);
        self.lost += (before - self.packets.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ip::{Fragment, Head, UDP};

    fn part(id: u32, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = ("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let mut packet = Vec::new();
        let part = Fragment { id, offset, more };
        Head::new(source, destination, UDP).write_part(&mut packet, payload.len(), Some(part));
        packet.extend(payload);
        packet
    }

    fn take(fragments: &mut Fragments, packet: &[u8], now: Instant) -> Option<Vec<u8>> {
        fragments.take([2; 6], &Ip::parse4(packet).unwrap(), now)
    }

    #[test]
    fn parts_in_any_order_make_a_whole() {
        let (mut fragments, now) = (Fragments::default(), Instant::now());
        assert_eq!(take(&mut fragments, &part(1, 16, false, &[3; 3]), now), None);
        assert_eq!(take(&mut fragments, &part(1, 0, true, &[1; 8]), now), None);
        let whole = take(&mut fragments, &part(1, 8, true, &[2; 8]), now).unwrap();
        assert_eq!(whole, [[1; 8], [2; 8]].concat().into_iter().chain([3; 3]).collect::<Vec<u8>>());
    }

    #[test]
    fn parts_that_overlap_make_nothing() {
        let (mut fragments, now) = (Fragments::default(), Instant::now());
        take(&mut fragments, &part(1, 0, true, &[1; 16]), now);
        take(&mut fragments, &part(1, 8, true, &[2; 16]), now);
        assert_eq!(take(&mut fragments, &part(1, 24, false, &[2; 16]), now), None);
    }

    #[test]
    fn parts_of_packets_that_never_come_whole_have_a_bound() {
        let (mut fragments, now) = (Fragments::default(), Instant::now());
        (0..10_000).for_each(|id| drop(take(&mut fragments, &part(id, 0, true, &[1; 1480]), now)));
        assert_eq!((fragments.packets.len(), fragments.lost), (PACKETS, 10_000 - PACKETS as u64));
        fragments.expire(now + PATIENCE);
        assert_eq!(fragments.packets.len(), 0);
    }

    #[test]
    fn many_small_parts_of_one_packet_have_a_bound() {
        let (mut fragments, now) = (Fragments::default(), Instant::now());
        (0..8000).for_each(|n| drop(take(&mut fragments, &part(1, n * 8, true, &[1; 8]), now)));
        assert!(fragments.packets.iter().all(|packet| packet.parts.len() <= PARTS));
    }
}
