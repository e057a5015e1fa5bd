//! The architectural state of one processor, as plain data: it can be copied and compared, knows no bus, no clock and no
//! memory, and nothing in it points into a running machine. What runs it is [`crate::Cpu`].

pub mod apic;
pub mod counters;
pub mod model;
pub mod msrs;
pub mod mtrr;
pub mod saved;
pub mod vectors;
pub mod x87;

use apic::LocalApic;
use ireko_nested::{Control, Event, Shadow, Vendor};
use ireko_x86::Registers;
use model::Model;
use msrs::Msrs;
use std::sync::Arc;

/// What a processor has for guests of its own: there is one vendor's half so far.
pub type Virtualization = ireko_nested::svm::State;

/// Whether this processor runs its own code or a guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "entered and left too often for an allocation")]
pub enum World {
    Host,
    Guest(Control),
}

/// Aligned as XSAVE wants it.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct XsaveArea(pub [u8; 4096]);

/// Bytes that are monitored: a cache line, as leaf 5 says.
pub const LINE: usize = 64;
/// The armed line: where it is, and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitoredLine {
    pub(crate) physical: u64,
    pub(crate) bytes: [u8; LINE],
}

/// MWAIT waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MwaitWait {
    pub(crate) line: MonitoredLine,
    /// For interrupts that are masked, too.
    pub(crate) masked: bool,
}

/// What waits outside while the processor is in system-management mode, and is nothing to save in its area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideSmm {
    pub(crate) world: World,
    pub(crate) gif: bool,
    pub(crate) nmi_blocked: bool,
    pub(crate) shadow: Shadow,
}

/// A processor between two instructions. While translated code runs, some of it is in the host's registers and in the bank
/// (`translate::Hot`); it is whole whenever Rust runs, but for the vector and x87 state, which [`crate::Cpu::fpu_normalise`]
/// brings home.
#[derive(Clone, PartialEq, Eq)]
pub struct Processor {
    pub regs: Registers,
    /// x87, SSE and AVX state while Rust code runs, in standard XSAVE form. A component whose XSTATE_BV bit is clear is
    /// in its initial state, whatever its bytes are: [`crate::Cpu::fpu_normalise`] first.
    pub fpu: Box<XsaveArea>,
    /// MXCSR.MM, where it is not in `fpu`: the host lacks it.
    pub(crate) mm: Option<bool>,
    /// Of the last x87 instruction. They come home with the registers: [`crate::Cpu::fpu_normalise`].
    pub x87: x87::Pointers,
    /// FERR# is on.
    pub(crate) ferr: bool,
    /// IGNNE# is on: x87 instructions go on although an exception is pending. It comes home with the registers, too.
    pub(crate) ignne: bool,
    /// In system-management mode.
    pub(crate) smm: Option<Box<OutsideSmm>>,
    /// Interrupts wait until after the next instruction.
    pub shadow: Shadow,
    /// NMIs wait for IRET.
    pub nmi_blocked: bool,
    /// Global interrupt flag (AMD-V).
    pub gif: bool,
    /// Waits for a STARTUP message: after RESET and INIT, all but the first do (SDM vol. 3, "Multiple-Processor (MP) Initialization").
    pub(crate) parked: bool,
    /// HLT was executed; cleared by the run loop when something wakes the processor.
    pub halted: bool,
    /// It was MWAIT, which ends for this, too.
    pub(crate) wait: Option<MwaitWait>,
    /// What MONITOR has armed.
    pub(crate) monitored: Option<MonitoredLine>,
    /// The event whose delivery an exit cut short (EXITINTINFO); the run loop takes it at every exit.
    pub in_flight: Option<Event>,
    pub world: World,
    pub virtualization: Virtualization,
    /// Address of the instruction behind the one that is being done by a routine: what an exit that it causes tells.
    pub(crate) next_rip: u64,
    /// An instruction was done, or an event delivered, after which [`Control::monitor_trap`] exits.
    pub(crate) monitor_trap: bool,
    pub msrs: Msrs,
    pub apic: LocalApic,
    /// Shared by all that were made alike.
    pub model: Arc<Model>,
    /// Data and port breakpoints that the current instruction has met, as bits of DR6.
    pub(crate) touched: u64,
    /// Those of a load of SS, which trap after the next instruction.
    pub(crate) held_traps: u64,
}

impl Processor {
    /// Number `id` after RESET, with x87 and vector state all zeros.
    pub fn new(id: u32, model: Arc<Model>) -> Self {
        Self {
            regs: Registers::reset(),
            fpu: Box::new(XsaveArea([0; 4096])),
            mm: None,
            x87: Default::default(),
            ferr: false,
            ignne: false,
            smm: None,
            shadow: Shadow::None,
            nmi_blocked: false,
            gif: true,
            parked: id != 0,
            halted: false,
            wait: None,
            monitored: None,
            in_flight: None,
            world: World::Host,
            virtualization: Virtualization::new(model.svm_caps()),
            next_rip: 0,
            monitor_trap: false,
            msrs: Default::default(),
            apic: LocalApic::new(id),
            model,
            touched: 0,
            held_traps: 0,
        }
    }

    /// Whose control structures this processor's guests have.
    pub fn vendor(&self) -> &dyn Vendor {
        &self.virtualization
    }

    pub(crate) fn control_mut(&mut self) -> Option<&mut Control> {
        match &mut self.world {
            World::Host => None,
            World::Guest(control) => Some(control),
        }
    }

    /// The controls in force, in a guest world.
    pub fn control(&self) -> Option<&Control> {
        match &self.world {
            World::Host => None,
            World::Guest(control) => Some(control),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::construct::CpuSpec;
    use crate::cpu::Cpu;

    fn fresh() -> Cpu {
        Cpu::new(&CpuSpec::uniprocessor(&[(0, 0x1_0000)]).unwrap()).unwrap()
    }

    /// Real-mode code that counts, stores and computes with x87 and SSE; runs so many instructions.
    fn run(cpu: &mut Cpu, instructions: usize) {
        // inc ax; push ax; fld1; add bx, ax; nop
        let code = [0x40, 0x50, 0xd9, 0xe8, 0x01, 0xc3, 0x90];
        cpu.write_physical(0x1000, &code);
        for _ in 0..instructions {
            cpu.run_alone(0).unwrap();
        }
        cpu.fpu_normalise();
    }

    fn begun(instructions: usize) -> Cpu {
        let mut cpu = fresh();
        cpu.processor.regs.seg[ireko_x86::regs::seg::CS].base = 0;
        (cpu.processor.regs.rip, cpu.processor.regs.gpr[4]) = (0x1000, 0x8000);
        run(&mut cpu, instructions);
        cpu
    }

    /// Put into another processor with the same memory, it goes on as the one that it was taken from.
    #[test]
    fn what_a_processor_is_goes_on_in_another() {
        // Half way, x87's pointers are those of FLD1.
        let (mut whole, half) = (begun(5), begun(3));
        assert_eq!((half.processor.x87.instruction, half.processor.x87.opcode), (0x1002, 0x1e8));
        // Each measured the rate of its counter anew, which a leaf tells.
        whole.processor.model = half.processor.model.clone();
        let mut other = fresh();
        other.processor = half.processor.clone();
        run(&mut other, 2);
        assert!(other.processor == whole.processor && half.processor != whole.processor);
    }

    /// What comes between an x87 instruction and the one that stores its pointers has segments of its own.
    #[test]
    fn the_selector_of_an_x87_pointer_is_that_of_who_stores_it() {
        let mut cpu = begun(2);
        cpu.run_alone(0).unwrap();
        let code = &mut cpu.processor.regs.seg[ireko_x86::regs::seg::CS].selector;
        let own = std::mem::replace(code, 0x10);
        cpu.fpu_sync();
        cpu.processor.regs.seg[ireko_x86::regs::seg::CS].selector = own;
        assert_eq!(cpu.processor.x87.code.value(&cpu.processor.regs), own);
    }
}
