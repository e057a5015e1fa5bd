//! SCSI commands (SPC-4, SBC-3, MMC-6) as a disk or a CD answers them: what is said at once, and what moves.

use super::{Drive, SECTOR};

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Disk,
    Cd,
}

/// Sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sense(pub u8, pub u8, pub u8);

impl Sense {
    pub const NONE: Self = Self(0, 0, 0);
    pub const NO_MEDIUM: Self = Self(2, 0x3a, 0);
    pub const UNRECOVERED_READ: Self = Self(3, 0x11, 0);
    pub const WRITE_ERROR: Self = Self(3, 0x0c, 0);
    pub const INVALID_COMMAND: Self = Self(5, 0x20, 0);
    pub const OUT_OF_RANGE: Self = Self(5, 0x21, 0);
    pub const INVALID_FIELD: Self = Self(5, 0x24, 0);
    pub const BAD_LIST: Self = Self(5, 0x26, 0);
    pub const NO_UNIT: Self = Self(5, 0x25, 0);
    pub const WRITE_PROTECTED: Self = Self(7, 0x27, 0);
    pub const MEDIUM_CHANGED: Self = Self(6, 0x28, 0);
    pub const REMOVAL_PREVENTED: Self = Self(5, 0x53, 2);

    /// In the fixed format (SPC-4, 4.5.3).
    pub fn fixed(self) -> [u8; 18] {
        let mut data = [0; 18];
        (data[0], data[2], data[7], data[12], data[13]) = (0x70, self.0, 10, self.1, self.2);
        data
    }
}

/// What a command comes to. Ranges are bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Done,
    Data(Vec<u8>),
    Read {
        start: u64,
        len: u64,
    },
    Write {
        start: u64,
        len: u64,
        fua: bool,
    },
    /// Zeroes a range; the initiator's one block must be of zeros unless nothing is sent.
    WriteSame {
        start: u64,
        len: u64,
        discard: bool,
    },
    /// The initiator sends a list of so many bytes.
    Unmap {
        len: u64,
    },
    /// Parameters that nobody needs.
    Ignore {
        len: u64,
    },
    Flush,
    Check(Sense),
}

/// The unit's state that outlives a command.
pub struct Target {
    pub kind: Kind,
    pub(super) sense: Sense,
    /// The tray is out.
    pub(super) ejected: bool,
    /// The initiator does not want the tray out (PREVENT ALLOW MEDIUM REMOVAL).
    pub(super) prevented: bool,
    /// What the next commands are refused with, so that the initiator hears of another medium.
    pub(super) told: Attention,
    pub(super) events: Events,
    /// The initiator asks for events of media.
    pub(super) asks: bool,
}

/// A medium that came in another's place was out before it was in: initiators that ask for no events see both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Attention {
    #[default]
    None,
    Gone,
    Changed,
}

/// Events of media that nobody has asked for yet (MMC-6, table 266), in the order in which they are told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Events {
    pub(super) removed: bool,
    pub(super) new: bool,
}

impl Events {
    fn next(&mut self) -> u8 {
        const NEW: u8 = 2;
        const REMOVED: u8 = 3;
        match self {
            Self { removed: true, .. } => {
                self.removed = false;
                REMOVED
            }
            Self { new: true, .. } => {
                self.new = false;
                NEW
            }
            _ => 0,
        }
    }
}

const BLOCK_CD: u64 = 2048;
const VENDOR: &[u8; 8] = b"Ireko   ";

impl Target {
    pub fn new(kind: Kind) -> Self {
        let (told, events) = (Attention::None, Events::default());
        Self { kind, sense: Sense::NONE, ejected: false, prevented: false, told, events, asks: false }
    }

    pub fn block(&self) -> u64 {
        if self.kind == Kind::Cd { BLOCK_CD } else { SECTOR }
    }

    /// Remembers why a command failed, for who asks by REQUEST SENSE.
    pub fn failed(&mut self, sense: Sense) {
        self.sense = sense;
    }

    /// The first bytes of a command say what it is; `drive` is the medium.
    pub fn command(&mut self, cdb: &[u8; 16], drive: &Drive) -> Action {
        let sense = std::mem::take(&mut self.sense);
        let action = match cdb[0] {
            0x03 => Action::Data(cut(self.pending(sense).fixed().to_vec(), cdb[4].into())),
            0x12 => self.inquiry(cdb, drive),
            // REPORT LUNS: number 0 alone.
            0xa0 => Action::Data(cut([&[0, 0, 0, 8][..], &[0; 12]].concat(), number(&cdb[6..10]))),
            0x46 if self.kind == Kind::Cd => configuration(cdb, !self.empty(drive)),
            0x4a if self.kind == Kind::Cd => self.event(cdb, drive),
            // Of the commands above none is refused for what is to be told (SPC-4, 5.14; MMC-6, 4.1.6.1).
            _ if self.told == Attention::Gone => {
                self.told = Attention::Changed;
                Action::Check(Sense::NO_MEDIUM)
            }
            _ if self.told == Attention::Changed => {
                self.told = Attention::None;
                Action::Check(Sense::MEDIUM_CHANGED)
            }
            0x5a | 0x1a => self.mode_sense(cdb, drive),
            0x1b => self.start_stop(cdb),
            0x1e => self.prevent(cdb),
            _ if self.empty(drive) => Action::Check(Sense::NO_MEDIUM),
            _ => self.medium(cdb, drive),
        };
        if let Action::Check(sense) = &action {
            self.sense = *sense;
        }
        action
    }

    /// A CD drive without a CD: its medium was never there, or is out.
    fn empty(&self, drive: &Drive) -> bool {
        self.ejected || self.kind == Kind::Cd && drive.size() == 0
    }

    pub fn medium_present(&self, drive: &Drive) -> bool {
        !self.empty(drive)
    }

    /// The host has put in another medium, or has taken it out. That the initiator has locked the tray does not keep it from
    /// that, as Hyper-V has it; what was locked is gone.
    pub fn medium_changed(&mut self, before: bool, now: bool) {
        (self.ejected, self.prevented) = (false, false);
        self.events.removed |= before;
        self.events.new = now;
        self.told = match (before, now) {
            (_, false) => Attention::None,
            (true, true) if !self.asks => Attention::Gone,
            (_, true) => Attention::Changed,
        };
    }

    /// What REQUEST SENSE gives: why the last command failed, or what is to be told.
    fn pending(&mut self, sense: Sense) -> Sense {
        match (sense, self.told) {
            (Sense::NONE, Attention::Changed) => {
                self.told = Attention::None;
                Sense::MEDIUM_CHANGED
            }
            _ => sense,
        }
    }

    fn medium(&self, cdb: &[u8; 16], drive: &Drive) -> Action {
        match cdb[0] {
            // TEST UNIT READY, SEEK, SET CD SPEED, RESERVE, RELEASE.
            0x00 | 0x2b | 0xbb | 0x16 | 0x17 => Action::Done,
            0x2f | 0x8f => self.verify(cdb, drive),
            0x35 | 0x91 => Action::Flush,
            0x25 => self.capacity_10(drive),
            0x9e if cdb[1] & 0x1f == 0x10 => self.capacity_16(cdb, drive),
            0x08 | 0x28 | 0xa8 | 0x88 => self.moves(cdb, drive, false),
            0x0a | 0x2a | 0xaa | 0x8a => self.moves(cdb, drive, true),
            0x41 | 0x93 if self.kind == Kind::Disk => self.write_same(cdb, drive),
            0x42 if self.kind == Kind::Disk => self.unmap(cdb, drive),
            0x15 => Action::Ignore { len: cdb[4].into() },
            0x55 => Action::Ignore { len: number(&cdb[7..9]) },
            0x43 if self.kind == Kind::Cd => toc(cdb, drive.size() / BLOCK_CD),
            0x51 if self.kind == Kind::Cd => disc_information(cdb),
            0x52 if self.kind == Kind::Cd => track_information(cdb, drive.size() / BLOCK_CD),
            0xad if self.kind == Kind::Cd => Action::Check(Sense::INVALID_FIELD),
            0xbd if self.kind == Kind::Cd => Action::Data(cut(vec![0; 8], number(&cdb[8..10]))),
            _ => Action::Check(Sense::INVALID_COMMAND),
        }
    }

    /// The range of blocks as bytes, if it is on the medium.
    fn range(&self, drive: &Drive, first: u64, count: u64) -> Option<(u64, u64)> {
        let (start, len) = (first.checked_mul(self.block())?, count.checked_mul(self.block())?);
        drive.check(start, len).ok()?;
        Some((start, len))
    }

    fn moves(&self, cdb: &[u8; 16], drive: &Drive, write: bool) -> Action {
        let (first, count) = place(cdb);
        if write && (drive.read_only() || self.kind == Kind::Cd) {
            return Action::Check(Sense::WRITE_PROTECTED);
        }
        match self.range(drive, first, count) {
            None => Action::Check(Sense::OUT_OF_RANGE),
            Some((start, len)) if write => {
                Action::Write { start, len, fua: cdb[0] != 0x0a && cdb[1] & 8 != 0 }
            }
            Some((start, len)) => Action::Read { start, len },
        }
    }

    fn verify(&self, cdb: &[u8; 16], drive: &Drive) -> Action {
        let (first, count) = place(cdb);
        // What is sent to be compared is not.
        match self.range(drive, first, count) {
            _ if cdb[1] & 6 != 0 => Action::Check(Sense::INVALID_FIELD),
            None => Action::Check(Sense::OUT_OF_RANGE),
            Some(_) => Action::Done,
        }
    }

    fn write_same(&self, cdb: &[u8; 16], drive: &Drive) -> Action {
        let (first, count) = place(cdb);
        // No count stands for all that follows.
        let count = if count == 0 { (drive.size() / self.block()).saturating_sub(first) } else { count };
        match self.range(drive, first, count) {
            _ if drive.read_only() => Action::Check(Sense::WRITE_PROTECTED),
            None => Action::Check(Sense::OUT_OF_RANGE),
            Some((start, len)) => Action::WriteSame { start, len, discard: cdb[1] & 8 != 0 },
        }
    }

    fn unmap(&self, cdb: &[u8; 16], drive: &Drive) -> Action {
        match drive.read_only() {
            true => Action::Check(Sense::WRITE_PROTECTED),
            false => Action::Unmap { len: number(&cdb[7..9]) },
        }
    }

    /// The ranges of an UNMAP's parameter list (SBC-3, 5.28.2), as bytes.
    pub fn unmap_ranges(&self, list: &[u8], drive: &Drive) -> Result<Vec<(u64, u64)>, Sense> {
        let Some(descriptors) = list.get(8..) else {
            return if list.is_empty() { Ok(Vec::new()) } else { Err(Sense::BAD_LIST) };
        };
        let given = number(&list[2..4]) as usize;
        let range =
            |one: &[u8]| self.range(drive, number(&one[..8]), number(&one[8..12])).ok_or(Sense::OUT_OF_RANGE);
        descriptors[..given.min(descriptors.len())].chunks_exact(16).map(range).collect()
    }

    fn start_stop(&mut self, cdb: &[u8; 16]) -> Action {
        if self.kind == Kind::Cd && cdb[4] & 2 != 0 {
            let eject = cdb[4] & 1 == 0;
            if eject && self.prevented {
                return Action::Check(Sense::REMOVAL_PREVENTED);
            }
            self.events.removed |= eject && !self.ejected;
            self.events.new = (self.events.new || self.ejected) && !eject;
            self.ejected = eject;
        }
        Action::Done
    }

    /// PREVENT ALLOW MEDIUM REMOVAL (MMC-6, 6.14): the persistent form is the same here.
    fn prevent(&mut self, cdb: &[u8; 16]) -> Action {
        self.prevented = self.kind == Kind::Cd && cdb[4] & 1 != 0;
        Action::Done
    }

    fn inquiry(&self, cdb: &[u8; 16], drive: &Drive) -> Action {
        let room = number(&cdb[3..5]);
        let data = match (cdb[1] & 1, cdb[2]) {
            (0, 0) => self.standard_inquiry(),
            (1, page) => match self.product_data(page, drive) {
                Some(body) => {
                    let len = (body.len() as u16).to_be_bytes();
                    [&[self.device_type(), page, len[0], len[1]][..], &body].concat()
                }
                None => return Action::Check(Sense::INVALID_FIELD),
            },
            _ => return Action::Check(Sense::INVALID_FIELD),
        };
        Action::Data(cut(data, room))
    }

    fn device_type(&self) -> u8 {
        if self.kind == Kind::Cd { 5 } else { 0 }
    }

    /// SPC-4, 6.4.2: version SPC-3, response format 2.
    fn standard_inquiry(&self) -> Vec<u8> {
        let removable = if self.kind == Kind::Cd { 0x80 } else { 0 };
        // A CD behind ATAPI says 2 in its format, too; command queueing is for disks.
        let queueing = if self.kind == Kind::Disk { 2 } else { 0 };
        let mut data = vec![self.device_type(), removable, 5, 2, 31, 0, 0, queueing];
        data.extend(VENDOR);
        data.extend(if self.kind == Kind::Cd { b"Virtual CD      " } else { b"Virtual Disk    " });
        data.extend(b"1.0 ");
        data
    }

    fn product_data(&self, page: u8, drive: &Drive) -> Option<Vec<u8>> {
        let serial = drive.serial().as_bytes();
        match (page, self.kind) {
            (0x00, Kind::Disk) => Some(vec![0, 0x80, 0x83, 0xb0, 0xb1, 0xb2]),
            (0x00, Kind::Cd) => Some(vec![0, 0x80, 0x83]),
            (0x80, _) => Some(serial.to_vec()),
            // One designator: T10 vendor and serial number, ASCII, of the unit.
            (0x83, _) => {
                let len = (VENDOR.len() + serial.len()) as u8;
                Some([&[2, 1, 0, len][..], VENDOR, serial].concat())
            }
            (0xb0, Kind::Disk) => Some(block_limits()),
            // Not a rotating medium.
            (0xb1, Kind::Disk) => Some([&[0, 1][..], &[0; 58]].concat()),
            // UNMAP, WRITE SAME(16) and (10) with UNMAP; unmapped blocks may read as anything.
            (0xb2, Kind::Disk) => Some(vec![0, 0xe0, 2, 0]),
            _ => None,
        }
    }

    fn mode_sense(&self, cdb: &[u8; 16], drive: &Drive) -> Action {
        let six = cdb[0] == 0x1a;
        let protected = if drive.read_only() && self.kind == Kind::Disk { 0x80 } else { 0 };
        let fua = if self.kind == Kind::Disk { 0x10 } else { 0 };
        let mut pages = Vec::new();
        let page = cdb[2] & 0x3f;
        if matches!(page, 1 | 0x3f) {
            pages.extend([1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        // Caching: the write cache is on.
        if matches!(page, 8 | 0x3f) && self.kind == Kind::Disk {
            let changeable = cdb[2] >> 6 == 1;
            pages.extend([8, 18, if changeable { 0 } else { 4 }]);
            pages.extend([0; 17]);
        }
        // Capabilities of a CD: it reads, can be locked and ejected, and comes in a tray.
        if matches!(page, 0x2a | 0x3f) && self.kind == Kind::Cd {
            pages.extend([
                0x2a, 18, 0x3b, 0, 0x71, 0x60, 0x29, 0, 0x02, 0xc2, 0, 2, 2, 0, 0x02, 0xc2, 0, 0, 0, 0,
            ]);
        }
        if pages.is_empty() || cdb[2] >> 6 == 3 {
            return Action::Check(Sense::INVALID_FIELD);
        }
        let specific = protected | fua;
        let (head, room) = match six {
            true => (vec![(pages.len() + 3) as u8, 0, specific, 0], u64::from(cdb[4])),
            false => {
                let len = ((pages.len() + 6) as u16).to_be_bytes();
                (vec![len[0], len[1], 0, specific, 0, 0, 0, 0], number(&cdb[7..9]))
            }
        };
        Action::Data(cut([head, pages].concat(), room))
    }

    fn last(&self, drive: &Drive) -> u64 {
        (drive.size() / self.block()).saturating_sub(1)
    }

    fn capacity_10(&self, drive: &Drive) -> Action {
        let last = u32::try_from(self.last(drive)).unwrap_or(u32::MAX);
        Action::Data([last.to_be_bytes(), (self.block() as u32).to_be_bytes()].concat())
    }

    fn capacity_16(&self, cdb: &[u8; 16], drive: &Drive) -> Action {
        let mut data = vec![0; 32];
        data[..8].copy_from_slice(&self.last(drive).to_be_bytes());
        data[8..12].copy_from_slice(&(self.block() as u32).to_be_bytes());
        // Thinly provisioned.
        data[14] = if self.kind == Kind::Disk { 0x80 } else { 0 };
        Action::Data(cut(data, number(&cdb[10..14])))
    }

    /// GET EVENT STATUS NOTIFICATION, polled, of media (MMC-6, 6.6).
    fn event(&mut self, cdb: &[u8; 16], drive: &Drive) -> Action {
        const MEDIA: u8 = 4;
        if cdb[1] & 1 == 0 {
            return Action::Check(Sense::INVALID_FIELD);
        }
        let data = match cdb[4] & (1 << MEDIA) {
            0 => vec![0, 2, 0x80, 1 << MEDIA],
            _ => {
                self.asks = true;
                // The tray is out; a medium is in.
                let status = u8::from(self.ejected) | u8::from(!self.empty(drive)) << 1;
                vec![0, 6, MEDIA, 1 << MEDIA, self.events.next(), status, 0, 0]
            }
        };
        Action::Data(cut(data, number(&cdb[7..9])))
    }
}

/// SBC-3, 6.6.3: lengths of lists that are taken, and of WRITE SAME.
fn block_limits() -> Vec<u8> {
    const MOST_UNMAP: u32 = 1 << 22;
    const MOST_RANGES: u32 = 256;
    let mut page = vec![0; 60];
    page[16..20].copy_from_slice(&MOST_UNMAP.to_be_bytes());
    page[20..24].copy_from_slice(&MOST_RANGES.to_be_bytes());
    page[24..28].copy_from_slice(&1u32.to_be_bytes());
    page[32..40].copy_from_slice(&u64::from(MOST_UNMAP).to_be_bytes());
    page
}

/// First block and number of blocks.
fn place(cdb: &[u8; 16]) -> (u64, u64) {
    match cdb[0] >> 5 {
        0 => {
            let count = if cdb[4] == 0 { 256 } else { cdb[4].into() };
            (number(&[cdb[1] & 0x1f, cdb[2], cdb[3]]), count)
        }
        4 => (number(&cdb[2..10]), number(&cdb[10..14])),
        5 => (number(&cdb[2..6]), number(&cdb[6..10])),
        _ => (number(&cdb[2..6]), number(&cdb[7..9])),
    }
}

/// Big-endian, as everything in SCSI.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

fn cut(mut data: Vec<u8>, room: u64) -> Vec<u8> {
    data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
    data
}

/// READ TOC (MMC-6, 6.25): one data track in one session.
fn toc(cdb: &[u8; 16], blocks: u64) -> Action {
    let minutes = cdb[1] & 2 != 0;
    let at = |block: u64| match minutes {
        true => {
            let frame = block + 150;
            [0, (frame / 4500) as u8, (frame / 75 % 60) as u8, (frame % 75) as u8]
        }
        false => (block as u32).to_be_bytes(),
    };
    let track = |number: u8, block| [&[0, 0x14, number, 0][..], &at(block)].concat();
    let format = if cdb[2] & 0xf == 0 { cdb[9] >> 6 } else { cdb[2] & 0xf };
    let body = match format {
        0 if cdb[6] <= 1 => [track(1, 0), track(0xaa, blocks)].concat(),
        0 if cdb[6] == 0xaa => track(0xaa, blocks),
        1 => track(1, 0),
        _ => return Action::Check(Sense::INVALID_FIELD),
    };
    let len = ((body.len() + 2) as u16).to_be_bytes();
    Action::Data(cut([&[len[0], len[1], 1, 1][..], &body].concat(), number(&cdb[7..9])))
}

/// A finished disc with one session and one track.
fn disc_information(cdb: &[u8; 16]) -> Action {
    let mut data = vec![0; 34];
    (data[1], data[2], data[3], data[4], data[5], data[6], data[7]) = (32, 0x0e, 1, 1, 1, 1, 0x20);
    Action::Data(cut(data, number(&cdb[7..9])))
}

fn track_information(cdb: &[u8; 16], blocks: u64) -> Action {
    let mut data = vec![0; 36];
    (data[1], data[2], data[3], data[5], data[6]) = (34, 1, 1, 4, 1);
    data[24..28].copy_from_slice(&(blocks as u32).to_be_bytes());
    Action::Data(cut(data, number(&cdb[7..9])))
}

/// GET CONFIGURATION (MMC-6, 6.5): profile CD-ROM, core, removable medium and random reading.
fn configuration(cdb: &[u8; 16], medium: bool) -> Action {
    const CD_ROM: u8 = 8;
    let features: [(u16, Vec<u8>); 4] = [
        (0, vec![3, 4, 0, CD_ROM, u8::from(medium), 0]),
        (1, vec![0xb, 8, 0, 0, 0, 2, 1, 0, 0, 0]),
        (3, vec![7, 4, 0x29, 0, 0, 0]),
        (0x1e, vec![3, 4, 0, 0, 0, 0]),
    ];
    let (from, only) = (number(&cdb[2..4]), cdb[1] & 3 == 2);
    let wanted = |code: u16| if only { u64::from(code) == from } else { u64::from(code) >= from };
    let mut data = vec![0, 0, 0, 0, 0, 0, 0, if medium { CD_ROM } else { 0 }];
    for (code, body) in features.iter().filter(|(code, _)| wanted(*code)) {
        data.extend(code.to_be_bytes());
        data.extend(body);
    }
    let len = (data.len() as u32 - 4).to_be_bytes();
    data[..4].copy_from_slice(&len);
    Action::Data(cut(data, number(&cdb[7..9])))
}
