//! Processor state and outcomes as both sides give them.

use ireko_cpu::data::xsave_area::{self as area, AVX512};
use ireko_cpu::host;
use std::sync::OnceLock;

/// Bytes that an XSAVE area may have here, in the host's standard form.
pub const XSAVE: usize = 3072;

/// Whether the host has AVX-512, and its system keeps the state.
pub fn has_avx512() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| host::xcr0() & AVX512 == AVX512)
}

/// Bytes of it that are in use: with x87, SSE and AVX, or what AVX-512 adds, too.
pub fn used() -> usize {
    if has_avx512() { area::here().high_zmm + 1024 } else { 832 }
}

/// User-visible state at the start and at the end of a string.
#[repr(C)]
#[derive(Clone)]
pub struct ArchitecturalState {
    /// In encoding order.
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub fs: u64,
    pub gs: u64,
    pub xsave: [u8; XSAVE],
}

impl Default for ArchitecturalState {
    fn default() -> Self {
        let mut xsave = [0; XSAVE];
        xsave[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
        xsave[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        xsave[512] = if has_avx512() { 0xe7 } else { 7 };
        Self { gpr: [0; 16], rip: 0, rflags: 0x202, fs: 0, gs: 0, xsave }
    }
}

impl ArchitecturalState {
    /// Gives components in their initial state (XSTATE_BV clear) the bytes of that state.
    pub fn normalise(&mut self) {
        let present = self.xsave[512];
        if present & 1 == 0 {
            self.xsave[..24].fill(0);
            self.xsave[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
            self.xsave[32..160].fill(0);
        }
        for part in area::vectors().iter().filter(|part| present as u64 & part.component == 0) {
            self.xsave[part.here()].fill(0);
        }
    }
    pub fn word(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.xsave[offset], self.xsave[offset + 1]])
    }
    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes([self.xsave[24], self.xsave[25], self.xsave[26], self.xsave[27]])
    }
}

/// How a string ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Exception vector; 3 is the normal end.
    pub vector: u64,
    pub error: u64,
    pub cr2: u64,
}

/// A finished run.
#[derive(Clone)]
pub struct Outcome {
    pub end: End,
    pub state: ArchitecturalState,
    /// All of the arena.
    pub memory: Vec<u8>,
}
