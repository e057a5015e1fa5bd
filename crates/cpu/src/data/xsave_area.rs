//! Which bytes of the XSAVE area an instruction of the XSAVE and FXSAVE families moves (APM vol. 2, 11.5; SDM vol. 1,
//! chapter 13).

use crate::processor::x87::{Pointers, Selector};
use crate::{Cpu, Next};
use ireko_x86::cpuid::MISALIGNED_SSE;
use std::ops::Range;

pub use crate::xstate::*;

impl Part {
    /// What the mode can reach: the rest is neither saved nor restored (SDM vol. 1, 13.5).
    pub fn reached(&self, cpu: &Cpu) -> Range<usize> {
        self.at..self.at + if cpu.processor.regs.code64() { self.size } else { self.low }
    }

    /// The same bytes in an area of the guest's.
    pub fn there(&self, cpu: &Cpu, format: u64) -> Range<usize> {
        let start = if self.component == SSE { XMM } else { place(self.component, format) };
        start..start + self.reached(cpu).len()
    }
}

/// Registers that the mode can reach: 16 in 64-bit mode, else 8; the rest is neither saved nor restored.
fn registers(cpu: &Cpu) -> usize {
    if cpu.processor.regs.code64() { 16 } else { 8 }
}

pub fn xmm(cpu: &Cpu) -> Range<usize> {
    XMM..XMM + 16 * registers(cpu)
}

/// MXCSR and its mask of valid bits.
pub fn mxcsr() -> Range<usize> {
    MXCSR..MXCSR + 8
}

/// The first 24 bytes, x87 control words and pointers: without REX.W these are selector:offset. They are 0 while no
/// exception is pending (APM vol. 2, 11.4.4.3).
pub fn environment(cpu: &mut Cpu, wide: bool) -> [u8; 24] {
    let at = if cpu.x87_pending() { cpu.processor.x87 } else { Pointers::default() };
    let mut bytes = [0; 24];
    bytes[..5].copy_from_slice(&cpu.processor.fpu.0[..5]);
    bytes[6..8].copy_from_slice(&at.opcode.to_le_bytes());
    bytes[8..16].copy_from_slice(&at.instruction.to_le_bytes());
    bytes[16..24].copy_from_slice(&at.data.to_le_bytes());
    if !wide {
        bytes[12..16].copy_from_slice(&u32::from(at.code.value(&cpu.processor.regs)).to_le_bytes());
        bytes[20..24].copy_from_slice(&u32::from(at.segment.value(&cpu.processor.regs)).to_le_bytes());
    }
    bytes
}

/// The reverse: pointers are loaded whether or not an exception is pending.
pub fn set_environment(cpu: &mut Cpu, bytes: &[u8], wide: bool) {
    cpu.processor.fpu.0[..5].copy_from_slice(&bytes[..5]);
    cpu.processor.fpu.0[5] = 0;
    let long = |at: usize| u64::from(word(bytes, at));
    let (high, selectors) =
        if wide { ((long(12), long(20)), (0, 0)) } else { ((0, 0), (long(12), long(20))) };
    cpu.set_x87(Pointers {
        opcode: word(bytes, 6) as u16 & 0x7ff,
        instruction: long(8) | high.0 << 32,
        code: Selector::Loaded(selectors.0 as u16),
        data: long(16) | high.1 << 32,
        segment: Selector::Loaded(selectors.1 as u16),
    });
}

pub fn stack() -> Range<usize> {
    ST..ST + 128
}

/// The components that are not in their initial state, whatever XSTATE_BV says: XINUSE.
pub fn in_use(cpu: &Cpu) -> u64 {
    let area = &cpu.processor.fpu.0;
    let zero = |range: Range<usize>| area[range].iter().all(|byte| *byte == 0);
    let x87 = area[..2] != [0x7f, 0x03] || !zero(2..5) || !zero(stack());
    let control = mxcsr_value(cpu) != MXCSR_DEFAULT;
    let vectors =
        vectors().iter().filter(|part| !zero(part.here())).fold(0, |bits, part| bits | part.component);
    let bit = |on, component| if on { component } else { 0 };
    bit(x87, X87) | bit(control, SSE) | vectors | bit(cpu.processor.regs.pkru != 0, PKRU)
}

/// Puts components into their initial state; of the vector ones the registers that the mode can reach.
pub fn initialise(cpu: &mut Cpu, components: u64) {
    for part in vectors().iter().filter(|part| components & part.component != 0) {
        let range = part.reached(cpu);
        cpu.processor.fpu.0[range].fill(0);
    }
    let area = &mut cpu.processor.fpu.0;
    if components & X87 != 0 {
        area[..6].fill(0);
        area[..2].copy_from_slice(&[0x7f, 0x03]);
        area[stack()].fill(0);
    }
    if components & X87 != 0 {
        cpu.set_x87(Pointers::default());
    }
}

/// MXCSR.MM: the misaligned exception mask (APM vol. 1, 4.3.2).
pub const MM: u32 = 1 << 17;

/// The MXCSR bits that the processor has; the saved mask is zero until something saved the state.
pub fn mxcsr_mask(cpu: &Cpu) -> u32 {
    let mask = match word(&cpu.processor.fpu.0, MXCSR + 4) {
        0 => 0xffff,
        mask => mask,
    };
    mask & !MM | if cpu.processor.model.has(MISALIGNED_SSE) { MM } else { 0 }
}

/// The guest's MXCSR, of which MM is not in the area where the host lacks it.
pub fn mxcsr_value(cpu: &Cpu) -> u32 {
    word(&cpu.processor.fpu.0, MXCSR) | if cpu.processor.mm == Some(true) { MM } else { 0 }
}

/// Sets it, whose bits have been checked. What comes next may have to be translated otherwise.
pub fn set_mxcsr(cpu: &mut Cpu, value: u32) -> Next {
    let before = cpu.processor.mm;
    cpu.processor.mm = before.map(|_| value & MM != 0);
    let kept = if before.is_some() { value & !MM } else { value };
    cpu.processor.fpu.0[MXCSR..MXCSR + 4].copy_from_slice(&kept.to_le_bytes());
    if cpu.processor.mm == before { Next::Advance } else { Next::Resync }
}
