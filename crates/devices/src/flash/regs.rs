//! Commands and status of Intel's flash command set (Intel StrataFlash data sheet J3, tables 4 and 15).

/// Blocks are erased as wholes.
pub const BLOCK: u64 = 4096;

pub const READ_ARRAY: u8 = 0xff;
pub const READ_STATUS: u8 = 0x70;
pub const CLEAR_STATUS: u8 = 0x50;
pub const PROGRAM: u8 = 0x10;
pub const PROGRAM_ALTERNATE: u8 = 0x40;
pub const ERASE: u8 = 0x20;
pub const ERASE_CONFIRM: u8 = 0xd0;

pub const STATUS_READY: u8 = 1 << 7;
pub const STATUS_ERASE_FAILED: u8 = 1 << 5;
pub const STATUS_PROGRAM_FAILED: u8 = 1 << 4;
/// A wrong sequence of commands sets both.
pub const STATUS_SEQUENCE: u8 = STATUS_ERASE_FAILED | STATUS_PROGRAM_FAILED;
