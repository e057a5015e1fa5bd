//! Loading and storing segment registers: MOV, POP, LDS and its like, and the FS and GS bases.

use crate::operand::segment_index;
use crate::segmentation::descriptor::{checked_data, checked_stack, null_stack, v86_segment};
use crate::system::far::load_pointer;
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction, Register};
use ireko_nested::Shadow;
use ireko_x86::Segment;
use ireko_x86::bits::cr4;
use ireko_x86::descriptor::{RPL, is_null};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

/// The segment that loading `selector` into segment register `index` makes (APM vol. 2, 4.12.1 and 4.12.2).
pub fn checked(cpu: &mut Cpu, index: usize, selector: u16) -> Result<Segment, Fault> {
    if cpu.processor.regs.v86() {
        return Ok(v86_segment(selector));
    }
    if !cpu.processor.regs.protected() {
        let old = cpu.processor.regs.seg[index];
        return Ok(Segment { base: u64::from(selector) << 4, selector, ..old });
    }
    if index == seg::SS { checked_ss(cpu, selector) } else { checked_data(cpu, selector, vector::GP) }
}

fn checked_ss(cpu: &mut Cpu, selector: u16) -> Result<Segment, Fault> {
    let cpl = cpu.processor.regs.cpl;
    if !is_null(selector) {
        return checked_stack(cpu, selector, cpl, vector::GP);
    }
    let allowed = cpu.processor.regs.code64() && cpl < 3 && (selector & RPL) as u8 == cpl;
    if allowed { Ok(null_stack(cpl)) } else { Err(Fault::gp(0)) }
}

fn target(register: Register) -> Result<usize, Fault> {
    match segment_index(register) {
        seg::CS => Err(Fault::ud()),
        index => Ok(index),
    }
}

/// MOV to a segment register. Loading SS holds interrupts off for one instruction (APM vol. 2, 8.5).
pub fn mov_to(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let index = target(insn.op0_register())?;
    let selector = cpu.read_operand(insn, 1, 2)? as u16;
    cpu.processor.regs.seg[index] = checked(cpu, index, selector)?;
    if index == seg::SS {
        cpu.processor.shadow = Shadow::MovSs;
    }
    Ok(Next::Resync)
}

pub fn mov_from(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let selector = cpu.processor.regs.seg[segment_index(insn.op1_register())].selector;
    cpu.write_operand(insn, 0, 2, selector.into())?;
    Ok(Next::Advance)
}

pub fn pop(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let size = match insn.code() {
        Code::Popw_ES | Code::Popw_SS | Code::Popw_DS | Code::Popw_FS | Code::Popw_GS => 2,
        Code::Popq_FS | Code::Popq_GS => 8,
        _ => 4,
    };
    let index = target(insn.op0_register())?;
    let selector = cpu.peek(0, size)? as u16;
    let segment = checked(cpu, index, selector)?;
    cpu.set_stack_pointer(cpu.processor.regs.gpr[gpr::RSP].wrapping_add(size as u64));
    cpu.processor.regs.seg[index] = segment;
    if index == seg::SS {
        cpu.processor.shadow = Shadow::MovSs;
    }
    Ok(Next::Resync)
}

/// LDS, LES, LFS, LGS, LSS.
pub fn load_far(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    use Code::*;
    let index = match insn.code() {
        Les_r16_m1616 | Les_r32_m1632 => seg::ES,
        Lds_r16_m1616 | Lds_r32_m1632 => seg::DS,
        Lfs_r16_m1616 | Lfs_r32_m1632 | Lfs_r64_m1664 => seg::FS,
        Lgs_r16_m1616 | Lgs_r32_m1632 | Lgs_r64_m1664 => seg::GS,
        _ => seg::SS,
    };
    let register = insn.op0_register();
    let (selector, offset) = load_pointer(cpu, insn, register.size())?;
    cpu.processor.regs.seg[index] = checked(cpu, index, selector)?;
    cpu.set_gpr(register, offset);
    Ok(Next::Resync)
}

/// SWAPGS. (64-bit mode only: the decoder refuses it elsewhere.)
pub fn swapgs(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.kernel_only()?;
    let regs = &mut cpu.processor.regs;
    std::mem::swap(&mut regs.seg[seg::GS].base, &mut regs.kernel_gs_base);
    Ok(Next::Resync)
}

/// RDFSBASE and RDGSBASE.
pub fn read_base(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let index = base_index(cpu, insn)?;
    let base = cpu.processor.regs.seg[index].base;
    cpu.set_gpr(insn.op0_register(), base);
    Ok(Next::Advance)
}

/// WRFSBASE and WRGSBASE.
pub fn write_base(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let index = base_index(cpu, insn)?;
    let base = cpu.gpr(insn.op0_register());
    if !cpu.implements(base) {
        return Err(Fault::gp(0));
    }
    cpu.processor.regs.seg[index].base = base;
    Ok(Next::Resync)
}

fn base_index(cpu: &Cpu, insn: &Instruction) -> Result<usize, Fault> {
    use Code::*;
    if cpu.processor.regs.cr4 & cr4::FSGSBASE == 0 || !cpu.processor.regs.code64() {
        return Err(Fault::ud());
    }
    let fs = matches!(insn.code(), Rdfsbase_r32 | Rdfsbase_r64 | Wrfsbase_r32 | Wrfsbase_r64);
    Ok(if fs { seg::FS } else { seg::GS })
}
