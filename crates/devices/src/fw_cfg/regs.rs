//! fw_cfg's ports, keys and DMA descriptor, as QEMU's `docs/specs/fw_cfg` has them.

/// Selector (16 bits), data.
pub const PORTS: u64 = 2;
pub const SELECTOR: u64 = 0;
pub const DATA: u64 = 1;
/// DMA address, big endian; writing the low half starts it.
pub const DMA_SIZE: u64 = 8;
pub const DMA_LOW: u64 = 4;
/// What the DMA address register reads as.
pub const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";

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
/// Interfaces: the traditional one and DMA.
pub const ID: u32 = 1 | 1 << 1;
pub const FILE_NAME_SIZE: usize = 56;

/// DMA descriptor: control, length, address, big endian.
pub const DESCRIPTOR_SIZE: usize = 16;
pub const CONTROL_ERROR: u32 = 1 << 0;
pub const CONTROL_READ: u32 = 1 << 1;
pub const CONTROL_SKIP: u32 = 1 << 2;
/// The key is in the upper 16 bits.
pub const CONTROL_SELECT: u32 = 1 << 3;
pub const CONTROL_WRITE: u32 = 1 << 4;
