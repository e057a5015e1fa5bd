//! Registers of the PIIX3's IDE function (82371SB data sheet, 2.3 and 2.7).

pub const PIIX3_IDE: u16 = 0x7010;
/// Both channels at their old places, and a bus master.
pub const CLASS: u32 = 0x01_01_80;
/// Timing of each channel; it is there if its upper bit is set.
pub const TIMING: usize = 0x40;
pub const TIMING_DECODED: u16 = 1 << 15;
pub const MASTER_BAR: usize = 4;
pub const MASTER_SIZE: u64 = 16;

/// Where command and control blocks are, of both channels.
pub const PLACES: [u64; 4] = [0x1f0, 0x3f6, 0x170, 0x376];
pub const BLOCK: u64 = 8;
pub const IRQS: [u32; 2] = [14, 15];

pub const DATA: u64 = 0;
pub const ERROR: u64 = 1;
pub const COUNT: u64 = 2;
pub const LOW: u64 = 3;
pub const MIDDLE: u64 = 4;
pub const HIGH: u64 = 5;
pub const DEVICE: u64 = 6;
pub const STATUS: u64 = 7;

pub const DEVICE_SECOND: u8 = 1 << 4;
pub const CONTROL_NO_INTERRUPT: u8 = 1 << 1;
pub const CONTROL_RESET: u8 = 1 << 2;
/// Registers show their previous values.
pub const CONTROL_PREVIOUS: u8 = 1 << 7;

/// Of a bus master: command, status, where the table is.
pub const MASTER_START: u8 = 1 << 0;
pub const MASTER_TO_MEMORY: u8 = 1 << 3;
pub const MASTER_ACTIVE: u8 = 1 << 0;
pub const MASTER_ERROR: u8 = 1 << 1;
pub const MASTER_INTERRUPT: u8 = 1 << 2;
/// That drives are set up for it is for software only.
pub const MASTER_WRITABLE: u8 = 0x60;

/// A table lies within 64 KiB.
pub const TABLE_ENTRIES: usize = 8192;
pub const TABLE_ENTRY: usize = 8;
pub const TABLE_LAST: u8 = 1 << 7;
