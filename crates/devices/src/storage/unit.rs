//! A SCSI unit: a target with its medium, and the carrying out of what a command comes to.

use super::scsi::{Action, Kind, Sense, Target};
use super::{Drive, Failure, Tray, Zeroing};
use crate::service::Permit;
use std::io::{Read, Write};

/// The longest parameter list that is looked at.
const LIST: u64 = 8 + 256 * 16;

pub struct Unit {
    pub target: Target,
    pub drive: Drive,
    tray: Tray,
}

impl Unit {
    pub fn new(kind: Kind, drive: Drive) -> Self {
        Self { target: Target::new(kind), drive, tray: Tray::default() }
    }

    pub fn tray(&self) -> Tray {
        self.tray.clone()
    }

    /// Takes a medium that the host has put into the tray.
    pub fn look(&mut self) {
        let Some(medium) = self.tray.take() else { return };
        let before = self.target.medium_present(&self.drive);
        self.drive.replace(medium);
        self.target.medium_changed(before, self.drive.size() != 0);
    }

    pub fn command(&mut self, cdb: &[u8; 16]) -> Action {
        self.look();
        self.target.command(cdb, &self.drive)
    }

    /// Does what a command came to: `to` takes what the unit says, `from` gives what it is sent.
    pub fn carry_out(
        &mut self,
        action: Action,
        permit: Permit<'_>,
        to: &mut impl Write,
        from: &mut impl Read,
    ) -> Result<(), Sense> {
        let writes = matches!(action, Action::Write { .. } | Action::WriteSame { .. } | Action::Flush);
        let done = match action {
            Action::Done => Ok(()),
            Action::Check(sense) => return Err(sense),
            Action::Data(data) => to.write_all(&data).map_err(Failure::Memory),
            Action::Read { start, len } => self.drive.read(start, len, to, permit),
            Action::Write { start, len, fua } => {
                let written = self.drive.write(start, len, from, permit);
                if fua { written.and_then(|()| self.drive.flush(permit)) } else { written }
            }
            Action::WriteSame { start, len, discard } => self.write_same((start, len), discard, permit, from),
            Action::Unmap { len } => return self.unmap(len, permit, from),
            Action::Ignore { len } => take(from, len).map(drop),
            Action::Flush => self.drive.flush(permit),
        };
        done.map_err(|failure| self.failed_at(&failure, writes))
    }

    /// What the host cannot write is another error than what it cannot read.
    fn failed_at(&mut self, failure: &Failure, writing: bool) -> Sense {
        if !(writing && matches!(failure, Failure::Host(_))) {
            return self.failed(failure);
        }
        self.target.failed(Sense::WRITE_ERROR);
        Sense::WRITE_ERROR
    }

    /// The sense data of a failure, kept for who asks.
    pub fn failed(&mut self, failure: &Failure) -> Sense {
        let sense = match failure {
            Failure::Range => Sense::OUT_OF_RANGE,
            Failure::ReadOnly => Sense::WRITE_PROTECTED,
            Failure::Memory(_) => Sense::BAD_LIST,
            Failure::Host(_) => Sense::UNRECOVERED_READ,
        };
        self.target.failed(sense);
        sense
    }

    /// Only zeros are written again and again.
    fn write_same(
        &mut self,
        (start, len): (u64, u64),
        discard: bool,
        permit: Permit<'_>,
        from: &mut impl Read,
    ) -> Result<(), Failure> {
        let block = take(from, self.target.block())?;
        if block.iter().any(|&byte| byte != 0) {
            return self.repeat(&block, start, len, permit);
        }
        let _ = discard;
        self.drive.zero(Zeroing::Zero, start, len, permit)
    }

    fn repeat(&mut self, block: &[u8], start: u64, len: u64, permit: Permit<'_>) -> Result<(), Failure> {
        const PIECE: u64 = 1 << 17;
        let piece = block.repeat(PIECE as usize / block.len());
        let mut done = 0;
        while done < len {
            drop(permit.pass().map_err(Failure::Memory)?);
            let part = (len - done).min(PIECE);
            self.drive.write(start + done, part, &mut &piece[..part as usize], permit)?;
            done += part;
        }
        Ok(())
    }

    fn unmap(&mut self, len: u64, permit: Permit<'_>, from: &mut impl Read) -> Result<(), Sense> {
        let ranges = take(from, len)
            .map_err(|failure| self.failed(&failure))
            .and_then(|list| self.target.unmap_ranges(&list, &self.drive));
        let ranges = ranges.inspect_err(|sense| self.target.failed(*sense))?;
        for (start, len) in ranges {
            let zeroed = self.drive.zero(Zeroing::Discard, start, len, permit);
            zeroed.map_err(|failure| self.failed_at(&failure, true))?;
        }
        Ok(())
    }
}

fn take(from: &mut impl Read, len: u64) -> Result<Vec<u8>, Failure> {
    let mut data = vec![0; len.min(LIST) as usize];
    from.read_exact(&mut data).map_err(Failure::Memory)?;
    Ok(data)
}
