//! The MSRs that do something. `None` is #GP(0).

use crate::{Cpu, Next};
use ireko_x86::bits::efer;
use ireko_x86::msr;
use ireko_x86::paging::PHYSICAL_MASK;

// ---- time ----

/// The counter of the current world, as RDTSC gives it.
pub fn read_tsc(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.tsc())
}

/// A guest's write, too, sets the processor's own counter (APM vol. 2, 15.30.5).
pub fn write_tsc(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    let moved = cpu.tsc.write(value);
    cpu.msrs.tsc_adjust = cpu.msrs.tsc_adjust.wrapping_add(moved);
    cpu.apic.tsc_moved(cpu.tsc);
    Some(Next::Resync)
}

pub fn read_tsc_adjust(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.msrs.tsc_adjust)
}

/// Moves the counter by as much as this register changes (SDM vol. 3, 18.17.3).
pub fn write_tsc_adjust(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    let delta = value.wrapping_sub(cpu.msrs.tsc_adjust);
    cpu.msrs.tsc_adjust = value;
    cpu.tsc.move_by(delta);
    cpu.apic.tsc_moved(cpu.tsc);
    Some(Next::Resync)
}

pub fn read_deadline(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.apic.deadline())
}

pub fn write_deadline(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    cpu.apic.set_deadline(value);
    Some(Next::Resync)
}

// ---- local APIC ----

pub fn read_apic_base(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.apic.base())
}

/// The APIC's page may have moved, so what was translated to it or from it is forgotten.
pub fn write_apic_base(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    cpu.apic.set_base(value)?;
    cpu.flush_tlb(false);
    Some(Next::Resync)
}

pub fn read_x2apic(cpu: &mut Cpu, number: u32) -> Option<u64> {
    cpu.apic.read_msr(number)
}

pub fn write_x2apic(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    cpu.apic.write_msr(number, value)?;
    Some(Next::Resync)
}

// ---- memory types ----

pub fn read_mtrr(cpu: &mut Cpu, number: u32) -> Option<u64> {
    cpu.msrs.mtrrs.read(number, cpu.msrs.syscfg)
}

pub fn write_mtrr(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    cpu.msrs.mtrrs.write(number, value, cpu.msrs.syscfg)?;
    Some(Next::Advance)
}

// ---- EFER ----

pub fn read_efer(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.regs.efer)
}

/// APM vol. 2, 3.1.7: reserved bits, and LME while paging, are #GP; LMA is the processor's own.
pub fn write_efer(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    let old = cpu.regs.efer;
    let new = value & !efer::LMA | old & efer::LMA;
    let changed = old ^ new;
    let svm_disabled = cpu.msrs.vm_cr & msr::VM_CR_SVMDIS != 0;
    if new & !cpu.model.efer() != 0
        || changed & efer::LME != 0 && cpu.regs.paging()
        || changed & new & efer::SVME != 0 && svm_disabled
    {
        return None;
    }
    cpu.regs.efer = new;
    if changed & efer::NXE != 0 {
        cpu.flush_tlb(false);
    }
    Some(Next::Resync)
}

// ---- AMD-V (APM vol. 2, 15.30) ----

fn nested(cpu: &Cpu) -> Option<()> {
    (cpu.model.efer() & efer::SVME != 0).then_some(())
}

pub fn read_vm_cr(cpu: &mut Cpu, _: u32) -> Option<u64> {
    nested(cpu).map(|()| cpu.msrs.vm_cr)
}

/// SVMDIS cannot be changed once locked, nor set while EFER.SVME is.
pub fn write_vm_cr(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    nested(cpu)?;
    let old = cpu.msrs.vm_cr;
    let kept = if old & msr::VM_CR_LOCK != 0 { msr::VM_CR_LOCK | msr::VM_CR_SVMDIS } else { 0 };
    let new = value & !kept | old & kept;
    if value & !msr::VM_CR_BITS != 0 || new & msr::VM_CR_SVMDIS != 0 && cpu.regs.efer & efer::SVME != 0 {
        return None;
    }
    cpu.msrs.vm_cr = new;
    Some(Next::Advance)
}

pub fn read_hsave(cpu: &mut Cpu, _: u32) -> Option<u64> {
    nested(cpu).map(|()| cpu.msrs.vm_hsave_pa)
}

/// A page of physical memory.
pub fn write_hsave(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    nested(cpu)?;
    cpu.msrs.vm_hsave_pa = (value & !(PHYSICAL_MASK & !0xfff) == 0).then_some(value)?;
    Some(Next::Advance)
}

pub fn read_tsc_ratio(cpu: &mut Cpu, _: u32) -> Option<u64> {
    nested(cpu).map(|()| cpu.msrs.tsc_ratio)
}

/// 8.32 fixed point.
pub fn write_tsc_ratio(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    nested(cpu)?;
    cpu.msrs.tsc_ratio = (value >> 40 == 0).then_some(value)?;
    Some(Next::Advance)
}
