//! RDTSC, RDTSCP, RDPID, RDPMC.

use crate::processor::counters::ALWAYS;
use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_nested::Intercept;
use ireko_x86::bits::cr4;
use ireko_x86::cpuid::PERFCTR_CORE;
use ireko_x86::regs::gpr;

/// CR4.TSD keeps programs away from the counter (APM vol. 2, 3.1.3).
fn allowed(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.cr4 & cr4::TSD != 0 { cpu.kernel_only() } else { Ok(()) }
}

fn read(cpu: &mut Cpu) {
    let tsc = cpu.tsc();
    cpu.processor.regs.gpr[gpr::RAX] = tsc & 0xffff_ffff;
    cpu.processor.regs.gpr[gpr::RDX] = tsc >> 32;
}

pub fn rdtsc(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    allowed(cpu)?;
    cpu.intercept(Intercept::Rdtsc)?;
    read(cpu);
    Ok(Next::Advance)
}

pub fn rdtscp(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    allowed(cpu)?;
    cpu.intercept(Intercept::Rdtscp)?;
    read(cpu);
    cpu.processor.regs.gpr[gpr::RCX] = cpu.processor.regs.tsc_aux & 0xffff_ffff;
    Ok(Next::Advance)
}

pub fn rdpid(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let id = cpu.processor.regs.tsc_aux & 0xffff_ffff;
    cpu.set_gpr(insn.op0_register(), id);
    Ok(Next::Advance)
}

/// The counter of index ECX (APM vol. 3, RDPMC).
pub fn rdpmc(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    if cpu.processor.regs.cr4 & cr4::PCE == 0 {
        cpu.kernel_only()?;
    }
    cpu.intercept(Intercept::Rdpmc)?;
    let index = cpu.processor.regs.gpr[gpr::RCX] as u32;
    if index >= ALWAYS && !cpu.processor.model.has(PERFCTR_CORE) {
        return Err(Fault::gp(0));
    }
    let value =
        cpu.processor.msrs.counters.count(index, cpu.platform.counter.running()).ok_or(Fault::gp(0))?;
    cpu.processor.regs.gpr[gpr::RAX] = value & 0xffff_ffff;
    cpu.processor.regs.gpr[gpr::RDX] = value >> 32;
    Ok(Next::Advance)
}
