//! fw_cfg: named and numbered items that the machine gives to firmware, byte by byte or by DMA. Nothing can be written.

pub mod key;
mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use ireko_vmcore::{Device, Memory, SavedState, Space};
use regs::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

pub const PLACES: [u64; 2] = [0x510, 0x514];
const DMA_REGION: usize = 1;
/// DMA copies so much at a time.
const PIECE: usize = 0x1_0000;
/// So many zeros DMA gives past an item's end. The processor waits for it, and whoever wants to pause the VM waits with it.
const MOST_ZEROS: usize = 16 << 20;

/// The items, and how far the selected one was read.
pub struct FwCfg {
    items: BTreeMap<u16, Vec<u8>>,
    names: Vec<String>,
    selected: u16,
    offset: usize,
    memory: Arc<Memory>,
    dma_address: [u8; DMA_SIZE as usize],
}

impl FwCfg {
    /// `memory` is what DMA reaches, of which firmware is told `bytes`.
    pub fn new(cpus: u16, bytes: u64, memory: Arc<Memory>) -> Self {
        let items = BTreeMap::from([
            (KEY_SIGNATURE, b"QEMU".to_vec()),
            (KEY_ID, ID.to_le_bytes().to_vec()),
            (KEY_RAM_SIZE, bytes.to_le_bytes().to_vec()),
            (KEY_CPUS, cpus.to_le_bytes().to_vec()),
            (KEY_MAX_CPUS, cpus.to_le_bytes().to_vec()),
        ]);
        let mut this = Self { items, names: Vec::new(), selected: 0, offset: 0, memory, dma_address: [0; 8] };
        this.list();
        this
    }

    /// Adds a file; its name counts up to 55 bytes.
    pub fn add_file(&mut self, name: &str, data: Vec<u8>) {
        self.items.insert(KEY_FIRST_FILE + self.names.len() as u16, data);
        self.names.push(name.to_owned());
        self.list();
    }

    /// Adds an item whose number everybody knows.
    pub fn add_item(&mut self, key: u16, data: Vec<u8>) {
        self.items.insert(key & KEY_BITS, data);
    }

    /// Writes the directory anew: a count, then size, key and name of each file, big endian.
    fn list(&mut self) {
        let mut directory = (self.names.len() as u32).to_be_bytes().to_vec();
        for (key, name) in (KEY_FIRST_FILE..).zip(&self.names) {
            let size = self.items.get(&key).map_or(0, Vec::len);
            directory.extend((size as u32).to_be_bytes());
            directory.extend(u32::from(key).to_be_bytes()[2..].iter().chain(&[0, 0]));
            let mut field = [0; FILE_NAME_SIZE];
            crate::access::copy_in(&mut field[..FILE_NAME_SIZE - 1], 0, name.as_bytes());
            directory.extend(field);
        }
        self.items.insert(KEY_DIRECTORY, directory);
    }

    fn select(&mut self, key: u16) {
        (self.selected, self.offset) = (key & KEY_BITS, 0);
    }

    /// The next bytes of the selected item, zeros past its end.
    fn next(&mut self, data: &mut [u8]) {
        let item = self.items.get(&self.selected).map_or(&[][..], Vec::as_slice);
        let rest = item.get(self.offset..).unwrap_or_default();
        let count = rest.len().min(data.len());
        data[..count].copy_from_slice(&rest[..count]);
        data[count..].fill(0);
        self.offset = self.offset.saturating_add(data.len());
    }

    fn write_dma_address(&mut self, offset: u64, data: &[u8]) {
        crate::access::copy_in(&mut self.dma_address, offset, data);
        if offset + data.len() as u64 == DMA_SIZE && offset <= DMA_LOW {
            let at = u64::from_be_bytes(std::mem::take(&mut self.dma_address));
            self.dma(at);
        }
    }

    /// Does what the descriptor at `at` says, and says there how it went. Where no memory is nothing is done.
    fn dma(&mut self, at: u64) {
        let mut bytes = [0; DESCRIPTOR_SIZE];
        if self.memory.ram().read_slice(&mut bytes, GuestAddress(at)).is_err() {
            return;
        }
        let [c0, c1, c2, c3, l0, l1, l2, l3, address @ ..] = bytes;
        let (control, length) = (u32::from_be_bytes([c0, c1, c2, c3]), u32::from_be_bytes([l0, l1, l2, l3]));
        let done = self.transfer(control, length, u64::from_be_bytes(address));
        let answer = if done { 0 } else { CONTROL_ERROR };
        let _ = self.memory.ram().write_slice(&answer.to_be_bytes(), GuestAddress(at));
    }

    fn transfer(&mut self, control: u32, length: u32, address: u64) -> bool {
        if control & CONTROL_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        if control & CONTROL_READ != 0 {
            return self.copy(address, length as usize);
        }
        if control & CONTROL_SKIP != 0 {
            self.offset = self.offset.saturating_add(length as usize);
        }
        control & CONTROL_WRITE == 0
    }

    fn copy(&mut self, address: u64, length: usize) -> bool {
        let left = self.items.get(&self.selected).map_or(0, |item| item.len().saturating_sub(self.offset));
        if length > left + MOST_ZEROS {
            return false;
        }
        let mut piece = vec![0; length.min(PIECE)];
        (0..length).step_by(PIECE).all(|done| {
            let part = &mut piece[..(length - done).min(PIECE)];
            self.next(part);
            let Some(to) = address.checked_add(done as u64) else { return false };
            self.memory.ram().write_slice(part, GuestAddress(to)).is_ok()
        })
    }
}

impl Device for FwCfg {
    fn name(&self) -> &'static str {
        "fw_cfg"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, PORTS), (Space::Port, DMA_SIZE)]
    }
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        if region == DMA_REGION {
            return crate::access::copy_out(&DMA_SIGNATURE, offset, data);
        }
        for (port, byte) in (offset..).zip(data) {
            *byte = 0;
            if port == DATA {
                self.next(std::slice::from_mut(byte));
            }
        }
    }
    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        match (region, offset, data) {
            (DMA_REGION, _, _) => self.write_dma_address(offset, data),
            (_, SELECTOR, &[low, high]) => self.select(u16::from_le_bytes([low, high])),
            _ => {}
        }
    }
    fn reset(&mut self) {
        (self.selected, self.offset, self.dma_address) = (0, 0, [0; 8]);
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
