//! Another size for the disk of an image that nobody uses.

use super::Qcow2;
use super::header::{Header, L1, MOST_L1, SIZE};
use crate::image::Image;
use crate::{ImageError, SECTOR, Store};
use std::sync::Arc;

/// Shrinking loses what is behind the new end.
pub fn resize(store: &Arc<dyn Store>, size: u64, parent: Option<Arc<dyn Image>>) -> Result<(), ImageError> {
    let header = Header::read(store.as_ref())?;
    if size == 0 || !size.is_multiple_of(SECTOR) {
        return Err(ImageError::wrong(format!(
            "a disk of {size} bytes cannot be; give a multiple of {SECTOR}"
        )));
    }
    if header.snapshots != 0 {
        return Err(ImageError::wrong("it has snapshots inside, which have the old size; remove them first"));
    }
    let image = Qcow2::open(store.clone(), true, parent)?;
    if size < image.size {
        let kept = size.next_multiple_of(header.cluster()).min(image.size);
        image.discard(kept, image.size - kept)?;
    } else {
        image.layer.check_growth(image.size, size)?;
        image.grow_l1(size)?;
    }
    image.rest()?;
    store.write_at(SIZE as u64, &size.to_be_bytes())?;
    store.flush()?;
    Ok(())
}

impl Qcow2 {
    /// A longer L1 table, if the size needs one, at another place.
    fn grow_l1(&self, size: u64) -> Result<(), ImageError> {
        let needed = self.header.l1_needed(size);
        if needed <= u64::from(self.header.l1_entries) {
            return Ok(());
        }
        if needed * 8 > MOST_L1 {
            return Err(ImageError::wrong(format!(
                "a disk of {size} bytes is too large for clusters of {} bytes",
                self.header.cluster()
            )));
        }
        let cluster = self.header.cluster();
        let mut tables = self.layer.lock();
        let mut bytes: Vec<u8> = tables.l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        let old = (self.header.l1_offset / cluster, (bytes.len() as u64).div_ceil(cluster));
        bytes.resize((needed * 8).next_multiple_of(cluster) as usize, 0);
        let refcounts = tables.refcounts()?;
        let place = refcounts.allocate_row(bytes.len() as u64 / cluster)? * cluster;
        self.layer.store.write_at(place, &bytes)?;
        refcounts.pages.write_back()?;
        self.layer.store.flush()?;
        let mut fields = (needed as u32).to_be_bytes().to_vec();
        fields.extend(place.to_be_bytes());
        self.layer.store.write_at(L1 as u64, &fields)?;
        self.layer.store.flush()?;
        if old.0 != 0 {
            refcounts.leaving.push(old);
        }
        Ok(())
    }
}
