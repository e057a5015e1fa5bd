//! ATA commands (ACS-3) as IDE and AHCI give them: what they come to, and what a device says of itself.

use super::{Drive, Failure, SECTOR};

pub const ERR: u8 = 1 << 0;
pub const DRQ: u8 = 1 << 3;
/// Seek complete, which old drivers look for.
pub const DSC: u8 = 1 << 4;
pub const DRDY: u8 = 1 << 6;
pub const BUSY: u8 = 1 << 7;
pub const READY: u8 = DRDY | DSC;
/// Error register: the command is not done, the address is not there, the medium fails.
pub const ABORT: u8 = 1 << 2;
pub const NOT_FOUND: u8 = 1 << 4;
pub const UNCORRECTABLE: u8 = 1 << 6;

/// Count, LBA low, middle and high of a device that waits for its first command (ACS-3, 7.9.4).
pub const DISK_SIGNATURE: [u8; 4] = [1, 1, 0, 0];
pub const PACKET_SIGNATURE: [u8; 4] = [1, 1, 0x14, 0xeb];

/// Sectors that move between two interrupts at most (SET MULTIPLE MODE).
pub const MULTIPLE: u8 = 16;
const HEADS: u64 = 16;
const SECTORS: u64 = 63;

/// The error register's bits for a failure.
pub fn error(failure: &Failure) -> u8 {
    match failure {
        Failure::Range => NOT_FOUND,
        Failure::ReadOnly | Failure::Memory(_) => ABORT,
        Failure::Host(_) => UNCORRECTABLE,
    }
}

/// The registers of a command, with their second bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taskfile {
    pub features: u16,
    pub count: u16,
    pub lba: u64,
    pub device: u8,
    pub command: u8,
}

/// How data moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Pio,
    /// By programmed I/O, in blocks of [`MULTIPLE`] sectors.
    Multiple,
    Dma,
    /// Native queueing: the command's tag.
    Queued(u8),
}

/// What a command comes to. Ranges are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Done,
    Abort,
    Identify,
    Read {
        start: u64,
        len: u64,
        way: Way,
    },
    Write {
        start: u64,
        len: u64,
        way: Way,
        fua: bool,
    },
    Verify {
        start: u64,
        len: u64,
    },
    Flush,
    /// TRIM: the host sends so many bytes of ranges.
    Trim {
        len: u64,
    },
    /// The log of the last queued error.
    QueuedError,
    Packet,
    /// Only whether it is awake: always.
    PowerMode,
    Signature,
}

impl Taskfile {
    fn count_28(&self) -> u64 {
        match self.count as u8 {
            0 => 256,
            count => count.into(),
        }
    }

    fn count_48(&self) -> u64 {
        if self.count == 0 { 1 << 16 } else { self.count.into() }
    }

    /// The first sector of a command with 28 bits, by cylinder, head and sector if the device register says so.
    fn first_28(&self) -> Option<u64> {
        const LBA: u8 = 1 << 6;
        let low = self.lba & 0xff_ffff;
        let top = u64::from(self.device & 0xf);
        if self.device & LBA != 0 {
            return Some(top << 24 | low);
        }
        let (sector, cylinder) = (low & 0xff, low >> 8);
        Some((cylinder * HEADS + top) * SECTORS + sector.checked_sub(1)?)
    }

    fn range(&self, first: Option<u64>, count: u64) -> Option<(u64, u64)> {
        first.map(|first| ((first & ((1 << 48) - 1)) * SECTOR, count * SECTOR))
    }

    fn short(&self) -> Option<(u64, u64)> {
        self.range(self.first_28(), self.count_28())
    }

    fn long(&self) -> Option<(u64, u64)> {
        self.range(Some(self.lba), self.count_48())
    }

    /// Native queued commands have their count in the features, and their tag in the count (SATA 3.0, 13.6).
    fn queued(&self) -> Option<(u64, u64)> {
        Self { count: self.features, ..*self }.long()
    }

    /// As a disk understands it.
    pub fn disk(&self) -> Action {
        const FUA: u8 = 1 << 7;
        let read = |range: Option<(u64, u64)>, way| {
            range.map_or(Action::Abort, |(start, len)| Action::Read { start, len, way })
        };
        let write = |range: Option<(u64, u64)>, way, fua| {
            range.map_or(Action::Abort, |(start, len)| Action::Write { start, len, way, fua })
        };
        let verify = |range: Option<(u64, u64)>| {
            range.map_or(Action::Abort, |(start, len)| Action::Verify { start, len })
        };
        let queued = Way::Queued((self.count >> 3) as u8 & 31);
        match self.command {
            0x20 | 0x21 => read(self.short(), Way::Pio),
            0x24 => read(self.long(), Way::Pio),
            0xc4 => read(self.short(), Way::Multiple),
            0x29 => read(self.long(), Way::Multiple),
            0xc8 | 0xc9 => read(self.short(), Way::Dma),
            0x25 => read(self.long(), Way::Dma),
            0x60 => read(self.queued(), queued),
            0x30 | 0x31 => write(self.short(), Way::Pio, false),
            0x34 => write(self.long(), Way::Pio, false),
            0xc5 => write(self.short(), Way::Multiple, false),
            0x39 => write(self.long(), Way::Multiple, false),
            0xce => write(self.long(), Way::Multiple, true),
            0xca | 0xcb => write(self.short(), Way::Dma, false),
            0x35 => write(self.long(), Way::Dma, false),
            0x3d => write(self.long(), Way::Dma, true),
            0x61 => write(self.queued(), queued, self.device & FUA != 0),
            0x40 | 0x41 => verify(self.short()),
            0x42 => verify(self.long()),
            0xe7 | 0xea => Action::Flush,
            0xec => Action::Identify,
            0x06 if self.features & 1 != 0 => Action::Trim { len: self.count_48().min(8) * SECTOR },
            0x2f if self.lba & 0xff == 0x10 && self.count == 1 => Action::QueuedError,
            0xe5 => Action::PowerMode,
            0x90 => Action::Signature,
            0xc6 if self.count as u8 > MULTIPLE => Action::Abort,
            // SET MULTIPLE, SET FEATURES, parameters, recalibrate, seek, idle and standby.
            0xc6 | 0xef | 0x91 | 0x10 | 0x70 | 0xe0..=0xe3 => Action::Done,
            _ => Action::Abort,
        }
    }

    /// As a CD drive understands it.
    pub fn packet_device(&self) -> Action {
        match self.command {
            0xa0 => Action::Packet,
            0xa1 => Action::Identify,
            0x08 | 0x90 => Action::Signature,
            0xe5 => Action::PowerMode,
            0xef | 0xe0..=0xe3 => Action::Done,
            _ => Action::Abort,
        }
    }
}

/// Words of IDENTIFY DEVICE.
struct Words([u16; 256]);

impl Words {
    fn set(&mut self, from: usize, words: &[u16]) {
        self.0[from..from + words.len()].copy_from_slice(words);
    }
    /// ASCII, the first character in a word's upper byte, filled with spaces.
    fn text(&mut self, from: usize, words: usize, text: &str) {
        let mut bytes = text.bytes().chain(std::iter::repeat(b' '));
        for word in &mut self.0[from..from + words] {
            *word = u16::from_be_bytes([bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')]);
        }
    }
    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

fn identify(drive: &Drive, model: &str) -> Words {
    let mut words = Words([0; 256]);
    words.text(10, 10, drive.serial());
    words.text(23, 4, "1.0");
    words.text(27, 20, model);
    // LBA, DMA; PIO 3 and 4, multiword DMA 2, ultra DMA 5; fields 64 to 70 and 88 hold.
    words.set(49, &[0x0f00, 0x4000, 0x0200, 0x0200, 7]);
    words.set(63, &[0x0407, 3, 120, 120, 120, 120]);
    words.set(80, &[0x01f0, 0]);
    words.set(88, &[0x203f]);
    words
}

/// IDENTIFY DEVICE (ACS-3, 7.12.6). `queued`: the controller has native queueing.
pub fn identify_disk(drive: &Drive, queued: bool) -> Vec<u8> {
    let mut words = identify(drive, "Ireko Virtual Disk");
    let sectors = drive.sectors();
    let cylinders = (sectors / (HEADS * SECTORS)).min(16383) as u16;
    words.set(0, &[0x0040, cylinders, 0, HEADS as u16, 0, 0, SECTORS as u16]);
    words.set(47, &[0x8000 | u16::from(MULTIPLE)]);
    let chs = u64::from(cylinders) * HEADS * SECTORS;
    words.set(54, &[cylinders, HEADS as u16, SECTORS as u16, chs as u16, (chs >> 16) as u16]);
    words.set(59, &[0x0100 | u16::from(MULTIPLE)]);
    let short = sectors.min((1 << 28) - 1);
    words.set(60, &[short as u16, (short >> 16) as u16]);
    // TRIM, reading zeros or not.
    words.set(69, &[0]);
    if queued {
        words.set(75, &[31, 0x0102]);
    }
    // Write cache and look-ahead; 48 bits and both flushes; FUA. Supported, then enabled.
    words.set(82, &[0x0060, 0x7400, 0x4040, 0x0020, 0x3400, 0x4040]);
    words.set(100, &[sectors as u16, (sectors >> 16) as u16, (sectors >> 32) as u16, 0, 0, 8]);
    words.set(169, &[u16::from(!drive.read_only())]);
    // Not a rotating medium.
    words.set(217, &[1]);
    words.bytes()
}

/// IDENTIFY PACKET DEVICE: a CD drive with packets of 12 bytes that asks for them at once.
pub fn identify_packet_device(drive: &Drive) -> Vec<u8> {
    let mut words = identify(drive, "Ireko Virtual CD");
    words.set(0, &[0x85c0]);
    words.set(82, &[0x0010, 0x4000, 0x4000, 0x0010, 0, 0x4000]);
    words.bytes()
}

/// The ranges of a TRIM (ACS-3, 7.5), as bytes.
pub fn trim_ranges(list: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let range = |entry: &[u8]| {
        let entry = crate::access::value(entry);
        ((entry & ((1 << 48) - 1)) * SECTOR, (entry >> 48) * SECTOR)
    };
    list.chunks_exact(8).map(range).filter(|(_, len)| *len != 0)
}
