//! IRET, IRETD and IRETQ in every mode (APM vol. 2, 8.7.4, 8.8 and 8.9.4).

use crate::event::jump_real;
use crate::operand::mask;
use crate::segmentation::descriptor::v86_segment;
use crate::segmentation::descriptor::{
    Entry, accessed, checked_code, checked_stack, checked_target, fetch, null_stack,
};
use crate::segmentation::stack::peek_all;
use crate::segmentation::task;
use crate::system::flags;
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction};
use ireko_nested::Intercept;
use ireko_x86::Segment;
use ireko_x86::bits::rflags as flag;
use ireko_x86::descriptor::{RPL, is_null};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

/// What every IRET may set, whatever the privilege.
const OPEN: u64 = flag::ARITHMETIC | flag::TF | flag::DF | flag::NT | flag::RF | flag::AC | flag::ID;

pub fn iret(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Iret)?;
    let size = match insn.code() {
        Code::Iretw => 2,
        Code::Iretd => 4,
        _ => 8,
    };
    if !cpu.processor.regs.protected() {
        within_mode(cpu, size, OPEN | flag::IF | flag::IOPL)?;
    } else if cpu.processor.regs.v86() {
        within_v86(cpu, size)?;
    } else {
        let back = cpu.following(insn);
        protected(cpu, size, back)?;
    }
    cpu.processor.nmi_blocked = false;
    Ok(Next::Jump)
}

/// Loads the flags in `open` of an image of `size` bytes.
fn load_flags(cpu: &mut Cpu, size: usize, image: u64, open: u64) {
    let open = open & mask(size);
    cpu.processor.regs.rflags = cpu.processor.regs.rflags & !open | image & open;
}

/// From virtual-8086 mode to itself: with IOPL 3, or with a flags image that has VIF for IF.
fn within_v86(cpu: &mut Cpu, size: usize) -> Result<(), Fault> {
    if !flags::v86_virtual(cpu, size)? {
        return within_mode(cpu, size, OPEN | flag::IF);
    }
    let image = cpu.peek(2 * size as u64, size)?;
    flags::check_virtual(cpu, image)?;
    within_mode(cpu, size, 0)?;
    flags::load_virtual(cpu, image);
    Ok(())
}

/// In real mode, or from virtual-8086 mode to itself.
fn within_mode(cpu: &mut Cpu, size: usize, open: u64) -> Result<(), Fault> {
    let mut values = [0; 3];
    peek_all(cpu, size, &mut values)?;
    let [ip, cs, flags] = values;
    if ip > cpu.processor.regs.seg[seg::CS].limit.into() {
        return Err(Fault::gp(0));
    }
    cpu.set_stack_pointer(cpu.processor.regs.gpr[gpr::RSP].wrapping_add(3 * size as u64));
    jump_real(cpu, cs as u16, ip);
    load_flags(cpu, size, flags, open);
    Ok(())
}

fn protected(cpu: &mut Cpu, size: usize, back: u64) -> Result<(), Fault> {
    if cpu.processor.regs.rflags & flag::NT != 0 {
        return task::back(cpu, back);
    }
    let mut values = [0; 5];
    // In 64-bit mode SS:RSP is always popped, else only on a return to an outer level.
    let always = if cpu.processor.regs.code64() { 5 } else { 3 };
    peek_all(cpu, size, &mut values[..always])?;
    let [ip, cs, flags, ..] = values;
    if !cpu.processor.regs.long_mode() && size == 4 && flags & flag::VM != 0 && cpu.processor.regs.cpl == 0 {
        return to_v86(cpu);
    }
    let cs = cs as u16;
    let (entry, code) = return_code(cpu, cs)?;
    let rpl = (cs & RPL) as u8;
    let outer = rpl > cpu.processor.regs.cpl;
    if outer && always == 3 {
        peek_all(cpu, size, &mut values)?;
    }
    let stack = if outer || cpu.processor.regs.code64() {
        Some(return_stack(cpu, values[4] as u16, rpl, &code)?)
    } else {
        None
    };
    let ip = checked_target(cpu, &code, ip)?;
    let code = accessed(cpu, entry, rpl)?;
    load_flags(cpu, size, flags, OPEN | privileged_flags(cpu));
    commit(cpu, code, rpl, ip, stack.map(|stack| (stack, values[3])), 3 * size as u64);
    Ok(())
}

/// IF by IOPL, IOPL and the virtual interrupt flags by CPL 0 (APM vol. 3, IRET).
fn privileged_flags(cpu: &Cpu) -> u64 {
    let iopl = (cpu.processor.regs.rflags >> 12 & 3) as u8;
    let interrupt = if cpu.processor.regs.cpl <= iopl { flag::IF } else { 0 };
    let kernel = if cpu.processor.regs.cpl == 0 { flag::IOPL | flag::VIF | flag::VIP } else { 0 };
    interrupt | kernel
}

/// Checks the code segment that a far return or IRET goes to.
pub fn return_code(cpu: &mut Cpu, selector: u16) -> Result<(Entry, Segment), Fault> {
    let entry = fetch(cpu, selector, vector::GP)?;
    let code = checked_code(cpu, &entry)?;
    let rpl = (selector & RPL) as u8;
    let right = if code.conforming() { code.dpl() <= rpl } else { code.dpl() == rpl };
    if rpl < cpu.processor.regs.cpl || !right {
        return Err(entry.fault(vector::GP));
    }
    if !code.present() {
        return Err(entry.fault(vector::NP));
    }
    Ok((entry, code))
}

/// The stack segment to return to with privilege `cpl`; null only for 64-bit code below privilege level 3.
pub fn return_stack(cpu: &mut Cpu, selector: u16, cpl: u8, code: &Segment) -> Result<Segment, Fault> {
    if !is_null(selector) {
        return checked_stack(cpu, selector, cpl, vector::GP);
    }
    let allowed = cpu.processor.regs.long_mode() && code.long() && cpl != 3 && (selector & RPL) as u8 == cpl;
    if allowed { Ok(null_stack(cpl)) } else { Err(Fault::gp(0)) }
}

/// Goes on at `ip` of `code`: with a stack of its own, or with `popped` bytes taken off the current one.
pub fn commit(cpu: &mut Cpu, code: Segment, cpl: u8, ip: u64, stack: Option<(Segment, u64)>, popped: u64) {
    let outer = cpl > cpu.processor.regs.cpl;
    if stack.is_none() {
        cpu.set_stack_pointer(cpu.processor.regs.gpr[gpr::RSP].wrapping_add(popped));
    }
    cpu.processor.regs.seg[seg::CS] = code;
    cpu.processor.regs.cpl = cpl;
    cpu.processor.regs.rip = ip;
    if let Some((segment, pointer)) = stack {
        cpu.processor.regs.seg[seg::SS] = segment;
        cpu.set_stack_pointer(pointer);
    }
    if outer {
        drop_inner_segments(cpu);
    }
}

/// After a return to an outer level: data segments that it may not use become null, and null selectors lose their RPL (silicon
/// takes their descriptor for one of level 0). Bases stay: FS and GS have theirs with null selectors in 64-bit mode.
fn drop_inner_segments(cpu: &mut Cpu) {
    let cpl = cpu.processor.regs.cpl;
    for index in [seg::ES, seg::DS, seg::FS, seg::GS] {
        let segment = &mut cpu.processor.regs.seg[index];
        let open = segment.is_code() && segment.conforming();
        if is_null(segment.selector) || !open && segment.dpl() < cpl {
            (segment.selector, segment.attr) = (0, 0);
        }
    }
}

/// From privilege level 0 to virtual-8086 mode (APM vol. 2, 8.8.3).
fn to_v86(cpu: &mut Cpu) -> Result<(), Fault> {
    let mut values = [0; 9];
    peek_all(cpu, 4, &mut values)?;
    let [ip, cs, flags, sp, ss, es, ds, fs, gs] = values;
    if ip > 0xffff {
        return Err(Fault::gp(0));
    }
    load_flags(cpu, 4, flags, OPEN | privileged_flags(cpu) | flag::VM);
    for (index, selector) in [es, cs, ss, ds, fs, gs].into_iter().enumerate() {
        cpu.processor.regs.seg[index] = v86_segment(selector as u16);
    }
    cpu.processor.regs.cpl = 3;
    cpu.processor.regs.gpr[gpr::RSP] = sp;
    cpu.processor.regs.rip = ip;
    Ok(())
}
