//! Makes cases from a seed.

use super::arena::{self, BEFORE_READ_ONLY, CODE, DATA, DEVICE, HIGH, READ_ONLY};
use super::case::{Case, Piece};
use super::operands::Operands;
use super::state::{ArchitecturalState, has_avx512};
use crate::rng::Rng;
use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};
use ireko_cpu::data::xsave_area as area;

/// Bytes that a string may take.
const ROOM: usize = 320;

/// Makes cases; keeps the lists of forms.
pub struct Generator {
    forms: [Vec<Code>; 2],
    info: InstructionInfoFactory,
}

/// A case in the making.
struct Draft<'a> {
    rng: Rng,
    bits: u32,
    forms: &'a [Code],
    info: &'a mut InstructionInfoFactory,
    case: Case,
    ip: u64,
    /// Registers whose values are known all along.
    fixed: u16,
    undefined: u32,
}

impl Default for Generator {
    fn default() -> Self {
        Self::with(ireko_cpu::isa::engine_has)
    }
}

impl Generator {
    /// Of instructions with these features, which the host need not have.
    pub fn with(has: fn(CpuidFeature) -> bool) -> Self {
        let forms = [64, 32].map(|bits| super::forms::all(bits, has));
        Self { forms, info: InstructionInfoFactory::new() }
    }

    /// Only forms of this mnemonic come first in strings.
    pub fn forms(&self, bits: u32) -> &[Code] {
        &self.forms[usize::from(bits == 32)]
    }

    /// The case of a seed, whose first instruction is of the given form where that can be.
    pub fn case(&mut self, seed: u64, bits: u32, first: Option<Code>) -> Case {
        let mut rng = Rng::new(seed);
        let (start, fixed, memory) = start(&mut rng, bits);
        let count = 1 + rng.below(8);
        let ip = start.rip;
        let case = Case { seed, bits, pieces: Vec::new(), start, memory };
        let forms = &self.forms[usize::from(bits == 32)];
        let mut draft = Draft { rng, bits, forms, info: &mut self.info, case, ip, fixed, undefined: 0 };
        if let Some(code) = first {
            (0..40).any(|_| draft.add(code));
        }
        let mut tries = 0;
        while draft.case.pieces.len() < count && tries < 400 {
            let code = draft.rng.pick(draft.forms);
            draft.add(code);
            tries += 1;
        }
        draft.case
    }
}

impl Draft<'_> {
    fn used(&self) -> usize {
        (self.ip - self.case.start.rip) as usize
    }

    /// Adds an instruction of this form with what it needs before it; `false` if it would not do.
    fn add(&mut self, code: Code) -> bool {
        if self.used() + 80 > ROOM {
            return false;
        }
        let kept = (self.ip, self.case.pieces.len(), self.fixed, self.undefined);
        let done =
            if code.flow_control() == FlowControl::Next || code.flow_control() == FlowControl::Exception {
                self.add_plain(code)
            } else {
                self.add_branch(code)
            };
        if !done {
            (self.ip, _, self.fixed, self.undefined) = kept;
            self.case.pieces.truncate(kept.1);
        }
        done
    }

    fn operands(&mut self) -> Operands<'_> {
        Operands {
            rng: &mut self.rng,
            bits: self.bits,
            start: &self.case.start,
            fixed: self.fixed,
            ip: self.ip,
            room: ROOM,
            locked: false,
            evex: false,
        }
    }

    fn add_plain(&mut self, code: Code) -> bool {
        let Some(insn) = self.operands().instruction(code) else { return false };
        self.prepare(&insn) && self.push_checked(insn)
    }

    /// Encodes and appends; the bytes must decode to the same form.
    fn push(&mut self, insn: Instruction, prelude: bool) -> bool {
        let mut encoder = Encoder::new(self.bits);
        if encoder.encode(&insn, self.ip).is_err() {
            return false;
        }
        let mut bytes = encoder.take_buffer();
        self.mutate(&mut bytes, &insn, prelude);
        let mut decoder = Decoder::with_ip(self.bits, &bytes, self.ip, DecoderOptions::AMD);
        let decoded = decoder.decode();
        if decoded.is_invalid() && bytes.len() < 15
            || decoded.code() != insn.code()
            || decoded.len() != bytes.len()
        {
            return false;
        }
        self.ip += bytes.len() as u64;
        self.case.pieces.push(Piece { insn: decoded, bytes, prelude });
        true
    }

    /// Sometimes a prefix that changes nothing.
    fn mutate(&mut self, bytes: &mut Vec<u8>, insn: &Instruction, prelude: bool) {
        if prelude || bytes.len() >= 14 || insn.flow_control() != FlowControl::Next || !self.rng.percent(4) {
            return;
        }
        let prefix = self.rng.pick(&[0x26, 0x2e, 0x36, 0x3e]);
        if self.bits == 64 && insn.memory_segment() != Register::FS && insn.memory_segment() != Register::GS {
            bytes.insert(0, prefix);
        }
    }

    /// Appends unless it reads what is undefined or overwrites what should stay known.
    fn push_checked(&mut self, insn: Instruction) -> bool {
        let (ip, length) = (self.ip, self.case.pieces.len());
        let done = self.push(insn, false) && self.last_will_do();
        if !done {
            self.ip = ip;
            self.case.pieces.truncate(length);
        }
        done
    }

    fn last_will_do(&mut self) -> bool {
        let Some(piece) = self.case.pieces.last() else { return false };
        let insn = piece.insn;
        if insn.rflags_read() & self.undefined != 0 {
            return false;
        }
        let written = self.written(&insn);
        if written & self.fixed != 0 && !self.rng.percent(5) {
            return false;
        }
        self.fixed &= !written;
        let certain = !super::case::may_skip(&insn);
        let defined = insn.rflags_modified() & !insn.rflags_undefined();
        self.undefined =
            (if certain { self.undefined & !defined } else { self.undefined }) | insn.rflags_undefined();
        true
    }

    fn written(&mut self, insn: &Instruction) -> u16 {
        let writes = |a: OpAccess| {
            !matches!(a, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
        };
        let info = self.info.info(insn);
        info.used_registers()
            .iter()
            .filter(|u| u.register().is_gpr() && writes(u.access()))
            .fold(0, |mask, u| mask | 1 << u.register().full_register().number())
    }

    /// MOV of a constant into a register, before the instruction that needs it.
    fn set(&mut self, number: usize, value: u64) -> bool {
        self.fixed &= !(1 << number);
        let mut insn = Instruction::default();
        let (code, base) = match self.bits {
            64 => (Code::Mov_r64_imm64, Register::RAX),
            _ => (Code::Mov_r32_imm32, Register::EAX),
        };
        insn.set_code(code);
        insn.set_op0_kind(OpKind::Register);
        insn.set_op0_register(base + number as u32);
        if self.bits == 64 {
            insn.set_op1_kind(OpKind::Immediate64);
            insn.set_immediate64(value);
        } else {
            insn.set_op1_kind(OpKind::Immediate32);
            insn.set_immediate32(value as u32);
        }
        self.push(insn, true)
    }

    fn push_constant(&mut self, value: u32) -> bool {
        let mut insn = Instruction::default();
        insn.set_code(if self.bits == 64 { Code::Pushq_imm32 } else { Code::Pushd_imm32 });
        insn.set_op0_kind(if self.bits == 64 { OpKind::Immediate32to64 } else { OpKind::Immediate32 });
        insn.set_immediate32(value);
        self.fixed &= !(1 << 4);
        self.push(insn, true)
    }

    fn place(&mut self, size: usize) -> u64 {
        self.operands().address(size)
    }

    /// Pointers and counts for implicit operands.
    fn prepare(&mut self, insn: &Instruction) -> bool {
        use Mnemonic::*;
        let code = insn.code();
        if insn.is_string_instruction() {
            let (from, to, count) = (self.place(8), self.place(8), self.rng.below(40) as u64);
            return self.set(6, from) && self.set(7, to) && self.set(1, count);
        }
        match code.mnemonic() {
            Xlatb => {
                let at = self.place(1);
                self.set(3, at)
            }
            Maskmovq | Maskmovdqu | Vmaskmovdqu => {
                let at = self.place(16);
                self.set(7, at)
            }
            Div | Idiv if self.rng.percent(60) => self.set(2, 0),
            Popfq => {
                let flags = self.rng.next() as u32 & 0xcd5;
                self.push_constant(flags)
            }
            Leave => {
                let at = self.place(8);
                self.set(5, at)
            }
            Bt | Bts | Btr | Btc
                if insn.op0_kind() == OpKind::Memory && insn.op1_kind() == OpKind::Register =>
            {
                let offset = (self.rng.next() as i64 >> self.rng.pick(&[48, 51, 55, 58])) as u64;
                self.rng.percent(20) || self.set(insn.op1_register().full_register().number(), offset)
            }
            Push | Pop | Pusha | Enter | Pushf | Pushfq | Pushfd if self.rng.percent(40) => {
                let at = self.place(8);
                self.set(4, at)
            }
            _ => true,
        }
    }

    /// A branch over one other instruction.
    fn add_branch(&mut self, code: Code) -> bool {
        let near = matches!(
            code.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch | FlowControl::Call
        );
        if near { self.add_direct(code) } else { self.add_indirect(code) }
    }

    fn branch(&self, code: Code, target: u64) -> Instruction {
        let mut insn = Instruction::default();
        insn.set_code(code);
        insn.set_op0_kind(if self.bits == 64 { OpKind::NearBranch64 } else { OpKind::NearBranch32 });
        insn.set_near_branch64(target);
        insn
    }

    fn add_direct(&mut self, code: Code) -> bool {
        let (ip, at) = (self.ip, self.case.pieces.len());
        if !self.push(self.branch(code, ip), false) {
            return false;
        }
        let insn = self.case.pieces[at].insn;
        if insn.rflags_read() & self.undefined != 0 || self.written(&insn) & self.fixed != 0 {
            return false;
        }
        let undefined = self.undefined;
        if !self.add_filler() {
            return false;
        }
        self.undefined |= undefined;
        let branch = self.branch(code, self.ip);
        let mut encoder = Encoder::new(self.bits);
        let length = self.case.pieces[at].bytes.len();
        if encoder.encode(&branch, ip).ok() != Some(length) {
            return false;
        }
        let bytes = encoder.take_buffer();
        let insn = Decoder::with_ip(self.bits, &bytes, ip, DecoderOptions::AMD).decode();
        self.case.pieces[at] = Piece { insn, bytes, prelude: false };
        true
    }

    fn add_filler(&mut self) -> bool {
        (0..50).any(|_| {
            let code = self.rng.pick(self.forms);
            code.flow_control() == FlowControl::Next
                && self.operands().instruction(code).is_some_and(|i| self.push_checked(i))
        })
    }

    /// RET, and jumps and calls by register or memory, to the instruction after the next.
    fn add_indirect(&mut self, code: Code) -> bool {
        // The place is known only when all is encoded: once to learn lengths, once for good.
        let kept = (self.ip, self.case.pieces.len(), self.fixed, self.undefined, self.rng.clone());
        let mut target = self.case.start.rip;
        for _ in 0..3 {
            (self.ip, _, self.fixed, self.undefined, self.rng) = kept.clone();
            self.case.pieces.truncate(kept.1);
            if !self.add_indirect_to(code, target) {
                return false;
            }
            if std::mem::replace(&mut target, self.ip) == self.ip {
                return true;
            }
        }
        false
    }

    fn add_indirect_to(&mut self, code: Code, target: u64) -> bool {
        let ready = if code.flow_control() == FlowControl::Return {
            self.push_constant(target as u32)
        } else {
            self.set(0, target)
        };
        let Some(mut insn) = self.operands().instruction(code) else { return false };
        if insn.op0_kind() == OpKind::Register && insn.op_count() > 0 {
            let register = insn.op0_register();
            insn.set_op0_register(if register.size() == 8 { Register::RAX } else { Register::EAX });
        }
        if insn.op0_kind() == OpKind::Memory {
            // Its address from DATA, where the target is put beforehand.
            let at = DATA + 0x800 + self.rng.below(0x780) as u64;
            let bytes = target.to_le_bytes();
            let place = arena::offset(at).unwrap_or(0);
            self.case.memory[place..place + 8].copy_from_slice(&bytes);
            insn.set_memory_base(Register::None);
            insn.set_memory_index(Register::None);
            insn.set_segment_prefix(Register::None);
            insn.set_memory_displ_size(if self.bits == 64 { 8 } else { 4 });
            insn.set_memory_displacement64(at);
        }
        ready && self.push_checked(insn) && self.add_filler()
    }
}

fn start(rng: &mut Rng, bits: u32) -> (ArchitecturalState, u16, Vec<u8>) {
    let (state, fixed) = registers(rng, bits);
    (state, fixed, memory(rng))
}

/// A state to start from, and which of its registers should stay as they are.
pub fn registers(rng: &mut Rng, bits: u32) -> (ArchitecturalState, u16) {
    let mut state = ArchitecturalState::default();
    let mut fixed = 0u16;
    let count = if bits == 64 { 16 } else { 8 };
    for n in 0..count {
        state.gpr[n] = if rng.percent(40) { pointer(rng, bits) } else { rng.value() };
    }
    state.gpr[4] = DATA + 0x400 + 8 * rng.below(0x100) as u64;
    for n in 0..4 {
        let register = rng.below(count);
        fixed |= 1 << register;
        if register != 4 {
            state.gpr[register] = if n == 3 { rng.next() & 0x3f } else { pointer(rng, bits) };
        }
    }
    if bits == 32 {
        state.gpr.iter_mut().for_each(|r| *r &= 0xffff_ffff);
    }
    state.rflags = 0x202 | rng.next() & 0x8d5 | if rng.percent(12) { 0x400 } else { 0 };
    // Some programs have their alignment checked.
    state.rflags |= if rng.percent(5) { 1 << 18 } else { 0 };
    state.fs = DATA + rng.below(0x800) as u64;
    state.gs = if rng.percent(50) { HIGH + rng.below(0x800) as u64 } else { rng.next() & 0x3fff_ffff };
    fill_vectors(rng, &mut state);
    state.rip = CODE
        + match rng.below(4) {
            0 => 0xfd0 + rng.below(0x40) as u64,
            _ => rng.below(0x1800) as u64,
        };
    (state, fixed)
}

pub fn pointer(rng: &mut Rng, bits: u32) -> u64 {
    let base = rng.pick(&[DATA, DATA, DATA + 0x1000, DEVICE, READ_ONLY, BEFORE_READ_ONLY, CODE, HIGH]);
    let base = if bits == 32 && base == HIGH { DATA } else { base };
    base + rng.pick(&[0, 0x10, 0x40, 0x7f8, 0xfe0, 0xffc, 0xabd, 0x123])
}

fn fill_vectors(rng: &mut Rng, state: &mut ArchitecturalState) {
    for n in 0..16 {
        let lane = lane(rng);
        state.xsave[160 + 16 * n..176 + 16 * n].copy_from_slice(&lane);
        let lane = self::lane(rng);
        state.xsave[576 + 16 * n..592 + 16 * n].copy_from_slice(&lane);
    }
    if has_avx512() {
        fill_avx512(rng, state);
    }
    for n in 0..8 {
        let at = 32 + 16 * n;
        state.xsave[at..at + 8].copy_from_slice(&rng.next().to_le_bytes());
        let exponent = match rng.below(6) {
            0 => rng.next() as u16,
            1 => rng.pick(&[0, 0x7fff, 0x8000, 0xffff]),
            _ => (0x3ff7 + rng.below(64) as u16) | (rng.next() as u16 & 0x8000),
        };
        if exponent & 0x7fff != 0 {
            state.xsave[at + 7] |= 0x80;
        }
        state.xsave[at + 8..at + 10].copy_from_slice(&exponent.to_le_bytes());
    }
    let masks = if rng.percent(10) { rng.next() as u16 & 0x3f } else { 0x3f };
    let control = 0x40 | masks | (rng.pick(&[0u16, 2, 3]) << 8) | ((rng.next() as u16 & 3) << 10);
    state.xsave[0..2].copy_from_slice(&control.to_le_bytes());
    let status = (rng.next() as u16 & 7) << 11 | if rng.percent(10) { rng.next() as u16 & 0x4700 } else { 0 };
    state.xsave[2..4].copy_from_slice(&status.to_le_bytes());
    state.xsave[4] = if rng.percent(50) { rng.next() as u8 } else { rng.pick(&[0, 0xff, 0x0f]) };
    let masks = if rng.percent(8) { rng.next() as u32 & 0x1f80 } else { 0x1f80 };
    let mode = if rng.percent(30) { rng.next() as u32 & 0xe040 } else { 0 };
    state.xsave[24..28].copy_from_slice(&(masks | mode).to_le_bytes());
}

/// Masks with few, some, or all bits set, and registers.
fn fill_avx512(rng: &mut Rng, state: &mut ArchitecturalState) {
    let at = area::here();
    for n in 0..8 {
        let mask = match rng.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << rng.below(16),
            3 => rng.next() & rng.next() & rng.next(),
            _ => rng.next(),
        };
        state.xsave[at.opmask + 8 * n..][..8].copy_from_slice(&mask.to_le_bytes());
    }
    for start in [at.zmm_high, at.zmm_high + 256, at.high_zmm, at.high_zmm + 512] {
        for n in 0..if start < at.high_zmm { 16 } else { 32 } {
            let lane = lane(rng);
            state.xsave[start + 16 * n..][..16].copy_from_slice(&lane);
        }
    }
}

/// Sixteen bytes as some type's values.
fn lane(rng: &mut Rng) -> [u8; 16] {
    let mut bytes = [0; 16];
    match rng.below(6) {
        0 | 1 => rng.fill(&mut bytes),
        2 => bytes.chunks_mut(4).for_each(|c| c.copy_from_slice(&((rng.next() & 0x3f) as u32).to_le_bytes())),
        3 => bytes.chunks_mut(4).for_each(|c| c.copy_from_slice(&single(rng).to_le_bytes())),
        4 => bytes.chunks_mut(8).for_each(|c| c.copy_from_slice(&double(rng).to_le_bytes())),
        _ => bytes.chunks_mut(8).for_each(|c| c.copy_from_slice(&(rng.next() & 0x3f).to_le_bytes())),
    }
    bytes
}

fn single(rng: &mut Rng) -> u32 {
    let special =
        [0, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7fa0_0001, 1, 0x007f_ffff, 0x3f80_0000];
    let exponent = 117 + rng.below(40) as u32;
    if rng.percent(25) { rng.pick(&special) } else { rng.next() as u32 & 0x807f_ffff | exponent << 23 }
}

fn double(rng: &mut Rng) -> u64 {
    let special = [0, 1 << 63, 0x7ff0 << 48, 0xfff0 << 48, 0x7ff8 << 48, 0x7ff4 << 48 | 1, 1, 0x3ff0 << 48];
    let exponent = 1003 + rng.below(80) as u64;
    if rng.percent(25) { rng.pick(&special) } else { rng.next() & 0x800f_ffff_ffff_ffff | exponent << 52 }
}

/// What the arena holds.
pub fn memory(rng: &mut Rng) -> Vec<u8> {
    let mut image = vec![0; arena::SIZE];
    for chunk in image.chunks_mut(16) {
        let bytes = lane(rng);
        chunk.copy_from_slice(&bytes);
    }
    image
}
