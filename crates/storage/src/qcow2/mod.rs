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
mod unpack;
mod write;

pub use check::check;
pub use resize::resize;

use crate::bytes::be64;
use crate::error::damaged;
use crate::image::{self, Content, Extent, Image, read_behind};
use crate::store::read_padded;
use crate::{Format, ImageError, Pages, SECTOR, Store};
use entry::{COPIED, Entry, OFFSET, SUBCLUSTERS, Unit};
use header::{AUTOCLEAR, CORRUPT, DIRTY, Header};
use refcounts::Refcounts;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What pages of L2 tables take at most: about 64 GiB of an image with the usual clusters.
const MOST_L2: usize = 8 << 20;

pub struct Qcow2 {
    store: Arc<dyn Store>,
    header: Header,
    size: u64,
    writable: bool,
    parent: Option<Arc<dyn Image>>,
    /// Held by whoever reads or writes clusters, and alone by whoever gives some up: nobody is in them then.
    gate: RwLock<()>,
    tables: Mutex<Tables>,
}

struct Tables {
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

/// Where a run of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At this offset in the file.
    Here(u64),
    Zeros,
    Behind,
    /// In the cluster with this descriptor.
    Compressed(u64),
}

impl Place {
    /// Whether `next` is what comes `bytes` after this.
    fn goes_on(self, next: Self, bytes: u64) -> bool {
        match (self, next) {
            (Self::Here(here), Self::Here(next)) => here + bytes == next,
            (Self::Compressed(_), _) => false,
            (this, next) => this == next,
        }
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
        match (&header.backing, &parent) {
            (Some(backing), None) => {
                let told = format!("the image behind it, `{}`, is missing", crate::printable(&backing.name));
                return Err(ImageError::wrong(told));
            }
            (None, Some(_)) => return Err(ImageError::wrong("no image is behind it, and one was given")),
            _ => (),
        }
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
        let (gate, tables) = (RwLock::new(()), Mutex::new(tables));
        Ok(Self { store, header, size, writable, parent, gate, tables })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(|e| e.into_inner())
    }
    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(|e| e.into_inner())
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
        let (number, index) = (cluster / self.header.l2_entries(), cluster % self.header.l2_entries());
        let Some(table) = self.table(tables, number)? else { return Ok(Entry::default()) };
        let bytes = tables.l2.from(table + index * self.header.l2_entry())?;
        Ok(Entry::read(bytes, self.header.extended()))
    }

    /// The same, of what is in memory.
    fn known_entry(&self, tables: &mut Tables, cluster: u64) -> Option<Entry> {
        let (number, index) = (cluster / self.header.l2_entries(), cluster % self.header.l2_entries());
        let Some(table) = self.table(tables, number).ok()? else { return Some(Entry::default()) };
        let bytes = tables.l2.peek(table + index * self.header.l2_entry())?;
        Some(Entry::read(bytes, self.header.extended()))
    }

    fn place(&self, entry: &Entry, offset: u64) -> io::Result<Place> {
        let within = offset % self.header.cluster();
        let unit = entry.unit(self.header.extended(), (within / self.unit()) as u32);
        Ok(match (unit, entry.place(self.header.cluster())?) {
            (Unit::Here, Some(place)) => Place::Here(place + within),
            (Unit::Zeros, _) => Place::Zeros,
            (Unit::Compressed, _) => Place::Compressed(entry.word),
            (Unit::Here | Unit::Behind, _) => Place::Behind,
        })
    }

    /// Where the byte at an offset is, and how many behind it follow there. `entry` gives a cluster's entry, or nothing to stop.
    fn run(
        &self,
        offset: u64,
        len: u64,
        mut entry: impl FnMut(u64) -> io::Result<Option<Entry>>,
    ) -> io::Result<Option<(u64, Place)>> {
        let (cluster, unit) = (self.header.cluster(), self.unit());
        let mut found: Option<Place> = None;
        let (mut done, mut known) = (0, (u64::MAX, Entry::default()));
        while done < len {
            let at = offset + done;
            if known.0 != at / cluster {
                match entry(at / cluster)? {
                    Some(entry) => known = (at / cluster, entry),
                    None => break,
                }
            }
            let place = self.place(&known.1, at)?;
            match found {
                None => found = Some(place),
                Some(first) if first.goes_on(place, done) => (),
                Some(_) => break,
            }
            done += (unit - at % unit).min(len - done);
        }
        Ok(found.map(|place| (done, place)))
    }

    fn run_of(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<(u64, Place)> {
        let found = self.run(offset, len, |cluster| self.entry(tables, cluster).map(Some))?;
        found.ok_or_else(crate::error::beyond)
    }

    /// Reads a run that is no compressed cluster's.
    fn fetch(&self, offset: u64, place: Place, data: &mut [u8]) -> io::Result<()> {
        match place {
            Place::Here(at) => self.fetch_here(at, data),
            Place::Zeros | Place::Compressed(_) => {
                data.fill(0);
                Ok(())
            }
            Place::Behind => read_behind(self.parent.as_deref(), offset, data),
        }
    }

    /// The file's last cluster may end early; one that begins behind the file's end is not there.
    fn fetch_here(&self, at: u64, data: &mut [u8]) -> io::Result<()> {
        let Err(error) = self.store.read_at(at, data) else { return Ok(()) };
        let cluster = self.header.cluster();
        let end = self.store.size()?.next_multiple_of(cluster);
        let fits = crate::pages::whole(end, at, data.len() as u64);
        match error.kind() {
            io::ErrorKind::UnexpectedEof if fits => read_padded(self.store.as_ref(), at, data),
            _ => Err(error),
        }
    }

    /// Reads while the tables are held.
    fn read_held(&self, tables: &mut Tables, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (len, place) = self.run_of(tables, at, (data.len() - done) as u64)?;
            let part = &mut data[done..done + len as usize];
            match place {
                Place::Compressed(word) => self.unpack(tables, word, at, part)?,
                place => self.fetch(at, place, part)?,
            }
            done += len as usize;
        }
        Ok(())
    }

    /// Tables to the file, in an order that is right after a crash at any moment: refcounts and data, then L2 tables.
    fn write_back(&self, tables: &mut Tables) -> io::Result<()> {
        let Tables { l2, refcounts: Some(refcounts), .. } = tables else { return self.store.flush() };
        refcounts.pages.write_back()?;
        self.store.flush()?;
        if l2.is_dirty() {
            l2.write_back()?;
            self.store.flush()?;
        }
        Ok(())
    }

    /// The same, and then what no table refers to any more is free. Nobody may be in the clusters.
    fn write_back_alone(&self, tables: &mut Tables, _alone: &RwLockWriteGuard<'_, ()>) -> io::Result<()> {
        self.write_back(tables)?;
        let Some(refcounts) = &mut tables.refcounts else { return Ok(()) };
        if !refcounts.leaving.is_empty() {
            refcounts.let_go()?;
            refcounts.pages.write_back()?;
        }
        Ok(())
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
            self.store.read_at(before, &mut bytes)?;
        }
        let refcounts = tables.refcounts()?;
        let place = refcounts.allocate(1)?.first * cluster;
        self.store.write_at(place, &bytes)?;
        refcounts.pages.write_back()?;
        self.store.flush()?;
        let word = place | COPIED;
        self.store.write_at(self.header.l1_offset + number * 8, &word.to_be_bytes())?;
        if let Some(before) = before {
            refcounts.leaving.push((before / cluster, 1));
            tables.l2.forget(before..before + cluster);
        }
        tables.l1[number as usize] = word;
        Ok(place)
    }
}

impl Image for Qcow2 {
    fn format(&self) -> Format {
        Format::Qcow2
    }
    fn size(&self) -> u64 {
        self.size
    }
    fn writable(&self) -> bool {
        self.writable
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        image::check(self.size, offset, data.len() as u64)?;
        let _shared = self.shared();
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let mut tables = self.lock();
            let (len, place) = self.run_of(&mut tables, at, (data.len() - done) as u64)?;
            let part = &mut data[done..done + len as usize];
            if let Place::Compressed(word) = place {
                self.unpack(&mut tables, word, at, part)?;
            } else {
                drop(tables);
                self.fetch(at, place, part)?;
            }
            done += len as usize;
        }
        Ok(())
    }

    fn try_read_at(&self, offset: u64, data: &mut [u8]) -> bool {
        let len = data.len() as u64;
        if image::check(self.size, offset, len).is_err() {
            return false;
        }
        let (Ok(_shared), Ok(mut tables)) = (self.gate.try_read(), self.tables.try_lock()) else {
            return false;
        };
        let run = self.run(offset, len, |cluster| Ok(self.known_entry(&mut tables, cluster)));
        drop(tables);
        match run {
            Ok(Some((found, place))) if found == len => match (place, &self.parent) {
                (Place::Here(at), _) => self.store.try_read_at(at, data),
                (Place::Zeros, _) | (Place::Behind, None) => {
                    data.fill(0);
                    true
                }
                (Place::Behind, Some(parent)) => parent.try_read_at(offset, data),
                (Place::Compressed(_), _) => false,
            },
            _ => false,
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.clear(offset, len, clear::Rest::Zeroed)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.clear(offset, len, clear::Rest::Kept)
    }

    fn flush(&self) -> io::Result<()> {
        if !self.writable {
            return Ok(());
        }
        let mut tables = self.lock();
        let leaving = tables.refcounts.as_ref().is_some_and(|counts| !counts.leaving.is_empty());
        if leaving {
            drop(tables);
            let alone = self.alone();
            return self.write_back_alone(&mut self.lock(), &alone);
        }
        let counted = tables.refcounts.as_ref().is_some_and(|counts| counts.pages.is_dirty());
        if counted || tables.l2.is_dirty() {
            return self.write_back(&mut tables);
        }
        // Nobody waits at the tables for the host's storage.
        drop(tables);
        self.store.flush()
    }

    fn rest(&self) -> io::Result<()> {
        self.flush()?;
        self.store.flush()
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent> {
        image::check(self.size, offset, len)?;
        let (len, place) = self.run_of(&mut self.lock(), offset, len)?;
        let content = match place {
            Place::Here(_) | Place::Compressed(_) => Content::Data,
            Place::Zeros => Content::Zeros,
            Place::Behind => Content::Behind,
        };
        Ok(Extent { len, content })
    }
}

/// What was written and not flushed is written all the same.
impl Drop for Qcow2 {
    fn drop(&mut self) {
        if self.writable {
            let _ = self.rest();
        }
    }
}
