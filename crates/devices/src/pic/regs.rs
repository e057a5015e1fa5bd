//! 8259A command words (Intel 8259A data sheet, "Programming the 8259A").

/// Ports of one chip: command and data.
pub const PORTS: u64 = 2;
pub const COMMAND: u64 = 0;

/// The pin of the master where the slave's INT is.
pub const CASCADE: u8 = 2;
/// What a chip gives when nothing is pending at the acknowledge cycle.
pub const SPURIOUS: u8 = 7;

/// Command port: this is ICW1.
pub const ICW1: u8 = 1 << 4;
/// ICW1: ICW4 follows.
pub const ICW1_IC4: u8 = 1 << 0;
/// ICW1: single, no ICW3 follows.
pub const ICW1_SNGL: u8 = 1 << 1;
/// ICW1: all pins level triggered.
pub const ICW1_LTIM: u8 = 1 << 3;

/// ICW4: automatic end of interrupt.
pub const ICW4_AEOI: u8 = 1 << 1;
/// ICW4: special fully nested mode.
pub const ICW4_SFNM: u8 = 1 << 4;

/// Command port: this is OCW3.
pub const OCW3: u8 = 1 << 3;
/// OCW3: read ISR (with RR).
pub const OCW3_RIS: u8 = 1 << 0;
/// OCW3: read register command.
pub const OCW3_RR: u8 = 1 << 1;
pub const OCW3_POLL: u8 = 1 << 2;
/// OCW3: set or reset special mask mode (with ESMM).
pub const OCW3_SMM: u8 = 1 << 5;
/// OCW3: enable special mask mode.
pub const OCW3_ESMM: u8 = 1 << 6;

/// OCW2 commands, bits 7:5.
pub const OCW2_ROTATE_AEOI_CLEAR: u8 = 0;
pub const OCW2_EOI: u8 = 1;
pub const OCW2_SPECIFIC_EOI: u8 = 3;
pub const OCW2_ROTATE_AEOI_SET: u8 = 4;
pub const OCW2_ROTATE_EOI: u8 = 5;
pub const OCW2_SET_PRIORITY: u8 = 6;
pub const OCW2_ROTATE_SPECIFIC_EOI: u8 = 7;

/// ELCR bits that can be set: the timer, keyboard, cascade, RTC and FPU pins are always edge triggered (PIIX data
/// sheet, "Edge/Level Control Registers").
pub const ELCR_MASTER: u8 = 0xf8;
pub const ELCR_SLAVE: u8 = 0xde;
