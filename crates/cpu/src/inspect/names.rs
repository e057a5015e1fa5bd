//! The manual's names of exit codes, exceptions and events.

use ireko_nested::{Event, EventKind};
use std::borrow::Cow;

/// Exit codes with a name of their own (APM vol. 2, appendix C), from 60h.
const FROM_INTR: [&str; 48] = [
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
const FROM_INVLPGB: [&str; 5] = ["INVLPGB", "INVLPGB_ILLEGAL", "INVPCID", "MCOMMIT", "TLBSYNC"];

/// `VMEXIT_…` of an exit code.
pub fn exit(code: u64) -> Cow<'static, str> {
    let number = code & 0xf;
    let name = match code {
        0x00..=0x0f => format!("VMEXIT_CR{number}_READ"),
        0x10..=0x1f => format!("VMEXIT_CR{number}_WRITE"),
        0x20..=0x2f => format!("VMEXIT_DR{number}_READ"),
        0x30..=0x3f => format!("VMEXIT_DR{number}_WRITE"),
        0x40..=0x5f => format!("VMEXIT_EXCP{} ({})", code - 0x40, exception((code - 0x40) as u8)),
        0x60..=0x8f => format!("VMEXIT_{}", FROM_INTR[(code - 0x60) as usize]),
        0x90..=0x9f => format!("VMEXIT_CR{number}_WRITE_TRAP"),
        0xa0..=0xa4 => format!("VMEXIT_{}", FROM_INVLPGB[(code - 0xa0) as usize]),
        0x400 => return "VMEXIT_NPF".into(),
        u64::MAX => return "VMEXIT_INVALID".into(),
        _ => format!("VMEXIT_{code:x}h"),
    };
    name.into()
}

/// Exceptions by vector (APM vol. 2, table 8-1).
pub fn exception(vector: u8) -> &'static str {
    const NAMES: [&str; 32] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
        "#PF", "15", "#MF", "#AC", "#MC", "#XF", "20", "#CP", "22", "23", "24", "25", "26", "27", "#HV",
        "#VC", "#SX", "31",
    ];
    NAMES.get(usize::from(vector)).copied().unwrap_or("no exception")
}

/// An event as EVENTINJ and EXITINTINFO would have it, in words.
pub fn event(event: &Event) -> String {
    let what = match event.kind {
        EventKind::External => format!("INTR {:#x}", event.vector),
        EventKind::Nmi => "NMI".to_owned(),
        EventKind::Exception => exception(event.vector).to_owned(),
        EventKind::SoftwareInterrupt => format!("INT {:#x}", event.vector),
    };
    match event.error {
        Some(error) => format!("{what} error {error:#x}"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use ireko_nested::svm::encode::PLAIN;
    use ireko_x86::vmcb::exitcode;

    #[test]
    fn names_are_those_of_appendix_c() {
        let cases = [
            (exitcode::CPUID, "VMEXIT_CPUID"),
            (exitcode::EFER_WRITE_TRAP, "VMEXIT_EFER_WRITE_TRAP"),
            (exitcode::TLBSYNC, "VMEXIT_TLBSYNC"),
            (exitcode::NPF, "VMEXIT_NPF"),
            (exitcode::INVALID, "VMEXIT_INVALID"),
            (exitcode::CR_WRITE + 3, "VMEXIT_CR3_WRITE"),
        ];
        for (code, name) in cases {
            assert_eq!(super::exit(code), name);
        }
    }

    #[test]
    fn every_plain_intercept_has_a_name() {
        for row in &PLAIN {
            assert!(!super::exit(row.code).ends_with('h'), "{:x}", row.code);
        }
    }
}
