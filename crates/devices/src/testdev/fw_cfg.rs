//! fw_cfg: named and numbered items that the machine gives to firmware, byte by byte.

use super::regs::*;
use ireko_vmcore::{Device, Space};
use std::collections::BTreeMap;

pub const FW_CFG_PLACES: [u64; 1] = [0x510];

/// The traditional interface, without DMA.
pub struct FwCfg {
    items: BTreeMap<u16, Vec<u8>>,
    names: Vec<String>,
    selected: u16,
    offset: usize,
}

impl FwCfg {
    pub fn new(cpus: u16, memory: u64) -> Self {
        let mut this = Self { items: BTreeMap::new(), names: Vec::new(), selected: 0, offset: 0 };
        this.add_item(KEY_SIGNATURE, b"QEMU".to_vec());
        this.add_item(KEY_ID, ID_TRADITIONAL.to_le_bytes().to_vec());
        this.add_item(KEY_RAM_SIZE, memory.to_le_bytes().to_vec());
        this.add_item(KEY_CPUS, cpus.to_le_bytes().to_vec());
        this.add_item(KEY_MAX_CPUS, cpus.to_le_bytes().to_vec());
        this.list();
        this
    }

    /// Sets a numbered item.
    pub fn add_item(&mut self, key: u16, data: Vec<u8>) {
        self.items.insert(key, data);
    }

    /// Adds a file; its name counts up to 55 bytes.
    pub fn add_file(&mut self, name: &str, data: Vec<u8>) {
        self.items.insert(KEY_FIRST_FILE + self.names.len() as u16, data);
        self.names.push(name.to_owned());
        self.list();
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

    /// The next byte of the selected item, zero past its end.
    fn next(&mut self) -> u8 {
        let byte = self.items.get(&self.selected).and_then(|item| item.get(self.offset));
        self.offset = self.offset.saturating_add(1);
        byte.copied().unwrap_or(0)
    }
}

impl Device for FwCfg {
    fn name(&self) -> &'static str {
        "fw_cfg"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, FW_CFG_PORTS)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        for (port, byte) in (offset..).zip(data) {
            *byte = if port == FW_CFG_DATA { self.next() } else { 0 };
        }
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        if let (FW_CFG_SELECTOR, &[low, high]) = (offset, data) {
            (self.selected, self.offset) = (u16::from_le_bytes([low, high]) & KEY_BITS, 0);
        }
    }
    fn reset(&mut self) {
        (self.selected, self.offset) = (0, 0);
    }
}
