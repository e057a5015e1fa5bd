//! The socket device (5.10): streams between the guest and its host, without a network.

mod connection;
mod host;
mod regs;
pub mod saved;
mod state;
#[cfg(test)]
mod tests;

pub use host::{NoStream, Offer, VsockHost, VsockStream};

use self::connection::BUFFER;
use self::regs::*;
use self::state::Transport;
use super::regs::TYPE_SOCKET;
use super::{Broken, Buffers, Queues, Registers, VirtioDevice, VirtioPci};
use crate::{MsiSink, lock};
use ireko_vmcore::{Line, Memory, SavedState};
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};

/// What the device and the host's side have in common.
#[derive(Default)]
struct Shared {
    state: Mutex<Transport>,
    offered: Condvar,
}

/// The device.
struct Vsock {
    shared: Arc<Shared>,
}

/// A socket function and the host's side of it.
pub fn vsock(memory: Arc<Memory>, msi: MsiSink, intx: Line) -> (Arc<Mutex<VirtioPci>>, VsockHost) {
    let shared = Arc::<Shared>::default();
    let function = VirtioPci::new(Box::new(Vsock { shared: shared.clone() }), memory, msi, intx);
    let host = VsockHost { shared, function: Arc::downgrade(&function) };
    (function, host)
}

impl Vsock {
    fn transmit(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let length = buffers.reader.available_bytes();
        if length < HEADER {
            return Err(Broken(format!("a packet's header of {length} bytes")));
        }
        let header = Header::read(&mut buffers.reader)?;
        let mut data = Vec::new();
        if header.operation == RW {
            let length = header.length as usize;
            if length > buffers.reader.available_bytes() {
                return Err(Broken(format!("a packet of {length} bytes without them")));
            }
            // More than there is room for is not looked at: it breaks the rules whatever it is.
            data.resize(length.min(BUFFER + 1), 0);
            buffers.reader.read_exact(&mut data)?;
        }
        let heard = lock(&self.shared.state).hear(&header, &data);
        if heard.offered {
            self.shared.offered.notify_all();
        }
        Ok(0)
    }

    fn receive(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let room = buffers.writer.available_bytes();
        if room <= HEADER {
            return Err(Broken(format!("a receive buffer of {room} bytes")));
        }
        let packet = lock(&self.shared.state).packet(room - HEADER);
        let Some((header, data)) = packet else { return Ok(0) };
        buffers.writer.write_all(&header.bytes())?;
        buffers.writer.write_all(&data)?;
        Ok((HEADER + data.len()) as u32)
    }

    fn event(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let event = TRANSPORT_RESET.to_le_bytes();
        buffers.writer.write_all(&event)?;
        lock(&self.shared.state).interrupted = false;
        Ok(event.len() as u32)
    }
}

impl VirtioDevice for Vsock {
    fn name(&self) -> &'static str {
        "virtio-vsock"
    }
    fn kind(&self) -> u16 {
        TYPE_SOCKET
    }
    fn class(&self) -> u32 {
        0x07_80_00
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[128, 128, 8]
    }
    fn registers(&self) -> Arc<dyn Registers> {
        Arc::new(Address(self.shared.clone()))
    }
    fn wants(&self, queue: usize) -> bool {
        match queue {
            RECEIVE => lock(&self.shared.state).has_packet(),
            EVENT => lock(&self.shared.state).interrupted,
            _ => true,
        }
    }
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken> {
        match queue {
            RECEIVE => self.receive(buffers),
            TRANSMIT => self.transmit(buffers),
            _ => self.event(buffers),
        }
    }
    /// What the guest sent may have an answer.
    fn then(&self, queue: usize) -> Option<usize> {
        (queue == TRANSMIT).then_some(RECEIVE)
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

impl Drop for Vsock {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.ended = true;
        state.forget();
        self.shared.offered.notify_all();
    }
}

struct Address(Arc<Shared>);

impl Registers for Address {
    fn read(&self) -> Vec<u8> {
        GUEST.to_le_bytes().to_vec()
    }
    /// A driver that starts anew knows no connections.
    fn reset(&self) {
        lock(&self.0.state).forget();
    }
}
