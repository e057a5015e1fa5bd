//! System instructions: one routine each, found through `crate::routines`. Checks come in the order of
//! the manual: #UD, privilege, intercept (APM vol. 2, 15.7 and table 15-7), operands, and the commit last.

pub mod cache;
pub mod control;
pub mod debug;
pub mod far;
pub mod flags;
pub mod interrupt;
pub mod iret;
pub mod keys;
pub mod monitor;
pub mod segment;
pub mod selector;
pub mod syscall;
pub mod table;
pub mod time;
pub mod wait;
pub mod xcr;

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod intercept_tests;
#[cfg(test)]
mod task_tests;
#[cfg(test)]
mod tests;

use crate::{Cpu, Fault};
use ireko_x86::bits::cr4;

impl Cpu {
    /// #GP(0) unless at privilege level 0.
    pub fn kernel_only(&self) -> Result<(), Fault> {
        if self.processor.regs.cpl == 0 { Ok(()) } else { Err(Fault::gp(0)) }
    }

    /// CR4.UMIP keeps programs from reading system registers.
    pub fn umip(&self) -> Result<(), Fault> {
        if self.processor.regs.cr4 & cr4::UMIP != 0 { self.kernel_only() } else { Ok(()) }
    }
}
