//! The memory that a case sees, at the same linear addresses natively and in the guest.

pub const PAGE: usize = 4096;

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Readable, writable, executable.
    Plain,
    ReadOnly,
    /// Device registers in the guest, memory natively.
    Device,
}

/// The string runs here; it may cross into the second page.
pub const CODE: u64 = 0x1000_0000;
/// Two plain pages, a device page, nothing.
pub const DATA: u64 = 0x1001_0000;
pub const DEVICE: u64 = 0x1001_2000;
/// A plain page before a read-only one.
pub const BEFORE_READ_ONLY: u64 = 0x1001_f000;
pub const READ_ONLY: u64 = 0x1002_0000;
/// Two plain pages above 4 GiB.
pub const HIGH: u64 = 0x4567_89ab_0000;

/// Linear addresses of the mapped pages, in the order in which a case's memory image holds them.
pub const PAGES: [(u64, Kind); 9] = [
    (CODE, Kind::Plain),
    (CODE + 0x1000, Kind::Plain),
    (DATA, Kind::Plain),
    (DATA + 0x1000, Kind::Plain),
    (DEVICE, Kind::Device),
    (BEFORE_READ_ONLY, Kind::Plain),
    (READ_ONLY, Kind::ReadOnly),
    (HIGH, Kind::Plain),
    (HIGH + 0x1000, Kind::Plain),
];

/// Bytes of a memory image.
pub const SIZE: usize = PAGES.len() * PAGE;

/// Offset in the image of a mapped linear address.
pub fn offset(linear: u64) -> Option<usize> {
    let page = PAGES.iter().position(|p| linear & !0xfff == p.0)?;
    Some(page * PAGE + (linear & 0xfff) as usize)
}

/// Linear address of a byte of the image.
pub fn linear(offset: usize) -> u64 {
    PAGES[offset / PAGE].0 + (offset % PAGE) as u64
}
