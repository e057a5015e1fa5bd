//! What of two outcomes must agree, and how they differ.

use super::arena;
use super::case::Case;
use super::quirks::{self, Counts};
use super::state::{self, ArchitecturalState, Outcome};
use ireko_cpu::data::xsave_area as area;

/// Which arithmetic flags count at a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flags {
    All,
    /// Not those that the code from there on writes before it reads them.
    Live,
    /// As `Live`, and every iteration of a string instruction is an instruction of its own.
    LiveStepped,
}

/// RFLAGS bits that a user program sees: arithmetic, DF, AC.
const FLAGS: u64 = 0x4_0cd5;

const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Differences, `native` against `soft`, one a line. Empty: they agree.
pub fn differences(case: &Case, native: &Outcome, soft: &Outcome, which: Flags) -> Vec<String> {
    let mut found = Vec::new();
    let counts = quirks::counts(case, native);
    let end = |o: &Outcome| (o.end.vector, o.state.rip, o.end.cr2 >> 12);
    if !counts.end && end(native) != end(soft) {
        return found;
    }
    ends(native, soft, counts, &mut found);
    registers(case, native, soft, &mut found);
    flags(case, native, soft, which, &mut found);
    x87(&native.state, &soft.state, counts, &mut found);
    vectors(&native.state, &soft.state, &mut found);
    if counts.memory {
        memory(native, soft, &mut found);
    }
    found
}

fn differ(found: &mut Vec<String>, what: &str, native: u64, soft: u64) {
    if native != soft {
        found.push(format!("{what}: native {native:#x}, soft {soft:#x}"));
    }
}

fn ends(native: &Outcome, soft: &Outcome, counts: Counts, found: &mut Vec<String>) {
    const PAGE_FAULT: u64 = 14;
    differ(found, "vector", native.end.vector, soft.end.vector);
    if native.end.vector == soft.end.vector && native.end.vector == PAGE_FAULT {
        let offset = if counts.cr2_offset { 0 } else { 0xfff };
        differ(found, "cr2", native.end.cr2 | offset, soft.end.cr2 | offset);
        // Linux says of addresses that are not the user's that a page is present there.
        let present = u64::from(native.end.cr2 >= 0x7fff_ffff_f000);
        differ(found, "error code", native.end.error & !present, soft.end.error & !present);
    }
}

fn registers(case: &Case, native: &Outcome, soft: &Outcome, found: &mut Vec<String>) {
    let (n, s) = (&native.state, &soft.state);
    let (count, mask) = if case.bits == 64 { (16, u64::MAX) } else { (8, 0xffff_ffff) };
    differ(found, "rip", n.rip & mask, s.rip & mask);
    for (index, name) in NAMES.iter().enumerate().take(count) {
        differ(found, name, n.gpr[index] & mask, s.gpr[index] & mask);
    }
}

fn flags(case: &Case, native: &Outcome, soft: &Outcome, which: Flags, found: &mut Vec<String>) {
    let rip = native.state.rip;
    let dead = match which {
        _ if native.end.vector == 3 => 0,
        Flags::All => 0,
        Flags::LiveStepped if case.in_string_instruction(rip) => u64::MAX,
        _ => case.dead_at(rip),
    };
    let mask = FLAGS & !case.undefined_at(rip) & !dead;
    differ(found, "rflags", native.state.rflags & mask, soft.state.rflags & mask);
}

fn bytes(
    native: &ArchitecturalState,
    soft: &ArchitecturalState,
    name: &str,
    range: std::ops::Range<usize>,
    found: &mut Vec<String>,
) {
    let (n, s) = (&native.xsave[range.clone()], &soft.xsave[range]);
    if n != s {
        found.push(format!("{name}: native {}, soft {}", hex(n), hex(s)));
    }
}

fn x87(native: &ArchitecturalState, soft: &ArchitecturalState, counts: Counts, found: &mut Vec<String>) {
    if counts.mxcsr {
        differ(found, "mxcsr", native.mxcsr().into(), soft.mxcsr().into());
    }
    if !counts.x87 {
        return;
    }
    differ(found, "fcw", native.word(0).into(), soft.word(0).into());
    differ(found, "fsw", native.word(2).into(), soft.word(2).into());
    differ(found, "ftw", native.xsave[4].into(), soft.xsave[4].into());
    for n in 0..8 {
        bytes(native, soft, &format!("st{n}"), 32 + 16 * n..42 + 16 * n, found);
    }
}

fn vectors(native: &ArchitecturalState, soft: &ArchitecturalState, found: &mut Vec<String>) {
    for n in 0..16 {
        bytes(native, soft, &format!("xmm{n}"), 160 + 16 * n..176 + 16 * n, found);
        bytes(native, soft, &format!("ymm{n} high"), 576 + 16 * n..592 + 16 * n, found);
    }
    if state::has_avx512() {
        masks(native, soft, found);
    }
}

/// What AVX-512 adds.
fn masks(native: &ArchitecturalState, soft: &ArchitecturalState, found: &mut Vec<String>) {
    let at = area::here();
    let part = |name: String, start, size, found: &mut Vec<String>| {
        bytes(native, soft, &name, start..start + size, found)
    };
    for n in 0..8 {
        part(format!("k{n}"), at.opmask + 8 * n, 8, found);
    }
    for n in 0..16 {
        part(format!("zmm{n} high"), at.zmm_high + 32 * n, 32, found);
        part(format!("zmm{}", 16 + n), at.high_zmm + 64 * n, 64, found);
    }
}

/// Big end first, as people read numbers.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|b| format!("{b:02x}")).collect()
}

fn memory(native: &Outcome, soft: &Outcome, found: &mut Vec<String>) {
    if native.memory == soft.memory {
        return;
    }
    let wrong: Vec<usize> = (0..arena::SIZE).filter(|&n| native.memory[n] != soft.memory[n]).collect();
    for &at in wrong.iter().take(4) {
        let (n, s) = (native.memory[at], soft.memory[at]);
        found.push(format!("[{:#x}]: native {n:02x}, soft {s:02x}", arena::linear(at)));
    }
    if wrong.len() > 4 {
        found.push(format!("… {} bytes of memory in all", wrong.len()));
    }
}
