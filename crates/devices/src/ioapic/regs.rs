//! I/O APIC registers (Intel 82093AA data sheet, section 3; EOI register: ICH data sheets, "I/O APIC").

pub const PINS: usize = 24;
pub const SIZE: u64 = 0x100;

/// Memory-mapped registers.
pub const IOREGSEL: u64 = 0x00;
pub const IOWIN: u64 = 0x10;
pub const EOI: u64 = 0x40;

/// Indirect registers.
pub const ID: u8 = 0x00;
pub const VERSION: u8 = 0x01;
pub const ARBITRATION: u8 = 0x02;
/// Low and high halves of each redirection entry.
pub const REDIRECTION: u8 = 0x10;
/// Version 0x20 has the EOI register.
pub const VERSION_VALUE: u32 = 0x20 | ((PINS as u32 - 1) << 16);

/// Redirection entry: bits 7:0 the vector.
pub const VECTOR: u64 = 0xff;
/// Bits 10:8.
pub const DELIVERY_MODE: u64 = 7 << 8;
pub const DELIVERY_FIXED: u64 = 0 << 8;
pub const DELIVERY_LOWEST: u64 = 1 << 8;
pub const LOGICAL: u64 = 1 << 11;
pub const REMOTE_IRR: u64 = 1 << 14;
pub const LEVEL: u64 = 1 << 15;
pub const MASKED: u64 = 1 << 16;
pub const DESTINATION_SHIFT: u32 = 56;
/// Bits that software can set: all but delivery status and remote IRR, none reserved.
pub const WRITABLE: u64 = 0xff00_0000_0001_afff;

/// All that an entry can hold, and the ID register.
pub const SAVED_ENTRY: u64 = WRITABLE | REMOTE_IRR;
pub const SAVED_ID: u32 = 0x0f00_0000;

/// Message address and data (SDM vol. 3, "Message Signalled Interrupts").
pub const MSI_ADDRESS: u64 = 0xfee0_0000;
pub const MSI_DESTINATION_SHIFT: u32 = 12;
pub const MSI_LOGICAL: u64 = 1 << 2;
pub const MSI_ASSERT: u32 = 1 << 14;
pub const MSI_LEVEL: u32 = 1 << 15;
