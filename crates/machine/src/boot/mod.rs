//! Putting a kernel into memory with everything that it expects, and the processor state that it starts in.

pub mod bios;
mod modules;
mod multiboot2_info;
mod multiboot_info;
mod pvh_info;
mod start;
mod told;
mod zero_page;

pub use modules::Module;
pub use start::after_reset;

use crate::MachineError;
use crate::image::{Image, Piece};
use crate::layout::{self, Layout};
use crate::spec::MIB;
use ireko_vmcore::memory::GuestRam;
use ireko_vmcore::{CpuState, Memory};
use vm_memory::{Bytes, GuestAddress};

/// A kernel file, checked, and what is given to it.
pub struct Payload<'a> {
    pub name: String,
    pub image: &'a Image,
    pub bytes: &'a [u8],
    /// Name and content.
    pub initrd: Option<(String, &'a [u8])>,
    /// Behind the initrd.
    pub modules: Vec<Module<'a>>,
    pub command_line: &'a str,
}

/// Loads everything but the firmware's tables. Gives the state in which processor 0 starts.
pub fn load(
    memory: &Memory,
    layout: &Layout,
    vcpus: u32,
    payload: &Payload,
) -> Result<CpuState, MachineError> {
    let end = payload.image.end();
    if end > layout.low_end {
        return Err(MachineError::KernelTooLarge {
            name: payload.name.clone(),
            needs_mib: end.div_ceil(2 * MIB) * 2,
            has_mib: layout.memory() / MIB,
        });
    }
    let ram = memory.ram();
    let pieces = payload.image.pieces(payload.bytes);
    pieces.iter().try_for_each(|piece| write_piece(ram, payload, piece))?;
    let loaded = modules::load(ram, layout, payload)?;
    let (management, closed) = layout.management();
    start::write_management_handler(ram, management)?;
    bios::write(ram, layout)?;
    start::write_gdts(ram)?;
    let place = told::place(&pieces);
    let information = place.start;
    let mut state = match payload.image {
        Image::BzImage(image) => {
            zero_page::write(ram, layout, payload.command_line, loaded.first(), Some(image))?;
            start::linux(ram, image.entry(), image.is_64)?
        }
        Image::Vmlinux(elf) => {
            zero_page::write(ram, layout, payload.command_line, loaded.first(), None)?;
            start::linux(ram, elf.entry, true)?
        }
        Image::Pvh(_, entry) => {
            pvh_info::write(ram, layout, payload, &loaded, place)?;
            start::pvh(*entry, information)
        }
        Image::Multiboot(image) => {
            multiboot_info::write(ram, layout, payload, &loaded, place)?;
            start::multiboot(image.entry(), information)
        }
        Image::Multiboot2(image) => {
            multiboot2_info::write(ram, layout, payload, vcpus, &loaded, place)?;
            start::multiboot2(image.entry(), information)
        }
    };
    start::set_management(&mut state, management, closed);
    Ok(state)
}

pub(crate) fn put(ram: &GuestRam, address: u64, bytes: &[u8]) -> Result<(), MachineError> {
    ram.write_slice(bytes, GuestAddress(address)).map_err(|e| MachineError::Platform(e.to_string()))
}

/// Memory is zero already, so only the file's bytes are written; the rest only has to be there.
fn write_piece(ram: &GuestRam, payload: &Payload, piece: &Piece) -> Result<(), MachineError> {
    let (start, end) = (piece.address, piece.address + piece.size);
    let low = layout::MULTIBOOT_LOW;
    let multiboot = matches!(payload.image, Image::Multiboot(_) | Image::Multiboot2(_));
    let free = multiboot && low.start <= start && end <= low.end;
    if start < layout::HIGH_MEMORY && end > layout::GDT && !free {
        let place = match multiboot {
            true => format!("below 1 MiB there is room for it from {:#x} to {:#x} only", low.start, low.end),
            false => "below 1 MiB there is room for multiboot kernels only".into(),
        };
        let why = format!("it wants to be loaded at {start:#x} to {end:#x}; {place}");
        return Err(MachineError::BadKernel { name: payload.name.clone(), why });
    }
    put(ram, piece.address, piece.data)
}

/// The command line with its terminating zero, at its place.
fn write_command_line(ram: &GuestRam, place: u64, text: &str, limit: usize) -> Result<(), MachineError> {
    check_command_line(text, limit)?;
    put(ram, place, &told::zero_ended(text))
}

fn check_command_line(text: &str, limit: usize) -> Result<(), MachineError> {
    if text.len() > limit {
        return Err(MachineError::CommandLineTooLong { length: text.len(), limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{bzimage, multiboot};
    use ireko_x86::regs::gpr;

    fn try_boot(
        memory: u64,
        initrd: Option<usize>,
        command_line: &str,
    ) -> Result<(Memory, CpuState), MachineError> {
        let bytes = bzimage::sample();
        let image = Image::parse("k", &bytes, None)?;
        let layout = Layout::new(memory)?;
        let ram = Memory::new(&layout.ranges()).unwrap();
        let content = initrd.map(|size| vec![0xab; size]);
        let initrd = content.as_deref().map(|data| ("i".to_string(), data));
        let (name, modules) = ("k".into(), Vec::new());
        let payload = Payload { name, image: &image, bytes: &bytes, initrd, modules, command_line };
        let state = load(&ram, &layout, 1, &payload)?;
        Ok((ram, state))
    }

    fn u32_at(memory: &Memory, address: u64) -> u32 {
        memory.ram().read_obj(GuestAddress(address)).unwrap()
    }

    #[test]
    fn a_kernel_starts_at_its_64_bit_entry_with_rsi_at_the_zero_page() {
        let (_, state) = try_boot(64 * MIB, None, "").unwrap();
        assert_eq!((state.regs.rip, state.regs.gpr[gpr::RSI]), (0x100_0200, layout::ZERO_PAGE));
        assert!(state.regs.code64());
    }

    #[test]
    fn the_initrd_is_at_the_end_of_memory_and_the_zero_page_says_so() {
        let (memory, _) = try_boot(64 * MIB, Some(5000), "").unwrap();
        let address = u32_at(&memory, layout::ZERO_PAGE + 0x218);
        assert_eq!(
            (u64::from(address), u32_at(&memory, layout::ZERO_PAGE + 0x21c)),
            (64 * MIB - 0x2000, 5000)
        );
        assert_eq!(u32_at(&memory, u64::from(address)), 0xabab_abab);
    }

    #[test]
    fn modules_are_in_their_order_at_pages_of_their_own() {
        let bytes = multiboot::sample(0x10_0000);
        let image = Image::parse("k", &bytes, None).unwrap();
        let layout = Layout::new(16 * MIB).unwrap();
        let memory = Memory::new(&layout.ranges()).unwrap();
        let module = |data| Module { name: "m".into(), command_line: "", data };
        let modules = vec![module(&[1; 5000]), module(&[2; 3])];
        let payload = Payload {
            name: "k".into(),
            image: &image,
            bytes: &bytes,
            initrd: None,
            modules,
            command_line: "",
        };
        load(&memory, &layout, 1, &payload).unwrap();
        assert_eq!(u32_at(&memory, 16 * MIB - 0x3000), 0x0101_0101);
        assert_eq!(u32_at(&memory, 16 * MIB - 0x1000), 0x0002_0202);
    }

    #[test]
    fn a_multiboot_kernel_hears_where_below_1_mib_it_may_be() {
        let bytes = multiboot::sample(0x600);
        let image = Image::parse("k", &bytes, None).unwrap();
        let layout = Layout::new(16 * MIB).unwrap();
        let memory = Memory::new(&layout.ranges()).unwrap();
        let (name, modules) = ("k".into(), Vec::new());
        let payload = Payload { name, image: &image, bytes: &bytes, initrd: None, modules, command_line: "" };
        let said = load(&memory, &layout, 1, &payload).err().unwrap().to_string();
        assert!(said.contains("there is room for it from") && !said.contains("multiboot"), "{said}");
    }

    #[test]
    fn linux_takes_no_modules() {
        let bytes = bzimage::sample();
        let image = Image::parse("k", &bytes, None).unwrap();
        let layout = Layout::new(64 * MIB).unwrap();
        let memory = Memory::new(&layout.ranges()).unwrap();
        let modules = vec![Module { name: "m".into(), command_line: "", data: &[] }];
        let payload = Payload {
            name: "k".into(),
            image: &image,
            bytes: &bytes,
            initrd: None,
            modules,
            command_line: "",
        };
        let error = load(&memory, &layout, 1, &payload).err().unwrap();
        assert!(matches!(error, MachineError::NoModules { .. }), "{error:?}");
    }

    #[test]
    fn an_initrd_larger_than_memory_is_refused() {
        assert!(matches!(try_boot(32 * MIB, Some(40 << 20), ""), Err(MachineError::InitrdTooLarge { .. })));
    }

    #[test]
    fn a_kernel_larger_than_memory_says_what_it_needs() {
        let error = try_boot(16 * MIB, None, "").err().unwrap();
        assert!(
            matches!(error, MachineError::KernelTooLarge { needs_mib: 18, has_mib: 16, .. }),
            "{error:?}"
        );
    }

    #[test]
    fn the_command_line_is_where_the_zero_page_says() {
        let (memory, _) = try_boot(64 * MIB, None, "quiet").unwrap();
        let mut text = [0; 6];
        let address = u32_at(&memory, layout::ZERO_PAGE + 0x228);
        memory.ram().read_slice(&mut text, GuestAddress(address.into())).unwrap();
        assert_eq!(&text, b"quiet\0");
    }

    #[test]
    fn a_command_line_longer_than_the_kernel_takes_is_refused() {
        let error = try_boot(64 * MIB, None, &"x".repeat(3000)).err().unwrap();
        assert!(matches!(error, MachineError::CommandLineTooLong { length: 3000, limit: 2047 }));
    }
}
