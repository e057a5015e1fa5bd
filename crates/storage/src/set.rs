//! What an image says of itself and of the one behind it, said anew. Nobody may use the image meanwhile.

use crate::create::{Parent, linked};
use crate::guid::Guid;
use crate::{Format, ImageError, Link, qcow2, vhd, vhdx};

/// Says anew which image is behind one that has one. `any`: it may be another than the one that the image was made over, which is
/// right only if both hold the same.
pub fn parent(link: &Link, parent: &Parent, any: bool) -> Result<(), ImageError> {
    let facts = crate::chain::facts(link)?;
    let Some(behind) = &facts.behind else {
        return Err(ImageError::wrong("it has no image behind it; make one with New-VHD -ParentPath"));
    };
    if parent.facts.size > facts.size {
        return Err(ImageError::wrong(format!(
            "its disk has {} bytes, and that of `{}` has {}; give the one that it was made over",
            facts.size, parent.relative, parent.facts.size
        )));
    }
    match link.format {
        Format::Raw => Ok(()),
        Format::Qcow2 => qcow2::set_parent(link.store.as_ref(), parent),
        format => {
            let identity = linked(parent, format)?;
            if !any && !behind.linkage.contains(&identity) {
                return Err(ImageError::wrong(format!(
                    "`{}` is not the image that it was made over, or was written to since; if its disk is meant all the same, say -IgnoreIdMismatch",
                    parent.relative
                )));
            }
            match format {
                Format::Vhd => vhd::set_parent(link.store.as_ref(), parent, identity),
                _ => vhdx::set_parent(link.store.as_ref(), parent, identity),
            }
        }
    }
}

/// Gives an image another number by which it is told from all others.
pub fn identifier(link: &Link) -> Result<(), ImageError> {
    match link.format {
        Format::Vhd => vhd::set_identifier(link.store.as_ref(), Guid::random()?),
        Format::Vhdx => vhdx::set_identifier(link.store.as_ref(), Guid::random()?),
        format => {
            Err(ImageError::wrong(format!("a {format} image has no identifier; VHD and VHDX have one")))
        }
    }
}

/// Bytes of a sector, as they are.
pub fn physical_sector(link: &Link, bytes: u32) -> Result<(), ImageError> {
    match link.format {
        Format::Vhdx => vhdx::set_physical_sector(link.store.as_ref(), bytes),
        format => {
            Err(ImageError::wrong(format!("a {format} image does not say how large sectors are; VHDX does")))
        }
    }
}
