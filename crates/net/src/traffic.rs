//! What a port counts: frames both ways, those that were dropped with the cause, and which addresses are behind it.

use crate::frame::Mac;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Why a frame went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its source is no address of the port's, and spoofing is off.
    ForeignSource,
    /// Its source was given to another port of the switch, or is a group's.
    TakenSource,
    DhcpGuard,
    RouterGuard,
    /// The port is not in the VLAN that its tag says, or a tag made it too long.
    Vlan,
    /// Too short or too long for a frame.
    Malformed,
    /// Who should have had it had no room.
    Congestion,
    /// The plug was in nothing.
    Unplugged,
}

impl Cause {
    pub const ALL: [Self; 8] = [
        Self::ForeignSource,
        Self::TakenSource,
        Self::DhcpGuard,
        Self::RouterGuard,
        Self::Vlan,
        Self::Malformed,
        Self::Congestion,
        Self::Unplugged,
    ];
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForeignSource => "foreign source address",
            Self::TakenSource => "source address of another port",
            Self::DhcpGuard => "DHCP guard",
            Self::RouterGuard => "router guard",
            Self::Vlan => "VLAN",
            Self::Malformed => "no frame",
            Self::Congestion => "no room at the receiver",
            Self::Unplugged => "not connected",
        }
    }
}

/// What is told of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// From the adapter to the switch.
    pub sent: u64,
    pub sent_bytes: u64,
    /// From the switch to the adapter.
    pub received: u64,
    pub received_bytes: u64,
    /// Of what it sent, by cause; causes that did not occur are not there.
    pub dropped: Vec<(String, u64)>,
    /// Whose frames were let through: its own, and those of machines behind it.
    pub sources: Vec<Source>,
    /// Whose frames were dropped for their address.
    pub foreign: Vec<Source>,
}

/// An address that frames came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// 12 hexadecimal digits.
    pub mac: String,
    pub frames: u64,
    /// What it says of itself by ARP and neighbour discovery.
    pub addresses: Vec<IpAddr>,
}

/// 12 hexadecimal digits.
pub fn digits(mac: &Mac) -> String {
    mac.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// So many addresses of machines behind a port are told; who comes first is.
const MOST: usize = 32;
const MOST_ADDRESSES: usize = 4;
/// One that was not heard of for so long makes room.
const AGE: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Row {
    mac: Mac,
    frames: u64,
    seen: Instant,
    addresses: Vec<IpAddr>,
}

#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Row>,
    /// Looking for old ones is for once a second.
    swept: Option<Instant>,
}

impl Rows {
    fn note(&mut self, mac: Mac, told: Option<IpAddr>, now: Instant) {
        let row = match self.rows.iter().position(|row| row.mac == mac) {
            Some(at) => &mut self.rows[at],
            None => {
                if self.rows.len() >= MOST {
                    if self.swept.is_some_and(|swept| now.duration_since(swept) < Duration::from_secs(1)) {
                        return;
                    }
                    self.swept = Some(now);
                    self.rows.retain(|row| now.duration_since(row.seen) < AGE);
                    if self.rows.len() >= MOST {
                        return;
                    }
                }
                self.rows.push(Row { mac, frames: 0, seen: now, addresses: Vec::new() });
                let last = self.rows.len() - 1;
                &mut self.rows[last]
            }
        };
        (row.frames, row.seen) = (row.frames + 1, now);
        if let Some(address) = told.filter(|address| !row.addresses.contains(address)) {
            if row.addresses.len() >= MOST_ADDRESSES {
                row.addresses.remove(0);
            }
            row.addresses.push(address);
        }
    }

    fn told(&self) -> Vec<Source> {
        let one = |row: &Row| Source {
            mac: digits(&row.mac),
            frames: row.frames,
            addresses: row.addresses.clone(),
        };
        self.rows.iter().map(one).collect()
    }
}

#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    received: AtomicU64,
    received_bytes: AtomicU64,
    dropped: [AtomicU64; Cause::ALL.len()],
    sources: Mutex<Rows>,
    foreign: Mutex<Rows>,
}

fn lock(rows: &Mutex<Rows>) -> MutexGuard<'_, Rows> {
    rows.lock().unwrap_or_else(|e| e.into_inner())
}

impl Traffic {
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub fn dropped(&self, cause: Cause) {
        self.dropped[cause as usize].fetch_add(1, Ordering::Relaxed);
    }
    /// A frame from this address was let through.
    pub fn from(&self, mac: Mac, told: Option<IpAddr>, now: Instant) {
        lock(&self.sources).note(mac, told, now);
    }
    /// A frame from this address was dropped for it.
    pub fn foreign(&self, mac: Mac, told: Option<IpAddr>, now: Instant) {
        lock(&self.foreign).note(mac, told, now);
    }

    pub fn report(&self) -> Report {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let dropped =
            Cause::ALL.iter().map(|cause| (cause.name().to_owned(), read(&self.dropped[*cause as usize])));
        Report {
            sent: read(&self.sent),
            sent_bytes: read(&self.sent_bytes),
            received: read(&self.received),
            received_bytes: read(&self.received_bytes),
            dropped: dropped.filter(|(_, count)| *count > 0).collect(),
            sources: lock(&self.sources).told(),
            foreign: lock(&self.foreign).told(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_addresses_leave_those_that_were_there_and_grow_nothing() {
        let (mut rows, now) = (Rows::default(), Instant::now());
        rows.note([2; 6], Some(IpAddr::from([10, 0, 0, 1])), now);
        for n in 0..100_000u32 {
            let [a, b, c, d] = n.to_be_bytes();
            rows.note([4, 0, a, b, c, d], None, now);
        }
        assert_eq!((rows.rows.len(), rows.told()[0].mac.as_str()), (MOST, "020202020202"));
    }

    #[test]
    fn of_made_up_network_addresses_the_last_are_told() {
        let (mut rows, now) = (Rows::default(), Instant::now());
        (0..100).for_each(|n| rows.note([2; 6], Some(IpAddr::from([10, 0, 0, n])), now));
        assert_eq!(rows.told()[0].addresses.len(), MOST_ADDRESSES);
        assert_eq!(rows.told()[0].addresses.last(), Some(&IpAddr::from([10, 0, 0, 99])));
    }

    #[test]
    fn causes_that_did_not_occur_are_not_told() {
        let traffic = Traffic::default();
        traffic.dropped(Cause::Vlan);
        assert_eq!(traffic.report().dropped, [("VLAN".to_owned(), 1)]);
    }
}
