//! The network device (5.1) over a [`Port`]: one pair of queues, and no offloads.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use self::regs::*;
use super::regs::TYPE_NETWORK;
use super::{Broken, Buffers, Registers, VirtioDevice, VirtioPci};
use crate::service::Service as _;
use crate::{MsiSink, lock, shared};
use ireko_vmcore::port::{LONGEST_FRAME, SHORTEST_FRAME};
use ireko_vmcore::{Line, Memory, Port, SavedState, Throttle};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, Weak};

/// Frames that wait for the driver's buffers; what comes beyond this is lost.
const BACKLOG: usize = 256;

struct NetState {
    frames: VecDeque<Vec<u8>>,
    connected: bool,
}

/// The device.
struct Net {
    mac: [u8; 6],
    port: Arc<dyn Port>,
    throttle: Arc<Throttle>,
    state: Arc<Mutex<NetState>>,
}

/// Where what the network has for the guest goes in.
#[derive(Clone)]
pub struct NetInput {
    state: Arc<Mutex<NetState>>,
    function: Weak<Mutex<VirtioPci>>,
}

/// A network function and the end that feeds it.
pub fn net(
    memory: Arc<Memory>,
    msi: MsiSink,
    intx: Line,
    mac: [u8; 6],
    port: Arc<dyn Port>,
) -> (Arc<Mutex<VirtioPci>>, NetInput) {
    let connected = port.connected();
    let state = shared(NetState { frames: VecDeque::new(), connected });
    let device = Net { mac, throttle: port.throttle(), port, state: state.clone() };
    let function = VirtioPci::new(Box::new(device), memory, msi, intx);
    let input = NetInput { state, function: Arc::downgrade(&function) };
    (function, input)
}

impl NetInput {
    /// A frame for the guest.
    pub fn deliver(&self, frame: &[u8]) {
        if !(SHORTEST_FRAME..=LONGEST_FRAME).contains(&frame.len()) {
            return;
        }
        let Some(function) = self.function.upgrade() else { return };
        let service = lock(&function).service();
        // What comes after this one waits where it came from.
        service.happens(|| {
            let mut state = lock(&self.state);
            if state.frames.len() < BACKLOG {
                state.frames.push_back(frame.to_owned());
            }
        });
        lock(&function).kick(RECEIVE);
        // Here and now: waking the device's thread for it would take longer.
        service.turn();
    }

    /// Waits out a pause of the machine. False: it has ended.
    pub fn wait_until_open(&self) -> bool {
        let service = self.function.upgrade().map(|function| lock(&function).service());
        service.is_some_and(|service| service.mailbox().wait_until_open())
    }

    /// Whether the adapter is plugged in. Waits out a pause.
    pub fn connect(&self, connected: bool) {
        let Some(function) = self.function.upgrade() else { return };
        if lock(&self.state).connected == connected {
            return;
        }
        let service = lock(&function).service();
        service.happens(|| {
            if std::mem::replace(&mut lock(&self.state).connected, connected) != connected {
                lock(&function).config_changed();
            }
        });
    }

    /// Whether the device is still there.
    pub fn alive(&self) -> bool {
        self.function.strong_count() > 0
    }
}

impl Net {
    fn transmit(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let len = buffers.reader.available_bytes();
        if len < HEADER {
            return Err(Broken(format!("a frame's header of {len} bytes")));
        }
        // What is too long or too short for the wire is lost.
        if !(HEADER + SHORTEST_FRAME..=HEADER + LONGEST_FRAME).contains(&len) {
            return Ok(0);
        }
        let mut bytes = [0; HEADER + LONGEST_FRAME];
        buffers.reader.read_exact(&mut bytes[..len])?;
        buffers.permit.pay(&self.throttle, (len - HEADER) as u64, 1)?;
        self.port.send(&bytes[HEADER..len]);
        Ok(0)
    }

    fn next(&self) -> Option<Vec<u8>> {
        lock(&self.state).frames.pop_front()
    }

    /// The first frame that fits; without one the buffer comes back empty.
    fn receive(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let room = buffers.writer.available_bytes();
        if room < LEAST_ROOM {
            return Err(Broken(format!("a receive buffer of {room} bytes, fewer than {LEAST_ROOM}")));
        }
        while let Some(frame) = self.next() {
            if HEADER + frame.len() <= room {
                let mut header = [0; HEADER];
                header[BUFFERS] = 1;
                buffers.writer.write_all(&header)?;
                buffers.writer.write_all(&frame)?;
                return Ok((HEADER + frame.len()) as u32);
            }
        }
        Ok(0)
    }
}

impl VirtioDevice for Net {
    fn name(&self) -> &'static str {
        "virtio-net"
    }
    fn kind(&self) -> u16 {
        TYPE_NETWORK
    }
    fn class(&self) -> u32 {
        0x02_00_00
    }
    fn features(&self) -> u64 {
        F_MAC | F_STATUS
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[256, 256]
    }
    fn registers(&self) -> Arc<dyn Registers> {
        Arc::new(Status { mac: self.mac, state: self.state.clone() })
    }
    fn wants(&self, queue: usize) -> bool {
        queue != RECEIVE || !lock(&self.state).frames.is_empty()
    }
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken> {
        if queue == RECEIVE { self.receive(buffers) } else { self.transmit(buffers) }
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

struct Status {
    mac: [u8; 6],
    state: Arc<Mutex<NetState>>,
}

impl Registers for Status {
    /// The address, then the status (5.1.4).
    fn read(&self) -> Vec<u8> {
        let status = if lock(&self.state).connected { LINK_UP } else { 0 };
        [&self.mac[..], &status.to_le_bytes()].concat()
    }
    /// A driver that starts anew has no use for what came before it.
    fn reset(&self) {
        lock(&self.state).frames.clear();
    }
}
