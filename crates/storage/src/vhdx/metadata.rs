//! What a disk is, and what is behind it ([MS-VHDX], 2.6).

use super::header::{MIB, Region, damaged};
use crate::bytes::{le16, le32, le64, put};
use crate::create::Parent;
use crate::guid::{Guid, guid};
use crate::pages::whole;
use crate::{Format, ImageError, Store};

const FILE_PARAMETERS: Guid = guid(0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b);
const DISK_SIZE: Guid = guid(0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8);
pub const DISK_ID: Guid = guid(0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746);
const LOGICAL_SECTOR: Guid = guid(0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f);
pub const PHYSICAL_SECTOR: Guid = guid(0xcda3_48c7_445d_4471_9cc9_e988_5251_c556);
pub const PARENT_LOCATOR: Guid = guid(0xa8d3_5f2d_b30b_454d_abf7_d3d8_4834_ab0c);
const VHDX_PARENT: Guid = guid(0xb04a_efb7_d19e_4a81_b789_25b8_e944_5913);

/// The most that a disk can be.
pub const MOST_SIZE: u64 = 64 << 40;

/// What the disk is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Bytes of a block.
    pub block: u64,
    /// Room is never given back.
    pub fixed: bool,
    /// Of the disk, in bytes.
    pub size: u64,
    /// Where in the file that is said.
    pub size_at: u64,
    pub id: Guid,
    pub logical_sector: u32,
    pub physical_sector: u32,
    pub parent: Option<Locator>,
}

/// What says which image is behind this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locator {
    /// The parent's `data_write` when this image was made, or what it may also be.
    pub linkage: Vec<Guid>,
    /// The best first.
    pub paths: Vec<String>,
}

/// More than these items, and longer ones, nobody has.
const MOST_ITEMS: u16 = 1023;
const MOST_ITEM: u64 = 64 << 10;

/// An item of the region.
pub struct Item {
    pub id: Guid,
    /// Where its entry is in the region, and it itself.
    pub at: u64,
    pub offset: u64,
    pub length: u64,
    /// An image with one that is not known is not to be used.
    required: bool,
}

/// What the region's table lists.
pub fn entries(store: &dyn Store, region: Region) -> Result<Vec<Item>, ImageError> {
    let mut table = vec![0; 64 << 10];
    store.read_at(region.offset, &mut table)?;
    if table.get(..8) != Some(b"metadata") {
        return Err(damaged("its metadata is not where it should be"));
    }
    let count = le16(&table, 10).min(MOST_ITEMS);
    let item = |(at, entry): (u64, &[u8])| {
        let (offset, length) = (le32(entry, 16).into(), le32(entry, 20).into());
        match whole(region.length, offset, length) {
            true => {
                Ok(Item { id: Guid::read(entry, 0), at, offset, length, required: le32(entry, 24) & 4 != 0 })
            }
            false => Err(damaged(format!("an item of its metadata would be at {offset:#x}"))),
        }
    };
    (32..).step_by(32).zip(table[32..].chunks_exact(32)).take(count.into()).map(item).collect()
}

/// The names of a parent, as a locator has them.
pub fn paths(parent: &Parent) -> Vec<String> {
    vec![crate::vhd::create::windows(&parent.relative), parent.absolute.clone()]
}

impl Metadata {
    pub fn read(store: &dyn Store, region: Region) -> Result<Self, ImageError> {
        let mut read = Self { physical_sector: 4096, ..Self::default() };
        let mut has_parent = false;
        for entry in entries(store, region)? {
            let at = region.offset + entry.offset;
            let mut item = vec![0; entry.length.clamp(20, MOST_ITEM) as usize];
            crate::store::read_padded(store, at, &mut item)?;
            match entry.id {
                FILE_PARAMETERS => {
                    read.block = le32(&item, 0).into();
                    read.fixed = le32(&item, 4) & 1 != 0;
                    has_parent = le32(&item, 4) & 2 != 0;
                }
                DISK_SIZE => (read.size, read.size_at) = (le64(&item, 0), at),
                DISK_ID => read.id = Guid::read(&item, 0),
                LOGICAL_SECTOR => read.logical_sector = le32(&item, 0),
                PHYSICAL_SECTOR => read.physical_sector = le32(&item, 0),
                PARENT_LOCATOR => read.parent = Some(Locator::parse(&item)?),
                // A user's, or one that can be done without.
                _ if !entry.required => (),
                other => {
                    return Err(ImageError::Unsupported {
                        format: Format::Vhdx,
                        what: format!("has metadata of an unknown kind ({other})"),
                        instead: "convert it with what made it",
                    });
                }
            }
        }
        if has_parent != read.parent.is_some() {
            return Err(damaged("it does not say what is behind it"));
        }
        read.check()?;
        Ok(read)
    }

    pub fn check(&self) -> Result<(), ImageError> {
        if !(MIB..=256 * MIB).contains(&self.block) || !self.block.is_power_of_two() {
            return Err(damaged(format!("its blocks have {} bytes", self.block)));
        }
        if !matches!(self.logical_sector, 512 | 4096) || !matches!(self.physical_sector, 512 | 4096) {
            return Err(damaged(format!("its sectors have {} bytes", self.logical_sector)));
        }
        if self.size > MOST_SIZE || !self.size.is_multiple_of(self.logical_sector.into()) {
            return Err(damaged(format!("its disk has {} bytes", self.size)));
        }
        Ok(())
    }

    /// The metadata region.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; MIB as usize];
        put(&mut bytes, 0, b"metadata");
        let flags = u32::from(self.fixed) | u32::from(self.parent.is_some()) << 1;
        let parameters = [(self.block as u32).to_le_bytes(), flags.to_le_bytes()].concat();
        let (system, disk) = (4u32, 6u32);
        let mut items = vec![
            (FILE_PARAMETERS, parameters, system),
            (DISK_SIZE, self.size.to_le_bytes().to_vec(), disk),
            (DISK_ID, self.id.encoded().to_vec(), disk),
            (LOGICAL_SECTOR, self.logical_sector.to_le_bytes().to_vec(), disk),
            (PHYSICAL_SECTOR, self.physical_sector.to_le_bytes().to_vec(), disk),
        ];
        items.extend(self.parent.as_ref().map(|parent| (PARENT_LOCATOR, parent.encode(), system)));
        put(&mut bytes, 10, &(items.len() as u16).to_le_bytes());
        let mut at = 64 << 10;
        for (index, (id, item, flags)) in items.into_iter().enumerate() {
            let entry = 32 + 32 * index;
            put(&mut bytes, entry, &id.encoded());
            put(&mut bytes, entry + 16, &(at as u32).to_le_bytes());
            put(&mut bytes, entry + 20, &(item.len() as u32).to_le_bytes());
            put(&mut bytes, entry + 24, &flags.to_le_bytes());
            put(&mut bytes, at, &item);
            at += item.len().next_multiple_of(16);
        }
        bytes
    }

    /// Payload blocks that one block of sector bits is about.
    pub fn chunk(&self) -> u64 {
        (u64::from(self.logical_sector) << 23) / self.block
    }

    /// Payload blocks of a disk of this size.
    pub fn blocks(&self, size: u64) -> u64 {
        size.div_ceil(self.block)
    }

    /// Entries of the block allocation table for a disk of this size.
    pub fn entries(&self, size: u64) -> u64 {
        let blocks = self.blocks(size);
        match self.parent {
            Some(_) => blocks.div_ceil(self.chunk()) * (self.chunk() + 1),
            None => blocks + blocks.saturating_sub(1) / self.chunk(),
        }
    }
}

impl Locator {
    fn parse(item: &[u8]) -> Result<Self, ImageError> {
        if Guid::read(item, 0) != VHDX_PARENT {
            return Err(ImageError::Unsupported {
                format: Format::Vhdx,
                what: "has a parent of an unknown kind".into(),
                instead: "convert it with what made it",
            });
        }
        let mut found = Self::default();
        let mut paths = Vec::new();
        for entry in item[20..].chunks_exact(12).take(le16(item, 18).min(32).into()) {
            let text = |offset: usize, length: usize| {
                let (at, len) = (le32(entry, offset) as usize, usize::from(le16(entry, length)));
                item.get(at..at.saturating_add(len)).map(utf16)
            };
            let (Some(key), Some(value)) = (text(0, 8), text(4, 10)) else {
                return Err(damaged("what it says of its parent is cut short"));
            };
            match key.as_str() {
                "parent_linkage" | "parent_linkage2" => found.linkage.extend(value.trim().parse::<Guid>()),
                "relative_path" => paths.push((0, value)),
                "absolute_win32_path" => paths.push((1, value)),
                "volume_path" => paths.push((2, value)),
                _ => (),
            }
        }
        paths.sort();
        found.paths = paths.into_iter().map(|(_, path)| path).collect();
        Ok(found)
    }

    pub fn encode(&self) -> Vec<u8> {
        let linkage = self.linkage.first().copied().unwrap_or_default();
        let mut pairs = vec![("parent_linkage", format!("{{{linkage}}}"))];
        pairs.extend(["relative_path", "absolute_win32_path"].into_iter().zip(self.paths.iter().cloned()));
        let mut bytes = vec![0; 20 + 12 * pairs.len()];
        put(&mut bytes, 0, &VHDX_PARENT.encoded());
        put(&mut bytes, 18, &(pairs.len() as u16).to_le_bytes());
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            let entry = 20 + 12 * index;
            for (field, length, text) in [(0, 8, key), (4, 10, value.as_str())] {
                let coded: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                let at = bytes.len() as u32;
                put(&mut bytes, entry + field, &at.to_le_bytes());
                put(&mut bytes, entry + length, &(coded.len() as u16).to_le_bytes());
                bytes.extend(coded);
            }
        }
        bytes
    }
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| le16(pair, 0)).collect();
    String::from_utf16_lossy(&units)
}
