//! One logical processor: its state, and what routines ask of it.

use crate::Fault;
use ireko_nested::{Control, Exit, Intercept};
use ireko_vmcore::{Bus, Clock, Memory, Space};
use ireko_x86::Registers;
use std::sync::Arc;

/// Whose rights an access has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The current privilege level, EFLAGS.AC heeded for SMAP.
    Current,
    /// Implicit supervisor access: descriptor tables, TSS, pushes to an inner stack.
    System,
}

/// Whether this processor runs its own code or a guest's.
#[derive(Clone, Debug)]
pub enum World {
    Host,
    Guest(Box<Control>),
}

/// Aligned as XSAVE wants it.
#[repr(C, align(64))]
pub struct XsaveArea(pub [u8; 4096]);

pub struct Cpu {
    pub regs: Registers,
    /// x87, SSE and AVX state while Rust code runs, in standard XSAVE form.
    pub fpu: Box<XsaveArea>,
    /// Interrupts wait until after the next instruction (STI, MOV SS).
    pub shadow: bool,
    /// NMIs wait for IRET.
    pub nmi_blocked: bool,
    /// Global interrupt flag (AMD-V).
    pub gif: bool,
    /// HLT was executed; cleared by the run loop when something wakes the processor.
    pub halted: bool,
    pub world: World,
    pub clock: Clock,
    pub memory: Arc<Memory>,
    /// The machine's device space, set while the vCPU runs.
    pub bus: Option<Arc<dyn Bus>>,
}

impl Cpu {
    /// The controls in force, in a guest world.
    pub fn control(&self) -> Option<&Control> {
        match &self.world {
            World::Host => None,
            World::Guest(control) => Some(control),
        }
    }

    /// Gives control to the hypervisor if this guest's hypervisor asked for it.
    pub fn intercept(&self, what: Intercept) -> Result<(), Fault> {
        match self.control() {
            Some(control) if control.has(what) => Err(Fault::Exit(Exit::Plain(what))),
            _ => Ok(()),
        }
    }

    // ---- memory by linear address; faults are the architectural ones (#PF, nested page fault exit) ----

    /// Reads `data.len()` bytes (at most a few pages) at a linear address. MMIO is read in naturally sized pieces.
    pub fn read_linear(&mut self, _address: u64, _data: &mut [u8], _privilege: Privilege) -> Result<(), Fault> {
        todo!()
    }
    /// Writes; all pages are checked before the first byte is written.
    pub fn write_linear(&mut self, _address: u64, _data: &[u8], _privilege: Privilege) -> Result<(), Fault> {
        todo!()
    }
    /// Raises what a write of `size` bytes would raise, and sets A and D bits, without writing.
    pub fn probe_write(&mut self, _address: u64, _size: usize, _privilege: Privilege) -> Result<(), Fault> {
        todo!()
    }
    /// Reads 1, 2, 4 or 8 bytes, zero-extended.
    pub fn load(&mut self, address: u64, size: usize, privilege: Privilege) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read_linear(address, &mut bytes[..size], privilege)?;
        Ok(u64::from_le_bytes(bytes))
    }
    /// Writes the low 1, 2, 4 or 8 bytes of `value`.
    pub fn store(&mut self, address: u64, size: usize, value: u64, privilege: Privilege) -> Result<(), Fault> {
        self.write_linear(address, &value.to_le_bytes()[..size], privilege)
    }

    // ---- physical memory, as this processor's own physical addresses (system-physical) ----

    /// Reads memory or MMIO at a physical address within one page.
    pub fn read_physical(&mut self, _address: u64, _data: &mut [u8]) {
        todo!()
    }
    pub fn write_physical(&mut self, _address: u64, _data: &[u8]) {
        todo!()
    }

    // ---- ports ----

    pub fn port_read(&mut self, port: u16, size: usize) -> u32 {
        let mut bytes = [0xff; 4];
        if let Some(bus) = &self.bus {
            bus.read(Space::Port, port.into(), &mut bytes[..size]);
        }
        u32::from_le_bytes(bytes)
    }
    pub fn port_write(&mut self, port: u16, size: usize, value: u32) {
        if let Some(bus) = &self.bus {
            bus.write(Space::Port, port.into(), &value.to_le_bytes()[..size]);
        }
    }

    // ---- translation caches ----

    /// After CR0, CR3, CR4, EFER or a stage-2 change: forgets translations. `keep_global` keeps global pages.
    pub fn flush_tlb(&mut self, _keep_global: bool) {
        todo!()
    }
    /// INVLPG: forgets one page of the current address space, global or not.
    pub fn flush_page(&mut self, _address: u64) {
        todo!()
    }
    /// MOV to CR3 has set `regs.cr3` to a new value; `no_flush` is bit 63 of the operand with PCIDs on.
    pub fn cr3_loaded(&mut self, _no_flush: bool) {
        todo!()
    }
    /// INVPCID of one PCID (`None`: all), optionally sparing global pages.
    pub fn flush_pcid(&mut self, _pcid: Option<u16>, _keep_global: bool) {
        todo!()
    }

    /// The guest's time-stamp counter (offset and ratio of the current world applied).
    pub fn tsc(&self) -> u64 {
        todo!()
    }
}
