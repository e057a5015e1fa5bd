//! Instructions with a parked register (one that lies in the bank) as their operand in memory, where they have such a form: one
//! instruction instead of a load, the instruction, and a store.
//!
//! What is written is always the whole register: a write of 32 bits clears those above, which an operand in memory does not,
//! and one of fewer would be read together with what was there before.

use crate::ea;
use crate::layout::PINNED;
use iced_x86::{Code, Instruction, OpKind, Register};

/// The instruction with its one parked register in memory; `None` if there is no such form, or more of them. Its other registers are still
/// the guest's.
pub(crate) fn in_bank(insn: &Instruction) -> Option<Instruction> {
    let parked = |n: &u32| {
        insn.op_kind(*n) == OpKind::Register
            && insn.op_register(*n).is_gpr()
            && PINNED[insn.op_register(*n).full_register().number()].is_none()
    };
    let mut operands = (0..insn.op_count()).filter(parked);
    let operand = operands.next()?;
    if operands.next().is_some() {
        return None;
    }
    let code = form(insn.code(), operand)?;
    let place = ea::parked(insn.op_register(operand).full_register().number());
    let mut out = *insn;
    out.set_code(code);
    out.set_op_kind(operand, OpKind::Memory);
    // In front of a register it meant nothing.
    out.set_segment_prefix(Register::None);
    out.set_memory_base(Register::RSP);
    out.set_memory_index(Register::None);
    out.set_memory_displacement64(place.disp as u64);
    out.set_memory_displ_size(1);
    Some(out)
}

/// The form of an instruction whose operand number `operand` is in memory.
fn form(code: Code, operand: u32) -> Option<Code> {
    use Code::*;
    // Both ways round of an instruction with two operands: which one is in memory, and what is that called.
    macro_rules! both_ways {
        ($($to_memory:ident $from_memory:ident),*) => {
            match (code, operand) {
                $(($to_memory | $from_memory, 0) => return Some($to_memory),
                  ($to_memory | $from_memory, 1) => return Some($from_memory),)*
                _ => {}
            }
        };
    }
    macro_rules! from_memory {
        ($($other:ident $from_memory:ident),*) => {
            match (code, operand) {
                $(($other | $from_memory, 1) => return Some($from_memory),)*
                _ => {}
            }
        };
    }
    both_ways!(
        Add_rm64_r64 Add_r64_rm64, Or_rm64_r64 Or_r64_rm64, Adc_rm64_r64 Adc_r64_rm64,
        Sbb_rm64_r64 Sbb_r64_rm64, And_rm64_r64 And_r64_rm64, Sub_rm64_r64 Sub_r64_rm64,
        Xor_rm64_r64 Xor_r64_rm64, Mov_rm64_r64 Mov_r64_rm64, Cmp_rm64_r64 Cmp_r64_rm64,
        Cmp_rm32_r32 Cmp_r32_rm32, Cmp_rm16_r16 Cmp_r16_rm16, Cmp_rm8_r8 Cmp_r8_rm8
    );
    from_memory!(
        Add_rm32_r32 Add_r32_rm32, Or_rm32_r32 Or_r32_rm32, Adc_rm32_r32 Adc_r32_rm32,
        Sbb_rm32_r32 Sbb_r32_rm32, And_rm32_r32 And_r32_rm32, Sub_rm32_r32 Sub_r32_rm32,
        Xor_rm32_r32 Xor_r32_rm32, Mov_rm32_r32 Mov_r32_rm32
    );
    let named = match operand {
        0 => matches!(
            code,
            Add_rm64_imm8 | Add_rm64_imm32 | Or_rm64_imm8 | Or_rm64_imm32 | Adc_rm64_imm8 | Adc_rm64_imm32
                | Sbb_rm64_imm8 | Sbb_rm64_imm32 | And_rm64_imm8 | And_rm64_imm32 | Sub_rm64_imm8 | Sub_rm64_imm32
                | Xor_rm64_imm8 | Xor_rm64_imm32 | Mov_rm64_imm32 | Inc_rm64 | Dec_rm64 | Neg_rm64 | Not_rm64
                | Shl_rm64_1 | Shl_rm64_imm8 | Shr_rm64_1 | Shr_rm64_imm8 | Sar_rm64_1 | Sar_rm64_imm8
                // Read only.
                | Cmp_rm64_imm8 | Cmp_rm64_imm32 | Cmp_rm32_imm8 | Cmp_rm32_imm32 | Cmp_rm16_imm8 | Cmp_rm16_imm16 | Cmp_rm8_imm8
                | Test_rm64_imm32 | Test_rm32_imm32 | Test_rm16_imm16 | Test_rm8_imm8
                | Test_rm64_r64 | Test_rm32_r32 | Test_rm8_r8
                | Mul_rm64 | Imul_rm64
        ),
        1 => matches!(
            code,
            Imul_r64_rm64
                | Imul_r64_rm64_imm8
                | Imul_r64_rm64_imm32
                | Imul_r32_rm32
                | Imul_r32_rm32_imm8
                | Imul_r32_rm32_imm32
                | Movzx_r32_rm8
                | Movzx_r32_rm16
                | Movzx_r64_rm8
                | Movzx_r64_rm16
                | Movsx_r32_rm8
                | Movsx_r32_rm16
                | Movsx_r64_rm8
                | Movsx_r64_rm16
                | Movsxd_r64_rm32
                | Cmove_r64_rm64
                | Cmovne_r64_rm64
                | Cmovb_r64_rm64
                | Cmovae_r64_rm64
                | Cmovbe_r64_rm64
                | Cmova_r64_rm64
                | Cmovl_r64_rm64
                | Cmovge_r64_rm64
                | Cmovle_r64_rm64
                | Cmovg_r64_rm64
                | Cmovs_r64_rm64
                | Cmovns_r64_rm64
        ),
        _ => false,
    };
    named.then_some(code)
}
