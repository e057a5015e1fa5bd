//! Zeroing and discarding: whole blocks go, parts of blocks become holes in the file.

use super::blocks::{FULLY_PRESENT, NOT_PRESENT, PARTIALLY_PRESENT, Place, ZERO};
use super::{Tables, Vhdx, within};
use crate::image::{self, Image, write_every_zero};
use std::io;

impl Vhdx {
    /// `zeros`: the range must read as zeros afterwards.
    pub(super) fn clear(&self, offset: u64, len: u64, zeros: bool) -> io::Result<()> {
        let end = image::check_writable(self, offset, len)?;
        let block = self.metadata.block;
        let first = offset.div_ceil(block);
        let last = if end == self.size() { end.div_ceil(block) } else { end / block };
        if self.metadata.fixed || first >= last {
            return self.clear_parts(offset, end, zeros);
        }
        self.clear_parts(offset, first * block, zeros)?;
        self.clear_blocks(first, last)?;
        self.clear_parts((last * block).min(end), end, zeros)
    }

    fn clear_blocks(&self, first: u64, last: u64) -> io::Result<()> {
        let alone = self.alone();
        let mut tables = self.lock();
        self.begin(&mut tables)?;
        for block in first..last {
            if tables.pages.dirty() >= tables.log.room() / 2 {
                self.write_back_alone(&mut tables, &alone)?;
            }
            self.clear_block(&mut tables, block)?;
        }
        Ok(())
    }

    fn clear_block(&self, tables: &mut Tables, block: u64) -> io::Result<()> {
        let at = self.entry_at(block);
        let old = self.entry(tables, at)?;
        let cleared = if self.parent.is_some() { ZERO } else { NOT_PRESENT };
        if old.state() == cleared {
            return Ok(());
        }
        if matches!(old.state(), FULLY_PRESENT | PARTIALLY_PRESENT) {
            tables.leaving.push(within(tables.end, old.offset(), self.metadata.block)?);
        }
        self.set_entry(tables, at, cleared, 0)
    }

    /// Of what is here holes are made; what is behind is covered only if it must be.
    fn clear_parts(&self, mut offset: u64, end: u64, zeros: bool) -> io::Result<()> {
        while offset < end {
            let shared = self.shared();
            let mut tables = self.lock();
            self.begin(&mut tables)?;
            let (len, place) = self.run(&mut tables, offset, end - offset)?;
            if let Place::Here(at) = place {
                within(tables.end, at, len)?;
            }
            drop(tables);
            match place {
                Place::Here(at) if self.metadata.fixed && zeros => {
                    drop((shared, at));
                    write_every_zero(self as &dyn Image, offset, len)?;
                }
                Place::Here(at) if !self.metadata.fixed => {
                    crate::store::zero(self.store.as_ref(), at, len)?;
                }
                Place::Behind if zeros && self.parent.is_some() => {
                    drop(shared);
                    write_every_zero(self as &dyn Image, offset, len)?;
                }
                _ => (),
            }
            offset += len;
        }
        Ok(())
    }
}
