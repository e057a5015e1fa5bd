//! LDTR and TR, and the instructions that look at descriptors: VERR, VERW, LAR, LSL, ARPL (APM vol. 2, 4.12.4 and 6).

use crate::segmentation::descriptor::{Entry, fetch, mark_busy, upper};
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, Mnemonic};
use ireko_nested::Intercept;
use ireko_x86::Segment;
use ireko_x86::bits::rflags;
use ireko_x86::descriptor::{BUSY, RPL, TI, is_null, kind};
use ireko_x86::exception::{Exception, vector};

/// These exist in protected mode only.
fn protected_only(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.protected() && !cpu.processor.regs.v86() { Ok(()) } else { Err(Fault::ud()) }
}

/// The system segment that a GDT selector names, 16 bytes in long mode.
fn system_segment(cpu: &mut Cpu, entry: &Entry) -> Result<Segment, Fault> {
    let mut segment = entry.segment();
    if cpu.processor.regs.long_mode() {
        segment.base |= upper(cpu, entry, vector::GP)? << 32;
        if !cpu.implements(segment.base) {
            return Err(entry.fault(vector::GP));
        }
    }
    Ok(segment)
}

fn from_gdt(cpu: &mut Cpu, selector: u16, good: fn(&Cpu, u8) -> bool) -> Result<(Entry, Segment), Fault> {
    if selector & TI != 0 {
        return Err(crate::segmentation::descriptor::fault(vector::GP, selector));
    }
    let entry = fetch(cpu, selector, vector::GP)?;
    let descriptor = entry.segment();
    if descriptor.is_user() || !good(cpu, descriptor.kind()) {
        return Err(entry.fault(vector::GP));
    }
    if !descriptor.present() {
        return Err(entry.fault(vector::NP));
    }
    let segment = system_segment(cpu, &entry)?;
    Ok((entry, segment))
}

pub fn lldt(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    protected_only(cpu)?;
    cpu.kernel_only()?;
    cpu.intercept(Intercept::LdtrWrite)?;
    let selector = cpu.read_operand(insn, 0, 2)? as u16;
    cpu.processor.regs.ldtr = if is_null(selector) {
        Segment { selector, ..Segment::default() }
    } else {
        from_gdt(cpu, selector, |_, found| found == kind::LDT)?.1
    };
    Ok(Next::Advance)
}

pub fn ltr(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    protected_only(cpu)?;
    cpu.kernel_only()?;
    cpu.intercept(Intercept::TrWrite)?;
    let selector = cpu.read_operand(insn, 0, 2)? as u16;
    let available = |cpu: &Cpu, found| {
        found == kind::TSS32_AVAILABLE || (found == kind::TSS16_AVAILABLE && !cpu.processor.regs.long_mode())
    };
    let (mut entry, segment) = from_gdt(cpu, selector, available)?;
    mark_busy(cpu, &mut entry, vector::GP)?;
    cpu.processor.regs.tr = Segment { attr: segment.attr | u16::from(BUSY), ..segment };
    Ok(Next::Advance)
}

pub fn sldt(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    protected_only(cpu)?;
    cpu.umip()?;
    cpu.intercept(Intercept::LdtrRead)?;
    store_selector(cpu, insn, cpu.processor.regs.ldtr.selector)
}

pub fn str(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    protected_only(cpu)?;
    cpu.umip()?;
    cpu.intercept(Intercept::TrRead)?;
    store_selector(cpu, insn, cpu.processor.regs.tr.selector)
}

fn store_selector(cpu: &mut Cpu, insn: &Instruction, selector: u16) -> Result<Next, Fault> {
    cpu.write_operand(insn, 0, 2, selector.into())?;
    Ok(Next::Advance)
}

fn set_zero_flag(cpu: &mut Cpu, on: bool) {
    cpu.processor.regs.rflags = cpu.processor.regs.rflags & !rflags::ZF | if on { rflags::ZF } else { 0 };
}

/// The descriptor, if its table has it: a bad selector is no fault here, but a fault of the memory access is.
fn look(cpu: &mut Cpu, selector: u16) -> Result<Option<Entry>, Fault> {
    match fetch(cpu, selector, vector::GP) {
        Err(Fault::Exception(Exception { vector: vector::GP, .. })) => Ok(None),
        other => other.map(Some),
    }
}

/// Readable from here, by privilege: conforming code always.
fn reachable(cpu: &Cpu, entry: &Entry) -> bool {
    let segment = entry.segment();
    let open = segment.is_code() && segment.conforming();
    open || segment.dpl() >= cpu.processor.regs.cpl.max((entry.selector & RPL) as u8)
}

/// VERR and VERW.
pub fn verify(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    protected_only(cpu)?;
    let selector = cpu.read_operand(insn, 0, 2)? as u16;
    let write = insn.mnemonic() == Mnemonic::Verw;
    let entry = look(cpu, selector)?;
    let good = entry.is_some_and(|entry| {
        let segment = entry.segment();
        let right = match (segment.is_code(), write) {
            (true, write) => !write && segment.readable(),
            (false, true) => segment.writable(),
            _ => true,
        };
        segment.is_user() && right && reachable(cpu, &entry)
    });
    set_zero_flag(cpu, good);
    Ok(Next::Advance)
}

/// System descriptor types that LAR tells of, and LSL too (APM vol. 3, LAR and LSL).
fn visible(cpu: &Cpu, found: u8, limit: bool) -> bool {
    let long = cpu.processor.regs.long_mode();
    match found {
        kind::LDT | kind::TSS32_AVAILABLE | kind::TSS32_BUSY => true,
        kind::CALL32 => !limit,
        kind::TSS16_AVAILABLE | kind::TSS16_BUSY => !long,
        kind::CALL16 | kind::TASK => !long && !limit,
        _ => false,
    }
}

pub fn lar(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    /// The access rights in the high half of a descriptor.
    const RIGHTS: u64 = 0x00ff_ff00;
    inspect(cpu, insn, false, |entry| entry.raw >> 32 & RIGHTS)
}

pub fn lsl(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    inspect(cpu, insn, true, |entry| entry.segment().limit.into())
}

fn inspect(cpu: &mut Cpu, insn: &Instruction, limit: bool, tell: fn(&Entry) -> u64) -> Result<Next, Fault> {
    protected_only(cpu)?;
    let selector = cpu.read_operand(insn, 1, 2)? as u16;
    let entry = look(cpu, selector)?.filter(|entry| {
        let segment = entry.segment();
        (segment.is_user() || visible(cpu, segment.kind(), limit)) && reachable(cpu, entry)
    });
    set_zero_flag(cpu, entry.is_some());
    if let Some(entry) = entry {
        cpu.set_gpr(insn.op0_register(), tell(&entry));
    }
    Ok(Next::Advance)
}

pub fn arpl(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    protected_only(cpu)?;
    // A register keeps what is above its selector.
    let register = insn.op0_kind() == iced_x86::OpKind::Register;
    let size = if register { insn.op0_register().size() } else { 2 };
    let target = cpu.read_operand(insn, 0, size)?;
    let rpl = cpu.read_operand(insn, 1, 2)? & u64::from(RPL);
    let lower = target & u64::from(RPL) < rpl;
    if lower {
        cpu.write_operand(insn, 0, size, target & !u64::from(RPL) | rpl)?;
    }
    set_zero_flag(cpu, lower);
    Ok(Next::Advance)
}
