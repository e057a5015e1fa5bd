//! The copied instruction: its operands rewritten from guest registers to host registers and the checked address.

use crate::asm::reg;
use crate::block::Emitter;
use crate::ea;
use crate::layout::PINNED;
use crate::liveness::shifts_by_cl;
use crate::operand_in_bank;
use iced_x86::{Code, Instruction, InstructionInfo, OpAccess, OpKind, Register};

/// Where the checked host address is when the instruction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    None,
    /// The emitter's pointer register + RCX + displacement.
    Pair,
    R14,
    Rcx,
    /// RSI, whose own value waits in a temporary: CH with a memory operand.
    Rsi,
}

const RCX: usize = 1;
const RSP: usize = 4;

/// How one instruction's registers are placed.
#[derive(Debug)]
struct Plan {
    /// Guest RCX must be in RCX itself: an implicit operand, or beside AH..BH, which exclude REX.
    rcx_real: bool,
    rcx_written: bool,
    pointer: Pointer,
    /// Guest RSP is in RSI for this instruction, whose own value waits in a temporary: beside AH..BH, R10 cannot be encoded.
    rsp_in_rsi: bool,
    parked: Vec<Parked>,
}

/// A parked guest register, and the scratch register that it takes.
#[derive(Debug)]
struct Parked {
    gpr: usize,
    host: u8,
    /// What it was matters.
    read: bool,
    written: bool,
}

fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

fn register_operands(insn: &Instruction) -> impl Iterator<Item = (u32, Register)> {
    (0..insn.op_count())
        .filter(|&n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_gpr())
        .map(|n| (n, insn.op_register(n)))
}

fn writes(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

impl Plan {
    fn new(insn: &Instruction, info: &InstructionInfo, has_memory: bool) -> Option<Self> {
        let high = register_operands(insn).any(|(_, r)| is_high_byte(r));
        let explicit_rsp = register_operands(insn).any(|(_, r)| r.full_register() == Register::RSP);
        let explicit_rcx = register_operands(insn).any(|(_, r)| r.full_register() == Register::RCX);
        let used = info.used_registers().iter().filter(|u| u.register().full_register() == Register::RCX);
        let in_address =
            [insn.memory_base(), insn.memory_index()].iter().any(|r| r.full_register() == Register::RCX);
        let implicit = !explicit_rcx && !in_address && used.clone().next().is_some();
        // RCX as address and implicitly, too (CMPXCHG16B [RCX]): its uses as an operand say so.
        let implicit = implicit || implicit_rcx(insn);
        let rcx_real = implicit || shifts_by_cl(insn) || high && explicit_rcx;
        let rcx_written = used.clone().any(|u| writes(u.access()));
        let mut parked: Vec<Parked> = Vec::new();
        for (n, register) in register_operands(insn) {
            let gpr = register.full_register().number();
            if PINNED[gpr].is_some() {
                continue;
            }
            let access = info.op_access(n);
            // A write of 32 bits clears those above.
            let whole = register.size() >= 4 && matches!(access, OpAccess::Write | OpAccess::None);
            let (read, written) = (!whole, writes(access));
            match parked.iter_mut().find(|p| p.gpr == gpr) {
                Some(found) => (found.read, found.written) = (found.read | read, found.written | written),
                None => parked.push(Parked { gpr, host: reg::R13, read, written }),
            }
        }
        let pointer = match (has_memory, rcx_real, high) {
            (false, ..) => Pointer::None,
            (true, true, true) => Pointer::Rsi,
            (true, true, false) => Pointer::R14,
            (true, false, true) => Pointer::Rcx,
            _ if parked.len() > 1 => Pointer::Rcx,
            _ => Pointer::Pair,
        };
        let pool: &[u8] = match (pointer, rcx_real) {
            (Pointer::None, false) => &[reg::R13, reg::R14, reg::RCX],
            (Pointer::None | Pointer::Rcx | Pointer::Rsi, _) => &[reg::R13, reg::R14],
            _ => &[reg::R13],
        };
        if parked.len() > pool.len() {
            return None;
        }
        parked.iter_mut().zip(pool).for_each(|(parked, &host)| parked.host = host);
        Some(Self { rcx_real, rcx_written, pointer, rsp_in_rsi: high && explicit_rsp, parked })
    }

    fn host(&self, register: Register) -> u8 {
        let gpr = register.full_register().number();
        if gpr == RCX && self.rcx_real {
            return reg::RCX;
        }
        if gpr == RSP && self.rsp_in_rsi {
            return reg::RSI;
        }
        PINNED[gpr].unwrap_or_else(|| self.parked.iter().find(|p| p.gpr == gpr).map_or(reg::R13, |p| p.host))
    }
}

/// Instructions whose RCX is an operand that the encoding does not name.
fn implicit_rcx(insn: &Instruction) -> bool {
    use iced_x86::Mnemonic::*;
    matches!(
        insn.mnemonic(),
        Cmpxchg8b | Cmpxchg16b | Pcmpestri | Pcmpestri64 | Pcmpistri | Vpcmpestri | Vpcmpestri64 | Vpcmpistri
    )
}

/// The register of `size` bytes with this host number.
pub fn sized(number: u8, size: usize) -> Register {
    let base = match (size, number) {
        (1, 0..4) => Register::AL as u8,
        (1, 4..8) => Register::SPL as u8 - 4,
        (1, _) => Register::R8L as u8 - 8,
        (2, _) => Register::AX as u8,
        (4, _) => Register::EAX as u8,
        _ => Register::RAX as u8,
    };
    Register::try_from(usize::from(base + number)).unwrap_or(Register::RAX)
}

impl Emitter<'_> {
    /// Emits the copy. With `has_memory`, the checked address is R14 + RCX.
    pub(crate) fn copy(&mut self, insn: &Instruction, info: &InstructionInfo, has_memory: bool) {
        let Some(plan) = Plan::new(insn, info, has_memory) else { return self.give_up(insn) };
        let simple = plan.pointer == Pointer::None && !plan.rcx_real && !plan.rsp_in_rsi;
        if let Some(in_bank) = operand_in_bank::in_bank(insn).filter(|_| simple && !has_memory) {
            self.mark();
            if self.encode(&rewrite(in_bank, &plan, self.pointer)) {
                return;
            }
        }
        self.place_pointer(plan.pointer);
        if plan.rcx_real {
            self.asm.mov(reg::RCX, reg::R11);
        }
        for parked in plan.parked.iter().filter(|parked| parked.read) {
            self.asm.load(parked.host, ea::parked(parked.gpr));
        }
        if plan.rsp_in_rsi {
            self.asm.store(ea::temp(2), reg::RSI);
            self.asm.mov(reg::RSI, reg::R10);
        }
        let rewritten = rewrite(generic(insn), &plan, self.pointer);
        self.mark();
        if !self.encode(&rewritten) {
            return self.give_up(insn);
        }
        if plan.rcx_real && plan.rcx_written {
            self.asm.mov(reg::R11, reg::RCX);
        }
        for parked in plan.parked.iter().filter(|parked| parked.written) {
            self.asm.store(ea::parked(parked.gpr), parked.host);
        }
        if plan.rsp_in_rsi {
            self.asm.mov(reg::R10, reg::RSI);
        }
        if plan.rsp_in_rsi || plan.pointer == Pointer::Rsi {
            self.asm.load(reg::RSI, ea::temp(2));
        }
    }

    fn place_pointer(&mut self, pointer: Pointer) {
        let sum = self.host();
        match pointer {
            Pointer::None | Pointer::Pair => {}
            Pointer::R14 => self.asm.lea(reg::R14, sum),
            Pointer::Rcx => self.asm.lea(reg::RCX, sum),
            Pointer::Rsi => {
                self.asm.store(ea::temp(2), reg::RSI);
                self.asm.lea(reg::RSI, sum);
            }
        }
    }
}

/// An instruction in a form that 64-bit mode has, with host registers.
fn rewrite(mut out: Instruction, plan: &Plan, pair: (u8, i32)) -> Instruction {
    for n in 0..out.op_count() {
        if out.op_kind(n) != OpKind::Register {
            continue;
        }
        let register = out.op_register(n);
        if register.is_gpr() && !is_high_byte(register) {
            let host = plan.host(register);
            out.set_op_register(n, sized(host, register.size()));
        }
    }
    if plan.pointer != Pointer::None {
        let (base, index) = match plan.pointer {
            Pointer::Pair => (sized(pair.0, 8), Register::RCX),
            Pointer::R14 => (Register::R14, Register::None),
            Pointer::Rsi => (Register::RSI, Register::None),
            _ => (Register::RCX, Register::None),
        };
        point_at(&mut out, base, index);
        if plan.pointer == Pointer::Pair && pair.1 != 0 {
            out.set_memory_displacement64(pair.1 as i64 as u64);
            out.set_memory_displ_size(8);
        }
    }
    out
}

/// Makes base + index the memory operand.
pub fn point_at(insn: &mut Instruction, base: Register, index: Register) {
    insn.set_memory_base(base);
    insn.set_memory_index(index);
    insn.set_memory_index_scale(1);
    insn.set_memory_displacement64(0);
    insn.set_memory_displ_size(0);
    insn.set_segment_prefix(Register::None);
}

/// Replaces short forms that 64-bit mode lacks, or that name an address or register which moves, by general ones.
fn generic(insn: &Instruction) -> Instruction {
    let mut out = *insn;
    let code = match insn.code() {
        Code::Inc_r16 => Code::Inc_rm16,
        Code::Inc_r32 => Code::Inc_rm32,
        Code::Dec_r16 => Code::Dec_rm16,
        Code::Dec_r32 => Code::Dec_rm32,
        Code::Mov_AL_moffs8 => Code::Mov_r8_rm8,
        Code::Mov_AX_moffs16 => Code::Mov_r16_rm16,
        Code::Mov_EAX_moffs32 => Code::Mov_r32_rm32,
        Code::Mov_RAX_moffs64 => Code::Mov_r64_rm64,
        Code::Mov_moffs8_AL => Code::Mov_rm8_r8,
        Code::Mov_moffs16_AX => Code::Mov_rm16_r16,
        Code::Mov_moffs32_EAX => Code::Mov_rm32_r32,
        Code::Mov_moffs64_RAX => Code::Mov_rm64_r64,
        // The undocumented alias of opcode 80 in 32-bit mode, and the like, have no 64-bit form.
        Code::Add_rm8_imm8_82 => Code::Add_rm8_imm8,
        Code::Or_rm8_imm8_82 => Code::Or_rm8_imm8,
        Code::Adc_rm8_imm8_82 => Code::Adc_rm8_imm8,
        Code::Sbb_rm8_imm8_82 => Code::Sbb_rm8_imm8,
        Code::And_rm8_imm8_82 => Code::And_rm8_imm8,
        Code::Sub_rm8_imm8_82 => Code::Sub_rm8_imm8,
        Code::Xor_rm8_imm8_82 => Code::Xor_rm8_imm8,
        Code::Cmp_rm8_imm8_82 => Code::Cmp_rm8_imm8,
        code => code,
    };
    out.set_code(code);
    out
}
