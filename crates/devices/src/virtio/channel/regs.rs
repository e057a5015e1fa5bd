//! The console device with several ports (virtio 1.2, 5.3): queues, configuration, control messages.

pub const F_MULTIPORT: u64 = 1 << 1;
/// In the configuration: how many ports there can be.
pub const PORTS: [u8; 4] = 2u32.to_le_bytes();
/// The only one there is. Port 0 is left out: drivers take it for a console.
pub const PORT: u32 = 1;

pub const CONTROL_RECEIVE: usize = 2;
pub const CONTROL_TRANSMIT: usize = 3;
pub const RECEIVE: usize = 4;
pub const TRANSMIT: usize = 5;

/// Control messages (5.3.6.2): port, event, value.
pub const MESSAGE: usize = 8;
pub const DEVICE_READY: u16 = 0;
pub const PORT_ADD: u16 = 1;
pub const PORT_READY: u16 = 3;
pub const PORT_OPEN: u16 = 6;
pub const PORT_NAME: u16 = 7;
