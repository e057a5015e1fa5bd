//! Writing: in place where sectors are here, otherwise to a block that is got for them. Zeroing and discarding.

use super::footer::{FOOTER, Header};
use super::{Tables, UNUSED, Vhd};
use crate::SECTOR;
use crate::bytes::{be32, put};
use crate::mapped::{Mapped, Mapping, within};
use std::io;

impl Vhd {
    /// A run that may be overwritten where it is.
    pub(super) fn own(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
        match self.run(tables, offset, len)? {
            (len, Mapping::Here(place)) if self.header.is_none() => Ok(Some((len, place))),
            (len, Mapping::Here(place)) => Ok(Some((len, within(tables.end, place, len, "block")?))),
            _ => Ok(None),
        }
    }

    /// Writes to a block what cannot be written in place: how much of it.
    pub(super) fn write_block(
        &self,
        tables: &mut Tables,
        header: &Header,
        offset: u64,
        data: &[u8],
    ) -> io::Result<usize> {
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
            within(tables.end, place, bits + header.block, "block")?;
            self.layer.store.write_at(place + bits + start, data)?;
            Self::set_bits(tables, place, sectors)?;
            return Ok(len as usize);
        }
        let place = self.allocate(tables, header)?;
        let sector = u32::try_from(place / SECTOR).map_err(|_| io::ErrorKind::StorageFull)?;
        // Without anything behind, all that is not written is zeros, and here.
        let fill = if self.layer.parent.is_some() { 0 } else { 0xff };
        let written = self
            .layer
            .store
            .write_at(place, &vec![fill; bits as usize])
            .and_then(|()| self.layer.store.write_at(place + bits + start, data));
        if let Err(error) = written {
            match crate::store::zero(self.layer.store.as_ref(), place, bits + header.block) {
                Ok(()) => tables.free.push(place),
                Err(_) => tables.leaving.push(place),
            }
            return Err(error);
        }
        if self.layer.parent.is_some() {
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
        self.layer.store.write_at(end, self.footer.bytes())?;
        if tables.ended {
            // Bits are put over the old one.
            self.layer.store.write_at(place, &[0; FOOTER as usize])?;
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

    /// A block that reads as zeros without any room.
    pub(super) fn give_up(&self, tables: &mut Tables, number: u64) -> io::Result<()> {
        let Some(header) = &self.header else { return Ok(()) };
        let at = Self::entry_at(header, number);
        let entry = be32(tables.pages.from(at)?, 0);
        if entry != UNUSED {
            let whole = Self::bits(header.block) + header.block;
            let place = within(tables.end, u64::from(entry) * SECTOR, whole, "block")?;
            put(tables.pages.change(at)?, 0, &UNUSED.to_be_bytes());
            tables.leaving.push(place);
        }
        Ok(())
    }

    /// Of what is here holes are made.
    pub(super) fn make_holes(&self, mut offset: u64, end: u64) -> io::Result<()> {
        while offset < end {
            let _shared = self.layer.shared();
            let mut tables = self.layer.lock();
            let (len, place) = self.run(&mut tables, offset, end - offset)?;
            if let Mapping::Here(at) = place {
                within(tables.end, at, len, "block")?;
                drop(tables);
                crate::store::zero(self.layer.store.as_ref(), at, len)?;
            }
            offset += len;
        }
        Ok(())
    }
}
