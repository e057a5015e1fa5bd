//! An entry of an L2 table (qcow2 specification, "L2 table entry", "Extended L2 Entries").

use crate::bytes::be64;
use std::io;

pub const COPIED: u64 = 1 << 63;
pub const COMPRESSED: u64 = 1 << 62;
/// Of a standard descriptor without subclusters: it reads as zeros.
const ZERO: u64 = 1;
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Subclusters of a cluster, where entries are extended.
pub const SUBCLUSTERS: u32 = 32;

/// One cluster's mapping. `bitmap`: one bit a subcluster, the lower half for those that are here, the upper for those that are zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub word: u64,
    pub bitmap: u64,
}

/// What a cluster, or a subcluster of one, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// At the cluster's place in the file.
    Here,
    Zeros,
    Behind,
    Compressed,
}

impl Entry {
    pub fn read(bytes: &[u8], extended: bool) -> Self {
        Self { word: be64(bytes, 0), bitmap: if extended { be64(bytes, 8) } else { 0 } }
    }

    /// The cluster's place in the file, if it has one and is not compressed.
    pub fn place(&self, cluster: u64) -> io::Result<Option<u64>> {
        if self.word & COMPRESSED != 0 {
            return Ok(None);
        }
        match self.word & OFFSET {
            0 => Ok(None),
            place if place.is_multiple_of(cluster) => Ok(Some(place)),
            place => Err(crate::error::damaged(format_args!("a cluster would be at {place:#x}"))),
        }
    }

    pub fn compressed(&self) -> bool {
        self.word & COMPRESSED != 0
    }

    /// Whether its place may be written to: nothing else is there.
    pub fn own(&self) -> bool {
        self.word & COPIED != 0 && self.word & COMPRESSED == 0 && self.word & OFFSET != 0
    }

    pub fn unit(&self, extended: bool, subcluster: u32) -> Unit {
        if self.compressed() {
            return Unit::Compressed;
        }
        let place = self.word & OFFSET != 0;
        match extended {
            false if self.word & ZERO != 0 => Unit::Zeros,
            false if place => Unit::Here,
            false => Unit::Behind,
            true if self.bitmap >> (SUBCLUSTERS + subcluster) & 1 != 0 => Unit::Zeros,
            true if place && self.bitmap >> subcluster & 1 != 0 => Unit::Here,
            true => Unit::Behind,
        }
    }

    /// With all of it at a place of its own.
    pub fn whole(place: u64, extended: bool) -> Self {
        Self { word: place | COPIED, bitmap: if extended { u64::from(u32::MAX) } else { 0 } }
    }

    /// With nothing anywhere, and zeros instead.
    pub fn zeros(extended: bool) -> Self {
        match extended {
            true => Self { word: 0, bitmap: u64::from(u32::MAX) << SUBCLUSTERS },
            false => Self { word: ZERO, bitmap: 0 },
        }
    }

    /// The same at a place of its own, with these subclusters there now.
    pub fn with(self, place: u64, subclusters: u64) -> Self {
        let bitmap = (self.bitmap | subclusters) & !(subclusters << SUBCLUSTERS);
        Self { word: place | COPIED, bitmap }
    }
}

/// The bits of subclusters `first..end`.
pub fn bits(first: u32, end: u32) -> u64 {
    (1u64 << end) - (1u64 << first)
}

/// Where a compressed cluster's bytes are, and how many there are at most.
pub fn compressed_range(word: u64, cluster_bits: u32) -> (u64, u64) {
    let shift = 62 - (cluster_bits - 8);
    let offset = word & ((1 << shift) - 1);
    let sectors = (word & !(COPIED | COMPRESSED)) >> shift;
    (offset, (sectors + 1) * 512 - offset % 512)
}
