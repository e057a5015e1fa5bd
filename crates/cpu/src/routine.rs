//! The routine of each system instruction: one function each, found by mnemonic.

use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;

/// Does one instruction. `cpu.regs.rip` is the instruction's address; on `Err` nothing may have been committed.
pub type Routine = fn(&mut Cpu, &Instruction) -> Result<Next, Fault>;
