//! LDMXCSR and STMXCSR, and their AVX forms, where the host has no MXCSR.MM (APM vol. 1, 4.3.2; vol. 4). Elsewhere they are copied.
//!
//! While a guest has MM on, all its accesses go by the slow routine (`crate::slow`), which gives an aligned copy of what may
//! be misaligned.

use super::vector;
use super::xsave_area as area;
use crate::routine::Routine;
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, EncodingKind, Instruction, Mnemonic};

pub fn routine(code: Code) -> Option<Routine> {
    match code.mnemonic() {
        Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr => Some(load),
        Mnemonic::Stmxcsr | Mnemonic::Vstmxcsr => Some(store),
        _ => None,
    }
}

fn available(cpu: &Cpu, insn: &Instruction) -> Result<(), Fault> {
    match insn.code().encoding() {
        EncodingKind::VEX => vector::require_avx(cpu),
        _ => vector::require_sse(cpu),
    }
}

fn load(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    available(cpu, insn)?;
    let value = cpu.read_operand(insn, 0, 4)? as u32;
    if value & !area::mxcsr_mask(cpu) != 0 {
        return Err(Fault::gp(0));
    }
    Ok(area::set_mxcsr(cpu, value))
}

fn store(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    available(cpu, insn)?;
    cpu.write_operand(insn, 0, 4, area::mxcsr_value(cpu).into())?;
    Ok(Next::Advance)
}
