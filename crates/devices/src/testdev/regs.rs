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
