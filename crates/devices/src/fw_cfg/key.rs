//! Numbers of the items with which firmware starts a kernel (QEMU's `qemu_fw_cfg.h`): sizes of 32 bits, little endian, and bytes.

pub const KERNEL_SIZE: u16 = 0x08;
pub const INITRD_SIZE: u16 = 0x0b;
pub const KERNEL_DATA: u16 = 0x11;
pub const INITRD_DATA: u16 = 0x12;
pub const COMMAND_LINE_SIZE: u16 = 0x14;
pub const COMMAND_LINE_DATA: u16 = 0x15;
pub const SETUP_SIZE: u16 = 0x17;
pub const SETUP_DATA: u16 = 0x18;
