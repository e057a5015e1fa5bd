//! Headers and region tables ([MS-VHDX], 2.2).

use super::crc;
use crate::bytes::{le16, le32, le64, put};
use crate::guid::{Guid, guid};
use crate::pages::whole;
use crate::{Format, ImageError, Store};
use std::io;

pub const MIB: u64 = 1 << 20;
pub const SIGNATURE: &[u8; 8] = b"vhdxfile";
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
pub const REGIONS: [u64; 2] = [192 << 10, 256 << 10];
const HEADER: usize = 4096;
pub const REGION_TABLE: usize = 64 << 10;

const BAT: Guid = guid(0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08);
const METADATA: Guid = guid(0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e);

/// More log than anybody has, and what a replay may take.
const MOST_LOG: u64 = 64 << 20;

pub fn damaged(what: impl Into<String>) -> ImageError {
    ImageError::damaged(Format::Vhdx, what)
}

/// One of the two headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub sequence: u64,
    pub file_write: Guid,
    pub data_write: Guid,
    /// None: the log is empty.
    pub log: Guid,
    pub log_length: u32,
    pub log_offset: u64,
    /// Which of the two it is.
    pub place: usize,
}

impl Header {
    fn parse(bytes: &[u8], place: usize) -> Option<Self> {
        if bytes.get(..4) != Some(b"head") || !crc::is_right(bytes) {
            return None;
        }
        Some(Self {
            sequence: le64(bytes, 8),
            file_write: Guid::read(bytes, 16),
            data_write: Guid::read(bytes, 32),
            log: Guid::read(bytes, 48),
            log_length: le32(bytes, 68),
            log_offset: le64(bytes, 72),
            place,
        })
        .filter(|_| le16(bytes, 64) == 0 && le16(bytes, 66) == 1)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        put(&mut bytes, 0, b"head");
        put(&mut bytes, 8, &self.sequence.to_le_bytes());
        put(&mut bytes, 16, &self.file_write.encoded());
        put(&mut bytes, 32, &self.data_write.encoded());
        put(&mut bytes, 48, &self.log.encoded());
        put(&mut bytes, 66, &1u16.to_le_bytes());
        put(&mut bytes, 68, &self.log_length.to_le_bytes());
        put(&mut bytes, 72, &self.log_offset.to_le_bytes());
        crc::sign(&mut bytes);
        bytes
    }

    /// The newer one that is whole.
    pub fn read(store: &dyn Store, length: u64) -> Result<Self, ImageError> {
        let mut signature = [0; 8];
        if length >= 8 {
            store.read_at(0, &mut signature)?;
        }
        if &signature != SIGNATURE {
            return Err(ImageError::NotOfFormat(Format::Vhdx));
        }
        let mut found: Option<Self> = None;
        for (place, at) in HEADERS.into_iter().enumerate() {
            let mut bytes = vec![0; HEADER];
            if !whole(length, at, HEADER as u64) {
                return Err(damaged("its headers are cut short"));
            }
            store.read_at(at, &mut bytes)?;
            let newer = |one: &Self| found.as_ref().is_none_or(|other| one.sequence > other.sequence);
            if let Some(header) = Self::parse(&bytes, place).filter(newer) {
                found = Some(header);
            }
        }
        let header = found.ok_or_else(|| damaged("neither of its headers is whole"))?;
        let log = u64::from(header.log_length);
        let aligned = log.is_multiple_of(MIB) && header.log_offset.is_multiple_of(MIB);
        if !aligned || log == 0 || log > MOST_LOG || header.log_offset < MIB {
            return Err(damaged(format!("its log would be {log} bytes at {:#x}", header.log_offset)));
        }
        if !whole(length, header.log_offset, log) {
            return Err(damaged("its log would end behind the file's end; it is cut short"));
        }
        Ok(header)
    }

    /// Puts another header into force: over the older one, then over the other.
    pub fn write(&mut self, store: &dyn Store) -> io::Result<()> {
        for _ in HEADERS {
            self.sequence = self.sequence.wrapping_add(1);
            self.place ^= 1;
            store.write_at(HEADERS[self.place & 1], &self.encode())?;
            store.flush()?;
        }
        Ok(())
    }
}

/// A region of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub offset: u64,
    pub length: u64,
}

/// Where the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regions {
    pub bat: Region,
    pub metadata: Region,
}

impl Regions {
    pub fn read(store: &dyn Store, length: u64) -> Result<Self, ImageError> {
        for at in REGIONS {
            let mut bytes = vec![0; REGION_TABLE];
            if !whole(length, at, REGION_TABLE as u64) {
                return Err(damaged("its region tables are cut short"));
            }
            store.read_at(at, &mut bytes)?;
            if bytes.get(..4) == Some(b"regi") && crc::is_right(&bytes) {
                return Self::parse(&bytes, length);
            }
        }
        Err(damaged("neither of its region tables is whole"))
    }

    fn parse(bytes: &[u8], length: u64) -> Result<Self, ImageError> {
        let (mut bat, mut metadata) = (None, None);
        for entry in bytes[16..].chunks_exact(32).take(le32(bytes, 8).min(2047) as usize) {
            let region = Region { offset: le64(entry, 16), length: le32(entry, 24).into() };
            let fits = region.offset.is_multiple_of(MIB)
                && region.length.is_multiple_of(MIB)
                && region.offset >= MIB
                && region.length > 0
                && whole(length, region.offset, region.length);
            let place = match Guid::read(entry, 0) {
                BAT => &mut bat,
                METADATA => &mut metadata,
                other if le32(entry, 28) & 1 != 0 => {
                    return Err(ImageError::Unsupported {
                        format: Format::Vhdx,
                        what: format!("has a region of an unknown kind ({other})"),
                        instead: "convert it with what made it",
                    });
                }
                _ => continue,
            };
            if !fits || place.is_some() {
                return Err(damaged(format!(
                    "a region would be {} bytes at {:#x}",
                    region.length, region.offset
                )));
            }
            *place = Some(region);
        }
        match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Self { bat, metadata }),
            _ => Err(damaged("it has no block allocation table, or no metadata")),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; REGION_TABLE];
        put(&mut bytes, 0, b"regi");
        put(&mut bytes, 8, &2u32.to_le_bytes());
        for (index, (id, region)) in [(BAT, self.bat), (METADATA, self.metadata)].into_iter().enumerate() {
            let at = 16 + 32 * index;
            put(&mut bytes, at, &id.encoded());
            put(&mut bytes, at + 16, &region.offset.to_le_bytes());
            put(&mut bytes, at + 24, &(region.length as u32).to_le_bytes());
            put(&mut bytes, at + 28, &1u32.to_le_bytes());
        }
        crc::sign(&mut bytes);
        bytes
    }
}
