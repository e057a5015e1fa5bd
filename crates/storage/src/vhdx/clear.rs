//! Zeroing and discarding: whole blocks go, parts of blocks become holes in the file.

use super::blocks::{FULLY_PRESENT, NOT_PRESENT, PARTIALLY_PRESENT, ZERO};
use super::{Tables, Vhdx};
use crate::image::write_every_zero;
use crate::mapped::{Mapped, Mapping, within};
use std::io;

impl Vhdx {
    pub(super) fn give_up(&self, tables: &mut Tables, block: u64) -> io::Result<()> {
        let at = self.entry_at(block);
        let old = self.entry(tables, at)?;
        let cleared = if self.layer.parent.is_some() { ZERO } else { NOT_PRESENT };
        if old.state() == cleared {
            return Ok(());
        }
        if matches!(old.state(), FULLY_PRESENT | PARTIALLY_PRESENT) {
            tables.leaving.push(within(tables.end, old.offset(), self.metadata.block, "block")?);
        }
        self.set_entry(tables, at, cleared, 0)
    }

    /// Of what is here holes are made; what is behind is covered only if it must be.
    pub(super) fn make_holes(&self, mut offset: u64, end: u64, zeros: bool) -> io::Result<()> {
        while offset < end {
            let shared = self.layer.shared();
            let mut tables = self.layer.lock();
            self.begin(&mut tables)?;
            let (len, place) = self.run(&mut tables, offset, end - offset)?;
            if let Mapping::Here(at) = place {
                within(tables.end, at, len, "block")?;
            }
            drop(tables);
            match place {
                Mapping::Here(at) if self.metadata.fixed && zeros => {
                    drop((shared, at));
                    write_every_zero(self, offset, len)?;
                }
                Mapping::Here(at) if !self.metadata.fixed => {
                    crate::store::zero(self.layer.store.as_ref(), at, len)?;
                }
                Mapping::Behind if zeros && self.layer.parent.is_some() => {
                    drop(shared);
                    write_every_zero(self, offset, len)?;
                }
                _ => (),
            }
            offset += len;
        }
        Ok(())
    }
}
