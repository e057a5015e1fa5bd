//! INVD, WBINVD, WBNOINVD, INVLPG, INVPCID. There are no caches to write back; translations are dropped for real.

use crate::cpu::Privilege;
use crate::intercept::{invlpg_intercept, invpcid_intercept};
use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_nested::Intercept;
use ireko_x86::bits::cr4;
use ireko_x86::regs::seg;

pub fn invd(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.kernel_only()?;
    cpu.intercept(Intercept::Invd)?;
    Ok(Next::Advance)
}

/// WBINVD and WBNOINVD share an intercept (APM vol. 2, 15.9).
pub fn wbinvd(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.kernel_only()?;
    cpu.intercept(Intercept::Wbinvd)?;
    Ok(Next::Advance)
}

/// No segment check is made, and an address that is not canonical does nothing (APM vol. 3, INVLPG).
pub fn invlpg(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.kernel_only()?;
    let (segment, offset) = cpu.effective(insn);
    let based = !cpu.processor.regs.code64() || segment == seg::FS || segment == seg::GS;
    let base = if based { cpu.processor.regs.seg[segment].base } else { 0 };
    let address = cpu.system_linear(base.wrapping_add(offset));
    invlpg_intercept(cpu, address)?;
    if cpu.processor.regs.canonical(address) {
        cpu.flush_page(address);
    }
    Ok(Next::Resync)
}

/// The types of INVPCID (APM vol. 3).
mod kind {
    pub const ADDRESS: u64 = 0;
    pub const CONTEXT: u64 = 1;
    pub const ALL: u64 = 2;
    pub const ALL_BUT_GLOBAL: u64 = 3;
}

pub fn invpcid(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.kernel_only()?;
    if cpu.processor.regs.v86() {
        return Err(Fault::gp(0));
    }
    let kind = cpu.gpr(insn.op0_register());
    let linear = cpu.operand_address(insn, 16, false)?;
    invpcid_intercept(cpu, linear, kind)?;
    let mut bytes = [0; 16];
    cpu.read_linear(linear, &mut bytes, Privilege::Current)?;
    let whole = u128::from_le_bytes(bytes);
    let (first, address) = (whole as u64, (whole >> 64) as u64);
    let pcid = (first & 0xfff) as u16;
    let pcid_off = cpu.processor.regs.cr4 & cr4::PCIDE == 0;
    let bad = kind > kind::ALL_BUT_GLOBAL
        || first >> 12 != 0
        || (kind <= kind::CONTEXT && pcid_off && pcid != 0)
        || (kind == kind::ADDRESS && !cpu.implements(address));
    if bad {
        return Err(Fault::gp(0));
    }
    match kind {
        kind::ADDRESS if pcid_off || pcid == (cpu.processor.regs.cr3 & 0xfff) as u16 => {
            cpu.flush_page(address)
        }
        // One page of another address space: forgetting more than was asked is allowed.
        kind::ADDRESS | kind::CONTEXT => cpu.flush_pcid(Some(pcid), true),
        kind::ALL => cpu.flush_pcid(None, false),
        _ => cpu.flush_pcid(None, true),
    }
    Ok(Next::Resync)
}
