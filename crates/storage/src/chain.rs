//! An image and those behind it.

use crate::guid::Guid;
use crate::qcow2::{self, Qcow2};
use crate::vhd::{self, Vhd};
use crate::vhdx::{self, Vhdx};
use crate::{Format, Image, ImageError, Raw, Report, Store};
use std::sync::Arc;

/// One file of a chain.
#[derive(Clone)]
pub struct Link {
    pub store: Arc<dyn Store>,
    pub format: Format,
}

/// More than anybody stacks; what a name leads back to itself by would have no end.
pub const MOST: usize = 64;

/// Opens an image with those behind it, the nearest first. Only the first is written to.
pub fn open(links: &[Link], writable: bool) -> Result<Arc<dyn Image>, ImageError> {
    if links.len() > MOST {
        return Err(ImageError::wrong(format!("{} images in a chain, and {MOST} are the most", links.len())));
    }
    let mut opened: Option<Arc<dyn Image>> = None;
    for (number, link) in links.iter().enumerate().rev() {
        opened = Some(open_one(link, writable && number == 0, opened)?);
    }
    opened.ok_or_else(|| ImageError::wrong("there is no image"))
}

fn open_one(
    link: &Link,
    writable: bool,
    parent: Option<Arc<dyn Image>>,
) -> Result<Arc<dyn Image>, ImageError> {
    let store = link.store.clone();
    match link.format {
        Format::Raw if parent.is_some() => {
            Err(ImageError::wrong("nothing can be behind a raw image; leave that out"))
        }
        Format::Raw => Ok(Arc::new(Raw::open(store, writable)?)),
        Format::Qcow2 => Ok(Arc::new(Qcow2::open(store, writable, parent)?)),
        Format::Vhdx => Ok(Arc::new(Vhdx::open(store, writable, parent)?)),
        Format::Vhd => Ok(Arc::new(Vhd::open(store, writable, parent)?)),
    }
}

/// Looks at an image that nobody writes to. `repair`: what can be put right is.
pub fn check(link: &Link, repair: bool) -> Result<Report, ImageError> {
    match link.format {
        Format::Raw => {
            let mut report = Report::new(Format::Raw);
            report.allocated = Raw::open(link.store.clone(), false)?.size();
            Ok(report)
        }
        Format::Qcow2 => qcow2::check(&link.store, repair),
        Format::Vhd => vhd::check(&link.store, repair),
        Format::Vhdx => vhdx::check(&link.store, repair),
    }
}

/// Another size for the disk of an image that nobody uses; `behind`: the images behind it. Shrinking loses what is behind the new end.
pub fn resize(link: &Link, size: u64, behind: &[Link]) -> Result<(), ImageError> {
    let parent = if behind.is_empty() { None } else { Some(open(behind, false)?) };
    match link.format {
        Format::Raw if size == 0 || !size.is_multiple_of(crate::SECTOR) => Err(ImageError::wrong(format!(
            "a disk of {size} bytes cannot be; give a multiple of {}",
            crate::SECTOR
        ))),
        Format::Raw => Ok(link.store.set_size(size)?),
        Format::Qcow2 => qcow2::resize(&link.store, size, parent),
        Format::Vhd => vhd::resize(&link.store, size, parent),
        Format::Vhdx => vhdx::resize(&link.store, size, parent),
    }
}

/// What an image says of the one behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Names that it gives, the best first; relative ones are relative to the image.
    pub names: Vec<String>,
    /// Its format, if that is said.
    pub format: Option<Format>,
    /// What it must say of itself; of formats that do not say that, nothing.
    pub linkage: Vec<Guid>,
}

/// What an image says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    pub format: Format,
    /// Of the disk, in bytes.
    pub size: u64,
    /// Bytes that are given out at once: a cluster, or a block. Of a fixed image there are none.
    pub block: Option<u64>,
    /// Bytes of a sector, as the guest is told and as they are.
    pub logical_sector: u32,
    pub physical_sector: u32,
    /// What tells it from all others.
    pub identifier: Option<Guid>,
    /// What an image over this one would know it by.
    pub identity: Option<Guid>,
    /// It takes all its room from the beginning.
    pub fixed: bool,
    pub behind: Option<Behind>,
    /// More about it, in words.
    pub notes: Vec<String>,
}

/// Looks at an image's header.
pub fn facts(link: &Link) -> Result<Facts, ImageError> {
    match link.format {
        Format::Raw => {
            let size = Raw::open(link.store.clone(), false)?.size();
            Ok(Facts::new(Format::Raw, size))
        }
        Format::Qcow2 => qcow2_facts(link.store.as_ref()),
        Format::Vhdx => vhdx_facts(link.store.as_ref()),
        Format::Vhd => vhd::facts(link.store.as_ref()),
    }
}

fn vhdx_facts(store: &dyn Store) -> Result<Facts, ImageError> {
    let length = store.size()?;
    let header = vhdx::header::Header::read(store, length)?;
    let regions = vhdx::header::Regions::read(store, length)?;
    let metadata = vhdx::metadata::Metadata::read(store, regions.metadata)?;
    let behind = metadata.parent.as_ref().map(|locator| Behind {
        names: locator.paths.iter().map(|path| path.replace('\\', "/")).collect(),
        format: Some(Format::Vhdx),
        linkage: locator.linkage.clone(),
    });
    let notes = if header.log == Guid::NIL { Vec::new() } else { vec!["not closed".to_owned()] };
    Ok(Facts {
        block: (!metadata.fixed).then_some(metadata.block),
        logical_sector: metadata.logical_sector,
        physical_sector: metadata.physical_sector,
        identifier: Some(metadata.id),
        identity: Some(header.data_write),
        fixed: metadata.fixed,
        behind,
        notes,
        ..Facts::new(Format::Vhdx, metadata.size)
    })
}

fn qcow2_facts(store: &dyn Store) -> Result<Facts, ImageError> {
    let header = qcow2::header::Header::read(store)?;
    let behind = header.backing.as_ref().map(|backing| Behind {
        names: vec![backing.name.clone()],
        format: backing.format.as_ref().and_then(|name| match name.as_str() {
            "vpc" => Some(Format::Vhd),
            name => name.parse().ok(),
        }),
        linkage: Vec::new(),
    });
    let notes = [
        (header.version == 2, "version 2"),
        (header.extended(), "extended L2 entries"),
        (header.compatible & qcow2::header::LAZY_REFCOUNTS != 0, "lazy refcounts"),
        (header.compression == qcow2::header::Compression::Zstd, "compressed by zstd"),
        (header.incompatible & qcow2::header::DIRTY != 0, "not closed"),
        (header.incompatible & qcow2::header::CORRUPT != 0, "damaged, as it says itself"),
        (header.snapshots > 0, "snapshots inside"),
    ];
    let notes = notes.into_iter().filter(|(is, _)| *is).map(|(_, note)| note.to_owned()).collect();
    Ok(Facts { block: Some(header.cluster()), behind, notes, ..Facts::new(Format::Qcow2, header.size) })
}

impl Facts {
    pub(crate) fn new(format: Format, size: u64) -> Self {
        Self {
            format,
            size,
            block: None,
            logical_sector: 512,
            physical_sector: 512,
            identifier: None,
            identity: None,
            fixed: format == Format::Raw,
            behind: None,
            notes: Vec::new(),
        }
    }
}
