//! Disk images: raw, qcow2, VHD and VHDX, and chains of them.
//!
//! Knows formats: what their tables say, in which order they are written so that a crash loses nothing that was flushed, and how
//! much of them is kept in memory. Must never know a virtual machine, a device or a file's name: it is given what is open
//! ([`Store`]), and whatever an image says of other files is no reason to open them. Start reading at [`image`], then `mapped` and [`qcow2`].

#![forbid(unsafe_code)]

mod bytes;
pub mod chain;
pub mod check;
pub mod copy;
pub mod create;
mod error;
pub mod format;
pub mod guid;
pub mod image;
mod mapped;
mod pages;
pub mod qcow2;
mod raw;
pub mod set;
pub mod store;
#[cfg(test)]
mod tests;
pub mod vhd;
pub mod vhdx;

pub use chain::{Facts, Link};
pub use check::Report;
pub use error::ImageError;
pub use format::Format;
pub use image::{Content, Extent, Image, Opened};
use pages::Pages;
pub use raw::Raw;
pub use store::Store;

/// A name out of an image, for a sentence.
pub(crate) fn printable(name: &str) -> String {
    name.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What a disk is counted in.
pub const SECTOR: u64 = 512;
