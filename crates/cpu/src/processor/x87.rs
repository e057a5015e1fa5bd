//! Where the last x87 instruction was, and what it accessed (APM vol. 1, 6.2.6).

/// FOP, FIP and FDP with their selectors, as programs see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    pub opcode: u16,
    pub instruction: u64,
    pub code: u16,
    pub data: u64,
    pub segment: u16,
}
