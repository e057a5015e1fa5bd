//! Translated code in another place. Code of programs is *relative*: it takes the address of the page that it is run at from
//! [`crate::Hot::page`], so that one translation does for all processes that have the page somewhere. What is left is numbers of sites and links,
//! for a copy.

use iced_x86::{Instruction, OpKind, Register};

/// Whose number a place in translated code holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Site,
    Link,
}

/// Such a place of four bytes: blocks have many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(u32);

const LINK: u32 = 1 << 31;

impl Number {
    pub(crate) fn new(at: usize, kind: Kind) -> Self {
        let link = if kind == Kind::Link { LINK } else { 0 };
        Self(at as u32 | link)
    }
}

/// What is added to the numbers of a block's sites and links in a copy.
#[derive(Clone, Copy, Debug)]
pub struct Renumber {
    pub sites: u32,
    pub links: u32,
}

impl Renumber {
    pub fn code(self, code: &mut [u8], places: &[Number]) {
        for place in places {
            let at = (place.0 & !LINK) as usize;
            let by = if place.0 & LINK != 0 { self.links } else { self.sites };
            let word = &mut code[at..at + 4];
            let value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_add(by);
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// A link's jump leads to its stub again, wherever it leads where the code was copied from.
pub fn unlink(code: &mut [u8], patch: usize, stub: usize) {
    let delta = stub.wrapping_sub(patch + 4) as u32;
    code[patch..patch + 4].copy_from_slice(&delta.to_le_bytes());
}

/// Moves an instruction of relative code, which was decoded as if its page were at 0, to where that is.
#[inline]
pub fn move_to(insn: &mut Instruction, page: u64) {
    insn.set_next_ip(insn.next_ip().wrapping_add(page));
    if insn.is_ip_rel_memory_operand() {
        let cut = if insn.memory_base() == Register::EIP { u64::from(u32::MAX) } else { u64::MAX };
        insn.set_memory_displacement64(insn.memory_displacement64().wrapping_add(page) & cut);
    }
    let branches =
        matches!(insn.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
    if branches && insn.op_count() > 0 {
        let target = insn.near_branch_target().wrapping_add(page);
        match insn.op0_kind() {
            OpKind::NearBranch16 => insn.set_near_branch16(target as u16),
            OpKind::NearBranch32 => insn.set_near_branch32(target as u32),
            _ => insn.set_near_branch64(target),
        }
    }
}
