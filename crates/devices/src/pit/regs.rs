//! 8254 control words (Intel 8254 data sheet, "Programming the 8254") and port 0x61 (PIIX data sheet, "NMI Status and
//! Control Register").

/// Ticks a second.
pub const FREQUENCY: u64 = 1_193_182;
pub const CHANNELS: usize = 3;
/// Three counters and the control word register.
pub const PORTS: u64 = 4;
pub const CONTROL: u64 = 3;

/// Control word, bits 7:6: the counter, or read-back.
pub const SELECT_SHIFT: u8 = 6;
pub const READ_BACK: u8 = 3;
/// Bits 5:4: counter latch, or which bytes are accessed.
pub const ACCESS_SHIFT: u8 = 4;
pub const ACCESS_LATCH: u8 = 0;
pub const ACCESS_LOW: u8 = 1;
pub const ACCESS_HIGH: u8 = 2;
pub const ACCESS_BOTH: u8 = 3;
/// Bits 3:1.
pub const MODE_SHIFT: u8 = 1;
pub const BCD: u8 = 1;

/// Read-back command: active-low latch bits, counters in bits 3:1.
pub const READ_BACK_NO_COUNT: u8 = 1 << 5;
pub const READ_BACK_NO_STATUS: u8 = 1 << 4;

/// Status byte.
pub const STATUS_OUT: u8 = 1 << 7;
pub const STATUS_NULL: u8 = 1 << 6;

/// Port 0x61.
pub const GATE_2: u8 = 1 << 0;
pub const PORT_61_WRITABLE: u8 = 0x0f;
pub const REFRESH: u8 = 1 << 4;
pub const OUT_2: u8 = 1 << 5;
/// Counter 1 requests a refresh every 18 ticks (15 µs).
pub const REFRESH_TICKS: u64 = 18;
