//! Another size for the disk of an image that nobody uses.

use super::Vhdx;
use super::blocks::{FULLY_PRESENT, NOT_PRESENT, PARTIALLY_PRESENT};
use super::header::{MIB, REGIONS, Region, Regions};
use super::metadata::MOST_SIZE;
use crate::image::Image;
use crate::{ImageError, Store};
use std::sync::Arc;

/// Shrinking loses what is behind the new end.
pub fn resize(store: &Arc<dyn Store>, size: u64, parent: Option<Arc<dyn Image>>) -> Result<(), ImageError> {
    let image = Vhdx::open(store.clone(), true, parent)?;
    let sector = u64::from(image.metadata.logical_sector);
    if size == 0 || !size.is_multiple_of(sector) || size > MOST_SIZE {
        return Err(ImageError::wrong(format!(
            "a disk of {size} bytes cannot be; give a multiple of {sector}, 64 TB at most"
        )));
    }
    let behind = image.parent.as_ref().map_or(0, |parent| parent.size());
    if size > image.size() && behind > image.size() {
        return Err(ImageError::wrong(
            "the image behind it is larger, and what it has there would come to light; convert it to one without an image behind it first",
        ));
    }
    image.begin(&mut image.lock())?;
    let old = image.size();
    match size < old {
        true => image.shrink(size)?,
        false => image.grow_table(size)?,
    }
    image.rest()?;
    let (metadata, fixed) = (image.metadata.clone(), image.metadata.fixed);
    drop(image);
    store.write_at(metadata.size_at, &size.to_le_bytes())?;
    store.flush()?;
    if fixed && size > old {
        fill(store, metadata.blocks(old), metadata.blocks(size))?;
    }
    Ok(())
}

/// Of a fixed image all blocks are there.
fn fill(store: &Arc<dyn Store>, first: u64, last: u64) -> Result<(), ImageError> {
    let image = Vhdx::open(store.clone(), true, None)?;
    for block in first..last {
        let mut tables = image.lock();
        image.begin(&mut tables)?;
        image.write_back_if_crowded(&mut tables)?;
        let place = tables.end;
        store.set_size(place + image.metadata.block)?;
        store.reserve(place, image.metadata.block)?;
        tables.end += image.metadata.block;
        image.set_entry(&mut tables, image.entry_at(block), FULLY_PRESENT, place)?;
    }
    Ok(image.rest()?)
}

impl Vhdx {
    /// Blocks behind the new end go.
    fn shrink(&self, size: u64) -> Result<(), ImageError> {
        let alone = self.alone();
        let mut tables = self.lock();
        for block in self.metadata.blocks(size)..self.metadata.blocks(self.metadata.size) {
            if tables.pages.dirty() >= tables.log.room() / 2 {
                self.write_back_alone(&mut tables, &alone)?;
            }
            let at = self.entry_at(block);
            let old = self.entry(&mut tables, at)?;
            if matches!(old.state(), FULLY_PRESENT | PARTIALLY_PRESENT) {
                let place = super::within(tables.end, old.offset(), self.metadata.block)?;
                tables.leaving.push(place);
            }
            self.set_entry(&mut tables, at, NOT_PRESENT, 0)?;
        }
        self.write_back_alone(&mut tables, &alone)?;
        drop((tables, alone));
        // What the last block has behind the new end is not to come back.
        let end = (self.metadata.blocks(size) * self.metadata.block).min(self.metadata.size);
        Ok(self.clear(size, end - size, true)?)
    }

    /// A longer table, if the size needs one, at another place.
    fn grow_table(&self, size: u64) -> Result<(), ImageError> {
        let length = (self.metadata.entries(size) * 8).next_multiple_of(MIB);
        let old = self.regions.bat;
        if length <= old.length {
            return Ok(());
        }
        self.rest()?;
        let mut tables = self.lock();
        let offset = tables.end;
        self.store.set_size(offset + length)?;
        tables.end += length;
        let mut done = 0;
        let mut bytes = vec![0; MIB as usize];
        while done < old.length {
            self.store.read_at(old.offset + done, &mut bytes)?;
            self.store.write_at(offset + done, &bytes)?;
            done += MIB;
        }
        self.store.flush()?;
        let regions = Regions { bat: Region { offset, length }, metadata: self.regions.metadata }.encode();
        for at in [REGIONS[1], REGIONS[0]] {
            self.store.write_at(at, &regions)?;
            self.store.flush()?;
        }
        tables.pages.forget(old.offset..old.offset + old.length);
        Ok(())
    }
}
