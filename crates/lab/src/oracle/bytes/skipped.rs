//! Instructions whose strings are not run: what they do is this machine's, not the processor's.

use iced_x86::{CpuidFeature, Instruction, Mnemonic};

/// Whether strings with this instruction are left out.
pub fn skipped(insn: &Instruction) -> bool {
    changes_with_time(insn.mnemonic())
        || shows_the_machine(insn.mnemonic())
        || saves_state(insn.mnemonic())
        || asks_the_hypervisor(insn.mnemonic())
        || insn.cpuid_features().contains(&CpuidFeature::PKU)
}

fn changes_with_time(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Rdtsc | Rdtscp | Rdpmc | Rdpru | Rdrand | Rdseed)
}

/// Identification, descriptor tables (which Linux emulates under UMIP) and what depends on their contents.
fn shows_the_machine(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Cpuid | Xgetbv | Rdpid | Sgdt | Sidt | Sldt | Str | Smsw | Lar | Lsl | Verr | Verw)
}

/// Images of x87 state, with addresses in them, and those of components that guests do not have.
fn saves_state(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Xsave | Xsave64 | Xsaveopt | Xsaveopt64 | Xsavec | Xsavec64 | Xrstor | Xrstor64 | Fxsave | Fxsave64
    ) || matches!(mnemonic, Fxrstor | Fxrstor64 | Fnsave | Fsave | Fnstenv | Fstenv | Frstor | Fldenv)
}

fn asks_the_hypervisor(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Vmcall | Vmmcall | Vmgexit | Monitor | Mwait | Monitorx | Mwaitx | Umonitor | Umwait | Tpause
    )
}
