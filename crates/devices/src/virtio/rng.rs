//! The entropy device (5.4).

use super::regs::TYPE_ENTROPY;
use super::{Broken, Buffers, VirtioDevice};
use ireko_vmcore::SavedState;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io::{self, Read, Write};

/// The most that one request gets; a driver that wants more asks again.
const MOST: u64 = 1 << 16;

/// Gives the guest what a source of randomness yields.
pub struct Rng {
    source: Box<dyn Read + Send>,
}

impl Rng {
    pub fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source }
    }
    /// The host's own source.
    pub fn host() -> Self {
        Self::new(Box::new(Kernel))
    }
}

/// getrandom(2): needs no descriptor and no name.
struct Kernel;

impl Read for Kernel {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        Ok(getrandom(room, GetRandomFlags::empty())?)
    }
}

impl VirtioDevice for Rng {
    fn name(&self) -> &'static str {
        "virtio-rng"
    }
    fn kind(&self) -> u16 {
        TYPE_ENTROPY
    }
    fn class(&self) -> u32 {
        0xff_00_00
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[64]
    }
    fn serve(&mut self, _: usize, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let mut random = vec![0; (buffers.writer.available_bytes() as u64).min(MOST) as usize];
        // A source that ends or fails gives less; the driver sees how much.
        let got = self.source.read(&mut random).unwrap_or(0);
        buffers.writer.write_all(&random[..got])?;
        Ok(got as u32)
    }
    /// Nothing but queues and registers.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}
