//! What a command does, and the FISes that say how it ended (SATA 3.0, 10.3).

use super::engine::{Command, stream};
use super::regs::*;
use crate::service::Permit;
use crate::storage::ata::{self, Action, Taskfile, Way};
use crate::storage::dma::Dma;
use crate::storage::{Failure, Media, Zeroing, scsi};
use ireko_vmcore::Memory;
use std::io::{Read, Write};

/// Which FIS ends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Silent,
    Register,
    Pio,
    /// Data by PIO setup, then the registers.
    Packet,
    /// The tag of a native queued command.
    Queued(u8),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub kind: Kind,
    pub status: u8,
    pub error: u8,
    pub moved: u64,
    pub reset: bool,
    pub(super) count: u16,
    pub(super) lba: u64,
    pub(super) device: u8,
}

impl Answer {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, status: ata::READY, error: 0, moved: 0, reset: false, count: 0, lba: 0, device: 0 }
    }
    fn failed(kind: Kind, error: u8) -> Self {
        Self { status: ata::READY | ata::ERR, error, ..Self::new(kind) }
    }
    pub fn aborted() -> Self {
        Self::failed(Kind::Register, ata::ABORT)
    }
    fn signature(kind: Kind, [count, low, middle, high]: [u8; 4]) -> Self {
        let lba = u64::from(low) | u64::from(middle) << 8 | u64::from(high) << 16;
        Self { error: 1, count: count.into(), lba, reset: true, ..Self::new(kind) }
    }

    fn refused(signature: [u8; 4]) -> Self {
        let signature = Self::signature(Kind::Register, signature);
        Self { status: ata::READY | ata::ERR, error: ata::ABORT, reset: false, ..signature }
    }

    fn head(&self, kind: u8, flags: u8) -> [u8; 20] {
        let (lba, count) = (self.lba.to_le_bytes(), self.count.to_le_bytes());
        let mut fis = [0; 20];
        fis[..4].copy_from_slice(&[kind, flags, self.status, self.error]);
        fis[4..7].copy_from_slice(&lba[..3]);
        fis[7] = self.device;
        fis[8..11].copy_from_slice(&lba[3..6]);
        fis[12..14].copy_from_slice(&count);
        fis
    }
    pub fn register(&self) -> [u8; 20] {
        self.head(FIS_REGISTER, FIS_INTERRUPT)
    }
    /// The status afterwards and the count are its own.
    pub fn pio(&self) -> [u8; 20] {
        let mut fis = self.head(FIS_PIO, FIS_INTERRUPT | FIS_TO_HOST);
        fis[2] = ata::READY | ata::DRQ;
        fis[15] = self.status;
        fis[16..18].copy_from_slice(&(self.moved as u16).to_le_bytes());
        fis
    }
    pub fn bits(&self, tag: u8) -> [u8; 8] {
        let done = if self.status & ata::ERR == 0 { 1u32 << (tag & 31) } else { 0 };
        let [a, b, c, d] = done.to_le_bytes();
        [FIS_BITS, FIS_INTERRUPT, self.status & 0x77, self.error, a, b, c, d]
    }
}

/// The device at a port.
pub struct Device {
    pub(super) media: Media,
    pub(super) resetting: bool,
    /// The tag and the answer of the queued command that failed last.
    pub(super) failed: Option<(u8, Answer)>,
}

fn taskfile(fis: &[u8; 64]) -> Taskfile {
    let byte = |at: usize| u64::from(fis[at]);
    let lba = byte(4) | byte(5) << 8 | byte(6) << 16 | byte(8) << 24 | byte(9) << 32 | byte(10) << 40;
    Taskfile {
        features: u16::from_le_bytes([fis[3], fis[11]]),
        count: u16::from_le_bytes([fis[12], fis[13]]),
        lba,
        device: fis[7],
        command: fis[2],
    }
}

impl Device {
    pub fn new(media: Media) -> Self {
        Self { media, resetting: false, failed: None }
    }

    /// Takes a medium that the host has put into the tray.
    pub fn look(&mut self) {
        self.media.look();
    }

    pub fn reset(&mut self) {
        (self.resetting, self.failed) = (false, None);
    }

    pub fn perform(&mut self, command: &Command, slot: u8, memory: &Memory, permit: Permit<'_>) -> Answer {
        if command.fis[0] != FIS_HOST {
            return Answer::aborted();
        }
        if command.fis[1] & FIS_COMMAND == 0 {
            return self.control(command.fis[15]);
        }
        let taskfile = taskfile(&command.fis);
        let mut data = stream(command, memory, permit);
        let mut answer = match &mut self.media {
            Media::Disk(_) => self.disk(&taskfile, slot, &mut data, permit),
            Media::Cd(_) => self.cd(&taskfile, command, &mut data, memory, permit),
        };
        answer.moved = answer.moved.max(data.moved());
        answer
    }

    /// Software reset (SATA 3.0, 11.4): it begins by the bit, and ends by the bit's going.
    fn control(&mut self, control: u8) -> Answer {
        let begins = control & CONTROL_RESET != 0;
        let ends = self.resetting && !begins;
        self.resetting = begins;
        match ends {
            true => Answer::signature(Kind::Register, self.media.signature()),
            false => Answer::new(Kind::Silent),
        }
    }

    fn disk(&mut self, taskfile: &Taskfile, slot: u8, data: &mut Dma<'_>, permit: Permit<'_>) -> Answer {
        let action = taskfile.disk();
        let kind = match action {
            Action::Read { way: Way::Pio | Way::Multiple, .. } | Action::Identify | Action::QueuedError => {
                Kind::Pio
            }
            Action::Read { way: Way::Queued(tag), .. } | Action::Write { way: Way::Queued(tag), .. } => {
                Kind::Queued(tag)
            }
            _ => Kind::Register,
        };
        // A queued command's tag is its slot (AHCI 1.3.1, 5.5.1).
        if matches!(kind, Kind::Queued(tag) if tag != slot) {
            return Answer::aborted();
        }
        let mut answer = match self.carry_out(action, data, permit) {
            Ok(()) => Answer::new(kind),
            Err(failure) => {
                Answer::failed(if kind == Kind::Pio { Kind::Register } else { kind }, ata::error(&failure))
            }
        };
        match action {
            Action::Abort | Action::Packet => answer = Answer::aborted(),
            Action::Signature => answer = Answer::signature(kind, ata::DISK_SIGNATURE),
            Action::PowerMode => answer.count = 0xff,
            _ => {}
        }
        answer.device = taskfile.device;
        if let (Kind::Queued(tag), true) = (kind, answer.status & ata::ERR != 0) {
            answer.lba = taskfile.lba;
            self.failed = Some((tag, answer.clone()));
        }
        answer
    }

    fn carry_out(&mut self, action: Action, data: &mut Dma<'_>, permit: Permit<'_>) -> Result<(), Failure> {
        let log = self.error_log();
        let Media::Disk(drive) = &mut self.media else { return Ok(()) };
        match action {
            Action::Identify => data.write_all(&ata::identify_disk(drive, true)).map_err(Failure::Memory),
            Action::QueuedError => data.write_all(&log).map_err(Failure::Memory),
            Action::Read { start, len, .. } => {
                drive.pay(permit, len).map_err(Failure::Memory)?;
                drive.read(start, len, data, permit)
            }
            Action::Write { start, len, fua, .. } => {
                drive.pay(permit, len).map_err(Failure::Memory)?;
                drive.write(start, len, data, permit)?;
                if fua { drive.flush(permit) } else { Ok(()) }
            }
            Action::Verify { start, len } => drive.check(start, len),
            Action::Flush => drive.flush(permit),
            Action::Trim { len } => {
                let mut list = vec![0; len as usize];
                data.read_exact(&mut list).map_err(Failure::Memory)?;
                ata::trim_ranges(&list)
                    .try_for_each(|(start, len)| drive.zero(Zeroing::Discard, start, len, permit))
            }
            Action::Done | Action::Abort | Action::Packet | Action::PowerMode | Action::Signature => Ok(()),
        }
    }

    /// Log page 10h (SATA 3.0, 13.7.4); without an error it is of a command that was not queued.
    fn error_log(&self) -> [u8; 512] {
        let mut log = [0; 512];
        match &self.failed {
            Some((tag, answer)) => {
                log[..20].copy_from_slice(&answer.head(*tag, 0));
            }
            None => log[0] = 1 << 7,
        }
        let sum = log.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        log[511] = sum.wrapping_neg();
        log
    }

    fn cd(
        &mut self,
        taskfile: &Taskfile,
        command: &Command,
        data: &mut Dma<'_>,
        memory: &Memory,
        permit: Permit<'_>,
    ) -> Answer {
        let Media::Cd(unit) = &mut self.media else { return Answer::aborted() };
        let cdb = match taskfile.packet_device() {
            Action::Identify => {
                let sent = data.write_all(&ata::identify_packet_device(&unit.drive));
                return if sent.is_ok() { Answer::new(Kind::Pio) } else { Answer::aborted() };
            }
            Action::Packet => command.packet,
            Action::Signature if taskfile.command == 0x90 => {
                return Answer::signature(Kind::Register, ata::PACKET_SIGNATURE);
            }
            Action::PowerMode => return Answer { count: 0xff, ..Answer::new(Kind::Register) },
            Action::Done => return Answer::new(Kind::Register),
            // What no CD does it refuses, and says what it is.
            _ => return Answer::refused(ata::PACKET_SIGNATURE),
        };
        let Some(cdb) = cdb else { return Answer::aborted() };
        let action = unit.command(&cdb);
        let mut from = stream(command, memory, permit);
        let bytes = data.left();
        if let scsi::Action::Read { len, .. } = action
            && unit.drive.pay(permit, len.min(bytes)).is_err()
        {
            return Answer::aborted();
        }
        // Both bits of the interrupt reason: the command is complete.
        match unit.carry_out(action, permit, data, &mut from) {
            Ok(()) if data.moved() > 0 => Answer { count: 3, ..Answer::new(Kind::Packet) },
            Ok(()) => Answer { count: 3, ..Answer::new(Kind::Register) },
            Err(sense) => Answer { count: 3, ..Answer::failed(Kind::Register, sense.0 << 4 | ata::ABORT) },
        }
    }
}
