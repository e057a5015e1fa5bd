//! PCI configuration space (PCI Local Bus Specification 3.0, chapter 6) and configuration mechanism 1 (3.2.2.3.2).

/// Bytes of a function's configuration space that exist.
pub const CONFIG_SIZE: usize = 256;
pub const SLOTS: usize = 32;
/// Functions of a bus: slot << 3 | function.
pub const FUNCTIONS: usize = SLOTS << 3;
pub const BARS: usize = 6;

pub const VENDOR: usize = 0x00;
pub const DEVICE: usize = 0x02;
pub const COMMAND: usize = 0x04;
pub const STATUS: usize = 0x06;
pub const REVISION: usize = 0x08;
/// Programming interface, subclass, class.
pub const CLASS: usize = 0x09;
pub const CACHE_LINE: usize = 0x0c;
pub const HEADER_TYPE: usize = 0x0e;
/// Header type: the slot has more functions.
pub const MULTIPLE_FUNCTIONS: u8 = 1 << 7;
pub const BAR0: usize = 0x10;
pub const SUBSYSTEM_VENDOR: usize = 0x2c;
pub const SUBSYSTEM: usize = 0x2e;
pub const CAPABILITIES: usize = 0x34;
pub const INTERRUPT_LINE: usize = 0x3c;
pub const INTERRUPT_PIN: usize = 0x3d;
/// The first byte behind the type 0 header.
pub const HEADER_END: usize = 0x40;

pub const COMMAND_IO: u16 = 1 << 0;
pub const COMMAND_MEMORY: u16 = 1 << 1;
pub const COMMAND_MASTER: u16 = 1 << 2;
pub const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Command bits that can be set: the above, parity and SERR.
pub const COMMAND_WRITABLE: u16 = 0x0547;
pub const STATUS_INTERRUPT: u16 = 1 << 3;
pub const STATUS_CAPABILITIES: u16 = 1 << 4;

/// BAR: port space.
pub const BAR_IO: u32 = 1 << 0;
/// BAR: 64 bits wide.
pub const BAR_64: u32 = 2 << 1;
pub const BAR_PREFETCHABLE: u32 = 1 << 3;
/// Smallest sizes that the low bits allow.
pub const BAR_IO_LEAST: u64 = 4;
pub const BAR_MEMORY_LEAST: u64 = 16;

/// Ports of mechanism 1: address, data.
pub const CONFIG_PORTS: u64 = 8;
pub const CONFIG_ADDRESS: u64 = 0;
pub const CONFIG_RESET: u64 = 1;
pub const CONFIG_DATA: u64 = 4;
/// Address register: enable, and the bits that can be set.
pub const CONFIG_ENABLE: u32 = 1 << 31;
pub const CONFIG_ADDRESS_BITS: u32 = 0x80ff_fffc;

/// One bus of ECAM: 4 KiB a function (PCI Express Base, 7.2.2).
pub const ECAM_SIZE: u64 = 1 << 20;
pub const ECAM_FUNCTION_SHIFT: u32 = 12;

/// MSI-X capability (6.8.2): id, its length, and message control.
pub const MSIX_ID: u8 = 0x11;
pub const MSIX_CONTROL: usize = 2;
pub const MSIX_ENABLE: u16 = 1 << 15;
pub const MSIX_FUNCTION_MASK: u16 = 1 << 14;
/// Table entry: address, data, vector control.
pub const MSIX_ENTRY: usize = 16;
pub const MSIX_ENTRY_MASKED: u32 = 1 << 0;

/// The host bridge: Red Hat's generic PCI Express host bridge, class 06 00.
pub const BRIDGE_VENDOR: u16 = 0x1b36;
pub const BRIDGE_DEVICE: u16 = 0x0008;
pub const BRIDGE_CLASS: u32 = 0x06_00_00;
