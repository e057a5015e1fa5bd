//! What is saved of a processor: all that it architecturally is. Translated code, TLBs and jump tables are never saved.

mod apic;
mod control;
mod registers;

pub use apic::SavedApic;
pub use control::{SavedControl, SavedEvent};
pub use registers::SavedRegisters;

use super::counters::Counters;
use super::msrs::Msrs;
use super::mtrr::Mtrrs;
use super::x87::Selector;
use super::{LINE, MonitoredLine, MwaitWait, OutsideSmm, Processor, World};
use ireko_nested::Shadow;
use ireko_nested::svm::saved::SavedSvm;
use ireko_vmcore::saved::{Bytes, RestoreError, Saved, ensure};
use serde::{Deserialize, Serialize};

/// A processor between two instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedProcessor {
    pub registers: SavedRegisters,
    pub vectors: SavedVectors,
    pub apic: SavedApic,
    pub msrs: SavedMsrs,
    pub svm: SavedSvm,
    /// What the counter that all processors of the machine share has; TSC_ADJUST is among the MSRs.
    pub counter: u64,
    /// 0: none, 1: of STI, 2: of MOV SS.
    pub shadow: u8,
    pub nmi_blocked: bool,
    pub gif: bool,
    pub halted: bool,
    /// Waits for a STARTUP message.
    pub parked: bool,
    pub ferr: bool,
    /// IGNNE#: x87 instructions go on although an exception is pending.
    pub ignne: bool,
    /// MWAIT waits, also for interrupts that are masked.
    pub wait: Option<(SavedLine, bool)>,
    /// What MONITOR has armed.
    pub monitored: Option<SavedLine>,
    /// The event whose delivery an exit cut short.
    pub in_flight: Option<SavedEvent>,
    /// The controls of the guest that runs; none: the processor runs its own code.
    pub guest: Option<SavedControl>,
    /// What waits outside of system-management mode.
    pub smm: Option<SavedOutside>,
    pub monitor_trap: bool,
    /// Breakpoints that were met, as bits of DR6; and those of a load of SS.
    pub touched: u64,
    pub held_traps: u64,
}

/// x87, SSE and AVX state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedVectors {
    /// The first 32 bytes of an FXSAVE area but the pointers, and the x87 registers.
    pub x87: Bytes<8>,
    pub mxcsr: u32,
    pub st: Bytes<128>,
    /// Each component's bytes, by its bit of XCR0, in AMD's order.
    pub components: Vec<(u64, ireko_vmcore::saved::Blob)>,
    /// FOP, FIP, FDP, and the selectors of both.
    pub opcode: u16,
    pub instruction: u64,
    pub data: u64,
    pub code_selector: SavedSelector,
    pub data_selector: SavedSelector,
}

/// A selector of an x87 pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedSelector {
    /// That of a segment register.
    Of(u8),
    Loaded(u16),
}

impl SavedSelector {
    pub fn of(selector: Selector) -> Self {
        match selector {
            Selector::Of(number) => Self::Of(number),
            Selector::Loaded(value) => Self::Loaded(value),
        }
    }

    pub fn selector(self) -> Result<Selector, RestoreError> {
        match self {
            Self::Of(number) => {
                ensure::<SavedProcessor>(number < 6, format!("segment register {number}"))?;
                Ok(Selector::Of(number))
            }
            Self::Loaded(value) => Ok(Selector::Loaded(value)),
        }
    }
}

/// Where a line is, and what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedLine {
    pub physical: u64,
    pub bytes: Bytes<LINE>,
}

/// What is outside while the processor is in system-management mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedOutside {
    pub guest: Option<SavedControl>,
    pub gif: bool,
    pub nmi_blocked: bool,
    pub shadow: u8,
}

/// MSRs by their names in the manuals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedMsrs {
    pub mtrr_def_type: u64,
    pub mtrr_fixed: [u64; 11],
    pub mtrr_variable: [u64; 16],
    /// Select and count of each performance counter.
    pub counters: [(u64, u64); 6],
    pub tsc_adjust: u64,
    pub mcg_status: u64,
    pub syscfg: u64,
    pub hwcr: u64,
    pub de_cfg: u64,
    pub spec_ctrl: u64,
    pub levelling: [Option<u64>; 4],
}

impl Saved for SavedProcessor {
    const NAME: &'static str = "processor";
    const VERSION: u32 = 3;
}

fn number(shadow: Shadow) -> u8 {
    match shadow {
        Shadow::None => 0,
        Shadow::Sti => 1,
        Shadow::MovSs => 2,
    }
}

fn shadow(number: u8) -> Result<Shadow, RestoreError> {
    match number {
        0 => Ok(Shadow::None),
        1 => Ok(Shadow::Sti),
        2 => Ok(Shadow::MovSs),
        other => Err(RestoreError::invalid::<SavedProcessor>(format!("shadow {other}"))),
    }
}

impl SavedLine {
    fn of(line: &MonitoredLine) -> Self {
        Self { physical: line.physical, bytes: Bytes(line.bytes) }
    }
    fn line(self) -> MonitoredLine {
        MonitoredLine { physical: self.physical, bytes: self.bytes.0 }
    }
}

fn guest(world: &World) -> Option<SavedControl> {
    match world {
        World::Host => None,
        World::Guest(control) => Some(SavedControl::of(control)),
    }
}

fn world(guest: Option<SavedControl>) -> Result<World, RestoreError> {
    guest.map_or(Ok(World::Host), |guest| guest.control().map(World::Guest))
}

impl SavedMsrs {
    fn of(msrs: &Msrs, now: u64) -> Self {
        let Mtrrs { def_type, fixed, variable } = &msrs.mtrrs;
        let counters = &msrs.counters;
        Self {
            mtrr_def_type: *def_type,
            mtrr_fixed: *fixed,
            mtrr_variable: *variable,
            counters: std::array::from_fn(|n| {
                (counters.control(n as u32).unwrap_or(0), counters.count(n as u32, now).unwrap_or(0))
            }),
            tsc_adjust: msrs.tsc_adjust,
            mcg_status: msrs.mcg_status,
            syscfg: msrs.syscfg,
            hwcr: msrs.hwcr,
            de_cfg: msrs.de_cfg,
            spec_ctrl: msrs.spec_ctrl,
            levelling: msrs.levelling,
        }
    }

    fn msrs(&self) -> Result<Msrs, RestoreError> {
        let mut counters = Counters::default();
        for (n, (select, _)) in (0..).zip(self.counters) {
            let known = counters.set_control(n, select, 0).is_some();
            ensure::<SavedProcessor>(known, format!("a performance counter counts {select:#x}"))?;
        }
        for (n, (_, count)) in (0..).zip(self.counters) {
            counters.set(n, count, 0);
        }
        Ok(Msrs {
            mtrrs: Mtrrs {
                def_type: self.mtrr_def_type,
                fixed: self.mtrr_fixed,
                variable: self.mtrr_variable,
            },
            counters,
            tsc_adjust: self.tsc_adjust,
            mcg_status: self.mcg_status,
            syscfg: self.syscfg,
            hwcr: self.hwcr,
            de_cfg: self.de_cfg,
            spec_ctrl: self.spec_ctrl,
            levelling: self.levelling,
            ..Msrs::default()
        })
    }
}

/// What is not in [`Processor`] while it is at rest, or looks different there.
pub struct Beside {
    pub vectors: SavedVectors,
    pub counter: u64,
    /// What performance counters count by.
    pub running: u64,
}

impl Processor {
    pub fn save(&self, beside: Beside) -> SavedProcessor {
        SavedProcessor {
            registers: SavedRegisters::of(&self.regs),
            vectors: beside.vectors,
            apic: SavedApic::of(&self.apic),
            msrs: SavedMsrs::of(&self.msrs, beside.running),
            svm: self.virtualization.save(),
            counter: beside.counter,
            shadow: number(self.shadow),
            nmi_blocked: self.nmi_blocked,
            gif: self.gif,
            halted: self.halted,
            parked: self.parked,
            ferr: self.ferr,
            ignne: self.ignne,
            wait: self.wait.as_ref().map(|wait| (SavedLine::of(&wait.line), wait.masked)),
            monitored: self.monitored.as_ref().map(SavedLine::of),
            in_flight: self.in_flight.map(SavedEvent::of),
            guest: guest(&self.world),
            smm: self.smm.as_ref().map(|outside| SavedOutside {
                guest: guest(&outside.world),
                gif: outside.gif,
                nmi_blocked: outside.nmi_blocked,
                shadow: number(outside.shadow),
            }),
            monitor_trap: self.monitor_trap,
            touched: self.touched,
            held_traps: self.held_traps,
        }
    }

    /// This processor in the saved state, but for its vectors: of the same model, and with the same number.
    pub fn restored(&self, saved: SavedProcessor) -> Result<Self, RestoreError> {
        let mut new = Self::new(self.apic.id(), self.model.clone());
        new.mm = self.mm;
        new.regs = saved.registers.registers(&self.model)?;
        new.apic = saved.apic.apic(new.apic)?;
        new.msrs = saved.msrs.msrs()?;
        new.virtualization.restore(saved.svm);
        new.shadow = shadow(saved.shadow)?;
        (new.nmi_blocked, new.gif, new.halted) = (saved.nmi_blocked, saved.gif, saved.halted);
        new.parked = saved.parked;
        (new.ferr, new.ignne) = (saved.ferr, saved.ignne);
        new.wait = saved.wait.map(|(line, masked)| MwaitWait { line: line.line(), masked });
        new.monitored = saved.monitored.map(SavedLine::line);
        new.in_flight = saved.in_flight.map(SavedEvent::event).transpose()?;
        new.world = world(saved.guest)?;
        new.smm = match saved.smm {
            None => None,
            Some(outside) => Some(Box::new(OutsideSmm {
                world: world(outside.guest)?,
                gif: outside.gif,
                nmi_blocked: outside.nmi_blocked,
                shadow: shadow(outside.shadow)?,
            })),
        };
        let outside = new.smm.as_ref().map(|outside| &outside.world);
        if [Some(&new.world), outside].into_iter().flatten().any(|world| *world != World::Host) {
            registers::check_host(&new.virtualization.host, &new.regs, &new.model)?;
        }
        new.monitor_trap = saved.monitor_trap;
        (new.touched, new.held_traps) = (saved.touched, saved.held_traps);
        Ok(new)
    }
}
