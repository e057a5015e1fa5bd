//! Writing: in place where sectors are here, otherwise to a block that is got for them.

use super::blocks::{FULLY_PRESENT, NOT_PRESENT, PARTIALLY_PRESENT, PRESENT, Place};
use super::header::MIB;
use super::{Tables, Vhdx, within};
use crate::image::{self, Image};
use std::io;

impl Vhdx {
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        image::check_writable(self, offset, data.len() as u64)?;
        let _shared = self.shared();
        let mut done = 0;
        while done < data.len() {
            let (at, left) = (offset + done as u64, &data[done..]);
            let mut tables = self.lock();
            self.begin(&mut tables)?;
            match self.run(&mut tables, at, left.len() as u64)? {
                (len, Place::Here(place)) => {
                    within(tables.end, place, len)?;
                    drop(tables);
                    self.store.write_at(place, &left[..len as usize])?;
                    done += len as usize;
                }
                _ => done += self.write_new(&mut tables, at, left)?,
            }
        }
        Ok(())
    }

    /// Writes what cannot be written in place: how much of it.
    fn write_new(&self, tables: &mut Tables, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.write_back_if_crowded(tables)?;
        let size = self.metadata.block;
        let (block, start) = (offset / size, offset % size);
        let len = (data.len() as u64).min(size - start);
        let data = &data[..len as usize];
        let at = self.entry_at(block);
        let entry = self.entry(tables, at)?;
        let to_end = start + len == size || offset + len == self.size();
        let layered = self.parent.is_some() && entry.state() == NOT_PRESENT && !(start == 0 && to_end);
        if entry.state() == PARTIALLY_PRESENT {
            within(tables.end, entry.offset(), size)?;
            self.write_sectors(tables, offset, data, entry.offset())?;
            return Ok(len as usize);
        }
        let place = self.allocate(tables)?;
        let written = if layered {
            self.make_bits(tables, block).and_then(|()| self.write_sectors(tables, offset, data, place))
        } else {
            self.store.write_at(place + start, data)
        };
        if let Err(error) = written {
            tables.leaving.push(place);
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
            self.store.write_at(place + (from - start), data)?;
        } else {
            let mut bytes = vec![0; (to - from) as usize];
            self.read_held(tables, from, &mut bytes)?;
            bytes[(offset - from) as usize..(end - from) as usize].copy_from_slice(data);
            self.store.write_at(place + (from - start), &bytes)?;
        }
        self.set_bits(tables, block, (from - start) / sector..(to - start) / sector, true)
    }

    /// Reads while the tables are held.
    fn read_held(&self, tables: &mut Tables, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (len, place) = self.run(tables, at, (data.len() - done) as u64)?;
            self.fetch(at, place, &mut data[done..done + len as usize])?;
            done += len as usize;
        }
        Ok(())
    }

    /// A block of zeros.
    fn allocate(&self, tables: &mut Tables) -> io::Result<u64> {
        if let Some(place) = tables.free.pop() {
            return Ok(place);
        }
        self.extend(tables, self.metadata.block)
    }

    fn extend(&self, tables: &mut Tables, len: u64) -> io::Result<u64> {
        let place = tables.end;
        let end = place.checked_add(len).ok_or(io::ErrorKind::StorageFull)?;
        self.store.set_size(end)?;
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
            within(tables.end, bits.offset(), MIB)?;
        }
        let sectors = self.metadata.block / u64::from(self.metadata.logical_sector);
        self.set_bits(tables, block, 0..sectors, false)
    }
}
