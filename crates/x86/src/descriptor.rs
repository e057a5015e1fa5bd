//! Descriptors and gates as memory holds them (APM vol. 2, 4.7 and 4.8), and the task-state segments (12.2).

use crate::Segment;

/// System descriptor types (APM vol. 2, tables 4-5 and 4-6).
pub mod kind {
    pub const TSS16_AVAILABLE: u8 = 1;
    pub const LDT: u8 = 2;
    pub const TSS16_BUSY: u8 = 3;
    pub const CALL16: u8 = 4;
    pub const TASK: u8 = 5;
    pub const INTERRUPT16: u8 = 6;
    pub const TRAP16: u8 = 7;
    pub const TSS32_AVAILABLE: u8 = 9;
    pub const TSS32_BUSY: u8 = 11;
    pub const CALL32: u8 = 12;
    pub const INTERRUPT32: u8 = 14;
    pub const TRAP32: u8 = 15;
}

/// Access byte: accessed (code and data), busy (TSS), and where the byte is in the descriptor.
pub const ACCESSED: u8 = 1;
pub const BUSY: u8 = 2;
pub const ACCESS_BYTE: u64 = 5;

/// Access rights of the segments of real and virtual-8086 mode.
pub const ATTR_REAL: u16 = 0x93;
pub const ATTR_V86: u16 = 0xf3;
/// Flat segments that SYSCALL, SYSRET, SYSENTER and SYSEXIT load: present, accessed, 4 GiB.
pub const ATTR_FLAT_CODE32: u16 = 0xc9b;
pub const ATTR_FLAT_CODE64: u16 = 0xa9b;
pub const ATTR_FLAT_DATA: u16 = 0xc93;
/// DPL 3 in the access rights.
pub const ATTR_DPL3: u16 = 0x60;

/// The low two bits of a selector.
pub const RPL: u16 = 3;
/// The table-indicator bit of a selector: LDT.
pub const TI: u16 = 4;

/// Bits of a selector error code (APM vol. 2, 8.4.1).
pub const ERROR_EXT: u32 = 1;
pub const ERROR_IDT: u32 = 2;

/// No selector, or the null selector with any RPL.
pub const fn is_null(selector: u16) -> bool {
    selector & !RPL == 0
}

/// The segment register that `raw`, the eight bytes of a descriptor, makes.
pub const fn segment(selector: u16, raw: u64) -> Segment {
    let attr = (raw >> 40 & 0xff | raw >> 44 & 0xf00) as u16;
    let limit = (raw & 0xffff | raw >> 32 & 0xf_0000) as u32;
    let limit = if attr & 1 << 11 != 0 { limit << 12 | 0xfff } else { limit };
    let base = raw >> 16 & 0xff_ffff | raw >> 32 & 0xff00_0000;
    Segment { base, limit, attr, selector }
}

/// A call, interrupt, trap or task gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    pub selector: u16,
    pub offset: u64,
    pub kind: u8,
    pub dpl: u8,
    pub present: bool,
    /// Call gates: parameters to copy.
    pub count: u8,
    /// Long-mode interrupt gates: entry of the interrupt stack table, 0 for none.
    pub ist: u8,
}

impl Gate {
    /// From the low eight bytes and, in long mode, the high eight.
    pub const fn new(low: u64, high: u64) -> Self {
        let kind = (low >> 40 & 0xf) as u8;
        let offset = low & 0xffff | if kind & 8 != 0 { low >> 32 & 0xffff_0000 | high << 32 } else { 0 };
        Self {
            selector: (low >> 16) as u16,
            offset,
            kind,
            dpl: (low >> 45 & 3) as u8,
            present: low >> 47 & 1 != 0,
            count: (low >> 32 & 0x1f) as u8,
            ist: (low >> 32 & 7) as u8,
        }
    }
    /// S must be 0 in a gate; bit 44 of the descriptor.
    pub const fn is_system(low: u64) -> bool {
        low >> 44 & 1 == 0
    }
    /// Offsets of 32 or 64 bits.
    pub const fn wide(&self) -> bool {
        self.kind & 8 != 0
    }
}

/// Offsets in the task-state segments (APM vol. 2, figures 12-3, 12-4 and 12-8).
pub mod tss {
    /// SP0, SS0 … of a 16-bit TSS, four bytes each.
    pub const STACK16: u64 = 2;
    /// ESP0, SS0 … of a 32-bit TSS, eight bytes each.
    pub const STACK32: u64 = 4;
    /// RSP0 … of a 64-bit TSS.
    pub const RSP0: u64 = 4;
    /// IST1 … of a 64-bit TSS.
    pub const IST1: u64 = 0x24;
    /// I/O-map base address.
    pub const IO_MAP_BASE: u64 = 0x66;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_code_descriptor_has_a_scaled_limit() {
        let code = segment(8, 0x00cf_9b00_0000_ffff);
        assert_eq!(code, Segment { base: 0, limit: u32::MAX, attr: 0xc9b, selector: 8 });
    }

    #[test]
    fn a_base_is_put_together_from_its_three_parts() {
        assert_eq!(segment(0, 0x1200_9334_5678_ffff).base, 0x1234_5678);
    }

    #[test]
    fn a_long_gate_has_its_64_bit_offset() {
        let gate = Gate::new(0x8181_8e01_0010_2345, 0xffff_ffff);
        assert_eq!((gate.offset, gate.selector, gate.ist), (0xffff_ffff_8181_2345, 0x10, 1));
    }
}
