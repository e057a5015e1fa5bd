//! What becomes of each instruction.

use crate::key::Key;
use iced_x86::{
    Code, CpuidFeature, EncodingKind, FlowControl, Instruction, InstructionInfo, Mnemonic, OpKind, Register,
};
use ireko_x86::exception::vector;
use ireko_x86::regs::seg;

/// What the translator does with an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Copied with its operands rewritten.
    Plain,
    /// Copied, but the address depends on the register operand's bits above the bit index.
    BitTest,
    /// Nothing to do.
    Nothing,
    Lea,
    /// Near direct jump, conditional jump, call.
    Jump,
    Branch,
    Call,
    JumpIndirect,
    CallIndirect,
    Return,
    /// JRCXZ/JECXZ, LOOP.
    JumpIfZero,
    Loop,
    Push,
    Pop,
    Leave,
    /// MOVS, STOS, LODS, CMPS and SCAS of one element.
    String,
    /// System instructions that only move words of the processor's state: done in place in 64-bit mode.
    Cli,
    Sti,
    Swapgs,
    /// STAC and CLAC: the next instruction runs under another key.
    AccessCheck(bool),
    Rdtsc,
    Pushf,
    /// RDFSBASE and its like; WRFSBASE; MOV from a segment or control register.
    Base,
    Pkru,
    SetBase,
    Selector,
    Control,
    /// XSAVEC, XSAVES, XRSTOR, XRSTORS.
    State,
    /// REP MOVS, REP STOS, of bytes or quadwords.
    Repeat,
    /// To another privilege.
    Syscall,
    Sysret,
    /// A routine of the user's does it.
    System,
    /// It raises this exception.
    Raise(u8),
}

/// What the translator's user knows of instructions.
pub struct Env {
    /// Whether the user has a routine.
    pub routine: fn(Code) -> bool,
    /// Whether guest and host have a CPUID feature.
    pub feature: fn(CpuidFeature) -> bool,
}

/// Decides what becomes of `insn` under `key`.
pub fn classify(insn: &Instruction, info: &InstructionInfo, key: Key, env: &Env) -> Class {
    use EncodingKind::{EVEX, Legacy, VEX};
    if insn.is_invalid() || !matches!(insn.code().encoding(), Legacy | VEX | EVEX) {
        return Class::Raise(vector::UD);
    }
    if let Some(class) = hint(insn) {
        return class;
    }
    if !insn.code().cpuid_features().iter().all(|&f| (env.feature)(f)) {
        return Class::Raise(vector::UD);
    }
    if let Some(vector) = unavailable(insn, info, key) {
        return Class::Raise(vector);
    }
    if let Some(class) = inline(insn, key) {
        return class;
    }
    if (env.routine)(insn.code()) {
        return Class::System;
    }
    let copies =
        insn.flow_control() == FlowControl::Next && !insn.is_privileged() && !insn.is_stack_instruction();
    if copies && !sensitive(insn) { plain(insn, info) } else { Class::Raise(vector::UD) }
}

/// 0F 0D and 0F 18 to 0F 1F: hints, which do nothing where the processor does not know them (APM vol. 3, "NOP" and opcode map,
/// table A-3). What these opcodes stand for in processors with CET, MPX or CLDEMOTE starts as a hint, too, and no guest has those.
/// 0F 0D of a register is left to the host: undefined for AMD's processors, and nothing for Intel's.
fn hint(insn: &Instruction) -> Option<Class> {
    use Mnemonic::*;
    let prefetch_of_a_register = matches!(
        insn.code(),
        Code::Reservednop_rm16_r16_0F0D | Code::Reservednop_rm32_r32_0F0D | Code::Reservednop_rm64_r64_0F0D
    ) && insn.op0_kind() == OpKind::Register;
    match insn.mnemonic() {
        Reservednop if prefetch_of_a_register => None,
        Reservednop | Nop | Prefetch | Prefetchw => Some(Class::Nothing),
        _ => None,
    }
}

/// Whether this is VPINSRQ or VPEXTRQ outside of 64-bit mode, which has no quadword registers: #UD. The decoder takes them for
/// VPINSRD and VPEXTRD. The other doubleword and quadword pairs (VMOVD, VCVTSI2SD, VCVTSD2SI, ANDN and their like) ignore VEX.W
/// there, as seen on silicon (family 19h).
pub fn no_such_element(insn: &Instruction, bytes: &[u8]) -> bool {
    let doubleword =
        matches!(insn.code(), Code::VEX_Vpinsrd_xmm_xmm_rm32_imm8 | Code::VEX_Vpextrd_rm32_xmm_imm8);
    // No prefix is C4, which is the first byte of VEX; W is the highest bit of its third.
    let vex = bytes.iter().position(|&byte| byte == 0xc4);
    doubleword && vex.and_then(|at| bytes.get(at + 2)).is_some_and(|byte| byte & 0x80 != 0)
}

/// Instructions that would show or touch the host if they were copied: they are the user's or nobody's.
fn sensitive(insn: &Instruction) -> bool {
    use Mnemonic::*;
    let control = (0..insn.op_count()).any(|n| {
        let register = insn.op_register(n);
        insn.op_kind(n) == OpKind::Register
            && (register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr())
    });
    control
        || insn.is_string_instruction()
        || insn.is_vsib()
        || insn.is_save_restore_instruction() && !x87_state(insn)
        || matches!(
            insn.mnemonic(),
            Cpuid
                | Rdtsc
                | Rdtscp
                | Rdpmc
                | Rdpid
                | Rdpru
                | Sgdt
                | Sidt
                | Sldt
                | Str
                | Smsw
                | Lmsw
                | Lar
                | Lsl
                | Verr
                | Verw
        )
        || matches!(
            insn.mnemonic(),
            Xgetbv
                | Xsetbv
                | Clac
                | Stac
                | Syscall
                | Sysenter
                | Rdfsbase
                | Rdgsbase
                | Wrfsbase
                | Wrgsbase
                | Cli
                | Sti
                | Hlt
        )
        || matches!(
            insn.mnemonic(),
            Maskmovdqu
                | Vmaskmovdqu
                | Maskmovq
                | Vmaskmovps
                | Vmaskmovpd
                | Vpmaskmovd
                | Vpmaskmovq
                | Xlatb
                | Enqcmd
                | Clflush
        )
        || matches!(
            insn.mnemonic(),
            Clflushopt | Clwb | Xlatb | Lds | Les | Lfs | Lgs | Lss | Bound | Arpl | Swapgs | Pause
        )
        || matches!(
            insn.mnemonic(),
            Monitor | Mwait | Monitorx | Mwaitx | Rdpkru | Wrpkru | Vmcall | Vmmcall | Senduipi | Clui | Stui
        )
        || matches!(insn.mnemonic(), Incsspd | Incsspq | Rstorssp | Saveprevssp | Wrssd | Wrssq)
}

fn x87_state(insn: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(insn.mnemonic(), Fldcw | Fnstcw | Fnstsw | Stmxcsr | Ldmxcsr | Vldmxcsr | Vstmxcsr)
}

fn plain(insn: &Instruction, info: &InstructionInfo) -> Class {
    use Mnemonic::*;
    let register_bit = matches!(insn.mnemonic(), Bt | Bts | Btr | Btc)
        && insn.op0_kind() == OpKind::Memory
        && insn.op1_kind() == OpKind::Register;
    if register_bit {
        return Class::BitTest;
    }
    let touches = info.used_memory().iter().any(|m| m.access() != iced_x86::OpAccess::NoMemAccess);
    let hint = !touches && (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    if hint && insn.mnemonic() != Lea { Class::Nothing } else { Class::Plain }
}

/// Instructions that have code of their own, in 64-bit mode and partly elsewhere.
fn inline(insn: &Instruction, key: Key) -> Option<Class> {
    use Mnemonic::*;
    let long = key.has(Key::CODE64);
    let flow = match insn.flow_control() {
        FlowControl::UnconditionalBranch => near_direct(insn, key, Class::Jump),
        FlowControl::ConditionalBranch if insn.is_jcc_short_or_near() => {
            near_direct(insn, key, Class::Branch)
        }
        FlowControl::ConditionalBranch if insn.is_jcx_short() => counted(insn, key, Class::JumpIfZero),
        FlowControl::ConditionalBranch if insn.is_loop() => counted(insn, key, Class::Loop),
        FlowControl::Call if whole_code(key) => near_direct(insn, key, Class::Call),
        // Where they lead is checked when they leave for a place that is not known, and a single instruction always does.
        _ if key.has(Key::SINGLE) || !whole_code(key) => None,
        // With a 16-bit operand, AMD's jump in 64-bit mode, too (APM vol. 3, JMP): a routine's.
        FlowControl::IndirectBranch if near_indirect(insn, key) => Some(Class::JumpIndirect),
        FlowControl::IndirectCall if near_indirect(insn, key) => Some(Class::CallIndirect),
        FlowControl::Return if near_return(insn, key) => Some(Class::Return),
        _ => None,
    };
    if flow.is_some() {
        return flow;
    }
    match insn.mnemonic() {
        Cld if !key.has(Key::BACKWARD) => Some(Class::Nothing),
        Std if key.has(Key::BACKWARD) => Some(Class::Nothing),
        Lea => Some(Class::Lea),
        Ud2 | Ud1 | Ud0 => Some(Class::Raise(vector::UD)),
        Cli if kernel(key) => Some(Class::Cli),
        Sti if kernel(key) => Some(Class::Sti),
        Swapgs if kernel(key) => Some(Class::Swapgs),
        Stac if kernel(key) => Some(Class::AccessCheck(true)),
        Clac if kernel(key) => Some(Class::AccessCheck(false)),
        Rdtsc if long && !key.has(Key::RDTSC_ROUTINE) => Some(Class::Rdtsc),
        Pushfq if long && !key.has(Key::PUSHF_ROUTINE) => Some(Class::Pushf),
        Rdfsbase | Rdgsbase if key.has(Key::BASES) && in_place(key) => Some(Class::Base),
        Wrfsbase | Wrgsbase if key.has(Key::BASES) && in_place(key) => Some(Class::SetBase),
        Rdpkru if in_place(key) => Some(Class::Pkru),
        Mov if in_place(key) => moved(insn, key),
        Xsavec64 | Xrstor64 if in_place(key) && vectors(insn, key) => Some(Class::State),
        Xsaves64 | Xrstors64 if kernel(key) && vectors(insn, key) => Some(Class::State),
        Movsb | Movsq | Stosb | Stosq if by_thunk(key) && bulk(insn) => Some(Class::Repeat),
        Syscall if key.has(Key::USER) && by_thunk(key) => Some(Class::Syscall),
        Sysretq if key.has(Key::KERNEL) && by_thunk(key) => Some(Class::Sysret),
        Movsb | Movsw | Movsd | Movsq | Lodsb | Lodsw | Lodsd | Lodsq if one_element(insn) => {
            Some(Class::String)
        }
        Stosb | Stosw | Stosd | Stosq | Scasb | Scasw | Scasd | Scasq if one_element(insn) => {
            Some(Class::String)
        }
        Cmpsb | Cmpsw | Cmpsd | Cmpsq if one_element(insn) => Some(Class::String),
        Leave if !long || insn.code() == Code::Leaveq => Some(Class::Leave),
        Push if !long || pushes_64(insn) => Some(Class::Push),
        Pop if pops(insn, key) => Some(Class::Pop),
        _ => None,
    }
}

/// 64-bit code at CPL 0, not single-stepped.
fn kernel(key: Key) -> bool {
    key.has(Key::CODE64) && key.has(Key::KERNEL) && key.0 & (Key::SINGLE | Key::ROUTINES) == 0
}

/// 64-bit code, not single-stepped.
fn in_place(key: Key) -> bool {
    key.has(Key::CODE64) && key.0 & (Key::SINGLE | Key::ROUTINES) == 0
}

/// MOV of a selector to memory or a whole register, and of the control registers that are words of the state.
fn moved(insn: &Instruction, key: Key) -> Option<Class> {
    use Code::*;
    let from = insn.op1_register();
    match insn.code() {
        Mov_r32m16_Sreg | Mov_r64m16_Sreg => Some(Class::Selector),
        Mov_rm16_Sreg if insn.op0_kind() == OpKind::Memory => Some(Class::Selector),
        Mov_r64_cr if key.has(Key::KERNEL) && key.has(Key::OWN) => {
            matches!(from, Register::CR0 | Register::CR2 | Register::CR3 | Register::CR4)
                .then_some(Class::Control)
        }
        _ => None,
    }
}

/// A repeated string instruction with 64-bit addresses, off segments without base.
fn bulk(insn: &Instruction) -> bool {
    let wide = |n| match insn.op_kind(n) {
        OpKind::MemorySegRSI => !matches!(insn.memory_segment(), Register::FS | Register::GS),
        OpKind::MemoryESRDI | OpKind::Register => true,
        _ => false,
    };
    insn.has_rep_prefix() && !insn.has_repne_prefix() && wide(0) && wide(1)
}

/// The XSAVE family with all of x87, SSE and AVX switched on, off a segment without base.
fn vectors(insn: &Instruction, key: Key) -> bool {
    let off = Key::TASK_SWITCHED | Key::EMULATE | Key::PLAIN;
    let based = matches!(insn.memory_segment(), Register::FS | Register::GS);
    key.has(Key::SSE) && key.has(Key::AVX) && key.0 & off == 0 && !based
}

/// 64-bit code whose jumps may lead to another slot of the jump tables.
fn by_thunk(key: Key) -> bool {
    let not = Key::SINGLE | Key::ROUTINES | Key::PLAIN | Key::BACKWARD;
    key.has(Key::CODE64) && key.0 & not == 0
}

fn pushes_64(insn: &Instruction) -> bool {
    matches!(insn.code(), Code::Push_r64 | Code::Push_rm64 | Code::Pushq_imm8 | Code::Pushq_imm32)
}

/// POP to general registers and memory. Where a 16-bit stack pointer wraps, ESP as a base of the operand has moved otherwise
/// than by the operand's size: a routine's.
fn pops(insn: &Instruction, key: Key) -> bool {
    if key.has(Key::CODE64) {
        return matches!(insn.code(), Code::Pop_r64 | Code::Pop_rm64);
    }
    let moved = insn.op0_kind() == OpKind::Memory && insn.memory_base() == Register::ESP;
    !insn.op0_register().is_segment_register() && (key.has(Key::STACK32) || !moved)
}

/// A string instruction without a prefix that repeats it.
fn one_element(insn: &Instruction) -> bool {
    insn.is_string_instruction() && !insn.has_rep_prefix() && !insn.has_repne_prefix()
}

/// No near transfer of control leaves the code segment, but for those of 16-bit code with wider operands.
fn whole_code(key: Key) -> bool {
    key.has(Key::CODE64) || key.flat(seg::CS)
}

/// Indirect near jumps and calls as wide as the mode's instruction pointer; outside of 64-bit mode of either width.
fn near_indirect(insn: &Instruction, key: Key) -> bool {
    use Code::*;
    match insn.code() {
        Jmp_rm64 | Call_rm64 => true,
        Jmp_rm16 | Call_rm16 | Jmp_rm32 | Call_rm32 => !key.has(Key::CODE64),
        _ => false,
    }
}

fn near_return(insn: &Instruction, key: Key) -> bool {
    use Code::*;
    match insn.code() {
        Retnq | Retnq_imm16 => true,
        Retnw | Retnw_imm16 | Retnd | Retnd_imm16 => !key.has(Key::CODE64),
        _ => false,
    }
}

/// Direct near branches whose target the code segment reaches.
fn near_direct(insn: &Instruction, key: Key, class: Class) -> Option<Class> {
    reachable(insn, key).then_some(class)
}

/// A direct branch beyond the code segment, or to an address that is not canonical, is the routine's, which raises #GP; in 64-bit
/// mode so are those with a 16-bit operand. 32-bit code in a segment with a limit finds that out where it arrives.
fn reachable(insn: &Instruction, key: Key) -> bool {
    let target = insn.near_branch_target();
    match (key.bitness(), insn.op0_kind()) {
        (64, OpKind::NearBranch64) => (target as i64) << 16 >> 16 == target as i64,
        (32, OpKind::NearBranch32) => true,
        (32, OpKind::NearBranch16) => key.flat(seg::CS),
        (16, OpKind::NearBranch16 | OpKind::NearBranch32) => key.flat(seg::CS) && target <= 0xffff,
        _ => false,
    }
}

/// JRCXZ and LOOP with a whole RCX as counter in 64-bit mode; elsewhere ECX or CX.
fn counted(insn: &Instruction, key: Key, class: Class) -> Option<Class> {
    use Code::*;
    let wide = matches!(insn.code(), Jrcxz_rel8_64 | Loop_rel8_64_RCX);
    let narrow = matches!(
        insn.code(),
        Jcxz_rel8_16
            | Jcxz_rel8_32
            | Jecxz_rel8_16
            | Jecxz_rel8_32
            | Loop_rel8_16_CX
            | Loop_rel8_32_CX
            | Loop_rel8_16_ECX
            | Loop_rel8_32_ECX
    );
    ((wide || narrow) && reachable(insn, key)).then_some(class)
}

/// The exception of an x87, MMX, SSE or AVX instruction that the control registers switch off.
fn unavailable(insn: &Instruction, info: &InstructionInfo, key: Key) -> Option<u8> {
    if insn.mnemonic() == Mnemonic::Wait {
        return (key.has(Key::TASK_SWITCHED) && key.has(Key::MONITOR)).then_some(vector::NM);
    }
    let uses = |test: fn(Register) -> bool| info.used_registers().iter().any(|r| test(r.register()));
    let x87 = insn
        .code()
        .cpuid_features()
        .iter()
        .any(|f| matches!(f, CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387))
        || insn.code().cpuid_features() == [CpuidFeature::SSE3, CpuidFeature::FPU];
    let mmx = insn.mnemonic() == Mnemonic::Emms || uses(Register::is_mm);
    // Also those with mask registers alone, whose encoding is VEX.
    let evex = insn.code().encoding() == EncodingKind::EVEX || uses(Register::is_k);
    let vector_unit = evex
        || uses(Register::is_vector_register)
        || matches!(
            insn.mnemonic(),
            Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr | Mnemonic::Vzeroall | Mnemonic::Vzeroupper
        )
        || matches!(insn.mnemonic(), Mnemonic::Vldmxcsr | Mnemonic::Vstmxcsr);
    if vector_unit {
        let avx = insn.code().encoding() == EncodingKind::VEX;
        let off = match (evex, avx) {
            (true, _) => !key.evex(),
            (_, true) => !key.has(Key::AVX),
            _ => key.has(Key::EMULATE) || !key.has(Key::SSE),
        };
        if off {
            return Some(vector::UD);
        }
    } else if mmx && key.has(Key::EMULATE) {
        return Some(vector::UD);
    } else if x87 && key.has(Key::EMULATE) {
        return Some(vector::NM);
    }
    ((x87 || mmx || vector_unit) && key.has(Key::TASK_SWITCHED)).then_some(vector::NM)
}
