//! The code that runs is what lies at RIP now, for this address space and in this mode: pages that change under code which was found before.

use crate::Cpu;
use crate::control_registers::load_cr3;
use crate::system::bench::*;
use crate::{msr, system};
use ireko_x86::bits::cr4;
use ireko_x86::msr::{SMM_ADDR, SMM_MASK};
use ireko_x86::regs::gpr;

/// Where the bench has its page tables; those of a second address space lie behind them.
const TABLES: u64 = 0x1_0000;
const OTHER: u64 = TABLES + 0x4000;
/// A page table of each, for the first 2 MiB.
const SMALL: u64 = TABLES + 0x3000;
const OTHER_SMALL: u64 = TABLES + 0x7000;
const USER: u64 = 7;
const KERNEL: u64 = 3;
const GLOBAL: u64 = 0x100;
const LARGE: u64 = 0x80;

/// In 64-bit mode, the first 2 MiB mapped by small pages to themselves, in both address spaces.
fn machine(rights: u64) -> Cpu {
    let mut cpu = long();
    write(&mut cpu, HANDLER, &[0xf4; 0x1000]);
    for page in 0..256u64 {
        write64(&mut cpu, SMALL + 8 * page, page << 12 | rights);
        write64(&mut cpu, OTHER_SMALL + 8 * page, page << 12 | rights);
    }
    write64(&mut cpu, TABLES + 0x2000, SMALL | USER);
    for table in [OTHER, OTHER + 0x1000, OTHER + 0x2000] {
        write64(&mut cpu, table, (table + 0x1000) | USER);
    }
    cpu.processor.regs.cr4 |= cr4::PGE;
    cpu.flush_tlb(false);
    cpu
}

/// What is in RAX after code ran at an address up to its INT3, or to where it could not go on.
fn rax(cpu: &mut Cpu, rip: u64, cpl: u8) -> u64 {
    set_level(cpu, cpl);
    let regs = &mut cpu.processor.regs;
    (regs.rip, regs.rflags, regs.gpr[gpr::RAX]) = (rip, 2, 0);
    regs.gpr[gpr::RSP] = if cpl == 0 { STACK } else { 0x7_0000 };
    let _ = cpu.run_blocks();
    cpu.processor.regs.gpr[gpr::RAX]
}

/// MOV EAX, 0x5ec; INT3.
const SECRET: [u8; 6] = [0xb8, 0xec, 5, 0, 0, 0xcc];
const HIDDEN: u64 = 0x8_0000;

/// Lets system-management mode, of which alone the page at [`HIDDEN`] is, do something at the level and with the tables of now.
fn in_mode(cpu: &mut Cpu, what: impl FnOnce(&mut Cpu)) {
    msr::write(cpu, SMM_ADDR, HIDDEN).unwrap();
    msr::write(cpu, SMM_MASK, 0xffff_fffe_0002).unwrap();
    let outside = cpu.processor.regs;
    cpu.enter_smm();
    cpu.processor.regs = ireko_x86::Registers { smbase: cpu.processor.regs.smbase, ..outside };
    cpu.flush_tlb(false);
    what(cpu);
    system::bench::run(cpu, &[0x0f, 0xaa]).unwrap();
    assert!(cpu.processor.smm.is_none());
}

/// APM vol. 2, 10.2.5.
#[test]
fn what_the_mode_ran_is_reached_by_no_jump_outside() {
    let mut cpu = machine(USER);
    write(&mut cpu, HIDDEN + 0x100, &SECRET);
    // JMP to it, so near the end of the page in front that what comes next is looked at.
    write(&mut cpu, HIDDEN - 12, &[0xe9, 7, 1, 0, 0]);
    in_mode(&mut cpu, |cpu| assert_eq!(rax(cpu, HIDDEN + 0x100, 3), 0x5ec));
    assert_eq!(rax(&mut cpu, HIDDEN + 0x100, 3), 0);
    cpu.flush_tlb(false);
    assert_eq!(rax(&mut cpu, HIDDEN - 12, 3), 0);
}

#[test]
fn no_instruction_goes_on_in_what_is_hidden() {
    for cpl in [0, 3] {
        let mut cpu = machine(if cpl == 0 { KERNEL } else { USER });
        write(&mut cpu, HIDDEN - 1, &SECRET[..1]);
        write(&mut cpu, HIDDEN, &SECRET[1..]);
        in_mode(&mut cpu, |cpu| assert_eq!(rax(cpu, HIDDEN - 1, cpl), 0x5ec));
        assert_eq!(rax(&mut cpu, HIDDEN - 1, cpl), 0, "CPL {cpl}");
    }
}

#[test]
fn an_instruction_from_a_global_page_into_a_local_one_is_each_address_spaces_own() {
    for pcid in [0, 1] {
        let mut cpu = machine(KERNEL | GLOBAL);
        cpu.processor.regs.cr4 |= if pcid == 0 { 0 } else { cr4::PCIDE };
        write64(&mut cpu, SMALL + 8 * 0x61, 0x7_0000 | KERNEL);
        write64(&mut cpu, OTHER_SMALL + 8 * 0x61, 0x7_1000 | KERNEL);
        // MOV EAX, 1 or 2; INT3. And a jump to it from another page.
        write(&mut cpu, 0x6_0fff, &[0xb8]);
        write(&mut cpu, 0x7_0000, &[1, 0, 0, 0, 0xcc]);
        write(&mut cpu, 0x7_1000, &[2, 0, 0, 0, 0xcc]);
        write(&mut cpu, 0x6_2000, &[0xe9, 0xfa, 0xef, 0xff, 0xff]);
        for rip in [0x6_0fff, 0x6_2000] {
            let seen = [TABLES, OTHER | pcid, TABLES, OTHER | pcid].map(|root| {
                load_cr3(&mut cpu, root, false).unwrap();
                rax(&mut cpu, rip, 0)
            });
            assert_eq!(seen, [1, 2, 1, 2], "PCID {pcid}, from {rip:#x}");
        }
    }
}

/// APM vol. 3, INVLPG: the whole page, of whatever size, whichever of its addresses is named.
#[test]
fn code_of_a_large_global_page_is_forgotten_by_any_of_its_addresses() {
    let mut cpu = machine(USER);
    cpu.processor.regs.cr4 |= cr4::PCIDE;
    write64(&mut cpu, TABLES + 0x2008, LARGE | GLOBAL | USER);
    write64(&mut cpu, OTHER + 0x2008, LARGE | GLOBAL | USER);
    for (page, value) in [(0x7_0000, 1), (0x7_1000, 2)] {
        write(&mut cpu, page + 0x100, &[0xb8, value, 0, 0, 0, 0xcc]);
    }
    let first = rax(&mut cpu, 0x27_0100, 3);
    load_cr3(&mut cpu, OTHER | 1, false).unwrap();
    let second = rax(&mut cpu, 0x27_0100, 3);
    for page in 0..512 {
        write64(&mut cpu, TABLES + 0x8000 + 8 * page, 0x7_1000 | USER);
    }
    write64(&mut cpu, OTHER + 0x2008, (TABLES + 0x8000) | USER);
    cpu.flush_page(0x20_5000);
    assert_eq!([first, second, rax(&mut cpu, 0x27_0100, 3)], [1, 1, 2]);
}

/// The last instruction of a page is CLAC or STAC, and the next page is not global, so that the way there is by table.
#[test]
fn behind_clac_at_a_pages_end_no_page_of_programs_is_reached() {
    let mut cpu = machine(KERNEL);
    write64(&mut cpu, SMALL + 8 * 0x70, 0x7_0000 | USER);
    cpu.processor.regs.cr4 |= cr4::SMAP;
    cpu.flush_tlb(false);
    write(&mut cpu, 0x7_0000, &[0x77, 0, 0, 0]);
    // CLAC or STAC; MOV EAX, [0x70000]; HLT
    let load = [0x8b, 0x04, 0x25, 0, 0, 7, 0, 0xf4];
    for (page, last) in [(0x6_0000, 0xca), (0x6_3000, 0xcb)] {
        write(&mut cpu, page + 0xffd, &[0x0f, 0x01, last]);
        write(&mut cpu, page + 0x1000, &load);
    }
    let mut seen = |rip: u64, allowed: bool| {
        set_level(&mut cpu, 0);
        let regs = &mut cpu.processor.regs;
        (regs.rip, regs.rflags) = (rip, 2 | if allowed { 0x4_0000 } else { 0 });
        (regs.gpr[gpr::RAX], regs.gpr[gpr::RSP]) = (0, STACK);
        cpu.processor.halted = false;
        let _ = cpu.run_blocks();
        cpu.processor.regs.gpr[gpr::RAX]
    };
    assert_eq!((seen(0x6_1000, true), seen(0x6_4000, false)), (0x77, 0));
    assert_eq!([(); 3].map(|()| seen(0x6_0ffd, true)), [0; 3]);
    assert_eq!([(); 3].map(|()| seen(0x6_3ffd, false)), [0x77; 3]);
}
