//! Resources: pictures that the host keeps for the guest, and what of guest memory is behind them.

use super::regs::*;
use crate::lock;
use crate::service::Permit;
use crate::storage::{Segment, dma};
use ireko_vmcore::Memory;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// Bytes of all resources' pixels: two of the largest screens, and cursors.
pub const MOST_BYTES: u64 = 32 << 20;
pub const MOST_RESOURCES: usize = 1024;
/// Segments behind one resource, and behind all of them.
pub const MOST_SEGMENTS: usize = 1 << 14;
pub const MOST_SEGMENTS_IN_ALL: usize = 1 << 16;
/// The most that is copied at a time.
const PIECE: usize = 1 << 16;

/// Columns and lines of a picture, from the top left on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rectangle {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

impl Rectangle {
    /// Not empty, and inside of so many columns and lines.
    pub fn fits(self, width: u32, height: u32) -> bool {
        let inside = |start: u32, size: u32, all: u32| size > 0 && size <= all && start <= all - size;
        inside(self.x, self.width, width) && inside(self.y, self.height, height)
    }
}

/// Guest memory in pieces, as one.
#[derive(Debug, Default)]
pub struct Backing {
    segments: Vec<Segment>,
    /// Where each ends.
    ends: Vec<u64>,
}

impl Backing {
    pub fn new(segments: Vec<Segment>) -> Self {
        let end = |sum: &mut u64, segment: &Segment| {
            *sum += segment.len;
            Some(*sum)
        };
        // Each has less than 4 GiB.
        let ends = segments.iter().scan(0, end).collect();
        Self { segments, ends }
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Reads from an offset on. An error: there is not so much, or it is no memory, or the device was reset.
    fn read(
        &self,
        memory: &Memory,
        permit: Permit<'_>,
        mut offset: u64,
        mut data: &mut [u8],
    ) -> io::Result<()> {
        while !data.is_empty() {
            let number = self.ends.partition_point(|end| *end <= offset);
            let (Some(segment), Some(end)) = (self.segments.get(number), self.ends.get(number)) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let left = end - offset;
            let (now, rest) = data.split_at_mut(data.len().min(left.min(1 << 32) as usize));
            let address = segment.address.wrapping_add(segment.len - left);
            dma::read(memory, permit, address, now)?;
            offset += now.len() as u64;
            data = rest;
        }
        Ok(())
    }
}

/// A picture. Its pixels have a lock of their own, so that nobody waits for the copy of one who wants to let go of it.
#[derive(Clone)]
pub struct Resource {
    /// Which byte of a pixel is red, green and blue.
    pub order: [usize; 3],
    pub width: u32,
    pub height: u32,
    pub pixels: Arc<Mutex<Vec<u8>>>,
    backing: Arc<Backing>,
}

impl Resource {
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    fn bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(PIXEL)
    }

    /// Bytes from a line to the next.
    pub fn pitch(&self) -> usize {
        self.width as usize * PIXEL as usize
    }

    /// Takes a rectangle's pixels from guest memory, where its first is at `offset` and lines are as long as the picture's.
    pub fn transfer(
        &self,
        memory: &Memory,
        permit: Permit<'_>,
        rectangle: Rectangle,
        offset: u64,
    ) -> io::Result<()> {
        let (pitch, size) = (self.pitch(), rectangle.width as usize * PIXEL as usize);
        // Whole lines lie one behind the other.
        let at_once = if size == pitch { (PIECE / pitch).max(1) } else { 1 };
        let mut piece = vec![0; size * at_once.min(rectangle.height as usize)];
        for line in (0..rectangle.height as usize).step_by(at_once) {
            let lines = at_once.min(rectangle.height as usize - line);
            let from = offset.checked_add((line * pitch) as u64).ok_or(io::ErrorKind::InvalidInput)?;
            let piece = &mut piece[..size * lines];
            self.backing.read(memory, permit, from, piece)?;
            let to = (rectangle.y as usize + line) * pitch + rectangle.x as usize * PIXEL as usize;
            if let Some(room) = lock(&self.pixels).get_mut(to..to + piece.len()) {
                room.copy_from_slice(piece);
            }
        }
        Ok(())
    }
}

/// All resources, within their bounds.
#[derive(Default)]
pub struct Resources {
    by_id: BTreeMap<u32, Resource>,
}

impl Resources {
    pub fn all(&self) -> impl Iterator<Item = (&u32, &Resource)> {
        self.by_id.iter()
    }

    pub fn find(&self, id: u32) -> Result<&Resource, u32> {
        self.by_id.get(&id).ok_or(ERR_INVALID_RESOURCE_ID)
    }

    /// Makes one, black.
    pub fn create(&mut self, id: u32, format: u32, width: u32, height: u32) -> Result<(), u32> {
        if id == 0 || self.by_id.contains_key(&id) {
            return Err(ERR_INVALID_RESOURCE_ID);
        }
        let order = FORMATS.iter().find(|(own, _)| *own == format).ok_or(ERR_INVALID_PARAMETER)?.1;
        let mut resource = Resource { order, width, height, pixels: Arc::default(), backing: Arc::default() };
        let taken: u64 = self.by_id.values().map(Resource::bytes).sum();
        let room = MOST_BYTES - taken.min(MOST_BYTES);
        match u64::from(width).checked_mul(u64::from(height)) {
            None | Some(0) => return Err(ERR_INVALID_PARAMETER),
            Some(pixels) if pixels > room / u64::from(PIXEL) => return Err(ERR_OUT_OF_MEMORY),
            Some(_) if self.by_id.len() >= MOST_RESOURCES => return Err(ERR_OUT_OF_MEMORY),
            Some(pixels) => {
                resource.pixels = Arc::new(Mutex::new(vec![0; (pixels * u64::from(PIXEL)) as usize]))
            }
        }
        self.by_id.insert(id, resource);
        Ok(())
    }

    pub fn remove(&mut self, id: u32) -> Result<(), u32> {
        self.by_id.remove(&id).map(drop).ok_or(ERR_INVALID_RESOURCE_ID)
    }

    /// How many segments a resource may have. An error: it is not there, or has some.
    pub fn room(&self, id: u32) -> Result<usize, u32> {
        if !self.find(id)?.backing.segments.is_empty() {
            return Err(ERR_UNSPEC);
        }
        let taken: usize = self.by_id.values().map(|resource| resource.backing.segments.len()).sum();
        Ok(MOST_SEGMENTS.min(MOST_SEGMENTS_IN_ALL.saturating_sub(taken)))
    }

    /// Puts guest memory behind a resource, or takes it away.
    pub fn back(&mut self, id: u32, segments: Vec<Segment>) -> Result<(), u32> {
        let resource = self.by_id.get_mut(&id).ok_or(ERR_INVALID_RESOURCE_ID)?;
        resource.backing = Arc::new(Backing::new(segments));
        Ok(())
    }

    #[cfg(test)]
    pub fn count(&self) -> (usize, u64) {
        (self.by_id.len(), self.by_id.values().map(Resource::bytes).sum())
    }
}
