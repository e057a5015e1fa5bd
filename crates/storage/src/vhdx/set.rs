//! Items of the metadata that are said anew: put where there is room in their region, before its table leads there.

use super::header::{Header, Region, Regions, damaged};
use super::metadata::{self, DISK_ID, Locator, Metadata, PARENT_LOCATOR, PHYSICAL_SECTOR};
use crate::create::Parent;
use crate::guid::Guid;
use crate::{ImageError, Store};

pub fn set_parent(store: &dyn Store, parent: &Parent, identity: Guid) -> Result<(), ImageError> {
    let locator = Locator { linkage: vec![identity], paths: metadata::paths(parent) };
    replace(store, PARENT_LOCATOR, &locator.encode())
}

pub fn set_identifier(store: &dyn Store, id: Guid) -> Result<(), ImageError> {
    replace(store, DISK_ID, &id.encoded())
}

pub fn set_physical_sector(store: &dyn Store, bytes: u32) -> Result<(), ImageError> {
    let (_, regions) = open(store)?;
    let metadata = Metadata::read(store, regions.metadata)?;
    Metadata { physical_sector: bytes, ..metadata }.check()?;
    replace(store, PHYSICAL_SECTOR, &bytes.to_le_bytes())
}

fn open(store: &dyn Store) -> Result<(Header, Regions), ImageError> {
    let length = store.size()?;
    let header = Header::read(store, length)?;
    if header.log != Guid::NIL {
        return Err(ImageError::wrong(
            "it was not closed; put that right first (`ireko disk check --repair`)",
        ));
    }
    Ok((header, Regions::read(store, length)?))
}

fn replace(store: &dyn Store, id: Guid, item: &[u8]) -> Result<(), ImageError> {
    let (mut header, Regions { metadata, .. }) = open(store)?;
    let entries = metadata::entries(store, metadata)?;
    let own = entries.iter().find(|entry| entry.id == id);
    let own = own.ok_or_else(|| damaged("its metadata lacks an item"))?;
    let taken: Vec<(u64, u64)> = entries.iter().map(|entry| (entry.offset, entry.length)).collect();
    let offset = free(metadata, taken, item.len() as u64)
        .ok_or_else(|| ImageError::wrong("its metadata has no room for more; convert it"))?;
    // Whoever knew the file sees that it is another now; the disk is the same.
    header.file_write = Guid::random()?;
    header.write(store)?;
    store.write_at(metadata.offset + offset, item)?;
    store.flush()?;
    let mut place = (offset as u32).to_le_bytes().to_vec();
    place.extend((item.len() as u32).to_le_bytes());
    // Within one sector, as entries are.
    store.write_at(metadata.offset + own.at + 16, &place)?;
    Ok(store.flush()?)
}

/// The first room between items that is large enough.
fn free(region: Region, mut taken: Vec<(u64, u64)>, len: u64) -> Option<u64> {
    const FIRST: u64 = 64 << 10;
    taken.sort_unstable();
    let mut at = FIRST;
    for (offset, length) in taken {
        if offset.saturating_sub(at) >= len {
            break;
        }
        at = at.max(offset.saturating_add(length).next_multiple_of(16));
    }
    crate::pages::whole(region.length, at, len).then_some(at)
}
