//! Which instruction forms the oracle tries.

use iced_x86::{Code, CpuidFeature, EncodingKind, FlowControl, Mnemonic};

/// All forms of a mode that an engine with these features runs for user code and that do the same on every run.
pub fn all(bits: u32, has: fn(CpuidFeature) -> bool) -> Vec<Code> {
    Code::values().filter(|&code| wanted(code, bits, has)).collect()
}

fn wanted(code: Code, bits: u32, has: fn(CpuidFeature) -> bool) -> bool {
    let op = code.op_code();
    let mode = if bits == 64 { op.mode64() } else { op.mode32() && op.mode64() };
    let plain_encoding =
        matches!(op.encoding(), EncodingKind::Legacy | EncodingKind::VEX | EncodingKind::EVEX);
    mode && op.is_instruction()
        && plain_encoding
        && op.decoder_option() == 0
        && !op.is_reserved_nop()
        && !branches_with_16_bits(code)
        && code.cpuid_features().iter().all(|&f| has(f))
        && flows(code)
        && (!(op.is_privileged() || op.must_be_cpl0()) || refused(op.mnemonic()))
        && !excluded(op.mnemonic())
        && !loads_segment(code)
}

/// Branches with a 16-bit operand size: Intel and AMD differ in 64-bit mode.
fn branches_with_16_bits(code: Code) -> bool {
    code.flow_control() != FlowControl::Next && code.op_code().operand_size() == 16
}

fn flows(code: Code) -> bool {
    match code.flow_control() {
        FlowControl::Next | FlowControl::Exception => true,
        FlowControl::ConditionalBranch => true,
        FlowControl::UnconditionalBranch => code.is_jmp_short_or_near(),
        FlowControl::IndirectBranch => code.is_jmp_near_indirect(),
        FlowControl::Call => code.is_call_near(),
        FlowControl::IndirectCall => code.is_call_near_indirect(),
        FlowControl::Return => matches!(code.mnemonic(), Mnemonic::Ret),
        _ => false,
    }
}

/// Privileged instructions, which user code may not run: #GP on both sides.
fn refused(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Hlt | Clts | Lmsw | Lgdt | Lidt | Lldt | Ltr | Invlpg | Invd | Wbinvd | Rdmsr | Wrmsr | Swapgs
    ) || matches!(mnemonic, In | Out | Insb | Insw | Insd | Outsb | Outsw | Outsd)
}

/// Random or machine-dependent results, host kernel's emulation, saved x87 pointers, or another way of ending.
fn excluded(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Cpuid | Rdtsc | Rdtscp | Rdpmc | Rdrand | Rdseed | Rdpid | Xgetbv | Sgdt | Sidt | Sldt | Str | Smsw | Lar | Lsl
    ) || matches!(
        mnemonic,
        Verr | Verw | Xsave | Xsave64 | Xsaveopt | Xsaveopt64 | Xsavec | Xsavec64 | Xrstor | Xrstor64 | Fxsave | Fxsave64
    ) || matches!(
        mnemonic,
        Fxrstor | Fxrstor64 | Fnsave | Fnstenv | Fsave | Fstenv | Wrfsbase | Wrgsbase | Cli | Sti | Clac | Stac | Int3 | Int1
    ) || matches!(
        mnemonic,
        Vmcall | Vmmcall | Vmrun | Vmload | Vmsave | Stgi | Clgi | Skinit | Invlpga | Monitor | Mwait | Rsm | Jmpe | Getsec
    ) || matches!(
        // By CR4.PKE, which the host's system has set or not; and WRPKRU would keep the child from its own memory.
        mnemonic,
        Rdpkru | Wrpkru
    ) || matches!(mnemonic, Ud0 | Ud1 | Popf | Popfd | Wait | Syscall | Sysenter | Iret | Iretd | Iretq | Prefetchwt1)
        // An FWAIT in front makes two instructions of it.
        || matches!(mnemonic, Fstcw | Fstsw | Finit | Fclex | Feni | Fdisi | Fsetpm | Fstdw | Fstsg)
        // A later processor runs the 287's and 387's leftovers in its own way.
        || matches!(mnemonic, Fneni | Fndisi | Fnsetpm | Frstpm | Fnstdw | Fnstsg)
}

fn loads_segment(code: Code) -> bool {
    use iced_x86::OpCodeOperandKind::*;
    let op = code.op_code();
    let names =
        |n: usize| op.op_kinds().get(n).is_some_and(|k| matches!(k, seg_reg | es | cs | ss | ds | fs | gs));
    let pops = op.mnemonic() == Mnemonic::Pop && names(0);
    pops || op.mnemonic() == Mnemonic::Mov && names(0)
        || op
            .op_kinds()
            .iter()
            .any(|k| matches!(k, cr_reg | dr_reg | tr_reg | bnd_reg | k_reg | farbr2_2 | farbr4_2))
        || matches!(
            op.mnemonic(),
            Mnemonic::Lss | Mnemonic::Lfs | Mnemonic::Lgs | Mnemonic::Lds | Mnemonic::Les
        )
}
