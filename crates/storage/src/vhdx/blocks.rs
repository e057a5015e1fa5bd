//! The block allocation table, and the bits of sectors ([MS-VHDX], 2.4 and 2.5).

use super::{Tables, Vhdx};
use crate::bytes::{le64, put};
use crate::error::damaged;
use std::io;

/// States of payload blocks.
pub const NOT_PRESENT: u64 = 0;
pub const UNDEFINED: u64 = 1;
pub const ZERO: u64 = 2;
pub const UNMAPPED: u64 = 3;
pub const FULLY_PRESENT: u64 = 6;
pub const PARTIALLY_PRESENT: u64 = 7;
/// The same of blocks of bits.
pub const PRESENT: u64 = 6;

/// Where a run of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this offset in the file.
    Here(u64),
    Zeros,
    Behind,
}

impl Place {
    fn goes_on(self, next: Self, bytes: u64) -> bool {
        match (self, next) {
            (Self::Here(here), Self::Here(next)) => here + bytes == next,
            (this, next) => this == next,
        }
    }
}

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

    /// Where the byte at an offset is, and how many behind it follow there.
    pub(super) fn run(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<(u64, Place)> {
        let found = self.look(offset, len, |at| tables.pages.from(at).map(|bytes| Some(le64(bytes, 0))))?;
        found.ok_or_else(crate::error::beyond)
    }

    /// The same, as far as the tables are in memory.
    pub(super) fn known_run(
        &self,
        tables: &mut Tables,
        offset: u64,
        len: u64,
    ) -> io::Result<Option<(u64, Place)>> {
        self.look(offset, len, |at| Ok(tables.pages.peek(at).map(|bytes| le64(bytes, 0))))
    }

    /// `word`: the 8 bytes at an offset of the file that is a multiple of 8, or nothing to stop.
    fn look(
        &self,
        offset: u64,
        len: u64,
        mut word: impl FnMut(u64) -> io::Result<Option<u64>>,
    ) -> io::Result<Option<(u64, Place)>> {
        let mut found: Option<Place> = None;
        let mut done = 0;
        while done < len {
            let Some((span, place)) = self.look_once(offset + done, len - done, &mut word)? else { break };
            match found {
                None => found = Some(place),
                Some(first) if first.goes_on(place, done) => (),
                Some(_) => break,
            }
            done += span;
        }
        Ok(found.map(|place| (done, place)))
    }

    /// Within one block.
    fn look_once(
        &self,
        offset: u64,
        len: u64,
        word: &mut impl FnMut(u64) -> io::Result<Option<u64>>,
    ) -> io::Result<Option<(u64, Place)>> {
        let (block, within) = (offset / self.metadata.block, offset % self.metadata.block);
        let span = (self.metadata.block - within).min(len);
        let Some(entry) = word(self.entry_at(block))?.map(Entry) else { return Ok(None) };
        let place = match entry.state() {
            FULLY_PRESENT if entry.offset() != 0 => Place::Here(entry.offset() + within),
            NOT_PRESENT => Place::Behind,
            UNDEFINED | ZERO | UNMAPPED => Place::Zeros,
            PARTIALLY_PRESENT if self.parent.is_some() && entry.offset() != 0 => {
                return self.look_at_bits(block, within, span, entry, word);
            }
            state => return Err(damaged(format_args!("block {block} would be in state {state}"))),
        };
        Ok(Some((span, place)))
    }

    /// Of a block whose sectors are here or behind.
    fn look_at_bits(
        &self,
        block: u64,
        within: u64,
        span: u64,
        entry: Entry,
        word: &mut impl FnMut(u64) -> io::Result<Option<u64>>,
    ) -> io::Result<Option<(u64, Place)>> {
        let Some(bits) = word(self.bits_entry_at(block))?.map(Entry) else { return Ok(None) };
        if bits.state() != PRESENT || bits.offset() == 0 {
            return Err(damaged(format_args!("the bits of block {block} are missing")));
        }
        let sector = u64::from(self.metadata.logical_sector);
        let first = self.first_bit(block) + within / sector;
        let last = self.first_bit(block) + (within + span).div_ceil(sector);
        let (mut known, mut here, mut number) = (None, false, first);
        while number < last {
            let at = number / 64;
            if known.is_none_or(|(of, _)| of != at) {
                let Some(value) = word(bits.offset() + at * 8)? else { break };
                known = Some((at, value));
            }
            let bit = known.is_some_and(|(_, value)| value >> (number % 64) & 1 != 0);
            if number == first {
                here = bit;
            } else if bit != here {
                break;
            }
            number += 1;
        }
        if number == first {
            return Ok(None);
        }
        let len = ((number - self.first_bit(block)) * sector - within).min(span);
        let place = if here { Place::Here(entry.offset() + within) } else { Place::Behind };
        Ok(Some((len, place)))
    }

    /// Says of sectors of a block that they are here, or are not.
    pub(super) fn set_bits(
        &self,
        tables: &mut Tables,
        block: u64,
        sectors: std::ops::Range<u64>,
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
