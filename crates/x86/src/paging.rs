//! Page-table entries and nested page fault codes (APM vol. 2, 5.3 and 15.25).

/// Physical address bits of the processors we present (CPUID 8000_0008h): as many as other virtual machines have, and enough for
/// 1 TiB. Firmware maps all that there could be before it looks for an operating system, Debian's OVMF of 4 MiB by pages of 2 MiB.
pub const PHYSICAL_BITS: u32 = 40;
/// Linear address bits of 4-level and of 5-level paging.
pub const LINEAR_BITS: u32 = 48;
pub const LINEAR_BITS_5: u32 = 57;

/// Copies the highest of `bits` address bits to those above it (APM vol. 2, 5.3.1).
pub const fn canonicalize(address: u64, bits: u32) -> u64 {
    ((address << (64 - bits)) as i64 >> (64 - bits)) as u64
}

/// Physical address bits as a mask.
pub const PHYSICAL_MASK: u64 = (1 << PHYSICAL_BITS) - 1;

/// Bits `low..=high`.
pub const fn bits(low: u32, high: u32) -> u64 {
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

/// Bits of an entry.
pub mod entry {
    pub const P: u64 = 1 << 0;
    pub const RW: u64 = 1 << 1;
    pub const US: u64 = 1 << 2;
    pub const PWT: u64 = 1 << 3;
    pub const PCD: u64 = 1 << 4;
    pub const A: u64 = 1 << 5;
    pub const D: u64 = 1 << 6;
    /// Page size, in an entry above the lowest level.
    pub const PS: u64 = 1 << 7;
    pub const G: u64 = 1 << 8;
    pub const NX: u64 = 1 << 63;
    /// Lowest of the four bits of a protection key.
    pub const KEY_SHIFT: u32 = 59;
    /// The address field of an 8-byte entry.
    pub const ADDRESS: u64 = super::bits(12, 51);
}

/// Bits of an entry of extended page tables (SDM vol. 3, tables 29-1 to 29-7).
pub mod ept {
    pub const READ: u64 = 1 << 0;
    pub const WRITE: u64 = 1 << 1;
    pub const EXECUTE: u64 = 1 << 2;
    /// Memory type, in an entry that maps a page.
    pub const TYPE: u64 = 7 << 3;
    pub const ACCESSED: u64 = 1 << 8;
    pub const DIRTY: u64 = 1 << 9;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_bit_range_includes_both_ends() {
        assert_eq!(super::bits(12, 15), 0xf000);
        assert_eq!(super::bits(52, 63), 0xfff0_0000_0000_0000);
    }
}
