//! NVM Express 1.4: registers (3.1), commands (5, 6), and what the controller says of itself.

pub const VENDOR: u16 = 0x1b36;
pub const DEVICE: u16 = 0x0010;
pub const CLASS: u32 = 0x01_08_02;
pub const BAR: usize = 0;
pub const BAR_SIZE: u64 = 0x4000;
pub const DOORBELLS: u64 = 0x1000;
pub const MSIX_TABLE: u64 = 0x2000;
pub const MSIX_PENDING: u64 = 0x3000;

/// The admin queue and those for I/O.
pub const QUEUES: usize = 9;
pub const MOST_ENTRIES: u64 = 1024;

pub const CAP: u64 = 0x00;
pub const VS: u64 = 0x08;
pub const INTMS: u64 = 0x0c;
pub const INTMC: u64 = 0x10;
pub const CC: u64 = 0x14;
pub const CSTS: u64 = 0x1c;
pub const AQA: u64 = 0x24;
pub const ASQ: u64 = 0x28;
pub const ACQ: u64 = 0x30;
/// The NVM command set, 10 s until ready at most, contiguous queues, pages of 4 KiB.
pub const CAP_VALUE: u64 = 1 << 37 | 20 << 24 | 1 << 16 | (MOST_ENTRIES - 1);
pub const VERSION: u32 = 0x0001_0400;
pub const CC_ENABLE: u32 = 1 << 0;
pub const CC_SHUTDOWN: u32 = 3 << 14;
pub const CSTS_READY: u32 = 1 << 0;
/// Shutdown is complete.
pub const CSTS_SHUT: u32 = 2 << 2;

pub const PAGE: u64 = 4096;
/// Pages of a command's data at most, as a power of two.
pub const MDTS: u8 = 7;
pub const MOST_DATA: u64 = PAGE << MDTS;

pub const COMMAND_SIZE: usize = 64;
pub const COMPLETION_SIZE: usize = 16;

/// Admin commands.
pub const DELETE_SQ: u8 = 0x00;
pub const CREATE_SQ: u8 = 0x01;
pub const LOG_PAGE: u8 = 0x02;
pub const DELETE_CQ: u8 = 0x04;
pub const CREATE_CQ: u8 = 0x05;
pub const IDENTIFY: u8 = 0x06;
pub const ABORT: u8 = 0x08;
pub const SET_FEATURES: u8 = 0x09;
pub const FEATURES: u8 = 0x0a;
pub const ASYNC_EVENT: u8 = 0x0c;
/// I/O commands.
pub const FLUSH: u8 = 0x00;
pub const WRITE: u8 = 0x01;
pub const READ: u8 = 0x02;
pub const WRITE_ZEROES: u8 = 0x08;
pub const DATASET: u8 = 0x09;
/// In dword 12: force unit access.
pub const FUA: u32 = 1 << 30;
/// Dataset management, in dword 11: ranges are not needed any more.
pub const DEALLOCATE: u32 = 1 << 2;

/// Features: volatile write cache, number of queues.
pub const FEATURE_CACHE: u8 = 0x06;
pub const FEATURE_QUEUES: u8 = 0x07;
pub const FEATURE_SAVE: u32 = 1 << 31;

/// Asynchronous event requests that may wait.
pub const MOST_EVENTS: usize = 4;

/// Status: type and code (4.6.1).
pub type Status = u16;
pub const INVALID_OPCODE: Status = 0x001;
pub const INVALID_FIELD: Status = 0x002;
pub const TRANSFER_ERROR: Status = 0x004;
pub const INVALID_NAMESPACE: Status = 0x00b;
pub const INVALID_PRP: Status = 0x013;
pub const OUT_OF_RANGE: Status = 0x080;
pub const CQ_INVALID: Status = 0x100;
pub const QUEUE_INVALID: Status = 0x101;
pub const QUEUE_SIZE: Status = 0x102;
pub const TOO_MANY_EVENTS: Status = 0x105;
pub const INVALID_VECTOR: Status = 0x108;
pub const INVALID_LOG: Status = 0x109;
pub const INVALID_DELETION: Status = 0x10c;
pub const NOT_SAVEABLE: Status = 0x10d;
pub const READ_ONLY: Status = 0x182;
pub const UNRECOVERED: Status = 0x281;
/// Do not retry.
pub const FINAL: Status = 1 << 14;
