//! What bare-metal test kernels want of a machine: a way to end with a code, ports that echo, lines to pull.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use crate::access::{copy_in, copy_out, value};
use ireko_vmcore::{Device, Line, SavedState, Space};
use regs::*;
use std::sync::Arc;

pub const EXIT_PLACES: [u64; 1] = [0xf4];

/// isa-debug-exit: a write ends the machine.
pub struct DebugExit {
    exit: Arc<dyn Fn(u8) + Send + Sync>,
}

impl DebugExit {
    /// `exit` gets the exit code, (value << 1) | 1, on the vCPU thread that wrote.
    pub fn new(exit: Arc<dyn Fn(u8) + Send + Sync>) -> Self {
        Self { exit }
    }
}

impl Device for DebugExit {
    fn name(&self) -> &'static str {
        "debug-exit"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, EXIT_SIZE)]
    }
    fn read(&mut self, _: usize, _: u64, data: &mut [u8]) {
        data.fill(0);
    }
    fn write(&mut self, _: usize, _: u64, data: &[u8]) {
        (self.exit)((value(data) as u8) << 1 | 1);
    }
    fn reset(&mut self) {}
    /// It has no state.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}

/// Echo ports, interrupt lines, echo memory.
pub const TEST_PLACES: [u64; 3] = [0xe0, 0x2000, 0xff00_0000];
const ECHO_REGION: usize = 0;
const LINE_REGION: usize = 1;

/// pc-testdev.
pub struct TestDevice {
    lines: Vec<Line>,
    echo: [u8; 4],
    memory: Vec<u8>,
}

impl TestDevice {
    /// `lines[n]` is what port 0x2000 + n sets and clears.
    pub fn new(lines: Vec<Line>) -> Self {
        Self { lines, echo: [0; 4], memory: vec![0; MEMORY_SIZE] }
    }
}

impl Device for TestDevice {
    fn name(&self) -> &'static str {
        "test-device"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, ECHO_SIZE), (Space::Port, LINES), (Space::Mmio, MEMORY_SIZE as u64)]
    }
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        match region {
            ECHO_REGION if !FLUSH.contains(&offset) => copy_out(&self.echo, offset % 4, data),
            ECHO_REGION | LINE_REGION => data.fill(0),
            _ => copy_out(&self.memory, offset, data),
        }
    }
    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        match region {
            ECHO_REGION if FLUSH.contains(&offset) => {}
            ECHO_REGION => copy_in(&mut self.echo, offset % 4, data),
            LINE_REGION => {
                if let Some(line) = self.lines.get(offset as usize) {
                    line.set(value(data) != 0);
                }
            }
            _ => copy_in(&mut self.memory, offset, data),
        }
    }
    fn reset(&mut self) {
        self.echo = [0; 4];
        self.memory.fill(0);
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
