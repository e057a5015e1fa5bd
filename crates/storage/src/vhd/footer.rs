//! The footer, and the header of images that grow (Virtual Hard Disk Image Format Specification, 1.0).

use crate::bytes::{be32, be64, put};
use crate::guid::Guid;
use crate::pages::whole;
use crate::{Format, ImageError, SECTOR, Store};
use std::io;

pub const COOKIE: &[u8; 8] = b"conectix";
const SPARSE: &[u8; 8] = b"cxsparse";
pub const FOOTER: u64 = 512;
const HEADER: usize = 1024;
const LOCATORS: usize = 576;
/// Platform codes: paths in UTF-16, relative and absolute.
const RELATIVE: u32 = 0x5732_7275;
const ABSOLUTE: u32 = 0x5732_6b75;
/// The most that a disk can be.
pub const MOST_SIZE: u64 = 2040 << 30;
const MOST_PATH: u32 = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    Fixed,
    #[default]
    Dynamic,
    Differencing,
}

pub fn damaged(what: impl Into<String>) -> ImageError {
    ImageError::damaged(Format::Vhd, what)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    pub kind: Kind,
    /// Where the header is; of a fixed image there is none.
    pub header: u64,
    /// Of the disk, in bytes.
    pub size: u64,
    pub id: Guid,
    bytes: Vec<u8>,
}

/// The ones' complement of the sum of all bytes but the field's own.
fn sum(bytes: &[u8], field: usize) -> u32 {
    let own = |at: usize| (field..field + 4).contains(&at);
    !bytes.iter().enumerate().filter(|(at, _)| !own(*at)).fold(0u32, |sum, (_, byte)| sum + u32::from(*byte))
}

/// Cylinders, heads and sectors of a disk of so many sectors (specification, "CHS Calculation").
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let total = sectors.min(65535 * 16 * 255);
    let (spt, heads, cylinder_heads);
    if total >= 65535 * 16 * 63 {
        (spt, heads) = (255, 16);
        cylinder_heads = total / spt;
    } else {
        let (mut s, mut c) = (17, total / 17);
        let mut h = c.div_ceil(1024).max(4);
        if c >= h * 1024 || h > 16 {
            (s, h) = (31, 16);
            c = total / s;
        }
        if c >= h * 1024 {
            (s, h) = (63, 16);
            c = total / s;
        }
        (spt, heads, cylinder_heads) = (s, h, c);
    }
    ((cylinder_heads / heads) as u16, heads as u8, spt as u8)
}

impl Footer {
    pub fn new(kind: Kind, size: u64, id: Guid, seconds: u32) -> Self {
        let mut bytes = vec![0; FOOTER as usize];
        let header = if kind == Kind::Fixed { u64::MAX } else { FOOTER };
        put(&mut bytes, 0, COOKIE);
        put(&mut bytes, 8, &2u32.to_be_bytes());
        put(&mut bytes, 12, &0x1_0000u32.to_be_bytes());
        put(&mut bytes, 16, &header.to_be_bytes());
        put(&mut bytes, 24, &seconds.to_be_bytes());
        // Readers take the size and not the geometry of what is marked so.
        put(&mut bytes, 28, b"win ");
        put(&mut bytes, 32, &0xa_0000u32.to_be_bytes());
        put(&mut bytes, 36, b"Wi2k");
        let kind_number: u32 = match kind {
            Kind::Fixed => 2,
            Kind::Dynamic => 3,
            Kind::Differencing => 4,
        };
        put(&mut bytes, 60, &kind_number.to_be_bytes());
        put(&mut bytes, 68, &id.0);
        let footer = Self { kind, header, size: 0, id, bytes };
        footer.of_size(size)
    }

    /// The same of a disk of another size.
    pub fn of_size(mut self, size: u64) -> Self {
        self.size = size;
        put(&mut self.bytes, 40, &size.to_be_bytes());
        put(&mut self.bytes, 48, &size.to_be_bytes());
        let (cylinders, heads, sectors) = geometry(size / SECTOR);
        put(&mut self.bytes, 56, &cylinders.to_be_bytes());
        put(&mut self.bytes, 58, &[heads, sectors]);
        let sum = sum(&self.bytes, 64);
        put(&mut self.bytes, 64, &sum.to_be_bytes());
        self
    }

    /// The same of an image with another number.
    pub fn with_id(mut self, id: Guid) -> Self {
        self.id = id;
        put(&mut self.bytes, 68, &id.0);
        let sum = sum(&self.bytes, 64);
        put(&mut self.bytes, 64, &sum.to_be_bytes());
        self
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The one at an offset, if there is one.
    pub fn at(store: &dyn Store, offset: u64) -> io::Result<Option<Result<Self, ImageError>>> {
        let mut bytes = vec![0; FOOTER as usize];
        if !whole(store.size()?, offset, FOOTER) {
            return Ok(None);
        }
        store.read_at(offset, &mut bytes)?;
        let there = bytes.starts_with(COOKIE) && be32(&bytes, 64) == sum(&bytes, 64);
        Ok(there.then(|| Self::parse(bytes)))
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, ImageError> {
        let kind = match be32(&bytes, 60) {
            2 => Kind::Fixed,
            3 => Kind::Dynamic,
            4 => Kind::Differencing,
            other => return Err(damaged(format!("it is of a kind of number {other}"))),
        };
        let (said, creator) = (be64(&bytes, 48), &bytes[28..32]);
        let chs = u64::from(be32(&bytes, 56) >> 16) * u64::from(bytes[58]) * u64::from(bytes[59]) * SECTOR;
        // Virtual PC and its like mean the geometry.
        let by_geometry = matches!(creator, b"vpc " | b"vs  " | b"qemu") && chs != 65535 * 16 * 255 * SECTOR;
        let size = if by_geometry && chs > 0 { chs } else { said };
        if size > MOST_SIZE || !size.is_multiple_of(SECTOR) {
            return Err(damaged(format!("its disk has {size} bytes")));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[68..84]);
        Ok(Self { kind, header: be64(&bytes, 16), size, id: Guid(id), bytes })
    }

    /// The image's: the one at its end, or the copy at its beginning, which fixed images do not have.
    pub fn read(store: &dyn Store) -> Result<Self, ImageError> {
        let length = store.size()?;
        let last = length.checked_sub(FOOTER);
        let found = match Self::at(store, 0)? {
            Some(found) => Some(found),
            None => last.map(|last| Self::at(store, last)).transpose()?.flatten(),
        };
        match found {
            Some(found) => found,
            None if Format::of(store)? == Format::Vhd => Err(damaged("its footer is not whole")),
            None => Err(ImageError::NotOfFormat(Format::Vhd)),
        }
    }
}

/// Of an image that grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub table: u64,
    pub entries: u32,
    pub block: u64,
    pub parent: Option<Locator>,
}

/// What says which image is behind this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locator {
    pub id: Guid,
    /// The best first.
    pub paths: Vec<String>,
}

impl Header {
    pub fn read(store: &dyn Store, footer: &Footer) -> Result<Self, ImageError> {
        let length = store.size()?;
        let mut bytes = vec![0; HEADER];
        if !whole(length, footer.header, HEADER as u64) {
            return Err(damaged(format!("its header would be at {:#x}; it is cut short", footer.header)));
        }
        store.read_at(footer.header, &mut bytes)?;
        if !bytes.starts_with(SPARSE) || be32(&bytes, 36) != sum(&bytes, 36) {
            return Err(damaged("its header is not whole"));
        }
        let mut header = Self {
            table: be64(&bytes, 16),
            entries: be32(&bytes, 28),
            block: be32(&bytes, 32).into(),
            parent: None,
        };
        if !(1 << 16..=1 << 30).contains(&header.block) || !header.block.is_power_of_two() {
            return Err(damaged(format!("its blocks have {} bytes", header.block)));
        }
        let table = u64::from(header.entries) * 4;
        if u64::from(header.entries) < footer.size.div_ceil(header.block)
            || !header.table.is_multiple_of(SECTOR)
            || !whole(length, header.table, table)
        {
            return Err(damaged(format!("its table would be {table} bytes at {:#x}", header.table)));
        }
        if footer.kind == Kind::Differencing {
            header.parent = Some(locator(store, &bytes, length)?);
        }
        Ok(header)
    }

    /// With what it says of a parent, which comes behind `free`: its bytes, and the paths with their places.
    pub fn encode(&self, free: u64) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
        let mut bytes = vec![0; HEADER];
        put(&mut bytes, 0, SPARSE);
        put(&mut bytes, 8, &u64::MAX.to_be_bytes());
        put(&mut bytes, 16, &self.table.to_be_bytes());
        put(&mut bytes, 24, &0x1_0000u32.to_be_bytes());
        put(&mut bytes, 28, &self.entries.to_be_bytes());
        put(&mut bytes, 32, &(self.block as u32).to_be_bytes());
        let mut paths = Vec::new();
        if let Some(parent) = &self.parent {
            put(&mut bytes, 40, &parent.id.0);
            let name = parent.paths.first().map(String::as_str).unwrap_or_default();
            let base = name.rsplit('\\').next().unwrap_or_default();
            let unicode: Vec<u8> = base.encode_utf16().take(255).flat_map(u16::to_be_bytes).collect();
            put(&mut bytes, 64, &unicode);
            let mut at = free;
            for (number, (code, path)) in [RELATIVE, ABSOLUTE].into_iter().zip(&parent.paths).enumerate() {
                let coded: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
                let entry = LOCATORS + 24 * number;
                let space = coded.len().next_multiple_of(FOOTER as usize);
                put(&mut bytes, entry, &code.to_be_bytes());
                put(&mut bytes, entry + 4, &(space as u32).to_be_bytes());
                put(&mut bytes, entry + 8, &(coded.len() as u32).to_be_bytes());
                put(&mut bytes, entry + 16, &at.to_be_bytes());
                paths.push((at, coded));
                at += space as u64;
            }
        }
        let own = sum(&bytes, 36);
        put(&mut bytes, 36, &own.to_be_bytes());
        (bytes, paths)
    }
}

fn locator(store: &dyn Store, bytes: &[u8], length: u64) -> Result<Locator, ImageError> {
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[40..56]);
    let mut paths = Vec::new();
    for entry in bytes[LOCATORS..LOCATORS + 8 * 24].chunks_exact(24) {
        let (code, len, at) = (be32(entry, 0), be32(entry, 8).min(MOST_PATH), be64(entry, 16));
        let rank = match code {
            RELATIVE => 0,
            ABSOLUTE => 1,
            _ => continue,
        };
        if !whole(length, at, len.into()) {
            return Err(damaged("what it says of its parent is cut short"));
        }
        let mut coded = vec![0; len as usize];
        store.read_at(at, &mut coded)?;
        let units: Vec<u16> =
            coded.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        paths.push((rank, String::from_utf16_lossy(&units)));
    }
    let unicode: Vec<u16> =
        bytes[64..576].chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let name = String::from_utf16_lossy(&unicode);
    let name = name.trim_end_matches('\0');
    if !name.is_empty() {
        paths.push((2, name.to_owned()));
    }
    paths.sort();
    Ok(Locator { id: Guid(id), paths: paths.into_iter().map(|(_, path)| path).collect() })
}
