//! What every controller asks of a disk: in pieces that a pause and a reset get between, within the disk and its limits.

use crate::service::Permit;
use ireko_vmcore::{Disk, Throttle};
use std::io::{self, Read, Write};
use std::sync::Arc;

pub const SECTOR: u64 = 512;
/// What moves at a time.
const CHUNK: u64 = 1 << 17;
/// What is zeroed or discarded at a time.
const ZEROED: u64 = 1 << 24;
/// What counts as one operation, as Hyper-V normalizes them.
const OPERATION: u64 = 8 << 10;

/// Why a disk did not do it.
#[derive(Debug)]
pub enum Failure {
    /// The range does not lie on the disk.
    Range,
    ReadOnly,
    /// The guest's memory, or its driver's reset.
    Memory(io::Error),
    /// The host's file.
    Host(io::Error),
}

/// How a range is to be zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeroing {
    /// It reads as zeros afterwards.
    Zero,
    /// It is not needed any more.
    Discard,
}

/// A disk with its identity, its limits and a buffer of one piece.
pub struct Drive {
    disk: Box<dyn Disk>,
    throttle: Arc<Throttle>,
    serial: String,
    chunk: Vec<u8>,
}

impl Drive {
    pub fn new(disk: Box<dyn Disk>, serial: &str) -> Self {
        Self { throttle: disk.throttle(), disk, serial: serial.to_owned(), chunk: Vec::new() }
    }

    /// Another medium, with limits of its own.
    pub(super) fn replace(&mut self, disk: Box<dyn Disk>) {
        self.throttle = disk.throttle();
        self.disk = disk;
    }

    pub fn size(&self) -> u64 {
        self.disk.size()
    }
    pub fn sectors(&self) -> u64 {
        self.disk.size() / SECTOR
    }
    pub fn read_only(&self) -> bool {
        self.disk.read_only()
    }
    pub fn serial(&self) -> &str {
        &self.serial
    }
    pub fn limited(&self) -> bool {
        self.throttle.limited()
    }

    /// Waits until so many bytes may move.
    pub fn pay(&self, permit: Permit<'_>, bytes: u64) -> io::Result<()> {
        permit.pay(&self.throttle, bytes, bytes.div_ceil(OPERATION).max(1))
    }

    /// The range, if it lies on the disk.
    pub fn check(&self, start: u64, len: u64) -> Result<(), Failure> {
        let end = start.checked_add(len).filter(|&end| end <= self.disk.size());
        end.map(drop).ok_or(Failure::Range)
    }

    fn check_writable(&self, start: u64, len: u64) -> Result<(), Failure> {
        if self.disk.read_only() { Err(Failure::ReadOnly) } else { self.check(start, len) }
    }

    fn chunk(&mut self, left: u64) -> usize {
        let len = left.min(CHUNK) as usize;
        if self.chunk.len() < len {
            self.chunk.resize(len, 0);
        }
        len
    }

    /// `to` takes what is read, piece by piece; its errors are the guest's.
    pub fn read(&mut self, start: u64, len: u64, to: &mut impl Write) -> Result<(), Failure> {
        self.check(start, len)?;
        let mut done = 0;
        while done < len {
            let part = self.chunk(len - done);
            self.disk.read_at(start + done, &mut self.chunk[..part]).map_err(Failure::Host)?;
            to.write_all(&self.chunk[..part]).map_err(Failure::Memory)?;
            done += part as u64;
        }
        Ok(())
    }

    /// Reads a piece that the host has at hand; `None`: it has not, or the piece is too large, or not on the disk.
    pub fn try_read(&mut self, start: u64, len: u64) -> Option<&[u8]> {
        self.check(start, len).ok().filter(|()| len <= CHUNK)?;
        let part = self.chunk(len);
        self.disk.try_read_at(start, &mut self.chunk[..part]).then_some(&self.chunk[..part])
    }

    pub fn write(&mut self, start: u64, len: u64, from: &mut impl Read) -> Result<(), Failure> {
        self.check_writable(start, len)?;
        let mut done = 0;
        while done < len {
            let part = self.chunk(len - done);
            from.read_exact(&mut self.chunk[..part]).map_err(Failure::Memory)?;
            self.disk.write_at(start + done, &self.chunk[..part]).map_err(Failure::Host)?;
            done += part as u64;
        }
        Ok(())
    }

    /// What was written is in the host's storage afterwards.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.disk.flush().map_err(Failure::Host)
    }

    pub fn zero(&mut self, how: Zeroing, start: u64, len: u64, permit: Permit<'_>) -> Result<(), Failure> {
        self.check_writable(start, len)?;
        let mut done = 0;
        while done < len {
            drop(permit.pass().map_err(Failure::Memory)?);
            let part = (len - done).min(ZEROED);
            let (at, disk) = (start + done, &mut self.disk);
            let zeroed = match how {
                Zeroing::Zero => disk.write_zeroes(at, part),
                Zeroing::Discard => disk.discard(at, part),
            };
            zeroed.map_err(Failure::Host)?;
            done += part;
        }
        Ok(())
    }
}
