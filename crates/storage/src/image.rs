//! What every format comes to.

use crate::Format;
use crate::error::{beyond, read_only};
use crate::guid::Guid;
use ireko_vmcore::{Disk, ErrorHandling, Throttle};
use std::io;
use std::sync::Arc;

/// A disk as an image has it: bytes that many threads read and write at once.
pub trait Image: Send + Sync {
    fn format(&self) -> Format;
    /// Of the disk, in bytes, a multiple of 512.
    fn size(&self) -> u64;
    fn writable(&self) -> bool;
    /// What changes when the disk does, in formats by which an image knows the one behind it.
    fn identity(&self) -> Option<Guid> {
        None
    }
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Reads what needs no waiting for. False: it would need some.
    fn try_read_at(&self, offset: u64, data: &mut [u8]) -> bool {
        let _ = (offset, data);
        false
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes a range read as zeros, and gives back what it takes where that is possible.
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()>;
    /// A range that nobody needs any more: it may read as anything that was on this disk.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;
    /// What was written before is there after a crash of the host.
    fn flush(&self) -> io::Result<()>;
    /// Tables are as if nobody had the image open. It can be used again.
    fn rest(&self) -> io::Result<()> {
        self.flush()
    }
    /// What this layer alone has at an offset, and how far the same goes, up to `len`.
    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent>;
}

/// A stretch of a disk that is of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Not 0.
    pub len: u64,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Data,
    /// It reads as zeros and takes no room.
    Zeros,
    /// This layer has nothing here: what is behind it shows through, or zeros if nothing is.
    Behind,
}

/// The range's end, if it lies on the disk.
pub(crate) fn check(size: u64, offset: u64, len: u64) -> io::Result<u64> {
    offset.checked_add(len).filter(|&end| end <= size).ok_or_else(beyond)
}

/// The same of a range that is to be changed.
pub(crate) fn check_writable(image: &dyn Image, offset: u64, len: u64) -> io::Result<u64> {
    if image.writable() { check(image.size(), offset, len) } else { Err(read_only()) }
}

/// Reads what is behind a layer: zeros where that ends, or if nothing is there.
pub(crate) fn read_behind(parent: Option<&dyn Image>, offset: u64, data: &mut [u8]) -> io::Result<()> {
    let size = parent.map_or(0, |parent| parent.size());
    let there = size.saturating_sub(offset).min(data.len() as u64) as usize;
    let (have, none) = data.split_at_mut(there);
    none.fill(0);
    match parent {
        Some(parent) if there > 0 => parent.read_at(offset, have),
        _ => Ok(()),
    }
}

/// Writes zeros one by one, where an image has nothing better.
pub(crate) fn write_every_zero(image: &dyn Image, offset: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut done = 0;
    while done < len {
        let part = (len - done).min(ZEROS.len() as u64);
        image.write_at(offset + done, &ZEROS[..part as usize])?;
        done += part;
    }
    Ok(())
}

/// An image in a drive: one of those who use it.
pub struct Opened {
    image: Arc<dyn Image>,
    throttle: Arc<Throttle>,
    errors: Arc<ErrorHandling>,
}

impl Opened {
    pub fn new(image: Arc<dyn Image>, throttle: Arc<Throttle>, errors: Arc<ErrorHandling>) -> Self {
        Self { image, throttle, errors }
    }
}

impl Disk for Opened {
    fn size(&self) -> u64 {
        self.image.size()
    }
    fn read_only(&self) -> bool {
        !self.image.writable()
    }
    fn throttle(&self) -> Arc<Throttle> {
        self.throttle.clone()
    }
    fn error_handling(&self) -> Arc<ErrorHandling> {
        self.errors.clone()
    }
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.image.read_at(offset, data)
    }
    fn try_read_at(&mut self, offset: u64, data: &mut [u8]) -> bool {
        self.image.try_read_at(offset, data)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.image.write_at(offset, data)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.image.flush()
    }
    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.image.write_zeroes(offset, len)
    }
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.image.discard(offset, len)
    }
}
