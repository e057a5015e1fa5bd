//! Shared checks: accesses whose addresses differ by constants, within a few hundred bytes, are checked together.
//!
//! The first one of a group checks the whole span and keeps the page's host-minus-guest difference; the others only add
//! it. A check that fails raises nothing: control goes to the block without them, which checks each access by itself.

use crate::block::Step;
use crate::classify::Class;
use crate::layout::GROUPS;
use iced_x86::{Instruction, InstructionInfo, Mnemonic, OpAccess, OpKind, Register};
use ireko_x86::regs::seg;

/// Bytes that one check may span.
const SPAN: i64 = 512;

/// Which group an access belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub group: usize,
    /// The first of its group makes the check: from `low` (relative to its own address), over `span` bytes.
    pub leads: Option<Lead>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    pub low: i32,
    pub span: i32,
    pub write: bool,
}

/// The registers of one access, in 64-bit mode with a segment of base 0.
#[derive(Clone, Copy, Debug)]
struct AccessAddress {
    base: Register,
    index: Register,
    scale: u32,
    displacement: i64,
    size: i64,
    write: bool,
}

/// A number by name, plus a constant: equal names are equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    name: u32,
    plus: i64,
}

/// What is known of the general registers from one instruction to the next.
struct Values {
    registers: [Sum; 16],
    /// Names of a base plus an index times a scale.
    sums: Vec<((u32, u32, u32), u32)>,
    names: u32,
}

impl Values {
    fn new() -> Self {
        let registers = std::array::from_fn(|n| Sum { name: n as u32, plus: 0 });
        Self { registers, sums: Vec::new(), names: 16 }
    }

    fn fresh(&mut self) -> Sum {
        self.names += 1;
        Sum { name: self.names - 1, plus: 0 }
    }

    fn of(&self, register: Register) -> Sum {
        self.registers[register.number()]
    }

    fn set(&mut self, register: Register, value: Sum) {
        self.registers[register.number()] = value;
    }

    fn moved(&mut self, register: Register, by: i64) {
        let Sum { name, plus } = self.of(register);
        self.set(register, Sum { name, plus: plus.wrapping_add(by) });
    }

    fn address(&mut self, base: Register, index: Register, scale: u32, displacement: i64) -> Sum {
        let Sum { name, plus } = self.of(base);
        if index == Register::None {
            return Sum { name, plus: plus.wrapping_add(displacement) };
        }
        let with = self.of(index);
        let parts = (name, with.name, scale);
        let known = self.sums.iter().find(|(known, _)| *known == parts).map(|(_, name)| *name);
        let name = known.unwrap_or_else(|| {
            let name = self.fresh().name;
            self.sums.push((parts, name));
            name
        });
        let plus = plus.wrapping_add(with.plus.wrapping_mul(scale.into())).wrapping_add(displacement);
        Sum { name, plus }
    }

    /// What a step leaves in the registers.
    fn follow(&mut self, step: &Step) {
        let insn = &step.insn;
        let known = match step.class {
            Class::Push => return self.moved(Register::RSP, -8),
            Class::Pop if insn.op0_kind() == OpKind::Register => {
                self.moved(Register::RSP, 8);
                let value = self.fresh();
                return self.set(insn.op0_register(), value);
            }
            Class::Pop | Class::Leave | Class::Call | Class::CallIndirect | Class::Return => {
                let [stack, frame] = [self.fresh(), self.fresh()];
                self.set(Register::RSP, stack);
                self.set(Register::RBP, frame);
                None
            }
            Class::Lea => self.lea(insn),
            Class::Plain => self.plain(insn),
            _ => None,
        };
        if let Some(value) = known {
            return self.set(insn.op0_register(), value);
        }
        for number in (0..16).filter(|number| step.written >> number & 1 != 0) {
            self.registers[number] = self.fresh();
        }
    }

    fn lea(&mut self, insn: &Instruction) -> Option<Sum> {
        let (base, index) = (insn.memory_base(), insn.memory_index());
        let whole = insn.op0_register().is_gpr64() && base.is_gpr64();
        let simple = whole && (index == Register::None || index.is_gpr64());
        let displacement = insn.memory_displacement64() as i64;
        simple.then(|| self.address(base, index, insn.memory_index_scale(), displacement))
    }

    /// MOV of a register, and ADD, SUB, INC and DEC of a constant.
    fn plain(&mut self, insn: &Instruction) -> Option<Sum> {
        let target = insn.op0_register();
        if insn.op0_kind() != OpKind::Register || !target.is_gpr64() {
            return None;
        }
        let from = insn.op1_kind();
        let constant = !matches!(from, OpKind::Register | OpKind::Memory);
        let by = match insn.mnemonic() {
            Mnemonic::Mov if from == OpKind::Register && insn.op1_register().is_gpr64() => {
                return Some(self.of(insn.op1_register()));
            }
            Mnemonic::Add if constant => insn.immediate(1) as i64,
            Mnemonic::Sub if constant => (insn.immediate(1) as i64).wrapping_neg(),
            Mnemonic::Inc => 1,
            Mnemonic::Dec => -1,
            _ => return None,
        };
        let Sum { name, plus } = self.of(target);
        Some(Sum { name, plus: plus.wrapping_add(by) })
    }
}

/// An access: where it is, and between which changes of the TLB.
#[derive(Clone, Copy, Debug)]
struct GroupedAccess {
    epoch: u32,
    at: Sum,
    displacement: i64,
    size: i64,
    write: bool,
}

fn places(steps: &[Step]) -> Vec<Option<GroupedAccess>> {
    let (mut values, mut epoch) = (Values::new(), 0);
    steps
        .iter()
        .map(|step| {
            epoch += u32::from(interrupts(step));
            let found = place(step).map(|access| {
                let AccessAddress { base, index, scale, displacement, size, write } = access;
                let at = values.address(base, index, scale, displacement);
                GroupedAccess { epoch, at, displacement, size, write }
            });
            values.follow(step);
            found
        })
        .collect()
}

/// Finds groups among a block's steps; `members[n]` is what step n's access is part of.
pub fn find(steps: &[Step]) -> Vec<Option<Member>> {
    let places = places(steps);
    let mut members: Vec<Option<Member>> = vec![None; steps.len()];
    let mut group = 0;
    for first in 0..steps.len() {
        if group == GROUPS {
            break;
        }
        let Some(lead) = places[first].filter(|_| members[first].is_none()) else { continue };
        let (mut low, mut high, mut write, mut count) =
            (lead.at.plus, lead.at.plus + lead.size, lead.write, 1);
        let from = Member { group, leads: None };
        for n in first + 1..steps.len() {
            let same = |place: &GroupedAccess| place.epoch == lead.epoch && place.at.name == lead.at.name;
            let Some(place) = places[n].filter(same).filter(|_| members[n].is_none()) else { continue };
            let (lower, upper) = (low.min(place.at.plus), high.max(place.at.plus.saturating_add(place.size)));
            // The check is encoded as the lead's own operand, moved.
            let encoded = lead.displacement + (lower - lead.at.plus);
            if upper.checked_sub(lower).is_some_and(|span| span <= SPAN) && i32::try_from(encoded).is_ok() {
                (low, high, write, count) = (lower, upper, write | place.write, count + 1);
                members[n] = Some(from);
            }
        }
        if count > 1 {
            let (low, span) = ((low - lead.at.plus) as i32, (high - low) as i32);
            members[first] = Some(Member { group, leads: Some(Lead { low, span, write }) });
            group += 1;
        }
    }
    members
}

/// After these the TLB may be another.
fn interrupts(step: &Step) -> bool {
    let routine =
        matches!(step.class, Class::System | Class::State | Class::SetBase | Class::Pkru | Class::Repeat);
    routine || matches!(step.class, Class::Raise(_) | Class::AccessCheck(_))
}

/// The access of a step that may be in a group.
fn place(step: &Step) -> Option<AccessAddress> {
    let insn = &step.insn;
    let stack = |displacement, write| {
        Some(AccessAddress {
            base: Register::RSP,
            index: Register::None,
            scale: 1,
            displacement,
            size: 8,
            write,
        })
    };
    match step.class {
        Class::Push if insn.op0_kind() != OpKind::Memory => stack(-8, true),
        Class::Call => stack(-8, true),
        Class::Pop if insn.op0_kind() == OpKind::Register => stack(0, false),
        Class::Return => stack(0, false),
        Class::Plain => operand(step),
        _ => None,
    }
}

fn operand(step: &Step) -> Option<AccessAddress> {
    let insn = &step.insn;
    let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    let (base, index) = (insn.memory_base(), insn.memory_index());
    if !memory || !base.is_gpr64() || !(index == Register::None || index.is_gpr64()) {
        return None;
    }
    let segment = insn.memory_segment() as usize - Register::ES as usize;
    if segment == seg::FS || segment == seg::GS {
        return None;
    }
    let size = insn.memory_size().size() as i64;
    let write = step.stores;
    let displacement = insn.memory_displacement64() as i64;
    let near = i32::try_from(displacement).is_ok() && size > 0 && size <= 64;
    near.then_some(AccessAddress { base, index, scale: insn.memory_index_scale(), displacement, size, write })
}

/// What [`Step`] keeps of an instruction's effects: asking the decoder's tables again for each group would cost more than all else.
pub fn effects(info: &InstructionInfo) -> (u16, bool) {
    let reads = |access| matches!(access, OpAccess::Read | OpAccess::CondRead);
    let general =
        info.used_registers().iter().filter(|used| used.register().is_gpr() && !reads(used.access()));
    let written = general.fold(0, |all, used| all | 1 << used.register().full_register().number());
    (written, info.used_memory().iter().any(|used| !reads(used.access())))
}
