//! Breakpoints on data and ports, which accesses meet (APM vol. 2, 13.1).

use crate::Cpu;
use ireko_x86::bits::cr4;

/// Breakpoint `n` is enabled, locally or globally, for instructions (R/W = 0).
pub fn for_instructions(dr7: u64, n: usize) -> bool {
    dr7 >> (2 * n) & 3 != 0 && dr7 >> (16 + 4 * n) & 3 == 0
}

/// What a breakpoint that is not for instructions watches (DR7.R/W).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Read,
    Write,
    Port,
}

/// Whether any breakpoint could match.
pub fn armed(cpu: &Cpu) -> bool {
    cpu.processor.regs.dr7 & 0xff != 0
}

/// Whether a breakpoint on data or ports could match: then no access may go unseen.
pub fn data_armed(cpu: &Cpu) -> bool {
    (0..4).any(|n| enabled(cpu.processor.regs.dr7, n) && !for_instructions(cpu.processor.regs.dr7, n))
}

pub fn enabled(dr7: u64, n: usize) -> bool {
    dr7 >> (2 * n) & 3 != 0
}

/// Notes the breakpoints that an access meets; they trap after the instruction (APM vol. 2, 13.1.1).
pub fn touch(cpu: &mut Cpu, address: u64, size: u64, touch: Touch) {
    for n in 0..4 {
        let dr7 = cpu.processor.regs.dr7;
        let wanted = match dr7 >> (16 + 4 * n) & 3 {
            1 => touch == Touch::Write,
            2 => touch == Touch::Port && cpu.processor.regs.cr4 & cr4::DE != 0,
            3 => touch != Touch::Port,
            _ => false,
        };
        let length = [1, 2, 8, 4][(dr7 >> (18 + 4 * n) & 3) as usize];
        let start = cpu.processor.regs.dr[n] & !(length - 1);
        let meets = address < start.saturating_add(length) && start < address.saturating_add(size);
        if enabled(dr7, n) && wanted && meets {
            cpu.processor.touched |= 1 << n;
        }
    }
}

impl Cpu {
    /// Tells the breakpoints of an access.
    #[inline]
    pub(crate) fn watch(&mut self, address: u64, size: usize, kind: Touch) {
        if armed(self) {
            touch(self, address, size as u64, kind);
        }
    }
}
