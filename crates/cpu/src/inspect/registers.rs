//! Registers as text for people.

/// All registers as text.
pub fn describe_registers(regs: &ireko_x86::Registers) -> String {
    use std::fmt::Write;
    const NAMES: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    let mut out = String::new();
    for (n, name) in NAMES.iter().enumerate() {
        let end = if n % 4 == 3 { "\n" } else { " " };
        let _ = write!(out, "{name:>3}={:016x}{end}", regs.gpr[n]);
    }
    let _ = writeln!(out, "rip={:016x} rflags={:08x} cpl={}", regs.rip, regs.rflags, regs.cpl);
    for (name, s) in ["es", "cs", "ss", "ds", "fs", "gs"].iter().zip(&regs.seg) {
        let _ = writeln!(
            out,
            "{name}={:04x} base={:016x} limit={:08x} attr={:03x}",
            s.selector, s.base, s.limit, s.attr
        );
    }
    let _ = writeln!(
        out,
        "cr0={:x} cr2={:x} cr3={:x} cr4={:x} efer={:x}",
        regs.cr0, regs.cr2, regs.cr3, regs.cr4, regs.efer
    );
    let _ = write!(out, "gdtr={:x?} idtr={:x?} tr={:x?}", regs.gdtr, regs.idtr, regs.tr);
    out
}
