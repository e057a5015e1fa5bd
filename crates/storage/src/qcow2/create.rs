//! New images.

use super::entry::COPIED;
use super::header::{self, Backing, Compression, EXTENDED_L2, Header, LAZY_REFCOUNTS, MOST_L1};
use super::refcounts::encode;
use crate::{ImageError, SECTOR, Store};

/// What a new image is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the disk, in bytes.
    pub size: u64,
    pub cluster_bits: u32,
    pub extended: bool,
    pub lazy_refcounts: bool,
    pub backing: Option<Backing>,
}

impl Options {
    pub fn new(size: u64) -> Self {
        Self { size, cluster_bits: 16, extended: false, lazy_refcounts: false, backing: None }
    }
}

/// Writes an empty image into an empty file.
pub fn create(store: &dyn Store, options: &Options) -> Result<(), ImageError> {
    let header = layout(options)?;
    let cluster = header.cluster();
    let first = encode_header(&header)?;
    let blocks = header.l1_offset / cluster - 1 - u64::from(header.reftable_clusters);
    let used = header.l1_offset / cluster + (u64::from(header.l1_entries) * 8).div_ceil(cluster);
    store.set_size(used * cluster)?;
    let first_block = 1 + u64::from(header.reftable_clusters);
    for number in 0..blocks {
        let at = (first_block + number) * cluster;
        store.write_at(cluster + number * 8, &at.to_be_bytes())?;
        let (from, to) = (number * header.block_entries(), ((number + 1) * header.block_entries()).min(used));
        let mut bytes = vec![0; cluster as usize];
        for entry in 0..to.saturating_sub(from) {
            let bit = entry * header.refcount_bits();
            encode(&mut bytes[(bit / 8) as usize..], header.refcount_bits(), (bit % 8) as u32, 1)?;
        }
        store.write_at(at, &bytes)?;
    }
    store.flush()?;
    store.write_at(0, &first)?;
    store.flush()?;
    Ok(())
}

fn encode_header(header: &Header) -> Result<Vec<u8>, ImageError> {
    let bytes = header::encode(header);
    match bytes.len() as u64 <= header.cluster() {
        true => Ok(bytes),
        false => Err(ImageError::wrong("the name of the image behind it is too long")),
    }
}

/// Header, table of refcounts, blocks of refcounts, L1 table.
fn layout(options: &Options) -> Result<Header, ImageError> {
    let least = if options.extended { 14 } else { 12 };
    if !(least..=21).contains(&options.cluster_bits) {
        return Err(ImageError::wrong(format!(
            "clusters of {} bytes cannot be; use 4 KiB to 2 MiB (with extended L2 entries 16 KiB at least)",
            1u64.checked_shl(options.cluster_bits).unwrap_or(0)
        )));
    }
    if options.size == 0 || !options.size.is_multiple_of(SECTOR) {
        return Err(ImageError::wrong(format!(
            "a disk of {} bytes cannot be; give a multiple of {SECTOR}",
            options.size
        )));
    }
    let mut header = Header {
        version: 3,
        cluster_bits: options.cluster_bits,
        size: options.size,
        l1_entries: 0,
        l1_offset: 0,
        reftable_offset: 1 << options.cluster_bits,
        reftable_clusters: 1,
        snapshots: 0,
        snapshots_offset: 0,
        incompatible: if options.extended { EXTENDED_L2 } else { 0 },
        compatible: if options.lazy_refcounts { LAZY_REFCOUNTS } else { 0 },
        autoclear: 0,
        refcount_order: 4,
        compression: Compression::Deflate,
        backing: options.backing.clone(),
    };
    let entries = header.l1_needed(options.size);
    if entries * 8 > MOST_L1 {
        let most = MOST_L1 / 8 * header.l2_entries() * header.cluster();
        return Err(ImageError::wrong(format!(
            "a disk of {} bytes is too large for clusters of {} bytes; the most is {most}",
            options.size,
            header.cluster()
        )));
    }
    header.l1_entries = entries as u32;
    let cluster = header.cluster();
    let l1 = (entries * 8).div_ceil(cluster);
    let mut blocks = 1;
    while (2 + blocks + l1).div_ceil(header.block_entries()) > blocks {
        blocks += 1;
    }
    header.l1_offset = (2 + blocks) * cluster;
    debug_assert_eq!(header.l1_offset & COPIED, 0);
    Ok(header)
}
