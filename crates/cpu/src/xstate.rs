//! The layout of XSAVE areas: the host's, in which the processor's own state is, and the guest's (APM vol. 2, 11.5; SDM vol. 1,
//! chapter 13).

use crate::host;
use ireko_x86::Registers;
use ireko_x86::bits::cr4;
use ireko_x86::cpuid::EBX;
use std::ops::Range;
use std::sync::OnceLock;

/// Offsets in the XSAVE area (APM vol. 2, 11.5.3 and figure 11-8).
pub const MXCSR: usize = 24;
pub const ST: usize = 32;
pub const XMM: usize = 160;
pub const YMM: usize = 576;

/// State components, as bits of XCR0.
pub const X87: u64 = 1;
pub const SSE: u64 = 2;
pub const AVX: u64 = 4;
/// Mask registers; upper halves of ZMM0 to ZMM15; ZMM16 to ZMM31. XCR0 has all of them or none.
pub const OPMASK: u64 = 1 << 5;
pub const ZMM_HIGH: u64 = 1 << 6;
pub const HIGH_ZMM: u64 = 1 << 7;
pub const AVX512: u64 = OPMASK | ZMM_HIGH | HIGH_ZMM;
pub const PKRU: u64 = 1 << 9;
/// What the engine has.
pub const COMPONENTS: u64 = X87 | SSE | AVX | AVX512 | PKRU;

/// A component behind the header: its place in standard form, as AMD's processors have it, and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Extended {
    pub component: u64,
    pub standard: usize,
    pub size: usize,
}

const fn extended(component: u64, standard: usize, size: usize) -> Extended {
    Extended { component, standard, size }
}

/// In the order of their bits. None of them asks for an alignment in compacted form.
pub const EXTENDED: [Extended; 5] = [
    extended(AVX, YMM, 256),
    extended(OPMASK, 832, 64),
    extended(ZMM_HIGH, 896, 512),
    extended(HIGH_ZMM, 1408, 1024),
    extended(PKRU, PKRU_OFFSET, 8),
];
pub const PKRU_OFFSET: usize = 0x980;
/// Bytes of an area with all of them.
pub const TO_END: usize = PKRU_OFFSET + 8;

/// Where one component is in an area whose XCOMP_BV is `format`: at a place of its own in standard form; in compacted form they
/// lie one behind the other (APM vol. 2, 11.5.4).
pub fn place(component: u64, format: u64) -> usize {
    if format & COMPACTED == 0 {
        return EXTENDED.iter().find(|e| e.component == component).map_or(YMM, |e| e.standard);
    }
    let before = EXTENDED.iter().filter(|e| e.component < component && format & e.component != 0);
    YMM + before.map(|e| e.size).sum::<usize>()
}

/// Whose registers x87 and vector state is in.
pub struct Vectors {
    pub(crate) host_xcr0: u64,
    /// Components that are in the host's registers while translated code runs, as bits of XCR0.
    pub(crate) held: u64,
}

/// Bytes to the end of the last of the components, at least to that of the header.
pub fn size(components: u64, format: u64) -> usize {
    let there = EXTENDED.iter().filter(|e| components & e.component != 0);
    there.map(|e| place(e.component, format) + e.size).max().unwrap_or(YMM)
}

/// Where the host's processor has what AVX-512 adds in an area in standard form: so does `cpu.fpu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub opmask: usize,
    pub zmm_high: usize,
    pub high_zmm: usize,
}

const AMD: Layout = Layout { opmask: 832, zmm_high: 896, high_zmm: 1408 };

/// The host's own; AMD's if it has no AVX-512.
pub fn here() -> Layout {
    static HERE: OnceLock<Layout> = OnceLock::new();
    *HERE.get_or_init(|| {
        if host::xcr0() & AVX512 != AVX512 {
            return AMD;
        }
        let [opmask, zmm_high, high_zmm] = [5, 6, 7].map(|n| host::cpuid(0xd, n)[EBX] as usize);
        Layout { opmask, zmm_high, high_zmm }
    })
}

/// The components that are elsewhere in the host's areas than in the guest's.
pub fn moved() -> u64 {
    if here() == AMD { 0 } else { AVX512 }
}

/// Vector state in one component: where it is in `cpu.fpu`.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub component: u64,
    pub at: usize,
    pub size: usize,
    /// Of which only 64-bit code reaches all: outside of 64-bit mode so many bytes.
    pub low: usize,
}

pub fn vectors() -> [Part; 5] {
    let Layout { opmask, zmm_high, high_zmm } = here();
    let part = |component, at, size, low| Part { component, at, size, low };
    [
        part(SSE, XMM, 256, 128),
        part(AVX, YMM, 256, 128),
        part(OPMASK, opmask, 64, 64),
        part(ZMM_HIGH, zmm_high, 512, 256),
        part(HIGH_ZMM, high_zmm, 1024, 0),
    ]
}

impl Part {
    pub fn here(&self) -> Range<usize> {
        self.at..self.at + self.size
    }
}

/// Bit 63 of XCOMP_BV: the area is compacted.
pub const COMPACTED: u64 = 1 << 63;
pub const HEADER: usize = 512;
/// Bytes of x87 and SSE state in front of what is left to software.
pub const LEGACY: usize = 464;
/// MXCSR after RESET.
pub const MXCSR_DEFAULT: u32 = 0x1f80;

/// Four bytes at `offset`.
pub fn word(area: &[u8], offset: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&area[offset..offset + 4]);
    u32::from_le_bytes(bytes)
}

const SSE_AVX_512: u64 = SSE | AVX | AVX512;

/// The operating system has enabled AVX-512, and the mode has EVEX encodings.
pub fn evex_on(regs: &Registers) -> bool {
    let enabled = regs.cr4 & cr4::OSXSAVE != 0 && regs.xcr0 & SSE_AVX_512 == SSE_AVX_512;
    enabled && regs.protected() && !regs.v86()
}
