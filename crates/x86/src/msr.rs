//! MSR numbers (APM vol. 2, appendix A; SDM vol. 4).

pub const TSC: u32 = 0x10;
pub const APIC_BASE: u32 = 0x1b;
pub const SYSENTER_CS: u32 = 0x174;
pub const SYSENTER_ESP: u32 = 0x175;
pub const SYSENTER_EIP: u32 = 0x176;
pub const PAT: u32 = 0x277;
pub const TSC_DEADLINE: u32 = 0x6e0;
pub const X2APIC_FIRST: u32 = 0x800;
pub const X2APIC_LAST: u32 = 0x8ff;
pub const EFER: u32 = 0xc000_0080;
pub const STAR: u32 = 0xc000_0081;
pub const LSTAR: u32 = 0xc000_0082;
pub const CSTAR: u32 = 0xc000_0083;
pub const SFMASK: u32 = 0xc000_0084;
pub const FS_BASE: u32 = 0xc000_0100;
pub const GS_BASE: u32 = 0xc000_0101;
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
pub const TSC_AUX: u32 = 0xc000_0103;
pub const TSC_RATIO: u32 = 0xc000_0104;
pub const VM_CR: u32 = 0xc001_0114;
pub const VM_HSAVE_PA: u32 = 0xc001_0117;
