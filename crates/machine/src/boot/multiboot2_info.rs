//! What a multiboot 2 kernel is told: tags, each at a multiple of 8 (Multiboot2 Specification 2.0, 3.6).

use super::modules::{self, Loaded};
use super::multiboot_info::LOADER_NAME;
use super::told::{Told, zero_ended};
use super::{Payload, check_command_line};
use crate::layout::{self, Layout};
use crate::{MachineError, acpi};
use ireko_vmcore::memory::GuestRam;
use std::ops::Range;

mod tag {
    pub const END: u32 = 0;
    pub const COMMAND_LINE: u32 = 1;
    pub const LOADER_NAME: u32 = 2;
    pub const MODULE: u32 = 3;
    pub const MEMORY: u32 = 4;
    pub const MEMORY_MAP: u32 = 6;
    pub const RSDP_1: u32 = 14;
    pub const RSDP_2: u32 = 15;
    pub const LOAD_BASE: u32 = 21;
}

/// The part of an RSDP that ACPI 1.0 knows.
const RSDP_1_SIZE: usize = 20;

pub fn write(
    ram: &GuestRam,
    layout: &Layout,
    payload: &Payload,
    vcpus: u32,
    loaded: &[Loaded],
    place: Range<u64>,
) -> Result<(), MachineError> {
    check_command_line(payload.command_line, layout::MULTIBOOT_COMMAND_LINE_ROOM - 1)?;
    let start = place.start;
    let mut tags = Tags(Told::behind(8, place));
    // Unlike in multiboot 1, no names are in front: kernels are written for GRUB, which gives none.
    tags.add(tag::COMMAND_LINE, &zero_ended(payload.command_line));
    tags.add(tag::LOADER_NAME, &zero_ended(LOADER_NAME));
    let (lower, upper) = (layout::CONVENTIONAL_END / 1024, (layout.low_end - layout::HIGH_MEMORY) / 1024);
    tags.add(tag::MEMORY, &words(&[lower as u32, upper as u32]));
    tags.add(tag::MEMORY_MAP, &memory_map(layout));
    for module in loaded {
        let range = [module.address, module.address + module.size].map(|address| address as u32);
        tags.add(tag::MODULE, &[words(&range), zero_ended(modules::arguments(module))].concat());
    }
    let rsdp = acpi::rsdp_of(layout, vcpus);
    tags.add(tag::RSDP_1, &rsdp[..RSDP_1_SIZE]);
    tags.add(tag::RSDP_2, &rsdp);
    let base = payload.image.pieces(payload.bytes).iter().map(|piece| piece.address).min().unwrap_or(0);
    tags.add(tag::LOAD_BASE, &words(&[base as u32]));
    let end = tags.add(tag::END, &[]) + 8;
    let size = end - start;
    tags.0.write(ram, &words(&[size as u32, 0]))
}

struct Tags(Told);

impl Tags {
    /// Type and size, then the content. Gives the tag's address.
    fn add(&mut self, kind: u32, content: &[u8]) -> u64 {
        let header = words(&[kind, 8 + content.len() as u32]);
        self.0.add(&[&header, content].concat())
    }
}

fn words(fields: &[u32]) -> Vec<u8> {
    fields.iter().flat_map(|field| field.to_le_bytes()).collect()
}

/// Size and version of entries, then entries of base, length, type and a reserved field.
fn memory_map(layout: &Layout) -> Vec<u8> {
    const ENTRY_SIZE: u32 = 24;
    const VERSION: u32 = 0;
    let entry = |entry: layout::E820| {
        [entry.start.to_le_bytes(), entry.size.to_le_bytes(), u64::from(entry.kind as u32).to_le_bytes()]
            .concat()
    };
    words(&[ENTRY_SIZE, VERSION]).into_iter().chain(layout.e820().into_iter().flat_map(entry)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::bytes::u32_at;
    use crate::image::{Image, multiboot2};
    use crate::spec::MIB;
    use ireko_vmcore::Memory;
    use vm_memory::{Bytes, GuestAddress};

    /// Types and contents, in order.
    fn tags(loaded: &[Loaded]) -> Vec<(u32, Vec<u8>)> {
        let bytes = multiboot2::sample();
        let image = Image::parse("kernel", &bytes, None).unwrap();
        let layout = Layout::new(16 * MIB).unwrap();
        let memory = Memory::new(&layout.ranges()).unwrap();
        let (name, modules) = ("kernel".into(), Vec::new());
        let payload =
            Payload { name, image: &image, bytes: &bytes, initrd: None, modules, command_line: "a b" };
        write(memory.ram(), &layout, &payload, 1, loaded, layout::BOOT_INFORMATION[0].clone()).unwrap();
        let start = GuestAddress(layout::BOOT_INFORMATION[0].start);
        let size: u32 = memory.ram().read_obj(start).unwrap();
        let mut information = vec![0; size as usize];
        memory.ram().read_slice(&mut information, start).unwrap();
        let (mut at, mut tags) = (8, Vec::new());
        while at < information.len() {
            let (kind, size) =
                (u32_at(&information, at).unwrap(), u32_at(&information, at + 4).unwrap() as usize);
            tags.push((kind, information[at + 8..at + size].to_vec()));
            at += size.next_multiple_of(8);
        }
        tags
    }

    fn content(tags: &[(u32, Vec<u8>)], kind: u32) -> &[u8] {
        &tags.iter().find(|(other, _)| *other == kind).unwrap().1
    }

    #[test]
    fn the_command_line_is_without_the_kernels_name() {
        assert_eq!(content(&tags(&[]), tag::COMMAND_LINE), b"a b\0");
    }

    #[test]
    fn every_module_has_a_tag() {
        let module = |address, line: &str| Loaded { address, size: 100, command_line: line.into() };
        let tags = tags(&[module(0x80_0000, "linux ro"), module(0x90_0000, "initrd")]);
        let modules: Vec<_> = tags.iter().filter(|(kind, _)| *kind == tag::MODULE).collect();
        assert_eq!(modules.len(), 2);
        assert_eq!(modules[0].1, [&words(&[0x80_0000, 0x80_0064])[..], b"ro\0"].concat());
    }

    #[test]
    fn both_root_pointers_of_acpi_are_there_and_the_end_is_last() {
        let tags = tags(&[]);
        assert!(content(&tags, tag::RSDP_1).starts_with(b"RSD PTR "));
        assert_eq!((content(&tags, tag::RSDP_1).len(), content(&tags, tag::RSDP_2).len()), (20, 36));
        assert_eq!(tags.last().unwrap().0, tag::END);
    }
}
