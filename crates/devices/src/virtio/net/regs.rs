//! The network device's features, queues and header (virtio 1.2, 5.1).

use ireko_vmcore::port::LONGEST_FRAME;
use virtio_bindings::virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS};

pub const F_MAC: u64 = 1 << VIRTIO_NET_F_MAC;
pub const F_STATUS: u64 = 1 << VIRTIO_NET_F_STATUS;

pub const RECEIVE: usize = 0;

/// What stands before every frame (5.1.6): flags and offloads, of which none is offered, and a number of buffers.
pub const HEADER: usize = 12;
/// The place of that number; it is always 1.
pub const BUFFERS: usize = 10;

/// The least that a driver's receive buffer holds (5.1.6.3.1): a header, and a frame without a VLAN's tag.
pub const LEAST_ROOM: usize = HEADER + LONGEST_FRAME - 4;

/// In the configuration's status.
pub const LINK_UP: u16 = 1;
