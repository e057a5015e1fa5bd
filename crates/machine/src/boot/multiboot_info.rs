//! What a multiboot kernel is told (Multiboot Specification 0.6.96, 3.3).

use super::modules::{self, Loaded};
use super::told::Told;
use super::{Payload, check_command_line};
use crate::MachineError;
use crate::layout::{self, Layout};
use ireko_vmcore::memory::GuestRam;
use std::ops::Range;

/// Which fields of the information are valid.
mod flag {
    pub const MEMORY: u32 = 1 << 0;
    pub const COMMAND_LINE: u32 = 1 << 2;
    pub const MODULES: u32 = 1 << 3;
    pub const MEMORY_MAP: u32 = 1 << 6;
    pub const LOADER_NAME: u32 = 1 << 9;
}

const INFO_SIZE: usize = 0x74;
pub(super) const LOADER_NAME: &str = "ireko";

/// By convention the first word of the command line is the kernel's name.
pub fn write(
    ram: &GuestRam,
    layout: &Layout,
    payload: &Payload,
    loaded: &[Loaded],
    place: Range<u64>,
) -> Result<(), MachineError> {
    let line = modules::line(&payload.name, payload.command_line);
    check_command_line(&line, layout::MULTIBOOT_COMMAND_LINE_ROOM - 1)?;
    let mut told = Told::behind(INFO_SIZE, place);
    let map = memory_map(layout);
    let mut info = Info([0; INFO_SIZE]);
    info.set(0, flag::MEMORY | flag::COMMAND_LINE | flag::MEMORY_MAP | flag::LOADER_NAME);
    info.set(4, (layout::CONVENTIONAL_END / 1024) as u32);
    info.set(8, ((layout.low_end - layout::HIGH_MEMORY) / 1024) as u32);
    info.set(16, told.add_text(&line) as u32);
    info.set(44, map.len() as u32);
    info.set(48, told.add(&map) as u32);
    info.set(64, told.add_text(LOADER_NAME) as u32);
    if !loaded.is_empty() {
        info.set(0, info.field(0) | flag::MODULES);
        info.set(20, loaded.len() as u32);
        let list: Vec<u8> = loaded.iter().flat_map(|module| entry(module, &mut told)).collect();
        info.set(24, told.add(&list) as u32);
    }
    told.write(ram, &info.0)
}

/// Start, end, command line, reserved.
fn entry(module: &Loaded, told: &mut Told) -> Vec<u8> {
    let line = told.add_text(&module.command_line);
    let fields = [module.address, module.address + module.size, line, 0];
    fields.iter().flat_map(|field| (*field as u32).to_le_bytes()).collect()
}

struct Info([u8; INFO_SIZE]);

impl Info {
    fn set(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }
    fn field(&self, offset: usize) -> u32 {
        u32::from_le_bytes([self.0[offset], self.0[offset + 1], self.0[offset + 2], self.0[offset + 3]])
    }
}

/// Entries of size (which does not count itself), base, length and type.
fn memory_map(layout: &Layout) -> Vec<u8> {
    const ENTRY_SIZE: u32 = 20;
    let mut bytes = Vec::new();
    for entry in layout.e820() {
        bytes.extend(ENTRY_SIZE.to_le_bytes());
        bytes.extend(entry.start.to_le_bytes());
        bytes.extend(entry.size.to_le_bytes());
        bytes.extend((entry.kind as u32).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Image, multiboot};
    use crate::spec::MIB;
    use ireko_vmcore::Memory;
    use vm_memory::{Bytes, GuestAddress};

    fn booted(name: &str, loaded: &[Loaded]) -> Memory {
        let bytes = multiboot::sample(0x10_0000);
        let image = Image::parse("kernel", &bytes, None).unwrap();
        let layout = Layout::new(16 * MIB).unwrap();
        let memory = Memory::new(&layout.ranges()).unwrap();
        let payload = Payload {
            name: name.into(),
            image: &image,
            bytes: &bytes,
            initrd: None,
            modules: Vec::new(),
            command_line: "a b",
        };
        write(memory.ram(), &layout, &payload, loaded, layout::BOOT_INFORMATION[0].clone()).unwrap();
        memory
    }

    fn word(memory: &Memory, address: u32) -> u32 {
        memory.ram().read_obj(GuestAddress(address.into())).unwrap()
    }

    fn field(memory: &Memory, offset: u32) -> u32 {
        word(memory, layout::BOOT_INFORMATION[0].start as u32 + offset)
    }

    fn text(memory: &Memory, address: u32) -> String {
        let byte = |at: u32| memory.ram().read_obj::<u8>(GuestAddress(at.into())).unwrap();
        (address..).map(byte).take_while(|byte| *byte != 0).map(char::from).collect()
    }

    #[test]
    fn the_command_line_begins_with_the_kernels_name() {
        let memory = booted("kernel", &[]);
        assert_eq!(text(&memory, field(&memory, 16)), "kernel a b");
    }

    #[test]
    fn a_name_is_one_word() {
        let memory = booted("my kernel", &[]);
        assert_eq!(text(&memory, field(&memory, 16)), "my_kernel a b");
    }

    #[test]
    fn upper_memory_is_what_lies_above_1_mib() {
        assert_eq!(field(&booted("kernel", &[]), 8), 15 * 1024);
    }

    #[test]
    fn every_module_has_its_place_and_its_command_line() {
        let module = |address, line: &str| Loaded { address, size: 100, command_line: line.into() };
        let memory = booted("kernel", &[module(0x80_0000, "linux ro"), module(0x90_0000, "initrd")]);
        assert_eq!(field(&memory, 0) & flag::MODULES, flag::MODULES);
        assert_eq!(field(&memory, 20), 2);
        let list = field(&memory, 24);
        assert_eq!((word(&memory, list), word(&memory, list + 4)), (0x80_0000, 0x80_0064));
        assert_eq!(text(&memory, word(&memory, list + 8)), "linux ro");
        assert_eq!(
            (word(&memory, list + 16), text(&memory, word(&memory, list + 24))),
            (0x90_0000, "initrd".into())
        );
    }
}
