//! Another size for the disk of an image that nobody uses.

use super::Vhdx;
use super::blocks::{FULLY_PRESENT, NOT_PRESENT, PARTIALLY_PRESENT};
use super::header::{MIB, REGIONS, Region, Regions};
use super::metadata::MOST_SIZE;
use crate::image::Image;
use crate::mapped::{Mapped, within};
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
    image.layer.check_growth(image.size(), size)?;
    image.begin(&mut image.layer.lock())?;
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
        let mut tables = image.layer.lock();
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
        let mut tables = self.layer.alone();
        for block in self.metadata.blocks(size)..self.metadata.blocks(self.metadata.size) {
            if self.is_crowded(&mut tables) {
                self.write_back_alone(&mut tables)?;
            }
            let at = self.entry_at(block);
            let old = self.entry(&mut tables, at)?;
            if matches!(old.state(), FULLY_PRESENT | PARTIALLY_PRESENT) {
                let place = within(tables.end, old.offset(), self.metadata.block, "block")?;
                tables.leaving.push(place);
            }
            self.set_entry(&mut tables, at, NOT_PRESENT, 0)?;
        }
        self.write_back_alone(&mut tables)?;
        drop(tables);
        // What the last block has behind the new end is not to come back.
        let end = (self.metadata.blocks(size) * self.metadata.block).min(self.metadata.size);
        Ok(self.write_zeroes(size, end - size)?)
    }

    /// A longer table, if the size needs one, at another place.
    fn grow_table(&self, size: u64) -> Result<(), ImageError> {
        let length = (self.metadata.entries(size) * 8).next_multiple_of(MIB);
        let old = self.regions.bat;
        if length <= old.length {
            return Ok(());
        }
        self.rest()?;
        let mut tables = self.layer.lock();
        let offset = tables.end;
        self.layer.store.set_size(offset + length)?;
        tables.end += length;
        let mut done = 0;
        let mut bytes = vec![0; MIB as usize];
        while done < old.length {
            self.layer.store.read_at(old.offset + done, &mut bytes)?;
            self.layer.store.write_at(offset + done, &bytes)?;
            done += MIB;
        }
        self.layer.store.flush()?;
        let regions = Regions { bat: Region { offset, length }, metadata: self.regions.metadata }.encode();
        for at in [REGIONS[1], REGIONS[0]] {
            self.layer.store.write_at(at, &regions)?;
            self.layer.store.flush()?;
        }
        tables.pages.forget(old.offset..old.offset + old.length);
        Ok(())
    }
}
