//! Flash memory with Intel's command set: where UEFI keeps its variables.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use ireko_vmcore::{Device, SavedState, Space};
use regs::*;
use std::io;
use std::ops::Range;

/// Where what was written is kept: an offset, and what is there from now on.
pub type Keep = Box<dyn FnMut(u64, &[u8]) -> io::Result<()> + Send>;

/// What the next write is, or what reads give.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Array,
    Status,
    Program,
    Erase,
}

/// One flash memory. Bytes that are programmed are kept when the guest reads the array again, blocks when they are erased: in the
/// order of the guest's commands, on which UEFI's fault-tolerant writes rely.
pub struct Flash {
    content: Vec<u8>,
    keep: Keep,
    mode: Mode,
    status: u8,
    /// Programmed, not yet kept.
    dirty: Range<usize>,
}

impl Flash {
    pub fn new(content: Vec<u8>, keep: Keep) -> Self {
        Self { content, keep, mode: Mode::Array, status: 0, dirty: 0..0 }
    }

    fn command(&mut self, command: u8) {
        self.mode = match command {
            PROGRAM | PROGRAM_ALTERNATE => Mode::Program,
            ERASE => Mode::Erase,
            READ_STATUS => Mode::Status,
            CLEAR_STATUS => {
                self.status = 0;
                Mode::Array
            }
            // What is not known is as if the array were asked for.
            _ => Mode::Array,
        };
        if self.mode == Mode::Array {
            self.keep_programmed();
        }
    }

    fn program(&mut self, offset: u64, data: &[u8]) {
        let start = (offset as usize).min(self.content.len());
        let end = (start + data.len()).min(self.content.len());
        self.content[start..end].copy_from_slice(&data[..end - start]);
        if self.dirty.end != start {
            self.keep_programmed();
            self.dirty = start..start;
        }
        self.dirty.end = end;
        self.status |= STATUS_READY;
        self.mode = Mode::Status;
    }

    fn keep_programmed(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        if !dirty.is_empty() && (self.keep)(dirty.start as u64, &self.content[dirty]).is_err() {
            self.status |= STATUS_PROGRAM_FAILED;
        }
    }

    fn erase(&mut self, offset: u64, confirm: u8) {
        self.mode = Mode::Status;
        self.status |= STATUS_READY;
        if confirm != ERASE_CONFIRM {
            self.status |= STATUS_SEQUENCE;
            return;
        }
        self.keep_programmed();
        let start = (offset / BLOCK * BLOCK) as usize;
        let end = (start + BLOCK as usize).min(self.content.len());
        let Some(block) = self.content.get_mut(start..end) else { return };
        block.fill(0xff);
        if (self.keep)(start as u64, block).is_err() {
            self.status |= STATUS_ERASE_FAILED;
        }
    }
}

impl Device for Flash {
    fn name(&self) -> &'static str {
        "flash"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Mmio, self.content.len() as u64)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        match self.mode {
            Mode::Array => crate::access::copy_out(&self.content, offset, data),
            _ => data.fill(self.status),
        }
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        let first = data.first().copied().unwrap_or(READ_ARRAY);
        match self.mode {
            Mode::Program => self.program(offset, data),
            Mode::Erase => self.erase(offset, first),
            _ => self.command(first),
        }
    }
    fn reset(&mut self) {
        self.keep_programmed();
        (self.mode, self.status) = (Mode::Array, 0);
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

impl Drop for Flash {
    /// The machine may end between a byte and the command that would have kept it.
    fn drop(&mut self) {
        self.keep_programmed();
    }
}
