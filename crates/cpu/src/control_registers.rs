//! What values control registers take, and what follows from them (APM vol. 2, 3.1 and 14.6).

use crate::mmu::walk::load_pdptes;
use crate::{Cpu, Fault};
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

pub fn write_cr3(cpu: &mut Cpu, value: u64) -> Result<(), Fault> {
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

pub fn write_cr4(cpu: &mut Cpu, value: u64) -> Result<(), Fault> {
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
