//! Zeroing and discarding: whole clusters go, and only their entries say so.

use super::entry::Entry;
use super::{Qcow2, Tables};
use crate::image::write_every_zero;
use crate::mapped::Mapped;
use std::io;

impl Qcow2 {
    pub(super) fn give_up(&self, tables: &mut Tables, cluster: u64) -> io::Result<()> {
        let cleared = match self.layer.parent {
            Some(_) => Entry::zeros(self.header.extended()),
            None => Entry::default(),
        };
        let old = self.entry(tables, cluster)?;
        if old == cleared {
            return Ok(());
        }
        self.set_entry(tables, cluster, cleared)?;
        self.leave(tables, &old)
    }

    /// Writes zeros where there are none.
    pub(super) fn zero(&self, mut offset: u64, end: u64) -> io::Result<()> {
        while offset < end {
            let (len, place) = self.run(&mut self.layer.lock(), offset, end - offset)?;
            if !self.layer.is_zeros(place) {
                write_every_zero(self, offset, len)?;
            }
            offset += len;
        }
        Ok(())
    }
}
