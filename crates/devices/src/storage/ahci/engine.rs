//! A port's device at work: takes commands from memory, carries them out, and says how they ended.

use super::port::Ended;
use super::regs::*;
use super::{Ahci, command};
use crate::access::value;
use crate::service::{Mailbox, Permit, Service};
use crate::storage::dma::{self, Dma, Segment};
use crate::{lock, storage::Media};
use command::{Answer, Device, Kind};
use ireko_vmcore::Memory;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// The device behind a port, with a thread of its own.
pub struct Engine {
    mailbox: Mailbox,
    device: Mutex<Device>,
    /// The device was reset since its last command.
    reset: AtomicBool,
    memory: Arc<Memory>,
    function: Weak<Mutex<Ahci>>,
    port: usize,
}

/// A command as it lies in memory.
pub struct Command {
    pub fis: [u8; 64],
    pub packet: Option<[u8; 16]>,
    pub segments: Vec<Segment>,
}

impl Engine {
    pub fn new(media: Media, memory: Arc<Memory>, function: Weak<Mutex<Ahci>>, port: usize) -> Self {
        let device = Mutex::new(Device::new(media));
        Self { mailbox: Mailbox::default(), device, reset: AtomicBool::new(false), memory, function, port }
    }

    /// The device, while the machine is paused.
    pub(super) fn at_rest(&self) -> MutexGuard<'_, Device> {
        lock(&self.device)
    }

    pub(super) fn is_to_be_reset(&self) -> bool {
        self.reset.load(Relaxed)
    }

    pub(super) fn set_to_be_reset(&self, reset: bool) {
        self.reset.store(reset, Relaxed);
    }

    pub fn reset_device(&self) {
        self.reset.store(true, Relaxed);
    }

    fn serve(&self, device: &mut Device, slot: u32, permit: Permit<'_>) {
        let Some(function) = self.function.upgrade() else { return };
        let Some((list, received)) = lock(&function).issued(self.port, slot) else { return };
        let header = list.wrapping_add(u64::from(slot) * HEADER_SIZE);
        let answer = match self.take(header, permit) {
            Ok(command) => device.perform(&command, slot as u8, &self.memory, permit),
            Err(_) => Answer::aborted(),
        };
        let told = self.tell(&answer, header, received, permit);
        if told.is_err() && permit.over() {
            return;
        }
        let task = u32::from(answer.status) | u32::from(answer.error) << 8;
        let interrupts = match answer.kind {
            Kind::Silent => 0,
            Kind::Register => INT_REGISTER,
            Kind::Pio => INT_PIO,
            Kind::Packet => INT_REGISTER | INT_PIO,
            Kind::Queued(_) => INT_BITS,
        };
        let ended = Ended { slot, task, interrupts, reset: answer.reset };
        lock(&function).end(self.port, &ended, permit);
    }

    fn take(&self, header: u64, permit: Permit<'_>) -> io::Result<Command> {
        let mut words = [0; 16];
        dma::read(&self.memory, permit, header, &mut words)?;
        let flags = value(&words[0..4]) as u32;
        let regions = (flags >> 16) as usize;
        let mut table = vec![0; TABLE_REGIONS + regions * REGION_SIZE];
        dma::read(&self.memory, permit, value(&words[8..16]) & !0x7f, &mut table)?;
        let packet = (flags & HEADER_ATAPI != 0).then(|| crate::access::array(&table[TABLE_PACKET..]));
        let region = |region: &[u8]| Segment {
            address: value(&region[0..8]) & !1,
            len: (value(&region[12..16]) & REGION_COUNT | 1) + 1,
        };
        let segments = table[TABLE_REGIONS..].chunks_exact(REGION_SIZE).map(region).collect();
        Ok(Command { fis: crate::access::array(&table), packet, segments })
    }

    /// Writes what the driver reads: how much moved, and the FIS.
    fn tell(
        &self,
        answer: &Answer,
        header: u64,
        received: Option<u64>,
        permit: Permit<'_>,
    ) -> io::Result<()> {
        let write = |address, data: &[u8]| dma::write(&self.memory, permit, address, data);
        if !matches!(answer.kind, Kind::Queued(_)) {
            write(header.wrapping_add(HEADER_MOVED), &(answer.moved as u32).to_le_bytes())?;
        }
        let Some(received) = received else { return Ok(()) };
        let at = |offset| received.wrapping_add(offset);
        match answer.kind {
            Kind::Silent => Ok(()),
            Kind::Register => write(at(RECEIVED_REGISTER), &answer.register()),
            Kind::Pio => write(at(RECEIVED_PIO), &answer.pio()),
            Kind::Packet => {
                write(at(RECEIVED_PIO), &answer.pio())?;
                write(at(RECEIVED_REGISTER), &answer.register())
            }
            Kind::Queued(tag) => write(at(RECEIVED_BITS), &answer.bits(tag)),
        }
    }
}

/// The regions of a command as a stream.
pub fn stream<'a>(command: &Command, memory: &'a Memory, permit: Permit<'a>) -> Dma<'a> {
    Dma::new(memory, permit, command.segments.clone())
}

impl Service for Engine {
    fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    fn turn(&self) {
        self.mailbox.work(
            || lock(&self.device),
            |device, pending, permit| {
                device.look();
                if self.reset.swap(false, Relaxed) {
                    device.reset();
                }
                // What is left comes after the pause.
                for slot in (0..32).filter(|slot| pending >> slot & 1 != 0).take_while(|_| !permit.held()) {
                    self.serve(device, slot, permit);
                }
            },
        );
    }
}
