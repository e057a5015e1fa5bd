//! New images of every format.

use crate::qcow2::create::Options;
use crate::qcow2::header::Backing;
use crate::{Format, ImageError, SECTOR, Store, qcow2};

/// What a new image is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    pub format: Format,
    /// Of the disk, in bytes.
    pub size: u64,
    /// All room is taken at once, and nothing has to be given out later.
    pub fixed: bool,
    /// What is given out at once, in bytes: a cluster, or a block.
    pub block: Option<u64>,
    /// 512 or 4096. Of the formats that can say it.
    pub logical_sector: u32,
    pub physical_sector: u32,
    pub behind: Option<Parent>,
    /// Only of qcow2.
    pub extended_l2: bool,
    pub lazy_refcounts: bool,
}

/// The image behind a new one, as the new one is to name it.
#[derive(Clone, Debug)]
pub struct Parent {
    /// From the root on.
    pub absolute: String,
    /// From the new image's directory.
    pub relative: String,
    pub facts: crate::Facts,
}

impl Plan {
    pub fn new(format: Format, size: u64) -> Self {
        Self {
            format,
            size,
            fixed: false,
            block: None,
            logical_sector: 512,
            physical_sector: 4096,
            behind: None,
            extended_l2: false,
            lazy_refcounts: false,
        }
    }
}

/// Writes an empty image into an empty file.
pub fn create(store: &dyn Store, new: &Plan) -> Result<(), ImageError> {
    if new.size == 0 || !new.size.is_multiple_of(SECTOR) {
        let size = new.size;
        return Err(ImageError::wrong(format!(
            "a disk of {size} bytes cannot be; give a multiple of {SECTOR}"
        )));
    }
    match new.format {
        Format::Raw => raw(store, new),
        Format::Qcow2 => of_qcow2(store, new),
        format @ (Format::Vhd | Format::Vhdx) => {
            Err(ImageError::wrong(format!("images of the format {format} cannot be made")))
        }
    }
}

fn raw(store: &dyn Store, new: &Plan) -> Result<(), ImageError> {
    if new.behind.is_some() {
        return Err(ImageError::wrong("a raw image cannot have one behind it; use qcow2, VHD or VHDX"));
    }
    Ok(store.set_size(new.size)?)
}

fn of_qcow2(store: &dyn Store, new: &Plan) -> Result<(), ImageError> {
    if new.fixed {
        return Err(ImageError::wrong(
            "a qcow2 image grows as it is used; for a fixed one use raw, VHD or VHDX",
        ));
    }
    let block = new.block.unwrap_or(1 << 16);
    if !block.is_power_of_two() {
        return Err(ImageError::wrong(format!("clusters of {block} bytes cannot be; give a power of 2")));
    }
    let backing = new.behind.as_ref().map(|parent| Backing {
        name: parent.absolute.clone(),
        format: Some(
            if parent.facts.format == Format::Vhd { "vpc" } else { parent.facts.format.name() }.into(),
        ),
    });
    let options = Options {
        size: new.size,
        cluster_bits: block.trailing_zeros(),
        extended: new.extended_l2,
        lazy_refcounts: new.lazy_refcounts,
        backing,
    };
    qcow2::create::create(store, &options)
}
