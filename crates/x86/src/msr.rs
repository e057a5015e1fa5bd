//! MSR numbers (APM vol. 2, appendix A; SDM vol. 4).

pub const TSC: u32 = 0x10;
pub const APIC_BASE: u32 = 0x1b;
/// PerfEvtSel0-3, and PerfCtr0-3 behind them (APM vol. 2, 13.2).
pub const PERF_EVENT_FIRST: u32 = 0xc001_0000;
pub const PERF_CTR_FIRST: u32 = 0xc001_0004;
pub const PERF_CTR_LAST: u32 = 0xc001_0007;
/// The six counters of PERFCTR_CORE: control and count in turn; the first four are the ones above (APM vol. 2, 13.2.1).
pub const PERF_CORE_FIRST: u32 = 0xc001_0200;
pub const PERF_CORE_LAST: u32 = 0xc001_020b;
/// Speculation control and prediction command (APM vol. 2, 3.2.9).
pub const SPEC_CTRL: u32 = 0x48;
pub const PRED_CMD: u32 = 0x49;
/// Supervisor components of XSAVES.
pub const XSS: u32 = 0xda0;
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
pub const SMM_BASE: u32 = 0xc001_0111;
pub const SMM_ADDR: u32 = 0xc001_0112;
pub const SMM_MASK: u32 = 0xc001_0113;
pub const VM_CR: u32 = 0xc001_0114;
pub const VM_HSAVE_PA: u32 = 0xc001_0117;

pub const TSC_ADJUST: u32 = 0x3b;
/// Microcode revision.
pub const PATCH_LEVEL: u32 = 0x8b;
pub const MTRR_CAP: u32 = 0xfe;
pub const MCG_CAP: u32 = 0x179;
pub const MCG_STATUS: u32 = 0x17a;
pub const DEBUGCTL: u32 = 0x1d9;
/// Last branch from, to, last interrupt from, to.
pub const LBR_FIRST: u32 = 0x1db;
pub const LBR_LAST: u32 = 0x1de;
/// Base and mask of eight pairs, in turn.
pub const MTRR_VARIABLE_FIRST: u32 = 0x200;
pub const MTRR_VARIABLE_LAST: u32 = 0x20f;
/// 64 KiB ranges; then two of 16 KiB, then eight of 4 KiB.
pub const MTRR_FIXED_64K: u32 = 0x250;
pub const MTRR_FIXED_16K_FIRST: u32 = 0x258;
pub const MTRR_FIXED_16K_LAST: u32 = 0x259;
pub const MTRR_FIXED_4K_FIRST: u32 = 0x268;
pub const MTRR_FIXED_4K_LAST: u32 = 0x26f;
pub const MTRR_DEF_TYPE: u32 = 0x2ff;
pub const SYSCFG: u32 = 0xc001_0010;
pub const HWCR: u32 = 0xc001_0015;
pub const TOP_MEM: u32 = 0xc001_001a;
pub const TOP_MEM2: u32 = 0xc001_001d;
pub const NB_CFG: u32 = 0xc001_001f;
pub const INT_PENDING: u32 = 0xc001_0055;
pub const OSVW_FIRST: u32 = 0xc001_0140;
pub const OSVW_LAST: u32 = 0xc001_0141;
/// Load-store, instruction-cache, data-cache and table-walk configuration.
/// P-states (APM vol. 2, 17.1): the limit, the one that is asked for, the one that it is in, and the first one's definition.
pub const PSTATE_LIMIT: u32 = 0xc001_0061;
pub const PSTATE_CONTROL: u32 = 0xc001_0062;
pub const PSTATE_STATUS: u32 = 0xc001_0063;
pub const PSTATE_0: u32 = 0xc001_0064;
/// What CPUID's leaves 7, 6, 1 and 8000_0001h show of features (processor programming references, MSRC001_1002 to 1005).
pub const CPUID_7: u32 = 0xc001_1002;
pub const CPUID_EXTENDED: u32 = 0xc001_1005;
pub const LS_CFG: u32 = 0xc001_1020;
pub const TW_CFG: u32 = 0xc001_1023;
pub const DE_CFG: u32 = 0xc001_1029;
pub const BU_CFG2: u32 = 0xc001_102a;

/// HWCR.SmmLock: the registers of system-management mode stay as they are.
pub const HWCR_SMM_LOCK: u64 = 1 << 0;
/// HWCR.MonMwaitDis and MonMwaitUserEn: there is no MONITOR and MWAIT; programs may use them.
pub const HWCR_MONITOR_OFF: u64 = 1 << 9;
pub const HWCR_MONITOR_USER: u64 = 1 << 10;
/// HWCR.TscFreqSel: the TSC counts at the P0 frequency.
pub const HWCR_TSC_FREQ_SEL: u64 = 1 << 24;
/// SYSCFG.MtrrFixDramModEn: RdMem and WrMem of the fixed MTRRs can be seen and changed.
pub const SYSCFG_FIX_DRAM_MOD: u64 = 1 << 19;
/// MtrrFixDramEn, MtrrFixDramModEn, MtrrVarDramEn, MtrrTom2En, Tom2ForceMemTypeWB.
pub const SYSCFG_BITS: u64 = 0x1f << 18;
/// MTRR_DEF_TYPE: fixed ranges on, all on.
pub const MTRR_FIXED_ENABLE: u64 = 1 << 10;
pub const MTRR_ENABLE: u64 = 1 << 11;
/// The last of AMD-V's own MSRs that begin with [`VM_CR`] (APM vol. 2, 15.31).
pub const SVM_KEY: u32 = 0xc001_0118;
