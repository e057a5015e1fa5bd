//! Registers (IA-PC HPET specification 1.0a, 2.3).

pub const SIZE: u64 = 0x400;
pub const TIMERS: usize = 3;
/// Femtoseconds of a tick, and nanoseconds.
pub const PERIOD: u64 = 10_000_000;
pub const NANOSECONDS: u64 = 10;

pub const CAPABILITIES: u64 = 0x000;
pub const CONFIGURATION: u64 = 0x010;
pub const STATUS: u64 = 0x020;
pub const COUNTER: u64 = 0x0f0;
/// The first timer's registers, and how many bytes each timer has.
pub const TIMER: u64 = 0x100;
pub const TIMER_SIZE: u64 = 0x20;
/// Of one timer.
pub const TIMER_CONFIGURATION: u64 = 0x00;
pub const COMPARATOR: u64 = 0x08;
pub const FSB_ROUTE: u64 = 0x10;

/// The low half of the capabilities: revision, the last timer's number, 64 bits, legacy replacement, vendor.
pub const BLOCK_ID: u32 = 1 | (TIMERS as u32 - 1) << 8 | 1 << 13 | 1 << 15 | 0x8086 << 16;

/// General configuration.
pub const ENABLE: u64 = 1 << 0;
pub const LEGACY: u64 = 1 << 1;

/// A timer's configuration.
pub const LEVEL: u64 = 1 << 1;
pub const INTERRUPTS: u64 = 1 << 2;
pub const PERIODIC: u64 = 1 << 3;
pub const PERIODIC_CAPABLE: u64 = 1 << 4;
pub const WIDE_CAPABLE: u64 = 1 << 5;
pub const VALUE_SET: u64 = 1 << 6;
pub const NARROW: u64 = 1 << 8;
pub const ROUTE_SHIFT: u64 = 9;
pub const ROUTE: u64 = 0x1f << ROUTE_SHIFT;
pub const FSB: u64 = 1 << 14;
pub const FSB_CAPABLE: u64 = 1 << 15;
pub const WRITABLE: u64 = LEVEL | INTERRUPTS | NARROW | ROUTE | FSB;

/// The global system interrupts that a timer can be routed to: the last four of the I/O APIC's, which PCI shares.
pub const ROUTES: std::ops::Range<u32> = 20..24;
pub const ROUTE_CAPABLE: u64 = 0xf << (32 + 20);
