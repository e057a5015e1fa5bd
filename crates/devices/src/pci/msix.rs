//! MSI-X (PCI 3.0, 6.8.2): the vector table, the pending bits, and what masking does to messages.

use super::config::ConfigSpace;
use super::regs::*;
use crate::MsiSink;
use crate::access::{copy_in, copy_out, value};
use ireko_vmcore::Msi;

/// A function's MSI-X state. The function keeps table and pending bits in a BAR and hands accesses on.
pub struct Msix {
    /// The table as the guest wrote it.
    pub(super) table: Vec<u8>,
    pub(super) pending: Vec<u8>,
    pub(super) control: u16,
    /// Where the capability is.
    pub(super) capability: usize,
    pub(super) sink: MsiSink,
}

impl Msix {
    /// Adds the capability for `vectors` (1 to 2048) vectors with the table and pending bits at these offsets in `bar`.
    pub fn new(
        config: &mut ConfigSpace,
        vectors: u16,
        bar: u8,
        table: u32,
        pending: u32,
        sink: MsiSink,
    ) -> Self {
        let vectors = vectors.clamp(1, 2048);
        let mut body = [0; 10];
        body[0..2].copy_from_slice(&(vectors - 1).to_le_bytes());
        body[2..6].copy_from_slice(&(table | u32::from(bar & 7)).to_le_bytes());
        body[6..10].copy_from_slice(&(pending | u32::from(bar & 7)).to_le_bytes());
        let writable = (MSIX_ENABLE | MSIX_FUNCTION_MASK).to_le_bytes();
        let capability = config.add_capability(MSIX_ID, &body, &writable).unwrap_or(CONFIG_SIZE);
        let mut msix = Self {
            table: vec![0; usize::from(vectors) * MSIX_ENTRY],
            pending: vec![0; usize::from(vectors).div_ceil(64) * 8],
            control: 0,
            capability,
            sink,
        };
        msix.reset();
        msix
    }

    /// All vectors masked, nothing pending, disabled.
    pub fn reset(&mut self) {
        self.control = 0;
        self.pending.fill(0);
        self.table.fill(0);
        self.table.chunks_mut(MSIX_ENTRY).for_each(|entry| entry[12] = MSIX_ENTRY_MASKED as u8);
    }

    pub fn vectors(&self) -> u16 {
        (self.table.len() / MSIX_ENTRY) as u16
    }

    pub fn enabled(&self) -> bool {
        self.control & MSIX_ENABLE != 0
    }

    /// Bytes of the table.
    pub fn table_size(&self) -> u64 {
        self.table.len() as u64
    }

    /// Takes message control from configuration space after the guest wrote there.
    pub fn config_written(&mut self, config: &ConfigSpace) {
        self.control = config.word(self.capability + MSIX_CONTROL);
        self.send_unmasked();
    }

    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        copy_out(&self.table, offset, data);
    }

    pub fn write_table(&mut self, offset: u64, data: &[u8]) {
        copy_in(&mut self.table, offset, data);
        self.send_unmasked();
    }

    /// The pending bits are read only.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        copy_out(&self.pending, offset, data);
    }

    /// Sends the message of `vector`, or holds it pending while it is masked. Vectors that are not there are ignored.
    pub fn notify(&mut self, vector: u16) {
        if vector >= self.vectors() || !self.enabled() {
            return;
        }
        if self.masked(vector) {
            self.pending[usize::from(vector / 8)] |= 1 << (vector % 8);
        } else {
            (self.sink)(self.message(vector));
        }
    }

    fn entry(&self, vector: u16) -> &[u8] {
        &self.table[usize::from(vector) * MSIX_ENTRY..][..MSIX_ENTRY]
    }

    fn message(&self, vector: u16) -> Msi {
        let entry = self.entry(vector);
        Msi { address: value(&entry[0..8]), data: value(&entry[8..12]) as u32 }
    }

    fn masked(&self, vector: u16) -> bool {
        let masked = value(&self.entry(vector)[12..16]) as u32 & MSIX_ENTRY_MASKED != 0;
        masked || self.control & MSIX_FUNCTION_MASK != 0
    }

    /// Sends what is pending and not masked any more.
    fn send_unmasked(&mut self) {
        if !self.enabled() || self.pending.iter().all(|&bits| bits == 0) {
            return;
        }
        for vector in 0..self.vectors() {
            let (at, bit) = (usize::from(vector / 8), 1 << (vector % 8));
            if self.pending[at] & bit != 0 && !self.masked(vector) {
                self.pending[at] &= !bit;
                (self.sink)(self.message(vector));
            }
        }
    }
}
