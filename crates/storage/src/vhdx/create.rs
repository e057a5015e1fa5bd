//! New images.

use super::blocks::FULLY_PRESENT;
use super::header::{Header, MIB, REGIONS, Region, Regions, SIGNATURE};
use super::metadata::{Locator, MOST_SIZE, Metadata};
use crate::bytes::put;
use crate::guid::Guid;
use crate::{ImageError, Store};

/// What a new image is to be.
#[derive(Clone, Debug)]
pub struct Options {
    pub size: u64,
    pub block: u64,
    pub fixed: bool,
    pub logical_sector: u32,
    pub physical_sector: u32,
    pub parent: Option<Locator>,
}

/// Log, metadata and block allocation table, one behind the other.
const LOG: Region = Region { offset: MIB, length: MIB };
const METADATA: Region = Region { offset: 2 * MIB, length: MIB };
const BAT: u64 = 3 * MIB;

/// Writes an empty image into an empty file.
pub fn create(store: &dyn Store, options: &Options) -> Result<(), ImageError> {
    let metadata = metadata(options)?;
    let bytes = (metadata.entries(options.size) * 8).next_multiple_of(MIB).max(MIB);
    let bat = Region { offset: BAT, length: bytes };
    let data = bat.offset + bat.length;
    let blocks = if options.fixed { metadata.blocks(options.size) } else { 0 };
    store.set_size(data + blocks * options.block)?;
    if options.fixed {
        store.reserve(data, blocks * options.block)?;
        write_fixed_table(store, &metadata, bat, data)?;
    }
    store.write_at(METADATA.offset, &metadata.encode())?;
    let regions = Regions { bat, metadata: METADATA }.encode();
    for at in REGIONS {
        store.write_at(at, &regions)?;
    }
    let mut header = Header {
        file_write: Guid::random()?,
        data_write: Guid::random()?,
        log_length: LOG.length as u32,
        log_offset: LOG.offset,
        ..Header::default()
    };
    header.write(store)?;
    let mut identifier = vec![0; 64 << 10];
    put(&mut identifier, 0, SIGNATURE);
    let creator: Vec<u8> = "Ireko".encode_utf16().flat_map(u16::to_le_bytes).collect();
    put(&mut identifier, 8, &creator);
    store.write_at(0, &identifier)?;
    store.flush()?;
    Ok(())
}

fn metadata(options: &Options) -> Result<Metadata, ImageError> {
    let Options { size, block, logical_sector, .. } = *options;
    if !(MIB..=256 * MIB).contains(&block) || !block.is_power_of_two() {
        return Err(ImageError::wrong(format!(
            "blocks of {block} bytes cannot be; give a power of 2 from 1 MB to 256 MB"
        )));
    }
    if size > MOST_SIZE || !size.is_multiple_of(logical_sector.into()) {
        return Err(ImageError::wrong(format!(
            "a disk of {size} bytes cannot be; give a multiple of {logical_sector}, 64 TB at most"
        )));
    }
    let metadata = Metadata {
        block,
        fixed: options.fixed,
        size,
        size_at: 0,
        id: Guid::random()?,
        logical_sector,
        physical_sector: options.physical_sector,
        parent: options.parent.clone(),
    };
    metadata.check()?;
    Ok(metadata)
}

/// All blocks are there, one behind the other.
fn write_fixed_table(
    store: &dyn Store,
    metadata: &Metadata,
    bat: Region,
    data: u64,
) -> Result<(), ImageError> {
    const AT_A_TIME: u64 = 1 << 16;
    let (entries, chunk) = (metadata.entries(metadata.size), metadata.chunk());
    let mut first = 0;
    while first < entries {
        let until = (first + AT_A_TIME).min(entries);
        let word = |index: u64| match index % (chunk + 1) == chunk {
            true => 0,
            false => (data + (index - index / (chunk + 1)) * metadata.block) | FULLY_PRESENT,
        };
        let bytes: Vec<u8> = (first..until).flat_map(|index| word(index).to_le_bytes()).collect();
        store.write_at(bat.offset + first * 8, &bytes)?;
        first = until;
    }
    Ok(())
}
