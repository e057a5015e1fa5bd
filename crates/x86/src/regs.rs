//! The register state of one logical processor, apart from x87 and vector registers.

/// Index of a general register, in encoding order.
pub mod gpr {
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
}

/// Index of a segment register, in encoding order.
pub mod seg {
    pub const ES: usize = 0;
    pub const CS: usize = 1;
    pub const SS: usize = 2;
    pub const DS: usize = 3;
    pub const FS: usize = 4;
    pub const GS: usize = 5;
}

/// A segment register with its hidden part. `limit` is in bytes, already scaled by G.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub base: u64,
    pub limit: u32,
    /// Access rights as the VMCB stores them (APM vol. 2, 15.5.1): bits 7:0 are descriptor bits 47:40
    /// (type, S, DPL, P), bits 11:8 are descriptor bits 55:52 (AVL, L, D/B, G).
    pub attr: u16,
    pub selector: u16,
}

impl Segment {
    /// Descriptor type, bits 3:0 of the access byte.
    pub const fn kind(&self) -> u8 {
        (self.attr & 0xf) as u8
    }
    /// Code or data (S = 1), not a system segment.
    pub const fn is_user(&self) -> bool {
        self.attr & 1 << 4 != 0
    }
    pub const fn dpl(&self) -> u8 {
        (self.attr >> 5 & 3) as u8
    }
    pub const fn present(&self) -> bool {
        self.attr & 1 << 7 != 0
    }
    /// 64-bit code segment.
    pub const fn long(&self) -> bool {
        self.attr & 1 << 9 != 0
    }
    /// Default operand size (code), or stack-pointer size (stack), is 32 bits.
    pub const fn big(&self) -> bool {
        self.attr & 1 << 10 != 0
    }
    pub const fn granular(&self) -> bool {
        self.attr & 1 << 11 != 0
    }
    pub const fn is_code(&self) -> bool {
        self.is_user() && self.attr & 8 != 0
    }
    /// Writable, for a data segment.
    pub const fn writable(&self) -> bool {
        self.attr & 2 != 0
    }
    /// Readable, for a code segment.
    pub const fn readable(&self) -> bool {
        self.attr & 2 != 0
    }
    /// Conforming, for a code segment.
    pub const fn conforming(&self) -> bool {
        self.attr & 4 != 0
    }
    /// Expand-down, for a data segment.
    pub const fn expand_down(&self) -> bool {
        self.attr & 4 != 0
    }
}

/// GDTR or IDTR.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub base: u64,
    pub limit: u16,
}

/// Everything of a logical processor that is not x87/SSE/AVX state, local APIC, MTRRs or virtualization state.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    /// ES CS SS DS FS GS.
    pub seg: [Segment; 6],
    pub ldtr: Segment,
    pub tr: Segment,
    pub gdtr: Table,
    pub idtr: Table,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub xcr0: u64,
    /// DR0..DR3.
    pub dr: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
    /// Current privilege level, kept apart from CS.RPL as the VMCB does.
    pub cpl: u8,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    /// Two bits a protection key: no access, no writing (APM vol. 2, 5.6.7).
    pub pkru: u32,
    pub debugctl: u64,
    /// Where the handler and the save area of system-management mode are, and the memory that is its alone.
    pub smbase: u64,
    pub smm_addr: u64,
    pub smm_mask: u64,
    /// Last branch from and to; the one before the last exception or interrupt, from and to.
    pub lbr: [u64; 4],
    /// PAE page-directory-pointer entries, loaded with CR3 in PAE mode (APM vol. 2, 5.2.3).
    pub pdpte: [u64; 4],
}

impl Registers {
    /// State after RESET (APM vol. 2, table 14-1).
    pub fn reset() -> Self {
        let data = Segment { base: 0, limit: 0xffff, attr: 0x93, selector: 0 };
        let mut regs = Self { seg: [data; 6], rip: 0xfff0, rflags: 2, cr0: 0x6000_0010, ..Self::default() };
        regs.seg[seg::CS] = Segment { base: 0xffff_0000, limit: 0xffff, attr: 0x9b, selector: 0xf000 };
        regs.ldtr = Segment { limit: 0xffff, attr: 0x82, ..Segment::default() };
        regs.tr = Segment { limit: 0xffff, attr: 0x8b, ..Segment::default() };
        regs.gdtr.limit = 0xffff;
        regs.idtr.limit = 0xffff;
        regs.xcr0 = 1;
        regs.dr6 = 0xffff_0ff0;
        regs.dr7 = 0x400;
        regs.pat = 0x0007_0406_0007_0406;
        regs.smbase = crate::smram::BASE;
        regs
    }

    /// INIT leaves these as they were, which RESET does not (SDM vol. 3, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT";
    /// APM vol. 2, table 14-1).
    pub fn keep_over_init(&mut self, before: &Self) {
        (self.xcr0, self.pat, self.pkru) = (before.xcr0, before.pat, before.pkru);
        (self.star, self.lstar, self.cstar, self.sfmask) =
            (before.star, before.lstar, before.cstar, before.sfmask);
        (self.kernel_gs_base, self.tsc_aux) = (before.kernel_gs_base, before.tsc_aux);
        (self.sysenter_cs, self.sysenter_esp, self.sysenter_eip) =
            (before.sysenter_cs, before.sysenter_esp, before.sysenter_eip);
        (self.smbase, self.smm_addr, self.smm_mask) = (before.smbase, before.smm_addr, before.smm_mask);
    }

    /// Where the instruction pointer is behind an instruction of `length` bytes at `start`: no 16 bits wrap it, the code segment's limit ends
    /// what goes on there.
    pub const fn behind(&self, start: u64, length: usize) -> u64 {
        self.in_mode(start.wrapping_add(length as u64))
    }

    /// Addresses of code and offsets of operands are of 32 bits outside of 64-bit mode, and wrap there.
    pub const fn in_mode(&self, address: u64) -> u64 {
        if self.code64() { address } else { address & 0xffff_ffff }
    }

    /// EFER.LMA.
    pub const fn long_mode(&self) -> bool {
        self.efer & crate::bits::efer::LMA != 0
    }
    /// Executing 64-bit code.
    pub const fn code64(&self) -> bool {
        self.long_mode() && self.seg[seg::CS].long()
    }
    /// Whether an address is canonical in 64-bit mode: all bits above those that paging translates are copies of the highest
    /// (APM vol. 2, 5.3.1).
    pub const fn canonical(&self, address: u64) -> bool {
        use crate::paging::{LINEAR_BITS, LINEAR_BITS_5, canonicalize};
        let five = self.cr4 & crate::bits::cr4::LA57 != 0;
        canonicalize(address, if five { LINEAR_BITS_5 } else { LINEAR_BITS }) == address
    }
    pub const fn protected(&self) -> bool {
        self.cr0 & crate::bits::cr0::PE != 0
    }
    pub const fn paging(&self) -> bool {
        self.cr0 & crate::bits::cr0::PG != 0
    }
    /// Virtual-8086 mode.
    pub const fn v86(&self) -> bool {
        self.rflags & crate::bits::rflags::VM != 0
    }
}
