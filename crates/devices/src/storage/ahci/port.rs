//! A port's registers (AHCI 1.3.1, 3.3).

use super::engine::Engine;
use super::regs::*;
use crate::service::Service as _;
use crate::storage::ata;
use std::sync::Arc;

/// What a command's end shows in registers.
pub struct Ended {
    pub slot: u32,
    /// Status in the low byte, error in the high one.
    pub task: u32,
    /// [`INT_REGISTER`] and the like, or none.
    pub interrupts: u32,
    /// The device said anew what it is.
    pub reset: bool,
}

pub struct Port {
    pub(super) list: u64,
    pub(super) received: u64,
    pub(super) interrupts: u32,
    pub(super) enabled: u32,
    pub(super) command: u32,
    pub(super) task: u32,
    pub(super) control: u32,
    pub(super) error: u32,
    pub(super) active: u32,
    pub(super) issued: u32,
    pub(super) slot: u32,
    /// After an error nothing is begun until the driver has stopped the port.
    pub(super) halted: bool,
    pub(super) signature: u32,
    pub engine: Arc<Engine>,
}

/// As a device shows itself after a reset: the diagnostics passed.
const FRESH: u32 = ata::READY as u32 | 1 << 8;

impl Port {
    pub fn new(engine: Arc<Engine>, signature: [u8; 4]) -> Self {
        Self {
            list: 0,
            received: 0,
            interrupts: 0,
            enabled: 0,
            command: 0,
            task: FRESH,
            control: 0,
            error: 0,
            active: 0,
            issued: 0,
            slot: 0,
            halted: false,
            signature: u32::from_le_bytes(signature),
            engine,
        }
    }

    pub fn reset(&mut self) {
        self.stop();
        *self = Self::new(self.engine.clone(), self.signature.to_le_bytes());
    }

    fn stop(&mut self) {
        self.engine.mailbox().renew();
        (self.issued, self.active, self.halted) = (0, 0, false);
    }

    pub fn interrupting(&self) -> bool {
        self.interrupts & self.enabled != 0
    }

    /// Where the command list is, and where FISes are received, if `slot` waits to be done.
    pub fn issued(&self, slot: u32) -> Option<(u64, Option<u64>)> {
        let waits = self.issued >> slot & 1 != 0 && !self.halted && self.command & CMD_START != 0;
        let receives = self.command & CMD_RECEIVE != 0;
        waits.then_some((self.list, receives.then_some(self.received)))
    }

    pub fn end(&mut self, ended: &Ended) {
        self.task = ended.task;
        self.interrupts |= ended.interrupts;
        self.slot = ended.slot;
        if ended.reset {
            self.task = FRESH;
        }
        match ended.task as u8 & ata::ERR {
            0 => {
                self.issued &= !(1 << ended.slot);
                self.active &= !(1 << ended.slot);
            }
            _ => {
                self.interrupts |= INT_ERROR;
                self.halted = true;
            }
        }
    }

    pub fn read(&self, register: u64) -> u32 {
        match register {
            CLB => self.list as u32,
            CLBU => (self.list >> 32) as u32,
            FB => self.received as u32,
            FBU => (self.received >> 32) as u32,
            PXIS => self.interrupts,
            PXIE => self.enabled,
            CMD => self.command(),
            TFD => self.task,
            SIG => self.signature,
            // While it is being reset nothing is there.
            SSTS if self.control & SCTL_DETECT == 0 => SSTS_PRESENT,
            SCTL => self.control,
            SERR => self.error,
            SACT => self.active,
            CI => self.issued,
            _ => 0,
        }
    }

    fn command(&self) -> u32 {
        let flag = |set: u32, shown| if self.command & set != 0 { shown } else { 0 };
        let running = flag(CMD_START, CMD_RUNNING) | flag(CMD_RECEIVE, CMD_RECEIVING);
        self.command | running | self.slot << CMD_SLOT_SHIFT
    }

    pub fn write(&mut self, register: u64, value: u32) {
        let low = |old: u64, align: u64| old & !0xffff_ffff | u64::from(value) & !align;
        let high = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
        match register {
            CLB => self.list = low(self.list, CLB_ALIGN),
            CLBU => self.list = high(self.list),
            FB => self.received = low(self.received, FB_ALIGN),
            FBU => self.received = high(self.received),
            PXIS => self.interrupts &= !value,
            PXIE => self.enabled = value & PXIE_WRITABLE,
            CMD => self.write_command(value),
            SCTL => self.write_control(value & SCTL_WRITABLE),
            SERR => self.error &= !value,
            SACT if self.command & CMD_START != 0 => self.active |= value,
            CI if self.command & CMD_START != 0 => self.issue(value & !self.issued),
            _ => {}
        }
    }

    fn write_command(&mut self, value: u32) {
        if self.command & !value & CMD_START != 0 {
            self.stop();
        }
        if value & CMD_OVERRIDE != 0 {
            self.task &= !u32::from(ata::BUSY | ata::DRQ);
        }
        self.command = value & CMD_WRITABLE;
    }

    /// The end of a reset by the interface (10.4.2) shows a device that waits for its first command.
    fn write_control(&mut self, value: u32) {
        if self.control & SCTL_DETECT != 0 && value & SCTL_DETECT == 0 {
            self.stop();
            self.engine.reset_device();
            self.task = FRESH;
        }
        self.control = value;
    }

    fn issue(&mut self, new: u32) {
        self.issued |= new;
        (0..32).filter(|slot| new >> slot & 1 != 0).for_each(|slot| self.engine.mailbox().notify(slot));
    }
}
