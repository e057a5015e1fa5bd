//! Disks behind any controller: one [`Drive`] does what all of them ask for, and each controller says it in its own words.

mod dma;
mod drive;
pub mod nvme;
#[cfg(test)]
pub(crate) mod tests;

pub use dma::{Dma, Segment};
pub use drive::{Drive, Failure, SECTOR, Zeroing};
pub use nvme::Nvme;
