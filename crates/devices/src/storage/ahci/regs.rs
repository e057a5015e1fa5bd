//! Registers and memory structures of a Serial ATA host bus adapter (AHCI 1.3.1, 3 and 4).

/// The ICH9's, in AHCI mode.
pub const ICH9_AHCI: u16 = 0x2922;
pub const CLASS: u32 = 0x01_06_01;
pub const REVISION: u8 = 2;
/// Port control and status, which drivers for the ICH look at; ports are enabled there.
pub const MAP: usize = 0x90;
pub const MAP_AHCI: u8 = 0x40;
pub const PCS: usize = 0x92;
pub const BAR: usize = 5;
pub const BAR_SIZE: u64 = 0x2000;
pub const PORTS: usize = 32;

pub const CAP: u64 = 0x00;
pub const GHC: u64 = 0x04;
pub const IS: u64 = 0x08;
pub const PI: u64 = 0x0c;
pub const VS: u64 = 0x10;
/// 32 slots, first generation of speed, native queueing, 64 bits, AHCI only.
pub const CAP_FIXED: u32 = 31 << 8 | 1 << 18 | 1 << 20 | 1 << 30 | 1 << 31;
pub const GHC_RESET: u32 = 1 << 0;
pub const GHC_INTERRUPTS: u32 = 1 << 1;
pub const GHC_AHCI: u32 = 1 << 31;
pub const VERSION: u32 = 0x0001_0301;

pub const PORT: u64 = 0x100;
pub const PORT_SIZE: u64 = 0x80;
pub const CLB: u64 = 0x00;
pub const CLBU: u64 = 0x04;
pub const FB: u64 = 0x08;
pub const FBU: u64 = 0x0c;
pub const PXIS: u64 = 0x10;
pub const PXIE: u64 = 0x14;
pub const CMD: u64 = 0x18;
pub const TFD: u64 = 0x20;
pub const SIG: u64 = 0x24;
pub const SSTS: u64 = 0x28;
pub const SCTL: u64 = 0x2c;
pub const SERR: u64 = 0x30;
pub const SACT: u64 = 0x34;
pub const CI: u64 = 0x38;

pub const CLB_ALIGN: u64 = 0x3ff;
pub const FB_ALIGN: u64 = 0xff;
pub const PXIE_WRITABLE: u32 = 0xfdc0_00ff;
pub const CMD_START: u32 = 1 << 0;
pub const CMD_OVERRIDE: u32 = 1 << 3;
pub const CMD_RECEIVE: u32 = 1 << 4;
pub const CMD_RECEIVING: u32 = 1 << 14;
pub const CMD_RUNNING: u32 = 1 << 15;
/// Start, spin-up, power, receive, ATAPI and its LED.
pub const CMD_WRITABLE: u32 = 0x0300_0017;
pub const CMD_SLOT_SHIFT: u32 = 8;
/// A device, at the first speed, not asleep.
pub const SSTS_PRESENT: u32 = 0x113;
pub const SCTL_DETECT: u32 = 0xf;
pub const SCTL_WRITABLE: u32 = 0xfff;

/// Interrupts: of a register, a PIO setup and a set-device-bits FIS; a task file's error.
pub const INT_REGISTER: u32 = 1 << 0;
pub const INT_PIO: u32 = 1 << 1;
pub const INT_BITS: u32 = 1 << 3;
pub const INT_ERROR: u32 = 1 << 30;

/// A command header: its flags, bytes moved, where the table is (4.2.2).
pub const HEADER_SIZE: u64 = 32;
pub const HEADER_MOVED: u64 = 4;
pub const HEADER_ATAPI: u32 = 1 << 5;
/// A command table: FIS, ATAPI command, regions (4.2.3).
pub const TABLE_PACKET: usize = 0x40;
pub const TABLE_REGIONS: usize = 0x80;
pub const REGION_SIZE: usize = 16;
pub const REGION_COUNT: u64 = 0x3f_ffff;

/// Where FISes are received (4.2.1), and what they are (SATA 3.0, 10.3).
pub const RECEIVED_PIO: u64 = 0x20;
pub const RECEIVED_REGISTER: u64 = 0x40;
pub const RECEIVED_BITS: u64 = 0x58;
pub const FIS_HOST: u8 = 0x27;
pub const FIS_REGISTER: u8 = 0x34;
pub const FIS_PIO: u8 = 0x5f;
pub const FIS_BITS: u8 = 0xa1;
pub const FIS_INTERRUPT: u8 = 1 << 6;
pub const FIS_TO_HOST: u8 = 1 << 5;
/// Of a host's FIS: it has a command, not only the control register.
pub const FIS_COMMAND: u8 = 1 << 7;
pub const CONTROL_RESET: u8 = 1 << 2;
