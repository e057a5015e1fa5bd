//! What the memory device lays down (virtio 1.2, 5.15).

/// Configuration (5.15.4): block_size, node_id and padding, addr, region_size, usable_region_size, plugged_size,
/// requested_size.
pub const NODE: u64 = 0;

/// Requests (5.15.6): type, padding, address, number of blocks, padding.
pub const REQUEST_SIZE: usize = 24;
pub const PLUG: u16 = 0;
pub const UNPLUG: u16 = 1;
pub const UNPLUG_ALL: u16 = 2;
pub const STATE: u16 = 3;

/// Responses: type, padding, and the state that was asked for.
pub const RESPONSE_SIZE: usize = 10;
pub const ACK: u16 = 0;
pub const NACK: u16 = 1;
pub const BUSY: u16 = 2;
pub const ERROR: u16 = 3;

pub const STATE_PLUGGED: u16 = 0;
pub const STATE_UNPLUGGED: u16 = 1;
pub const STATE_MIXED: u16 = 2;
