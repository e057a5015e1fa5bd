//! Registers as text for people.

use ireko_x86::Registers;
use ireko_x86::regs::seg;
use std::fmt::Write;

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Several lines: general registers, RIP and flags, control registers, code and stack segment.
pub fn registers(regs: &Registers) -> String {
    let mut text = String::new();
    for (n, (name, value)) in GENERAL.iter().zip(regs.gpr).enumerate() {
        let _ = write!(text, "{name:>3} {value:016x}{}", if n % 4 == 3 { "\n" } else { "  " });
    }
    let (cs, ss) = (regs.seg[seg::CS], regs.seg[seg::SS]);
    let _ = writeln!(text, "rip {:016x}  rflags {:08x}  cpl {}", regs.rip, regs.rflags, regs.cpl);
    let _ = writeln!(
        text,
        "cr0 {:08x}  cr2 {:016x}  cr3 {:016x}  cr4 {:08x}  efer {:04x}",
        regs.cr0, regs.cr2, regs.cr3, regs.cr4, regs.efer
    );
    for (name, s) in [("cs", cs), ("ss", ss), ("tr", regs.tr)] {
        let _ = writeln!(
            text,
            "{name}  {:04x} base {:x} limit {:x} attr {:03x}",
            s.selector, s.base, s.limit, s.attr
        );
    }
    let _ = write!(
        text,
        "gdt {:x}+{:x}  idt {:x}+{:x}",
        regs.gdtr.base, regs.gdtr.limit, regs.idtr.base, regs.idtr.limit
    );
    text
}
