//! VHDX ([MS-VHDX]): blocks that are somewhere in the file, or zeros, or, sector by sector, in the image behind this one.
//!
//! Tables change by the log: pages of them are in it, whole, before they change in their places (`write_back`).

mod blocks;
mod check;
mod clear;
mod crc;
pub mod create;
pub mod header;
mod log;
pub mod metadata;
mod resize;
mod write;

pub use check::check;
pub use resize::resize;

use crate::error::damaged;
use crate::guid::Guid;
use crate::image::{self, Content, Extent, Image, read_behind};
use crate::{Format, ImageError, Pages, Store};
use blocks::Place;
use header::{Header, Regions};
use log::Writer;
use metadata::Metadata;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What pages of tables take at most: about 16 TiB of an image with the usual blocks.
const MOST: usize = 4 << 20;
const PAGE: usize = 4096;

pub struct Vhdx {
    store: Arc<dyn Store>,
    metadata: Metadata,
    regions: Regions,
    writable: bool,
    parent: Option<Arc<dyn Image>>,
    /// Held by whoever reads or writes blocks, and alone by whoever gives some up.
    gate: RwLock<()>,
    tables: Mutex<Tables>,
}

struct Tables {
    header: Header,
    pages: Pages,
    log: Writer,
    /// Headers say that this is not the image any more that it was.
    begun: bool,
    /// Where the next block comes.
    end: u64,
    /// Blocks that are zeros and nobody's.
    free: Vec<u64>,
    /// Blocks that nothing will refer to once tables are written.
    leaving: Vec<u64>,
}

impl Vhdx {
    /// `parent`: the image behind it, if it has one.
    pub fn open(
        store: Arc<dyn Store>,
        writable: bool,
        parent: Option<Arc<dyn Image>>,
    ) -> Result<Self, ImageError> {
        let mut header = Header::read(store.as_ref(), store.size()?)?;
        if header.log != Guid::NONE {
            if !writable {
                return Err(ImageError::wrong(
                    "it was not closed, and what its log says must be done first; open it for writing once (`ireko disk check --repair`)",
                ));
            }
            log::replay(store.as_ref(), &header)?;
            header.log = Guid::NONE;
            header.write(store.as_ref())?;
        }
        let length = store.size()?;
        let regions = Regions::read(store.as_ref(), length)?;
        let metadata = Metadata::read(store.as_ref(), regions.metadata)?;
        if metadata.entries(metadata.size) * 8 > regions.bat.length {
            return Err(header::damaged("its block allocation table is too short"));
        }
        check_parent(&metadata, parent.as_deref())?;
        let tables = Tables {
            log: Writer::new(&header),
            header,
            pages: Pages::new(store.clone(), PAGE, MOST),
            begun: false,
            end: length.next_multiple_of(header::MIB),
            free: Vec::new(),
            leaving: Vec::new(),
        };
        let (gate, tables) = (RwLock::new(()), Mutex::new(tables));
        Ok(Self { store, metadata, regions, writable, parent, gate, tables })
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

    /// Before the first change: whoever knew this image sees that it is another now.
    fn begin(&self, tables: &mut Tables) -> io::Result<()> {
        if tables.begun {
            return Ok(());
        }
        tables.header.file_write = Guid::random()?;
        tables.header.data_write = Guid::random()?;
        tables.header.write(self.store.as_ref())?;
        tables.begun = true;
        Ok(())
    }

    /// Tables to the file, in an order that is right after a crash at any moment: data, then the log, then tables in their places.
    fn write_back(&self, tables: &mut Tables) -> io::Result<()> {
        self.store.flush()?;
        let pages: Vec<(u64, Vec<u8>)> =
            tables.pages.changed().map(|(offset, page)| (offset, page.to_vec())).collect();
        let length = if pages.is_empty() { 0 } else { self.store.size()? };
        for (number, pages) in pages.chunks(tables.log.room()).enumerate() {
            if number > 0 {
                self.store.flush()?;
            }
            self.log(tables, pages, length)?;
            for (offset, page) in pages {
                self.store.write_at(*offset, page)?;
            }
        }
        tables.pages.are_written();
        Ok(())
    }

    fn log(&self, tables: &mut Tables, pages: &[(u64, Vec<u8>)], length: u64) -> io::Result<()> {
        let first = tables.header.log == Guid::NONE;
        let mut header = tables.header.clone();
        if first {
            header.log = Guid::random()?;
        }
        tables.log.write(self.store.as_ref(), &header, pages, length)?;
        self.store.flush()?;
        if first {
            header.write(self.store.as_ref())?;
            tables.header = header;
        }
        Ok(())
    }

    /// The same, and then what no table refers to any more is free. Nobody may be in the blocks.
    fn write_back_alone(&self, tables: &mut Tables, _alone: &RwLockWriteGuard<'_, ()>) -> io::Result<()> {
        self.write_back(tables)?;
        for block in std::mem::take(&mut tables.leaving) {
            crate::store::zero(self.store.as_ref(), block, self.metadata.block)?;
            tables.free.push(block);
        }
        Ok(())
    }

    fn write_back_if_crowded(&self, tables: &mut Tables) -> io::Result<()> {
        if tables.pages.dirty() >= tables.log.room() / 2 { self.write_back(tables) } else { Ok(()) }
    }

    /// Reads a run.
    fn fetch(&self, offset: u64, place: Place, data: &mut [u8]) -> io::Result<()> {
        match place {
            Place::Here(at) => self.store.read_at(at, data),
            Place::Zeros => {
                data.fill(0);
                Ok(())
            }
            Place::Behind => read_behind(self.parent.as_deref(), offset, data),
        }
    }
}

fn check_parent(metadata: &Metadata, parent: Option<&dyn Image>) -> Result<(), ImageError> {
    match (&metadata.parent, parent) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(ImageError::wrong("no image is behind it, and one was given")),
        (Some(locator), None) => {
            let name = locator.paths.first().map_or("", String::as_str);
            Err(ImageError::wrong(format!("the image behind it, `{}`, is missing", crate::printable(name))))
        }
        (Some(locator), Some(parent)) => match parent.identity() {
            Some(identity) if locator.linkage.contains(&identity) => Ok(()),
            _ => Err(ImageError::wrong(
                "the image behind it is another one, or was written to since; give the one that it was made over",
            )),
        },
    }
}

impl Image for Vhdx {
    fn format(&self) -> Format {
        Format::Vhdx
    }
    fn size(&self) -> u64 {
        self.metadata.size
    }
    fn writable(&self) -> bool {
        self.writable
    }
    fn identity(&self) -> Option<Guid> {
        Some(self.lock().header.data_write)
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
        let run = self.known_run(&mut tables, offset, len);
        drop(tables);
        match run {
            Ok(Some((found, place))) if found == len => match (place, &self.parent) {
                (Place::Here(at), _) => self.store.try_read_at(at, data),
                (Place::Zeros, _) | (Place::Behind, None) => {
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

    /// The log is empty then, and nothing has to be done before the image is read.
    fn rest(&self) -> io::Result<()> {
        if !self.writable {
            return Ok(());
        }
        self.flush()?;
        let mut tables = self.lock();
        self.write_back(&mut tables)?;
        if tables.header.log != Guid::NONE {
            self.store.flush()?;
            let mut header = Header { log: Guid::NONE, ..tables.header.clone() };
            header.write(self.store.as_ref())?;
            tables.header = header;
        }
        Ok(())
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent> {
        image::check(self.size(), offset, len)?;
        let (len, place) = self.run(&mut self.lock(), offset, len)?;
        let content = match place {
            Place::Here(_) => Content::Data,
            Place::Zeros => Content::Zeros,
            Place::Behind => Content::Behind,
        };
        Ok(Extent { len, content })
    }
}

/// What was written and not flushed is written all the same.
impl Drop for Vhdx {
    fn drop(&mut self) {
        let _ = self.rest();
    }
}

/// Bytes of the file behind which nothing of it may be.
fn within(end: u64, place: u64, len: u64) -> io::Result<u64> {
    match crate::pages::whole(end, place, len) {
        true => Ok(place),
        false => Err(damaged(format_args!("a block would be at {place:#x}"))),
    }
}
