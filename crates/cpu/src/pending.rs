//! What routines leave for the instruction that called them, for its commit and for the run loop: where bytes wait, where they
//! belong, and how it ended.

use crate::fault::Fault;
use std::ops::Range;

/// What routines and translated code hand to each other.
#[derive(Default)]
pub struct Handoff {
    /// Why a routine left translated code.
    pub outcome: Option<Fault>,
    pub pending: Option<Pending>,
    pub bounce: Box<Bounce>,
    /// An event waits for IF, GIF or the like: look around after every change of those.
    pub waits: bool,
}

/// Where an access goes.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Host address, valid to the end of the page.
    Ram(*mut u8),
    /// System-physical address outside memory.
    Mmio(u64),
}

/// Bytes of an operand of up to 64 bytes, of which some are accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// A bit a byte.
    pub bytes: u64,
    /// What is accessed at once.
    pub element: usize,
    /// What must be accessible: the bytes, or, of instructions that suppress no fault, the whole operand.
    pub checked: u64,
    /// What an alignment check goes by: the element, or, of instructions that suppress no fault, the whole operand (seen on
    /// family 1Ah).
    pub aligned: usize,
}

impl Chosen {
    /// From the first byte that must be accessible to behind the last; `None` if there is none.
    pub fn hull(&self) -> Option<Range<usize>> {
        let bytes = self.checked;
        (bytes != 0).then(|| bytes.trailing_zeros() as usize..64 - bytes.leading_zeros() as usize)
    }

    /// The bytes of an operand that begins `start` bytes into this one.
    pub fn from(&self, start: usize) -> Self {
        Self { bytes: self.bytes >> start, checked: self.checked >> start, ..*self }
    }

    /// The accessed elements among the first `size` bytes, each cut where `edge` is.
    pub fn pieces(self, size: usize, edge: usize) -> impl Iterator<Item = Range<usize>> {
        let starts = (0..size).filter(move |n| self.bytes >> n & 1 != 0 && n % self.element == 0);
        let whole = starts.map(move |n| n..(n + self.element).min(size));
        let cut = move |r: Range<usize>| [r.start..r.end.min(edge), r.start.max(edge)..r.end];
        whole.flat_map(cut).filter(|r| !r.is_empty())
    }
}

/// Where a device register's or a crossing access's bytes wait between routine and instruction. Aligned like the
/// guest's address, so that alignment faults stay the guest's.
#[repr(C, align(64))]
pub struct Bounce(pub [u8; 1024]);

impl Default for Bounce {
    fn default() -> Self {
        Self([0; 1024])
    }
}

/// What a commit has to do.
#[derive(Clone, Copy, Debug)]
pub enum Pending {
    /// A write straight into a page that holds code.
    Code { physical: u64, size: usize },
    /// A write to the bounce buffer that belongs in one or two places; `first` bytes in the first. Of a masked one, only what is
    /// chosen.
    Bounced { start: usize, size: usize, first: usize, places: [Target; 2], chosen: Option<Chosen> },
}
