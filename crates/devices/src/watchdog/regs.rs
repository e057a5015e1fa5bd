//! The watchdog timer of Intel's 6300ESB (data sheet 300641, chapter 18): configuration space and memory.

pub const INTEL: u16 = 0x8086;
pub const DEVICE: u16 = 0x25ab;
/// A peripheral of the system's, of no kind that has a number.
pub const CLASS: u32 = 0x08_80_00;
pub const BAR: usize = 0;
pub const BAR_SIZE: u64 = 16;

/// What the first stage does, the unit of time, and whether the second one does nothing.
pub const CONFIGURATION: usize = 0x60;
pub const INTERRUPT_TYPE: u16 = 0b11;
pub const BY_WIRE: u16 = 0;
/// Without it a unit is 2^15 cycles of PCI's clock, with it 2^5.
pub const FAST: u16 = 1 << 2;
pub const NO_OUTPUT: u16 = 1 << 5;

/// Whether it runs, begins anew by itself, and stays so until reset.
pub const LOCK: usize = 0x68;
pub const LOCKED: u8 = 1 << 0;
pub const ENABLED: u8 = 1 << 1;
pub const FREE_RUNNING: u8 = 1 << 2;

/// In memory: how long the stages are, in 20 bits.
pub const STAGES: [u64; 2] = [0, 4];
pub const LONGEST: u32 = (1 << 20) - 1;
/// The first stage has ended; writing it clears it.
pub const INTERRUPT: u64 = 8;
pub const INTERRUPTS: u8 = 1;
/// Written with these two values, one after the other, it lets the next write through.
pub const RELOAD: u64 = 12;
pub const KEYS: [u16; 2] = [0x80, 0x86];
/// Begins the first stage anew.
pub const BEGIN: u16 = 1 << 8;
/// The second stage has ended; writing it clears it.
pub const TIMED_OUT: u16 = 1 << 9;

/// PCI's clock: 33 MHz.
pub const MEGAHERTZ: u64 = 33;
