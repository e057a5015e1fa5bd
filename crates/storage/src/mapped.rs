//! What formats with tables have in common: a gate before what the tables lead to, runs of bytes that are in one place, and the order
//! in which data and tables are written.

use crate::error::{beyond, damaged};
use crate::guid::Guid;
use crate::image::{self, Content, Extent, Image, read_behind};
use crate::pages::Look;
use crate::{Format, ImageError, Store};
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Where a run of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// At this offset in the file.
    Here(u64),
    Zeros,
    Behind,
    /// In the compressed cluster with this descriptor.
    Compressed(u64),
}

impl Mapping {
    /// Whether `next` is what comes `bytes` after this.
    fn goes_on(self, next: Self, bytes: u64) -> bool {
        match (self, next) {
            (Self::Here(here), Self::Here(next)) => here + bytes == next,
            (Self::Compressed(_), _) => false,
            (this, next) => this == next,
        }
    }
}

/// How many bytes, and where they are. Nothing: tables that are not in memory would have to be read.
pub type Found = Option<(u64, Mapping)>;

/// One file of a chain with its tables, and what is behind it.
pub struct Layer<T> {
    pub store: Arc<dyn Store>,
    pub writable: bool,
    pub parent: Option<Arc<dyn Image>>,
    /// Held by whoever reads or writes blocks, and alone by whoever gives some up: nobody is in them then.
    gate: RwLock<()>,
    tables: Mutex<T>,
}

/// The tables, while nobody is in the blocks.
pub struct Alone<'a, T> {
    _gate: RwLockWriteGuard<'a, ()>,
    tables: MutexGuard<'a, T>,
}

impl<T> Deref for Alone<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.tables
    }
}

impl<T> DerefMut for Alone<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.tables
    }
}

impl<T> Layer<T> {
    pub fn new(store: Arc<dyn Store>, writable: bool, parent: Option<Arc<dyn Image>>, tables: T) -> Self {
        Self { store, writable, parent, gate: RwLock::new(()), tables: Mutex::new(tables) }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.tables.lock().unwrap_or_else(|e| e.into_inner())
    }
    pub fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(|e| e.into_inner())
    }
    pub fn alone(&self) -> Alone<'_, T> {
        let gate = self.gate.write().unwrap_or_else(|e| e.into_inner());
        Alone { _gate: gate, tables: self.lock() }
    }

    /// Whether a run reads as zeros without a look at what is behind.
    pub fn is_zeros(&self, place: Mapping) -> bool {
        place == Mapping::Zeros || place == Mapping::Behind && self.parent.is_none()
    }

    /// Of the disk behind; without one 0.
    pub fn behind(&self) -> u64 {
        self.parent.as_ref().map_or(0, |parent| parent.size())
    }

    /// Refuses what would bring to light what is behind the old end.
    pub fn check_growth(&self, old: u64, new: u64) -> Result<(), ImageError> {
        if new > old && self.behind() > old {
            return Err(ImageError::wrong(
                "the image behind it is larger, and what it has there would come to light; convert it to one without an image behind it first",
            ));
        }
        Ok(())
    }
}

/// What a format with tables says of itself. Whoever has this is an [`Image`].
pub trait Mapped: Send + Sync {
    type Tables: Send;
    const FORMAT: Format;

    fn layer(&self) -> &Layer<Self::Tables>;
    /// Of the disk, in bytes.
    fn disk_size(&self) -> u64;
    /// Bytes that are given out at once.
    fn block(&self) -> u64;
    /// See [`Image::identity`].
    fn known_as(&self) -> Option<Guid> {
        None
    }

    /// Where the byte at an offset is, and how many behind it follow there, up to `len`.
    fn find(&self, tables: &mut Self::Tables, offset: u64, len: u64, look: Look) -> io::Result<Found>;
    /// Reads at an offset of the file to which a table leads.
    fn fetch_here(&self, at: u64, data: &mut [u8]) -> io::Result<()> {
        self.layer().store.read_at(at, data)
    }
    /// Bytes of the disk from a compressed cluster.
    fn unpack(&self, _: &mut Self::Tables, _word: u64, _offset: u64, _data: &mut [u8]) -> io::Result<()> {
        Err(beyond())
    }

    /// Before anything is written.
    fn make_room(&self) -> io::Result<()> {
        Ok(())
    }
    /// Before the first change of any kind.
    fn begin(&self, _: &mut Self::Tables) -> io::Result<()> {
        Ok(())
    }
    /// A run that may be overwritten where it is.
    fn own_run(&self, tables: &mut Self::Tables, offset: u64, len: u64) -> io::Result<Option<(u64, u64)>>;
    /// Writes what cannot be written in place: how much of it.
    fn write_new(&self, tables: &mut Self::Tables, offset: u64, data: &[u8]) -> io::Result<usize>;

    /// Whether whole blocks can be cleared by a word in a table.
    fn clears_blocks(&self) -> bool;
    /// So much was cleared that it should be written before more is.
    fn is_crowded(&self, tables: &mut Self::Tables) -> bool;
    fn clear_block(&self, tables: &mut Self::Tables, number: u64) -> io::Result<()>;
    /// Clears what is not whole blocks. `zeros`: it must read as zeros afterwards.
    fn clear_part(&self, offset: u64, end: u64, zeros: bool) -> io::Result<()>;

    /// Whether tables are not as in the file.
    fn is_dirty(&self, tables: &Self::Tables) -> bool;
    /// Whether blocks wait for [`Self::let_go`].
    fn are_leaving(&self, tables: &Self::Tables) -> bool;
    /// Data and tables to the file, in an order that is right after a crash at any moment.
    fn write_back(&self, tables: &mut Self::Tables) -> io::Result<()>;
    /// What no table of the file refers to any more is free.
    fn let_go(&self, tables: &mut Alone<'_, Self::Tables>) -> io::Result<()>;
    /// See [`Image::rest`].
    fn inactivate(&self) -> io::Result<()>;

    /// [`Self::find`], as far as it takes.
    fn run(&self, tables: &mut Self::Tables, offset: u64, len: u64) -> io::Result<(u64, Mapping)> {
        self.find(tables, offset, len, Look::Load)?.ok_or_else(beyond)
    }

    /// Reads while the tables are held.
    fn read_held(&self, tables: &mut Self::Tables, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (len, place) = self.run(tables, at, (data.len() - done) as u64)?;
            let part = &mut data[done..done + len as usize];
            match place {
                Mapping::Compressed(word) => self.unpack(tables, word, at, part)?,
                place => fetch(self, at, place, part)?,
            }
            done += len as usize;
        }
        Ok(())
    }

    /// [`Self::write_back`] and [`Self::let_go`].
    fn write_back_alone(&self, tables: &mut Alone<'_, Self::Tables>) -> io::Result<()> {
        self.write_back(tables)?;
        self.let_go(tables)
    }
}

/// Reads a run that is no compressed cluster's.
fn fetch<M: Mapped + ?Sized>(image: &M, offset: u64, place: Mapping, data: &mut [u8]) -> io::Result<()> {
    match place {
        Mapping::Here(at) => image.fetch_here(at, data),
        Mapping::Behind => read_behind(image.layer().parent.as_deref(), offset, data),
        Mapping::Zeros | Mapping::Compressed(_) => {
            data.fill(0);
            Ok(())
        }
    }
}

fn clear<M: Mapped>(image: &M, offset: u64, len: u64, zeros: bool) -> io::Result<()> {
    let end = image::check_writable(image, offset, len)?;
    let (block, size) = (image.block(), image.disk_size());
    let blocks = image.clears_blocks().then(|| whole_blocks(offset..end, block, size)).flatten();
    let Some(blocks) = blocks else { return image.clear_part(offset, end, zeros) };
    image.clear_part(offset, blocks.start * block, zeros)?;
    let tail = (blocks.end * block).min(end);
    clear_blocks(image, blocks)?;
    image.clear_part(tail, end, zeros)
}

fn clear_blocks<M: Mapped>(image: &M, blocks: Range<u64>) -> io::Result<()> {
    let mut tables = image.layer().alone();
    image.begin(&mut tables)?;
    for number in blocks {
        if image.is_crowded(&mut tables) {
            image.write_back_alone(&mut tables)?;
        }
        image.clear_block(&mut tables, number)?;
    }
    Ok(())
}

/// The blocks that lie in a range as a whole, if there are any. The disk's last one may be short.
fn whole_blocks(range: Range<u64>, block: u64, size: u64) -> Option<Range<u64>> {
    let first = range.start.div_ceil(block);
    let last = if range.end == size { range.end.div_ceil(block) } else { range.end / block };
    (first < last).then_some(first..last)
}

impl<M: Mapped> Image for M {
    fn format(&self) -> Format {
        M::FORMAT
    }
    fn size(&self) -> u64 {
        self.disk_size()
    }
    fn writable(&self) -> bool {
        self.layer().writable
    }
    fn identity(&self) -> Option<Guid> {
        self.known_as()
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        image::check(self.size(), offset, data.len() as u64)?;
        let _shared = self.layer().shared();
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let mut tables = self.layer().lock();
            let (len, place) = self.run(&mut tables, at, (data.len() - done) as u64)?;
            let part = &mut data[done..done + len as usize];
            if let Mapping::Compressed(word) = place {
                self.unpack(&mut tables, word, at, part)?;
            } else {
                drop(tables);
                fetch(self, at, place, part)?;
            }
            done += len as usize;
        }
        Ok(())
    }

    fn try_read_at(&self, offset: u64, data: &mut [u8]) -> bool {
        let (layer, len) = (self.layer(), data.len() as u64);
        if image::check(self.size(), offset, len).is_err() {
            return false;
        }
        let (Ok(_shared), Ok(mut tables)) = (layer.gate.try_read(), layer.tables.try_lock()) else {
            return false;
        };
        let run = self.find(&mut tables, offset, len, Look::Known);
        drop(tables);
        match run {
            Ok(Some((found, place))) if found == len => match (place, &layer.parent) {
                (Mapping::Here(at), _) => layer.store.try_read_at(at, data),
                (Mapping::Zeros, _) | (Mapping::Behind, None) => {
                    data.fill(0);
                    true
                }
                (Mapping::Behind, Some(parent)) => parent.try_read_at(offset, data),
                (Mapping::Compressed(_), _) => false,
            },
            _ => false,
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        image::check_writable(self, offset, data.len() as u64)?;
        self.make_room()?;
        let layer = self.layer();
        let _shared = layer.shared();
        let mut done = 0;
        while done < data.len() {
            let (at, left) = (offset + done as u64, &data[done..]);
            let mut tables = layer.lock();
            self.begin(&mut tables)?;
            match self.own_run(&mut tables, at, left.len() as u64)? {
                Some((len, place)) => {
                    drop(tables);
                    layer.store.write_at(place, &left[..len as usize])?;
                    done += len as usize;
                }
                None => done += self.write_new(&mut tables, at, left)?,
            }
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        clear(self, offset, len, true)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        clear(self, offset, len, false)
    }

    fn flush(&self) -> io::Result<()> {
        let layer = self.layer();
        if !layer.writable {
            return Ok(());
        }
        let mut tables = layer.lock();
        if self.are_leaving(&tables) {
            drop(tables);
            return self.write_back_alone(&mut layer.alone());
        }
        if self.is_dirty(&tables) {
            return self.write_back(&mut tables);
        }
        // Nobody waits at the tables for the host's storage.
        drop(tables);
        layer.store.flush()
    }

    fn rest(&self) -> io::Result<()> {
        if self.layer().writable { self.inactivate() } else { Ok(()) }
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent> {
        image::check(self.size(), offset, len)?;
        let (len, place) = self.run(&mut self.layer().lock(), offset, len)?;
        let content = match place {
            Mapping::Here(_) | Mapping::Compressed(_) => Content::Data,
            Mapping::Zeros => Content::Zeros,
            Mapping::Behind => Content::Behind,
        };
        Ok(Extent { len, content })
    }
}

/// How far a range goes in one place. `next` finds where so many bytes at most from an offset on are.
pub fn joined(
    offset: u64,
    len: u64,
    mut next: impl FnMut(u64, u64) -> io::Result<Found>,
) -> io::Result<Found> {
    let mut found: Option<Mapping> = None;
    let mut done = 0;
    while done < len {
        let Some((span, place)) = next(offset + done, len - done)? else { break };
        match found {
            None => found = Some(place),
            Some(first) if first.goes_on(place, done) => (),
            Some(_) => break,
        }
        done += span;
    }
    Ok(found.map(|place| (done, place)))
}

/// How many bits are like the first of them, and what that is. `word`: 64 of them, the first one lowest, by their number; or nothing to
/// stop.
pub fn like_the_first(
    bits: Range<u64>,
    mut word: impl FnMut(u64) -> io::Result<Option<u64>>,
) -> io::Result<Option<(u64, bool)>> {
    let mut first: Option<bool> = None;
    let mut at = bits.start;
    while at < bits.end {
        let Some(word) = word(at / 64)? else { break };
        let here = word >> (at % 64);
        let like = *first.get_or_insert(here & 1 != 0);
        let same = u64::from(if like { here.trailing_ones() } else { here.trailing_zeros() });
        let most = 64 - at % 64;
        at += same.min(most);
        if same < most {
            break;
        }
    }
    Ok(first.map(|like| (at.min(bits.end) - bits.start, like)))
}

/// The place of a block or cluster in front of the end of all of them.
pub fn within(end: u64, place: u64, len: u64, what: &str) -> io::Result<u64> {
    match crate::pages::whole(end, place, len) {
        true => Ok(place),
        false => Err(damaged(format_args!("a {what} would be at {place:#x}"))),
    }
}

/// An image's word on what is behind it, by `name`, and what was given for it.
pub fn check_parent(name: Option<&str>, given: bool) -> Result<(), ImageError> {
    match name {
        Some(name) if !given => {
            let name = crate::printable(name);
            Err(ImageError::wrong(format!("the image behind it, `{name}`, is missing")))
        }
        None if given => Err(ImageError::wrong("no image is behind it, and one was given")),
        _ => Ok(()),
    }
}
