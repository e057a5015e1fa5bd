//! Memory-type range registers (APM vol. 2, 7.7). They are kept and given back; they decide nothing, since all guest
//! memory is write-back in the host and devices are never cached.

use ireko_x86::msr;
use ireko_x86::paging::PHYSICAL_MASK;

const WRITE_BACK: u64 = 6;
/// RdMem and WrMem of the eight ranges of a fixed register.
const DRAM_BITS: u64 = 0x1818_1818_1818_1818;
/// Eight variable ranges, fixed ranges, write-combining.
pub const CAP: u64 = 0x508;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mtrrs {
    pub(super) def_type: u64,
    pub(super) fixed: [u64; 11],
    pub(super) variable: [u64; 16],
}

impl Default for Mtrrs {
    /// As firmware leaves them, because kernels are started without: all memory write-back, the VGA window uncached.
    fn default() -> Self {
        let memory = WRITE_BACK * 0x0101_0101_0101_0101;
        let mut fixed = [memory; 11];
        fixed[2] = 0;
        Self { def_type: msr::MTRR_ENABLE | msr::MTRR_FIXED_ENABLE | WRITE_BACK, fixed, variable: [0; 16] }
    }
}

/// Memory types that an MTRR can have: UC, WC, WT, WP, WB.
fn valid_type(kind: u64) -> bool {
    matches!(kind, 0 | 1 | 4 | 5 | 6)
}

/// Index among the fixed registers.
fn fixed(number: u32) -> Option<usize> {
    let n = match number {
        msr::MTRR_FIXED_64K => 0,
        msr::MTRR_FIXED_16K_FIRST..=msr::MTRR_FIXED_16K_LAST => number - msr::MTRR_FIXED_16K_FIRST + 1,
        msr::MTRR_FIXED_4K_FIRST..=msr::MTRR_FIXED_4K_LAST => number - msr::MTRR_FIXED_4K_FIRST + 3,
        _ => return None,
    };
    Some(n as usize)
}

fn variable(number: u32) -> Option<usize> {
    let there = (msr::MTRR_VARIABLE_FIRST..=msr::MTRR_VARIABLE_LAST).contains(&number);
    there.then(|| (number - msr::MTRR_VARIABLE_FIRST) as usize)
}

impl Mtrrs {
    pub fn read(&self, number: u32, syscfg: u64) -> Option<u64> {
        if number == msr::MTRR_DEF_TYPE {
            return Some(self.def_type);
        }
        if let Some(n) = variable(number) {
            return Some(self.variable[n]);
        }
        let hidden = if syscfg & msr::SYSCFG_FIX_DRAM_MOD != 0 { 0 } else { DRAM_BITS };
        fixed(number).map(|n| self.fixed[n] & !hidden)
    }

    /// `None` is #GP: an unknown memory type or a reserved bit.
    pub fn write(&mut self, number: u32, value: u64, syscfg: u64) -> Option<()> {
        if number == msr::MTRR_DEF_TYPE {
            let known = msr::MTRR_ENABLE | msr::MTRR_FIXED_ENABLE | 0xff;
            self.def_type = (value & !known == 0 && valid_type(value & 0xff)).then_some(value)?;
        } else if let Some(n) = variable(number) {
            self.variable[n] = valid_variable(n, value).then_some(value)?;
        } else {
            let n = fixed(number)?;
            let dram = if syscfg & msr::SYSCFG_FIX_DRAM_MOD != 0 { DRAM_BITS } else { 0 };
            let types = value & !dram;
            if !types.to_le_bytes().iter().all(|kind| valid_type((*kind).into())) {
                return None;
            }
            self.fixed[n] = types | if dram != 0 { value & dram } else { self.fixed[n] & DRAM_BITS };
        }
        Some(())
    }
}

/// A base has an address and a type, a mask an address and the valid bit.
fn valid_variable(n: usize, value: u64) -> bool {
    let address = PHYSICAL_MASK & !0xfff;
    if n % 2 == 1 {
        value & !(address | 1 << 11) == 0
    } else {
        value & !(address | 0xff) == 0 && valid_type(value & 0xff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_write_back_but_for_the_vga_window() {
        let mtrrs = Mtrrs::default();
        let all = [0x250, 0x258, 0x259, 0x268, 0x2ff].map(|number| mtrrs.read(number, 0).unwrap());
        let wb = 0x0606_0606_0606_0606;
        assert_eq!(all, [wb, wb, 0, wb, 0xc06]);
    }

    #[test]
    fn unknown_types_and_reserved_bits_are_refused() {
        let mut mtrrs = Mtrrs::default();
        let refused = [(0x2ff, 2), (0x2ff, 1 << 9), (0x200, 3), (0x200, 1 << 50), (0x201, 1), (0x250, 7)];
        assert!(refused.iter().all(|&(number, value)| mtrrs.write(number, value, 0).is_none()));
    }

    #[test]
    fn a_written_range_reads_back() {
        let mut mtrrs = Mtrrs::default();
        mtrrs.write(0x20e, 0xc000_0000, 0).unwrap();
        mtrrs.write(0x20f, 0xff_c000_0800, 0).unwrap();
        assert_eq!([mtrrs.read(0x20e, 0), mtrrs.read(0x20f, 0)], [Some(0xc000_0000), Some(0xff_c000_0800)]);
    }

    #[test]
    fn dram_bits_show_only_when_syscfg_says_so() {
        let mut mtrrs = Mtrrs::default();
        mtrrs.write(0x250, 0x1e1e_1e1e_1e1e_1e1e, msr::SYSCFG_FIX_DRAM_MOD).unwrap();
        assert_eq!(mtrrs.read(0x250, 0), Some(0x0606_0606_0606_0606));
        assert_eq!(mtrrs.read(0x250, msr::SYSCFG_FIX_DRAM_MOD), Some(0x1e1e_1e1e_1e1e_1e1e));
        assert_eq!(mtrrs.write(0x250, 0x1e, 0), None);
    }
}
