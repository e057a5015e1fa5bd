//! ACPI fixed hardware: PM1a event and control blocks, PM timer, GPE block 0, SMI command port; and the other ways
//! to reset a PC.

mod regs;
mod reset;
pub mod saved;
#[cfg(test)]
mod tests;

pub use regs::{
    ACPI_DISABLE, ACPI_ENABLE, APM_SMI, GLOBAL_SMI, GPE0, PM_TMR, PM1A_CNT, PM1A_EVT, RESET_REG, RESET_VALUE,
    SLP_TYP_S3, SLP_TYP_S5, SMI_CMD, SMI_EN,
};
pub use reset::{PORT92_PLACES, Port92, ResetControl, ResetPulse};

use crate::access::copy_out;
use crate::{Power, PowerEvent, lock};
use ireko_vmcore::{Clock, Device, Line, LineSink, SavedState, Space, Timer, Timers};
use regs::*;
use std::sync::{Arc, Mutex, Weak};

/// The PM block and the SMI command port.
pub const PLACES: [u64; 2] = [BASE, SMI_CMD];
const SMI_REGION: usize = 1;
const SECOND: u128 = 1_000_000_000;

/// The registers.
#[derive(Default)]
struct Registers {
    status: u16,
    enable: u16,
    control: u16,
    gpe_status: u16,
    gpe_enable: u16,
    /// Half periods of the PM timer (changes of its top bit) that status has been told of.
    carries: u64,
    /// The APM ports: command and status.
    apm: [u8; 2],
    /// What raises SMI#, and what has.
    smi_enable: u32,
    smi_status: u32,
    asleep: bool,
}

/// What sends an SMI to every processor.
pub type Smi = Box<dyn Fn() + Send>;

/// Whose control of SMIs a PM block has. The PIIX4 has the enable of those by the APM port elsewhere ([`AcpiPm::raise_smi_by_apm`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmiChipset {
    Ich9,
    Piix4,
}

/// Of a chipset that has it.
struct SmiControl {
    send: Smi,
    /// Where its enables and its status are.
    enable: usize,
    status: usize,
    /// Which of the enables are there.
    writable: u32,
    /// GBL_SMI_EN stays as it is until reset.
    locked: bool,
}

impl Registers {
    fn image(&self, ticks: u64, smi: Option<&SmiControl>) -> [u8; SIZE] {
        let mut image = [0; SIZE];
        let words = [
            (PM1_STATUS, self.status),
            (PM1_ENABLE, self.enable),
            (PM1_CONTROL, self.control),
            (TIMER, ticks as u16),
            (TIMER + 2, (ticks >> 16) as u16),
            (GPE_STATUS, self.gpe_status),
            (GPE_ENABLE, self.gpe_enable),
        ];
        let smi = smi.map(|smi| {
            [(smi.enable, (self.smi_enable & smi.writable) as u16), (smi.status, self.smi_status as u16)]
        });
        for (at, word) in words.into_iter().chain(smi.into_iter().flatten()) {
            image[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
        image
    }

    /// Writes one byte; what the write asks of the power supply.
    fn write(&mut self, offset: u64, byte: u8) -> Option<PowerEvent> {
        let shift = 8 * (offset & 1);
        let (value, mask) = (u16::from(byte) << shift, 0xff << shift);
        let merge = |old: u16, bits: u16| old & !mask | value & bits;
        match (offset & !1) as usize {
            PM1_STATUS => self.status &= !value,
            PM1_ENABLE => self.enable = merge(self.enable, PM1_ENABLE_BITS),
            PM1_CONTROL => {
                let sci = self.control & SCI_EN;
                self.control = merge(self.control, PM1_CONTROL_KEPT) | sci;
                return (value & SLP_EN != 0).then(|| self.sleep()).flatten();
            }
            GPE_STATUS => self.gpe_status &= !value,
            GPE_ENABLE => self.gpe_enable = merge(self.gpe_enable, 0xffff),
            _ => {}
        }
        None
    }

    /// Of the sleeping states there are suspend to memory and soft off.
    fn sleep(&self) -> Option<PowerEvent> {
        match self.control >> SLP_TYP_SHIFT & 7 {
            SLP_TYP_S3 => Some(PowerEvent::Suspend),
            SLP_TYP_S5 => Some(PowerEvent::PowerOff),
            _ => None,
        }
    }

    /// What wakes: the power button always, the clock's alarm if it is enabled (ACPI 6.5, 4.8.2.2.1 and 4.8.2.4).
    fn wake(&mut self) -> Option<PowerEvent> {
        let waking = self.status & (self.enable & RTC_ALARM | POWER_BUTTON) != 0;
        if !(self.asleep && waking) {
            return None;
        }
        self.asleep = false;
        self.status |= WAKE;
        Some(PowerEvent::Wake)
    }

    /// Sets TMR_STS if the timer's top bit changed since this was last called.
    fn advance(&mut self, ticks: u64) {
        let carries = ticks >> 31;
        if carries != self.carries {
            self.carries = carries;
            self.status |= TIMER_CARRY;
        }
    }

    fn sci(&self) -> bool {
        let fixed = self.status & self.enable & PM1_STATUS_BITS != 0;
        self.control & SCI_EN != 0 && (fixed || self.gpe_status & self.gpe_enable != 0)
    }

    /// A command at the APM port; whether it raises SMI#. Those of ACPI are carried out here, so that no handler need be there.
    fn apm_command(&mut self, byte: u8) -> bool {
        match byte {
            ACPI_ENABLE => self.control |= SCI_EN,
            ACPI_DISABLE => self.control &= !SCI_EN,
            _ => {
                let raised = self.smi_enable & GLOBAL_SMI != 0 && self.smi_enable & APM_SMI != 0;
                if self.smi_enable & APM_SMI != 0 {
                    self.smi_status |= APM_STATUS;
                }
                return raised;
            }
        }
        false
    }

    /// Writes one byte if it is of the SMI registers, of which the lowest are all that there is.
    fn write_smi(&mut self, offset: usize, byte: u8, smi: &SmiControl) {
        let byte = u32::from(byte);
        if offset == smi.enable {
            let writable = if smi.locked { smi.writable & !GLOBAL_SMI } else { smi.writable };
            self.smi_enable = self.smi_enable & !writable | byte & writable;
        } else if offset == smi.status {
            self.smi_status &= !byte;
        }
    }
}

struct AcpiState {
    registers: Registers,
    clock: Clock,
    sci: Line,
    level: bool,
    timer: Timer,
    smi: Option<SmiControl>,
}

impl AcpiState {
    /// Writes a byte to the PM block; what the write asks of the power supply.
    fn write(&mut self, offset: u64, byte: u8) -> Option<PowerEvent> {
        self.smi.iter().for_each(|smi| self.registers.write_smi(offset as usize, byte, smi));
        self.registers.write(offset, byte)
    }

    /// Writes a byte to the APM ports. The SMI is there before the processor's next instruction.
    fn write_apm(&mut self, offset: u64, byte: u8) {
        crate::access::copy_in(&mut self.registers.apm, offset, &[byte]);
        if offset == 0
            && self.registers.apm_command(byte)
            && let Some(smi) = &self.smi
        {
            (smi.send)();
        }
    }

    fn ticks(&self) -> u64 {
        (u128::from(self.clock.now()) * u128::from(PM_TIMER_FREQUENCY) / SECOND) as u64
    }

    /// Works out the status up to now and sets SCI; gives the PM timer.
    fn update(&mut self) -> u64 {
        let ticks = self.ticks();
        self.registers.advance(ticks);
        let level = self.registers.sci();
        if level != self.level {
            self.level = level;
            self.sci.set(level);
        }
        if self.registers.enable & TIMER_CARRY != 0 {
            self.arm(ticks);
        }
        ticks
    }

    /// For the next change of the timer's top bit.
    fn arm(&self, ticks: u64) {
        let carry = u128::from(((ticks >> 31) + 1) << 31);
        self.timer.arm((carry * SECOND).div_ceil(u128::from(PM_TIMER_FREQUENCY)) as u64);
    }
}

/// A handle to the fixed hardware. Starts in legacy mode; the guest enables ACPI through the SMI command port.
#[derive(Clone)]
pub struct AcpiPm {
    state: Arc<Mutex<AcpiState>>,
    power: Power,
}

impl AcpiPm {
    pub fn new(clock: Clock, timers: &Timers, sci: Line, power: Power) -> Self {
        let state = Arc::new_cyclic(|weak: &Weak<Mutex<AcpiState>>| {
            let weak = weak.clone();
            let timer = timers.timer(move || {
                if let Some(state) = weak.upgrade() {
                    lock(&state).update();
                }
            });
            Mutex::new(AcpiState {
                registers: Registers::default(),
                clock,
                sci,
                level: false,
                timer,
                smi: None,
            })
        });
        Self { state, power }
    }

    /// Somebody pushes the power button.
    pub fn press_power_button(&self) {
        self.happens(POWER_BUTTON);
    }

    fn happens(&self, status: u16) {
        let mut state = lock(&self.state);
        state.registers.status |= status;
        let event = state.registers.wake();
        state.update();
        drop(state);
        self.tell(event);
    }

    /// What came before the sleep, or as it was told of, wakes at once.
    fn fall_asleep(&self) {
        let woken = {
            let registers = &mut lock(&self.state).registers;
            registers.asleep = true;
            // The processor forgets where its handler was, and the chipset that there was one.
            registers.smi_enable = 0;
            registers.wake()
        };
        self.tell(woken);
    }

    fn tell(&self, event: Option<PowerEvent>) {
        if let Some(event) = event {
            (self.power)(event);
        }
    }

    /// SMI# leads here, and the PM block has the control and status of it that `chipset` has.
    pub fn connect_smi(&self, chipset: SmiChipset, send: Smi) {
        let (enable, status, writable) = match chipset {
            SmiChipset::Ich9 => (SMI_ENABLE, SMI_STATUS, GLOBAL_SMI | APM_SMI),
            SmiChipset::Piix4 => (PIIX4_CONTROL, PIIX4_STATUS, GLOBAL_SMI),
        };
        lock(&self.state).smi = Some(SmiControl { send, enable, status, writable, locked: false });
    }

    /// APMC_EN.
    pub fn raise_smi_by_apm(&self, on: bool) {
        let registers = &mut lock(&self.state).registers;
        registers.smi_enable = registers.smi_enable & !APM_SMI | if on { APM_SMI } else { 0 };
    }

    pub fn apm_raises_smi(&self) -> bool {
        lock(&self.state).registers.smi_enable & APM_SMI != 0
    }

    /// SMI_LOCK: GBL_SMI_EN stays as it is until reset.
    pub fn lock_smi(&self) {
        if let Some(smi) = &mut lock(&self.state).smi {
            smi.locked = true;
        }
    }

    /// The wire that the clock's alarm comes by: RTC_STS, which wakes a system that sleeps (ACPI 6.5, 4.8.2.4).
    pub fn alarm(&self) -> Line {
        Line::new(Arc::new(self.clone()), 0)
    }

    /// Sets the status of general-purpose event `bit` (0 to 15); others are ignored.
    pub fn raise_gpe(&self, bit: u8) {
        let mut state = lock(&self.state);
        state.registers.gpe_status |= 1u16.checked_shl(u32::from(bit)).unwrap_or(0);
        state.update();
    }
}

impl LineSink for AcpiPm {
    fn set(&self, _: u32, level: bool) {
        if level {
            self.happens(RTC_ALARM);
        }
    }
}

impl Device for AcpiPm {
    fn name(&self) -> &'static str {
        "acpi-pm"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, SIZE as u64), (Space::Port, 2)]
    }
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        let mut state = lock(&self.state);
        if region == SMI_REGION {
            return copy_out(&state.registers.apm, offset, data);
        }
        let ticks = state.update();
        copy_out(&state.registers.image(ticks, state.smi.as_ref()), offset, data);
    }
    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        let mut state = lock(&self.state);
        let mut event = None;
        for (at, &byte) in (offset..).zip(data) {
            match region {
                SMI_REGION => state.write_apm(at, byte),
                _ => event = event.or(state.write(at, byte)),
            }
        }
        state.update();
        drop(state);
        self.tell(event);
        if event == Some(PowerEvent::Suspend) {
            self.fall_asleep();
        }
    }
    fn reset(&mut self) {
        let mut state = lock(&self.state);
        let carries = state.registers.carries;
        state.registers = Registers { carries, ..Registers::default() };
        state.smi.iter_mut().for_each(|smi| smi.locked = false);
        state.update();
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
