//! What a VHDX image's tables come to: every block is in the file, and nothing is in another's place.

use super::blocks::{Entry, FULLY_PRESENT, PARTIALLY_PRESENT, PRESENT};
use super::header::{Header, MIB, REGION_TABLE, REGIONS, Regions};
use super::log;
use super::metadata::Metadata;
use crate::bytes::le64;
use crate::check::{Damage, Report};
use crate::guid::Guid;
use crate::{Format, ImageError, Store};
use std::sync::Arc;

/// So many MiB of the file are looked at in one go, which bounds what a check takes.
const AT_A_TIME: u64 = 1 << 26;

/// Which MiB of the file are taken.
struct Taken {
    first: u64,
    bits: Vec<u64>,
}

impl Taken {
    /// Takes a range; false: some of it was taken.
    fn take(&mut self, offset: u64, len: u64) -> bool {
        let from = (offset / MIB).max(self.first);
        let to = (offset + len).div_ceil(MIB).min(self.first + self.bits.len() as u64 * 64);
        let mut free = true;
        for unit in from..to {
            let (word, bit) = ((unit - self.first) / 64, 1 << ((unit - self.first) % 64));
            free &= self.bits[word as usize] & bit == 0;
            self.bits[word as usize] |= bit;
        }
        free
    }
}

/// Looks at an image that nobody writes to. `repair`: what the log says is done.
pub fn check(store: &Arc<dyn Store>, repair: bool) -> Result<Report, ImageError> {
    let mut report = Report::new(Format::Vhdx);
    let mut header = Header::read(store.as_ref(), store.size()?)?;
    if header.log != Guid::NIL {
        report.damage(Damage::Counts, "it was not closed, and its log is to be replayed".into());
        if !repair {
            return Ok(report);
        }
        log::replay(store.as_ref(), &header)?;
        header.log = Guid::NIL;
        header.write(store.as_ref())?;
        report.repaired();
    }
    let length = store.size()?;
    let regions = Regions::read(store.as_ref(), length)?;
    let metadata = Metadata::read(store.as_ref(), regions.metadata)?;
    let entries = metadata.entries(metadata.size);
    if entries * 8 > regions.bat.length {
        report.damage(Damage::Broken, "its block allocation table is too short".into());
        return Ok(report);
    }
    let mut first = 0;
    while first < length.div_ceil(MIB) {
        let units = (length.div_ceil(MIB) - first).min(AT_A_TIME);
        let mut taken = Taken { first, bits: vec![0; units.div_ceil(64) as usize] };
        taken.take(0, REGIONS[1] + REGION_TABLE as u64);
        for (offset, len) in [
            (header.log_offset, u64::from(header.log_length)),
            (regions.bat.offset, regions.bat.length),
            (regions.metadata.offset, regions.metadata.length),
        ] {
            if !taken.take(offset, len) {
                report.damage(Damage::Broken, format!("a region at {offset:#x} lies over another"));
            }
        }
        walk(store.as_ref(), &metadata, &regions, length, &mut taken, &mut report)?;
        first += units;
    }
    Ok(report)
}

fn walk(
    store: &dyn Store,
    metadata: &Metadata,
    regions: &Regions,
    length: u64,
    taken: &mut Taken,
    report: &mut Report,
) -> Result<(), ImageError> {
    const BYTES: u64 = 1 << 19;
    let (entries, chunk) = (metadata.entries(metadata.size), metadata.chunk());
    let mut first = 0;
    while first < entries {
        let count = (entries - first).min(BYTES / 8);
        let mut bytes = vec![0; count as usize * 8];
        store.read_at(regions.bat.offset + first * 8, &mut bytes)?;
        for (index, entry) in bytes.chunks_exact(8).map(|word| Entry(le64(word, 0))).enumerate() {
            let index = first + index as u64;
            let of_bits = index % (chunk + 1) == chunk;
            let len = match entry.state() {
                PRESENT if of_bits => MIB,
                FULLY_PRESENT | PARTIALLY_PRESENT if !of_bits => metadata.block,
                _ => continue,
            };
            let at = entry.offset();
            if at == 0 || !crate::pages::whole(length, at, len) {
                if taken.first == 0 {
                    report.damage(
                        Damage::Broken,
                        format!("entry {index} leads to {at:#x}, which is not there"),
                    );
                }
            } else if !taken.take(at, len) {
                report.damage(
                    Damage::Broken,
                    format!("entry {index} leads to {at:#x}, where something else is"),
                );
            }
            if taken.first == 0 && !of_bits {
                report.allocated += len;
            }
        }
        first += count;
    }
    Ok(())
}
