//! Why a guest gave control to its hypervisor, in neutral words.

use crate::Intercept;
use ireko_x86::Exception;

/// A neutral exit reason with its payload. `svm` turns it into EXITCODE, EXITINFO1 and EXITINFO2 by table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// An instruction or event that needs no payload. The exit is before the instruction unless it is a trap.
    Plain(Intercept),
    /// MOV from/to CRn; `gpr` for MOV, `None` for CLTS, LMSW, SMSW.
    Cr {
        number: u8,
        write: bool,
        gpr: Option<u8>,
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
    Exception(Exception),
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
    /// A nested page fault: guest-physical address and EXITINFO1 as the APM vol. 2, 15.25.6 has it.
    NestedPage {
        gpa: u64,
        error: u64,
    },
    TaskSwitch {
        selector: u16,
        error: Option<u32>,
        iret: bool,
        jump: bool,
    },
    EferWriteTrap {
        value: u64,
    },
    /// VMRUN with a control block that the entry checks refuse.
    Invalid,
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
