//! The console device (5.3) as a channel: one named port without a terminal, at which a program of the guest's listens.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use self::regs::*;
use super::regs::TYPE_CONSOLE;
use super::{Broken, Buffers, Registers, VirtioDevice, VirtioPci};
use crate::{MsiSink, lock};
use ireko_vmcore::{Line, Memory, SavedState};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bytes that wait on the way to the guest, and about as many on the way to the host.
const BUFFER: usize = 64 << 10;

#[derive(Default)]
struct PortState {
    /// What the driver is to be told next.
    add: bool,
    name: bool,
    open: bool,
    /// A program has opened the port.
    opened: bool,
    to_guest: VecDeque<u8>,
    to_host: VecDeque<u8>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<PortState>,
    changed: Condvar,
}

/// The device.
struct Channel {
    name: &'static str,
    shared: Arc<Shared>,
}

/// The host's end of a channel.
#[derive(Clone)]
pub struct ChannelHost {
    shared: Arc<Shared>,
    function: Weak<Mutex<VirtioPci>>,
}

/// A channel's function and the host's end. `name` is what the guest finds it by.
pub fn channel(
    memory: Arc<Memory>,
    msi: MsiSink,
    intx: Line,
    name: &'static str,
) -> (Arc<Mutex<VirtioPci>>, ChannelHost) {
    let shared = Arc::<Shared>::default();
    let function = VirtioPci::new(Box::new(Channel { name, shared: shared.clone() }), memory, msi, intx);
    let host = ChannelHost { shared, function: Arc::downgrade(&function) };
    (function, host)
}

impl ChannelHost {
    /// Changes what is on the way, and wakes the device for it. Not while the machine is paused.
    fn change<T: Default>(&self, queue: usize, change: impl FnOnce(&mut PortState) -> T) -> T {
        // Of a device that is no more nothing is paused.
        let Some(function) = self.function.upgrade() else { return change(&mut lock(&self.shared.state)) };
        let mut changed = T::default();
        let service = lock(&function).service();
        if service.happens_now(|| changed = change(&mut lock(&self.shared.state))) {
            lock(&function).kick(queue);
        }
        changed
    }

    /// Whether a program of the guest's has it open.
    pub fn is_open(&self) -> bool {
        lock(&self.shared.state).opened
    }

    /// Bytes for the guest. False: nobody has it open, does not take what came before, or is paused.
    pub fn send(&self, data: &[u8]) -> bool {
        self.change(RECEIVE, |state| {
            let taken = state.opened && state.to_guest.len() + data.len() <= BUFFER;
            if taken {
                state.to_guest.extend(data);
            }
            taken
        })
    }

    /// What has come, or comes until then. Nothing, if the machine is paused.
    pub fn receive(&self, until: Instant) -> Vec<u8> {
        let mut state = lock(&self.shared.state);
        while state.to_host.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.change(TRANSMIT, |state| std::mem::take(&mut state.to_host).into())
    }

    /// Waits so long, or until a program opens or closes it.
    pub fn wait(&self, patience: Duration) {
        let state = lock(&self.shared.state);
        let before = state.opened;
        drop(self.shared.changed.wait_timeout_while(state, patience, |state| state.opened == before));
    }
}

impl PortState {
    fn due(&self) -> Option<u16> {
        let events = [(self.add, PORT_ADD), (self.name, PORT_NAME), (self.open, PORT_OPEN)];
        events.into_iter().find(|(due, _)| *due).map(|(_, event)| event)
    }

    /// The next message for the driver.
    fn message(&mut self, name: &str) -> Option<Vec<u8>> {
        let event = self.due()?;
        let mut message = PORT.to_le_bytes().to_vec();
        message.extend(event.to_le_bytes());
        message.extend(1u16.to_le_bytes());
        match event {
            PORT_ADD => self.add = false,
            PORT_NAME => {
                self.name = false;
                message.extend(name.as_bytes());
            }
            _ => self.open = false,
        }
        Some(message)
    }

    /// A message of the driver's.
    fn hear(&mut self, port: u32, event: u16, value: u16) {
        match event {
            DEVICE_READY if value == 1 => self.add = true,
            PORT_READY if port == PORT && value == 1 => (self.name, self.open) = (true, true),
            PORT_OPEN if port == PORT => {
                self.opened = value == 1;
                // What nobody has read is for nobody else.
                self.to_guest.clear();
            }
            _ => {}
        }
    }
}

impl Channel {
    fn control(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let length = buffers.reader.available_bytes();
        if length < MESSAGE {
            return Err(Broken(format!("a control message of {length} bytes")));
        }
        let mut message = [0; MESSAGE];
        buffers.reader.read_exact(&mut message)?;
        let [a, b, c, d, e, f, g, h] = message;
        let (port, event) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]));
        lock(&self.shared.state).hear(port, event, u16::from_le_bytes([g, h]));
        self.shared.changed.notify_all();
        Ok(0)
    }

    fn tell(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let Some(message) = lock(&self.shared.state).message(self.name) else { return Ok(0) };
        let room = buffers.writer.available_bytes();
        if room < message.len() {
            return Err(Broken(format!("a buffer of {room} bytes for a control message")));
        }
        buffers.writer.write_all(&message)?;
        Ok(message.len() as u32)
    }

    fn transmit(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        // What is longer than any that drivers send is cut.
        let mut data = vec![0; buffers.reader.available_bytes().min(BUFFER)];
        buffers.reader.read_exact(&mut data)?;
        lock(&self.shared.state).to_host.extend(data);
        self.shared.changed.notify_all();
        Ok(0)
    }

    fn receive(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let data: Vec<u8> = {
            let mut state = lock(&self.shared.state);
            let length = state.to_guest.len().min(buffers.writer.available_bytes());
            state.to_guest.drain(..length).collect()
        };
        buffers.writer.write_all(&data)?;
        Ok(data.len() as u32)
    }
}

impl VirtioDevice for Channel {
    fn name(&self) -> &'static str {
        "virtio-serial"
    }
    fn kind(&self) -> u16 {
        TYPE_CONSOLE
    }
    fn class(&self) -> u32 {
        0x07_80_00
    }
    fn features(&self) -> u64 {
        F_MULTIPORT
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[16, 16, 32, 32, 64, 64]
    }
    /// Columns, rows, ports, emergency write.
    fn registers(&self) -> Arc<dyn Registers> {
        Arc::new(Configuration(self.shared.clone()))
    }
    fn wants(&self, queue: usize) -> bool {
        let state = lock(&self.shared.state);
        match queue {
            CONTROL_RECEIVE => state.due().is_some(),
            RECEIVE => !state.to_guest.is_empty(),
            // The program waits until the host has taken what came before.
            TRANSMIT => state.to_host.len() < BUFFER,
            CONTROL_TRANSMIT => true,
            _ => false,
        }
    }
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken> {
        match queue {
            CONTROL_RECEIVE => self.tell(buffers),
            CONTROL_TRANSMIT => self.control(buffers),
            RECEIVE => self.receive(buffers),
            _ => self.transmit(buffers),
        }
    }
    /// What the driver said may have an answer.
    fn then(&self, queue: usize) -> Option<usize> {
        (queue == CONTROL_TRANSMIT).then_some(CONTROL_RECEIVE)
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

struct Configuration(Arc<Shared>);

impl Registers for Configuration {
    fn read(&self) -> Vec<u8> {
        [&[0; 4][..], &PORTS, &[0; 4]].concat()
    }
    /// A driver that starts anew knows no port.
    fn reset(&self) {
        *lock(&self.0.state) = PortState::default();
        self.0.changed.notify_all();
    }
}
