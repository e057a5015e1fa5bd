//! What a routine is: the Rust function of one instruction. Which does which is in `routines`.

use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, Mnemonic};

/// Does one instruction. `cpu.processor.regs.rip` is the instruction's address; on `Err` nothing may have been committed, but that an exit may
/// come from a world that was just entered.
pub type Routine = fn(&mut Cpu, &Instruction) -> Result<Next, Fault>;

/// The instructions that enter guests, of whichever vendor.
pub fn enters_guest(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Vmrun | Mnemonic::Vmlaunch | Mnemonic::Vmresume)
}

/// The guest's calls of its hypervisor.
pub fn calls_hypervisor(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Vmmcall | Mnemonic::Vmcall)
}
