//! Why a guest gave control to its hypervisor, in neutral words.

use crate::core::InstructionBytes;
use crate::{Event, EventKind, Intercept};
use ireko_x86::Exception;
use ireko_x86::bits::pf;
use ireko_x86::exception::vector;

/// What ends a guest's run: why, and what the processor knows of the moment.
#[derive(Clone, Copy, Debug)]
pub struct ExitContext<'a> {
    pub why: &'a Exit,
    /// The event whose delivery the exit cut short.
    pub in_flight: Option<Event>,
    /// Address of the instruction behind the one that exits.
    pub next_rip: u64,
    /// Of the instruction at RIP, of a [data access](Exit::of_data_access).
    pub instruction: InstructionBytes,
}

impl<'a> ExitContext<'a> {
    pub fn of(why: &'a Exit) -> Self {
        Self { why, in_flight: None, next_rip: 0, instruction: InstructionBytes::default() }
    }
}

/// A neutral exit reason with its payload. `svm` turns it into EXITCODE, EXITINFO1 and EXITINFO2 by table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// An instruction or event that needs no payload. The exit is before the instruction unless it is a trap.
    Plain(Intercept),
    Cr {
        number: u8,
        access: CrAccess,
    },
    /// After a write (trap style).
    CrWriteTrap {
        number: u8,
        value: u64,
    },
    Dr {
        number: u8,
        write: bool,
        gpr: u8,
    },
    Exception {
        exception: Exception,
        /// Whether the processor raised it, or which kind of instruction asked for it.
        kind: EventKind,
    },
    SoftwareInterrupt {
        vector: u8,
    },
    Invlpg {
        address: u64,
    },
    /// The linear address of the descriptor, and what to forget.
    Invpcid {
        address: u64,
        kind: u64,
    },
    Io(IoExit),
    Msr {
        write: bool,
    },
    /// A fault of the second stage (nested paging, EPT).
    Stage2(Stage2Fault),
    TaskSwitch {
        selector: u16,
        error: Option<u32>,
        iret: bool,
        jump: bool,
    },
    EferWriteTrap {
        value: u64,
    },
    /// The guest could take an interrupt, or an NMI.
    InterruptWindow,
    NmiWindow,
    /// The time of [`crate::Control::preempt_at`] came.
    PreemptionTimer,
    /// An instruction was done under [`crate::Control::monitor_trap`].
    MonitorTrap,
    /// VMRUN with a control block that the entry checks refuse.
    Invalid,
    /// This entry, counted from 1, of [`crate::msr_list::MsrLists::entry_load`] cannot be loaded.
    MsrLoad {
        entry: u32,
    },
}

impl Exit {
    /// An exception that the processor raised.
    pub const fn exception(exception: Exception) -> Self {
        Self::Exception { exception, kind: EventKind::Exception }
    }

    /// Of a data access that the hypervisor will want to decode: a page fault, or a fault of the second stage (APM vol. 2, 15.8.4).
    pub fn of_data_access(&self) -> bool {
        match self {
            Self::Stage2(fault) => fault.access != Access::Fetch,
            Self::Exception { exception, .. } => {
                exception.vector == vector::PF && exception.error.is_some_and(|code| code & pf::FETCH == 0)
            }
            _ => false,
        }
    }
}

/// How a control register is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrAccess {
    /// MOV to it, from this general register.
    To(u8),
    From(u8),
    Clts,
    /// With its operand, where that was looked at.
    Lmsw(u16),
    Smsw,
}

impl CrAccess {
    pub const fn writes(self) -> bool {
        matches!(self, Self::To(_) | Self::Clts | Self::Lmsw(_))
    }
    /// The general register of a MOV.
    pub const fn gpr(self) -> Option<u8> {
        match self {
            Self::To(gpr) | Self::From(gpr) => Some(gpr),
            _ => None,
        }
    }
}

/// What the guest did with a guest-physical address that the second stage does not let it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2Fault {
    /// Guest-physical.
    pub address: u64,
    pub access: Access,
    pub found: Found,
    /// The address is that of one of the guest's own tables, and not what they translate to.
    pub table: bool,
    /// The linear address that was being translated, if one was.
    pub linear: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Fetch,
}

/// What its tables have there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// A page with which less may be done.
    Less {
        read: bool,
        write: bool,
        execute: bool,
    },
    /// An entry that must not be: reserved bits, a misconfiguration.
    Malformed,
}

/// What IN, OUT, INS and OUTS tell (APM vol. 2, 15.10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoExit {
    pub port: u16,
    /// 1, 2 or 4 bytes.
    pub size: u8,
    pub input: bool,
    pub string: bool,
    pub rep: bool,
    /// Address size in bytes: 2, 4 or 8.
    pub address_size: u8,
    /// Index of the segment register of the memory operand.
    pub segment: u8,
    /// RIP of the next instruction.
    pub next_rip: u64,
}
