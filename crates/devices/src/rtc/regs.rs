//! MC146818 registers (Motorola MC146818 data sheet, figures 10 to 13) and the CMOS bytes that PCs keep behind them.

/// Index and data ports.
pub const PORTS: u64 = 2;
pub const INDEX: u64 = 0;
pub const SIZE: usize = 128;

pub const SECONDS: u8 = 0x00;
pub const SECONDS_ALARM: u8 = 0x01;
pub const MINUTES: u8 = 0x02;
pub const MINUTES_ALARM: u8 = 0x03;
pub const HOURS: u8 = 0x04;
pub const HOURS_ALARM: u8 = 0x05;
pub const WEEKDAY: u8 = 0x06;
pub const DAY: u8 = 0x07;
pub const MONTH: u8 = 0x08;
pub const YEAR: u8 = 0x09;
pub const A: u8 = 0x0a;
pub const B: u8 = 0x0b;
pub const C: u8 = 0x0c;
pub const D: u8 = 0x0d;
/// Where ACPI's FADT says the century is.
pub const CENTURY: u8 = 0x32;

/// Register A: update in progress.
pub const A_UIP: u8 = 1 << 7;
/// The divider for a 32768 Hz crystal, and the 1024 Hz rate.
pub const A_RESET: u8 = 0x26;
pub const A_RATE: u8 = 0x0f;
/// The divider's bits; 11x holds it in reset.
pub const A_DIVIDER_RESET: u8 = 0x60;

/// Register B: updates are stopped.
pub const B_SET: u8 = 1 << 7;
pub const B_BINARY: u8 = 1 << 2;
pub const B_24_HOURS: u8 = 1 << 1;

/// Interrupt flags in register C; their enables are at the same places in register B.
pub const PERIODIC: u8 = 1 << 6;
pub const ALARM: u8 = 1 << 5;
pub const UPDATED: u8 = 1 << 4;
pub const ENABLES: u8 = PERIODIC | ALARM | UPDATED;
/// Register C: any enabled flag is set.
pub const C_IRQF: u8 = 1 << 7;

/// Register D: the battery is good.
pub const D_VALID: u8 = 1 << 7;
/// An alarm byte from here on matches anything.
pub const DONT_CARE: u8 = 0xc0;
/// Hours in 12-hour mode.
pub const PM: u8 = 1 << 7;

/// UIP rises this long before an update (data sheet, "Update Cycle").
pub const UIP_NANOSECONDS: u64 = 244_000;
/// The crystal's ticks a second.
pub const CRYSTAL: u64 = 32768;

/// Equipment byte.
pub const EQUIPMENT: u8 = 0x14;
/// Base memory in KiB.
pub const BASE_MEMORY: u8 = 0x15;
/// Memory from 1 MiB in KiB, in two places.
pub const EXTENDED_MEMORY: [u8; 2] = [0x17, 0x30];
/// Memory from 16 MiB in 64 KiB units.
pub const HIGH_MEMORY: u8 = 0x34;
/// Memory from 4 GiB in 64 KiB units, three bytes.
pub const ABOVE_4G: u8 = 0x5b;
