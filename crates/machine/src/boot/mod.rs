//! Putting a kernel into memory with everything that it expects, and the processor state that it starts in.

pub mod bios;
mod multiboot_info;
mod start;
mod zero_page;

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
    pub command_line: &'a str,
}

/// Where the initrd went: address and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub address: u64,
    pub size: u64,
}

/// Loads everything but the firmware's tables. Gives the state in which processor 0 starts.
pub fn load(memory: &Memory, layout: &Layout, payload: &Payload) -> Result<CpuState, MachineError> {
    let end = payload.image.end();
    if end > layout.low_end {
        return Err(MachineError::KernelTooLarge {
            name: payload.name.clone(),
            needs_mib: end.div_ceil(2 * MIB) * 2,
            has_mib: layout.memory() / MIB,
        });
    }
    for piece in payload.image.pieces(payload.bytes) {
        write_piece(memory.ram(), payload, &piece)?;
    }
    let initrd = load_initrd(memory.ram(), layout, payload)?;
    let (management, closed) = layout.management();
    start::write_management_handler(memory.ram(), management)?;
    let mut state = match payload.image {
        Image::BzImage(image) => {
            zero_page::write(memory.ram(), layout, payload.command_line, initrd, Some(image))?;
            start::write_tables(memory.ram())?;
            start::long_mode(image.entry())
        }
        Image::Vmlinux(elf) => {
            zero_page::write(memory.ram(), layout, payload.command_line, initrd, None)?;
            start::write_tables(memory.ram())?;
            start::long_mode(elf.entry)
        }
        Image::Multiboot(image) => {
            multiboot_info::write(memory.ram(), layout, payload, initrd)?;
            bios::write(memory.ram())?;
            start::write_gdts(memory.ram())?;
            start::protected_mode(image.entry())
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
    let free = matches!(payload.image, Image::Multiboot(_)) && low.start <= start && end <= low.end;
    if start < layout::HIGH_MEMORY && end > layout::GDT && !free {
        let why = format!(
            "it wants to be loaded at {start:#x} to {end:#x}; below 1 MiB only multiboot kernels may be, from {:#x} to {:#x}",
            low.start, low.end
        );
        return Err(MachineError::BadKernel { name: payload.name.clone(), why });
    }
    put(ram, piece.address, piece.data)
}

/// The initrd goes as high as the kernel lets it, below 3 GiB, so that it is out of the kernel's way.
fn load_initrd(ram: &GuestRam, layout: &Layout, payload: &Payload) -> Result<Option<Loaded>, MachineError> {
    let Some((name, data)) = &payload.initrd else { return Ok(None) };
    let size = data.len() as u64;
    let floor = payload.image.end().next_multiple_of(layout::HIGH_MEMORY);
    let ceiling = layout.low_end.min(initrd_limit(payload.image));
    let address = ceiling.checked_sub(size).map(|a| a & !0xfff).filter(|a| *a >= floor).ok_or_else(|| {
        MachineError::InitrdTooLarge {
            name: name.clone(),
            size_mib: size.div_ceil(MIB),
            room_mib: ceiling.saturating_sub(floor) / MIB,
            memory_mib: layout.memory() / MIB,
        }
    })?;
    put(ram, address, data)?;
    Ok(Some(Loaded { address, size }))
}

fn initrd_limit(image: &Image) -> u64 {
    match image {
        Image::BzImage(image) => image.initrd_max + 1,
        // What Linux said before it had the field's newest value.
        Image::Vmlinux(_) | Image::Multiboot(_) => 0x8000_0000,
    }
}

/// The command line with its terminating zero, at its place.
fn write_command_line(ram: &GuestRam, place: u64, text: &str, limit: usize) -> Result<(), MachineError> {
    if text.len() > limit {
        return Err(MachineError::CommandLineTooLong { length: text.len(), limit });
    }
    let mut bytes: Vec<u8> = text.bytes().filter(|b| *b != 0).collect();
    bytes.push(0);
    put(ram, place, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::bzimage;
    use ireko_x86::regs::gpr;

    fn try_boot(
        memory: u64,
        initrd: Option<usize>,
        command_line: &str,
    ) -> Result<(Memory, CpuState), MachineError> {
        let bytes = bzimage::sample();
        let image = Image::parse("k", &bytes)?;
        let layout = Layout::new(memory)?;
        let ram = Memory::new(&layout.ranges()).unwrap();
        let content = initrd.map(|size| vec![0xab; size]);
        let initrd = content.as_deref().map(|data| ("i".to_string(), data));
        let payload = Payload { name: "k".into(), image: &image, bytes: &bytes, initrd, command_line };
        let state = load(&ram, &layout, &payload)?;
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
