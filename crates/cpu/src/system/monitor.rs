//! MONITOR and MWAIT (APM vol. 3; vol. 2, 15.9).
//!
//! What ends a wait is an interrupt, or a write to the monitored line by a device or another processor: that is seen by its bytes, whenever this one
//! looks around. A wait may end for any other reason, too.

use crate::cpu::Privilege;
use crate::operand::{mask, segment_index};
use crate::processor::{LINE, MonitoredLine, MwaitWait};
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction, Register};
use ireko_nested::Intercept;
use ireko_x86::cpuid::MONITOR;
use ireko_x86::msr::{HWCR_MONITOR_OFF, HWCR_MONITOR_USER};
use ireko_x86::regs::{gpr, seg};

/// Bit 0 of ECX: interrupts end the wait though RFLAGS.IF masks them.
const MASKED_INTERRUPTS: u64 = 1;

/// #UD where the model has no such instructions, the system has switched them off, or keeps them from programs.
fn offered(cpu: &Cpu) -> Result<(), Fault> {
    let hwcr = cpu.processor.msrs.hwcr;
    let there = cpu.processor.model.has(MONITOR) && hwcr & HWCR_MONITOR_OFF == 0;
    if there && (cpu.processor.regs.cpl == 0 || hwcr & HWCR_MONITOR_USER != 0) {
        Ok(())
    } else {
        Err(Fault::ud())
    }
}

/// #GP(0) for bits of ECX that ask for what there is not.
fn extensions(cpu: &Cpu, there: u64) -> Result<u64, Fault> {
    let asked = cpu.processor.regs.gpr[gpr::RCX] & 0xffff_ffff;
    if asked & !there == 0 { Ok(asked) } else { Err(Fault::gp(0)) }
}

/// The address is checked and accessed as for a load of one byte.
pub fn monitor(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    offered(cpu)?;
    extensions(cpu, 0)?;
    let width = match insn.code() {
        Code::Monitorw => 2,
        Code::Monitord => 4,
        _ => 8,
    };
    let segment = match insn.segment_prefix() {
        Register::None => seg::DS,
        register => segment_index(register),
    };
    let address = cpu.linear(segment, cpu.processor.regs.gpr[gpr::RAX] & mask(width), 1, false)?;
    cpu.load(address, 1, Privilege::Current)?;
    cpu.intercept(Intercept::Monitor)?;
    cpu.processor.monitored = MonitoredLine::at(cpu, address)?;
    Ok(Next::Advance)
}

/// Hints in EAX name power states, of which there is one.
pub fn mwait(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    offered(cpu)?;
    let masked = extensions(cpu, MASKED_INTERRUPTS)? != 0;
    cpu.intercept(Intercept::Mwait)?;
    if cpu.processor.monitored.is_some() {
        cpu.intercept(Intercept::MwaitArmed)?;
    }
    let Some(line) = cpu.processor.monitored.take().filter(|line| line.is_as_it_was(cpu)) else {
        return Ok(Next::Advance);
    };
    cpu.halt(Some(MwaitWait { line, masked }));
    Ok(Next::Resync)
}

impl MonitoredLine {
    /// Nothing but memory can be monitored.
    fn at(cpu: &mut Cpu, address: u64) -> Result<Option<Self>, Fault> {
        let mode = cpu.processor.mmu_mode(Privilege::Current);
        let crate::pending::Target::Ram(host) = cpu.target(address, false, mode)? else { return Ok(None) };
        let mut line = Self {
            physical: cpu.mmu.physical.guest(host).unwrap_or(0) & !(LINE as u64 - 1),
            bytes: [0; LINE],
        };
        let read = cpu.mmu.physical.read(line.physical, &mut line.bytes);
        Ok(read.then_some(line))
    }

    fn is_as_it_was(&self, cpu: &Cpu) -> bool {
        let mut now = [0; LINE];
        cpu.mmu.physical.read(self.physical, &mut now) && now == self.bytes
    }
}

impl Cpu {
    /// Ends a wait of MWAIT's that nothing else has ended: for a write, or for an interrupt that is not taken.
    pub(crate) fn heed_monitor(&mut self) {
        let interrupt = self.apic().extint_pending()
            || self.apic().pending().is_some()
            || self.control().is_some_and(|control| control.v_irq);
        let Some(wait) = &self.processor.wait else { return };
        self.processor.halted = wait.line.is_as_it_was(self) && !(wait.masked && interrupt);
    }
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
