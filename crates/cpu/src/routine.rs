//! What a routine is: the Rust function of one instruction. Which does which is in `routines`.

use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;

/// Does one instruction. `cpu.processor.regs.rip` is the instruction's address; on `Err` nothing may have been committed.
pub type Routine = fn(&mut Cpu, &Instruction) -> Result<Next, Fault>;
