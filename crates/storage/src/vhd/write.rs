//! Writing: in place where sectors are here, otherwise to a block that is got for them. Zeroing and discarding.

use super::footer::{FOOTER, Header};
use super::{Place, Tables, UNUSED, Vhd};
use crate::SECTOR;
use crate::bytes::{be32, put};
use crate::error::damaged;
use crate::image::{self, Image, write_every_zero};
use std::io;

impl Vhd {
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        image::check_writable(self, offset, data.len() as u64)?;
        let _shared = self.shared();
        let Some(header) = &self.header else { return self.store.write_at(offset, data) };
        let mut done = 0;
        while done < data.len() {
            let (at, left) = (offset + done as u64, &data[done..]);
            let mut tables = self.lock();
            match self.run(&mut tables, at, left.len() as u64)? {
                (len, Place::Here(place)) => {
                    within(tables.end, place, len)?;
                    drop(tables);
                    self.store.write_at(place, &left[..len as usize])?;
                    done += len as usize;
                }
                _ => done += self.write_new(&mut tables, header, at, left)?,
            }
        }
        Ok(())
    }

    /// Writes what cannot be written in place: how much of it.
    fn write_new(&self, tables: &mut Tables, header: &Header, offset: u64, data: &[u8]) -> io::Result<usize> {
        if tables.pages.is_crowded() {
            self.write_back(tables)?;
        }
        let (number, start) = (offset / header.block, offset % header.block);
        let len = (data.len() as u64).min(header.block - start);
        let data = &data[..len as usize];
        let at = Self::entry_at(header, number);
        let entry = be32(tables.pages.from(at)?, 0);
        let bits = Self::bits(header.block);
        // What is written is whole sectors: nobody asks a disk for less.
        let sectors = start / SECTOR..(start + len).div_ceil(SECTOR);
        if entry != UNUSED {
            let place = u64::from(entry) * SECTOR;
            within(tables.end, place, bits + header.block)?;
            self.store.write_at(place + bits + start, data)?;
            Self::set_bits(tables, place, sectors)?;
            return Ok(len as usize);
        }
        let place = self.allocate(tables, header)?;
        let sector = u32::try_from(place / SECTOR).map_err(|_| io::ErrorKind::StorageFull)?;
        // Without anything behind, all that is not written is zeros, and here.
        let fill = if self.parent.is_some() { 0 } else { 0xff };
        let written = self
            .store
            .write_at(place, &vec![fill; bits as usize])
            .and_then(|()| self.store.write_at(place + bits + start, data));
        if let Err(error) = written {
            tables.leaving.push(place);
            return Err(error);
        }
        if self.parent.is_some() {
            Self::set_bits(tables, place, sectors)?;
        }
        put(tables.pages.change(at)?, 0, &sector.to_be_bytes());
        Ok(len as usize)
    }

    /// A block of zeros, with room for its bits. The footer is behind it before it is where the footer was.
    fn allocate(&self, tables: &mut Tables, header: &Header) -> io::Result<u64> {
        if let Some(place) = tables.free.pop() {
            return Ok(place);
        }
        let (place, end) = (tables.end, tables.end + Self::bits(header.block) + header.block);
        self.store.write_at(end, self.footer.bytes())?;
        if tables.ended {
            // Bits are put over the old one.
            self.store.write_at(place, &[0; FOOTER as usize])?;
        }
        (tables.end, tables.ended) = (end, true);
        Ok(place)
    }

    /// Says of sectors of a block that they are here.
    fn set_bits(tables: &mut Tables, block: u64, sectors: std::ops::Range<u64>) -> io::Result<()> {
        for byte in sectors.start / 8..sectors.end.div_ceil(8) {
            let (from, to) = (sectors.start.max(byte * 8) % 8, sectors.end.min(byte * 8 + 8) - byte * 8);
            let mask = (0xffu16 >> from) as u8 & !((0xffu16 >> to) as u8);
            if tables.pages.from(block + byte)?[0] & mask != mask {
                tables.pages.change(block + byte)?[0] |= mask;
            }
        }
        Ok(())
    }

    /// `zeros`: the range must read as zeros afterwards.
    pub(super) fn clear(&self, offset: u64, len: u64, zeros: bool) -> io::Result<()> {
        let end = image::check_writable(self, offset, len)?;
        let header = match &self.header {
            // What is behind shows where a block is not here; a fixed image keeps its room.
            Some(header) if self.parent.is_none() => header,
            _ if zeros => return write_every_zero(self as &dyn Image, offset, len),
            _ => return Ok(()),
        };
        let first = offset.div_ceil(header.block);
        let last = if end == self.size() { end.div_ceil(header.block) } else { end / header.block };
        if first >= last {
            return self.clear_parts(offset, end);
        }
        self.clear_parts(offset, first * header.block)?;
        self.clear_blocks(header, first, last)?;
        self.clear_parts((last * header.block).min(end), end)
    }

    fn clear_blocks(&self, header: &Header, first: u64, last: u64) -> io::Result<()> {
        let alone = self.alone();
        let mut tables = self.lock();
        for number in first..last {
            if tables.pages.is_crowded() {
                self.write_back_alone(&mut tables, &alone)?;
            }
            let at = Self::entry_at(header, number);
            let entry = be32(tables.pages.from(at)?, 0);
            if entry != UNUSED {
                let place = u64::from(entry) * SECTOR;
                within(tables.end, place, Self::bits(header.block) + header.block)?;
                put(tables.pages.change(at)?, 0, &UNUSED.to_be_bytes());
                tables.leaving.push(place);
            }
        }
        Ok(())
    }

    /// Of what is here holes are made.
    fn clear_parts(&self, mut offset: u64, end: u64) -> io::Result<()> {
        while offset < end {
            let _shared = self.shared();
            let mut tables = self.lock();
            let (len, place) = self.run(&mut tables, offset, end - offset)?;
            if let Place::Here(at) = place {
                within(tables.end, at, len)?;
                drop(tables);
                crate::store::zero(self.store.as_ref(), at, len)?;
            }
            offset += len;
        }
        Ok(())
    }
}

/// Whether a range is in front of the footer.
fn within(end: u64, place: u64, len: u64) -> io::Result<()> {
    match crate::pages::whole(end, place, len) {
        true => Ok(()),
        false => Err(damaged(format_args!("a block would be at {place:#x}"))),
    }
}
