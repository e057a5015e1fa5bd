//! What a kernel is told, as it lies in memory: structures that point at each other, one after the other.

use super::put;
use crate::MachineError;
use crate::image::Piece;
use crate::layout;
use ireko_vmcore::memory::GuestRam;
use std::ops::Range;

/// Bytes for memory.
pub(super) struct Told {
    place: Range<u64>,
    bytes: Vec<u8>,
}

/// Where the kernel leaves room for them.
pub(super) fn place(pieces: &[Piece]) -> Range<u64> {
    let [usual, other] = layout::BOOT_INFORMATION;
    let free = |piece: &Piece| piece.address >= usual.end || piece.address + piece.size <= usual.start;
    if pieces.iter().all(free) { usual } else { other }
}

impl Told {
    /// `size` bytes are left out at the start, for what is made last.
    pub fn behind(size: usize, place: Range<u64>) -> Self {
        Self { place, bytes: vec![0; size] }
    }

    /// Puts `content` at the next multiple of 8. Gives its address.
    pub fn add(&mut self, content: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let address = self.place.start + self.bytes.len() as u64;
        self.bytes.extend(content);
        address
    }

    /// A text with its terminating zero. Zeros inside would end it early, so they are left out.
    pub fn add_text(&mut self, text: &str) -> u64 {
        self.add(&zero_ended(text))
    }

    /// With `first` in the place that was left out, into memory.
    pub fn write(mut self, ram: &GuestRam, first: &[u8]) -> Result<(), MachineError> {
        let room = self.place.end - self.place.start;
        if self.bytes.len() as u64 > room {
            let what = "the command lines of a kernel and its modules";
            return Err(MachineError::TablesTooLarge { what, size: self.bytes.len(), room: room as usize });
        }
        self.bytes[..first.len()].copy_from_slice(first);
        put(ram, self.place.start, &self.bytes)
    }
}

pub(super) fn zero_ended(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| *byte != 0).chain([0]).collect()
}

/// Fields one behind the other.
pub(super) fn words(fields: &[u64]) -> Vec<u8> {
    fields.iter().flat_map(|field| field.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_lies_low_leaves_another_place() {
        let at = |address| place(&[Piece { address, data: &[], size: 0x1000 }]);
        assert_eq!(at(0x10_0000), layout::BOOT_INFORMATION[0]);
        assert_eq!(at(0x1_f000), layout::BOOT_INFORMATION[1]);
        assert_eq!(at(0xf000), layout::BOOT_INFORMATION[0]);
    }
}
