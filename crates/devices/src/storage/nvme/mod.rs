//! An NVMe controller (NVM Express 1.4) with one namespace: the registers, and how it interrupts.
//!
//! Locks: work, then gate or function. A virtual processor holds the function and only rings.

mod admin;
mod engine;
mod identify;
mod io;
mod queue;
mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

pub use engine::Engine;

use super::Drive;
use crate::access::{fill, value};
use crate::pci::regs::COMMAND_INTX_DISABLE;
use crate::pci::{Bar, ConfigSpace, Function, Identity, Msix};
use crate::service::{Permit, Service as _};
use crate::{MsiSink, lock};
use ireko_vmcore::{Line, Memory, SavedState};
use regs::*;
use std::sync::{Arc, Mutex};

/// The controller as a PCI function.
pub struct Nvme {
    config: ConfigSpace,
    msix: Msix,
    control: u32,
    status: u32,
    masked: u32,
    admin: Admin,
    doorbells: [Doorbells; QUEUES],
    engine: Arc<Engine>,
    intx: Line,
}

/// The admin queues: attributes and addresses.
#[derive(Clone, Copy, Default)]
struct Admin {
    sizes: u32,
    submission: u64,
    completion: u64,
}

/// Of a submission queue the tail, of a completion queue the head and how far it was posted to.
#[derive(Clone, Copy, Default)]
struct Doorbells {
    tail: u16,
    head: u16,
    posted: u16,
    interrupts: bool,
}

impl Nvme {
    pub fn new(drive: Drive, memory: Arc<Memory>, msi: MsiSink, intx: Line) -> Arc<Mutex<Self>> {
        let mut config = ConfigSpace::new(Identity {
            vendor: VENDOR,
            device: DEVICE,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
            revision: 1,
            class: CLASS,
        });
        config.use_intx();
        config.add_bar(BAR, Bar::Memory64(BAR_SIZE));
        let (table, pending) = (MSIX_TABLE as u32, MSIX_PENDING as u32);
        let msix = Msix::new(&mut config, QUEUES as u16, BAR as u8, table, pending, msi);
        Arc::new_cyclic(|own| {
            let engine = Arc::new(Engine::new(drive, memory, own.clone()));
            let (admin, doorbells) = (Admin::default(), [Doorbells::default(); QUEUES]);
            Mutex::new(Self {
                config,
                msix,
                control: 0,
                status: 0,
                masked: 0,
                admin,
                doorbells,
                engine,
                intx,
            })
        })
    }

    /// What does the commands.
    pub fn service(function: &Mutex<Self>) -> Arc<Engine> {
        lock(function).engine.clone()
    }

    /// How far a submission queue is filled, and its completion queue emptied.
    fn doorbells(&self, submission: usize, completion: usize) -> (u16, u16) {
        (self.doorbells[submission].tail, self.doorbells[completion].head)
    }

    fn forget(&mut self, queue: usize) {
        self.doorbells[queue] = Doorbells::default();
    }

    /// A completion is in memory.
    fn posted(&mut self, queue: usize, tail: u16, vector: Option<u16>, permit: Permit<'_>) {
        if permit.over() {
            return;
        }
        (self.doorbells[queue].posted, self.doorbells[queue].interrupts) = (tail, vector.is_some());
        match vector {
            Some(vector) if self.msix.enabled() => self.msix.notify(vector),
            _ => self.set_intx(),
        }
    }

    /// Without MSI-X every queue has vector 0 (7.5.1): asserted while something posted was not taken.
    fn set_intx(&mut self) {
        let waits =
            self.doorbells.iter().any(|doorbells| doorbells.interrupts && doorbells.head != doorbells.posted);
        let asserted = waits && self.masked & 1 == 0 && !self.msix.enabled();
        self.config.set_interrupt_status(asserted);
        self.intx.set(asserted && self.config.command() & COMMAND_INTX_DISABLE == 0);
    }

    fn write_control(&mut self, value: u32) {
        let was = std::mem::replace(&mut self.control, value);
        if (was ^ value) & CC_ENABLE != 0 {
            // What was begun writes nothing more, and what comes is for queues that are set up anew.
            self.engine.mailbox().renew();
            self.doorbells = Default::default();
            self.status = if value & CC_ENABLE != 0 { CSTS_READY } else { 0 };
        }
        self.status &= !CSTS_SHUT;
        if value & CC_SHUTDOWN != 0 {
            self.status |= CSTS_SHUT;
        }
        self.set_intx();
    }

    fn read(&self, register: u64) -> u32 {
        match register {
            CAP => CAP_VALUE as u32,
            0x04 => (CAP_VALUE >> 32) as u32,
            VS => VERSION,
            INTMS | INTMC => self.masked,
            CC => self.control,
            CSTS => self.status,
            AQA => self.admin.sizes,
            ASQ => self.admin.submission as u32,
            0x2c => (self.admin.submission >> 32) as u32,
            ACQ => self.admin.completion as u32,
            0x34 => (self.admin.completion >> 32) as u32,
            _ => 0,
        }
    }

    fn write(&mut self, register: u64, value: u32) {
        let low = |old: u64| old & !0xffff_ffff | u64::from(value & !0xfff);
        let high = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
        match register {
            INTMS => self.masked |= value,
            INTMC => self.masked &= !value,
            CC => return self.write_control(value),
            AQA => self.admin.sizes = value & 0x0fff_0fff,
            ASQ => self.admin.submission = low(self.admin.submission),
            0x2c => self.admin.submission = high(self.admin.submission),
            ACQ => self.admin.completion = low(self.admin.completion),
            0x34 => self.admin.completion = high(self.admin.completion),
            DOORBELLS.. => return self.write_doorbell(((register - DOORBELLS) / 4) as usize, value as u16),
            _ => {}
        }
        self.set_intx();
    }

    fn write_doorbell(&mut self, doorbell: usize, value: u16) {
        let Some(doorbells) = self.doorbells.get_mut(doorbell / 2).filter(|_| self.status & CSTS_READY != 0)
        else {
            return;
        };
        match doorbell % 2 {
            0 => doorbells.tail = value,
            _ => doorbells.head = value,
        }
        // A completion queue with room again may be what a submission queue waits for.
        self.engine.mailbox().notify(0);
        self.set_intx();
    }

    fn reset_controller(&mut self) {
        self.engine.mailbox().renew();
        (self.control, self.status, self.masked) = (0, 0, 0);
        (self.admin, self.doorbells) = (Admin::default(), Default::default());
    }
}

impl Function for Nvme {
    fn name(&self) -> &'static str {
        "nvme"
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        self.msix.config_written(&self.config);
        self.set_intx();
    }
    fn read_bar(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        match offset {
            MSIX_PENDING.. => self.msix.read_pending(offset - MSIX_PENDING, data),
            MSIX_TABLE.. => self.msix.read_table(offset - MSIX_TABLE, data),
            _ => {
                let word = |at: u64| u64::from(self.read(at & !3));
                fill(data, (word(offset) | word(offset + 4) << 32) >> (8 * (offset & 3)));
            }
        }
    }
    /// Registers are written by dwords (3.1).
    fn write_bar(&mut self, _: usize, offset: u64, data: &[u8]) {
        match offset {
            MSIX_PENDING.. => {}
            MSIX_TABLE.. => self.msix.write_table(offset - MSIX_TABLE, data),
            _ if offset & 3 == 0 && data.len() >= 4 => {
                for (at, part) in (offset..).step_by(4).zip(data.chunks(4)) {
                    self.write(at, value(part) as u32);
                }
            }
            _ => {}
        }
    }
    fn reset(&mut self) {
        self.msix.reset();
        self.reset_controller();
        self.set_intx();
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}

impl Drop for Nvme {
    fn drop(&mut self) {
        self.engine.end();
    }
}
