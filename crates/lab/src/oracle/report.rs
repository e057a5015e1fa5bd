//! Mismatches as text.

use super::Mismatch;
use super::case::Piece;
use super::compare::hex;
use super::state::{ArchitecturalState, Outcome};
use iced_x86::{Formatter, IntelFormatter};
use std::fmt::Write;

/// A mismatch with its bytes, disassembly, starting state and differences.
pub fn text(mismatch: &Mismatch) -> String {
    let case = &mismatch.case;
    let mut out = String::new();
    let _ = writeln!(out, "MISMATCH {} seed {:#x} bits {}", mismatch.way, case.seed, case.bits);
    for piece in &case.pieces {
        let _ = writeln!(out, "  {:x}: {}", piece.insn.ip(), instruction(piece));
    }
    let _ = write!(out, "{}", start(&case.start));
    let _ = writeln!(out, "  native: {}", outcome(&mismatch.native));
    match &mismatch.soft {
        Some(soft) => {
            let _ = writeln!(out, "  soft:   {}", outcome(soft));
        }
        None => out.push_str("  soft:   did not finish\n"),
    }
    for difference in &mismatch.differences {
        let _ = writeln!(out, "  * {difference}");
    }
    out
}

fn instruction(piece: &Piece) -> String {
    let mut name = String::new();
    IntelFormatter::new().format(&piece.insn, &mut name);
    let bytes: String = piece.bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{bytes:<30} {name}  ({:?})", piece.insn.code())
}

fn start(state: &ArchitecturalState) -> String {
    let mut out = String::new();
    for (n, value) in state.gpr.iter().enumerate() {
        let _ = write!(
            out,
            "{}{n:>2}={value:016x}{}",
            if n % 4 == 0 { "  r" } else { " r" },
            if n % 4 == 3 { "\n" } else { "" }
        );
    }
    let _ = writeln!(
        out,
        "  rip={:x} rflags={:x} fs={:x} gs={:x} fcw={:x} fsw={:x} ftw={:x} mxcsr={:x}",
        state.rip,
        state.rflags,
        state.fs,
        state.gs,
        state.word(0),
        state.word(2),
        state.xsave[4],
        state.mxcsr()
    );
    out
}

fn outcome(outcome: &Outcome) -> String {
    let end = &outcome.end;
    format!(
        "vector {} error {:x} cr2 {:x} rip {:x} rflags {:x} xmm0 {}",
        end.vector,
        end.error,
        end.cr2,
        outcome.state.rip,
        outcome.state.rflags,
        hex(&outcome.state.xsave[160..176])
    )
}
