//! World switches: what surrounds the entry and the exit that the vendor's half does.

use crate::cpu::World;
use crate::{Cpu, Fault, hooks, processor};
use ireko_nested::core::InstructionBytes;
use ireko_nested::msr_list::{self, MsrLists, Refused};
use ireko_nested::{Control, Core, Event, Exit, ExitContext, Flush, Shadow, Virtualization};
use ireko_x86::Registers;

impl Core for Cpu {
    fn linear_bits(&self) -> u32 {
        self.processor.model.linear_bits()
    }
    fn regs(&mut self) -> &mut Registers {
        &mut self.processor.regs
    }
    fn read_physical(&mut self, address: u64, data: &mut [u8]) -> bool {
        Self::read_physical(self, address, data);
        true
    }
    fn write_physical(&mut self, address: u64, data: &[u8]) -> bool {
        Self::write_physical(self, address, data);
        true
    }
    fn flush(&mut self, what: Flush) {
        self.flush_asid(what);
    }
    fn shadow(&self) -> Shadow {
        self.processor.shadow
    }
    fn set_shadow(&mut self, shadow: Shadow) {
        self.processor.shadow = shadow;
    }
    fn read_msr(&mut self, number: u32) -> Option<u64> {
        crate::msr::read(self, number).ok()
    }
    fn write_msr(&mut self, number: u32, value: u64) -> bool {
        crate::msr::write(self, number, value).is_ok()
    }
    fn nmi_blocked(&self) -> bool {
        self.processor.nmi_blocked
    }
    fn set_nmi_blocked(&mut self, on: bool) {
        self.processor.nmi_blocked = on;
    }
    fn tpr(&mut self) -> u8 {
        self.processor.apic.cr8() as u8
    }
    fn set_tpr(&mut self, tpr: u8) {
        self.processor.apic.set_cr8(tpr.into());
    }
    fn set_gif(&mut self, on: bool) {
        self.processor.gif = on;
    }
}

impl Cpu {
    /// Lets the vendor's half work on the processor around it.
    pub(crate) fn with_virtualization<T>(
        &mut self,
        act: impl FnOnce(&mut Self, &mut processor::Virtualization) -> T,
    ) -> T {
        let mut half = std::mem::take(&mut self.processor.virtualization);
        let result = act(self, &mut half);
        self.processor.virtualization = half;
        result
    }
}

/// The vendor's entry is done: into the world of these controls, or (`None`) refused and back again.
pub fn entered(cpu: &mut Cpu, control: Option<Control>) -> Result<(), Fault> {
    let lists = control.as_ref().map_or(MsrLists::default(), |control| control.msr_lists);
    if let Some(control) = control {
        cpu.instruments.counters.entries += 1;
        if let Some(at) = control.preempt_at {
            cpu.platform.wake_after(at.saturating_sub(cpu.own_tsc().read()));
        }
        cpu.processor.world = World::Guest(control);
        hooks::nesting::entered(cpu);
    }
    cpu.world_switched();
    hooks::switched(cpu);
    msr_list::load(cpu, &lists.entry_load).map_err(|Refused(entry)| Fault::Exit(Exit::MsrLoad { entry }))
}

/// The guest gives control to its hypervisor. `in_flight` is the event whose delivery the exit cut short. Nothing happens
/// outside a guest. An MSR that cannot be stored or loaded is the end of the processor's run (SDM vol. 3, 28.7).
pub fn exit(cpu: &mut Cpu, exit: Exit, in_flight: Option<Event>) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    let lists = control.msr_lists;
    let record = cpu.processor.vendor().record(&exit, control, &cpu.processor.regs);
    hooks::exit(cpu, &record, in_flight.as_ref());
    hooks::nesting::left(cpu, &exit, record.code);
    // While the guest's own tables still translate.
    let instruction =
        if exit.of_data_access() { cpu.instruction_bytes() } else { InstructionBytes::default() };
    let next_rip = cpu.processor.next_rip;
    let World::Guest(control) = std::mem::replace(&mut cpu.processor.world, World::Host) else {
        return Ok(());
    };
    // A guest that was not entered has nothing to store (SDM vol. 3, 27.8).
    let entered = !matches!(exit, Exit::Invalid | Exit::MsrLoad { .. });
    let stored = if entered { msr_list::store(cpu, &lists.exit_store) } else { Ok(()) };
    let context = ExitContext { why: &exit, in_flight, next_rip, instruction };
    cpu.with_virtualization(|cpu, half| half.exit(cpu, &control, &context));
    cpu.processor.monitor_trap = false;
    cpu.processor.halted = false;
    cpu.world_switched();
    hooks::switched(cpu);
    let loaded = stored.and_then(|()| msr_list::load(cpu, &lists.exit_load));
    loaded.map_err(|Refused(_)| Fault::Shutdown)
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
