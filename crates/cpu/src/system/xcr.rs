//! XSETBV and XGETBV (APM vol. 2, 11.5.2).

use crate::xstate::{AVX, AVX512, SSE, X87};
use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_nested::Intercept;
use ireko_x86::bits::cr4;
use ireko_x86::cpuid::XGETBV1;
use ireko_x86::regs::gpr;

fn offered(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.cr4 & cr4::OSXSAVE != 0 { Ok(()) } else { Err(Fault::ud()) }
}

fn index(cpu: &Cpu) -> u64 {
    cpu.processor.regs.gpr[gpr::RCX] & 0xffff_ffff
}

pub fn xsetbv(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    offered(cpu)?;
    cpu.kernel_only()?;
    cpu.intercept(Intercept::Xsetbv)?;
    let value = cpu.processor.regs.gpr[gpr::RDX] << 32 | cpu.processor.regs.gpr[gpr::RAX] & 0xffff_ffff;
    let wide = value & AVX512 == 0 || value & AVX512 == AVX512 && value & AVX != 0;
    let agrees = value & X87 != 0 && (value & AVX == 0 || value & SSE != 0) && wide;
    if index(cpu) != 0 || !agrees || value & !cpu.processor.model.xcr0() != 0 {
        return Err(Fault::gp(0));
    }
    cpu.processor.regs.xcr0 = value;
    Ok(Next::Resync)
}

/// Index 1 tells which components are in use; to say all of them is always right.
pub fn xgetbv(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    offered(cpu)?;
    if index(cpu) > u64::from(cpu.processor.model.has(XGETBV1)) {
        return Err(Fault::gp(0));
    }
    cpu.processor.regs.gpr[gpr::RAX] = cpu.processor.regs.xcr0 & 0xffff_ffff;
    cpu.processor.regs.gpr[gpr::RDX] = cpu.processor.regs.xcr0 >> 32;
    Ok(Next::Advance)
}
