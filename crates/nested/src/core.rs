//! What the vendor half may ask of the processor.

use crate::Shadow;
use ireko_x86::Registers;

/// What part of the translation caches to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Everything of every ASID.
    All,
    /// One ASID; global pages stay where told so.
    Asid { asid: u32, keep_global: bool },
    /// One page of one ASID.
    Page { asid: u32, address: u64 },
}

/// The longest instruction, and so what decode assists give at most.
pub const INSTRUCTION: usize = 15;

/// The bytes of an instruction, as many as could be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstructionBytes {
    pub bytes: [u8; INSTRUCTION],
    pub count: usize,
}

/// The processor, as entry and exit see it. A test implements it with plain fields.
pub trait Core {
    fn regs(&mut self) -> &mut Registers;
    /// Bits of the widest linear addresses that the processor has.
    fn linear_bits(&self) -> u32;
    /// Reads system-physical memory; `false` if there is none.
    fn read_physical(&mut self, address: u64, data: &mut [u8]) -> bool;
    fn write_physical(&mut self, address: u64, data: &[u8]) -> bool;
    fn flush(&mut self, what: Flush);
    fn shadow(&self) -> Shadow;
    fn set_shadow(&mut self, shadow: Shadow);
    /// What RDMSR gives, whoever asks; `None`: there is no such MSR.
    fn read_msr(&mut self, number: u32) -> Option<u64>;
    /// What WRMSR does; `false`: it is refused.
    fn write_msr(&mut self, number: u32, value: u64) -> bool;
    /// Blocked NMIs (until IRET).
    fn nmi_blocked(&self) -> bool;
    fn set_nmi_blocked(&mut self, on: bool);
    /// Task priority (CR8).
    fn tpr(&mut self) -> u8;
    fn set_tpr(&mut self, tpr: u8);
    /// The global interrupt flag.
    fn set_gif(&mut self, on: bool);
}
