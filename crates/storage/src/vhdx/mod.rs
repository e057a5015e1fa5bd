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
mod set;
mod write;

pub use check::check;
pub use resize::resize;
pub use set::{set_identifier, set_parent, set_physical_sector};

use crate::guid::Guid;
use crate::image::Image;
use crate::mapped::{Alone, Found, Layer, Mapped, Mapping, check_parent, joined, within};
use crate::pages::Look;
use crate::{Format, ImageError, Pages, Store};
use header::{Header, Regions};
use log::Writer;
use metadata::Metadata;
use std::io;
use std::sync::Arc;

/// What pages of tables take at most: about 16 TiB of an image with the usual blocks.
const MOST: usize = 4 << 20;
const PAGE: usize = 4096;

pub struct Vhdx {
    metadata: Metadata,
    regions: Regions,
    layer: Layer<Tables>,
}

pub struct Tables {
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
        if header.log != Guid::NIL {
            if !writable {
                return Err(ImageError::wrong(
                    "it was not closed, and what its log says must be done first; open it for writing once (`ireko disk check --repair`)",
                ));
            }
            log::replay(store.as_ref(), &header)?;
            header.log = Guid::NIL;
            header.write(store.as_ref())?;
        }
        let length = store.size()?;
        let regions = Regions::read(store.as_ref(), length)?;
        let metadata = Metadata::read(store.as_ref(), regions.metadata)?;
        if metadata.entries(metadata.size) * 8 > regions.bat.length {
            return Err(header::damaged("its block allocation table is too short"));
        }
        check_linkage(&metadata, parent.as_deref())?;
        let tables = Tables {
            log: Writer::new(&header),
            header,
            pages: Pages::new(store.clone(), PAGE, MOST),
            begun: false,
            end: length.next_multiple_of(header::MIB),
            free: Vec::new(),
            leaving: Vec::new(),
        };
        Ok(Self { metadata, regions, layer: Layer::new(store, writable, parent, tables) })
    }

    fn log(&self, tables: &mut Tables, pages: &[(u64, Vec<u8>)], length: u64) -> io::Result<()> {
        let first = tables.header.log == Guid::NIL;
        let mut header = tables.header.clone();
        if first {
            header.log = Guid::random()?;
        }
        tables.log.write(self.layer.store.as_ref(), &header, pages, length)?;
        self.layer.store.flush()?;
        if first {
            header.write(self.layer.store.as_ref())?;
            tables.header = header;
        }
        Ok(())
    }

    fn write_back_if_crowded(&self, tables: &mut Tables) -> io::Result<()> {
        if self.is_crowded(tables) { self.write_back(tables) } else { Ok(()) }
    }
}

fn check_linkage(metadata: &Metadata, parent: Option<&dyn Image>) -> Result<(), ImageError> {
    let name = metadata.parent.as_ref().map(|locator| locator.paths.first().map_or("", String::as_str));
    check_parent(name, parent.is_some())?;
    let (Some(locator), Some(parent)) = (&metadata.parent, parent) else { return Ok(()) };
    match parent.identity() {
        Some(identity) if locator.linkage.contains(&identity) => Ok(()),
        _ => Err(ImageError::wrong(
            "the image behind it is another one, or was written to since; give the one that it was made over",
        )),
    }
}

impl Mapped for Vhdx {
    type Tables = Tables;
    const FORMAT: Format = Format::Vhdx;

    fn layer(&self) -> &Layer<Tables> {
        &self.layer
    }
    fn disk_size(&self) -> u64 {
        self.metadata.size
    }
    fn block(&self) -> u64 {
        self.metadata.block
    }
    fn known_as(&self) -> Option<Guid> {
        Some(self.layer.lock().header.data_write)
    }

    fn find(&self, tables: &mut Tables, offset: u64, len: u64, look: Look) -> io::Result<Found> {
        joined(offset, len, |offset, len| self.find_in_block(tables, offset, len, look))
    }

    /// Whoever knew this image sees that it is another now.
    fn begin(&self, tables: &mut Tables) -> io::Result<()> {
        if tables.begun {
            return Ok(());
        }
        tables.header.file_write = Guid::random()?;
        tables.header.data_write = Guid::random()?;
        tables.header.write(self.layer.store.as_ref())?;
        tables.begun = true;
        Ok(())
    }
    fn own_run(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
        match self.run(tables, offset, len)? {
            (len, Mapping::Here(place)) => Ok(Some((len, within(tables.end, place, len, "block")?))),
            _ => Ok(None),
        }
    }
    fn write_new(&self, tables: &mut Tables, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.write_block(tables, offset, data)
    }

    fn clears_blocks(&self) -> bool {
        !self.metadata.fixed
    }
    fn is_crowded(&self, tables: &mut Tables) -> bool {
        tables.pages.dirty() >= tables.log.room() / 2
    }
    fn clear_block(&self, tables: &mut Tables, number: u64) -> io::Result<()> {
        self.give_up(tables, number)
    }
    fn clear_part(&self, offset: u64, end: u64, zeros: bool) -> io::Result<()> {
        self.make_holes(offset, end, zeros)
    }

    fn is_dirty(&self, tables: &Tables) -> bool {
        tables.pages.is_dirty()
    }
    fn are_leaving(&self, tables: &Tables) -> bool {
        !tables.leaving.is_empty()
    }
    /// Data first, then the log, then tables in their places.
    fn write_back(&self, tables: &mut Tables) -> io::Result<()> {
        let store = &self.layer.store;
        store.flush()?;
        let pages: Vec<(u64, Vec<u8>)> =
            tables.pages.changed().map(|(offset, page)| (offset, page.to_vec())).collect();
        let length = if pages.is_empty() { 0 } else { store.size()? };
        for (number, pages) in pages.chunks(tables.log.room()).enumerate() {
            if number > 0 {
                store.flush()?;
            }
            self.log(tables, pages, length)?;
            for (offset, page) in pages {
                store.write_at(*offset, page)?;
            }
        }
        tables.pages.are_written();
        Ok(())
    }
    fn let_go(&self, tables: &mut Alone<'_, Tables>) -> io::Result<()> {
        for block in std::mem::take(&mut tables.leaving) {
            crate::store::zero(self.layer.store.as_ref(), block, self.metadata.block)?;
            tables.free.push(block);
        }
        Ok(())
    }
    /// The log is empty then, and nothing has to be done before the image is read.
    fn inactivate(&self) -> io::Result<()> {
        self.flush()?;
        let mut tables = self.layer.lock();
        self.write_back(&mut tables)?;
        if tables.header.log != Guid::NIL {
            self.layer.store.flush()?;
            let mut header = Header { log: Guid::NIL, ..tables.header.clone() };
            header.write(self.layer.store.as_ref())?;
            tables.header = header;
        }
        Ok(())
    }
}

/// What was written and not flushed is written all the same.
impl Drop for Vhdx {
    fn drop(&mut self) {
        let _ = self.rest();
    }
}
