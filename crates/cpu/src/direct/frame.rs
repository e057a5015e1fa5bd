//! The frames that the host's kernel makes of a signal and goes on from: `ucontext` and what lies behind its pointer to vector
//! state (linux/arch/x86/include/uapi/asm/sigcontext.h; asm-generic/ucontext.h). Bytes in private memory: what a program has left
//! is copied once before it is looked at, and what it goes on from is written whole.

use super::layout::{CONTROL, RETURN_AREA};
use crate::xstate;

/// Bytes of the kernel's `ucontext`.
pub const CONTEXT: usize = 304;
const GENERAL_AT: usize = 40;
const AREA_POINTER: usize = 224;
/// What the kernel says behind x87 and SSE state: how much follows.
const SOFTWARE: usize = xstate::LEGACY;
const MAGIC: u32 = 0x4650_5853;
const MAGIC_BEHIND: u32 = 0x4650_5845;
/// As much as a frame's vector state may have: there is room for that where the stub goes on from.
const MOST: usize = 14 << 10;
/// MXCSR_MASK where a processor has none (APM vol. 1, 4.2.2.1).
const MXCSR_MASK: u32 = 0xffbf;

/// The general registers in the kernel's context, by their numbers.
pub const GENERAL: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

#[derive(Clone)]
pub struct Context(pub [u8; CONTEXT]);

impl Default for Context {
    fn default() -> Self {
        Self([0; CONTEXT])
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

impl Context {
    /// A register, by the kernel's number.
    pub fn register(&self, number: i32) -> u64 {
        word(&self.0, GENERAL_AT + 8 * number as usize)
    }

    pub fn set_register(&mut self, number: i32, value: u64) {
        let at = GENERAL_AT + 8 * number as usize;
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Where vector state is.
    pub fn area(&self) -> u64 {
        word(&self.0, AREA_POINTER)
    }
}

/// What a program has left, as it was found. Nothing of it can be relied on: a program may have written it.
#[derive(Clone, Default)]
pub struct Left {
    pub context: Context,
    /// The start of its XSAVE area.
    pub area: Vec<u8>,
    pub signal: i32,
    /// What kind of that signal (sigaction(2), `si_code`).
    pub code: i32,
    /// How far behind an ICEBP the host is said to be: one, or nothing under some hypervisors.
    pub icebp_bytes: u64,
    /// Where a system call was.
    pub call: u64,
    /// Of FS and GS.
    pub bases: [u64; 2],
    /// DS, ES, FS and GS.
    pub selectors: [u16; 4],
}

impl Left {
    pub fn mxcsr(&self) -> u32 {
        xstate::word(&self.area, xstate::MXCSR)
    }

    /// XSTATE_BV.
    pub fn present(&self) -> u64 {
        word(&self.area, xstate::HEADER)
    }
}

/// What a program goes on from. All but its registers is as the kernel made it when the process was new.
#[derive(Default)]
pub struct Frame {
    pub context: Context,
    /// Its XSAVE area, and what the kernel wants to see behind it.
    area: Vec<u8>,
}

impl Frame {
    /// From the first frame of a process, in which no program was yet. None: it is none that could be gone on from.
    pub fn new(context: &Context, area: &[u8]) -> Option<Self> {
        let mut context = context.clone();
        let at = CONTROL + RETURN_AREA as u64;
        context.0[AREA_POINTER..AREA_POINTER + 8].copy_from_slice(&at.to_le_bytes());
        let bytes = bytes(area)?;
        let mut area = area.get(..bytes)?.to_vec();
        area[xstate::HEADER..xstate::HEADER + 64].fill(0);
        area.extend(MAGIC_BEHIND.to_le_bytes());
        Some(Self { context, area })
    }

    pub fn area(&self) -> &[u8] {
        &self.area
    }

    /// Registers of the first 464 bytes, and which components are there: the others are as new.
    pub fn set_area(&mut self, own: &[u8], components: u64, parts: &[xstate::Part]) {
        self.area[..SOFTWARE].copy_from_slice(&own[..SOFTWARE]);
        self.area[xstate::HEADER..xstate::HEADER + 8].copy_from_slice(&components.to_le_bytes());
        for part in parts.iter().filter(|part| part.at >= xstate::HEADER && components & part.component != 0)
        {
            self.area[part.here()].copy_from_slice(&own[part.here()]);
        }
    }

    /// Bits that MXCSR may have.
    pub fn mxcsr_mask(&self) -> u32 {
        match xstate::word(&self.area, xstate::MXCSR + 4) {
            0 => MXCSR_MASK,
            mask => mask,
        }
    }
}

/// Bytes of a frame's XSAVE area, as the kernel says.
pub fn bytes(area: &[u8]) -> Option<usize> {
    let bytes = xstate::word(area.get(..xstate::HEADER)?, SOFTWARE + 16) as usize;
    let known = xstate::word(area, SOFTWARE) == MAGIC && (xstate::YMM..=MOST).contains(&bytes);
    known.then_some(bytes)
}
