//! VHD (Virtual Hard Disk Image Format Specification, 1.0): fixed, with a footer behind the disk's bytes; or growing, in blocks of
//! sectors that are here, or zeros, or in the image behind this one.
//!
//! There is no log. A new block is behind all others with a footer behind it, and the table leads to it only when its bytes are there.

mod check;
pub mod create;
pub mod footer;
mod resize;
mod write;

pub use check::check;
pub use resize::resize;

use crate::bytes::be32;
use crate::chain::{Behind, Facts};
use crate::error::damaged;
use crate::guid::Guid;
use crate::image::{self, Content, Extent, Image, read_behind};
use crate::{Format, ImageError, Pages, SECTOR, Store};
use footer::{FOOTER, Footer, Header, Kind};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What pages of tables take at most.
const MOST: usize = 2 << 20;
const PAGE: usize = 512;
const UNUSED: u32 = u32::MAX;

pub struct Vhd {
    store: Arc<dyn Store>,
    footer: Footer,
    /// Of an image that grows.
    header: Option<Header>,
    writable: bool,
    parent: Option<Arc<dyn Image>>,
    /// Held by whoever reads or writes blocks, and alone by whoever gives some up.
    gate: RwLock<()>,
    tables: Mutex<Tables>,
}

struct Tables {
    pages: Pages,
    /// Where the next block comes, and the footer until then.
    end: u64,
    /// Whether the footer is there.
    ended: bool,
    /// Blocks that are zeros and nobody's.
    free: Vec<u64>,
    /// Blocks that nothing will refer to once tables are written.
    leaving: Vec<u64>,
}

/// Where a run of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here(u64),
    Behind,
}

impl Vhd {
    /// `parent`: the image behind it, if it has one.
    pub fn open(
        store: Arc<dyn Store>,
        writable: bool,
        parent: Option<Arc<dyn Image>>,
    ) -> Result<Self, ImageError> {
        let footer = Footer::read(store.as_ref())?;
        let length = store.size()?;
        let header = match footer.kind {
            Kind::Fixed if !crate::pages::whole(length, 0, footer.size) => {
                return Err(footer::damaged(format!("its disk has {} bytes; it is cut short", footer.size)));
            }
            Kind::Fixed => None,
            Kind::Dynamic | Kind::Differencing => Some(Header::read(store.as_ref(), &footer)?),
        };
        let locator = header.as_ref().and_then(|header| header.parent.as_ref());
        match (locator, &parent) {
            (None, None) => (),
            (None, Some(_)) => return Err(ImageError::wrong("no image is behind it, and one was given")),
            (Some(locator), None) => {
                let name = locator.paths.first().map_or("", String::as_str);
                let told = format!("the image behind it, `{}`, is missing", crate::printable(name));
                return Err(ImageError::wrong(told));
            }
            (Some(locator), Some(parent)) if parent.identity() == Some(locator.id) => (),
            _ => {
                return Err(ImageError::wrong(
                    "the image behind it is another one; give the one that it was made over",
                ));
            }
        }
        let ended = length
            .checked_sub(FOOTER)
            .map(|last| Footer::at(store.as_ref(), last))
            .transpose()?
            .flatten()
            .is_some();
        let end = if ended { length - FOOTER } else { length.next_multiple_of(SECTOR) };
        let pages = Pages::new(store.clone(), PAGE, MOST);
        let tables = Tables { pages, end, ended, free: Vec::new(), leaving: Vec::new() };
        let (gate, tables) = (RwLock::new(()), Mutex::new(tables));
        Ok(Self { store, footer, header, writable, parent, gate, tables })
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

    /// Bytes of the bits in front of a block.
    fn bits(block: u64) -> u64 {
        (block / SECTOR / 8).next_multiple_of(SECTOR)
    }

    fn entry_at(header: &Header, block: u64) -> u64 {
        header.table + block * 4
    }

    /// Where a block is, with its bits in front. `word` gives 4 bytes at an offset of the file, or nothing to stop.
    fn block(
        header: &Header,
        block: u64,
        word: &mut impl FnMut(u64) -> io::Result<Option<u32>>,
    ) -> io::Result<Option<Option<u64>>> {
        let Some(entry) = word(Self::entry_at(header, block))? else { return Ok(None) };
        match entry {
            UNUSED => Ok(Some(None)),
            sector if u64::from(sector) * SECTOR >= header.table => {
                Ok(Some(Some(u64::from(sector) * SECTOR)))
            }
            sector => Err(damaged(format_args!("block {block} would be at sector {sector}"))),
        }
    }

    /// Where the byte at an offset is, and how many behind it follow there.
    fn look(
        &self,
        offset: u64,
        len: u64,
        mut word: impl FnMut(u64) -> io::Result<Option<u32>>,
    ) -> io::Result<Option<(u64, Place)>> {
        let Some(header) = &self.header else { return Ok(Some((len, Place::Here(offset)))) };
        let (number, within) = (offset / header.block, offset % header.block);
        let span = (header.block - within).min(len);
        let Some(block) = Self::block(header, number, &mut word)? else { return Ok(None) };
        let Some(block) = block else { return Ok(Some((span, Place::Behind))) };
        let (first, last) = (within / SECTOR, (within + span).div_ceil(SECTOR));
        let (mut known, mut here, mut sector) = (None, false, first);
        while sector < last {
            let at = sector / 32;
            if known.is_none_or(|(of, _)| of != at) {
                let Some(value) = word(block + at * 4)? else { break };
                known = Some((at, value));
            }
            let bit = known.is_some_and(|(_, value)| value >> (31 - sector % 32) & 1 != 0);
            if sector == first {
                here = bit;
            } else if bit != here {
                break;
            }
            sector += 1;
        }
        if sector == first {
            return Ok(None);
        }
        let len = (sector * SECTOR - within).min(span);
        let place = if here { Place::Here(block + Self::bits(header.block) + within) } else { Place::Behind };
        Ok(Some((len, place)))
    }

    fn run(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<(u64, Place)> {
        let found = self.look(offset, len, |at| tables.pages.from(at).map(|bytes| Some(be32(bytes, 0))))?;
        found.ok_or_else(crate::error::beyond)
    }

    fn fetch(&self, offset: u64, place: Place, data: &mut [u8]) -> io::Result<()> {
        match place {
            Place::Here(at) => self.store.read_at(at, data),
            Place::Behind => read_behind(self.parent.as_deref(), offset, data),
        }
    }

    /// Tables to the file: data first, then what leads to it.
    fn write_back(&self, tables: &mut Tables) -> io::Result<()> {
        self.store.flush()?;
        if tables.pages.is_dirty() {
            tables.pages.write_back()?;
            self.store.flush()?;
        }
        Ok(())
    }

    /// The same, and then what no table refers to any more is free. Nobody may be in the blocks.
    fn write_back_alone(&self, tables: &mut Tables, _alone: &RwLockWriteGuard<'_, ()>) -> io::Result<()> {
        self.write_back(tables)?;
        let Some(header) = &self.header else { return Ok(()) };
        let whole = Self::bits(header.block) + header.block;
        for block in std::mem::take(&mut tables.leaving) {
            tables.pages.forget(block..block + Self::bits(header.block));
            crate::store::zero(self.store.as_ref(), block, whole)?;
            tables.free.push(block);
        }
        Ok(())
    }
}

/// What an image says of itself.
pub fn facts(store: &dyn Store) -> Result<Facts, ImageError> {
    let footer = Footer::read(store)?;
    let header = match footer.kind {
        Kind::Fixed => None,
        _ => Some(Header::read(store, &footer)?),
    };
    let locator = header.as_ref().and_then(|header| header.parent.as_ref());
    let behind = locator.map(|locator| Behind {
        names: locator.paths.iter().map(|path| path.replace('\\', "/")).collect(),
        format: Some(Format::Vhd),
        linkage: vec![locator.id],
    });
    Ok(Facts {
        block: header.as_ref().map(|header| header.block),
        identifier: Some(footer.id.0),
        identity: Some(footer.id),
        fixed: footer.kind == Kind::Fixed,
        behind,
        ..Facts::new(Format::Vhd, footer.size)
    })
}

impl Image for Vhd {
    fn format(&self) -> Format {
        Format::Vhd
    }
    fn size(&self) -> u64 {
        self.footer.size
    }
    fn writable(&self) -> bool {
        self.writable
    }
    fn identity(&self) -> Option<Guid> {
        Some(self.footer.id)
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        image::check(self.size(), offset, data.len() as u64)?;
        let _shared = self.shared();
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (len, place) = self.run(&mut self.lock(), at, (data.len() - done) as u64)?;
            self.fetch(at, place, &mut data[done..done + len as usize])?;
            done += len as usize;
        }
        Ok(())
    }

    fn try_read_at(&self, offset: u64, data: &mut [u8]) -> bool {
        let len = data.len() as u64;
        if image::check(self.size(), offset, len).is_err() {
            return false;
        }
        let (Ok(_shared), Ok(mut tables)) = (self.gate.try_read(), self.tables.try_lock()) else {
            return false;
        };
        let run = self.look(offset, len, |at| Ok(tables.pages.peek(at).map(|bytes| be32(bytes, 0))));
        drop(tables);
        match run {
            Ok(Some((found, place))) if found == len => match (place, &self.parent) {
                (Place::Here(at), _) => self.store.try_read_at(at, data),
                (Place::Behind, None) => {
                    data.fill(0);
                    true
                }
                (Place::Behind, Some(parent)) => parent.try_read_at(offset, data),
            },
            _ => false,
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.clear(offset, len, true)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.clear(offset, len, false)
    }

    fn flush(&self) -> io::Result<()> {
        if !self.writable {
            return Ok(());
        }
        let mut tables = self.lock();
        if !tables.leaving.is_empty() {
            drop(tables);
            let alone = self.alone();
            return self.write_back_alone(&mut self.lock(), &alone);
        }
        if tables.pages.is_dirty() {
            return self.write_back(&mut tables);
        }
        // Nobody waits at the tables for the host's storage.
        drop(tables);
        self.store.flush()
    }

    fn rest(&self) -> io::Result<()> {
        self.flush()?;
        let mut tables = self.lock();
        if self.writable && !tables.ended && self.header.is_some() {
            self.store.write_at(tables.end, self.footer.bytes())?;
            tables.ended = true;
            self.store.flush()?;
        }
        Ok(())
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent> {
        image::check(self.size(), offset, len)?;
        let (len, place) = self.run(&mut self.lock(), offset, len)?;
        let content = match place {
            Place::Here(_) => Content::Data,
            Place::Behind => Content::Behind,
        };
        Ok(Extent { len, content })
    }
}

/// What was written and not flushed is written all the same.
impl Drop for Vhd {
    fn drop(&mut self) {
        if self.writable {
            let _ = self.rest();
        }
    }
}
