//! The state save area of system-management mode: offsets from SMBASE (APM vol. 2, table 10-1).

pub const AREA_AT: u64 = 0xfe00;
pub const AREA: usize = 0x200;

// Segments: selector, attributes, limit, base. Tables: limit and base at the same places.
pub const ES: u64 = 0xfe00;
pub const CS: u64 = 0xfe10;
pub const SS: u64 = 0xfe20;
pub const DS: u64 = 0xfe30;
pub const FS: u64 = 0xfe40;
pub const GS: u64 = 0xfe50;
pub const GDTR: u64 = 0xfe60;
pub const LDTR: u64 = 0xfe70;
pub const IDTR: u64 = 0xfe80;
pub const TR: u64 = 0xfe90;
/// Not 0: RSM goes back into HLT.
pub const AUTO_HALT: u64 = 0xfec9;
pub const EFER: u64 = 0xfed0;
/// Bit 0: a guest was interrupted.
pub const SVM_GUEST: u64 = 0xfed8;
pub const REVISION: u64 = 0xfefc;
pub const SMBASE: u64 = 0xff00;
pub const CR4: u64 = 0xff48;
pub const CR3: u64 = 0xff50;
pub const CR0: u64 = 0xff58;
pub const DR7: u64 = 0xff60;
pub const DR6: u64 = 0xff68;
pub const RFLAGS: u64 = 0xff70;
pub const RIP: u64 = 0xff78;
/// The first general register; the others lie below it.
pub const RAX: u64 = 0xfff8;

/// AMD64's area, with a base that the handler can move.
pub const REVISION_ID: u32 = 0x0002_0064;
/// SMBASE after RESET.
pub const BASE: u64 = 0x3_0000;

/// SMM_MASK: the segment of video memory, and the one of SMM_ADDR, are the mode's alone.
pub const ASEG_VALID: u64 = 1 << 0;
pub const TSEG_VALID: u64 = 1 << 1;
pub const VALID: u64 = ASEG_VALID | TSEG_VALID;
