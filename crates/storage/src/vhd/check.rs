//! What a VHD image's table comes to: every block is in the file, and no two are in one place.

use super::footer::{FOOTER, Footer, Header, Kind};
use super::{UNUSED, Vhd};
use crate::bytes::be32;
use crate::check::{Damage, Report};
use crate::{Format, ImageError, SECTOR, Store};
use std::sync::Arc;

/// Looks at an image that nobody writes to. `repair`: the footer is put back.
pub fn check(store: &Arc<dyn Store>, repair: bool) -> Result<Report, ImageError> {
    let mut report = Report::new(Format::Vhd);
    let footer = Footer::read(store.as_ref())?;
    let length = store.size()?;
    if footer.kind == Kind::Fixed {
        if !crate::pages::whole(length, 0, footer.size) {
            report.damage(Damage::Broken, format!("its disk has {} bytes; it is cut short", footer.size));
        }
        report.allocated = footer.size;
        return Ok(report);
    }
    let header = Header::read(store.as_ref(), &footer)?;
    let mut places = Vec::new();
    let whole = Vhd::bits(header.block) + header.block;
    let entries = footer.size.div_ceil(header.block);
    let mut first = 0;
    // The table was found to be in the file, and has 4 bytes for each block.
    while first < entries {
        let count = (entries - first).min(1 << 16);
        let mut bytes = vec![0; count as usize * 4];
        store.read_at(header.table + first * 4, &mut bytes)?;
        for (index, entry) in bytes.chunks_exact(4).map(|word| be32(word, 0)).enumerate() {
            let at = u64::from(entry) * SECTOR;
            if entry == UNUSED {
                continue;
            }
            if at < header.table || !crate::pages::whole(length, at, whole) {
                let block = first + index as u64;
                report
                    .damage(Damage::Broken, format!("block {block} would be at {at:#x}, which is not there"));
            } else {
                places.push(entry);
            }
        }
        first += count;
    }
    report.allocated = places.len() as u64 * header.block;
    places.sort_unstable();
    for pair in places.windows(2).filter(|pair| u64::from(pair[1] - pair[0]) * SECTOR < whole) {
        let (one, other) = (u64::from(pair[0]) * SECTOR, u64::from(pair[1]) * SECTOR);
        report.damage(Damage::Broken, format!("blocks lie over each other at {one:#x} and {other:#x}"));
    }
    if Footer::at(store.as_ref(), length.saturating_sub(FOOTER))?.is_none() {
        report.damage(Damage::Counts, "the footer at its end is missing".into());
        if repair && report.broken().is_none() {
            store.write_at(length.next_multiple_of(SECTOR), footer.bytes())?;
            store.flush()?;
            report.repaired();
        }
    }
    Ok(report)
}
