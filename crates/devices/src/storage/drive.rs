//! What every controller asks of a disk: in pieces that a pause and a reset get between, within the disk and its limits.

use crate::service::Permit;
use ireko_vmcore::disk_errors::Access;
use ireko_vmcore::{Disk, ErrorHandling, Throttle};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const SECTOR: u64 = 512;
/// What moves at a time.
const CHUNK: u64 = 1 << 17;
/// What is zeroed or discarded at a time.
const ZEROED: u64 = 1 << 24;
/// What counts as one operation, as Hyper-V normalizes them.
const OPERATION: u64 = 8 << 10;

/// How often a request that waits looks whether it is to be tried again, and how often it is tried while the host's storage is full.
const LOOK: Duration = Duration::from_millis(50);
const AGAIN: Duration = Duration::from_secs(1);

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
    errors: Arc<ErrorHandling>,
    serial: String,
    chunk: Vec<u8>,
}

impl Drive {
    pub fn new(disk: Box<dyn Disk>, serial: &str) -> Self {
        let (throttle, errors) = (disk.throttle(), disk.error_handling());
        Self { disk, throttle, errors, serial: serial.to_owned(), chunk: Vec::new() }
    }

    /// Another medium, with limits of its own.
    pub(super) fn replace(&mut self, disk: Box<dyn Disk>) {
        (self.throttle, self.errors) = (disk.throttle(), disk.error_handling());
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

    /// Asks the host for something on the first `part` bytes of the buffer, again and again where its errors are not the guest's.
    fn ask(
        &mut self,
        access: Access,
        permit: Permit<'_>,
        part: usize,
        ask: impl Fn(&mut dyn Disk, &mut [u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut waiting = None;
        loop {
            let Err(error) = ask(&mut *self.disk, &mut self.chunk[..part]) else { return Ok(()) };
            waiting = self.errors.failed(access, &error, waiting);
            let Some(waits) = &waiting else { return Err(Failure::Host(error)) };
            let failed = Instant::now();
            while !(waits.is_to_be_tried() || waits.full && failed.elapsed() >= AGAIN) {
                permit.wait_idle(LOOK).map_err(Failure::Memory)?;
            }
        }
    }

    /// `to` takes what is read, piece by piece; its errors are the guest's.
    pub fn read(
        &mut self,
        start: u64,
        len: u64,
        to: &mut impl Write,
        permit: Permit<'_>,
    ) -> Result<(), Failure> {
        self.check(start, len)?;
        let mut done = 0;
        while done < len {
            let part = self.chunk(len - done);
            self.ask(Access::Read, permit, part, |disk, data| disk.read_at(start + done, data))?;
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

    pub fn write(
        &mut self,
        start: u64,
        len: u64,
        from: &mut impl Read,
        permit: Permit<'_>,
    ) -> Result<(), Failure> {
        self.check_writable(start, len)?;
        let mut done = 0;
        while done < len {
            let part = self.chunk(len - done);
            from.read_exact(&mut self.chunk[..part]).map_err(Failure::Memory)?;
            self.ask(Access::Write, permit, part, |disk, data| disk.write_at(start + done, data))?;
            done += part as u64;
        }
        Ok(())
    }

    /// What was written is in the host's storage afterwards.
    pub fn flush(&mut self, permit: Permit<'_>) -> Result<(), Failure> {
        self.ask(Access::Flush, permit, 0, |disk, _| disk.flush())
    }

    pub fn zero(&mut self, how: Zeroing, start: u64, len: u64, permit: Permit<'_>) -> Result<(), Failure> {
        self.check_writable(start, len)?;
        let mut done = 0;
        while done < len {
            drop(permit.pass().map_err(Failure::Memory)?);
            let part = (len - done).min(ZEROED);
            let at = start + done;
            match how {
                Zeroing::Zero => self.ask(Access::Write, permit, 0, |disk, _| disk.write_zeroes(at, part)),
                Zeroing::Discard => self.ask(Access::Discard, permit, 0, |disk, _| disk.discard(at, part)),
            }?;
            done += part;
        }
        Ok(())
    }
}
