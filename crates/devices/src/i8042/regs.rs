//! The keyboard controller (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller"),
//! keyboard and mouse.

pub const DATA: u64 = 0x60;
pub const COMMAND: u64 = 0x64;

/// Status: a byte waits to be read; self test passed; the last write was a command; not locked; the byte is the mouse's.
pub const STATUS_OUTPUT: u8 = 1 << 0;
pub const STATUS_SYSTEM: u8 = 1 << 2;
pub const STATUS_COMMAND: u8 = 1 << 3;
pub const STATUS_UNLOCKED: u8 = 1 << 4;
pub const STATUS_MOUSE: u8 = 1 << 5;

/// Command byte: interrupts of keyboard and mouse, the system flag, keyboard and mouse off, translation to set 1.
pub const KEYBOARD_INTERRUPT: u8 = 1 << 0;
pub const MOUSE_INTERRUPT: u8 = 1 << 1;
pub const SYSTEM_FLAG: u8 = 1 << 2;
pub const KEYBOARD_OFF: u8 = 1 << 4;
pub const MOUSE_OFF: u8 = 1 << 5;
pub const TRANSLATE: u8 = 1 << 6;

/// Output port: not in reset; A20; bytes of keyboard and mouse wait.
pub const PORT_NO_RESET: u8 = 1 << 0;
pub const PORT_A20: u8 = 1 << 1;
pub const PORT_KEYBOARD: u8 = 1 << 4;
pub const PORT_MOUSE: u8 = 1 << 5;
pub const PORT_FIXED: u8 = 0xc0;

/// Commands to the controller.
pub const READ_MEMORY: u8 = 0x20;
pub const WRITE_MEMORY: u8 = 0x60;
pub const MEMORY: usize = 0x20;
pub const DISABLE_MOUSE: u8 = 0xa7;
pub const ENABLE_MOUSE: u8 = 0xa8;
pub const TEST_MOUSE: u8 = 0xa9;
pub const SELF_TEST: u8 = 0xaa;
pub const TEST_KEYBOARD: u8 = 0xab;
pub const DISABLE_KEYBOARD: u8 = 0xad;
pub const ENABLE_KEYBOARD: u8 = 0xae;
pub const READ_INPUT_PORT: u8 = 0xc0;
pub const READ_OUTPUT_PORT: u8 = 0xd0;
pub const WRITE_OUTPUT_PORT: u8 = 0xd1;
pub const WRITE_KEYBOARD_OUTPUT: u8 = 0xd2;
pub const WRITE_MOUSE_OUTPUT: u8 = 0xd3;
pub const WRITE_MOUSE: u8 = 0xd4;
/// From here on output bits are pulsed: each that is 0 in the command.
pub const PULSE: u8 = 0xf0;
pub const SELF_TEST_PASSED: u8 = 0x55;
pub const TEST_PASSED: u8 = 0;
/// Input port: not locked, the rest as boards have it.
pub const INPUT_PORT: u8 = 0x80;

/// What keyboard and mouse answer.
pub const ACKNOWLEDGE: u8 = 0xfa;
pub const RESEND: u8 = 0xfe;
pub const SELF_TEST_DONE: u8 = 0xaa;
/// Commands of both.
pub const IDENTIFY: u8 = 0xf2;
pub const SET_RATE: u8 = 0xf3;
pub const ENABLE: u8 = 0xf4;
pub const DISABLE: u8 = 0xf5;
pub const DEFAULTS: u8 = 0xf6;
pub const RESET: u8 = 0xff;
/// The keyboard's.
pub const SET_LEDS: u8 = 0xed;
pub const ECHO: u8 = 0xee;
pub const SCAN_CODES: u8 = 0xf0;
pub const KEYBOARD_ID: [u8; 2] = [0xab, 0x83];
/// Scan codes: a key with a prefix; in set 2 a key that goes up.
pub const EXTENDED: u8 = 0xe0;
pub const RELEASE: u8 = 0xf0;
/// Set 1: a key that goes up.
pub const RELEASED: u8 = 1 << 7;
/// The mouse's.
pub const SCALING_1: u8 = 0xe6;
pub const SCALING_2: u8 = 0xe7;
pub const RESOLUTION: u8 = 0xe8;
pub const STATUS: u8 = 0xe9;
pub const STREAM: u8 = 0xea;
pub const POLL: u8 = 0xeb;
pub const NO_WRAP: u8 = 0xec;
pub const WRAP: u8 = 0xee;
pub const REMOTE: u8 = 0xf0;
