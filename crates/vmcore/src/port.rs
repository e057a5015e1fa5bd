//! What a network adapter is plugged into.

use crate::Throttle;
use std::sync::Arc;
use std::time::Duration;

/// The shortest frame is a header: destination, source, type (IEEE 802.3, 3.1).
pub const SHORTEST_FRAME: usize = 14;
/// The longest one: 1500 bytes, a header, and a VLAN's tag.
pub const LONGEST_FRAME: usize = 1518;

/// An adapter's end of a network. Frames are Ethernet's, from the destination's address on, without preamble and check
/// sequence. Like a wire it loses what it cannot carry.
pub trait Port: Send + Sync + std::fmt::Debug {
    fn send(&self, frame: &[u8]);
    /// Waits for a frame, no longer than `patience`, and gives its length. A frame that is longer than `room` is lost.
    fn receive(&self, room: &mut [u8], patience: Duration) -> Option<usize>;
    /// Whether there is a network at the other end.
    fn connected(&self) -> bool;
    /// What bounds what is sent.
    fn throttle(&self) -> Arc<Throttle> {
        Arc::default()
    }
}
