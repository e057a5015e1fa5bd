//! New images of every format.

use crate::guid::Guid;
use crate::qcow2::create::Options;
use crate::qcow2::header::Backing;
use crate::{Format, ImageError, SECTOR, Store, qcow2, vhd, vhdx};

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
    if new.fixed && new.behind.is_some() && matches!(new.format, Format::Vhd | Format::Vhdx) {
        return Err(ImageError::wrong("a fixed image has none behind it"));
    }
    match new.format {
        Format::Raw => raw(store, new),
        Format::Qcow2 => of_qcow2(store, new),
        Format::Vhdx => of_vhdx(store, new),
        Format::Vhd => of_vhd(store, new),
    }
}

fn raw(store: &dyn Store, new: &Plan) -> Result<(), ImageError> {
    if new.behind.is_some() {
        return Err(ImageError::wrong("a raw image cannot have one behind it; use qcow2, VHD or VHDX"));
    }
    Ok(store.set_size(new.size)?)
}

fn of_vhdx(store: &dyn Store, new: &Plan) -> Result<(), ImageError> {
    let parent = new.behind.as_ref().map(|parent| linked(parent, new.format)).transpose()?;
    let usual = if parent.is_some() { 2 << 20 } else { 32 << 20 };
    let options = vhdx::create::Options {
        size: new.size,
        block: new.block.unwrap_or(usual),
        fixed: new.fixed,
        logical_sector: new.logical_sector,
        physical_sector: new.physical_sector,
        parent: parent.map(|identity| vhdx::metadata::Locator {
            linkage: vec![identity],
            paths: new.behind.as_ref().map(vhdx::metadata::paths).unwrap_or_default(),
        }),
    };
    vhdx::create::create(store, &options)
}

/// What a parent of the same format is known by.
pub(crate) fn linked(parent: &Parent, format: Format) -> Result<Guid, ImageError> {
    match parent.facts.identity {
        Some(identity) if parent.facts.format == format => Ok(identity),
        _ => Err(ImageError::wrong(format!(
            "a {format} image can be over a {format} image only, and `{}` is {}; convert that, or use qcow2",
            parent.relative, parent.facts.format
        ))),
    }
}

fn of_vhd(store: &dyn Store, new: &Plan) -> Result<(), ImageError> {
    let parent = new.behind.as_ref().map(|parent| linked(parent, new.format)).transpose()?;
    let options = vhd::create::Options {
        size: new.size,
        block: new.block.unwrap_or(2 << 20),
        fixed: new.fixed,
        parent: parent.zip(new.behind.as_ref()).map(|(identity, one)| vhd::create::Parent {
            identity,
            relative: one.relative.clone(),
            absolute: one.absolute.clone(),
        }),
    };
    vhd::create::create(store, &options)
}

/// As qcow2 names an image behind another.
pub(crate) fn backing(parent: &Parent) -> Backing {
    let format = if parent.facts.format == Format::Vhd { "vpc" } else { parent.facts.format.name() };
    Backing { name: parent.absolute.clone(), format: Some(format.into()) }
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
    let backing = new.behind.as_ref().map(backing);
    let options = Options {
        size: new.size,
        cluster_bits: block.trailing_zeros(),
        extended: new.extended_l2,
        lazy_refcounts: new.lazy_refcounts,
        backing,
    };
    qcow2::create::create(store, &options)
}
