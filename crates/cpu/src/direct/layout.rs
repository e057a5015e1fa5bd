//! Where a stub has what it has for itself, and by which descriptors.

/// The 512 GiB (one entry of the highest table) that are the stub's: no system puts its programs there by itself, and what a guest
/// would have there is looked for before its code runs.
pub const SLOT_START: u64 = 0x2f00_0000_0000;
pub const SLOT_END: u64 = SLOT_START + (1 << 39);
/// In the middle, so that nothing that begins outside and is shorter than 4 GiB reaches there: its code, a page.
pub const BASE: u64 = SLOT_START + (1 << 38);
/// Then what it shares with the engine.
pub const CONTROL: u64 = BASE + 0x1000;
pub const CONTROL_BYTES: usize = 128 << 10;
pub const END: u64 = CONTROL + CONTROL_BYTES as u64;
/// Behind the first fields are commands, then the frame that its program goes on from, then the stack that signals come on.
pub const COMMANDS: usize = 128;
pub const RETURN: usize = 48 << 10;
pub const RETURN_AREA: usize = RETURN + 1024;
pub const STACK: usize = 64 << 10;
/// Where a request is read to, and a report written from.
pub const NONCE: u64 = CONTROL + 72;
/// Where programs' addresses end.
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// Descriptors of the process.
pub const REQUESTS: i32 = 3;
pub const REPORTS: i32 = 4;
pub const MEMORY: i32 = 5;
pub const COPIES: i32 = 6;

/// How all is mapped.
pub const MAP_FLAGS: u32 = (libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE) as u32;
