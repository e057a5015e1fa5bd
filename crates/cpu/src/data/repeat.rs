//! What all string instructions share: operands in rSI and rDI, direction, count, and restart in the middle.

use super::flags;
use crate::operand::{mask, segment_index};
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, OpKind, Register};
use ireko_x86::bits::rflags::{DF, TF};
use ireko_x86::regs::{gpr, seg};

/// Bytes that a repeated instruction moves before it lets interrupts in.
const BUDGET: u64 = 64 * 1024;
/// What an element that goes alone (MMIO, page crossings, ports) costs of the budget.
const ALONE: u64 = 64;

/// A string instruction, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Bytes of an element.
    pub size: usize,
    /// Bytes of an address: 2, 4 or 8.
    pub address: usize,
    /// Segment of the operand at rSI.
    pub segment: usize,
    /// Any repeat prefix.
    pub repeat: bool,
    /// The prefix is REPNE (F2).
    pub repne: bool,
    /// Addresses go down.
    pub down: bool,
    /// 64-bit mode, 64-bit addresses going up, nothing looked at besides: what [`super::bulk`] takes.
    pub plain: bool,
}

/// What one step of a repeated instruction got done.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub elements: u64,
    /// The condition of REPE or REPNE ended it.
    pub stop: bool,
}

impl Step {
    pub const ONE: Self = Self { elements: 1, stop: false };

    pub const fn of(elements: u64) -> Self {
        Self { elements, stop: false }
    }
}

impl Form {
    pub fn new(cpu: &Cpu, insn: &Instruction, size: usize) -> Self {
        // One of the first two operands is in memory.
        let address = address_size(insn.op0_kind()).or_else(|| address_size(insn.op1_kind())).unwrap_or(8);
        let repne = insn.has_repne_prefix();
        let down = cpu.processor.regs.rflags & DF != 0;
        let looked_at = crate::breakpoints::armed(cpu) || cpu.checks_alignment();
        Self {
            size,
            address,
            segment: segment_index(insn.memory_segment()),
            repeat: repne || insn.has_rep_prefix(),
            repne,
            down,
            plain: !down && address == 8 && cpu.processor.regs.code64() && !looked_at,
        }
    }

    /// Binary logarithm of the size.
    pub fn shift(&self) -> u32 {
        self.size.trailing_zeros()
    }

    /// Offset in rSI or rDI.
    pub fn offset(&self, cpu: &Cpu, register: usize) -> u64 {
        cpu.processor.regs.gpr[register] & mask(self.address)
    }

    /// Linear address of the element at rSI.
    pub fn source(&self, cpu: &Cpu) -> Result<u64, Fault> {
        let linear = cpu.linear(self.segment, self.offset(cpu, gpr::RSI), self.size as u64, false)?;
        cpu.check_alignment(linear, self.size).map(|()| linear)
    }

    /// Linear address of the element at rDI, which no prefix moves out of ES.
    pub fn destination(&self, cpu: &Cpu, write: bool) -> Result<u64, Fault> {
        let linear = cpu.linear(seg::ES, self.offset(cpu, gpr::RDI), self.size as u64, write)?;
        cpu.check_alignment(linear, self.size).map(|()| linear)
    }

    /// Moves rSI or rDI over `elements`.
    pub fn advance(&self, cpu: &mut Cpu, register: usize, elements: u64) {
        let bytes = elements.wrapping_mul(self.size as u64);
        let delta = if self.down { bytes.wrapping_neg() } else { bytes };
        self.add(cpu, register, delta);
    }

    fn add(&self, cpu: &mut Cpu, register: usize, delta: u64) {
        let value = cpu.processor.regs.gpr[register].wrapping_add(delta);
        let first = match self.address {
            2 => Register::AX,
            4 => Register::EAX,
            _ => {
                cpu.processor.regs.gpr[register] = value;
                return;
            }
        };
        cpu.set_gpr(first + register as u32, value);
    }

    /// How many elements lie in the page of `linear` from there on in the direction, without a wrap of the offset;
    /// 0 if the first one already leaves the page.
    pub fn reach(&self, linear: u64, offset: u64) -> u64 {
        let (size, within) = (self.size as u64, linear & 0xfff);
        if within + size > 4096 {
            return 0;
        }
        if self.down {
            return (within >> self.shift()).min(offset >> self.shift()) + 1;
        }
        ((4096 - within) >> self.shift()).min((mask(self.address) - offset) >> self.shift())
    }

    /// Linear address of the lowest byte of `elements` elements from `offset` on in the direction, if segmentation
    /// lets all of them through.
    pub fn span(&self, cpu: &Cpu, segment: usize, offset: u64, elements: u64, write: bool) -> Option<u64> {
        let below = if self.down { (elements - 1) * self.size as u64 } else { 0 };
        cpu.linear(segment, offset.wrapping_sub(below), elements * self.size as u64, write).ok()
    }

    /// Element `n` in the direction out of a run of `elements` that was read into `bytes` from its lowest address.
    pub fn element(&self, bytes: &[u8], elements: u64, n: u64) -> u64 {
        let slot = if self.down { elements - 1 - n } else { n } as usize;
        let bytes = &bytes[slot * self.size..][..self.size];
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    /// Does the instruction: once, or while the count register lasts and no step says stop. `step` is given how many
    /// elements it may do at most, and advances rSI and rDI itself. Faults leave the registers at the faulting
    /// element and the flags as before the instruction (SDM vol. 2, REP); with the trap flag set, every element is a
    /// step of its own (APM vol. 2, 13.1.4).
    pub fn run(
        &self,
        cpu: &mut Cpu,
        mut step: impl FnMut(&mut Cpu, &Self, u64) -> Result<Step, Fault>,
    ) -> Result<Next, Fault> {
        if !self.repeat {
            step(cpu, self, 1)?;
            return Ok(Next::Advance);
        }
        let before = cpu.processor.regs.rflags;
        // A breakpoint on data traps behind the iteration that meets it.
        let watched = crate::breakpoints::data_armed(cpu);
        let mut single = before & TF != 0;
        let mut budget = if single { 1 } else { BUDGET };
        loop {
            let count = self.offset(cpu, gpr::RCX);
            if count == 0 {
                return Ok(Next::Advance);
            }
            if budget == 0 {
                if !single {
                    // A fault later on must find them.
                    cpu.processor.regs.rflags = before;
                }
                return Ok(Next::Jump);
            }
            let most = if watched { 1 } else { (budget + self.size as u64 - 1) >> self.shift() };
            let limit = count.min(most);
            let done = match step(cpu, self, limit) {
                Ok(done) => done,
                Err(fault) => {
                    cpu.processor.regs.rflags = before;
                    return Err(fault);
                }
            };
            self.add(cpu, gpr::RCX, done.elements.wrapping_neg());
            if done.stop {
                return Ok(Next::Advance);
            }
            let cost = if done.elements == 1 { ALONE } else { done.elements * self.size as u64 };
            budget = budget.saturating_sub(cost);
            if watched && cpu.processor.touched != 0 {
                (single, budget) = (true, 0);
            }
        }
    }

    /// Sets the flags of one comparison; `true` if the repeat prefix ends there.
    pub fn compared(&self, cpu: &mut Cpu, a: u64, b: u64) -> bool {
        flags::set(cpu, flags::of_compare(a, b, self.size));
        (a == b) == self.repne
    }
}

fn address_size(kind: OpKind) -> Option<usize> {
    match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Some(2),
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Some(4),
        OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => Some(8),
        _ => None,
    }
}
