//! The memory device (5.15): a region of which blocks are plugged and unplugged while the guest runs.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use self::regs::*;
use super::regs::TYPE_MEMORY;
use super::{Broken, Buffers, Registers, VirtioDevice, VirtioPci};
use crate::access::value;
use crate::{MsiSink, lock, shared};
use ireko_vmcore::memory::{Blocks, Refusal};
use ireko_vmcore::{Line, Memory, SavedState};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, Weak};

pub use ireko_vmcore::memory::BLOCK;

/// The part of the region that a driver may use is larger than what is requested: two memory sections of Linux, so that it
/// can go round blocks that it failed to get.
const EXTENT: u64 = 256 << 20;

/// How much of the region is the guest's, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plugged {
    pub requested: u64,
    pub plugged: u64,
    /// All there could be.
    pub region: u64,
}

struct MemState {
    requested: u64,
    usable: u64,
}

/// The device.
struct Mem {
    memory: Arc<Memory>,
    blocks: Arc<Blocks>,
    state: Arc<Mutex<MemState>>,
}

/// The host's end of the memory device.
#[derive(Clone)]
pub struct MemControl {
    blocks: Arc<Blocks>,
    state: Arc<Mutex<MemState>>,
    function: Weak<Mutex<VirtioPci>>,
}

/// A memory function for the room of `memory`, and the end that asks it for more or less; `None` where there is no room.
pub fn mem(memory: Arc<Memory>, msi: MsiSink, intx: Line) -> Option<(Arc<Mutex<VirtioPci>>, MemControl)> {
    let blocks = memory.blocks()?.clone();
    let state = shared(MemState { requested: 0, usable: 0 });
    let device = Mem { memory: memory.clone(), blocks: blocks.clone(), state: state.clone() };
    let function = VirtioPci::new(Box::new(device), memory, msi, intx);
    let control = MemControl { blocks, state, function: Arc::downgrade(&function) };
    Some((function, control))
}

/// All there could be.
fn region(blocks: &Blocks) -> u64 {
    blocks.range().end - blocks.range().start
}

impl MemControl {
    /// Asks the driver to plug or unplug blocks until so many bytes are plugged; what is no whole block is left out.
    pub fn request(&self, bytes: u64) {
        let region = region(&self.blocks);
        let bytes = bytes.min(region) / BLOCK * BLOCK;
        let changed = {
            let mut state = lock(&self.state);
            state.usable = state.usable.max((bytes + EXTENT).min(region));
            std::mem::replace(&mut state.requested, bytes) != bytes
        };
        if changed && let Some(function) = self.function.upgrade() {
            lock(&function).config_changed();
        }
    }
    pub fn plugged(&self) -> Plugged {
        let requested = lock(&self.state).requested;
        Plugged { requested, plugged: self.blocks.plugged(), region: region(&self.blocks) }
    }
    /// Whether the guest has a driver for it.
    pub fn driven(&self) -> bool {
        self.function.upgrade().is_some_and(|function| lock(&function).driven())
    }
}

impl Mem {
    /// Whether the driver may use the blocks from `address` on.
    fn usable(&self, state: &MemState, address: u64, size: u64) -> bool {
        let end = address.checked_sub(self.blocks.range().start).and_then(|offset| offset.checked_add(size));
        address.is_multiple_of(BLOCK) && size > 0 && end.is_some_and(|end| end <= state.usable)
    }

    /// Type of the response, and the state for a request for it.
    fn request(&mut self, kind: u16, address: u64, count: u64) -> (u16, u16) {
        let mut state = lock(&self.state);
        if kind == UNPLUG_ALL {
            return (self.unplug_all(&mut state), 0);
        }
        let size = count.saturating_mul(BLOCK);
        if !self.usable(&state, address, size) {
            return (ERROR, 0);
        }
        match kind {
            PLUG => (self.plug(&state, address, size), 0),
            UNPLUG => (answer(self.memory.unplug(address, size)), 0),
            STATE => match self.blocks.all(address, size) {
                Some(true) => (ACK, STATE_PLUGGED),
                Some(false) => (ACK, STATE_UNPLUGGED),
                None => (ACK, STATE_MIXED),
            },
            _ => (ERROR, 0),
        }
    }

    fn plug(&self, state: &MemState, address: u64, size: u64) -> u16 {
        if self.blocks.all(address, size) == Some(false) && self.blocks.plugged() + size > state.requested {
            return NACK;
        }
        answer(self.memory.plug(address, size))
    }

    fn unplug_all(&self, state: &mut MemState) -> u16 {
        let all =
            self.blocks.runs().into_iter().try_for_each(|(start, size)| self.memory.unplug(start, size));
        if all.is_ok() {
            state.usable = (state.requested + EXTENT).min(region(&self.blocks));
        }
        answer(all)
    }
}

/// What the driver hears of a plug or an unplug (5.15.6.2).
fn answer(done: Result<(), Refusal>) -> u16 {
    match done {
        Ok(()) => ACK,
        Err(Refusal::Wrong) => ERROR,
        // Some other device is not done with it, or the host has no more mappings for now.
        Err(Refusal::Busy | Refusal::Host(_)) => BUSY,
    }
}

impl VirtioDevice for Mem {
    fn name(&self) -> &'static str {
        "virtio-mem"
    }
    fn kind(&self) -> u16 {
        TYPE_MEMORY
    }
    fn class(&self) -> u32 {
        0xff_00_00
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[128]
    }
    fn registers(&self) -> Arc<dyn Registers> {
        Arc::new(Sizes { blocks: self.blocks.clone(), state: self.state.clone() })
    }
    fn serve(&mut self, _: usize, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let mut request = [0; REQUEST_SIZE];
        buffers.reader.read_exact(&mut request)?;
        if buffers.writer.available_bytes() < RESPONSE_SIZE {
            return Err(Broken("no room for the response to a memory request".into()));
        }
        let (kind, address, count) = (value(&request[..2]), value(&request[8..16]), value(&request[16..18]));
        let (answer, state) = {
            let _pass = buffers.permit.pass()?;
            self.request(kind as u16, address, count)
        };
        let mut response = [0; RESPONSE_SIZE];
        response[..2].copy_from_slice(&answer.to_le_bytes());
        response[8..].copy_from_slice(&state.to_le_bytes());
        buffers.writer.write_all(&response)?;
        Ok(RESPONSE_SIZE as u32)
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

struct Sizes {
    blocks: Arc<Blocks>,
    state: Arc<Mutex<MemState>>,
}

/// A reset leaves plugged what is plugged (5.15.5): a new driver asks for the state.
impl Registers for Sizes {
    fn read(&self) -> Vec<u8> {
        let state = lock(&self.state);
        let (start, region, plugged) =
            (self.blocks.range().start, region(&self.blocks), self.blocks.plugged());
        let fields = [BLOCK, NODE, start, region, state.usable, plugged, state.requested];
        fields.iter().flat_map(|field| field.to_le_bytes()).collect()
    }
}
