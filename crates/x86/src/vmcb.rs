//! The virtual machine control block of AMD-V: field offsets (APM vol. 2, appendix B), exit codes (appendix C), and
//! the bits of its fields.

/// Bytes of a VMCB.
pub const SIZE: usize = 4096;
/// Bytes of the control area that are in use.
pub const CONTROL_SIZE: usize = 0xe0;
/// Offset of the state save area.
pub const SAVE: usize = 0x400;
/// Bytes of the state save area up to the last field that VMRUN, VMLOAD or #VMEXIT looks at.
pub const SAVE_SIZE: usize = 0x298;

/// Control area (table B-1).
pub mod control {
    /// Reads of CR0..15 in bits 15:0, writes in bits 31:16.
    pub const CR_INTERCEPTS: usize = 0x000;
    /// The same for DR0..15.
    pub const DR_INTERCEPTS: usize = 0x004;
    pub const EXCEPTION_INTERCEPTS: usize = 0x008;
    pub const INTERCEPTS_3: usize = 0x00c;
    /// VMRUN and its kin; bits 31:16 are traps after writes of CR0..15.
    pub const INTERCEPTS_4: usize = 0x010;
    pub const INTERCEPTS_5: usize = 0x014;
    pub const PAUSE_THRESHOLD: usize = 0x03c;
    pub const PAUSE_COUNT: usize = 0x03e;
    pub const IOPM_BASE: usize = 0x040;
    pub const MSRPM_BASE: usize = 0x048;
    pub const TSC_OFFSET: usize = 0x050;
    pub const ASID: usize = 0x058;
    pub const TLB_CONTROL: usize = 0x05c;
    /// V_TPR and what follows it, 64 bits: see [`super::virtual_interrupt`].
    pub const VIRTUAL_INTERRUPT: usize = 0x060;
    pub const INTERRUPT_SHADOW: usize = 0x068;
    pub const EXITCODE: usize = 0x070;
    pub const EXITINFO1: usize = 0x078;
    pub const EXITINFO2: usize = 0x080;
    pub const EXITINTINFO: usize = 0x088;
    /// NP_ENABLE in bit 0.
    pub const NESTED: usize = 0x090;
    pub const EVENTINJ: usize = 0x0a8;
    pub const N_CR3: usize = 0x0b0;
    /// LBR virtualization in bit 0, virtual VMLOAD and VMSAVE in bit 1.
    pub const LBR: usize = 0x0b8;
    pub const CLEAN: usize = 0x0c0;
    pub const NRIP: usize = 0x0c8;
    pub const BYTES_FETCHED: usize = 0x0d0;
    pub const BYTES: usize = 0x0d1;
}

/// State save area (table B-2), as offsets from the start of the VMCB. A segment is selector (16 bits), attributes
/// (16), limit (32) and base (64).
pub mod save {
    pub const ES: usize = 0x400;
    pub const CS: usize = 0x410;
    pub const SS: usize = 0x420;
    pub const DS: usize = 0x430;
    pub const FS: usize = 0x440;
    pub const GS: usize = 0x450;
    pub const GDTR: usize = 0x460;
    pub const LDTR: usize = 0x470;
    pub const IDTR: usize = 0x480;
    pub const TR: usize = 0x490;
    pub const CPL: usize = 0x4cb;
    pub const EFER: usize = 0x4d0;
    pub const CR4: usize = 0x548;
    pub const CR3: usize = 0x550;
    pub const CR0: usize = 0x558;
    pub const DR7: usize = 0x560;
    pub const DR6: usize = 0x568;
    pub const RFLAGS: usize = 0x570;
    pub const RIP: usize = 0x578;
    pub const RSP: usize = 0x5d8;
    pub const RAX: usize = 0x5f8;
    pub const STAR: usize = 0x600;
    pub const LSTAR: usize = 0x608;
    pub const CSTAR: usize = 0x610;
    pub const SFMASK: usize = 0x618;
    pub const KERNEL_GS_BASE: usize = 0x620;
    pub const SYSENTER_CS: usize = 0x628;
    pub const SYSENTER_ESP: usize = 0x630;
    pub const SYSENTER_EIP: usize = 0x638;
    pub const CR2: usize = 0x640;
    pub const G_PAT: usize = 0x668;
    pub const DBGCTL: usize = 0x670;
    /// Last branch from and to, last exception from and to.
    pub const LBR: usize = 0x678;
}

/// Fields of the 64 bits at offset 060h (15.21).
pub mod virtual_interrupt {
    pub const V_TPR: u64 = 0xff;
    pub const V_IRQ: u64 = 1 << 8;
    pub const VGIF: u64 = 1 << 9;
    pub const V_INTR_PRIO_SHIFT: u32 = 16;
    pub const V_IGN_TPR: u64 = 1 << 20;
    pub const V_INTR_MASKING: u64 = 1 << 24;
    pub const VGIF_ENABLE: u64 = 1 << 25;
    pub const V_INTR_VECTOR_SHIFT: u32 = 32;
}

/// EVENTINJ and EXITINTINFO (15.7.2 and 15.20): vector in bits 7:0, type in bits 10:8, error code in bits 63:32.
pub mod event {
    pub const TYPE_SHIFT: u32 = 8;
    pub const TYPE_INTR: u64 = 0;
    pub const TYPE_NMI: u64 = 2;
    pub const TYPE_EXCEPTION: u64 = 3;
    pub const TYPE_SOFTWARE: u64 = 4;
    pub const ERROR_VALID: u64 = 1 << 11;
    pub const VALID: u64 = 1 << 31;
    pub const ERROR_SHIFT: u32 = 32;
}

/// TLB_CONTROL (15.16.1).
pub mod tlb_control {
    pub const NOTHING: u8 = 0;
    pub const FLUSH_ALL: u8 = 1;
    pub const FLUSH_ASID: u8 = 3;
    pub const FLUSH_ASID_LOCAL: u8 = 7;
}

/// EXITINFO1 of I/O intercepts (15.10.2).
pub mod io {
    pub const IN: u64 = 1 << 0;
    pub const STRING: u64 = 1 << 2;
    pub const REP: u64 = 1 << 3;
    /// One-byte access; two and four bytes are the next bits.
    pub const SIZE_8: u64 = 1 << 4;
    /// 16-bit addresses; 32 and 64 bits are the next bits.
    pub const ADDRESS_16: u64 = 1 << 7;
    pub const SEGMENT_SHIFT: u32 = 10;
    pub const PORT_SHIFT: u32 = 16;
}

/// EXITINFO1 of #VMEXIT(NPF): the page-fault error code in the low half, and where in the walk it was
/// (15.25.6).
pub mod npf {
    /// While translating the guest's final physical address.
    pub const FINAL: u64 = 1 << 32;
    /// While translating the address of one of the guest's page tables.
    pub const TABLE: u64 = 1 << 33;
}

/// EXITINFO2 of task switches (15.14.1).
pub mod task_switch {
    pub const IRET: u64 = 1 << 36;
    pub const JUMP: u64 = 1 << 38;
    pub const ERROR_VALID: u64 = 1 << 44;
    pub const RF: u64 = 1 << 48;
}

/// EXITINFO1 of CR intercepts with decode assists (15.8.1): set for MOV, clear for CLTS, LMSW and SMSW.
pub const CR_VALID: u64 = 1 << 63;

/// Exit codes (appendix C).
pub mod exitcode {
    pub const CR_READ: u64 = 0x00;
    pub const CR_WRITE: u64 = 0x10;
    pub const DR_READ: u64 = 0x20;
    pub const DR_WRITE: u64 = 0x30;
    pub const EXCEPTION: u64 = 0x40;
    pub const INTR: u64 = 0x60;
    pub const NMI: u64 = 0x61;
    pub const SMI: u64 = 0x62;
    pub const INIT: u64 = 0x63;
    pub const VINTR: u64 = 0x64;
    pub const CR0_SEL_WRITE: u64 = 0x65;
    pub const IDTR_READ: u64 = 0x66;
    pub const GDTR_READ: u64 = 0x67;
    pub const LDTR_READ: u64 = 0x68;
    pub const TR_READ: u64 = 0x69;
    pub const IDTR_WRITE: u64 = 0x6a;
    pub const GDTR_WRITE: u64 = 0x6b;
    pub const LDTR_WRITE: u64 = 0x6c;
    pub const TR_WRITE: u64 = 0x6d;
    pub const RDTSC: u64 = 0x6e;
    pub const RDPMC: u64 = 0x6f;
    pub const PUSHF: u64 = 0x70;
    pub const POPF: u64 = 0x71;
    pub const CPUID: u64 = 0x72;
    pub const RSM: u64 = 0x73;
    pub const IRET: u64 = 0x74;
    pub const SWINT: u64 = 0x75;
    pub const INVD: u64 = 0x76;
    pub const PAUSE: u64 = 0x77;
    pub const HLT: u64 = 0x78;
    pub const INVLPG: u64 = 0x79;
    pub const INVLPGA: u64 = 0x7a;
    pub const IOIO: u64 = 0x7b;
    pub const MSR: u64 = 0x7c;
    pub const TASK_SWITCH: u64 = 0x7d;
    pub const FERR_FREEZE: u64 = 0x7e;
    pub const SHUTDOWN: u64 = 0x7f;
    pub const VMRUN: u64 = 0x80;
    pub const VMMCALL: u64 = 0x81;
    pub const VMLOAD: u64 = 0x82;
    pub const VMSAVE: u64 = 0x83;
    pub const STGI: u64 = 0x84;
    pub const CLGI: u64 = 0x85;
    pub const SKINIT: u64 = 0x86;
    pub const RDTSCP: u64 = 0x87;
    pub const ICEBP: u64 = 0x88;
    pub const WBINVD: u64 = 0x89;
    pub const MONITOR: u64 = 0x8a;
    pub const MWAIT: u64 = 0x8b;
    pub const MWAIT_CONDITIONAL: u64 = 0x8c;
    pub const XSETBV: u64 = 0x8d;
    pub const RDPRU: u64 = 0x8e;
    pub const EFER_WRITE_TRAP: u64 = 0x8f;
    pub const CR_WRITE_TRAP: u64 = 0x90;
    pub const INVLPGB: u64 = 0xa0;
    pub const INVLPGB_ILLEGAL: u64 = 0xa1;
    pub const INVPCID: u64 = 0xa2;
    pub const MCOMMIT: u64 = 0xa3;
    pub const TLBSYNC: u64 = 0xa4;
    pub const NPF: u64 = 0x400;
    pub const INVALID: u64 = u64::MAX;

    /// The name of an exit code that has one of its own, without its VMEXIT_ (appendix C).
    pub const fn plain_name(code: u64) -> Option<&'static str> {
        Some(match code {
            INTR..CR_WRITE_TRAP => NAMES[(code - INTR) as usize],
            INVLPGB..=TLBSYNC => INVLPGB_NAMES[(code - INVLPGB) as usize],
            NPF => "NPF",
            INVALID => "INVALID",
            _ => return None,
        })
    }

    /// Names of exit codes 60h to 8Fh.
    const NAMES: [&str; 48] = [
        "INTR",
        "NMI",
        "SMI",
        "INIT",
        "VINTR",
        "CR0_SEL_WRITE",
        "IDTR_READ",
        "GDTR_READ",
        "LDTR_READ",
        "TR_READ",
        "IDTR_WRITE",
        "GDTR_WRITE",
        "LDTR_WRITE",
        "TR_WRITE",
        "RDTSC",
        "RDPMC",
        "PUSHF",
        "POPF",
        "CPUID",
        "RSM",
        "IRET",
        "SWINT",
        "INVD",
        "PAUSE",
        "HLT",
        "INVLPG",
        "INVLPGA",
        "IOIO",
        "MSR",
        "TASK_SWITCH",
        "FERR_FREEZE",
        "SHUTDOWN",
        "VMRUN",
        "VMMCALL",
        "VMLOAD",
        "VMSAVE",
        "STGI",
        "CLGI",
        "SKINIT",
        "RDTSCP",
        "ICEBP",
        "WBINVD",
        "MONITOR",
        "MWAIT",
        "MWAIT_CONDITIONAL",
        "XSETBV",
        "RDPRU",
        "EFER_WRITE_TRAP",
    ];
    const INVLPGB_NAMES: [&str; 5] = ["INVLPGB", "INVLPGB_ILLEGAL", "INVPCID", "MCOMMIT", "TLBSYNC"];
}

/// Feature bits of CPUID Fn8000_000A EDX (APM vol. 3, E.4.9).
pub mod feature {
    pub const NP: u32 = 1 << 0;
    pub const LBR_VIRT: u32 = 1 << 1;
    pub const SVML: u32 = 1 << 2;
    pub const NRIPS: u32 = 1 << 3;
    pub const TSC_RATE_MSR: u32 = 1 << 4;
    pub const VMCB_CLEAN: u32 = 1 << 5;
    pub const FLUSH_BY_ASID: u32 = 1 << 6;
    pub const DECODE_ASSISTS: u32 = 1 << 7;
    pub const PAUSE_FILTER: u32 = 1 << 10;
    pub const PAUSE_FILTER_THRESHOLD: u32 = 1 << 12;
    pub const VIRTUAL_VMLOAD_VMSAVE: u32 = 1 << 15;
    pub const VGIF: u32 = 1 << 16;
}

/// The VM_CR MSR (15.30.1).
pub mod vm_cr {
    pub const DPD: u64 = 1 << 0;
    pub const R_INIT: u64 = 1 << 1;
    pub const DIS_A20M: u64 = 1 << 2;
    pub const LOCK: u64 = 1 << 3;
    pub const SVMDIS: u64 = 1 << 4;
    /// All defined bits.
    pub const DEFINED: u64 = 0x1f;
}

/// SVM_KEY MSR: write-only, unlocks VM_CR (15.31).
pub const MSR_SVM_KEY: u32 = 0xc001_0118;
/// Bits of the TSC_RATIO MSR that must be zero (15.30.5).
pub const TSC_RATIO_RESERVED: u64 = 0xffff_ff00_0000_0000;
/// TSC_RATIO of one.
pub const TSC_RATIO_ONE: u64 = 1 << 32;
