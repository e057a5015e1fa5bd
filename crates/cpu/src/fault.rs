//! How a routine ends.

use ireko_nested::Exit;
use ireko_x86::Exception;

/// What ends an instruction before it is done. Nothing of the instruction has been committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// An exception to deliver at the instruction's address.
    Exception(Exception),
    /// The guest gives control to its hypervisor (only in a guest world).
    Exit(Exit),
    /// The instruction has to be done while no other processor runs.
    Together,
    /// Shutdown (triple fault).
    Shutdown,
    /// The guest did what this engine does not do, in one sentence.
    Unsupported(String),
    /// The engine itself is at fault, in one sentence.
    Engine(String),
}

impl From<Exception> for Fault {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

impl Fault {
    pub fn ud() -> Self {
        Exception::ud().into()
    }
    pub fn gp(error: u32) -> Self {
        Exception::gp(error).into()
    }
}

/// Where execution goes on after a routine. On entry `regs.rip` is the instruction's own address; the caller advances
/// it for `Advance` and `Resync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next instruction; nothing changed that translated code depends on.
    Advance,
    /// The next instruction, but mode, flags above the arithmetic ones (IF, TF, DF, AC), paging, interrupt state or
    /// the like changed.
    Resync,
    /// The routine has set `regs.rip`.
    Jump,
}
