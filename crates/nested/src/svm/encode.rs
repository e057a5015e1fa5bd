//! The neutral exit reason as EXITCODE, EXITINFO1 and EXITINFO2 (APM vol. 2, appendix C, 15.8 to 15.14 and 15.25.6).

use crate::exit::{Access, Found};
use crate::vendor::ExitRecord;
use crate::{Control, EventKind, Exit, Intercept, IoExit, Stage2Fault, Stage2Tables};
use ireko_x86::Exception;
use ireko_x86::Registers;
use ireko_x86::bits::{cr4, efer, pf, rflags};
use ireko_x86::exception::vector;
use ireko_x86::regs::gpr::RAX;
use ireko_x86::vmcb::{CR_VALID, exitcode, io, npf, task_switch};

const fn record(code: u64, info1: u64, info2: u64) -> ExitRecord {
    ExitRecord { code, information: [info1, info2] }
}

/// One plain intercept: where its bit is in the VMCB (offset, bit), its exit code, and whether an instruction causes
/// the exit, so that nRIP tells the next one.
pub struct Row {
    pub what: Intercept,
    pub field: (usize, u8),
    pub code: u64,
    pub instruction: bool,
}

const fn event(what: Intercept, offset: usize, bit: u8, code: u64) -> Row {
    Row { what, field: (offset, bit), code, instruction: false }
}
const fn insn(what: Intercept, offset: usize, bit: u8, code: u64) -> Row {
    Row { what, field: (offset, bit), code, instruction: true }
}

/// In the order of [`Intercept`].
pub static PLAIN: [Row; 53] = [
    event(Intercept::Intr, 0x0c, 0, exitcode::INTR),
    event(Intercept::Nmi, 0x0c, 1, exitcode::NMI),
    event(Intercept::Smi, 0x0c, 2, exitcode::SMI),
    event(Intercept::Init, 0x0c, 3, exitcode::INIT),
    event(Intercept::Vintr, 0x0c, 4, exitcode::VINTR),
    insn(Intercept::Cr0SelWrite, 0x0c, 5, exitcode::CR0_SEL_WRITE),
    insn(Intercept::IdtrRead, 0x0c, 6, exitcode::IDTR_READ),
    insn(Intercept::GdtrRead, 0x0c, 7, exitcode::GDTR_READ),
    insn(Intercept::LdtrRead, 0x0c, 8, exitcode::LDTR_READ),
    insn(Intercept::TrRead, 0x0c, 9, exitcode::TR_READ),
    insn(Intercept::IdtrWrite, 0x0c, 10, exitcode::IDTR_WRITE),
    insn(Intercept::GdtrWrite, 0x0c, 11, exitcode::GDTR_WRITE),
    insn(Intercept::LdtrWrite, 0x0c, 12, exitcode::LDTR_WRITE),
    insn(Intercept::TrWrite, 0x0c, 13, exitcode::TR_WRITE),
    insn(Intercept::Rdtsc, 0x0c, 14, exitcode::RDTSC),
    insn(Intercept::Rdpmc, 0x0c, 15, exitcode::RDPMC),
    insn(Intercept::Pushf, 0x0c, 16, exitcode::PUSHF),
    insn(Intercept::Popf, 0x0c, 17, exitcode::POPF),
    insn(Intercept::Cpuid, 0x0c, 18, exitcode::CPUID),
    insn(Intercept::Rsm, 0x0c, 19, exitcode::RSM),
    insn(Intercept::Iret, 0x0c, 20, exitcode::IRET),
    insn(Intercept::SoftwareInterrupt, 0x0c, 21, exitcode::SWINT),
    insn(Intercept::Invd, 0x0c, 22, exitcode::INVD),
    insn(Intercept::Pause, 0x0c, 23, exitcode::PAUSE),
    insn(Intercept::Hlt, 0x0c, 24, exitcode::HLT),
    insn(Intercept::Invlpg, 0x0c, 25, exitcode::INVLPG),
    insn(Intercept::Invlpga, 0x0c, 26, exitcode::INVLPGA),
    insn(Intercept::Io, 0x0c, 27, exitcode::IOIO),
    insn(Intercept::Msr, 0x0c, 28, exitcode::MSR),
    event(Intercept::TaskSwitch, 0x0c, 29, exitcode::TASK_SWITCH),
    event(Intercept::FerrFreeze, 0x0c, 30, exitcode::FERR_FREEZE),
    event(Intercept::Shutdown, 0x0c, 31, exitcode::SHUTDOWN),
    insn(Intercept::Vmrun, 0x10, 0, exitcode::VMRUN),
    insn(Intercept::Vmmcall, 0x10, 1, exitcode::VMMCALL),
    insn(Intercept::Vmload, 0x10, 2, exitcode::VMLOAD),
    insn(Intercept::Vmsave, 0x10, 3, exitcode::VMSAVE),
    insn(Intercept::Stgi, 0x10, 4, exitcode::STGI),
    insn(Intercept::Clgi, 0x10, 5, exitcode::CLGI),
    insn(Intercept::Skinit, 0x10, 6, exitcode::SKINIT),
    insn(Intercept::Rdtscp, 0x10, 7, exitcode::RDTSCP),
    insn(Intercept::Icebp, 0x10, 8, exitcode::ICEBP),
    insn(Intercept::Wbinvd, 0x10, 9, exitcode::WBINVD),
    insn(Intercept::Monitor, 0x10, 10, exitcode::MONITOR),
    insn(Intercept::Mwait, 0x10, 11, exitcode::MWAIT),
    insn(Intercept::MwaitArmed, 0x10, 12, exitcode::MWAIT_CONDITIONAL),
    insn(Intercept::Xsetbv, 0x10, 13, exitcode::XSETBV),
    insn(Intercept::Rdpru, 0x10, 14, exitcode::RDPRU),
    event(Intercept::EferWriteTrap, 0x10, 15, exitcode::EFER_WRITE_TRAP),
    insn(Intercept::Invlpgb, 0x14, 0, exitcode::INVLPGB),
    insn(Intercept::IllegalInvlpgb, 0x14, 1, exitcode::INVLPGB_ILLEGAL),
    insn(Intercept::Invpcid, 0x14, 2, exitcode::INVPCID),
    insn(Intercept::Mcommit, 0x14, 3, exitcode::MCOMMIT),
    insn(Intercept::Tlbsync, 0x14, 4, exitcode::TLBSYNC),
];

/// `regs` are the guest's as the exit leaves them.
pub fn encode(exit: &Exit, control: &Control, regs: &Registers) -> ExitRecord {
    match *exit {
        Exit::Plain(what) => record(PLAIN[what as usize].code, plain_info(what, regs), 0),
        Exit::Cr { number, access } => {
            record(cr_code(number, access.writes(), control), cr_info(access.gpr()), 0)
        }
        Exit::CrWriteTrap { number, value } => record(exitcode::CR_WRITE_TRAP + nibble(number), value, 0),
        Exit::Dr { number, write, gpr } => {
            let first = if write { exitcode::DR_WRITE } else { exitcode::DR_READ };
            record(first + nibble(number), nibble(gpr), 0)
        }
        Exit::Exception { exception, .. } => exception_code(&exception),
        Exit::SoftwareInterrupt { vector } => record(exitcode::SWINT, vector.into(), 0),
        Exit::Invlpg { address } => record(exitcode::INVLPG, address, 0),
        Exit::Invpcid { address, kind } => record(exitcode::INVPCID, address, kind),
        Exit::Io(access) => record(exitcode::IOIO, io_info(&access), access.next_rip),
        Exit::Msr { write } => record(exitcode::MSR, write.into(), 0),
        Exit::Stage2(fault) => record(exitcode::NPF, stage2_info(&fault, control), fault.address),
        Exit::TaskSwitch { selector, error, iret, jump } => {
            record(exitcode::TASK_SWITCH, selector.into(), task_switch_info(error, iret, jump, regs))
        }
        Exit::EferWriteTrap { value } => record(exitcode::EFER_WRITE_TRAP, value, 0),
        // The last five: no control that AMD-V has asks for them.
        Exit::Invalid
        | Exit::InterruptWindow
        | Exit::NmiWindow
        | Exit::PreemptionTimer
        | Exit::MonitorTrap
        | Exit::MsrLoad { .. } => record(exitcode::INVALID, 0, 0),
    }
}

/// Whether nRIP holds the next instruction's address: for exits of instructions (15.7.1), INT3 and INTO among them.
pub fn by_instruction(exit: &Exit) -> bool {
    match exit {
        Exit::Plain(what) => PLAIN[*what as usize].instruction,
        Exit::Exception { kind, .. } => *kind == EventKind::SoftwareException,
        Exit::Cr { .. }
        | Exit::Dr { .. }
        | Exit::SoftwareInterrupt { .. }
        | Exit::Invlpg { .. }
        | Exit::Invpcid { .. }
        | Exit::Io(_)
        | Exit::Msr { .. } => true,
        Exit::CrWriteTrap { .. }
        | Exit::Stage2(_)
        | Exit::TaskSwitch { .. }
        | Exit::EferWriteTrap { .. }
        | Exit::InterruptWindow
        | Exit::NmiWindow
        | Exit::PreemptionTimer
        | Exit::MonitorTrap
        | Exit::MsrLoad { .. }
        | Exit::Invalid => false,
    }
}

fn nibble(number: u8) -> u64 {
    u64::from(number & 0xf)
}

/// INVLPGA tells the linear address, which is in rAX (15.8.5).
fn plain_info(what: Intercept, regs: &Registers) -> u64 {
    if what == Intercept::Invlpga { regs.gpr[RAX] } else { 0 }
}

/// A write of CR0 that the CR intercept does not ask for is the selective one (15.9).
fn cr_code(number: u8, write: bool, control: &Control) -> u64 {
    match (write, number) {
        (true, 0) if control.cr_write & 1 == 0 && control.has(Intercept::Cr0SelWrite) => {
            exitcode::CR0_SEL_WRITE
        }
        (true, _) => exitcode::CR_WRITE + nibble(number),
        (false, _) => exitcode::CR_READ + nibble(number),
    }
}

fn cr_info(gpr: Option<u8>) -> u64 {
    gpr.map_or(0, |gpr| CR_VALID | nibble(gpr))
}

fn exception_code(exception: &Exception) -> ExitRecord {
    let address = if exception.vector == vector::PF { exception.payload } else { 0 };
    let code = exitcode::EXCEPTION + u64::from(exception.vector & 31);
    record(code, exception.error.unwrap_or(0).into(), address)
}

/// The error code that the nested tables would give, which see user accesses only, and where in the walk it was (15.25.6). That
/// it was a fetch is told where the hypervisor's own page faults tell it.
fn stage2_info(fault: &Stage2Fault, control: &Control) -> u64 {
    let fetches = match control.stage2.map(|stage2| stage2.tables) {
        Some(Stage2Tables::Own { cr4, efer }) => {
            let wide = efer & efer::LMA != 0 || cr4 & cr4::PAE != 0;
            wide && efer & efer::NXE != 0 || cr4 & cr4::SMEP != 0
        }
        _ => true,
    };
    let found = match fault.found {
        Found::Nothing => 0,
        Found::Less { .. } => pf::PRESENT,
        Found::Malformed => pf::PRESENT | pf::RESERVED,
    };
    let access = match fault.access {
        Access::Read => 0,
        Access::Write => pf::WRITE,
        Access::Fetch if fetches => pf::FETCH,
        Access::Fetch => 0,
    };
    u64::from(found | access | pf::USER) | if fault.table { npf::TABLE } else { npf::FINAL }
}

fn io_info(access: &IoExit) -> u64 {
    let bit = |on: bool, bit: u64| if on { bit } else { 0 };
    bit(access.input, io::IN)
        | bit(access.string, io::STRING)
        | bit(access.rep, io::REP)
        | size_bit(access.size, 1, io::SIZE_8)
        | size_bit(access.address_size, 2, io::ADDRESS_16)
        | u64::from(access.segment & 7) << io::SEGMENT_SHIFT
        | u64::from(access.port) << io::PORT_SHIFT
}

/// One bit for each of `smallest`, twice and four times that.
fn size_bit(size: u8, smallest: u8, first: u64) -> u64 {
    match size / smallest {
        0 | 1 => first,
        2 | 3 => first << 1,
        _ => first << 2,
    }
}

fn task_switch_info(error: Option<u32>, iret: bool, jump: bool, regs: &Registers) -> u64 {
    let bit = |on: bool, bit: u64| if on { bit } else { 0 };
    error.map_or(0, |code| task_switch::ERROR_VALID | u64::from(code))
        | bit(iret, task_switch::IRET)
        | bit(jump, task_switch::JUMP)
        | bit(regs.rflags & rflags::RF != 0, task_switch::RF)
}
