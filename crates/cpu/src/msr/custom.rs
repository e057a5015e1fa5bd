//! The MSRs that do something. `None` is #GP(0).

use crate::{Cpu, Next};
use ireko_x86::bits::efer;
use ireko_x86::cpuid::{IBRS, SSBD, STIBP};
use ireko_x86::msr::{CPUID_7, HWCR_SMM_LOCK, PERF_CORE_FIRST, SMM_ADDR, SMM_BASE};

// ---- time ----

/// The counter of the current world, as RDTSC gives it.
pub fn read_tsc(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.tsc())
}

/// A guest's write, too, sets the processor's own counter (APM vol. 2, 15.30.5).
pub fn write_tsc(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    let moved = value.wrapping_sub(cpu.own_tsc().read());
    cpu.processor.msrs.tsc_adjust = cpu.processor.msrs.tsc_adjust.wrapping_add(moved);
    cpu.apic().tsc_moved();
    Some(Next::Resync)
}

pub fn read_tsc_adjust(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.processor.msrs.tsc_adjust)
}

/// Moves the counter by as much as this register changes (SDM vol. 3, 18.17.3).
pub fn write_tsc_adjust(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    cpu.processor.msrs.tsc_adjust = value;
    cpu.apic().tsc_moved();
    Some(Next::Resync)
}

pub fn read_deadline(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.apic().deadline())
}

pub fn write_deadline(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    cpu.apic().set_deadline(value);
    Some(Next::Resync)
}

// ---- local APIC ----

pub fn read_apic_base(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.processor.apic.base())
}

/// The APIC's page may have moved, so what was translated to it or from it is forgotten.
pub fn write_apic_base(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    cpu.apic().set_base(value)?;
    cpu.flush_tlb(false);
    Some(Next::Resync)
}

pub fn read_x2apic(cpu: &mut Cpu, number: u32) -> Option<u64> {
    cpu.apic().read_msr(number)
}

pub fn write_x2apic(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    cpu.apic().write_msr(number, value)?;
    Some(Next::Resync)
}

// ---- memory types ----

pub fn read_mtrr(cpu: &mut Cpu, number: u32) -> Option<u64> {
    cpu.processor.msrs.mtrrs.read(number, cpu.processor.msrs.syscfg)
}

pub fn write_mtrr(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    cpu.processor.msrs.mtrrs.write(number, value, cpu.processor.msrs.syscfg)?;
    Some(Next::Advance)
}

// ---- performance counters ----

pub fn read_counter(cpu: &mut Cpu, number: u32) -> Option<u64> {
    cpu.processor.msrs.counters.read(number, cpu.platform.counter.running())
}

pub fn write_counter(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    cpu.processor.msrs.counters.write(number, value, cpu.platform.counter.running())?;
    Some(Next::Resync)
}

/// PERFCTR_CORE's numbers: control and count in turn.
fn core_counter(number: u32) -> (u32, bool) {
    let place = number - PERF_CORE_FIRST;
    (place / 2, place.is_multiple_of(2))
}

pub fn read_core_counter(cpu: &mut Cpu, number: u32) -> Option<u64> {
    let (index, control) = core_counter(number);
    if control {
        cpu.processor.msrs.counters.control(index)
    } else {
        cpu.processor.msrs.counters.count(index, cpu.platform.counter.running())
    }
}

pub fn write_core_counter(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    let now = cpu.platform.counter.running();
    let (index, control) = core_counter(number);
    let counters = &mut cpu.processor.msrs.counters;
    if control { counters.set_control(index, value, now) } else { counters.set(index, value, now) }?;
    Some(Next::Resync)
}

// ---- speculation: taken, and nothing to do (APM vol. 2, 3.2.9) ----

/// The bits of SPEC_CTRL that this model has.
fn speculation_bits(cpu: &Cpu) -> u64 {
    let table = [(IBRS, 1 << 0), (STIBP, 1 << 1), (SSBD, 1 << 2)];
    table.iter().filter(|(feature, _)| cpu.processor.model.has(*feature)).fold(0, |sum, (_, bit)| sum | bit)
}

pub fn read_speculation(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.processor.msrs.spec_ctrl)
}

pub fn write_speculation(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    if value & !speculation_bits(cpu) != 0 {
        return None;
    }
    cpu.processor.msrs.spec_ctrl = value;
    Some(Next::Advance)
}

/// PRED_CMD can only be written.
pub fn read_prediction(_: &mut Cpu, _: u32) -> Option<u64> {
    None
}

pub fn write_prediction(_: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    const BARRIER: u64 = 1;
    (value & !BARRIER == 0).then_some(Next::Advance)
}

// ---- supervisor state: none (APM vol. 2, 11.5.11) ----

pub fn read_xss(_: &mut Cpu, _: u32) -> Option<u64> {
    Some(0)
}

pub fn write_xss(_: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    (value == 0).then_some(Next::Advance)
}

// ---- EFER ----

pub fn read_efer(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.processor.regs.efer)
}

/// APM vol. 2, 3.1.7: reserved bits, and LME while paging, are #GP; LMA is the processor's own.
pub fn write_efer(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    let old = cpu.processor.regs.efer;
    let new = value & !efer::LMA | old & efer::LMA;
    let changed = old ^ new;
    if new & !cpu.processor.model.efer() != 0
        || changed & efer::LME != 0 && cpu.processor.regs.paging()
        || changed & new & efer::SVME != 0 && !cpu.processor.virtualization.svme_allowed()
    {
        return None;
    }
    cpu.processor.regs.efer = new;
    if changed & efer::NXE != 0 {
        cpu.flush_tlb(false);
    }
    Some(Next::Resync)
}

// ---- AMD-V (APM vol. 2, 15.30) ----

pub fn read_svm(cpu: &mut Cpu, number: u32) -> Option<u64> {
    super::svm::read(cpu, number)
}

pub fn write_svm(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    super::svm::write(cpu, number, value)?.ok()?;
    Some(Next::Resync)
}

/// The last-branch records, which only the processor writes.
pub fn read_lbr(cpu: &mut Cpu, number: u32) -> Option<u64> {
    cpu.processor.regs.lbr.get((number - ireko_x86::msr::LBR_FIRST) as usize).copied()
}

pub fn write_lbr(_: &mut Cpu, _: u32, _: u64) -> Option<Next> {
    Some(Next::Advance)
}

// ---- system-management mode ----

fn smm(cpu: &mut Cpu, number: u32) -> &mut u64 {
    match number {
        SMM_BASE => &mut cpu.processor.regs.smbase,
        SMM_ADDR => &mut cpu.processor.regs.smm_addr,
        _ => &mut cpu.processor.regs.smm_mask,
    }
}

pub fn read_smm(cpu: &mut Cpu, number: u32) -> Option<u64> {
    Some(*smm(cpu, number))
}

/// Locked by HWCR.SmmLock (APM vol. 2, 10.2.5). Firmware that knows chipsets only locks those: outside of the mode that holds here, too, or
/// whoever moves SMBASE has a handler of his own.
pub fn write_smm(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    let outside = cpu.processor.smm.is_none() && cpu.mmu.physical.memory().attributes().locked();
    if outside || cpu.processor.msrs.hwcr & HWCR_SMM_LOCK != 0 {
        return None;
    }
    *smm(cpu, number) = if number == SMM_BASE { value & 0xffff_ffff } else { value & 0xffff_ffff_ffff };
    cpu.see_smram();
    cpu.flush_asid(ireko_nested::Flush::All);
    cpu.flush_tlb(false);
    Some(Next::Resync)
}

pub fn read_hwcr(cpu: &mut Cpu, _: u32) -> Option<u64> {
    Some(cpu.processor.msrs.hwcr)
}

/// SmmLock can be set, but only RESET clears it.
pub fn write_hwcr(cpu: &mut Cpu, _: u32, value: u64) -> Option<Next> {
    if value >> 32 != 0 {
        return None;
    }
    cpu.processor.msrs.hwcr = value | cpu.processor.msrs.hwcr & HWCR_SMM_LOCK;
    Some(Next::Advance)
}

/// P0: the frequency that the TSC counts at, as a multiple of 25 MHz with divisor 8, which is 1 (processor programming references
/// of families 17h and 19h, MSRC001_0064).
pub fn read_pstate(cpu: &mut Cpu, _: u32) -> Option<u64> {
    const ENABLED: u64 = 1 << 63;
    let frequency = (cpu.platform.counter.khz() + 12_500) / 25_000;
    Some(ENABLED | 8 << 8 | frequency.min(255))
}

/// Written in vain: the frequency is the host's.
pub fn write_pstate(_: &mut Cpu, _: u32, _: u64) -> Option<Next> {
    Some(Next::Advance)
}

pub fn read_levelling(cpu: &mut Cpu, number: u32) -> Option<u64> {
    Some(cpu.levelling((number - CPUID_7) as usize))
}

pub fn write_levelling(cpu: &mut Cpu, number: u32, value: u64) -> Option<Next> {
    cpu.processor.msrs.levelling[(number - CPUID_7) as usize] = Some(value);
    Some(Next::Advance)
}
