//! Ports of the test devices, as bare-metal test kernels expect them.

/// isa-debug-exit.
pub const EXIT_SIZE: u64 = 4;

/// pc-testdev: echo port, flush port, byte echo port, four bytes each.
pub const ECHO_SIZE: u64 = 12;
pub const FLUSH: std::ops::Range<u64> = 4..8;
/// One port an interrupt line.
pub const LINES: u64 = 24;
/// Echo memory.
pub const MEMORY_SIZE: usize = 0x1_0000;

/// fw_cfg: selector (16 bits), data.
pub const FW_CFG_PORTS: u64 = 2;
pub const FW_CFG_SELECTOR: u64 = 0;
pub const FW_CFG_DATA: u64 = 1;

pub const KEY_SIGNATURE: u16 = 0x00;
pub const KEY_ID: u16 = 0x01;
/// Bytes of memory, 64 bits.
pub const KEY_RAM_SIZE: u16 = 0x03;
pub const KEY_CPUS: u16 = 0x05;
pub const KEY_MAX_CPUS: u16 = 0x0f;
pub const KEY_DIRECTORY: u16 = 0x19;
pub const KEY_FIRST_FILE: u16 = 0x20;
/// Bits of a key that name an item; the others ask for writing and for architecture-specific items.
pub const KEY_BITS: u16 = 0xbfff;
/// Interface revision: the traditional one, without DMA.
pub const ID_TRADITIONAL: u32 = 1;
pub const FILE_NAME_SIZE: usize = 56;
