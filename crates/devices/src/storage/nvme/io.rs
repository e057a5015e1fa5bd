//! Commands of the NVM command set (6).

use super::engine::{Done, Serving};
use super::queue::Command;
use super::regs::*;
use crate::access::value;
use crate::storage::{Dma, Failure, SECTOR, Segment, Zeroing};
use std::io::Read;

impl Serving<'_> {
    pub fn io(&mut self, command: &Command) -> Done {
        const ALL: u32 = u32::MAX;
        if command.opcode() == FLUSH && command.namespace() == ALL || command.namespace() == 1 {
            self.on_namespace(command)
        } else {
            Err(INVALID_NAMESPACE)
        }
    }

    fn on_namespace(&mut self, command: &Command) -> Done {
        let (start, len) = range(command);
        match command.opcode() {
            FLUSH => self.work.drive.flush(self.permit).map_err(status)?,
            READ => {
                let regions = self.regions(command, start, len)?;
                let mut dma = Dma::new(self.memory, self.permit, regions);
                self.work.drive.read(start, len, &mut dma, self.permit).map_err(status)?;
            }
            WRITE => {
                let regions = self.regions(command, start, len)?;
                let mut dma = Dma::new(self.memory, self.permit, regions);
                self.work.drive.write(start, len, &mut dma, self.permit).map_err(status)?;
                self.force(command)?;
            }
            WRITE_ZEROES => {
                self.work.drive.zero(Zeroing::Zero, start, len, self.permit).map_err(status)?;
                self.force(command)?;
            }
            DATASET => self.dataset(command)?,
            _ => return Err(INVALID_OPCODE),
        }
        Ok(Some(0))
    }

    /// Where data is, once it may move.
    fn regions(&self, command: &Command, start: u64, len: u64) -> Result<Vec<Segment>, Status> {
        self.work.drive.check(start, len).map_err(status)?;
        let regions = command.regions(self.memory, self.permit, len)?;
        self.work.drive.pay(self.permit, len).map_err(|_| TRANSFER_ERROR)?;
        Ok(regions)
    }

    fn force(&mut self, command: &Command) -> Result<(), Status> {
        if command.dword(12) & FUA != 0 { self.work.drive.flush(self.permit).map_err(status) } else { Ok(()) }
    }

    /// Dataset management (6.7): what is not needed any more.
    fn dataset(&mut self, command: &Command) -> Result<(), Status> {
        const RANGE: usize = 16;
        let mut list = vec![0; ((command.dword(10) & 0xff) as usize + 1) * RANGE];
        let regions = command.regions(self.memory, self.permit, list.len() as u64)?;
        let mut dma = Dma::new(self.memory, self.permit, regions);
        dma.read_exact(&mut list).map_err(|_| TRANSFER_ERROR)?;
        if command.dword(11) & DEALLOCATE == 0 {
            return Ok(());
        }
        list.chunks_exact(RANGE).try_for_each(|range| {
            let start = value(&range[8..]).checked_mul(SECTOR).ok_or(OUT_OF_RANGE)?;
            let len = value(&range[4..8]) * SECTOR;
            self.work.drive.zero(Zeroing::Discard, start, len, self.permit).map_err(status)
        })
    }
}

/// As bytes; what is too far for a number is too far for any disk.
fn range(command: &Command) -> (u64, u64) {
    let count = u64::from(command.dword(12) & 0xffff) + 1;
    (command.long(10).saturating_mul(SECTOR), count * SECTOR)
}

fn status(failure: Failure) -> Status {
    match failure {
        Failure::Range => OUT_OF_RANGE,
        Failure::ReadOnly => READ_ONLY,
        Failure::Memory(_) => TRANSFER_ERROR,
        Failure::Host(_) => UNRECOVERED,
    }
}
