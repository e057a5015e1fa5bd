//! Zeroing and discarding: whole clusters go, and only their entries say so.

use super::entry::Entry;
use super::{Place, Qcow2, Tables};
use crate::image::{self, Image, write_every_zero};
use std::io;

/// What becomes of the parts of clusters at a range's ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Zeroed,
    Kept,
}

impl Qcow2 {
    pub(super) fn clear(&self, offset: u64, len: u64, rest: Rest) -> io::Result<()> {
        let end = image::check_writable(self, offset, len)?;
        let cluster = self.header.cluster();
        let first = offset.div_ceil(cluster);
        let last = if end == self.size { end.div_ceil(cluster) } else { end / cluster };
        let whole = (first < last && self.can_clear()).then_some((first, last));
        if let Some((first, last)) = whole {
            self.clear_clusters(first, last)?;
        }
        match (whole, rest) {
            (_, Rest::Kept) => Ok(()),
            (None, Rest::Zeroed) => self.zero(offset, end),
            (Some((first, last)), Rest::Zeroed) => {
                self.zero(offset, first * cluster)?;
                self.zero(last * cluster, end)
            }
        }
    }

    /// Version 2 has no entry that hides what is behind.
    fn can_clear(&self) -> bool {
        self.parent.is_none() || self.header.version >= 3
    }

    fn clear_clusters(&self, first: u64, last: u64) -> io::Result<()> {
        let alone = self.alone();
        let mut tables = self.lock();
        for cluster in first..last {
            if tables.l2.is_crowded() || tables.refcounts()?.is_crowded() {
                self.write_back_alone(&mut tables, &alone)?;
            }
            self.clear_cluster(&mut tables, cluster)?;
        }
        Ok(())
    }

    fn clear_cluster(&self, tables: &mut Tables, cluster: u64) -> io::Result<()> {
        let cleared = match self.parent {
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
    fn zero(&self, mut offset: u64, end: u64) -> io::Result<()> {
        while offset < end {
            let (len, place) = self.run_of(&mut self.lock(), offset, end - offset)?;
            let zeros = place == Place::Zeros || place == Place::Behind && self.parent.is_none();
            if !zeros {
                write_every_zero(self as &dyn Image, offset, len)?;
            }
            offset += len;
        }
        Ok(())
    }
}
