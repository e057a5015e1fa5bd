//! All connections of a device, and what each packet of the guest's comes to.

use super::connection::{Connection, Ports, Stage};
use super::regs::*;
use std::collections::{BTreeMap, VecDeque};

/// Connections at a time.
pub const MOST: usize = 64;
/// Resets that wait for the driver's buffers; what comes beyond this is lost.
pub const MOST_RESETS: usize = 256;
/// Where ports of the host's end begin, which nobody listens at.
const FIRST_PORT: u32 = 1 << 30;

#[derive(Default)]
pub struct Transport {
    /// By numbers that none has had before.
    pub connections: BTreeMap<u64, Connection>,
    next: u64,
    next_port: u32,
    /// The last that had its turn to send.
    turn: u64,
    /// For ports without a connection.
    pub resets: VecDeque<(Ports, u16)>,
    /// What the guest wants and nobody has looked at.
    pub offers: VecDeque<u64>,
    /// Somebody looks at offers.
    pub listens: bool,
    /// The guest is to hear that its connections are lost.
    pub interrupted: bool,
    /// Its machine has ended.
    pub ended: bool,
}

/// What a packet leaves to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub offered: bool,
}

impl Transport {
    fn find(&mut self, ports: Ports) -> Option<u64> {
        let live = |one: &Connection| one.ports == ports && one.stage != Stage::Gone;
        self.connections.iter().find(|(_, one)| live(one)).map(|(id, _)| *id)
    }

    /// Of those whose other end nobody has, the oldest gives way. `None`: there is no room.
    fn add(&mut self, ports: Ports, stage: Stage) -> Option<u64> {
        if self.connections.len() >= MOST {
            let left = self.connections.iter().find(|(_, one)| one.left).map(|(id, _)| *id)?;
            self.reset(left);
        }
        self.next += 1;
        self.connections.insert(self.next, Connection::new(ports, stage));
        Some(self.next)
    }

    /// The host wants a connection: its number, and the host's port. `None`: there are too many.
    pub fn want(&mut self, port: u32) -> Option<(u64, u32)> {
        let host = loop {
            let host = FIRST_PORT | self.next_port;
            self.next_port = (self.next_port + 1) & (FIRST_PORT - 1);
            if !self.connections.values().any(|one| one.ports.host == host) {
                break host;
            }
        };
        Some((self.add(Ports { host, guest: port }, Stage::Wanted { asked: false })?, host))
    }

    fn answer_reset(&mut self, ports: Ports, kind: u16) {
        if self.resets.len() < MOST_RESETS {
            self.resets.push_back((ports, kind));
        }
    }

    /// Ends a connection; the guest hears of it.
    pub fn reset(&mut self, id: u64) {
        if let Some(one) = self.connections.get(&id) {
            let (ports, known) = (one.ports, one.is_known());
            if known {
                self.answer_reset(ports, STREAM);
            }
            self.gone(id);
        }
    }

    /// The guest has no such connection any more.
    fn gone(&mut self, id: u64) {
        self.offers.retain(|other| *other != id);
        let Some(one) = self.connections.get_mut(&id) else { return };
        one.stage = Stage::Gone;
        one.to_guest.clear();
        one.changed.notify_all();
        if one.left {
            self.connections.remove(&id);
        }
    }

    /// The host's end is given up: what waits still goes to the guest.
    pub fn leave(&mut self, id: u64) {
        let Some(one) = self.connections.get_mut(&id) else { return };
        one.left = true;
        one.host_done = NEITHER;
        one.to_host.clear();
        match one.stage {
            Stage::Gone => drop(self.connections.remove(&id)),
            Stage::Open | Stage::Accepted => {}
            Stage::Wanted { .. } | Stage::Offered => self.reset(id),
        }
    }

    /// All of them, without a word to the guest.
    pub fn forget(&mut self) {
        let all: Vec<u64> = self.connections.keys().copied().collect();
        all.into_iter().for_each(|id| self.gone(id));
        self.resets.clear();
        self.interrupted = false;
    }

    /// A packet of the guest's; `data` is what it carries, if it was to carry any.
    pub fn hear(&mut self, header: &Header, data: &[u8]) -> Heard {
        let mut heard = Heard::default();
        if (header.source, header.destination) != (GUEST, HOST) {
            return heard;
        }
        let ports = Ports { host: header.destination_port, guest: header.source_port };
        if header.kind != STREAM {
            if header.operation != RST {
                self.answer_reset(ports, header.kind);
            }
            return heard;
        }
        let Some(id) = self.find(ports) else {
            heard.offered = header.operation == REQUEST && self.offer(ports, header);
            if !heard.offered && header.operation != RST {
                self.answer_reset(ports, STREAM);
            }
            return heard;
        };
        if !self.hear_of(id, header, data) {
            self.reset(id);
        }
        heard
    }

    fn offer(&mut self, ports: Ports, header: &Header) -> bool {
        let id = self.listens.then(|| self.add(ports, Stage::Offered)).flatten();
        let Some(id) = id else { return false };
        self.connections.get_mut(&id).into_iter().for_each(|one| one.credited(header));
        self.offers.push_back(id);
        true
    }

    /// False: it breaks the rules, and the connection is to be reset.
    fn hear_of(&mut self, id: u64, header: &Header, data: &[u8]) -> bool {
        let Some(one) = self.connections.get_mut(&id) else { return true };
        one.credited(header);
        let proper = match header.operation {
            RESPONSE if one.stage == (Stage::Wanted { asked: true }) => {
                one.stage = Stage::Open;
                true
            }
            RW => one.receive(data),
            CREDIT_UPDATE => true,
            CREDIT_REQUEST => {
                one.wants_credit();
                true
            }
            SHUTDOWN => {
                one.guest_done |= header.flags & NEITHER;
                if one.guest_done & NO_RECEIVE != 0 {
                    one.to_guest.clear();
                }
                // Its end is confirmed by a reset (5.10.6.5).
                one.guest_done != NEITHER
            }
            RST => {
                self.gone(id);
                return true;
            }
            _ => false,
        };
        one.changed.notify_all();
        proper
    }

    /// Whether there is a packet for the guest.
    pub fn has_packet(&self) -> bool {
        !self.resets.is_empty() || self.connections.values().any(|one| one.due().is_some())
    }

    /// The next one, with data for `room` bytes at most; one connection after the other.
    pub fn packet(&mut self, room: usize) -> Option<(Header, Vec<u8>)> {
        if let Some((Ports { host, guest }, kind)) = self.resets.pop_front() {
            let (source, destination) = (HOST, GUEST);
            let (source_port, destination_port) = (host, guest);
            let header = Header { source, destination, source_port, destination_port, ..Header::default() };
            return Some((Header { kind, operation: RST, ..header }, Vec::new()));
        }
        let turn = self.turn;
        let behind = self.connections.range(turn + 1..).chain(self.connections.range(..=turn));
        let (id, operation) = behind.map(|(id, one)| (*id, one.due())).find(|(_, due)| due.is_some())?;
        self.turn = id;
        let one = self.connections.get_mut(&id)?;
        let packet = one.packet(operation?, room);
        one.changed.notify_all();
        Some(packet)
    }
}
