//! The port to which firmware writes what it does, one byte after the other (SeaBIOS: `PORT_QEMU_BIOS_DEBUG`).

use ireko_vmcore::{Device, SavedState, Space};
use std::io::Write;

pub const PLACES: [u64; 1] = [0x402];
/// Reading tells firmware that somebody listens.
const READBACK: u8 = 0xe9;

pub struct DebugPort {
    output: Box<dyn Write + Send>,
}

impl DebugPort {
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        Self { output }
    }
}

impl Device for DebugPort {
    fn name(&self) -> &'static str {
        "debug-port"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, 1)]
    }
    fn read(&mut self, _: usize, _: u64, data: &mut [u8]) {
        data.fill(READBACK);
    }
    fn write(&mut self, _: usize, _: u64, data: &[u8]) {
        // That nobody reads it any more is no matter of the guest's.
        let _ = self.output.write_all(&data[..data.len().min(1)]);
    }
    fn reset(&mut self) {}
    /// It has no state.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Output;

    #[test]
    fn what_is_written_comes_out_and_reading_says_that_it_does() {
        let output = Output::default();
        let mut port = DebugPort::new(Box::new(output.clone()));
        b"hello".iter().for_each(|byte| port.write(0, 0, &[*byte]));
        let mut data = [0];
        port.read(0, 0, &mut data);
        assert_eq!((crate::lock(&output.0).as_slice(), data), (&b"hello"[..], [0xe9]));
    }
}
