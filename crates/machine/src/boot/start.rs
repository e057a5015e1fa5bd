//! The processor state and tables in which kernels start.

use super::put;
use crate::MachineError;
use crate::layout;
use ireko_vmcore::CpuState;
use ireko_vmcore::memory::GuestRam;
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::regs::{Segment, Table, gpr, seg};
use ireko_x86::smram::ASEG_VALID;

const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
/// Descriptors (APM vol. 2, 4.8): null, unused, 64-bit code, data, and 32-bit code for multiboot.
const CODE_64: u64 = 0x00af_9b00_0000_ffff;
const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
const DATA_32: u64 = 0x00cf_9300_0000_ffff;
const GDT: [u64; 4] = [0, 0, CODE_64, DATA_32];
const GDT_32: [u64; 4] = [0, 0, CODE_32, DATA_32];
const GDT_LIMIT: u16 = 31;
/// A second table, so that both kinds of kernel find CS = 0x10.
const GDT_32_PLACE: u64 = layout::GDT + 0x40;

const PRESENT_WRITABLE: u64 = 3;
const LARGE: u64 = 1 << 7;
const GIGABYTES_MAPPED: u64 = 4;

/// What EAX holds when a multiboot kernel starts (Multiboot 0.6.96, 3.2).
const MULTIBOOT_MAGIC: u64 = 0x2bad_b002;
/// The same for multiboot 2 (Multiboot2 2.0, 3.3).
const MULTIBOOT2_MAGIC: u64 = 0x36d7_6289;

fn bytes(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|e| e.to_le_bytes()).collect()
}

pub fn write_gdts(ram: &GuestRam) -> Result<(), MachineError> {
    put(ram, layout::GDT, &bytes(&GDT))?;
    put(ram, GDT_32_PLACE, &bytes(&GDT_32))
}

/// What firmware would leave for system-management interrupts: RSM.
pub fn write_management_handler(ram: &GuestRam, place: u64) -> Result<(), MachineError> {
    const ENTRY: u64 = 0x8000;
    put(ram, place + ENTRY, &[0x0f, 0xaa])
}

/// Where that is; `closed`: it is there in that mode only.
pub fn set_management(state: &mut CpuState, place: u64, closed: bool) {
    (state.regs.smbase, state.regs.smm_mask) = (place, if closed { ASEG_VALID } else { 0 });
}

/// Both GDTs, and page tables that map the first 4 GiB to themselves in 2 MiB pages.
pub fn write_tables(ram: &GuestRam) -> Result<(), MachineError> {
    write_gdts(ram)?;
    let pdpt = layout::PAGE_TABLES + 0x1000;
    let directories = pdpt + 0x1000;
    put(ram, layout::PAGE_TABLES, &(pdpt | PRESENT_WRITABLE).to_le_bytes())?;
    let pointers: Vec<u64> =
        (0..GIGABYTES_MAPPED).map(|n| (directories + n * 0x1000) | PRESENT_WRITABLE).collect();
    put(ram, pdpt, &bytes(&pointers))?;
    let pages: Vec<u64> = (0..GIGABYTES_MAPPED * 512).map(|n| n << 21 | LARGE | PRESENT_WRITABLE).collect();
    put(ram, directories, &bytes(&pages))
}

/// Protected mode with flat segments and interrupts off: what both ways to start have in common.
fn flat(entry: u64, gdt: u64, code_attr: u16) -> CpuState {
    let mut state = CpuState::reset();
    let regs = &mut state.regs;
    regs.seg = [Segment { base: 0, limit: 0xffff_ffff, attr: 0xc93, selector: DATA }; 6];
    regs.seg[seg::CS] = Segment { base: 0, limit: 0xffff_ffff, attr: code_attr, selector: CODE };
    regs.gdtr = Table { base: gdt, limit: GDT_LIMIT };
    regs.idtr = Table { base: 0, limit: 0 };
    regs.cr0 = cr0::PE | cr0::ET | cr0::NE;
    regs.rip = entry;
    regs.rflags = 2;
    regs.gpr = [0; 16];
    state
}

/// After a reset on a machine without firmware, with what firmware would have set of system-management mode.
pub fn after_reset((place, closed): (u64, bool)) -> CpuState {
    let mut state = CpuState::reset();
    set_management(&mut state, place, closed);
    state
}

/// Linux's entry of 64 bits, or of 32 (boot protocol, "64-bit Boot Protocol" and "32-bit Boot Protocol").
pub fn linux(ram: &GuestRam, entry: u64, is_64: bool) -> Result<CpuState, MachineError> {
    if is_64 {
        write_tables(ram)?;
        return Ok(long_mode(entry));
    }
    let mut state = protected_mode(entry);
    state.regs.gpr[gpr::RSI] = layout::ZERO_PAGE;
    Ok(state)
}

fn long_mode(entry: u64) -> CpuState {
    let mut state = flat(entry, layout::GDT, 0xa9b);
    let regs = &mut state.regs;
    regs.cr0 |= cr0::PG | cr0::WP;
    regs.cr3 = layout::PAGE_TABLES;
    regs.cr4 = cr4::PAE;
    regs.efer = efer::LME | efer::LMA;
    regs.gpr[gpr::RSI] = layout::ZERO_PAGE;
    regs.gpr[gpr::RSP] = layout::BOOT_STACK;
    state
}

fn protected_mode(entry: u64) -> CpuState {
    flat(entry, GDT_32_PLACE, 0xc9b)
}

/// Multiboot's machine state (Multiboot 0.6.96, 3.2).
pub fn multiboot(entry: u64, information: u64) -> CpuState {
    informed(entry, information, MULTIBOOT_MAGIC)
}

/// Multiboot 2's (Multiboot2 2.0, 3.3).
pub fn multiboot2(entry: u64, information: u64) -> CpuState {
    informed(entry, information, MULTIBOOT2_MAGIC)
}

fn informed(entry: u64, information: u64, magic: u64) -> CpuState {
    let mut state = protected_mode(entry);
    state.regs.gpr[gpr::RAX] = magic;
    state.regs.gpr[gpr::RBX] = information;
    state
}

/// PVH's (Xen, docs/misc/pvh.pandoc): a task register of 32 bits besides.
pub fn pvh(entry: u64, information: u64) -> CpuState {
    let mut state = protected_mode(entry);
    state.regs.gpr[gpr::RBX] = information;
    state.regs.tr = Segment { base: 0, limit: 0x67, attr: 0x8b, selector: 0 };
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use ireko_vmcore::Memory;
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn the_page_tables_map_every_address_to_itself() {
        let memory = Memory::new(&[(0, 0x10_0000)]).unwrap();
        write_tables(memory.ram()).unwrap();
        let entry = |address: u64| memory.ram().read_obj::<u64>(GuestAddress(address)).unwrap();
        let address = 0xfee0_0000u64;
        let directory = entry((entry(layout::PAGE_TABLES) & !0xfff) + (address >> 30) * 8) & !0xfff;
        assert_eq!(entry(directory + (address >> 21 & 511) * 8) & !0x1f_ffff, address);
    }

    #[test]
    fn the_code_segment_is_what_the_gdt_says() {
        // Access byte and flags of the descriptor (APM vol. 2, figure 4-20) are the hidden attributes.
        let attr = |descriptor: u64| (descriptor >> 40 & 0xff | descriptor >> 44 & 0xf00) as u16;
        assert_eq!(long_mode(0).regs.seg[seg::CS].attr, attr(CODE_64));
        assert_eq!(protected_mode(0).regs.seg[seg::CS].attr, attr(CODE_32));
        assert_eq!(long_mode(0).regs.seg[seg::DS].attr, attr(DATA_32));
    }

    #[test]
    fn a_multiboot_kernel_starts_without_paging() {
        let state = multiboot(0x10_0000, 0);
        assert!(!state.regs.paging() && state.regs.protected());
        assert_eq!(state.regs.gpr[gpr::RAX], 0x2bad_b002);
    }
}
