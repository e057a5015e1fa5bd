//! SSE4A for hosts that lack it: EXTRQ, INSERTQ, MOVNTSS and MOVNTSD (APM vol. 4). Where the host has it, they are copied.

use super::vector::{self, element};
use crate::routine::Routine;
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction};
use std::arch::is_x86_feature_detected as host;

/// The routine of an SSE4A instruction, if it needs one here.
pub fn routine(code: Code) -> Option<Routine> {
    if host!("sse4a") { None } else { missing(code) }
}

fn missing(code: Code) -> Option<Routine> {
    use Code::*;
    Some(match code {
        Extrq_xmm_imm8_imm8 | Extrq_xmm_xmm => extrq,
        Insertq_xmm_xmm_imm8_imm8 | Insertq_xmm_xmm => insertq,
        Movntss_m32_xmm => movntss,
        Movntsd_m64_xmm => movntsd,
        _ => return None,
    })
}

/// Length and index of a bit field, each six bits; a length of 0 is 64.
struct Field {
    mask: u64,
    index: u32,
}

impl Field {
    fn new(length: u64, index: u64) -> Self {
        let length = (length & 63) as u32;
        Self { mask: u64::MAX >> ((64 - length) & 63), index: (index & 63) as u32 }
    }

    /// From two bytes of a register.
    fn packed(word: u64) -> Self {
        Self::new(word, word >> 8)
    }

    fn immediate(insn: &Instruction) -> Self {
        Self::new(insn.immediate8().into(), insn.immediate8_2nd().into())
    }
}

/// Writes the low quadword of operand 0. The high one, which the manual leaves undefined, is 0 on silicon (family 19h).
fn write(cpu: &mut Cpu, insn: &Instruction, value: u64) {
    vector::write_low(cpu, insn.op0_register(), &u128::from(value).to_le_bytes());
}

fn extrq(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    vector::require_sse(cpu)?;
    let field = match insn.code() {
        Code::Extrq_xmm_xmm => Field::packed(element(&vector::read(cpu, insn.op1_register()), 0, 8)),
        _ => Field::immediate(insn),
    };
    let value = element(&vector::read(cpu, insn.op0_register()), 0, 8);
    write(cpu, insn, value >> field.index & field.mask);
    Ok(Next::Advance)
}

fn insertq(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    vector::require_sse(cpu)?;
    let source = vector::read(cpu, insn.op1_register());
    let field = match insn.code() {
        Code::Insertq_xmm_xmm => Field::packed(element(&source, 1, 8)),
        _ => Field::immediate(insn),
    };
    let value = element(&vector::read(cpu, insn.op0_register()), 0, 8);
    let inserted = (element(&source, 0, 8) & field.mask) << field.index;
    write(cpu, insn, value & !(field.mask << field.index) | inserted);
    Ok(Next::Advance)
}

fn store(cpu: &mut Cpu, insn: &Instruction, size: usize) -> Result<Next, Fault> {
    vector::require_sse(cpu)?;
    let value = element(&vector::read(cpu, insn.op1_register()), 0, size);
    cpu.write_operand(insn, 0, size, value)?;
    Ok(Next::Advance)
}

fn movntss(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    store(cpu, insn, 4)
}

fn movntsd(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    store(cpu, insn, 8)
}

#[cfg(test)]
#[path = "sse4a_tests.rs"]
mod tests;
