//! How global system interrupts fall on controller pins (ACPI, "Global System Interrupts", with the usual override).

/// The I/O APIC's pins.
pub const GSIS: u32 = 24;
/// ISA interrupts, which the PIC pair sees too.
pub const ISA: u32 = 16;
/// The timer's ISA interrupt and the I/O APIC pin it is wired to.
pub const TIMER: u32 = 0;
pub const TIMER_PIN: u32 = 2;
