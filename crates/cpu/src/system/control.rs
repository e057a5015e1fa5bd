//! Control registers: MOV CR, LMSW, SMSW, CLTS, and what their values must agree on (APM vol. 2, 3.1 and 14.6).

use crate::intercept::{
    cr_intercept, cr0_selective_intercept, cr3_intercept, lmsw_intercept, owned_bits_intercept, read_cr8,
    write_cr8,
};
use crate::mmu::walk::load_pdptes;
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, OpKind, Register};
use ireko_nested::CrAccess;
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::paging::PHYSICAL_MASK;
use ireko_x86::regs::seg;

/// Bits of CR0 that can change; the others below bit 32 are ignored.
const CR0_WRITABLE: u64 =
    cr0::PE | cr0::MP | cr0::EM | cr0::TS | cr0::NE | cr0::WP | cr0::AM | cr0::NW | cr0::CD | cr0::PG;
/// Changes that make cached translations wrong.
const CR0_PAGING: u64 = cr0::PG | cr0::WP | cr0::PE;
const CR4_PAGING: u64 =
    cr4::PSE | cr4::PAE | cr4::PGE | cr4::PCIDE | cr4::SMEP | cr4::SMAP | cr4::LA57 | cr4::PKE;
/// Bit 63 of a value for CR3: keep the translations of the PCID.
const NO_FLUSH: u64 = 1 << 63;
/// The PCID field of CR3.
const PCID: u64 = 0xfff;

fn number(register: Register) -> Result<u8, Fault> {
    match register as usize - Register::CR0 as usize {
        n @ (0 | 2 | 3 | 4 | 8) => Ok(n as u8),
        _ => Err(Fault::ud()),
    }
}

pub fn mov_from(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let number = number(insn.op1_register())?;
    cpu.kernel_only()?;
    cr_intercept(cpu, number, CrAccess::From(insn.op0_register().number() as u8))?;
    let value = match number {
        0 => shown_cr0(cpu),
        2 => cpu.processor.regs.cr2,
        3 => cpu.processor.regs.cr3,
        4 => cpu.control().map_or(cpu.processor.regs.cr4, |c| c.cr4.shown(cpu.processor.regs.cr4)),
        _ => read_cr8(cpu).into(),
    };
    cpu.set_gpr(insn.op0_register(), value);
    Ok(Next::Advance)
}

pub fn mov_to(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let number = number(insn.op0_register())?;
    cpu.kernel_only()?;
    let gpr = insn.op1_register().number() as u8;
    let value = cpu.gpr(insn.op1_register());
    let access = CrAccess::To(gpr);
    match number {
        3 => cr3_intercept(cpu, value, access)?,
        _ => cr_intercept(cpu, number, access)?,
    }
    match number {
        0 => {
            cr0_selective_intercept(cpu, value, gpr)?;
            owned_bits_intercept(cpu, 0, value, access)?;
            let old = cpu.processor.regs.cr0;
            let value = cpu.control().map_or(value, |control| control.cr0.written(old, value));
            write_cr0(cpu, value)?;
        }
        2 => cpu.processor.regs.cr2 = value,
        3 => write_cr3(cpu, value)?,
        4 => {
            owned_bits_intercept(cpu, 4, value, access)?;
            let old = cpu.processor.regs.cr4;
            let value = cpu.control().map_or(value, |control| control.cr4.written(old, value));
            write_cr4(cpu, value)?;
        }
        _ => {
            let priority = u8::try_from(value).ok().filter(|&priority| priority < 16).ok_or(Fault::gp(0))?;
            write_cr8(cpu, priority);
        }
    }
    Ok(Next::Resync)
}

/// CR0 as the guest sees it.
fn shown_cr0(cpu: &Cpu) -> u64 {
    cpu.control().map_or(cpu.processor.regs.cr0, |control| control.cr0.shown(cpu.processor.regs.cr0))
}

fn require(good: bool) -> Result<(), Fault> {
    if good { Ok(()) } else { Err(Fault::gp(0)) }
}

/// Legacy PAE paging reads its top level at once, except under nested paging (APM vol. 2, 5.2.3 and 15.25.9).
fn top_level(cpu: &Cpu, cr0: u64, cr3: u64, cr4: u64) -> Result<Option<[u64; 4]>, Fault> {
    let nested = cpu.control().is_some_and(|control| control.stage2.is_some());
    let long = cpu.processor.regs.efer & efer::LME != 0;
    if cr0 & cr0::PG == 0 || cr4 & cr4::PAE == 0 || long || nested {
        return Ok(None);
    }
    load_pdptes(&cpu.mmu.physical, cr3).map(Some).ok_or(Fault::gp(0))
}

pub fn write_cr0(cpu: &mut Cpu, value: u64) -> Result<(), Fault> {
    let old = cpu.processor.regs.cr0;
    let new = value & CR0_WRITABLE | cr0::ET;
    let (paged, pages) = (old & cr0::PG != 0, new & cr0::PG != 0);
    require(value >> 32 == 0)?;
    require(!pages || new & cr0::PE != 0)?;
    require(new & cr0::NW == 0 || new & cr0::CD != 0)?;
    let long = cpu.processor.regs.efer & efer::LME != 0;
    let code = cpu.processor.regs.seg[seg::CS];
    if pages && !paged && long {
        require(cpu.processor.regs.cr4 & cr4::PAE != 0 && !code.long())?;
    }
    if paged && !pages {
        require(cpu.processor.regs.cr4 & cr4::PCIDE == 0 && !cpu.processor.regs.code64())?;
    }
    if (old ^ new) & (cr0::PG | cr0::CD | cr0::NW) != 0
        && let Some(entries) = top_level(cpu, new, cpu.processor.regs.cr3, cpu.processor.regs.cr4)?
    {
        cpu.processor.regs.pdpte = entries;
    }
    cpu.processor.regs.cr0 = new;
    let active = if pages && long { efer::LMA } else { 0 };
    cpu.processor.regs.efer = cpu.processor.regs.efer & !efer::LMA | active;
    if (old ^ new) & CR0_PAGING != 0 {
        cpu.flush_tlb(false);
    }
    Ok(())
}

fn write_cr3(cpu: &mut Cpu, value: u64) -> Result<(), Fault> {
    let pcids = cpu.processor.regs.cr4 & cr4::PCIDE != 0;
    let no_flush = pcids && value & NO_FLUSH != 0;
    let new = if pcids { value & !NO_FLUSH } else { value };
    if cpu.processor.regs.long_mode() {
        require(new & !PHYSICAL_MASK == 0)?;
    }
    load_cr3(cpu, new, no_flush)
}

/// The top level of legacy PAE paging, of a CR3 that is in force already.
pub fn load_pdpte(cpu: &mut Cpu) -> Result<(), Fault> {
    if let Some(entries) =
        top_level(cpu, cpu.processor.regs.cr0, cpu.processor.regs.cr3, cpu.processor.regs.cr4)?
    {
        cpu.processor.regs.pdpte = entries;
    }
    Ok(())
}

pub fn load_cr3(cpu: &mut Cpu, new: u64, no_flush: bool) -> Result<(), Fault> {
    if let Some(entries) = top_level(cpu, cpu.processor.regs.cr0, new, cpu.processor.regs.cr4)? {
        cpu.processor.regs.pdpte = entries;
    }
    cpu.processor.regs.cr3 = new;
    cpu.cr3_loaded(no_flush);
    Ok(())
}

fn write_cr4(cpu: &mut Cpu, value: u64) -> Result<(), Fault> {
    let old = cpu.processor.regs.cr4;
    let changed = old ^ value;
    require(value & !cpu.processor.model.cr4() == 0)?;
    if cpu.processor.regs.long_mode() {
        require(value & cr4::PAE != 0 && changed & cr4::LA57 == 0)?;
    }
    if changed & value & cr4::PCIDE != 0 {
        require(cpu.processor.regs.long_mode() && cpu.processor.regs.cr3 & PCID == 0)?;
    }
    if changed & (cr4::PAE | cr4::PGE | cr4::PSE | cr4::SMEP) != 0
        && let Some(entries) = top_level(cpu, cpu.processor.regs.cr0, cpu.processor.regs.cr3, value)?
    {
        cpu.processor.regs.pdpte = entries;
    }
    cpu.processor.regs.cr4 = value;
    if changed & CR4_PAGING != 0 {
        cpu.flush_tlb(false);
    }
    Ok(())
}

/// LMSW loads the low four bits of CR0, but cannot clear PE.
pub fn lmsw(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    const LOADED: u64 = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
    cpu.kernel_only()?;
    cr_intercept(cpu, 0, CrAccess::Lmsw(0))?;
    lmsw_intercept(cpu)?;
    let source = cpu.read_operand(insn, 0, 2)?;
    let word = source & LOADED;
    let old = cpu.processor.regs.cr0;
    // As the guest would write it by MOV: what it sees, with the four bits.
    let wanted = shown_cr0(cpu) & !(LOADED & !cr0::PE) | word;
    owned_bits_intercept(cpu, 0, wanted, CrAccess::Lmsw(source as u16))?;
    let new = old & !(LOADED & !cr0::PE) | word;
    let new = cpu.control().map_or(new, |control| control.cr0.written(old, new));
    write_cr0(cpu, new)?;
    Ok(Next::Resync)
}

pub fn smsw(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.umip()?;
    cr_intercept(cpu, 0, CrAccess::Smsw)?;
    let size = if insn.op0_kind() == OpKind::Register { 8 } else { 2 };
    cpu.write_operand(insn, 0, size, shown_cr0(cpu))?;
    Ok(Next::Advance)
}

pub fn clts(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.kernel_only()?;
    cr_intercept(cpu, 0, CrAccess::Clts)?;
    let old = cpu.processor.regs.cr0;
    owned_bits_intercept(cpu, 0, shown_cr0(cpu) & !cr0::TS, CrAccess::Clts)?;
    cpu.processor.regs.cr0 = cpu.control().map_or(old & !cr0::TS, |c| c.cr0.written(old, old & !cr0::TS));
    Ok(Next::Resync)
}
