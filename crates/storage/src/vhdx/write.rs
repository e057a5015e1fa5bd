//! Writing to a block that is got for it, or sector by sector.

use super::blocks::{FULLY_PRESENT, NOT_PRESENT, PARTIALLY_PRESENT, PRESENT};
use super::header::MIB;
use super::{Tables, Vhdx};
use crate::mapped::{Mapped, within};
use std::io;

impl Vhdx {
    /// Writes to a block what cannot be written in place: how much of it.
    pub(super) fn write_block(&self, tables: &mut Tables, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.write_back_if_crowded(tables)?;
        let size = self.metadata.block;
        let (block, start) = (offset / size, offset % size);
        let len = (data.len() as u64).min(size - start);
        let data = &data[..len as usize];
        let at = self.entry_at(block);
        let entry = self.entry(tables, at)?;
        let to_end = start + len == size || offset + len == self.metadata.size;
        let layered = self.layer.parent.is_some() && entry.state() == NOT_PRESENT && !(start == 0 && to_end);
        if entry.state() == PARTIALLY_PRESENT {
            within(tables.end, entry.offset(), size, "block")?;
            self.write_sectors(tables, offset, data, entry.offset())?;
            return Ok(len as usize);
        }
        let place = self.allocate(tables)?;
        let written = if layered {
            self.make_bits(tables, block).and_then(|()| self.write_sectors(tables, offset, data, place))
        } else {
            self.layer.store.write_at(place + start, data)
        };
        if let Err(error) = written {
            self.give_back(tables, place);
            return Err(error);
        }
        let state = if layered { PARTIALLY_PRESENT } else { FULLY_PRESENT };
        self.set_entry(tables, at, state, place)?;
        Ok(len as usize)
    }

    /// Writes whole sectors into a block, with what was around the data, and says that they are here.
    fn write_sectors(&self, tables: &mut Tables, offset: u64, data: &[u8], place: u64) -> io::Result<()> {
        let sector = u64::from(self.metadata.logical_sector);
        let block = offset / self.metadata.block;
        let start = block * self.metadata.block;
        let end = offset + data.len() as u64;
        let (from, to) = (offset / sector * sector, end.next_multiple_of(sector));
        if (from, to) == (offset, end) {
            self.layer.store.write_at(place + (from - start), data)?;
        } else {
            let mut bytes = vec![0; (to - from) as usize];
            self.read_held(tables, from, &mut bytes)?;
            bytes[(offset - from) as usize..(end - from) as usize].copy_from_slice(data);
            self.layer.store.write_at(place + (from - start), &bytes)?;
        }
        self.set_bits(tables, block, (from - start) / sector..(to - start) / sector, true)
    }

    /// A block of zeros.
    fn allocate(&self, tables: &mut Tables) -> io::Result<u64> {
        if let Some(place) = tables.free.pop() {
            return Ok(place);
        }
        self.extend(tables, self.metadata.block)
    }

    /// What was got and not used: if it cannot be made zeros now, it is when tables are written.
    fn give_back(&self, tables: &mut Tables, place: u64) {
        match crate::store::zero(self.layer.store.as_ref(), place, self.metadata.block) {
            Ok(()) => tables.free.push(place),
            Err(_) => tables.leaving.push(place),
        }
    }

    fn extend(&self, tables: &mut Tables, len: u64) -> io::Result<u64> {
        let place = tables.end;
        let end = place.checked_add(len).ok_or(io::ErrorKind::StorageFull)?;
        self.layer.store.set_size(end)?;
        tables.end = end;
        Ok(place)
    }

    /// The bits of a new block: there, and none of them set.
    fn make_bits(&self, tables: &mut Tables, block: u64) -> io::Result<()> {
        let at = self.bits_entry_at(block);
        let bits = self.entry(tables, at)?;
        if bits.state() != PRESENT {
            let place = self.extend(tables, MIB)?;
            self.set_entry(tables, at, PRESENT, place)?;
        } else {
            within(tables.end, bits.offset(), MIB, "block")?;
        }
        let sectors = self.metadata.block / u64::from(self.metadata.logical_sector);
        self.set_bits(tables, block, 0..sectors, false)
    }
}
