//! System-management mode on the bench.

use super::*;
use crate::msr;
use crate::system::bench::*;
use ireko_nested::Exit;
use ireko_x86::apic::base;
use ireko_x86::msr::{APIC_BASE, HWCR, SMM_ADDR, SMM_BASE, SMM_MASK};
use ireko_x86::regs::gpr;

const RSM: [u8; 2] = [0x0f, 0xaa];
const BASE: u64 = smram::BASE;

#[test]
fn the_handler_starts_in_its_segment_with_all_of_memory() {
    let mut cpu = long();
    cpu.processor.regs.gpr[gpr::RDX] = 0x1234;
    cpu.enter_smm();
    let regs = &cpu.processor.regs;
    assert_eq!((regs.rip, regs.seg[seg::CS].base, regs.seg[seg::CS].selector), (0x8000, BASE, 0x3000));
    assert_eq!((regs.seg[seg::DS].base, regs.seg[seg::DS].limit), (0, u32::MAX));
    assert_eq!((regs.cr0 & (cr0::PE | cr0::PG), regs.cr4, regs.efer, regs.rflags), (0, 0, 0, 2));
    assert!(cpu.processor.nmi_blocked);
    assert_eq!(read64(&mut cpu, BASE + smram::RIP), CODE);
    assert_eq!(read64(&mut cpu, BASE + general(gpr::RDX)), 0x1234);
    assert_eq!(read32(&mut cpu, BASE + smram::REVISION), 0x2_0064);
}

#[test]
fn rsm_brings_everything_back() {
    for mut cpu in [long(), protected(), real()] {
        cpu.processor.regs.dr7 = 0x401;
        let before = cpu.processor.regs;
        cpu.enter_smm();
        run(&mut cpu, &RSM).unwrap();
        assert_eq!(cpu.processor.regs, before);
        assert!(cpu.processor.smm.is_none() && !cpu.processor.nmi_blocked);
    }
}

#[test]
fn a_handler_changes_what_it_goes_back_to() {
    let mut cpu = protected();
    cpu.enter_smm();
    write64(&mut cpu, BASE + general(gpr::RAX), 0x77);
    write(&mut cpu, BASE + smram::SMBASE, &0x4_0000u32.to_le_bytes());
    run(&mut cpu, &RSM).unwrap();
    assert_eq!((cpu.processor.regs.gpr[gpr::RAX], cpu.processor.regs.smbase), (0x77, 0x4_0000));
}

#[test]
fn a_halted_processor_halts_again_unless_the_handler_says_no() {
    for asked in [true, false] {
        let mut cpu = protected();
        cpu.processor.halted = true;
        cpu.enter_smm();
        assert!(!cpu.processor.halted);
        if !asked {
            write(&mut cpu, BASE + smram::AUTO_HALT, &[0]);
        }
        run(&mut cpu, &RSM).unwrap();
        assert_eq!(cpu.processor.halted, asked);
    }
}

/// APM vol. 2, 10.3.5.
#[test]
fn a_state_that_cannot_be_is_a_shutdown() {
    for (at, value) in
        [(smram::CR0, 1 << 31), (smram::CR4, 1 << 50), (smram::EFER, 1 << 10), (smram::DR7, 1 << 33)]
    {
        let mut cpu = protected();
        cpu.enter_smm();
        write64(&mut cpu, BASE + at, value);
        assert_eq!(run(&mut cpu, &RSM), Err(Fault::Shutdown), "{at:#x}");
    }
}

/// APM vol. 2, 15.13.2: an SMI goes to the hypervisor, and stays pending.
#[test]
fn a_hypervisor_may_have_the_smi() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::Smi]);
    assert_eq!(cpu.smi(), Err(Fault::Exit(Exit::Plain(Intercept::Smi))));
    assert!(cpu.processor.smm.is_none());
}

#[test]
fn a_guest_goes_on_as_one_after_an_smi() {
    let mut cpu = long();
    guest(&mut cpu, &[]);
    cpu.processor.gif = false;
    cpu.enter_smm();
    assert!(cpu.control().is_none());
    assert_eq!(read64(&mut cpu, BASE + smram::SVM_GUEST), 1);
    run(&mut cpu, &RSM).unwrap();
    assert!(cpu.control().is_some() && !cpu.processor.gif);
}

/// APM vol. 2, 10.2.5: the segment of SMM_ADDR and SMM_MASK is memory in the mode only.
#[test]
fn memory_of_the_mode_is_not_there_outside() {
    let mut cpu = protected();
    write64(&mut cpu, 0x8_0000, 0x55);
    write64(&mut cpu, 0xa_0000, 0x66);
    msr::write(&mut cpu, SMM_ADDR, 0x8_0000).unwrap();
    msr::write(&mut cpu, SMM_MASK, 0xffff_fffe_0003).unwrap();
    assert_eq!((read64(&mut cpu, 0x8_0000), read64(&mut cpu, 0xa_0000)), (u64::MAX, u64::MAX));
    write64(&mut cpu, 0x8_0000, 0x77);
    cpu.enter_smm();
    assert_eq!((read64(&mut cpu, 0x8_0000), read64(&mut cpu, 0xa_0000)), (0x55, 0x66));
    run(&mut cpu, &RSM).unwrap();
    assert_eq!(read64(&mut cpu, 0x8_0000), u64::MAX);
}

#[test]
fn a_lock_keeps_the_registers_of_the_mode() {
    let mut cpu = protected();
    msr::write(&mut cpu, HWCR, 1).unwrap();
    assert_eq!(msr::write(&mut cpu, SMM_MASK, 0), Err(Fault::gp(0)));
    msr::write(&mut cpu, HWCR, 0).unwrap();
    assert_eq!(msr::read(&mut cpu, HWCR).unwrap() & 1, 1);
}

#[test]
fn a_locked_chipset_keeps_them_outside_of_the_mode() {
    let mut cpu = protected();
    cpu.mmu.physical.memory().lock(true);
    assert_eq!(msr::write(&mut cpu, SMM_BASE, 0x4_0000), Err(Fault::gp(0)));
    cpu.enter_smm();
    msr::write(&mut cpu, SMM_BASE, 0x4_0000).unwrap();
    assert_eq!(cpu.processor.regs.smbase, 0x4_0000);
}

#[test]
fn registers_of_the_apic_do_not_cover_the_memory_of_the_mode() {
    let mut cpu = protected();
    write64(&mut cpu, 0x8_0080, 0x55);
    cpu.mmu.physical.memory().hide([0x8_0000..0x9_0000, 0..0]);
    msr::write(&mut cpu, APIC_BASE, 0x8_0000 | base::EN | base::BSP).unwrap();
    assert_ne!(read64(&mut cpu, 0x8_0080), 0x55);
    cpu.enter_smm();
    assert_eq!(read64(&mut cpu, 0x8_0080), 0x55);
}
