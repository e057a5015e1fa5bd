//! The socket device (virtio 1.2, 5.10): queues, addresses, and the header of a packet.

use super::super::Broken;
use std::io::Read;

pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;
pub const EVENT: usize = 2;

/// 5.10.4: the host's address, and the guest's. Each machine has a device of its own, so all have the same.
pub const HOST: u64 = 2;
pub const GUEST: u64 = 3;

/// 5.10.6: kinds of sockets.
pub const STREAM: u16 = 1;

/// Operations.
pub const REQUEST: u16 = 1;
pub const RESPONSE: u16 = 2;
pub const RST: u16 = 3;
pub const SHUTDOWN: u16 = 4;
pub const RW: u16 = 5;
pub const CREDIT_UPDATE: u16 = 6;
pub const CREDIT_REQUEST: u16 = 7;

/// Flags of a shutdown: who says so receives, or sends, nothing more.
pub const NO_RECEIVE: u32 = 1;
pub const NO_SEND: u32 = 2;
pub const NEITHER: u32 = NO_RECEIVE | NO_SEND;

/// 5.10.6.7: all connections have been lost.
pub const TRANSPORT_RESET: u32 = 0;

/// Bytes of a header.
pub const HEADER: usize = 44;

/// What is in front of each packet's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub source: u64,
    pub destination: u64,
    pub source_port: u32,
    pub destination_port: u32,
    pub length: u32,
    pub kind: u16,
    pub operation: u16,
    pub flags: u32,
    /// Room for data at the sender, and how much has left it since the connection began.
    pub room: u32,
    pub forwarded: u32,
}

impl Header {
    pub fn read(from: &mut impl Read) -> Result<Self, Broken> {
        let mut bytes = [0; HEADER];
        from.read_exact(&mut bytes)?;
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let half = |at: usize| u16::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        Ok(Self {
            source: long(0),
            destination: long(8),
            source_port: word(16),
            destination_port: word(20),
            length: word(24),
            kind: half(28),
            operation: half(30),
            flags: word(32),
            room: word(36),
            forwarded: word(40),
        })
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(self.source.to_le_bytes());
        bytes.extend(self.destination.to_le_bytes());
        bytes.extend(self.source_port.to_le_bytes());
        bytes.extend(self.destination_port.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.operation.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.room.to_le_bytes());
        bytes.extend(self.forwarded.to_le_bytes());
        bytes
    }
}
