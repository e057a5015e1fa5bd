//! What lies where at RSP: which words of the bank translated code may read, write, and go through.

use crate::layout::{
    Hot, JUMP_CODES, JUMP_SLOT_BYTES, JUMP_SLOTS, JUMP_TAGS, TLB, TLB_ENTRIES, TLB_MODE_BYTES, TLB_MODES,
    X87Pointers,
};
use core::mem::offset_of;
use ireko_x86::regs::seg::{FS, GS};
use ireko_x86::{Registers, Segment};

/// A field of the TLB: table, and which word of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Tag { write: bool },
    Host,
}

/// The TLB field at an offset from RSP: table, entry and word.
pub fn tlb(offset: i64) -> Option<(usize, usize, Field)> {
    let at = offset - TLB as i64;
    if !(0..(TLB_MODES * TLB_MODE_BYTES) as i64).contains(&at) {
        return None;
    }
    let (mode, entry) = (at as usize / TLB_MODE_BYTES, at as usize / 32 % TLB_ENTRIES);
    match at % 32 {
        0 => Some((mode, entry, Field::Tag { write: false })),
        8 => Some((mode, entry, Field::Host)),
        16 => Some((mode, entry, Field::Tag { write: true })),
        _ => None,
    }
}

/// The entry of the jump tables whose tag lies at an offset from RSP.
pub fn jump_tag(offset: i64) -> bool {
    let at = offset - JUMP_TAGS as i64;
    (0..(JUMP_SLOTS * JUMP_SLOT_BYTES) as i64).contains(&at) && at % 16 == 0
}

/// From a code address in the jump tables to its tag.
pub fn tag_of_code(offset: i64) -> i64 {
    offset - JUMP_CODES as i64
}

fn within(offset: i64, size: i64, start: usize, bytes: usize) -> bool {
    offset >= start as i64 && offset + size <= (start + bytes) as i64
}

/// Words of `Hot` that translated code may write.
pub fn may_write(offset: i64, size: i64) -> bool {
    const WORDS: [usize; 7] = [
        offset_of!(Hot, rip),
        offset_of!(Hot, page),
        offset_of!(Hot, site),
        offset_of!(Hot, reason),
        offset_of!(Hot, interrupt_flag),
        offset_of!(Hot, alignment_check),
        offset_of!(Hot, segment_base) + 8 * FS,
    ];
    let gs = offset_of!(Hot, segment_base) + 8 * GS;
    let word = |&start: &usize| within(offset, size, start, 8);
    let pointers = within(offset, size, offset_of!(Hot, x87), size_of::<X87Pointers>());
    let whole = super::value::slot(offset & !7).is_some() || super::value::delta(offset & !7).is_some();
    WORDS.iter().any(word) || word(&gs) || pointers || whole && offset % 8 + size <= 8
}

/// A register of the guest's begins here.
pub fn parked(offset: i64) -> bool {
    let at = offset - offset_of!(Hot, parked) as i64;
    (0..32).contains(&at) && at % 8 == 0
}

/// All of `Hot` may be read.
pub fn may_read(offset: i64, size: i64) -> bool {
    within(offset, size, 0, size_of::<Hot>())
}

/// Words of the processor's `Registers` that translated code may write.
pub fn registers_may_write(offset: i64, size: i64) -> bool {
    let base = |n: usize| offset_of!(Registers, seg) + size_of::<Segment>() * n + offset_of!(Segment, base);
    [base(FS), base(GS), offset_of!(Registers, kernel_gs_base)]
        .iter()
        .any(|&start| within(offset, size, start, 8))
}

pub fn registers_may_read(offset: i64, size: i64) -> bool {
    within(offset, size, 0, size_of::<Registers>())
}

/// What is behind a word of `Hot` that translated code calls or jumps through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thunk {
    Access,
    Miss {
        mode: usize,
        write: bool,
    },
    /// The TLB may have another page at the skewed index; registers are as they were.
    Skewed,
    Commit,
    /// Anything may be different afterwards.
    Routine,
    /// It does not come back.
    Out,
    /// The same, called, so that it knows from where.
    Called,
}

/// A thunk that is told a link.
pub fn is_link(offset: i64) -> bool {
    within(offset, 8, offset_of!(Hot, link_thunk), 24)
}

/// The thunk of system instructions, which is told a site.
pub fn is_system(offset: i64) -> bool {
    offset == offset_of!(Hot, system_thunk) as i64
}

pub fn thunk(offset: i64) -> Option<Thunk> {
    let at = |start: usize, bytes: usize| within(offset, 8, start, bytes) && (offset - start as i64) % 8 == 0;
    let (miss, skewed) = (offset_of!(Hot, miss_thunk), offset_of!(Hot, skewed_thunk));
    let found = if at(offset_of!(Hot, access_thunk), 8) {
        Thunk::Access
    } else if at(miss, 16 * TLB_MODES) {
        let word = (offset as usize - miss) / 8;
        Thunk::Miss { mode: word / 2, write: word % 2 == 1 }
    } else if at(skewed, 16 * TLB_MODES) {
        Thunk::Skewed
    } else if at(offset_of!(Hot, commit_thunk), 8) {
        Thunk::Commit
    } else if at(offset_of!(Hot, system_thunk), 8)
        || at(offset_of!(Hot, state_thunk), 8 * crate::state::KINDS * TLB_MODES)
        || at(offset_of!(Hot, repeat_thunk), 8 * crate::repeat::KINDS * TLB_MODES)
    {
        Thunk::Routine
    } else if at(offset_of!(Hot, lookup_thunk), 8 * JUMP_SLOTS) || at(offset_of!(Hot, attention_thunk), 8) {
        Thunk::Called
    } else if at(offset_of!(Hot, leave_thunk), 8)
        || at(offset_of!(Hot, link_thunk), 24)
        || at(offset_of!(Hot, syscall_thunk), 8)
        || at(offset_of!(Hot, sysret_thunk), 8)
    {
        Thunk::Out
    } else {
        return None;
    };
    Some(found)
}
