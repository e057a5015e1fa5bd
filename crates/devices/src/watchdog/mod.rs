//! A watchdog timer (Intel 6300ESB): a system that does not begin it anew in time is taken for dead.

pub mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use crate::access::{fill, value};
use crate::lock;
use crate::pci::regs::COMMAND_INTX_DISABLE;
use crate::pci::{Bar, ConfigSpace, Function, Identity};
use ireko_vmcore::{Clock, Line, SavedState, Timer, Timers};
use regs::*;
use std::sync::{Arc, Mutex, Weak};

/// What becomes of a system that is taken for dead. Called with the device held.
pub type Bite = Arc<dyn Fn() + Send + Sync>;

/// Nanoseconds between two ends of stages, at least.
const SHORTEST: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    First,
    Second,
}

/// What a system can tell of it, beside its configuration space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct WatchdogState {
    lengths: [u32; 2],
    /// Keys that have been written of those that let a write through.
    keys: usize,
    /// The stage that runs, and when it ends, in nanoseconds of the clock.
    running: Option<(Stage, u64)>,
    interrupts: bool,
    timed_out: bool,
}

/// The watchdog as a PCI function.
pub struct Watchdog {
    config: ConfigSpace,
    state: WatchdogState,
    clock: Clock,
    timer: Timer,
    intx: Line,
    bite: Bite,
}

impl Watchdog {
    pub fn new(clock: Clock, timers: &Timers, intx: Line, bite: Bite) -> Arc<Mutex<Self>> {
        let mut config = ConfigSpace::new(Identity {
            vendor: INTEL,
            device: DEVICE,
            subsystem_vendor: INTEL,
            subsystem: DEVICE,
            revision: 1,
            class: CLASS,
        });
        config.use_intx();
        config.add_bar(BAR, Bar::Memory32(BAR_SIZE));
        config.allow(CONFIGURATION, &(INTERRUPT_TYPE | FAST | NO_OUTPUT).to_le_bytes());
        config.allow(LOCK, &[LOCKED | ENABLED | FREE_RUNNING]);
        Arc::new_cyclic(|own: &Weak<Mutex<Self>>| {
            let own = own.clone();
            let fired = move || own.upgrade().iter().for_each(|own| lock(own).fired());
            let timer = timers.timer(fired);
            Mutex::new(Self { config, state: WatchdogState::default(), clock, timer, intx, bite })
        })
    }

    fn locks(&self) -> u8 {
        self.config.word(LOCK) as u8
    }

    fn begin(&mut self, stage: Stage) {
        let shift = if self.config.word(CONFIGURATION) & FAST != 0 { 5 } else { 15 };
        let units = self.state.lengths[stage as usize];
        let length = (u64::from(units) << shift) * 1000 / MEGAHERTZ;
        self.state.running = Some((stage, self.clock.now().saturating_add(length.max(SHORTEST))));
        self.arm();
    }

    fn arm(&self) {
        match self.state.running {
            Some((_, due)) => self.timer.arm(due),
            None => self.timer.cancel(),
        }
    }

    fn fired(&mut self) {
        // A callback that was on its way when the stage began anew comes too early.
        let now = self.clock.now();
        let Some((stage, _)) = self.state.running.filter(|(_, due)| now >= *due) else { return };
        let configuration = self.config.word(CONFIGURATION);
        match stage {
            Stage::First => {
                if configuration & INTERRUPT_TYPE == BY_WIRE {
                    self.state.interrupts = true;
                    self.show();
                }
                self.begin(Stage::Second);
            }
            Stage::Second => {
                self.state.timed_out = true;
                self.state.running = None;
                if self.locks() & FREE_RUNNING != 0 {
                    self.begin(Stage::First);
                }
                if configuration & NO_OUTPUT == 0 {
                    (self.bite)();
                }
            }
        }
    }

    fn show(&mut self) {
        let asserted = self.state.interrupts;
        self.config.set_interrupt_status(asserted);
        self.intx.set(asserted && self.config.command() & COMMAND_INTX_DISABLE == 0);
    }

    /// After its configuration space was written: what was locked before stays.
    fn configured(&mut self, before: u8) {
        if before & LOCKED != 0 {
            self.config.put(LOCK, &[before]);
        }
        match (before & ENABLED != 0, self.locks() & ENABLED != 0) {
            (false, true) => self.begin(Stage::First),
            (true, false) => {
                self.state.running = None;
                self.arm();
            }
            _ => {}
        }
        self.show();
    }

    fn write_reload(&mut self, value: u16) {
        if value == KEYS[0] {
            self.state.keys = 1;
            return;
        }
        if value == KEYS[1] && self.state.keys == 1 {
            self.state.keys = 2;
            return;
        }
        if std::mem::take(&mut self.state.keys) < KEYS.len() {
            return;
        }
        if value & TIMED_OUT != 0 {
            self.state.timed_out = false;
        }
        if value & BEGIN != 0 && self.locks() & ENABLED != 0 {
            self.begin(Stage::First);
        }
    }

    fn read(&self, register: u64) -> u64 {
        match register {
            INTERRUPT => self.state.interrupts.into(),
            RELOAD if self.state.timed_out => TIMED_OUT.into(),
            RELOAD => 0,
            _ => self.state.lengths[usize::from(register == STAGES[1])].into(),
        }
    }
}

impl Function for Watchdog {
    fn name(&self) -> &'static str {
        "i6300esb"
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        let before = self.locks();
        self.config.write(offset, data);
        self.configured(before);
    }
    fn read_bar(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        fill(data, self.read(offset & !3) >> (8 * (offset & 3)));
    }
    fn write_bar(&mut self, _: usize, offset: u64, data: &[u8]) {
        let value = value(data);
        match offset {
            RELOAD => self.write_reload(value as u16),
            INTERRUPT => {
                self.state.interrupts &= value as u8 & INTERRUPTS == 0;
                self.show();
            }
            _ => {
                let open = std::mem::take(&mut self.state.keys) == KEYS.len();
                if let Some(stage) = STAGES.iter().position(|place| *place == offset).filter(|_| open) {
                    self.state.lengths[stage] = value as u32 & LONGEST;
                }
            }
        }
    }
    fn reset(&mut self) {
        self.state = WatchdogState::default();
        self.arm();
        self.show();
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}
