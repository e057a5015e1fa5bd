//! Virtio devices over PCI: the transport, the queues, and the devices.

mod balloon;
mod blk;
mod common;
mod console;
mod mem;
mod net;
mod pci;
mod queue;
pub mod regs;
mod rng;
#[cfg(test)]
mod tests;

pub use balloon::{BalloonControl, Statistics, balloon};
pub use blk::Blk;
pub use console::{Console, ConsoleInput, console};
pub use mem::{BLOCK as MEM_BLOCK, MemControl, Plugged, mem};
pub use net::{NetInput, net};
pub use pci::VirtioPci;
pub use queue::{Broken, Buffers};
pub use rng::Rng;

/// What a device type adds to the transport.
pub trait VirtioDevice: Send {
    fn name(&self) -> &'static str;
    /// The type's number (chapter 5).
    fn kind(&self) -> u16;
    /// PCI class, subclass and programming interface.
    fn class(&self) -> u32;
    /// The type's own feature bits.
    fn features(&self) -> u64 {
        0
    }
    /// The largest size of each queue, powers of two.
    fn queue_sizes(&self) -> &'static [u16];
    /// The type's configuration structure; reads past its end give zeros.
    fn config(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The driver writes `data` to its configuration structure.
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let _ = (offset, data);
    }
    /// Whether the device would do something with a buffer of this queue now; otherwise buffers wait.
    fn wants(&self, queue: usize) -> bool {
        let _ = queue;
        true
    }
    /// Serves one chain of buffers and gives the number of bytes written to it. An error breaks the device.
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken>;
    fn reset(&mut self) {}
}
