//! Shared checks: accesses off one unchanged base within a few hundred bytes are checked together.
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

/// The address of one access: registers and displacement, in 64-bit mode with a segment of base 0.
#[derive(Clone, Copy, Debug)]
struct AccessAddress {
    base: Register,
    index: Register,
    scale: u32,
    displacement: i64,
    size: i64,
    write: bool,
}

/// Finds groups among a block's steps; `members[n]` is what step n's access is part of.
pub fn find(steps: &[Step]) -> Vec<Option<Member>> {
    let places: Vec<Option<AccessAddress>> = steps.iter().map(place).collect();
    let mut members: Vec<Option<Member>> = vec![None; steps.len()];
    let mut group = 0;
    for first in 0..steps.len() {
        if group == GROUPS {
            break;
        }
        let Some(lead) = places[first].filter(|_| members[first].is_none()) else { continue };
        let found = follow(steps, &places, &members, first, lead);
        if found.members.len() < 2 {
            continue;
        }
        for &n in &found.members {
            members[n] = Some(Member { group, leads: None });
        }
        let low = (found.low - lead.displacement) as i32;
        let span = (found.high - found.low) as i32;
        members[first] = Some(Member { group, leads: Some(Lead { low, span, write: found.write }) });
        group += 1;
    }
    members
}

struct Found {
    members: Vec<usize>,
    low: i64,
    high: i64,
    write: bool,
}

/// Follows the block from the leader on while base and index only move by constants.
fn follow(
    steps: &[Step],
    places: &[Option<AccessAddress>],
    members: &[Option<Member>],
    first: usize,
    lead: AccessAddress,
) -> Found {
    let mut found = Found {
        members: vec![first],
        low: lead.displacement,
        high: lead.displacement + lead.size,
        write: lead.write,
    };
    let mut shift = 0;
    for (n, step) in steps.iter().enumerate().skip(first) {
        if n > first {
            if interrupts(step) {
                break;
            }
            let same = places[n].filter(|p| {
                members[n].is_none() && p.base == lead.base && p.index == lead.index && p.scale == lead.scale
            });
            if let Some(place) = same {
                let low = found.low.min(place.displacement + shift);
                let high = found.high.max(place.displacement + shift + place.size);
                if high - low <= SPAN {
                    found.members.push(n);
                    (found.low, found.high) = (low, high);
                    found.write |= place.write;
                }
            }
        }
        match moved(step, &lead) {
            Some(by) => shift += by,
            None => break,
        }
    }
    found
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

/// By how much a step moves the address of an access; `None` if base or index change in another way.
fn moved(step: &Step, access: &AccessAddress) -> Option<i64> {
    let AccessAddress { base, index, scale, .. } = *access;
    let insn = &step.insn;
    let rsp = base == Register::RSP;
    match step.class {
        Class::Push if index == Register::None => return Some(if rsp { -8 } else { 0 }),
        Class::Pop if insn.op0_kind() == OpKind::Register => {
            let target = insn.op0_register();
            let clobbers = target == base || target == index;
            return (!clobbers).then_some(if rsp { 8 } else { 0 });
        }
        Class::Call | Class::CallIndirect | Class::Return | Class::Pop | Class::Leave | Class::Loop => {
            return None;
        }
        _ => {}
    }
    match (writes(step, base), writes(step, index)) {
        (true, true) => None,
        (true, false) => constant_move(insn, base),
        (false, true) => constant_move(insn, index).map(|by| by * i64::from(scale)),
        (false, false) => Some(0),
    }
}

fn writes(step: &Step, register: Register) -> bool {
    register.is_gpr64() && step.written >> register.number() & 1 != 0
}

/// What [`Step`] keeps of an instruction's effects: asking the decoder's tables again for each group would cost more than all else.
pub fn effects(info: &InstructionInfo) -> (u16, bool) {
    let reads = |access| matches!(access, OpAccess::Read | OpAccess::CondRead);
    let general =
        info.used_registers().iter().filter(|used| used.register().is_gpr() && !reads(used.access()));
    let written = general.fold(0, |all, used| all | 1 << used.register().full_register().number());
    (written, info.used_memory().iter().any(|used| !reads(used.access())))
}

/// ADD, SUB, INC, DEC and LEA of the whole base by a constant.
fn constant_move(insn: &Instruction, base: Register) -> Option<i64> {
    if insn.op0_kind() != OpKind::Register || insn.op0_register() != base {
        return None;
    }
    let constant = || {
        (insn.op1_kind() != OpKind::Register && insn.op1_kind() != OpKind::Memory)
            .then(|| insn.immediate(1) as i64)
    };
    let by = match insn.mnemonic() {
        Mnemonic::Add => constant()?,
        Mnemonic::Sub => -constant()?,
        Mnemonic::Inc => 1,
        Mnemonic::Dec => -1,
        Mnemonic::Lea if insn.memory_base() == base && insn.memory_index() == Register::None => {
            insn.memory_displacement64() as i64
        }
        _ => return None,
    };
    (by.abs() <= SPAN * 8).then_some(by)
}
