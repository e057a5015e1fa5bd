//! Instructions that translated code must not contain, whatever their operands.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// What is wrong with an instruction by itself.
pub fn check(insn: &Instruction) -> Result<(), &'static str> {
    if insn.is_privileged() {
        return Err("privileged");
    }
    if insn.is_string_instruction() || insn.is_vsib() {
        return Err("its addresses are in registers that nobody checks");
    }
    if segments(insn) {
        return Err("a segment register, or a prefix of one that has a base");
    }
    if reaches_the_host(insn.mnemonic()) || hidden_address(insn.mnemonic()) {
        return Err("not for guests to run");
    }
    flow(insn)
}

fn segments(insn: &Instruction) -> bool {
    let named = (0..insn.op_count()).any(|n| {
        let register = insn.op_register(n);
        insn.op_kind(n) == OpKind::Register
            && (register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr())
    });
    // In front of an instruction without a memory operand the prefix means nothing.
    let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    named || memory && matches!(insn.segment_prefix(), Register::FS | Register::GS)
}

fn reaches_the_host(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Syscall
            | Sysenter
            | Cpuid
            | Rdtscp
            | Rdpmc
            | Rdpid
            | Rdpru
            | Xgetbv
            | Xsetbv
            | Rdfsbase
            | Rdgsbase
            | Wrfsbase
    ) || matches!(
        mnemonic,
        Wrgsbase
            | Sgdt
            | Sidt
            | Sldt
            | Str
            | Smsw
            | Lar
            | Lsl
            | Verr
            | Verw
            | Arpl
            | Cli
            | Sti
            | Popf
            | Popfd
            | Popfq
    ) || matches!(
        mnemonic,
        Rdpkru
            | Wrpkru
            | Monitor
            | Mwait
            | Monitorx
            | Mwaitx
            | Enqcmd
            | Senduipi
            | Vmcall
            | Vmmcall
            | Lds
            | Les
    ) || matches!(
        mnemonic,
        Lfs | Lgs | Lss | Incsspd | Incsspq | Rstorssp | Saveprevssp | Wrssd | Wrssq | Clui | Stui
    )
}

/// Accesses that no explicit operand names, or whose size the instruction does not say.
fn hidden_address(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Xlatb
            | Maskmovq
            | Maskmovdqu
            | Vmaskmovdqu
            | Enter
            | Leave
            | Xsave
            | Xsave64
            | Xsavec
            | Xsavec64
            | Xrstor
    ) || matches!(
        mnemonic,
        Xrstor64 | Xsaveopt | Xsaveopt64 | Xsaves | Xrstors | Fxsave | Fxsave64 | Fxrstor | Fxrstor64
    )
}

fn flow(insn: &Instruction) -> Result<(), &'static str> {
    match insn.flow_control() {
        FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => Ok(()),
        FlowControl::IndirectBranch | FlowControl::IndirectCall if insn.op0_kind() == OpKind::Memory => {
            Ok(())
        }
        _ => Err("leaves the block by itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use crate::classify::{Class, Env, classify};
    use iced_x86::{Code, InstructionInfoFactory};

    /// Where the user has no routine for anything, and the host every feature.
    #[test]
    fn nothing_that_is_forbidden_is_copied_whoever_has_no_routine_for_it() {
        let (env, mut info) = (Env { routine: |_| false, feature: |_| true }, InstructionInfoFactory::new());
        let keys = [Key::CODE64 | Key::KERNEL, Key::CODE64 | Key::USER, Key::CODE32, 0];
        let forbidden = |code: &Code| reaches_the_host(code.mnemonic()) || hidden_address(code.mnemonic());
        for (code, key) in Code::values().filter(forbidden).flat_map(|code| keys.map(|key| (code, Key(key))))
        {
            let mut insn = Instruction::default();
            insn.set_code(code);
            let class = classify(&insn, info.info(&insn), key, &env);
            assert!(!matches!(class, Class::Plain | Class::BitTest), "{code:?}");
        }
    }
}
