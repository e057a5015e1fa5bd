//! What the memory balloon device lays down (virtio 1.2, 5.5).

/// Features (5.5.3).
pub const F_STATS_VQ: u64 = 1 << 1;
pub const F_DEFLATE_ON_OOM: u64 = 1 << 2;

/// Queues (5.5.2).
pub const INFLATE: usize = 0;
pub const DEFLATE: usize = 1;
pub const STATS: usize = 2;

/// Configuration (5.5.4): what the device wants, what the driver gave; in pages.
pub const ACTUAL: u64 = 4;

/// Page frame numbers are of 4 KiB pages, whatever the guest's own are (5.5.6).
pub const PAGE_SHIFT: u32 = 12;

/// Statistics (5.5.6.3): a tag of 16 bits and a value of 64, packed.
pub const STATISTIC_SIZE: usize = 10;
pub const S_SWAP_IN: u16 = 0;
pub const S_SWAP_OUT: u16 = 1;
pub const S_MAJFLT: u16 = 2;
pub const S_MINFLT: u16 = 3;
pub const S_MEMFREE: u16 = 4;
pub const S_MEMTOT: u16 = 5;
pub const S_AVAIL: u16 = 6;
pub const S_CACHES: u16 = 7;
