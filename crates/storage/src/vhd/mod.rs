//! VHD (Virtual Hard Disk Image Format Specification, 1.0): fixed, with a footer behind the disk's bytes; or growing, in blocks of
//! sectors that are here, or zeros, or in the image behind this one.
//!
//! There is no log. A new block is behind all others with a footer behind it, and the table leads to it only when its bytes are there.

mod check;
pub mod create;
pub mod footer;
mod resize;
mod set;
mod write;

pub use check::check;
pub use resize::resize;
pub use set::{set_identifier, set_parent};

use crate::bytes::{be32, be64};
use crate::chain::{Behind, Facts};
use crate::error::damaged;
use crate::guid::Guid;
use crate::image::{Image, write_every_zero};
use crate::mapped::{Alone, Found, Layer, Mapped, Mapping, check_parent, like_the_first};
use crate::pages::Look;
use crate::{Format, ImageError, Pages, SECTOR, Store};
use footer::{FOOTER, Footer, Header, Kind};
use std::io;
use std::sync::Arc;

/// What pages of tables take at most.
const MOST: usize = 2 << 20;
const PAGE: usize = 512;
const UNUSED: u32 = u32::MAX;

pub struct Vhd {
    footer: Footer,
    /// Of an image that grows.
    header: Option<Header>,
    layer: Layer<Tables>,
}

pub struct Tables {
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
        let name = locator.map(|locator| locator.paths.first().map_or("", String::as_str));
        check_parent(name, parent.is_some())?;
        if let (Some(locator), Some(parent)) = (locator, &parent)
            && parent.identity() != Some(locator.id)
        {
            return Err(ImageError::wrong(
                "the image behind it is another one; give the one that it was made over",
            ));
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
        Ok(Self { footer, header, layer: Layer::new(store, writable, parent, tables) })
    }

    /// Bytes of the bits in front of a block.
    fn bits(block: u64) -> u64 {
        (block / SECTOR / 8).next_multiple_of(SECTOR)
    }

    fn entry_at(header: &Header, block: u64) -> u64 {
        header.table + block * 4
    }

    /// Where a block is, with its bits in front.
    fn place(header: &Header, block: u64, entry: u32) -> io::Result<Option<u64>> {
        match entry {
            UNUSED => Ok(None),
            sector if u64::from(sector) * SECTOR >= header.table => Ok(Some(u64::from(sector) * SECTOR)),
            sector => Err(damaged(format_args!("block {block} would be at sector {sector}"))),
        }
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
        identifier: Some(footer.id),
        identity: Some(footer.id),
        fixed: footer.kind == Kind::Fixed,
        behind,
        ..Facts::new(Format::Vhd, footer.size)
    })
}

impl Mapped for Vhd {
    type Tables = Tables;
    const FORMAT: Format = Format::Vhd;

    fn layer(&self) -> &Layer<Tables> {
        &self.layer
    }
    fn disk_size(&self) -> u64 {
        self.footer.size
    }
    /// Of a fixed image all is one.
    fn block(&self) -> u64 {
        self.header.as_ref().map_or(self.footer.size, |header| header.block)
    }
    fn known_as(&self) -> Option<Guid> {
        Some(self.footer.id)
    }

    fn find(&self, tables: &mut Tables, offset: u64, len: u64, look: Look) -> io::Result<Found> {
        let Some(header) = &self.header else { return Ok(Some((len, Mapping::Here(offset)))) };
        let (number, within) = (offset / header.block, offset % header.block);
        let span = (header.block - within).min(len);
        let entry = tables.pages.look(Self::entry_at(header, number), look)?.map(|bytes| be32(bytes, 0));
        let Some(entry) = entry else { return Ok(None) };
        let Some(block) = Self::place(header, number, entry)? else {
            return Ok(Some((span, Mapping::Behind)));
        };
        let first = within / SECTOR;
        let found = like_the_first(first..(within + span).div_ceil(SECTOR), |at| {
            // The first sector has the highest bit of the first byte.
            Ok(tables.pages.look(block + at * 8, look)?.map(|bytes| be64(bytes, 0).reverse_bits()))
        })?;
        Ok(found.map(|(count, here)| {
            let len = ((first + count) * SECTOR - within).min(span);
            let here = here.then_some(Mapping::Here(block + Self::bits(header.block) + within));
            (len, here.unwrap_or(Mapping::Behind))
        }))
    }

    fn own_run(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
        self.own(tables, offset, len)
    }
    fn write_new(&self, tables: &mut Tables, offset: u64, data: &[u8]) -> io::Result<usize> {
        match &self.header {
            Some(header) => self.write_block(tables, header, offset, data),
            None => Err(crate::error::beyond()),
        }
    }

    /// What is behind shows where a block is not here; a fixed image keeps its room.
    fn clears_blocks(&self) -> bool {
        self.header.is_some() && self.layer.parent.is_none()
    }
    fn is_crowded(&self, tables: &mut Tables) -> bool {
        tables.pages.is_crowded()
    }
    fn clear_block(&self, tables: &mut Tables, number: u64) -> io::Result<()> {
        self.give_up(tables, number)
    }
    fn clear_part(&self, offset: u64, end: u64, zeros: bool) -> io::Result<()> {
        match self.clears_blocks() {
            true => self.make_holes(offset, end),
            false if zeros => write_every_zero(self, offset, end - offset),
            false => Ok(()),
        }
    }

    fn is_dirty(&self, tables: &Tables) -> bool {
        tables.pages.is_dirty()
    }
    fn are_leaving(&self, tables: &Tables) -> bool {
        !tables.leaving.is_empty()
    }
    /// Data first, then what leads to it.
    fn write_back(&self, tables: &mut Tables) -> io::Result<()> {
        self.layer.store.flush()?;
        if tables.pages.is_dirty() {
            tables.pages.write_back()?;
            self.layer.store.flush()?;
        }
        Ok(())
    }
    fn let_go(&self, tables: &mut Alone<'_, Tables>) -> io::Result<()> {
        let Some(header) = &self.header else { return Ok(()) };
        let whole = Self::bits(header.block) + header.block;
        for block in std::mem::take(&mut tables.leaving) {
            tables.pages.forget(block..block + Self::bits(header.block));
            crate::store::zero(self.layer.store.as_ref(), block, whole)?;
            tables.free.push(block);
        }
        Ok(())
    }
    fn inactivate(&self) -> io::Result<()> {
        self.flush()?;
        let mut tables = self.layer.lock();
        if !tables.ended && self.header.is_some() {
            self.layer.store.write_at(tables.end, self.footer.bytes())?;
            tables.ended = true;
            self.layer.store.flush()?;
        }
        Ok(())
    }
}

/// What was written and not flushed is written all the same.
impl Drop for Vhd {
    fn drop(&mut self) {
        let _ = self.rest();
    }
}
