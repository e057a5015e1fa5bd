//! One instruction: whether it keeps to the rules, and what is known after it on each way on.

use super::place::{self, Field, Thunk};
use super::value::{self, AbstractState, Reach, Sum, Value, mix};
use crate::block::{Site, SiteKind, Translated};
use crate::layout::{GROUPS, Hot, SKEW_ROTATE, TLB_ENTRIES, TLB_MODES, tlb_index};
use core::mem::offset_of;
use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, OpKind, Register,
    UsedMemory,
};

const RCX: usize = 1;
const RSP: usize = 4;
const R13: usize = 13;
const R14: usize = 14;

pub type Ways = Vec<(usize, AbstractState)>;

pub struct Walk<'a> {
    pub at: usize,
    pub insn: &'a Instruction,
    pub made: &'a Translated,
    pub first_site: u32,
    pub first_link: u32,
    pub info: &'a mut InstructionInfoFactory,
    pub state: AbstractState,
}

/// A memory operand, relative to host registers.
#[derive(Clone, Copy)]
struct Operand {
    base: Option<usize>,
    index: Option<(usize, u64)>,
    disp: i64,
}

/// Number of a table of the TLB as it is looked up by one of the two indices.
pub const fn table(mode: usize, skewed: bool) -> usize {
    mode + if skewed { TLB_MODES } else { 0 }
}

fn general(register: Register) -> Option<usize> {
    register.is_gpr64().then(|| register.number())
}

impl Walk<'_> {
    pub fn step(&mut self) -> Result<Ways, String> {
        self.keeps_rsp()?;
        if matches!(self.insn.mnemonic(), Mnemonic::Pushfq | Mnemonic::Pop) {
            return self.flags_by_stack();
        }
        match self.insn.flow_control() {
            FlowControl::IndirectBranch => self.jump_by_memory(),
            FlowControl::IndirectCall => self.call(),
            FlowControl::Next => {
                self.accesses()?;
                self.moves()?;
                Ok(vec![(self.next(), self.state.clone())])
            }
            _ => self.branch(),
        }
    }

    fn next(&self) -> usize {
        self.at + self.insn.len()
    }

    fn operand(&self) -> Operand {
        let insn = self.insn;
        let index = general(insn.memory_index()).map(|n| (n, u64::from(insn.memory_index_scale())));
        Operand { base: general(insn.memory_base()), index, disp: insn.memory_displacement64() as i64 }
    }

    fn has_memory(&self) -> bool {
        (0..self.insn.op_count()).any(|n| self.insn.op_kind(n) == OpKind::Memory)
    }

    fn register(&self, n: u32) -> Option<usize> {
        (self.insn.op_kind(n) == OpKind::Register).then(|| general(self.insn.op_register(n))).flatten()
    }

    // ---- RSP, and the one use of the stack ----

    fn keeps_rsp(&mut self) -> Result<(), String> {
        let stack = matches!(self.insn.mnemonic(), Mnemonic::Pushfq | Mnemonic::Pop | Mnemonic::Call);
        let info = self.info.info(self.insn);
        let written = info.used_registers().iter().any(|u| {
            u.register().full_register() == Register::RSP
                && !matches!(u.access(), OpAccess::Read | OpAccess::CondRead)
        });
        if written && !stack { Err("changes RSP".into()) } else { Ok(()) }
    }

    /// PUSHFQ, then POP RCX.
    fn flags_by_stack(&mut self) -> Result<Ways, String> {
        let code = &self.made.code;
        let pair = match self.insn.mnemonic() {
            Mnemonic::Pushfq => code.get(self.at..self.at + 2) == Some(&[0x9c, 0x59]),
            _ => self.at > 0 && code.get(self.at - 1..self.at + 1) == Some(&[0x9c, 0x59]),
        };
        if !pair {
            return Err("uses the host's stack".into());
        }
        self.set(RCX, self.fresh(1));
        Ok(vec![(self.next(), self.state.clone())])
    }

    // ---- control flow ----

    fn branch(&mut self) -> Result<Ways, String> {
        let target = self.insn.near_branch_target() as usize;
        let mut taken = self.state.clone();
        match self.insn.mnemonic() {
            Mnemonic::Jmp => return Ok(vec![(target, taken)]),
            Mnemonic::Jrcxz => {
                if let Value::JumpSum(entry) = taken.registers[RCX] {
                    taken.hit = Some(entry);
                }
                taken.registers[RCX] = Value::Number(Sum::constant(0));
            }
            Mnemonic::Ja => {
                if let (Some(bound), Value::Offset { of, plus: 0, mode, write, reach: None }) =
                    (self.state.compared, self.state.registers[R14])
                {
                    let reach = Some(Reach { span: 4096 - bound, write });
                    self.set(R14, Value::Offset { of, plus: 0, mode, write, reach });
                }
            }
            _ if self.insn.is_jcc_short_or_near() => {}
            _ => return Err("a branch of a kind that has no place here".into()),
        }
        Ok(vec![(target, taken), (self.next(), self.state.clone())])
    }

    fn jump_by_memory(&mut self) -> Result<Ways, String> {
        let operand = self.operand();
        if operand.base != Some(RSP) {
            return Err("jumps through memory that is not the bank's".into());
        }
        let entry = place::tag_of_code(operand.disp);
        let known = match operand.index {
            None => place::thunk(operand.disp) == Some(Thunk::Out),
            Some((R13, 8)) => self.state.registers[R13] == Value::JumpIndex,
            _ => false,
        };
        let by_table = place::jump_tag(entry) && self.state.hit == Some(entry);
        if operand.index.is_none() && place::is_link(operand.disp) && !self.leaves_by_link() {
            return Err("leaves by a link that is not the block's".into());
        }
        let thunk = operand.index.is_none() && known;
        let table = by_table && (operand.index.is_none() || known);
        if thunk || table { Ok(Vec::new()) } else { Err("jumps to what nobody checked".into()) }
    }

    fn call(&mut self) -> Result<Ways, String> {
        let operand = self.operand();
        let through_bank = operand.base == Some(RSP) && operand.index.is_none();
        let Some(thunk) = place::thunk(operand.disp).filter(|_| through_bank) else {
            return Err("calls what is no thunk".into());
        };
        match thunk {
            Thunk::Access => self.accessed(None)?,
            Thunk::Miss { mode, write } => self.accessed(Some((mode, write)))?,
            Thunk::Skewed => {
                [RCX, R13].into_iter().for_each(|n| self.set(n, self.fresh(n)));
                self.state.forget_entries(self.at);
            }
            Thunk::Commit => {
                (RCX..=RCX).chain([R13, R14]).for_each(|n| self.set(n, self.fresh(n)));
            }
            Thunk::Routine if self.ends()? => return Ok(Vec::new()),
            Thunk::Routine => self.state.forget(self.at),
            Thunk::Called => return Ok(Vec::new()),
            Thunk::Out => return Err("calls what does not come back".into()),
        }
        (self.state.compared, self.state.hit) = (None, None);
        Ok(vec![(self.next(), self.state.clone())])
    }

    /// The routine of this site sets RIP and leaves: it raises an exception, or its instruction is a jump. (The thunks of
    /// XSAVEC, REP MOVS and their like are told no site.)
    fn ends(&self) -> Result<bool, String> {
        if !place::is_system(self.operand().disp) {
            return Ok(false);
        }
        let site = self.site()?;
        let jumps = !matches!(site.insn.flow_control(), FlowControl::Next | FlowControl::Exception);
        Ok(matches!(site.kind, SiteKind::Raise(_)) || jumps)
    }

    /// The link that the thunk is told is the block's.
    fn leaves_by_link(&self) -> bool {
        let link = self.state.site.and_then(|number| number.checked_sub(self.first_link));
        link.is_some_and(|link| (link as usize) < self.made.links.len())
    }

    /// The site that the thunk is told.
    fn site(&self) -> Result<&Site, String> {
        let number = self.state.site.ok_or("the thunk is not told its site")?;
        let index = number.checked_sub(self.first_site).ok_or("the site is another block's")?;
        self.made.sites.get(index as usize).ok_or_else(|| "there is no such site".into())
    }

    /// After a thunk that gives the host address of the site's bytes in R14, with 0 in RCX.
    fn accessed(&mut self, miss: Option<(usize, bool)>) -> Result<(), String> {
        let site = *self.site()?;
        let SiteKind::Access { write, .. } = site.kind else { return Err("its site is no access".into()) };
        let span = i64::from(site.size);
        if let Some((_, for_writing)) = miss {
            if self.state.registers[RCX] != Value::Number(Sum::constant((4096 - span) as u64)) {
                return Err("the thunk is told another size than the site has".into());
            }
            if write != for_writing {
                return Err("the thunk asks for another right than the site".into());
            }
        }
        let of = Sum { name: mix(&[self.at as u64, 33]), plus: 0 };
        let mode = miss.map_or(0, |m| m.0);
        let reach = Some(Reach { span, write });
        self.set(R14, Value::Offset { of, plus: 0, mode, write, reach });
        self.set(RCX, Value::Page { of, mode });
        self.set(R13, self.fresh(R13));
        Ok(())
    }

    // ---- accesses ----

    fn accesses(&mut self) -> Result<(), String> {
        if !self.has_memory() || matches!(self.insn.mnemonic(), Mnemonic::Lea | Mnemonic::Nop) {
            return Ok(());
        }
        let used: Vec<UsedMemory> = self.info.info(self.insn).used_memory().to_vec();
        used.iter().try_for_each(|memory| self.access(memory))
    }

    fn access(&self, memory: &UsedMemory) -> Result<(), String> {
        let write = !matches!(memory.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        let size = match memory.memory_size() {
            MemorySize::Unknown => return Err("an access of unknown size".into()),
            size => size.size() as i64,
        };
        let operand = self.operand();
        if general(memory.base()) != operand.base {
            return Err("an access that no operand names".into());
        }
        match operand.base {
            Some(RSP) => self.of_bank(operand, size, write),
            Some(base) if self.state.registers[base] == Value::Registers => {
                of_registers(operand, size, write)
            }
            Some(base) => self.of_guest(base, operand, size, write),
            None => Err("an address that nobody checked".into()),
        }
    }

    fn of_bank(&self, operand: Operand, size: i64, write: bool) -> Result<(), String> {
        use Mnemonic::{Add, Mov, Movzx, Or, Pdep, Sub};
        if self.of_parked(operand, size, write) {
            return Ok(());
        }
        if !matches!(self.insn.mnemonic(), Add | Mov | Movzx | Or | Pdep | Sub) {
            return Err("a guest's instruction on the bank".into());
        }
        let good = match (operand.index, write) {
            (None, true) => place::may_write(operand.disp, size),
            (None, false) => {
                place::may_read(operand.disp, size)
                    || size == 8 && (place::tlb(operand.disp).is_some() || place::jump_tag(operand.disp))
            }
            (Some((RCX, 8)), false) => {
                let first_entry = place::tlb(operand.disp).is_some_and(|f| f.1 == 0);
                size == 8 && first_entry && matches!(self.state.registers[RCX], Value::Index(..))
            }
            (Some((R13, 8)), false) => {
                size == 8 && place::jump_tag(operand.disp) && self.state.registers[R13] == Value::JumpIndex
            }
            _ => false,
        };
        if good { Ok(()) } else { Err("a word of the bank that is not for this".into()) }
    }

    /// A guest's instruction on a register that lies in the bank: what it writes is the whole of it.
    fn of_parked(&self, operand: Operand, size: i64, write: bool) -> bool {
        use Mnemonic::*;
        let known = matches!(
            self.insn.mnemonic(),
            Add | Or
                | Adc
                | Sbb
                | And
                | Sub
                | Xor
                | Cmp
                | Test
                | Mov
                | Inc
                | Dec
                | Neg
                | Not
                | Shl
                | Shr
                | Sar
                | Mul
                | Imul
                | Movzx
                | Movsx
                | Movsxd
                | Cmove
                | Cmovne
                | Cmovb
                | Cmovae
                | Cmovbe
                | Cmova
                | Cmovl
                | Cmovge
                | Cmovle
                | Cmovg
                | Cmovs
                | Cmovns
        );
        let whole = place::parked(operand.disp) && size <= 8 && (size == 8 || !write);
        known && whole && operand.index.is_none()
    }

    fn of_guest(&self, base: usize, operand: Operand, size: i64, write: bool) -> Result<(), String> {
        let (low, reach) = self.reach(base, operand).ok_or("an address that nobody checked")?;
        if low < 0 || low + size > reach.span {
            return Err(format!("bytes {low} to {} of {} that were checked", low + size, reach.span));
        }
        if write && !reach.write {
            return Err("a write where only reading was checked".into());
        }
        self.bit_index(size)
    }

    /// BT and its like by a register reach beyond their operand unless the register is small.
    fn bit_index(&self, size: i64) -> Result<(), String> {
        use Mnemonic::{Bt, Btc, Btr, Bts};
        let by_register = self.insn.op_count() > 1 && self.insn.op1_kind() == OpKind::Register;
        if !matches!(self.insn.mnemonic(), Bt | Btc | Btr | Bts) || !by_register {
            return Ok(());
        }
        let bits = self.insn.op1_register().full_register().number();
        match self.state.registers[bits] {
            Value::AtMost(most) if most < 8 * size as u64 => Ok(()),
            _ => Err("a bit index that nobody cut".into()),
        }
    }

    /// How far an operand lies behind the start of what was checked, and how much that was.
    fn reach(&self, base: usize, operand: Operand) -> Option<(i64, Reach)> {
        let value = self.state.registers[base];
        match (value, operand.index) {
            (Value::Host { plus, reach }, None) => Some((plus + operand.disp, reach)),
            (Value::Offset { of, plus, mode, reach: Some(reach), .. }, Some((RCX, 1))) => {
                let page = self.state.registers[RCX] == Value::Page { of, mode };
                page.then_some((plus + operand.disp, reach))
            }
            (Value::Number(sum), Some((RCX, 1))) => {
                let Value::Delta { of, reach } = self.state.registers[RCX] else { return None };
                let low = sum.plus.wrapping_add(operand.disp).wrapping_sub(of.plus);
                (sum.name == of.name).then_some((low, reach))
            }
            _ => None,
        }
    }

    // ---- values ----

    fn fresh(&self, n: usize) -> Value {
        Value::Number(Sum { name: mix(&[self.at as u64, 11, n as u64]), plus: 0 })
    }

    fn set(&mut self, register: usize, value: Value) {
        self.state.registers[register] = value;
    }

    fn sum(&self, register: usize) -> Sum {
        match self.state.registers[register] {
            Value::Number(sum) => sum,
            // Whatever else it is, the result is a new number.
            _ => Sum { name: mix(&[self.at as u64, 22, register as u64]), plus: 0 },
        }
    }

    /// What the instruction does to what is known.
    fn moves(&mut self) -> Result<(), String> {
        let compares = self.insn.mnemonic() == Mnemonic::Cmp && self.register(0) == Some(R14);
        let value = self.result();
        let written: Vec<usize> = self
            .info
            .info(self.insn)
            .used_registers()
            .iter()
            .filter(|u| !matches!(u.access(), OpAccess::Read | OpAccess::CondRead))
            .filter(|u| u.register().is_gpr())
            .map(|u| u.register().full_register().number())
            .collect();
        if self.insn.rflags_modified() != 0 {
            self.state.compared = None;
        }
        if compares && self.insn.op1_kind() != OpKind::Register && self.insn.op1_kind() != OpKind::Memory {
            self.state.compared = Some(self.insn.immediate(1) as i64);
        }
        self.stores();
        for n in written {
            self.set(n, self.fresh(n));
        }
        if let (Some(value), Some(n)) = (value, self.register(0).or_else(|| self.half())) {
            self.set(n, value);
        }
        Ok(())
    }

    /// Register that a 32-bit instruction writes whole.
    fn half(&self) -> Option<usize> {
        let register = self.insn.op0_register();
        (self.insn.op0_kind() == OpKind::Register && register.is_gpr32()).then(|| register.number())
    }

    /// Words at RSP whose values are followed.
    fn stores(&mut self) {
        let operand = self.operand();
        let to_memory = self.insn.op0_kind() == OpKind::Memory && self.has_memory();
        if !to_memory || operand.base != Some(RSP) || operand.index.is_some() {
            return;
        }
        let from = if self.insn.mnemonic() == Mnemonic::Mov { self.register(1) } else { None };
        if let Some(slot) = value::slot(operand.disp & !7) {
            let stored = from.map(|n| self.state.registers[n]);
            self.state.slots[slot] = stored.unwrap_or_else(|| self.fresh(32 + slot));
        }
        if let Some(group) = value::delta(operand.disp & !7) {
            let known = from.map(|n| self.state.registers[n]).filter(|v| matches!(v, Value::Delta { .. }));
            self.state.deltas[group.min(GROUPS - 1)] = known;
        }
        if operand.disp == offset_of!(Hot, site) as i64 {
            self.state.site = (self.insn.op1_kind() == OpKind::Immediate32).then(|| self.insn.immediate32());
        }
    }

    /// What the first operand holds afterwards, if that is known.
    fn result(&self) -> Option<Value> {
        use Mnemonic::*;
        match self.insn.mnemonic() {
            Mov => self.moved(),
            Lea => self.lea(),
            Add | Sub => self.added(),
            Inc => self.register(0).map(|n| Value::Number(self.sum(n).moved(1))),
            Dec => self.register(0).map(|n| Value::Number(self.sum(n).moved(-1))),
            Shr => match (self.half()?, self.state.registers[self.half()?]) {
                (RCX, Value::Low(of)) if self.insn.immediate(1) == 10 => Some(Value::Shifted(of, true)),
                _ => None,
            },
            And => match (self.half()?, self.state.registers[self.half()?]) {
                (RCX, Value::Shifted(of, skewed))
                    if self.insn.immediate(1) as u32 as usize == (TLB_ENTRIES - 1) * 4 =>
                {
                    Some(Value::Index(of, skewed))
                }
                _ => None,
            },
            Rorx => match (self.insn.op0_register(), self.insn.op1_register(), self.insn.immediate(2)) {
                (Register::RCX, Register::R14, by) if by == u64::from(SKEW_ROTATE) => {
                    Some(Value::Rotated(self.number(R14)?))
                }
                (Register::ECX, Register::R14D, 10) => Some(Value::Shifted(self.number(R14)?, false)),
                _ => None,
            },
            Xor => match (self.half()?, self.state.registers[self.half()?]) {
                (RCX, Value::Rotated(of))
                    if self.insn.op1_register() == Register::R14D && self.number(R14) == Some(of) =>
                {
                    Some(Value::Low(of))
                }
                _ => None,
            },
            Pdep => {
                let mask = self.operand().disp == offset_of!(Hot, attention) as i64;
                (self.register(0) == Some(R13) && mask && self.operand().base == Some(RSP))
                    .then_some(Value::JumpIndex)
            }
            Pext => match self.state.registers[self.register(2)?] {
                // A mask of ones from bit 0 on leaves at most itself.
                Value::Number(Sum { name: 0, plus }) if plus > 0 && (plus & (plus + 1)) == 0 => {
                    Some(Value::AtMost(plus as u64))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn moved(&self) -> Option<Value> {
        let to_half = self.half();
        match self.insn.op1_kind() {
            OpKind::Register => match (self.register(1), to_half) {
                (Some(from), _) => Some(self.state.registers[from]),
                _ => None,
            },
            OpKind::Memory => self.loaded(),
            _ if to_half.is_some() => {
                Some(Value::Number(Sum::constant(self.insn.immediate(1) & 0xffff_ffff)))
            }
            _ => self.register(0).map(|_| Value::Number(Sum::constant(self.insn.immediate(1)))),
        }
    }

    fn number(&self, register: usize) -> Option<Sum> {
        match self.state.registers[register] {
            Value::Number(sum) => Some(sum),
            _ => None,
        }
    }

    /// The address whose TLB entry an operand names, with its field.
    fn field(&self) -> Option<(Sum, usize, Field)> {
        let operand = self.operand();
        let (mode, entry, field) = place::tlb(operand.disp).filter(|_| operand.base == Some(RSP))?;
        let of = match operand.index {
            Some((RCX, 8)) => match self.state.registers[RCX] {
                Value::Index(of, skewed) => return Some((of, table(mode, skewed), field)),
                _ => return None,
            },
            // A constant address: R14 has it, or has had it.
            None => match self.state.registers[R14] {
                Value::Number(of @ Sum { name: 0, plus }) if tlb_index(plus as u64) == entry => of,
                Value::Offset { of: of @ Sum { name: 0, plus }, .. } if tlb_index(plus as u64) == entry => of,
                _ => return None,
            },
            _ => return None,
        };
        Some((of, table(mode, false), field))
    }

    fn loaded(&self) -> Option<Value> {
        let operand = self.operand();
        let to = self.register(0)?;
        if let Some((of, mode, field)) = self.field() {
            return match field {
                Field::Host => Some(Value::Page { of, mode }),
                Field::Tag { write } => Some(Value::Tag { of, mode, write }),
            };
        }
        if operand.base != Some(RSP) {
            return None;
        }
        match operand.index {
            Some((R13, 8)) if place::jump_tag(operand.disp) => Some(Value::JumpTag(operand.disp)),
            None if place::jump_tag(operand.disp) => Some(Value::JumpTag(operand.disp)),
            None if operand.disp == offset_of!(Hot, regs) as i64 => Some(Value::Registers),
            None => value::slot(operand.disp)
                .map(|slot| self.state.slots[slot])
                .or_else(|| value::delta(operand.disp).and_then(|group| self.state.deltas[group]))
                .or_else(|| Some(self.fresh(to))),
            _ => None,
        }
    }

    fn added(&self) -> Option<Value> {
        let to = self.register(0)?;
        let adds = self.insn.mnemonic() == Mnemonic::Add;
        match self.insn.op1_kind() {
            OpKind::Memory => {
                let (of, mode, field) = self.field()?;
                match (field, self.state.registers[to]) {
                    (Field::Tag { write }, Value::Offset { of: o, plus: 0, mode: m, write: w, .. })
                        if !adds =>
                    {
                        (to == R14 && (o, m, w) == (of, mode, write)).then_some(Value::Number(of))
                    }
                    _ if !adds => None,
                    (Field::Tag { write }, Value::Number(sum)) if to == R14 && sum == of => {
                        Some(Value::Offset { of, plus: 0, mode, write, reach: None })
                    }
                    (Field::Host, Value::Tag { of: tagged, mode: m, write }) if tagged == of && m == mode => {
                        self.difference(of, mode, write)
                    }
                    _ => None,
                }
            }
            OpKind::Register => None,
            _ => {
                let by = self.insn.immediate(1) as i64;
                Some(Value::Number(self.number(to)?.moved(if adds { by } else { by.wrapping_neg() })))
            }
        }
    }

    /// Host minus guest address, if R14 has just passed the check of the same entry.
    fn difference(&self, of: Sum, mode: usize, write: bool) -> Option<Value> {
        match self.state.registers[R14] {
            Value::Offset { of: a, plus: 0, mode: m, write: w, reach: Some(reach) }
                if (a, m, w) == (of, mode, write) =>
            {
                Some(Value::Delta { of, reach })
            }
            _ => None,
        }
    }

    fn lea(&self) -> Option<Value> {
        let operand = self.operand();
        let to = self.register(0)?;
        let base = operand.base?;
        if base == RSP || operand.index.is_some_and(|i| i.0 == RSP) {
            return None;
        }
        if let Some((plus, reach)) = self.reach(base, operand) {
            return Some(Value::Host { plus, reach });
        }
        let value = self.state.registers[base];
        match (value, operand.index) {
            (Value::Offset { of, plus, mode, write, reach }, None) => {
                Some(Value::Offset { of, plus: plus + operand.disp, mode, write, reach })
            }
            (Value::JumpTag(entry), Some((R14, 1))) if to == RCX && operand.disp == 0 => {
                Some(Value::JumpSum(entry))
            }
            (Value::Number(sum), None) => Some(Value::Number(sum.moved(operand.disp))),
            (Value::Number(sum), Some((index, scale))) => {
                Some(Value::Number(sum.plus(self.number(index)?, scale).moved(operand.disp)))
            }
            _ => None,
        }
    }
}

fn of_registers(operand: Operand, size: i64, write: bool) -> Result<(), String> {
    let good = operand.index.is_none()
        && if write {
            place::registers_may_write(operand.disp, size)
        } else {
            place::registers_may_read(operand.disp, size)
        };
    if good { Ok(()) } else { Err("a word of the processor's that is not for this".into()) }
}
