//! What of two outcomes must agree, and how they differ.

use super::arena;
use super::case::Case;
use super::state::{Outcome, State};

/// RFLAGS bits that a user program sees: arithmetic, DF, AC.
const FLAGS: u64 = 0x4_0cd5;

const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// Differences, `native` against `soft`, one a line. Empty: they agree.
///
/// With `exact`, flags at a fault count even if the code from there on writes them before it reads them.
pub fn differences(case: &Case, native: &Outcome, soft: &Outcome, exact: bool) -> Vec<String> {
    let mut found = Vec::new();
    ends(native, soft, &mut found);
    registers(case, native, soft, &mut found);
    flags(case, native, soft, exact, &mut found);
    vectors(&native.state, &soft.state, &mut found);
    memory(native, soft, &mut found);
    found
}

fn differ(found: &mut Vec<String>, what: &str, native: u64, soft: u64) {
    if native != soft {
        found.push(format!("{what}: native {native:#x}, soft {soft:#x}"));
    }
}

fn ends(native: &Outcome, soft: &Outcome, found: &mut Vec<String>) {
    const PAGE_FAULT: u64 = 14;
    differ(found, "vector", native.end.vector, soft.end.vector);
    if native.end.vector == soft.end.vector && native.end.vector == PAGE_FAULT {
        differ(found, "cr2", native.end.cr2, soft.end.cr2);
        // Linux says of its own half of the address space that a page is present there.
        let present = if (native.end.cr2 as i64) < 0 { 1 } else { 0 };
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

fn flags(case: &Case, native: &Outcome, soft: &Outcome, exact: bool, found: &mut Vec<String>) {
    let rip = native.state.rip;
    let dead = if exact || native.end.vector == 3 { 0 } else { case.dead_at(rip) };
    let mask = FLAGS & !case.undefined_at(rip) & !dead;
    differ(found, "rflags", native.state.rflags & mask, soft.state.rflags & mask);
}

fn vectors(native: &State, soft: &State, found: &mut Vec<String>) {
    differ(found, "mxcsr", native.mxcsr().into(), soft.mxcsr().into());
    differ(found, "fcw", native.word(0).into(), soft.word(0).into());
    differ(found, "fsw", native.word(2).into(), soft.word(2).into());
    differ(found, "ftw", native.xsave[4].into(), soft.xsave[4].into());
    let mut bytes = |name: String, at: usize, size: usize| {
        let (n, s) = (&native.xsave[at..at + size], &soft.xsave[at..at + size]);
        if n != s {
            found.push(format!("{name}: native {}, soft {}", hex(n), hex(s)));
        }
    };
    (0..8).for_each(|n| bytes(format!("st{n}"), 32 + 16 * n, 10));
    (0..16).for_each(|n| bytes(format!("xmm{n}"), 160 + 16 * n, 16));
    (0..16).for_each(|n| bytes(format!("ymm{n} high"), 576 + 16 * n, 16));
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
