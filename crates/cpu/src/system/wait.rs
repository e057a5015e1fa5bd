//! HLT and PAUSE.

use crate::intercept::pause_intercept;
use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_nested::Intercept;

pub fn hlt(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.kernel_only()?;
    cpu.intercept(Intercept::Hlt)?;
    cpu.halt(None);
    Ok(Next::Resync)
}

pub fn pause(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    pause_intercept(cpu)?;
    cpu.let_others_run();
    Ok(Next::Advance)
}

/// Instructions of features that CPUID never offers.
pub fn undefined(_: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    Err(Fault::ud())
}
