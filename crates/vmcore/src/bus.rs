//! How a vCPU reaches devices.

/// Which address space an access is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Port,
    Mmio,
}

/// The machine's device space, as vCPUs see it. Total: an unclaimed read gives all ones, an unclaimed write goes
/// nowhere. `data.len()` is 1, 2, 4 or 8 (ports: 1, 2, 4); wider CPU accesses are split by the engine.
pub trait Bus: Send + Sync {
    fn read(&self, space: Space, address: u64, data: &mut [u8]);
    fn write(&self, space: Space, address: u64, data: &[u8]);
    /// A processor's FERR# output: an x87 exception waits that CR0.NE = 0 leaves to the machine, which makes it IRQ 13.
    fn x87_error(&self, _on: bool) {}
}
