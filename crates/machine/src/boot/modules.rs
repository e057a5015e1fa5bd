//! Files that are loaded beside a kernel: an initrd, and modules with command lines of their own.

use super::{Payload, put};
use crate::MachineError;
use crate::image::{Image, Protocol};
use crate::layout::{self, Layout};
use crate::spec::MIB;
use ireko_vmcore::memory::GuestRam;

/// A file for the kernel.
pub struct Module<'a> {
    pub name: String,
    pub command_line: &'a str,
    pub data: &'a [u8],
}

/// Where one went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub address: u64,
    pub size: u64,
    /// By convention the first word is the file's name.
    pub command_line: String,
}

const PAGE: u64 = 0x1000;

/// They go as high as the kernel lets them, below 3 GiB, so that they are out of its way; each at a page's start, in their order.
pub(super) fn load(ram: &GuestRam, layout: &Layout, payload: &Payload) -> Result<Vec<Loaded>, MachineError> {
    let initrd = payload.initrd.iter().map(|(name, data)| (name, "", *data));
    let modules = payload.modules.iter().map(|module| (&module.name, module.command_line, module.data));
    check(payload)?;
    let all: Vec<_> = initrd.chain(modules).collect();
    let size: u64 = all.iter().map(|(.., data)| room(data)).sum();
    let floor = payload.image.end().next_multiple_of(layout::HIGH_MEMORY);
    let ceiling = layout.low_end.min(limit(payload.image)) & !(PAGE - 1);
    let start = ceiling.checked_sub(size).filter(|start| *start >= floor || all.is_empty());
    let mut address = start.ok_or_else(|| MachineError::InitrdTooLarge {
        name: all.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>().join(" and "),
        size_mib: size.div_ceil(MIB),
        room_mib: ceiling.saturating_sub(floor) / MIB,
        memory_mib: layout.memory() / MIB,
    })?;
    let mut loaded = Vec::new();
    for (name, command_line, data) in all {
        put(ram, address, data)?;
        let command_line = line(name, command_line);
        loaded.push(Loaded { address, size: data.len() as u64, command_line });
        address += room(data);
    }
    Ok(loaded)
}

/// Linux's protocol has one file beside the kernel.
fn check(payload: &Payload) -> Result<(), MachineError> {
    match payload.modules.first() {
        Some(module) if payload.image.protocol() == Protocol::Linux => {
            Err(MachineError::NoModules { module: module.name.clone(), kernel: payload.name.clone() })
        }
        _ => Ok(()),
    }
}

fn room(data: &[u8]) -> u64 {
    (data.len() as u64).next_multiple_of(PAGE)
}

/// A command line whose first word is a file's name.
pub(super) fn line(name: &str, words: &str) -> String {
    let name = name.replace(char::is_whitespace, "_");
    format!("{name} {words}").trim_end().to_owned()
}

fn limit(image: &Image) -> u64 {
    match image {
        Image::BzImage(image) => image.initrd_max + 1,
        // What Linux said before it had the field's newest value.
        Image::Vmlinux(_) | Image::Pvh(..) | Image::Multiboot(_) | Image::Multiboot2(_) => 0x8000_0000,
    }
}

/// What follows the name.
pub(super) fn arguments(module: &Loaded) -> &str {
    module.command_line.split_once(' ').map_or("", |(_, arguments)| arguments)
}
