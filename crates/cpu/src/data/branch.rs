//! Near transfers of control in every mode: RIP cut to the operand size, CS limit or canonical form checked before
//! anything is committed (APM vol. 2, 4.12 and 5.3.1).

use crate::operand::mask;
use crate::{Cpu, Fault, Next};
use iced_x86::{ConditionCode, Instruction, Mnemonic, OpKind, Register};
use ireko_x86::bits::rflags::{CF, OF, PF, SF, ZF};
use ireko_x86::regs::seg;

/// `target` cut to `size` bytes, if the code segment reaches it.
pub fn check_target(cpu: &Cpu, size: usize, target: u64) -> Result<u64, Fault> {
    let target = target & mask(size);
    let reachable = if cpu.processor.regs.code64() {
        cpu.processor.regs.canonical(target)
    } else {
        target <= u64::from(cpu.processor.regs.seg[seg::CS].limit)
    };
    if reachable { Ok(target) } else { Err(Fault::gp(0)) }
}

fn jump(cpu: &mut Cpu, size: usize, target: u64) -> Result<Next, Fault> {
    cpu.processor.regs.rip = check_target(cpu, size, target)?;
    Ok(Next::Jump)
}

/// Operand size and target of a near JMP or CALL.
fn target(cpu: &mut Cpu, insn: &Instruction) -> Result<(usize, u64), Fault> {
    let (size, relative) = match insn.op0_kind() {
        OpKind::NearBranch16 => (2, true),
        OpKind::NearBranch32 => (4, true),
        OpKind::NearBranch64 => (8, true),
        OpKind::Register => (insn.op0_register().size(), false),
        _ => (insn.memory_size().size(), false),
    };
    let target = if relative { relative_target(cpu, insn) } else { cpu.read_operand(insn, 0, size)? };
    Ok((size, target))
}

/// From the displacement, so that it does not matter at which address the instruction was decoded.
fn relative_target(cpu: &Cpu, insn: &Instruction) -> u64 {
    let displacement = insn.near_branch_target().wrapping_sub(insn.next_ip());
    cpu.processor.regs.rip.wrapping_add(insn.len() as u64).wrapping_add(displacement)
}

fn branch_if(cpu: &mut Cpu, insn: &Instruction, taken: bool) -> Result<Next, Fault> {
    if !taken {
        return Ok(Next::Advance);
    }
    let (size, target) = target(cpu, insn)?;
    jump(cpu, size, target)
}

pub fn jmp(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    branch_if(cpu, insn, true)
}

pub fn call(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let (size, target) = target(cpu, insn)?;
    let target = check_target(cpu, size, target)?;
    let back = cpu.following(insn);
    cpu.push(size, back)?;
    cpu.processor.regs.rip = target;
    Ok(Next::Jump)
}

pub fn ret(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    use iced_x86::Code::*;
    let size = match insn.code() {
        Retnw | Retnw_imm16 => 2,
        Retnd | Retnd_imm16 => 4,
        _ => 8,
    };
    let release = if insn.op_count() == 1 { u64::from(insn.immediate16()) } else { 0 };
    let target = cpu.peek(0, size)?;
    let target = check_target(cpu, size, target)?;
    cpu.set_stack_pointer(cpu.processor.regs.gpr[4].wrapping_add(size as u64 + release));
    cpu.processor.regs.rip = target;
    Ok(Next::Jump)
}

/// Whether the condition of a Jcc holds.
pub fn holds(rflags: u64, condition: ConditionCode) -> bool {
    let set = |bit: u64| rflags & bit != 0;
    let less = set(SF) != set(OF);
    match condition {
        ConditionCode::None => true,
        ConditionCode::o => set(OF),
        ConditionCode::no => !set(OF),
        ConditionCode::b => set(CF),
        ConditionCode::ae => !set(CF),
        ConditionCode::e => set(ZF),
        ConditionCode::ne => !set(ZF),
        ConditionCode::be => set(CF | ZF),
        ConditionCode::a => !set(CF | ZF),
        ConditionCode::s => set(SF),
        ConditionCode::ns => !set(SF),
        ConditionCode::p => set(PF),
        ConditionCode::np => !set(PF),
        ConditionCode::l => less,
        ConditionCode::ge => !less,
        ConditionCode::le => less || set(ZF),
        ConditionCode::g => !less && !set(ZF),
    }
}

pub fn jcc(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let taken = holds(cpu.processor.regs.rflags, insn.condition_code());
    branch_if(cpu, insn, taken)
}

/// The count register, which the address size selects.
fn counter(insn: &Instruction) -> Register {
    use iced_x86::Code::*;
    match insn.code() {
        Loop_rel8_16_CX | Loop_rel8_32_CX | Loope_rel8_16_CX | Loope_rel8_32_CX => Register::CX,
        Loopne_rel8_16_CX | Loopne_rel8_32_CX | Jcxz_rel8_16 | Jcxz_rel8_32 => Register::CX,
        Loop_rel8_16_RCX | Loop_rel8_64_RCX | Loope_rel8_16_RCX | Loope_rel8_64_RCX => Register::RCX,
        Loopne_rel8_16_RCX | Loopne_rel8_64_RCX | Jrcxz_rel8_16 | Jrcxz_rel8_64 => Register::RCX,
        _ => Register::ECX,
    }
}

pub fn jcxz(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let taken = cpu.gpr(counter(insn)) == 0;
    branch_if(cpu, insn, taken)
}

/// The count is committed only once the target is known to be reachable.
pub fn r#loop(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let register = counter(insn);
    let count = cpu.gpr(register).wrapping_sub(1) & mask(register.size());
    let zero = cpu.processor.regs.rflags & ZF != 0;
    let condition = match insn.mnemonic() {
        Mnemonic::Loope => zero,
        Mnemonic::Loopne => !zero,
        _ => true,
    };
    let next = branch_if(cpu, insn, count != 0 && condition)?;
    cpu.set_gpr(register, count);
    Ok(next)
}
