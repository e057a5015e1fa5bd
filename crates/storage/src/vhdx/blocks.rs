//! The block allocation table, and the bits of sectors ([MS-VHDX], 2.4 and 2.5).

use super::{Tables, Vhdx};
use crate::bytes::{le64, put};
use crate::error::damaged;
use crate::mapped::{Found, Mapping, like_the_first};
use crate::pages::Look;
use std::io;
use std::ops::Range;

/// States of payload blocks.
pub const NOT_PRESENT: u64 = 0;
pub const UNDEFINED: u64 = 1;
pub const ZERO: u64 = 2;
pub const UNMAPPED: u64 = 3;
pub const FULLY_PRESENT: u64 = 6;
pub const PARTIALLY_PRESENT: u64 = 7;
/// The same of blocks of bits.
pub const PRESENT: u64 = 6;

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    pub fn state(self) -> u64 {
        self.0 & 7
    }
    /// Where the block is in the file.
    pub fn offset(self) -> u64 {
        self.0 & !0xf_ffff
    }
}

fn entry(tables: &mut Tables, at: u64, look: Look) -> io::Result<Option<Entry>> {
    Ok(tables.pages.look(at, look)?.map(|bytes| Entry(le64(bytes, 0))))
}

impl Vhdx {
    /// Where the entry of a payload block is in the file.
    pub(super) fn entry_at(&self, block: u64) -> u64 {
        self.regions.bat.offset + (block + block / self.metadata.chunk()) * 8
    }

    /// The same of the block of bits that is about it.
    pub(super) fn bits_entry_at(&self, block: u64) -> u64 {
        let chunk = self.metadata.chunk();
        self.regions.bat.offset + (block / chunk * (chunk + 1) + chunk) * 8
    }

    pub(super) fn entry(&self, tables: &mut Tables, at: u64) -> io::Result<Entry> {
        Ok(Entry(le64(tables.pages.from(at)?, 0)))
    }

    pub(super) fn set_entry(&self, tables: &mut Tables, at: u64, state: u64, offset: u64) -> io::Result<()> {
        put(tables.pages.change(at)?, 0, &(offset | state).to_le_bytes());
        Ok(())
    }

    fn sectors(&self) -> u64 {
        self.metadata.block / u64::from(self.metadata.logical_sector)
    }

    /// The number of a block's first bit in its block of bits.
    pub(super) fn first_bit(&self, block: u64) -> u64 {
        block % self.metadata.chunk() * self.sectors()
    }

    /// [`Mapped::find`](crate::mapped::Mapped::find) within one block.
    pub(super) fn find_in_block(
        &self,
        tables: &mut Tables,
        offset: u64,
        len: u64,
        look: Look,
    ) -> io::Result<Found> {
        let (block, within) = (offset / self.metadata.block, offset % self.metadata.block);
        let span = (self.metadata.block - within).min(len);
        let Some(entry) = entry(tables, self.entry_at(block), look)? else { return Ok(None) };
        let place = match entry.state() {
            FULLY_PRESENT if entry.offset() != 0 => Mapping::Here(entry.offset() + within),
            NOT_PRESENT => Mapping::Behind,
            UNDEFINED | ZERO | UNMAPPED => Mapping::Zeros,
            PARTIALLY_PRESENT if self.layer.parent.is_some() && entry.offset() != 0 => {
                let found = self.find_by_bits(tables, block, within..within + span, look)?;
                return Ok(found.map(|(len, here)| {
                    (len, if here { Mapping::Here(entry.offset() + within) } else { Mapping::Behind })
                }));
            }
            state => return Err(damaged(format_args!("block {block} would be in state {state}"))),
        };
        Ok(Some((span, place)))
    }

    /// Of a block whose sectors are here or behind.
    fn find_by_bits(
        &self,
        tables: &mut Tables,
        block: u64,
        range: Range<u64>,
        look: Look,
    ) -> io::Result<Option<(u64, bool)>> {
        let Some(bits) = entry(tables, self.bits_entry_at(block), look)? else { return Ok(None) };
        if bits.state() != PRESENT || bits.offset() == 0 {
            return Err(damaged(format_args!("the bits of block {block} are missing")));
        }
        let (base, sector) = (self.first_bit(block), u64::from(self.metadata.logical_sector));
        let first = range.start / sector;
        let found = like_the_first(base + first..base + range.end.div_ceil(sector), |at| {
            Ok(tables.pages.look(bits.offset() + at * 8, look)?.map(|bytes| le64(bytes, 0)))
        })?;
        Ok(found.map(|(count, here)| {
            (((first + count) * sector - range.start).min(range.end - range.start), here)
        }))
    }

    /// Says of sectors of a block that they are here, or are not.
    pub(super) fn set_bits(
        &self,
        tables: &mut Tables,
        block: u64,
        sectors: Range<u64>,
        here: bool,
    ) -> io::Result<()> {
        let bits = self.entry(tables, self.bits_entry_at(block))?;
        let first = self.first_bit(block);
        let (mut number, end) = (first + sectors.start, first + sectors.end);
        while number < end {
            // Up to the end of a byte, and whole bytes up to the end of a page.
            let at = bits.offset() + number / 8;
            let bytes = tables.pages.from(at)?;
            let in_page = (bytes.len() as u64 * 8 - number % 8).min(end - number);
            let changes = (0..in_page).any(|bit| {
                let place = number % 8 + bit;
                (bytes[(place / 8) as usize] >> (place % 8) & 1 != 0) != here
            });
            if changes {
                let bytes = tables.pages.change(at)?;
                for bit in 0..in_page {
                    let place = number % 8 + bit;
                    let (byte, mask) = (&mut bytes[(place / 8) as usize], 1 << (place % 8));
                    *byte = if here { *byte | mask } else { *byte & !mask };
                }
            }
            number += in_page;
        }
        Ok(())
    }
}
