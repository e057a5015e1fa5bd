//! Local APIC: register offsets and bits (APM vol. 2, chapter 16; SDM vol. 3, chapter 11).

/// Offsets in the xAPIC page. In x2APIC mode the MSR is 800h plus the offset over 16.
pub mod offset {
    pub const ID: u32 = 0x20;
    pub const VERSION: u32 = 0x30;
    pub const TPR: u32 = 0x80;
    pub const APR: u32 = 0x90;
    pub const PPR: u32 = 0xa0;
    pub const EOI: u32 = 0xb0;
    pub const RRD: u32 = 0xc0;
    pub const LDR: u32 = 0xd0;
    pub const DFR: u32 = 0xe0;
    pub const SVR: u32 = 0xf0;
    pub const ISR: u32 = 0x100;
    pub const TMR: u32 = 0x180;
    pub const IRR: u32 = 0x200;
    pub const ESR: u32 = 0x280;
    pub const ICR: u32 = 0x300;
    pub const ICR_HIGH: u32 = 0x310;
    pub const LVT_TIMER: u32 = 0x320;
    pub const LVT_THERMAL: u32 = 0x330;
    pub const LVT_PERFORMANCE: u32 = 0x340;
    pub const LVT_LINT0: u32 = 0x350;
    pub const LVT_LINT1: u32 = 0x360;
    pub const LVT_ERROR: u32 = 0x370;
    pub const INITIAL_COUNT: u32 = 0x380;
    pub const CURRENT_COUNT: u32 = 0x390;
    pub const DIVIDE: u32 = 0x3e0;
    /// x2APIC only.
    pub const SELF_IPI: u32 = 0x3f0;
}

/// IA32_APIC_BASE.
pub mod base {
    pub const DEFAULT: u64 = 0xfee0_0000;
    pub const BSP: u64 = 1 << 8;
    pub const EXTD: u64 = 1 << 10;
    pub const EN: u64 = 1 << 11;
    pub const ADDRESS: u64 = crate::paging::PHYSICAL_MASK & !0xfff;
}

/// Local vector table entries.
pub mod lvt {
    pub const VECTOR: u32 = 0xff;
    pub const MODE: u32 = 7 << 8;
    pub const MODE_EXTINT: u32 = 7 << 8;
    pub const MASKED: u32 = 1 << 16;
    /// Timer mode, bits 18:17.
    pub const TIMER_MODE: u32 = 3 << 17;
    pub const PERIODIC: u32 = 1 << 17;
    pub const TSC_DEADLINE: u32 = 2 << 17;
}

/// Error status register.
pub mod esr {
    pub const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// Spurious-interrupt vector register: software enable.
pub const SVR_ENABLE: u32 = 1 << 8;
/// Version 14h, six LVT entries.
pub const VERSION: u32 = 0x0005_0014;
