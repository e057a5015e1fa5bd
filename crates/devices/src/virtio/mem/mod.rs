//! The memory device (5.15): a region of which blocks are plugged and unplugged while the guest runs.

mod regs;
#[cfg(test)]
mod tests;

use self::regs::*;
use super::regs::TYPE_MEMORY;
use super::{Broken, Buffers, Registers, VirtioDevice, VirtioPci};
use crate::access::value;
use crate::{MsiSink, lock, shared};
use ireko_vmcore::{Line, Memory};
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};

/// What is plugged at a time.
pub const BLOCK: u64 = 2 << 20;
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

struct State {
    blocks: Vec<bool>,
    plugged: u64,
    requested: u64,
    usable: u64,
}

/// The device.
struct Mem {
    memory: Arc<Memory>,
    place: Range<u64>,
    state: Arc<Mutex<State>>,
}

/// The host's end of the memory device.
#[derive(Clone)]
pub struct MemControl {
    region: u64,
    state: Arc<Mutex<State>>,
    function: Weak<Mutex<VirtioPci>>,
}

/// A memory function for the region `place` of `memory`, whole blocks of it, and the end that asks it for more or less.
pub fn mem(
    memory: Arc<Memory>,
    place: Range<u64>,
    msi: MsiSink,
    intx: Line,
) -> (Arc<Mutex<VirtioPci>>, MemControl) {
    let region = (place.end - place.start) / BLOCK * BLOCK;
    let blocks = vec![false; (region / BLOCK) as usize];
    let state = shared(State { blocks, plugged: 0, requested: 0, usable: 0 });
    let device =
        Mem { memory: memory.clone(), place: place.start..place.start + region, state: state.clone() };
    let function = VirtioPci::new(Box::new(device), memory, msi, intx);
    let control = MemControl { region, state, function: Arc::downgrade(&function) };
    (function, control)
}

impl MemControl {
    /// Asks the driver to plug or unplug blocks until so many bytes are plugged; what is no whole block is left out.
    pub fn request(&self, bytes: u64) {
        let bytes = bytes.min(self.region) / BLOCK * BLOCK;
        let changed = {
            let mut state = lock(&self.state);
            state.usable = state.usable.max((bytes + EXTENT).min(self.region));
            std::mem::replace(&mut state.requested, bytes) != bytes
        };
        if changed && let Some(function) = self.function.upgrade() {
            lock(&function).config_changed();
        }
    }
    pub fn plugged(&self) -> Plugged {
        let state = lock(&self.state);
        Plugged { requested: state.requested, plugged: state.plugged, region: self.region }
    }
    /// Whether the guest has a driver for it.
    pub fn driven(&self) -> bool {
        self.function.upgrade().is_some_and(|function| lock(&function).driven())
    }
}

impl State {
    /// The blocks from `address` on, if they are ones that the driver may use.
    fn blocks(&self, place: &Range<u64>, address: u64, count: u64) -> Option<Range<usize>> {
        let offset = address.checked_sub(place.start).filter(|offset| offset % BLOCK == 0)?;
        let size = count.checked_mul(BLOCK).filter(|size| *size > 0)?;
        let end = offset.checked_add(size).filter(|end| *end <= self.usable)?;
        Some((offset / BLOCK) as usize..(end / BLOCK) as usize)
    }

    fn are(&self, blocks: &Range<usize>, plugged: bool) -> bool {
        self.blocks.get(blocks.clone()).is_some_and(|blocks| blocks.iter().all(|block| *block == plugged))
    }

    fn set(&mut self, blocks: Range<usize>, plugged: bool) {
        for block in self.blocks.get_mut(blocks).into_iter().flatten() {
            if std::mem::replace(block, plugged) != plugged {
                self.plugged = if plugged { self.plugged + BLOCK } else { self.plugged - BLOCK };
            }
        }
    }
}

impl Mem {
    /// Type of the response, and the state for a request for it.
    fn request(&mut self, kind: u16, address: u64, count: u64) -> (u16, u16) {
        let mut state = lock(&self.state);
        if kind == UNPLUG_ALL {
            self.unplug_all(&mut state);
            return (ACK, 0);
        }
        let Some(blocks) = state.blocks(&self.place, address, count) else { return (ERROR, 0) };
        match kind {
            PLUG if !state.are(&blocks, false) => (ERROR, 0),
            PLUG if state.plugged + count * BLOCK > state.requested => (NACK, 0),
            PLUG => {
                state.set(blocks, true);
                (ACK, 0)
            }
            UNPLUG if !state.are(&blocks, true) => (ERROR, 0),
            UNPLUG => {
                self.memory.give_back(address, count * BLOCK);
                state.set(blocks, false);
                (ACK, 0)
            }
            STATE if state.are(&blocks, true) => (ACK, STATE_PLUGGED),
            STATE if state.are(&blocks, false) => (ACK, STATE_UNPLUGGED),
            STATE => (ACK, STATE_MIXED),
            _ => (ERROR, 0),
        }
    }

    fn unplug_all(&self, state: &mut State) {
        self.memory.give_back(self.place.start, self.place.end - self.place.start);
        let all = 0..state.blocks.len();
        state.set(all, false);
        state.usable = (state.requested + EXTENT).min(self.place.end - self.place.start);
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
        Arc::new(Sizes { place: self.place.clone(), state: self.state.clone() })
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
}

struct Sizes {
    place: Range<u64>,
    state: Arc<Mutex<State>>,
}

/// A reset leaves plugged what is plugged (5.15.5): a new driver asks for the state.
impl Registers for Sizes {
    fn read(&self) -> Vec<u8> {
        let state = lock(&self.state);
        let region = self.place.end - self.place.start;
        let fields = [BLOCK, NODE, self.place.start, region, state.usable, state.plugged, state.requested];
        fields.iter().flat_map(|field| field.to_le_bytes()).collect()
    }
}
