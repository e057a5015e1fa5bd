//! Guest memory that a controller was told of in pieces, as one stream.

use crate::service::Permit;
use ireko_vmcore::Memory;
use std::io::{self, Read, Write};
use vm_memory::{Bytes, GuestAddress};

/// A piece of guest memory, wherever the guest says: it may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub address: u64,
    pub len: u64,
}

/// The most that is copied at a time.
const PIECE: u64 = 1 << 17;

/// Reads from and writes to segments, one after the other. Each copy waits out a pause, and fails once the device was reset or
/// where no memory is: another device's registers are none.
pub struct Dma<'a> {
    memory: &'a Memory,
    permit: Permit<'a>,
    segments: std::vec::IntoIter<Segment>,
    now: Segment,
    moved: u64,
}

impl<'a> Dma<'a> {
    pub fn new(memory: &'a Memory, permit: Permit<'a>, segments: Vec<Segment>) -> Self {
        Self { memory, permit, segments: segments.into_iter(), now: Segment { address: 0, len: 0 }, moved: 0 }
    }

    /// How many bytes there is room for.
    pub fn left(&self) -> u64 {
        let rest = self.segments.as_slice().iter();
        rest.fold(self.now.len, |sum, segment| sum.saturating_add(segment.len))
    }

    /// Bytes that were copied.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// The next piece that is not empty, of `most` bytes at most.
    fn next(&mut self, most: usize) -> Option<(GuestAddress, usize)> {
        while self.now.len == 0 {
            self.now = self.segments.next()?;
        }
        let len = self.now.len.min(most as u64).min(PIECE);
        Some((GuestAddress(self.now.address), len as usize))
    }

    fn advance(&mut self, by: usize) {
        self.now =
            Segment { address: self.now.address.wrapping_add(by as u64), len: self.now.len - by as u64 };
        self.moved += by as u64;
    }
}

impl Read for Dma<'_> {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        let Some((address, len)) = self.next(data.len()).filter(|_| !data.is_empty()) else { return Ok(0) };
        read(self.memory, self.permit, address.0, &mut data[..len])?;
        self.advance(len);
        Ok(len)
    }
}

impl Write for Dma<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Some((address, len)) = self.next(data.len()).filter(|_| !data.is_empty()) else { return Ok(0) };
        write(self.memory, self.permit, address.0, &data[..len])?;
        self.advance(len);
        Ok(len)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what a controller finds by itself: a descriptor, a table.
pub fn read(memory: &Memory, permit: Permit<'_>, address: u64, data: &mut [u8]) -> io::Result<()> {
    let _pass = permit.pass()?;
    memory.ram().read_slice(data, GuestAddress(address)).map_err(io::Error::other)
}

/// Writes what a controller says of itself: a completion.
pub fn write(memory: &Memory, permit: Permit<'_>, address: u64, data: &[u8]) -> io::Result<()> {
    let _pass = permit.pass()?;
    memory.ram().write_slice(data, GuestAddress(address)).map_err(io::Error::other)
}
