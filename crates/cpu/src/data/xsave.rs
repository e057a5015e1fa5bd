//! XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR, XRSTORS, FXSAVE and FXRSTOR: between `cpu.fpu` and guest memory.

use super::vector::{available, require_mmx};
use super::xsave_area::{
    self as area, AVX, COMPACTED, COMPONENTS, HEADER, MXCSR_DEFAULT, PKRU, SSE, TO_END, X87, word,
};
use crate::cpu::Privilege;
use crate::xstate::{MXCSR, XMM};
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction};
use ireko_x86::bits::{cr4, efer};
use ireko_x86::regs::gpr;

/// Bytes from the start of the area to the end of its header.
const TO_HEADER: usize = HEADER + 64;

/// The REX.W forms, with 64-bit x87 pointers.
fn wide(insn: &Instruction) -> bool {
    use Code::*;
    matches!(
        insn.code(),
        Xsave64_mem
            | Xsaveopt64_mem
            | Xsavec64_mem
            | Xsaves64_mem
            | Xrstor64_mem
            | Xrstors64_mem
            | Fxsave64_m512byte
            | Fxrstor64_m512byte
    )
}

/// A save or restore under way: where, what, and how.
struct Transfer {
    address: u64,
    /// RFBM: EDX:EAX and XCR0.
    requested: u64,
    wide: bool,
}

impl Transfer {
    /// The checks that the XSAVE family shares: #UD without CR4.OSXSAVE, #NM with CR0.TS, #GP unless aligned.
    fn new(cpu: &Cpu, insn: &Instruction, write: bool) -> Result<Self, Fault> {
        if cpu.processor.regs.cr4 & cr4::OSXSAVE == 0 {
            return Err(Fault::ud());
        }
        available(cpu)?;
        let asked = cpu.processor.regs.gpr[gpr::RDX] << 32 | cpu.processor.regs.gpr[gpr::RAX] & 0xffff_ffff;
        let address = aligned(cpu, insn, TO_HEADER as u64, 64, write)?;
        Ok(Self { address, requested: asked & cpu.processor.regs.xcr0 & COMPONENTS, wide: wide(insn) })
    }

    fn read(&self, cpu: &mut Cpu, size: usize) -> Result<[u8; TO_END], Fault> {
        let mut bytes = [0; TO_END];
        cpu.read_linear(self.address, &mut bytes[..size], Privilege::Current)?;
        Ok(bytes)
    }

    fn write(&self, cpu: &mut Cpu, offset: usize, bytes: &[u8]) -> Result<(), Fault> {
        cpu.write_linear(self.address.wrapping_add(offset as u64), bytes, Privilege::Current)
    }

    fn write_area(&self, cpu: &mut Cpu, range: std::ops::Range<usize>, at: usize) -> Result<(), Fault> {
        let mut bytes = [0; 1024];
        let bytes = &mut bytes[..range.len()];
        bytes.copy_from_slice(&cpu.processor.fpu.0[range]);
        self.write(cpu, at, bytes)
    }

    /// Writes the given components and, if told so, MXCSR, after all pages are known to be writable. The header's second word
    /// says where those behind it are.
    fn save(&self, cpu: &mut Cpu, components: u64, mxcsr: bool, header: &[u64]) -> Result<(), Fault> {
        let format = header.get(1).copied().unwrap_or(0);
        cpu.probe_write(self.address, area::size(components, format), Privilege::Current)?;
        if components & X87 != 0 {
            let environment = area::environment(cpu, self.wide);
            self.write(cpu, 0, &environment)?;
            self.write_area(cpu, area::stack(), area::stack().start)?;
        }
        if mxcsr {
            self.write_mxcsr(cpu)?;
        }
        for part in area::vectors().iter().filter(|part| components & part.component != 0) {
            self.write_area(cpu, part.reached(cpu), part.there(cpu, format).start)?;
        }
        if components & PKRU != 0 {
            self.write(cpu, area::place(PKRU, format), &u64::from(cpu.processor.regs.pkru).to_le_bytes())?;
        }
        for (n, value) in header.iter().enumerate() {
            self.write(cpu, HEADER + 8 * n, &value.to_le_bytes())?;
        }
        Ok(())
    }

    fn write_mxcsr(&self, cpu: &mut Cpu) -> Result<(), Fault> {
        let value = u64::from(area::mxcsr_mask(cpu)) << 32 | u64::from(area::mxcsr_value(cpu));
        self.write(cpu, MXCSR, &value.to_le_bytes())
    }

    /// The standard form: XSTATE_BV keeps the bits of components that were not asked for (APM vol. 2, 11.5.7).
    fn save_standard(&self, cpu: &mut Cpu, optimised: bool) -> Result<Next, Fault> {
        cpu.fpu_normalise();
        let in_use = area::in_use(cpu);
        let old = cpu.load(self.address.wrapping_add(HEADER as u64), 8, Privilege::Current)?;
        let state = old & !self.requested | in_use & self.requested;
        let components = if optimised { in_use & self.requested } else { self.requested };
        self.save(cpu, components, self.requested & (SSE | AVX) != 0, &[state])?;
        Ok(Next::Advance)
    }

    /// The compacted form (APM vol. 2, 11.5.4).
    fn save_compacted(&self, cpu: &mut Cpu) -> Result<Next, Fault> {
        cpu.fpu_normalise();
        let saved = area::in_use(cpu) & self.requested;
        self.save(cpu, saved, saved & SSE != 0, &[saved, self.requested | COMPACTED])?;
        Ok(Next::Advance)
    }

    fn restore(&self, cpu: &mut Cpu) -> Result<Next, Fault> {
        let header = self.read(cpu, TO_HEADER)?;
        let (state, format) = (quad(&header, HEADER), quad(&header, HEADER + 8));
        check_header(cpu.processor.regs.xcr0, &header)?;
        let loaded = state & self.requested;
        let bytes = self.read(cpu, area::size(loaded & !PKRU, format))?;
        let mxcsr = self.new_mxcsr(state, format, &bytes);
        let pkru = self.new_pkru(cpu, state, format)?;
        if let Some(value) = mxcsr
            && value & !area::mxcsr_mask(cpu) != 0
        {
            return Err(Fault::gp(0));
        }
        cpu.fpu_normalise();
        area::initialise(cpu, self.requested & !state);
        load(cpu, loaded, &bytes, format, self.wide);
        cpu.set_pkru(pkru);
        Ok(mxcsr.map_or(Next::Advance, |value| area::set_mxcsr(cpu, value)))
    }

    /// PKRU as the image has it; 0 is its initial state.
    fn new_pkru(&self, cpu: &mut Cpu, state: u64, format: u64) -> Result<u32, Fault> {
        match (self.requested & PKRU != 0, state & PKRU != 0) {
            (false, _) => Ok(cpu.processor.regs.pkru),
            (true, false) => Ok(0),
            (true, true) => {
                let address = self.address.wrapping_add(area::place(PKRU, format) as u64);
                Ok(cpu.load(address, 4, Privilege::Current)? as u32)
            }
        }
    }

    /// In standard form MXCSR is loaded with SSE or AVX, even if XSTATE_BV has neither; in compacted form it is part of
    /// SSE (SDM vol. 1, 13.8).
    fn new_mxcsr(&self, state: u64, format: u64, bytes: &[u8]) -> Option<u32> {
        let value = word(bytes, MXCSR);
        if format & COMPACTED == 0 {
            return (self.requested & (SSE | AVX) != 0).then_some(value);
        }
        let value = if state & SSE != 0 { value } else { MXCSR_DEFAULT };
        (self.requested & SSE != 0).then_some(value)
    }
}

/// Linear address of the operand, which must be aligned.
fn aligned(cpu: &Cpu, insn: &Instruction, size: u64, alignment: u64, write: bool) -> Result<u64, Fault> {
    let address = cpu.operand_address(insn, size, write)?;
    if alignment == 16 {
        // FXSAVE and FXRSTOR: the words of their image come first (seen on family 1Ah).
        cpu.check_alignment(address, 4)?;
    }
    if address.is_multiple_of(alignment) { Ok(address) } else { Err(Fault::gp(0)) }
}

fn quad(bytes: &[u8], offset: usize) -> u64 {
    u64::from(word(bytes, offset)) | u64::from(word(bytes, offset + 4)) << 32
}

/// What the header must be for XRSTOR (SDM vol. 1, 13.8.1 and 13.8.2).
fn check_header(xcr0: u64, bytes: &[u8]) -> Result<(), Fault> {
    let (state, format) = (quad(bytes, HEADER), quad(bytes, HEADER + 8));
    let compacted = format & COMPACTED != 0;
    let components = if compacted { format & !COMPACTED } else { xcr0 };
    let zero_from = HEADER + if compacted { 16 } else { 8 };
    let zero_to = HEADER + if compacted { 64 } else { 24 };
    let reserved = bytes[zero_from..zero_to].iter().any(|byte| *byte != 0);
    if reserved || components & !xcr0 != 0 || state & !components != 0 { Err(Fault::gp(0)) } else { Ok(()) }
}

/// Loads components from an image whose XCOMP_BV is `format`; MXCSR is not among them.
fn load(cpu: &mut Cpu, components: u64, bytes: &[u8], format: u64, wide: bool) {
    if components & X87 != 0 {
        area::set_environment(cpu, bytes, wide);
        cpu.processor.fpu.0[area::stack()].copy_from_slice(&bytes[area::stack()]);
    }
    for part in area::vectors().iter().filter(|part| components & part.component != 0) {
        let (here, there) = (part.reached(cpu), part.there(cpu, format));
        cpu.processor.fpu.0[here].copy_from_slice(&bytes[there]);
    }
}

pub fn xsave(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    Transfer::new(cpu, insn, true)?.save_standard(cpu, false)
}

pub fn xsaveopt(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    Transfer::new(cpu, insn, true)?.save_standard(cpu, true)
}

pub fn xsavec(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    Transfer::new(cpu, insn, true)?.save_compacted(cpu)
}

/// With no supervisor components (IA32_XSS is zero) XSAVES is XSAVEC for CPL 0.
pub fn xsaves(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let transfer = Transfer::new(cpu, insn, true)?;
    supervisor(cpu)?;
    transfer.save_compacted(cpu)
}

pub fn xrstor(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    Transfer::new(cpu, insn, false)?.restore(cpu)
}

/// XRSTORS takes the compacted form only.
pub fn xrstors(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let transfer = Transfer::new(cpu, insn, false)?;
    supervisor(cpu)?;
    let header = transfer.read(cpu, TO_HEADER)?;
    if quad(&header, HEADER + 8) & COMPACTED == 0 {
        return Err(Fault::gp(0));
    }
    transfer.restore(cpu)
}

fn supervisor(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.cpl == 0 { Ok(()) } else { Err(Fault::gp(0)) }
}

/// FXSAVE and FXRSTOR leave XMM registers alone in 64-bit mode at CPL 0 with EFER.FFXSR (APM vol. 2, 11.4.4.3).
fn legacy_components(cpu: &Cpu) -> u64 {
    let fast = cpu.processor.regs.efer & efer::FFXSR != 0
        && cpu.processor.regs.code64()
        && cpu.processor.regs.cpl == 0;
    if fast || cpu.processor.regs.cr4 & cr4::OSFXSR == 0 { X87 } else { X87 | SSE }
}

pub fn fxsave(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    require_mmx(cpu)?;
    let address = aligned(cpu, insn, 512, 16, true)?;
    cpu.fpu_normalise();
    let mut bytes = [0; XMM + 256];
    bytes[..24].copy_from_slice(&area::environment(cpu, wide(insn)));
    bytes[MXCSR..MXCSR + 4].copy_from_slice(&area::mxcsr_value(cpu).to_le_bytes());
    bytes[MXCSR + 4..MXCSR + 8].copy_from_slice(&area::mxcsr_mask(cpu).to_le_bytes());
    bytes[area::stack()].copy_from_slice(&cpu.processor.fpu.0[area::stack()]);
    bytes[area::xmm(cpu)].copy_from_slice(&cpu.processor.fpu.0[area::xmm(cpu)]);
    let size = if legacy_components(cpu) & SSE != 0 { area::xmm(cpu).end } else { XMM };
    cpu.probe_write(address, 512, Privilege::Current)?;
    cpu.write_linear(address, &bytes[..size], Privilege::Current)?;
    Ok(Next::Advance)
}

pub fn fxrstor(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    require_mmx(cpu)?;
    let address = aligned(cpu, insn, 512, 16, false)?;
    let mut bytes = [0; XMM + 352];
    cpu.read_linear(address, &mut bytes[..512], Privilege::Current)?;
    let mxcsr = word(&bytes, MXCSR);
    let sse = cpu.processor.regs.cr4 & cr4::OSFXSR != 0;
    if sse && mxcsr & !area::mxcsr_mask(cpu) != 0 {
        return Err(Fault::gp(0));
    }
    cpu.fpu_normalise();
    let components = legacy_components(cpu);
    load(cpu, components, &bytes, 0, wide(insn));
    Ok(if sse { area::set_mxcsr(cpu, mxcsr) } else { Next::Advance })
}
