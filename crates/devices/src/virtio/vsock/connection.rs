//! One connection: its stage, what waits on its way, and credit (5.10.6.3).

use super::regs::*;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar};

/// Bytes that wait on the way to the host, and as many on the way to the guest.
pub const BUFFER: usize = 128 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The host wants it; whether the guest has been asked.
    Wanted {
        asked: bool,
    },
    /// The guest wants it.
    Offered,
    /// The host has accepted; the guest is to hear of it.
    Accepted,
    Open,
    /// The guest, or whoever broke the rules, has ended it. What has come before can still be read.
    Gone,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    pub host: u32,
    pub guest: u32,
}

pub struct Connection {
    pub ports: Ports,
    pub stage: Stage,
    pub to_guest: VecDeque<u8>,
    pub to_host: VecDeque<u8>,
    /// What the guest has said of its room, and what it has had.
    guest_room: u32,
    guest_forwarded: u32,
    sent: u32,
    /// What the host has taken, and what the guest knows of that.
    forwarded: u32,
    told: u32,
    /// The guest asks for the host's room.
    asked: bool,
    /// The guest was asked for its room.
    has_asked: bool,
    /// The guest's, as flags of a shutdown.
    pub guest_done: u32,
    /// The host's, and what the guest knows of that.
    pub host_done: u32,
    told_done: u32,
    /// Nobody has the host's end any more.
    pub left: bool,
    pub changed: Arc<Condvar>,
}

impl Connection {
    pub fn new(ports: Ports, stage: Stage) -> Self {
        Self {
            ports,
            stage,
            to_guest: VecDeque::new(),
            to_host: VecDeque::new(),
            guest_room: 0,
            guest_forwarded: 0,
            sent: 0,
            forwarded: 0,
            told: 0,
            asked: false,
            has_asked: false,
            guest_done: 0,
            host_done: 0,
            told_done: 0,
            left: false,
            changed: Arc::default(),
        }
    }

    /// Whether the guest knows of it.
    pub fn is_known(&self) -> bool {
        !matches!(self.stage, Stage::Gone | Stage::Wanted { asked: false })
    }

    /// Every packet says what room its sender has.
    pub fn credited(&mut self, header: &Header) {
        if (self.guest_room, self.guest_forwarded) != (header.room, header.forwarded) {
            (self.guest_room, self.guest_forwarded) = (header.room, header.forwarded);
            self.has_asked = false;
        }
    }

    /// What the guest has room for. Its numbers may be anything.
    fn credit(&self) -> usize {
        let under_way = self.sent.wrapping_sub(self.guest_forwarded);
        self.guest_room.saturating_sub(under_way) as usize
    }

    pub fn guest_takes(&self) -> bool {
        self.guest_done & NO_RECEIVE == 0 && self.stage != Stage::Gone
    }

    pub fn guest_sends(&self) -> bool {
        self.guest_done & NO_SEND == 0 && self.stage != Stage::Gone
    }

    /// Data of the guest's. False: it had no right to send it.
    pub fn receive(&mut self, data: &[u8]) -> bool {
        let may = self.stage == Stage::Open && self.guest_sends() && !self.left;
        let fits = may && self.to_host.len() + data.len() <= BUFFER;
        if fits {
            self.to_host.extend(data);
        }
        fits
    }

    pub fn wants_credit(&mut self) {
        self.asked = true;
    }

    /// The host takes what has come.
    pub fn take(&mut self, room: &mut [u8]) -> usize {
        let count = room.len().min(self.to_host.len());
        let (front, back) = self.to_host.as_slices();
        let first = count.min(front.len());
        room[..first].copy_from_slice(&front[..first]);
        room[first..count].copy_from_slice(&back[..count - first]);
        self.to_host.drain(..count);
        self.forwarded = self.forwarded.wrapping_add(count as u32);
        count
    }

    /// What the guest is to be told next, if it has room for it.
    pub fn due(&self) -> Option<u16> {
        /// What the host has taken is told at once when it is so much.
        const MUCH: u32 = BUFFER as u32 / 4;
        match self.stage {
            Stage::Wanted { asked: false } => return Some(REQUEST),
            Stage::Accepted => return Some(RESPONSE),
            Stage::Open => {}
            Stage::Wanted { asked: true } | Stage::Offered | Stage::Gone => return None,
        }
        let waits = !self.to_guest.is_empty();
        if waits && self.credit() > 0 {
            return Some(RW);
        }
        if self.asked || self.forwarded.wrapping_sub(self.told) >= MUCH {
            return Some(CREDIT_UPDATE);
        }
        if waits {
            return (!self.has_asked).then_some(CREDIT_REQUEST);
        }
        (self.host_done != self.told_done).then_some(SHUTDOWN)
    }

    /// That packet, with data for `room` bytes at most.
    pub fn packet(&mut self, operation: u16, room: usize) -> (Header, Vec<u8>) {
        let mut data = Vec::new();
        let mut flags = 0;
        match operation {
            REQUEST => self.stage = Stage::Wanted { asked: true },
            RESPONSE => self.stage = Stage::Open,
            RW => {
                let count = self.to_guest.len().min(self.credit()).min(room);
                data.extend(self.to_guest.drain(..count));
                self.sent = self.sent.wrapping_add(count as u32);
            }
            CREDIT_REQUEST => self.has_asked = true,
            SHUTDOWN => {
                self.told_done = self.host_done;
                flags = self.host_done;
            }
            _ => {}
        }
        (self.asked, self.told) = (false, self.forwarded);
        let Ports { host, guest } = self.ports;
        let header = Header {
            source: HOST,
            destination: GUEST,
            source_port: host,
            destination_port: guest,
            length: data.len() as u32,
            kind: STREAM,
            operation,
            flags,
            room: BUFFER as u32,
            forwarded: self.forwarded,
        };
        (header, data)
    }
}
