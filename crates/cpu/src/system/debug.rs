//! Debug registers (APM vol. 2, 13.1): MOV DR, breakpoints on instructions, data and ports, and single step.

use crate::breakpoints::for_instructions;
use crate::intercept::dr_intercept;
use crate::routine::{calls_hypervisor, enters_guest};
use crate::{Cpu, Fault, Next};
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};
use ireko_x86::Exception;
use ireko_x86::bits::{cr4, debugctl, dr6, dr7, rflags};
use ireko_x86::regs::seg;

/// Bits of DR6 and DR7 that software sets.
const DR6_WRITABLE: u64 = 0xf | dr6::BD | dr6::BS | dr6::BT;
const DR7_WRITABLE: u64 = 0xffff_23ff;

/// The debug register that an instruction names, after the checks of DE, CPL and GD.
fn register(cpu: &Cpu, register: Register) -> Result<u8, Fault> {
    let number = (register as usize - Register::DR0 as usize) as u8;
    if number > 7 || (matches!(number, 4 | 5) && cpu.processor.regs.cr4 & cr4::DE != 0) {
        return Err(Fault::ud());
    }
    cpu.kernel_only()?;
    if cpu.processor.regs.dr7 & dr7::GD != 0 {
        return Err(Exception::debug(dr6::BD).into());
    }
    Ok(number)
}

/// DR4 and DR5 are DR6 and DR7; a hypervisor that intercepts them is told of the name.
fn aliased(number: u8) -> u8 {
    if matches!(number, 4 | 5) { number + 2 } else { number }
}

pub fn mov_from(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let number = register(cpu, insn.op1_register())?;
    dr_intercept(cpu, number, false, insn.op0_register().number() as u8)?;
    let value = match aliased(number) {
        6 => cpu.processor.regs.dr6,
        7 => cpu.processor.regs.dr7,
        n => cpu.processor.regs.dr[usize::from(n)],
    };
    cpu.set_gpr(insn.op0_register(), value);
    Ok(Next::Advance)
}

pub fn mov_to(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let number = register(cpu, insn.op0_register())?;
    dr_intercept(cpu, number, true, insn.op1_register().number() as u8)?;
    let value = cpu.gpr(insn.op1_register());
    let number = aliased(number);
    if number >= 6 && value >> 32 != 0 {
        return Err(Fault::gp(0));
    }
    match number {
        6 => cpu.processor.regs.dr6 = value & DR6_WRITABLE | dr6::FIXED,
        7 => cpu.processor.regs.dr7 = value & DR7_WRITABLE | dr7::FIXED,
        n => cpu.processor.regs.dr[usize::from(n)] = value,
    }
    Ok(Next::Resync)
}

/// The #DB that an instruction at `rip` meets before it runs.
pub fn instruction_breakpoint(cpu: &Cpu, rip: u64) -> Option<Exception> {
    if cpu.processor.regs.rflags & rflags::RF != 0 {
        return None;
    }
    let code = &cpu.processor.regs.seg[seg::CS];
    let linear = if cpu.processor.regs.code64() { rip } else { code.base.wrapping_add(rip) & 0xffff_ffff };
    let met =
        (0..4).filter(|&n| for_instructions(cpu.processor.regs.dr7, n) && cpu.processor.regs.dr[n] == linear);
    let bits = met.fold(0, |bits, n| bits | 1 << n);
    (bits != 0).then(|| Exception::debug(bits))
}

/// MOV SS and POP SS: debug exceptions wait until after the next instruction (APM vol. 2, 8.5 and 13.1.4).
pub fn loads_stack(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Mov | Mnemonic::Pop)
        && insn.op0_kind() == OpKind::Register
        && insn.op0_register() == Register::SS
}

/// Whether the instruction at `start` transferred control. What enters and leaves guests is not among them.
pub fn branched(cpu: &Cpu, start: u64, insn: &Instruction) -> bool {
    match insn.flow_control() {
        FlowControl::Next | FlowControl::Exception | FlowControl::XbeginXabortXend => false,
        FlowControl::ConditionalBranch => {
            cpu.processor.regs.rip != cpu.processor.regs.behind(start, insn.len())
        }
        _ => !enters_guest(insn) && !calls_hypervisor(insn),
    }
}

/// Notes a branch, if that is asked for. An event that the instruction was has been noted already, with what it came after.
pub fn record(cpu: &mut Cpu, start: u64, insn: &Instruction) {
    if cpu.processor.regs.debugctl & debugctl::LBR != 0 && !enters_by_gate(insn) && branched(cpu, start, insn)
    {
        (cpu.processor.regs.lbr[0], cpu.processor.regs.lbr[1]) = (start, cpu.processor.regs.rip);
    }
}

fn enters_by_gate(insn: &Instruction) -> bool {
    use Mnemonic::{Int, Int1, Int3, Into};
    matches!(insn.mnemonic(), Int | Int1 | Int3 | Into)
}

/// What enters a handler or the kernel. Traps that wait come there, before its first instruction.
fn enters(insn: &Instruction) -> bool {
    enters_by_gate(insn) || matches!(insn.mnemonic(), Mnemonic::Syscall | Mnemonic::Sysenter)
}

/// The bits of DR6 that RFLAGS.TF brings after an instruction that started with flags `before`. What enters a handler or the
/// kernel starts there without TF, and a guest begins with its own flags: the trap comes after its #VMEXIT.
pub fn step(cpu: &Cpu, before: u64, start: u64, insn: &Instruction) -> u64 {
    let entry = enters(insn) && cpu.processor.regs.rflags & rflags::TF == 0;
    let guest = enters_guest(insn) && cpu.control().is_some();
    let wanted = cpu.processor.regs.debugctl & debugctl::BTF == 0 || branched(cpu, start, insn);
    if before & rflags::TF != 0 && wanted && !loads_stack(insn) && !entry && !guest { dr6::BS } else { 0 }
}
