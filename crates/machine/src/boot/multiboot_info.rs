//! What a multiboot kernel is told (Multiboot Specification 0.6.96, 3.3).

use super::{Loaded, Payload, put, write_command_line};
use crate::MachineError;
use crate::layout::{self, Layout};
use ireko_vmcore::memory::GuestRam;

/// Which fields of the information are valid.
mod flag {
    pub const MEMORY: u32 = 1 << 0;
    pub const COMMAND_LINE: u32 = 1 << 2;
    pub const MODULES: u32 = 1 << 3;
    pub const MEMORY_MAP: u32 = 1 << 6;
    pub const LOADER_NAME: u32 = 1 << 9;
}

const INFO_SIZE: usize = 0x74;
const MODULE: u64 = layout::MULTIBOOT_INFO + 0x80;
const LOADER_NAME: u64 = layout::MULTIBOOT_INFO + 0xa0;
const MEMORY_MAP: u64 = layout::MULTIBOOT_INFO + 0x100;

/// By convention the first word of the command line is the kernel's name.
pub fn write(
    ram: &GuestRam,
    layout: &Layout,
    payload: &Payload,
    initrd: Option<Loaded>,
) -> Result<(), MachineError> {
    let line = format!("{} {}", payload.name, payload.command_line);
    let place = layout::MULTIBOOT_COMMAND_LINE;
    write_command_line(ram, place, line.trim_end(), layout::MULTIBOOT_COMMAND_LINE_ROOM - 1)?;
    let map = memory_map(layout);
    put(ram, MEMORY_MAP, &map)?;
    put(ram, LOADER_NAME, b"ireko\0")?;
    let mut info = Info([0; INFO_SIZE]);
    info.set(0, flag::MEMORY | flag::COMMAND_LINE | flag::MEMORY_MAP | flag::LOADER_NAME);
    info.set(4, (layout::CONVENTIONAL_END / 1024) as u32);
    info.set(8, ((layout.low_end - layout::HIGH_MEMORY) / 1024) as u32);
    info.set(16, place as u32);
    info.set(44, map.len() as u32);
    info.set(48, MEMORY_MAP as u32);
    info.set(64, LOADER_NAME as u32);
    if let Some(initrd) = initrd {
        info.set(0, info.field(0) | flag::MODULES);
        info.set(20, 1);
        info.set(24, MODULE as u32);
        let fields = [initrd.address, initrd.address + initrd.size, place, 0];
        put(ram, MODULE, &fields.map(|f| (f as u32).to_le_bytes()).concat())?;
    }
    put(ram, layout::MULTIBOOT_INFO, &info.0)
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

    fn booted(initrd: Option<Loaded>) -> Memory {
        let bytes = multiboot::sample(0x10_0000);
        let image = Image::parse("kernel", &bytes).unwrap();
        let layout = Layout::new(16 * MIB).unwrap();
        let memory = Memory::new(&layout.ranges()).unwrap();
        let payload = Payload {
            name: "kernel".into(),
            image: &image,
            bytes: &bytes,
            initrd: None,
            command_line: "a b",
        };
        write(memory.ram(), &layout, &payload, initrd).unwrap();
        memory
    }

    fn field(memory: &Memory, offset: u64) -> u32 {
        memory.ram().read_obj(GuestAddress(layout::MULTIBOOT_INFO + offset)).unwrap()
    }

    #[test]
    fn the_command_line_begins_with_the_kernels_name() {
        let memory = booted(None);
        let mut text = [0; 11];
        memory.ram().read_slice(&mut text, GuestAddress(field(&memory, 16).into())).unwrap();
        assert_eq!(&text, b"kernel a b\0");
    }

    #[test]
    fn upper_memory_is_what_lies_above_1_mib() {
        assert_eq!(field(&booted(None), 8), 15 * 1024);
    }

    #[test]
    fn an_initrd_is_module_0() {
        let memory = booted(Some(Loaded { address: 0x80_0000, size: 100 }));
        assert_eq!(field(&memory, 0) & flag::MODULES, flag::MODULES);
        assert_eq!((field(&memory, 0x80), field(&memory, 0x84)), (0x80_0000, 0x80_0064));
    }
}
