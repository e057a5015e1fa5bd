//! The console device with a single port (5.3).

pub mod saved;

use super::regs::TYPE_CONSOLE;
use super::{Broken, Buffers, Registers, VirtioDevice, VirtioPci};
use crate::{MsiSink, lock};
use ireko_vmcore::{Line, Memory, SavedState};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, Weak};

const RECEIVE: usize = 0;
/// Input that waits for the driver's buffers; what comes beyond this is lost.
pub(super) const BACKLOG: usize = 1 << 20;
const CHUNK: usize = 4096;

type Backlog = Arc<Mutex<VecDeque<u8>>>;

/// One port: what the driver sends goes to `output`.
pub struct Console {
    output: Box<dyn Write + Send>,
    input: Backlog,
}

/// The far end of the port's input.
#[derive(Clone)]
pub struct ConsoleInput {
    pub(super) backlog: Backlog,
    function: Weak<Mutex<VirtioPci>>,
}

impl ConsoleInput {
    /// Bytes for the guest.
    pub fn send(&self, data: &[u8]) {
        {
            let mut backlog = lock(&self.backlog);
            let room = BACKLOG.saturating_sub(backlog.len());
            backlog.extend(data.iter().take(room));
        }
        if let Some(function) = self.function.upgrade() {
            lock(&function).kick(RECEIVE);
        }
    }
}

/// A console function and the end that feeds it.
pub fn console(
    memory: Arc<Memory>,
    msi: MsiSink,
    intx: Line,
    output: Box<dyn Write + Send>,
) -> (Arc<Mutex<VirtioPci>>, ConsoleInput) {
    let backlog = Backlog::default();
    let device = Console { output, input: backlog.clone() };
    let function = VirtioPci::new(Box::new(device), memory, msi, intx);
    let input = ConsoleInput { backlog, function: Arc::downgrade(&function) };
    (function, input)
}

impl Console {
    fn transmit(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let mut chunk = [0; CHUNK];
        loop {
            let got = buffers.reader.read(&mut chunk)?;
            if got == 0 {
                break;
            }
            // A far end that is gone loses what it is sent.
            let _ = self.output.write_all(&chunk[..got]);
        }
        let _ = self.output.flush();
        Ok(0)
    }

    fn receive(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let data: Vec<u8> = {
            let mut input = lock(&self.input);
            let len = input.len().min(buffers.writer.available_bytes());
            input.drain(..len).collect()
        };
        buffers.writer.write_all(&data)?;
        Ok(data.len() as u32)
    }
}

impl VirtioDevice for Console {
    fn name(&self) -> &'static str {
        "virtio-console"
    }
    fn kind(&self) -> u16 {
        TYPE_CONSOLE
    }
    fn class(&self) -> u32 {
        0x07_80_00
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[128, 128]
    }
    /// Columns, rows, ports, emergency write: none of them offered.
    fn registers(&self) -> Arc<dyn Registers> {
        Arc::new(vec![0; 12])
    }
    fn wants(&self, queue: usize) -> bool {
        queue != RECEIVE || !lock(&self.input).is_empty()
    }
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken> {
        if queue == RECEIVE { self.receive(buffers) } else { self.transmit(buffers) }
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
