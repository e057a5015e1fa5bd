//! A larger disk, of an image that nobody uses.

use super::Vhd;
use super::footer::{FOOTER, Kind, MOST_SIZE};
use crate::image::Image;
use crate::{ImageError, SECTOR, Store};
use std::sync::Arc;

/// A VHD cannot shrink.
pub fn resize(store: &Arc<dyn Store>, size: u64, parent: Option<Arc<dyn Image>>) -> Result<(), ImageError> {
    let image = Vhd::open(store.clone(), true, parent)?;
    if size == 0 || !size.is_multiple_of(SECTOR) || size > MOST_SIZE {
        return Err(ImageError::wrong(format!(
            "a disk of {size} bytes cannot be; give a multiple of {SECTOR}, 2040 GB at most"
        )));
    }
    if size < image.size() {
        return Err(ImageError::wrong("a VHD cannot shrink; convert it to VHDX or qcow2 first"));
    }
    let footer = image.footer.clone().of_size(size);
    if footer.kind == Kind::Fixed {
        let old = image.size();
        drop(image);
        store.set_size(size + FOOTER)?;
        store.reserve(0, size + FOOTER)?;
        store.write_at(size, footer.bytes())?;
        store.flush()?;
        if size > old {
            // Where the footer was, the disk has bytes now.
            store.write_at(old, &[0; FOOTER as usize])?;
        }
        return Ok(store.flush()?);
    }
    let header = image.header.clone().unwrap_or_default();
    if size.div_ceil(header.block) > u64::from(header.entries) {
        return Err(ImageError::wrong(format!(
            "its table has room for a disk of {} bytes; convert it to get a larger one",
            u64::from(header.entries) * header.block
        )));
    }
    image.rest()?;
    let end = image.layer.lock().end;
    drop(image);
    store.write_at(end, footer.bytes())?;
    store.flush()?;
    store.write_at(0, footer.bytes())?;
    Ok(store.flush()?)
}
