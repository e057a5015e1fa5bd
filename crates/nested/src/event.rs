//! Events: what is delivered through the interrupt table.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    External,
    Nmi,
    /// The processor raised it.
    Exception,
    /// INT n.
    SoftwareInterrupt,
    /// INT3 and INTO.
    SoftwareException,
    /// INT1, which asks for no privilege.
    PrivilegedSoftwareException,
}

/// An event to deliver, or one that was being delivered when an exit came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub vector: u8,
    pub error: Option<u32>,
}

impl Event {
    /// An instruction of the program asked for it: subject to the gate's DPL, and it returns behind that instruction.
    pub const fn is_software(&self) -> bool {
        matches!(self.kind, EventKind::SoftwareInterrupt | EventKind::SoftwareException)
    }
    /// An exception of any kind.
    pub const fn is_exception(&self) -> bool {
        use EventKind::{Exception, PrivilegedSoftwareException, SoftwareException};
        matches!(self.kind, Exception | SoftwareException | PrivilegedSoftwareException)
    }
}

/// As EVENTINJ and EXITINTINFO have it, in words.
impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            EventKind::External => write!(out, "INTR {:#x}", self.vector)?,
            EventKind::Nmi => write!(out, "NMI")?,
            EventKind::SoftwareInterrupt => write!(out, "INT {:#x}", self.vector)?,
            _ => write!(out, "{}", ireko_x86::exception::name(self.vector))?,
        }
        self.error.map_or(Ok(()), |error| write!(out, " error {error:#x}"))
    }
}
