//! What besides its bytes and address a block of code depends on.

use crate::layout::{LAST_SLOT, USER_SLOT};

/// Mode bits under which code was translated. Two runs with equal keys may share code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Key(pub u32);

impl Key {
    pub const CODE32: u32 = 1 << 0;
    pub const CODE64: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    /// Two bits: the TLB table.
    pub const MMU_SHIFT: u32 = 3;
    pub const STACK32: u32 = 1 << 5;
    pub const BACKWARD: u32 = 1 << 6;
    /// CR0.TS, CR0.EM, CR0.MP.
    pub const TASK_SWITCHED: u32 = 1 << 7;
    pub const EMULATE: u32 = 1 << 8;
    pub const MONITOR: u32 = 1 << 9;
    /// CR4.OSFXSR; CR4.OSXSAVE with XCR0.AVX.
    pub const SSE: u32 = 1 << 10;
    pub const AVX: u32 = 1 << 11;
    /// One bit a segment: all of the 4 GiB (in 16-bit code: the first 64 KiB) may be read and written (data) or read (code).
    pub const FLAT_SHIFT: u32 = 12;
    /// In 64-bit mode, in place of the first of those: direct jumps of CPL 0 to other pages are links, too.
    pub const FAR: u32 = 1 << 12;
    /// In 64-bit mode, too: the processor's own world, where nothing is intercepted; CR4.FSGSBASE.
    pub const OWN: u32 = 1 << 13;
    pub const BASES: u32 = 1 << 14;
    /// In 64-bit mode, too: code is translated as if its page were at 0, for wherever programs have it.
    pub const RELATIVE: u32 = 1 << 16;
    /// CR4.OSXSAVE with XCR0's components of AVX-512 and all below: in 64-bit mode, and elsewhere in place of PUSHF_ROUTINE.
    /// See [`Key::evex`].
    pub const EVEX64: u32 = 1 << 15;
    pub const EVEX32: u32 = 1 << 28;
    /// One bit a segment: its base is 0.
    pub const ZERO_SHIFT: u32 = 18;
    /// One instruction, then leave.
    pub const SINGLE: u32 = 1 << 24;
    /// The plain path: every memory access by the slow routine, all flags kept.
    pub const PLAIN: u32 = 1 << 25;
    /// RDTSC goes by the routine (intercepted, CR4.TSD at CPL 3, or a TSC ratio).
    pub const RDTSC_ROUTINE: u32 = 1 << 26;

    /// CR4.SMAP.
    pub const SMAP: u32 = 1 << 27;
    /// PUSHF goes by the routine (intercepted), in 64-bit mode; elsewhere it does anyway.
    pub const PUSHF_ROUTINE: u32 = 1 << 28;
    /// CPL 0 (USER is CPL 3).
    pub const KERNEL: u32 = 1 << 29;

    /// No shared checks: for a block whose shared check failed.
    pub const UNGROUPED: u32 = 1 << 30;

    /// No system instruction is done in place.
    pub const ROUTINES: u32 = 1 << 31;

    /// The bits that are on.
    pub fn of(bits: &[(bool, u32)]) -> Self {
        Self(bits.iter().filter(|b| b.0).fold(0, |key, b| key | b.1))
    }

    /// The key after STAC or CLAC.
    pub const fn with_access_check(self, on: bool) -> Self {
        let mode = if on || !self.has(Self::SMAP) { 2 } else { 1 };
        Self(self.0 & !(3 << Self::MMU_SHIFT) | mode << Self::MMU_SHIFT)
    }

    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
    pub const fn bitness(self) -> u32 {
        if self.has(Self::CODE64) {
            64
        } else if self.has(Self::CODE32) {
            32
        } else {
            16
        }
    }
    /// AVX-512 is on.
    pub const fn evex(self) -> bool {
        self.has(if self.has(Self::CODE64) { Self::EVEX64 } else { Self::EVEX32 })
    }
    /// Which TLB table accesses use.
    pub const fn mmu(self) -> usize {
        (self.0 >> Self::MMU_SHIFT & 3) as usize
    }
    pub const fn flat(self, segment: usize) -> bool {
        self.0 >> (Self::FLAT_SHIFT + segment as u32) & 1 != 0
    }
    pub const fn zero_base(self, segment: usize) -> bool {
        self.0 >> (Self::ZERO_SHIFT + segment as u32) & 1 != 0
    }
    /// Which jump table: supervisor, supervisor reaching user pages, user, the rest.
    pub const fn slot(self) -> usize {
        if self.0 & (Self::SINGLE | Self::PLAIN | Self::BACKWARD) != 0 || !self.has(Self::CODE64) {
            return LAST_SLOT;
        }
        match (self.has(Self::USER), self.has(Self::KERNEL)) {
            (true, _) => USER_SLOT,
            (_, true) => self.mmu().saturating_sub(1),
            _ => LAST_SLOT,
        }
    }

    /// What the keys of all slots but the last have in common, but for RDTSC_ROUTINE.
    pub const fn family(self) -> u32 {
        let own = Self::USER | Self::KERNEL | 3 << Self::MMU_SHIFT | Self::RDTSC_ROUTINE;
        self.0 & !(own | if self.has(Self::CODE64) { Self::RELATIVE } else { 0 })
    }

    /// Whether code takes the address of its page from [`crate::Hot::page`].
    pub const fn relative(self) -> bool {
        self.has(Self::CODE64) && self.has(Self::RELATIVE)
    }
}
