//! What the checker knows of a host register.

use crate::layout::GROUPS;
use crate::layout::Hot;
use core::mem::offset_of;

/// A number by name, plus a constant. Equal names are equal numbers; name 0 is the number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    pub name: u64,
    pub plus: i64,
}

impl Sum {
    pub const fn constant(value: u64) -> Self {
        Self { name: 0, plus: value as i64 }
    }
    pub const fn moved(self, by: i64) -> Self {
        Self { name: self.name, plus: self.plus.wrapping_add(by) }
    }
    /// This plus another times a scale.
    pub fn plus(self, other: Self, scale: u64) -> Self {
        let plus = self.plus.wrapping_add(other.plus.wrapping_mul(scale as i64));
        match (self.name, other.name) {
            (name, 0) => Self { name, plus },
            (0, name) if scale == 1 => Self { name, plus },
            (a, b) => Self { name: mix(&[a, b, scale]), plus },
        }
    }
}

/// One name out of several numbers (FNV-1a).
pub fn mix(parts: &[u64]) -> u64 {
    let bytes = parts.iter().flat_map(|p| p.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)) | 1
}

/// Bytes that a check has let through, from an address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    pub span: i64,
    pub write: bool,
}

/// Whether an entry is looked up at the skewed index: a page's entries by the two indices are not one.
pub type Skewed = bool;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Number(Sum),
    /// An address rotated right by [`crate::layout::SKEW_ROTATE`].
    Rotated(Sum),
    /// Low half of an address mixed with its rotation; the bits from 10 on of that, or of the address; the index of a TLB entry where it may be, times 4.
    Low(Sum),
    Shifted(Sum, Skewed),
    Index(Sum, Skewed),
    /// The tag of the address's TLB entry: table ([`super::follow::table`]), and whether it is that for writing.
    Tag {
        of: Sum,
        mode: usize,
        write: bool,
    },
    /// Address + tag, and what is known of it once it was compared; `plus` was added since.
    Offset {
        of: Sum,
        plus: i64,
        mode: usize,
        write: bool,
        reach: Option<Reach>,
    },
    /// Host address of the page of an address.
    Page {
        of: Sum,
        mode: usize,
    },
    /// Host minus guest address, good from an address on.
    Delta {
        of: Sum,
        reach: Reach,
    },
    /// A host address, so many bytes from where the check began.
    Host {
        plus: i64,
        reach: Reach,
    },
    /// The processor's `Registers`.
    Registers,
    /// An index of the jump tables; a tag out of them; that plus an address: 0 if it is the entry's.
    JumpIndex,
    JumpTag(i64),
    JumpSum(i64),
    /// Not above this.
    AtMost(u64),
}

/// Slots at RSP whose values are followed: parked registers, then temporaries.
pub const SLOTS: usize = 8;

/// Which slot lies at this offset from RSP.
pub fn slot(offset: i64) -> Option<usize> {
    let parked = offset - offset_of!(Hot, parked) as i64;
    let temp = offset - offset_of!(Hot, temp) as i64;
    let whole = |at: i64| (0..32).contains(&at) && at % 8 == 0;
    match (whole(parked), whole(temp)) {
        (true, _) => Some(parked as usize / 8),
        (_, true) => Some(4 + temp as usize / 8),
        _ => None,
    }
}

/// Which group's difference lies at this offset from RSP.
pub fn delta(offset: i64) -> Option<usize> {
    let at = offset - offset_of!(Hot, deltas) as i64;
    ((0..8 * GROUPS as i64).contains(&at) && at % 8 == 0).then_some(at as usize / 8)
}

/// Everything that is known before one host instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbstractState {
    pub registers: [Value; 16],
    pub slots: [Value; SLOTS],
    pub deltas: [Option<Value>; GROUPS],
    /// What [`Hot::site`] holds.
    pub site: Option<u32>,
    /// R14 was compared with this, and the flags are still that comparison's.
    pub compared: Option<i64>,
    /// A jump table's entry is known to be the address's.
    pub hit: Option<i64>,
}

const R14: usize = 14;
const RCX: usize = 1;

impl AbstractState {
    /// At a block's start.
    pub fn new() -> Self {
        let fresh = |n: usize| Value::Number(Sum { name: mix(&[n as u64]), plus: 0 });
        Self {
            registers: core::array::from_fn(fresh),
            slots: core::array::from_fn(|n| fresh(16 + n)),
            deltas: [None; GROUPS],
            site: None,
            compared: None,
            hit: None,
        }
    }

    /// A routine may have changed the guest's registers, and the TLB.
    pub fn forget(&mut self, at: usize) {
        let fresh = |n: usize| Value::Number(Sum { name: mix(&[at as u64, 77, n as u64]), plus: 0 });
        self.registers = core::array::from_fn(fresh);
        self.slots = core::array::from_fn(|n| fresh(16 + n));
        self.deltas = [None; GROUPS];
        (self.site, self.compared, self.hit) = (None, None, None);
    }

    /// The TLB may have other pages: nothing is known but numbers.
    pub fn forget_entries(&mut self, at: usize) {
        let fresh = |n: usize| Value::Number(Sum { name: mix(&[at as u64, 66, n as u64]), plus: 0 });
        for (n, value) in self.registers.iter_mut().chain(&mut self.slots).enumerate() {
            if !matches!(value, Value::Number(_)) {
                *value = fresh(n);
            }
        }
    }

    /// What holds on both ways to the instruction at `at`.
    pub fn join(&self, other: &Self, at: usize) -> Self {
        let mut out = self.clone();
        let fresh = |n: usize| Sum { name: mix(&[at as u64, 99, n as u64]), plus: 0 };
        // What was named here before may be another number by now.
        let named_here =
            |value: Value| matches!(value, Value::Number(sum) if (0..16).any(|n| fresh(n).name == sum.name));
        for n in 0..16 {
            if self.registers[n] != other.registers[n] || named_here(self.registers[n]) {
                let (first, by) = self.apart(other, n).unwrap_or((n, 0));
                out.registers[n] = Value::Number(fresh(first).moved(by));
            }
        }
        if let Some((offset, page)) = self.checked(other, at) {
            (out.registers[R14], out.registers[RCX]) = (offset, page);
        }
        for n in 0..SLOTS {
            if self.slots[n] != other.slots[n] {
                out.slots[n] = Value::Number(fresh(16 + n));
            }
        }
        for n in 0..GROUPS {
            out.deltas[n] = self.deltas[n].filter(|_| self.deltas[n] == other.deltas[n]);
        }
        out.site = self.site.filter(|_| self.site == other.site);
        out.compared = self.compared.filter(|_| self.compared == other.compared);
        out.hit = self.hit.filter(|_| self.hit == other.hit);
        out
    }

    /// The first register from which this one is as far on both ways, and how far: an instruction that is there twice, behind a check
    /// and behind a thunk, gives its result two names, and an address may have been made of that.
    fn apart(&self, other: &Self, n: usize) -> Option<(usize, i64)> {
        let distance = |state: &Self, m: usize| match (state.registers[n], state.registers[m]) {
            (Value::Number(of), Value::Number(from)) if of.name == from.name => {
                Some(of.plus.wrapping_sub(from.plus))
            }
            _ => None,
        };
        let same = |m: &usize| distance(self, *m).is_some() && distance(self, *m) == distance(other, *m);
        let first = (0..n).find(same)?;
        Some((first, distance(self, first)?))
    }

    /// Two ways that each leave a checked pair in R14 and RCX (by the TLB, and by the thunk) leave one.
    fn checked(&self, other: &Self, at: usize) -> Option<(Value, Value)> {
        let pair = |s: &Self| match (s.registers[R14], s.registers[RCX]) {
            (
                Value::Offset { of, plus: 0, mode, reach: Some(reach), .. },
                Value::Page { of: page, mode: m },
            ) if of == page && mode == m => Some((of, mode, reach)),
            _ => None,
        };
        let ((a, mode, first), (b, other_mode, second)) = (pair(self)?, pair(other)?);
        // The thunk for what segmentation has to look at knows no mode.
        let of = if (a, mode) == (b, other_mode) { a } else { Sum { name: mix(&[at as u64, 55]), plus: 0 } };
        let reach = Reach { span: first.span.min(second.span), write: first.write && second.write };
        let offset = Value::Offset { of, plus: 0, mode, write: reach.write, reach: Some(reach) };
        Some((offset, Value::Page { of, mode }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: usize = 7;

    fn with(first: Sum, second: Sum) -> AbstractState {
        let mut state = AbstractState::new();
        (state.registers[0], state.registers[1]) = (Value::Number(first), Value::Number(second));
        state
    }

    /// How far register 1 is from register 0.
    fn apart(state: &AbstractState) -> Option<i64> {
        match (state.registers[0], state.registers[1]) {
            (Value::Number(a), Value::Number(b)) if a.name == b.name => Some(b.plus - a.plus),
            _ => None,
        }
    }

    fn joined() -> AbstractState {
        let [one, other] = [3, 5].map(|name| Sum { name, plus: 0 });
        with(one, one.moved(8)).join(&with(other, other.moved(8)), AT)
    }

    #[test]
    fn registers_that_are_as_far_apart_on_both_ways_are_so_behind_them() {
        assert_eq!(apart(&joined()), Some(8));
    }

    #[test]
    fn a_register_that_stays_while_the_other_moves_is_not_as_far_as_before() {
        let before = joined();
        let Value::Number(first) = before.registers[0] else { panic!("no number") };
        let moved = with(first.moved(8), first.moved(8));
        assert_eq!(apart(&before.join(&moved, AT)), None);
    }

    #[test]
    fn who_comes_again_with_nothing_new_changes_nothing() {
        let before = joined();
        assert_eq!(before.join(&before, AT), before);
    }
}
