//! Which routine does which instruction: the table behind what translated code cannot copy.

use crate::routine::Routine;
use crate::system::{
    cache, control, debug, far, flags, interrupt, iret, keys, monitor, segment, selector, syscall, table,
    time, wait, xcr,
};
use crate::{cpuid, data, msr, smm, svm};
use iced_x86::{Code, Mnemonic};

/// The routine of an instruction that translated code cannot copy; `None` for one that it can.
pub fn routine(code: Code) -> Option<Routine> {
    by_code(code).or_else(|| by_mnemonic(code.mnemonic())).or_else(|| data::routine(code))
}

/// Where the mnemonic is shared with user-level instructions.
fn by_code(code: Code) -> Option<Routine> {
    use Code::*;
    Some(match code {
        Mov_rm16_Sreg | Mov_r32m16_Sreg | Mov_r64m16_Sreg => segment::mov_from,
        Mov_Sreg_rm16 | Mov_Sreg_r32m16 | Mov_Sreg_r64m16 => segment::mov_to,
        Popw_ES | Popd_ES | Popw_SS | Popd_SS | Popw_DS | Popd_DS => segment::pop,
        Popw_FS | Popd_FS | Popq_FS | Popw_GS | Popd_GS | Popq_GS => segment::pop,
        Mov_r32_cr | Mov_r64_cr => control::mov_from,
        Mov_cr_r32 | Mov_cr_r64 => control::mov_to,
        Mov_r32_dr | Mov_r64_dr => debug::mov_from,
        Mov_dr_r32 | Mov_dr_r64 => debug::mov_to,
        Jmp_ptr1616 | Jmp_ptr1632 | Jmp_m1616 | Jmp_m1632 | Jmp_m1664 => far::jmp,
        Call_ptr1616 | Call_ptr1632 | Call_m1616 | Call_m1632 | Call_m1664 => far::call,
        _ => return None,
    })
}

fn by_mnemonic(mnemonic: Mnemonic) -> Option<Routine> {
    use Mnemonic::*;
    Some(match mnemonic {
        Int => interrupt::int,
        Int3 => interrupt::int3,
        Into => interrupt::into,
        Int1 => interrupt::int1,
        Iret | Iretd | Iretq => iret::iret,
        Retf => far::ret,
        Lds | Les | Lfs | Lgs | Lss => segment::load_far,
        Swapgs => segment::swapgs,
        Rdfsbase | Rdgsbase => segment::read_base,
        Wrfsbase | Wrgsbase => segment::write_base,
        Lldt => selector::lldt,
        Ltr => selector::ltr,
        Sldt => selector::sldt,
        Str => selector::str,
        Verr | Verw => selector::verify,
        Lar => selector::lar,
        Lsl => selector::lsl,
        Arpl => selector::arpl,
        Lgdt => table::lgdt,
        Lidt => table::lidt,
        Sgdt => table::sgdt,
        Sidt => table::sidt,
        Lmsw => control::lmsw,
        Smsw => control::smsw,
        Clts => control::clts,
        Xsetbv => xcr::xsetbv,
        Xgetbv => xcr::xgetbv,
        Cli => flags::cli,
        Sti => flags::sti,
        Cld => flags::cld,
        Std => flags::std,
        Stac => flags::stac,
        Clac => flags::clac,
        Pushf | Pushfd | Pushfq => flags::pushf,
        Popf | Popfd | Popfq => flags::popf,
        other => return other_system(other),
    })
}

fn other_system(mnemonic: Mnemonic) -> Option<Routine> {
    use Mnemonic::*;
    Some(match mnemonic {
        Syscall => syscall::syscall,
        Sysret | Sysretq => syscall::sysret,
        Sysenter => syscall::sysenter,
        Sysexit | Sysexitq => syscall::sysexit,
        Invd => cache::invd,
        Wbinvd | Wbnoinvd => cache::wbinvd,
        Invlpg => cache::invlpg,
        Invpcid => cache::invpcid,
        Hlt => wait::hlt,
        Pause => wait::pause,
        Rdtsc => time::rdtsc,
        Rdtscp => time::rdtscp,
        Rdpid => time::rdpid,
        Rdpmc => time::rdpmc,
        Cpuid => cpuid::routine,
        Rdmsr => msr::rdmsr,
        Wrmsr => msr::wrmsr,
        Vmrun => svm::vmrun,
        Vmload => svm::vmload,
        Vmsave => svm::vmsave,
        Vmmcall => svm::vmmcall,
        Stgi => svm::stgi,
        Clgi => svm::clgi,
        Invlpga => svm::invlpga,
        Rdpkru => keys::rdpkru,
        Wrpkru => keys::wrpkru,
        Monitor => monitor::monitor,
        Mwait => monitor::mwait,
        Monitorx | Mwaitx | Rdpru => wait::undefined,
        Rsm => smm::rsm,
        Invlpgb | Tlbsync | Getsec | Enclu | Encls | Enclv | Ptwrite | Umonitor | Umwait | Tpause => {
            wait::undefined
        }
        Vmcall | Vmlaunch | Vmresume | Vmxoff | Vmxon | Vmptrld | Vmptrst | Vmclear => wait::undefined,
        Vmread | Vmwrite | Vmfunc | Invept | Invvpid => wait::undefined,
        _ => return None,
    })
}
