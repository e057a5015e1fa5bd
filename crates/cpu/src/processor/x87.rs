//! Where the last x87 instruction was, and what it accessed (APM vol. 1, 6.2.6).

use ireko_x86::Registers;

/// FOP, FIP and FDP with their selectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    pub opcode: u16,
    pub instruction: u64,
    pub code: Selector,
    pub data: u64,
    pub segment: Selector,
}

/// The selector of a pointer. A program that stores it has the segments in force that its x87 instruction had; who interrupts it meanwhile has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// That of a segment register, by its number.
    Of(u8),
    /// It came with an image that was loaded.
    Loaded(u16),
}

impl Default for Selector {
    fn default() -> Self {
        Self::Loaded(0)
    }
}

impl Selector {
    pub fn value(self, regs: &Registers) -> u16 {
        match self {
            Self::Of(number) => regs.seg.get(usize::from(number)).map_or(0, |segment| segment.selector),
            Self::Loaded(value) => value,
        }
    }
}
