//! Virtio over PCI (Virtual I/O Device specification 1.2, section 4.1) and what the device types lay down (chapter 5).

pub const VENDOR: u16 = 0x1af4;
/// PCI device id of virtio device type 0.
pub const DEVICE_BASE: u16 = 0x1040;
/// Revision 1: no transitional interface.
pub const REVISION: u8 = 1;

/// The one BAR and what lies where in it.
pub const BAR: usize = 0;
/// The same of a function that has other BARs before it.
pub const BAR_BESIDE: usize = 4;
pub const BAR_SIZE: u64 = 0x8000;
pub const COMMON: u64 = 0x0000;
pub const COMMON_SIZE: u64 = 0x38;
pub const ISR: u64 = 0x1000;
pub const ISR_SIZE: u64 = 1;
pub const DEVICE: u64 = 0x2000;
pub const DEVICE_SIZE: u64 = 0x1000;
pub const NOTIFY: u64 = 0x3000;
pub const NOTIFY_SIZE: u64 = 0x1000;
pub const NOTIFY_MULTIPLIER: u32 = 4;
pub const MSIX_TABLE: u64 = 0x6000;
pub const MSIX_PENDING: u64 = 0x7000;

/// Vendor-specific capability, and its types (4.1.4).
pub const CAPABILITY: u8 = 0x09;
pub const CAP_COMMON: u8 = 1;
pub const CAP_NOTIFY: u8 = 2;
pub const CAP_ISR: u8 = 3;
pub const CAP_DEVICE: u8 = 4;
pub const CAP_PCI: u8 = 5;
/// In the PCI configuration access capability: BAR, offset, length, data.
pub const PCI_CAP_BAR: usize = 4;
pub const PCI_CAP_OFFSET: usize = 8;
pub const PCI_CAP_LENGTH: usize = 12;
pub const PCI_CAP_DATA: usize = 16;

/// Common configuration (4.1.4.3).
pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
pub const DEVICE_FEATURE: u64 = 0x04;
pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
pub const DRIVER_FEATURE: u64 = 0x0c;
pub const CONFIG_VECTOR: u64 = 0x10;
pub const NUM_QUEUES: u64 = 0x12;
pub const DEVICE_STATUS: u64 = 0x14;
pub const CONFIG_GENERATION: u64 = 0x15;
pub const QUEUE_SELECT: u64 = 0x16;
pub const QUEUE_SIZE: u64 = 0x18;
pub const QUEUE_VECTOR: u64 = 0x1a;
pub const QUEUE_ENABLE: u64 = 0x1c;
pub const QUEUE_NOTIFY_OFF: u64 = 0x1e;
pub const QUEUE_DESC: u64 = 0x20;
pub const QUEUE_DRIVER: u64 = 0x28;
pub const QUEUE_DEVICE: u64 = 0x30;

pub const NO_VECTOR: u16 = 0xffff;
/// ISR bits.
pub const ISR_QUEUE: u8 = 1 << 0;
pub const ISR_CONFIG: u8 = 1 << 1;

/// Device status bits (2.1).
pub const STATUS_DRIVER_OK: u8 = 4;
pub const STATUS_FEATURES_OK: u8 = 8;
pub const STATUS_NEEDS_RESET: u8 = 64;

/// Features of every device (6).
pub const F_INDIRECT_DESC: u64 = 1 << 28;
pub const F_EVENT_IDX: u64 = 1 << 29;
pub const F_VERSION_1: u64 = 1 << 32;
/// Available ring flag: the driver wants no interrupts (2.7.6).
pub const AVAIL_NO_INTERRUPT: u16 = 1;

/// Device types (5).
pub const TYPE_NETWORK: u16 = 1;
pub const TYPE_SCSI: u16 = 8;
pub const TYPE_BLOCK: u16 = 2;
pub const TYPE_CONSOLE: u16 = 3;
pub const TYPE_ENTROPY: u16 = 4;
pub const TYPE_BALLOON: u16 = 5;
pub const TYPE_GPU: u16 = 16;
pub const TYPE_INPUT: u16 = 18;
pub const TYPE_SOCKET: u16 = 19;
pub const TYPE_MEMORY: u16 = 24;
pub const TYPE_FILE_SYSTEM: u16 = 26;
