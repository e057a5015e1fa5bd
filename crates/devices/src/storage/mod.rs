//! Disks behind any controller: one [`Drive`] does what all of them ask for, and each controller says it in its own words.

pub mod ahci;
mod ata;
pub(crate) mod dma;
mod drive;
pub mod ide;
mod media;
pub mod nvme;
pub mod saved;
pub(crate) mod scsi;
#[cfg(test)]
pub(crate) mod tests;
mod tray;
#[cfg(test)]
mod tray_tests;
mod unit;

pub use ahci::Ahci;
pub use dma::{Dma, Segment};
pub use drive::{Drive, Failure, SECTOR, Zeroing};
pub use ide::Ide;
pub use media::Media;
pub use nvme::Nvme;
pub use scsi::Kind;
pub use tray::Tray;
pub use unit::Unit;
