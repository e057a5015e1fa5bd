//! qcow2, versions 2 and 3: clusters that are somewhere in the file, or compressed there, or zeros, or in the image behind this one.
//!
//! What a crash may leave is clusters that nobody refers to, never a reference to what is not there: refcounts and data are in the
//! file before an L2 table refers to them, and a cluster is free only after no table refers to it (`write_back`).

mod check;
mod clear;
pub mod create;
mod entry;
pub mod header;
mod refcounts;
mod resize;
mod set;
mod unpack;
mod write;

pub use check::check;
pub use resize::resize;
pub use set::set_parent;

use crate::bytes::be64;
use crate::error::damaged;
use crate::image::Image;
use crate::mapped::{Alone, Found, Layer, Mapped, Mapping, check_parent, joined};
use crate::pages::Look;
use crate::store::read_padded;
use crate::{Format, ImageError, Pages, SECTOR, Store};
use entry::{COPIED, Entry, OFFSET, SUBCLUSTERS, Unit};
use header::{AUTOCLEAR, CORRUPT, DIRTY, Header};
use refcounts::Refcounts;
use std::io;
use std::sync::Arc;

/// What pages of L2 tables take at most: about 64 GiB of an image with the usual clusters.
const MOST_L2: usize = 8 << 20;

pub struct Qcow2 {
    header: Header,
    size: u64,
    layer: Layer<Tables>,
}

pub struct Tables {
    l1: Vec<u64>,
    l2: Pages,
    /// Of an image that is written to.
    refcounts: Option<Refcounts>,
    /// The compressed cluster that was read last: its descriptor and its bytes.
    unpacked: Option<(u64, Vec<u8>)>,
}

impl Tables {
    fn refcounts(&mut self) -> io::Result<&mut Refcounts> {
        self.refcounts.as_mut().ok_or_else(crate::error::read_only)
    }
}

impl Qcow2 {
    /// `parent`: the image behind it, if it has one.
    pub fn open(
        store: Arc<dyn Store>,
        writable: bool,
        parent: Option<Arc<dyn Image>>,
    ) -> Result<Self, ImageError> {
        let mut header = Header::read(store.as_ref())?;
        check_parent(header.backing.as_ref().map(|backing| backing.name.as_str()), parent.is_some())?;
        if writable {
            if header.incompatible & CORRUPT != 0 {
                return Err(ImageError::damaged(
                    Format::Qcow2,
                    "it says so itself; repair it (`ireko disk check --repair`), or use it read-only",
                ));
            }
            if header.incompatible & DIRTY != 0 {
                check::repair(&store)?;
                header.incompatible &= !DIRTY;
            }
            if header.autoclear != 0 {
                store.write_at(AUTOCLEAR as u64, &[0; 8])?;
                header.autoclear = 0;
            }
        }
        let mut l1 = vec![0; header.l1_entries as usize * 8];
        store.read_at(header.l1_offset, &mut l1)?;
        let tables = Tables {
            l1: l1.chunks_exact(8).map(|entry| be64(entry, 0)).collect(),
            l2: Pages::new(store.clone(), header.cluster().min(4096) as usize, MOST_L2),
            refcounts: writable.then(|| Refcounts::open(store.clone(), &header)).transpose()?,
            unpacked: None,
        };
        let size = header.size / SECTOR * SECTOR;
        Ok(Self { header, size, layer: Layer::new(store, writable, parent, tables) })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of what is mapped on its own: a cluster, or a part of one.
    fn unit(&self) -> u64 {
        let cluster = self.header.cluster();
        if self.header.extended() { cluster / u64::from(SUBCLUSTERS) } else { cluster }
    }

    fn table(&self, tables: &Tables, number: u64) -> io::Result<Option<u64>> {
        match tables.l1.get(number as usize).copied().unwrap_or(0) & OFFSET {
            0 => Ok(None),
            place if place.is_multiple_of(self.header.cluster()) => Ok(Some(place)),
            place => Err(damaged(format_args!("an L2 table would be at {place:#x}"))),
        }
    }

    fn entry(&self, tables: &mut Tables, cluster: u64) -> io::Result<Entry> {
        Ok(self.look_at_entry(tables, cluster, Look::Load)?.unwrap_or_default())
    }

    fn look_at_entry(&self, tables: &mut Tables, cluster: u64, look: Look) -> io::Result<Option<Entry>> {
        let (number, index) = (cluster / self.header.l2_entries(), cluster % self.header.l2_entries());
        let Some(table) = self.table(tables, number)? else { return Ok(Some(Entry::default())) };
        let bytes = tables.l2.look(table + index * self.header.l2_entry(), look)?;
        Ok(bytes.map(|bytes| Entry::read(bytes, self.header.extended())))
    }

    fn place(&self, entry: &Entry, offset: u64) -> io::Result<Mapping> {
        let within = offset % self.header.cluster();
        let unit = entry.unit(self.header.extended(), (within / self.unit()) as u32);
        Ok(match (unit, entry.place(self.header.cluster())?) {
            (Unit::Here, Some(place)) => Mapping::Here(place + within),
            (Unit::Zeros, _) => Mapping::Zeros,
            (Unit::Compressed, _) => Mapping::Compressed(entry.word),
            (Unit::Here | Unit::Behind, _) => Mapping::Behind,
        })
    }

    /// [`Mapped::find`]; `entry` gives a cluster's entry, or nothing to stop.
    fn find_by(
        &self,
        offset: u64,
        len: u64,
        mut entry: impl FnMut(u64) -> io::Result<Option<Entry>>,
    ) -> io::Result<Found> {
        let (cluster, unit) = (self.header.cluster(), self.unit());
        let mut known: Option<(u64, Entry)> = None;
        joined(offset, len, |at, left| {
            if known.is_none_or(|(number, _)| number != at / cluster) {
                known = entry(at / cluster)?.map(|entry| (at / cluster, entry));
            }
            let Some((_, entry)) = &known else { return Ok(None) };
            Ok(Some(((unit - at % unit).min(left), self.place(entry, at)?)))
        })
    }

    /// Puts an entry into its table, which is there and this image's own then.
    fn set_entry(&self, tables: &mut Tables, cluster: u64, entry: Entry) -> io::Result<()> {
        let (number, index) = (cluster / self.header.l2_entries(), cluster % self.header.l2_entries());
        let table = self.make_table(tables, number)?;
        let bytes = tables.l2.change(table + index * self.header.l2_entry())?;
        crate::bytes::put(bytes, 0, &entry.word.to_be_bytes());
        if self.header.extended() {
            crate::bytes::put(bytes, 8, &entry.bitmap.to_be_bytes());
        }
        Ok(())
    }

    /// An L2 table that may be written to: a new one, or a copy of one that snapshots have, too, if need be.
    fn make_table(&self, tables: &mut Tables, number: u64) -> io::Result<u64> {
        let before = self.table(tables, number)?;
        let word = tables.l1.get(number as usize).copied().ok_or_else(crate::error::beyond)?;
        if let Some(place) = before.filter(|_| word & COPIED != 0) {
            return Ok(place);
        }
        let cluster = self.header.cluster();
        let mut bytes = vec![0; cluster as usize];
        if let Some(before) = before {
            self.layer.store.read_at(before, &mut bytes)?;
        }
        let refcounts = tables.refcounts()?;
        let place = refcounts.allocate(1)?.first * cluster;
        self.layer.store.write_at(place, &bytes)?;
        refcounts.pages.write_back()?;
        self.layer.store.flush()?;
        let word = place | COPIED;
        self.layer.store.write_at(self.header.l1_offset + number * 8, &word.to_be_bytes())?;
        if let Some(before) = before {
            refcounts.leaving.push((before / cluster, 1));
            tables.l2.forget(before..before + cluster);
        }
        tables.l1[number as usize] = word;
        Ok(place)
    }
}

impl Mapped for Qcow2 {
    type Tables = Tables;
    const FORMAT: Format = Format::Qcow2;

    fn layer(&self) -> &Layer<Tables> {
        &self.layer
    }
    fn disk_size(&self) -> u64 {
        self.size
    }
    fn block(&self) -> u64 {
        self.header.cluster()
    }

    fn find(&self, tables: &mut Tables, offset: u64, len: u64, look: Look) -> io::Result<Found> {
        self.find_by(offset, len, |cluster| self.look_at_entry(tables, cluster, look))
    }
    /// The file's last cluster may end early; one that begins behind the file's end is not there.
    fn fetch_here(&self, at: u64, data: &mut [u8]) -> io::Result<()> {
        let store = self.layer.store.as_ref();
        let Err(error) = store.read_at(at, data) else { return Ok(()) };
        let end = store.size()?.next_multiple_of(self.header.cluster());
        let fits = crate::pages::whole(end, at, data.len() as u64);
        match error.kind() {
            io::ErrorKind::UnexpectedEof if fits => read_padded(store, at, data),
            _ => Err(error),
        }
    }
    fn unpack(&self, tables: &mut Tables, word: u64, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.unpack_part(tables, word, offset, data)
    }

    /// What waits to be free is bounded.
    fn make_room(&self) -> io::Result<()> {
        let crowded = self.layer.lock().refcounts()?.is_crowded();
        if crowded { self.flush() } else { Ok(()) }
    }
    fn own_run(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
        self.own(tables, offset, len)
    }
    fn write_new(&self, tables: &mut Tables, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.write_cluster(tables, offset, data)
    }

    /// Version 2 has no entry that hides what is behind.
    fn clears_blocks(&self) -> bool {
        self.layer.parent.is_none() || self.header.version >= 3
    }
    fn is_crowded(&self, tables: &mut Tables) -> bool {
        tables.l2.is_crowded() || tables.refcounts.as_ref().is_some_and(Refcounts::is_crowded)
    }
    fn clear_block(&self, tables: &mut Tables, number: u64) -> io::Result<()> {
        self.give_up(tables, number)
    }
    fn clear_part(&self, offset: u64, end: u64, zeros: bool) -> io::Result<()> {
        if zeros { self.zero(offset, end) } else { Ok(()) }
    }

    fn is_dirty(&self, tables: &Tables) -> bool {
        tables.l2.is_dirty() || tables.refcounts.as_ref().is_some_and(|counts| counts.pages.is_dirty())
    }
    fn are_leaving(&self, tables: &Tables) -> bool {
        tables.refcounts.as_ref().is_some_and(|counts| !counts.leaving.is_empty())
    }
    /// Refcounts and data first, then L2 tables.
    fn write_back(&self, tables: &mut Tables) -> io::Result<()> {
        let store = &self.layer.store;
        let Tables { l2, refcounts: Some(refcounts), .. } = tables else { return store.flush() };
        refcounts.pages.write_back()?;
        store.flush()?;
        if l2.is_dirty() {
            l2.write_back()?;
            store.flush()?;
        }
        Ok(())
    }
    fn let_go(&self, tables: &mut Alone<'_, Tables>) -> io::Result<()> {
        let Some(refcounts) = &mut tables.refcounts else { return Ok(()) };
        if !refcounts.leaving.is_empty() {
            refcounts.let_go()?;
            refcounts.pages.write_back()?;
        }
        Ok(())
    }
    fn inactivate(&self) -> io::Result<()> {
        self.flush()?;
        self.layer.store.flush()
    }
}

/// What was written and not flushed is written all the same.
impl Drop for Qcow2 {
    fn drop(&mut self) {
        let _ = self.rest();
    }
}
