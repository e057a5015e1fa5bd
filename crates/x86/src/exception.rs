//! Exceptions as the processor raises them (APM vol. 2, 8.2).

pub mod vector {
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
    pub const XM: u8 = 19;
}

/// The manual's name of a vector below 32 (APM vol. 2, table 8-1).
pub const fn name(vector: u8) -> &'static str {
    const NAMES: [&str; 32] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
        "#PF", "15", "#MF", "#AC", "#MC", "#XF", "20", "#CP", "22", "23", "24", "25", "26", "27", "#HV",
        "#VC", "#SX", "31",
    ];
    if vector < 32 { NAMES[vector as usize] } else { "no exception" }
}

/// One exception with what it brings: an error code, and for a page fault the address, for #DB the DR6 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    pub vector: u8,
    pub error: Option<u32>,
    /// #PF: the faulting linear address. #DB: the bits to set in DR6. Otherwise 0.
    pub payload: u64,
}

impl Exception {
    pub const fn new(vector: u8) -> Self {
        Self { vector, error: None, payload: 0 }
    }
    pub const fn with_error(vector: u8, error: u32) -> Self {
        Self { vector, error: Some(error), payload: 0 }
    }
    /// #GP with a selector error code.
    pub const fn gp(error: u32) -> Self {
        Self::with_error(vector::GP, error)
    }
    pub const fn ud() -> Self {
        Self::new(vector::UD)
    }
    pub const fn nm() -> Self {
        Self::new(vector::NM)
    }
    pub const fn page_fault(address: u64, error: u32) -> Self {
        Self { vector: vector::PF, error: Some(error), payload: address }
    }
    pub const fn debug(dr6: u64) -> Self {
        Self { vector: vector::DB, error: None, payload: dr6 }
    }
}
