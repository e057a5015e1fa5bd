//! Virtio devices over PCI: the transport, the queues, and the devices.

mod balloon;
mod blk;
mod channel;
mod common;
mod console;
mod fs;
#[cfg(test)]
mod fs_tests;
mod gpu;
#[cfg(test)]
mod growth_tests;
mod input;
mod lane;
#[cfg(test)]
mod lane_tests;
mod mem;
mod net;
mod pci;
mod queue;
pub mod regs;
mod rng;
pub mod saved;
mod scsi;
#[cfg(test)]
mod scsi_tests;
mod service;
#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod tests;
mod vsock;

pub use crate::service::{Pass, Permit};
pub use balloon::{BalloonControl, Statistics, balloon};
pub use blk::{Blk, MOST_QUEUES};
pub use channel::{ChannelHost, channel};
pub use console::{Console, ConsoleInput, console};
pub use fs::{Fs, LONGEST_TAG};
pub use gpu::gpu;
pub use input::{FARTHEST, Position, TabletInput, tablet};
pub use lane::{Lane, Worker};
pub use mem::{BLOCK as MEM_BLOCK, MemControl, Plugged, mem};
pub use net::{NetInput, net};
pub use pci::{VirtioPci, service, services};
pub use queue::{Broken, Buffers, Input, Output};
pub use rng::Rng;
pub use scsi::Scsi;
pub use service::Queues;
pub use vsock::{NoStream, Offer, VsockHost, VsockStream, vsock};

use ireko_vmcore::SavedState;
use std::sync::Arc;

/// A type's configuration structure, apart from the device: virtual processors read and write it while the device works,
/// and wait for no work.
pub trait Registers: Send + Sync {
    /// Reads past its end give zeros.
    fn read(&self) -> Vec<u8>;
    /// The driver writes `data`.
    fn write(&self, offset: u64, data: &[u8]) {
        let _ = (offset, data);
    }
    /// The driver starts anew: what it had told the device does not count any more.
    fn reset(&self) {}
}

/// One that never changes.
impl Registers for Vec<u8> {
    fn read(&self) -> Vec<u8> {
        self.clone()
    }
}

/// What a device type adds to the transport. Whatever takes time waits outside of guest memory: what it reads and writes
/// there goes by [`Buffers`], which a pause holds and a reset cuts off; other changes of guest memory need a
/// [`Permit::pass`].
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
    /// The type's configuration structure.
    fn registers(&self) -> Arc<dyn Registers> {
        Arc::new(Vec::new())
    }
    /// Whether the device would do something with a buffer of this queue now; otherwise buffers wait.
    fn wants(&self, queue: usize) -> bool {
        let _ = queue;
        true
    }
    /// Called whenever the device's thread wakes, also for something that is in no queue.
    fn look(&mut self) {}
    /// Serves one chain of buffers and gives the number of bytes written to it. An error breaks the device.
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken>;
    /// Which other queue may have something for the driver once this one has been served.
    fn then(&self, queue: usize) -> Option<usize> {
        let _ = queue;
        None
    }
    /// What is to be saved of the type beside queues and registers; `None`: nothing.
    fn saved(&mut self) -> Option<&mut dyn SavedState>;
    /// What serves each of the device's disks, if that is to have a thread for each. Asked for once.
    fn lanes(&mut self) -> Vec<Box<dyn Worker>> {
        Vec::new()
    }
    /// Which of them a chain is for; `None`: the device serves it itself.
    fn lane(&mut self, queue: usize, buffers: &mut Buffers<'_>) -> Result<Option<usize>, Broken> {
        let _ = (queue, buffers);
        Ok(None)
    }
    /// Whether [`VirtioDevice::attempt`] may serve chains of this queue.
    fn attempts(&self, queue: usize) -> bool {
        let _ = queue;
        false
    }
    /// As [`VirtioDevice::serve`], on a virtual processor's thread: nothing may be waited for. `None`: it would be.
    fn attempt(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<Option<u32>, Broken> {
        let _ = (queue, buffers);
        Ok(None)
    }
}
