//! AMD-V for instruments, in the words of the APM.

use super::check::CHECKS;
use super::{State, encode, event};
use crate::vendor::{ExitRecord, Read, Symbol, Vendor, Words};
use crate::{Control, Exit, Intercept};
use ireko_x86::Registers;
use ireko_x86::bits::efer;
use ireko_x86::regs::gpr::RAX;
use ireko_x86::vmcb::{control, exitcode, save};
use std::borrow::Cow;
use std::fmt::Write;

const WORDS: Words = Words {
    structure: "VMCB",
    entry: "VMRUN",
    tag: "ASID",
    stage2_root: "nCR3",
    stage2: "nested paging",
    information: ["EXITINFO1", "EXITINFO2"],
    injected: "EVENTINJ",
    in_flight: "EXITINTINFO",
};

impl Vendor for State {
    fn words(&self) -> &'static Words {
        &WORDS
    }
    fn current(&self) -> Option<u64> {
        (self.vmcb != 0).then_some(self.vmcb)
    }
    fn refused(&self) -> Option<&'static str> {
        self.refused.and_then(|number| CHECKS.get(number)).map(|check| check.name)
    }
    /// In a guest, VMRUN saved the hypervisor's own EFER.
    fn switched_on(&self, regs: &Registers, in_guest: bool) -> bool {
        let own = if in_guest { self.host.efer } else { regs.efer };
        own & efer::SVME != 0
    }
    fn return_rip(&self) -> u64 {
        self.host.rip
    }
    fn record(&self, exit: &Exit, control: &Control, regs: &Registers) -> ExitRecord {
        encode::encode(exit, control, regs)
    }
    /// `VMEXIT_…` (APM vol. 2, appendix C).
    fn exit_name(&self, code: u64) -> Cow<'static, str> {
        exit_name(code)
    }
    fn wants(&self, exit: &Exit, regs: &Registers) -> Option<u64> {
        matches!(exit, Exit::Plain(Intercept::Vmrun)).then_some(regs.gpr[RAX])
    }
    fn intercepts(&self, control: &Control) -> Vec<&'static str> {
        let on = encode::PLAIN.iter().filter(|row| control.has(row.what));
        on.map(|row| exitcode::plain_name(row.code).unwrap_or("?")).collect()
    }

    fn describe_own(&self, out: &mut String, symbol: &Symbol<'_>) {
        let host = &self.host;
        let _ = writeln!(
            out,
            "hypervisor (saved by VMRUN): rip={:016x}{} rsp={:016x} rax={:016x} rflags={:x} cr0={:x} cr3={:x} cr4={:x} efer={:x}",
            host.rip,
            symbol(host.rip),
            host.rsp,
            host.rax,
            host.rflags,
            host.cr0,
            host.cr3,
            host.cr4,
            host.efer
        );
    }

    fn describe(&self, out: &mut String, address: u64, running: bool, read: &Read<'_>, symbol: &Symbol<'_>) {
        let field = |offset: usize| {
            let mut bytes = [0; 8];
            read(address.wrapping_add(offset as u64), &mut bytes).then(|| u64::from_le_bytes(bytes))
        };
        let word = |offset| field(offset).unwrap_or(0);
        if field(0).is_none() {
            return;
        }
        let now = if running { " (running; as of its last exit)" } else { "" };
        let _ = writeln!(
            out,
            "VMCB {address:#x}{now}: ASID {}, nCR3 {:#x}",
            word(control::ASID) as u32,
            word(control::N_CR3)
        );
        let _ = writeln!(
            out,
            "  last exit: {} EXITINFO1={:#x} EXITINFO2={:#x} EXITINTINFO={}",
            exit_name(word(control::EXITCODE)),
            word(control::EXITINFO1),
            word(control::EXITINFO2),
            event::decode(word(control::EXITINTINFO)).map_or("-".to_owned(), |event| event.to_string()),
        );
        let rip = word(save::RIP);
        let _ = writeln!(
            out,
            "  rip={rip:016x}{} rsp={:016x} rax={:016x} rflags={:x} cr0={:x} cr3={:x} cr4={:x} efer={:x}",
            symbol(rip),
            word(save::RSP),
            word(save::RAX),
            word(save::RFLAGS),
            word(save::CR0),
            word(save::CR3),
            word(save::CR4),
            word(save::EFER),
        );
    }
}

fn exit_name(code: u64) -> Cow<'static, str> {
    let number = code & 0xf;
    let name = match code {
        exitcode::CR_READ..exitcode::CR_WRITE => format!("CR{number}_READ"),
        exitcode::CR_WRITE..exitcode::DR_READ => format!("CR{number}_WRITE"),
        exitcode::DR_READ..exitcode::DR_WRITE => format!("DR{number}_READ"),
        exitcode::DR_WRITE..exitcode::EXCEPTION => format!("DR{number}_WRITE"),
        exitcode::EXCEPTION..exitcode::INTR => {
            let vector = (code - exitcode::EXCEPTION) as u8;
            format!("EXCP{vector} ({})", ireko_x86::exception::name(vector))
        }
        exitcode::CR_WRITE_TRAP..exitcode::INVLPGB => format!("CR{number}_WRITE_TRAP"),
        _ => match exitcode::plain_name(code) {
            Some(name) => name.to_owned(),
            None => format!("{code:x}h"),
        },
    };
    format!("VMEXIT_{name}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_appendix_c() {
        let cases = [
            (exitcode::CPUID, "VMEXIT_CPUID"),
            (exitcode::EFER_WRITE_TRAP, "VMEXIT_EFER_WRITE_TRAP"),
            (exitcode::TLBSYNC, "VMEXIT_TLBSYNC"),
            (exitcode::NPF, "VMEXIT_NPF"),
            (exitcode::INVALID, "VMEXIT_INVALID"),
            (exitcode::CR_WRITE + 3, "VMEXIT_CR3_WRITE"),
            (exitcode::CR_WRITE_TRAP + 4, "VMEXIT_CR4_WRITE_TRAP"),
            (exitcode::EXCEPTION + 14, "VMEXIT_EXCP14 (#PF)"),
            (0xa5, "VMEXIT_a5h"),
        ];
        for (code, name) in cases {
            assert_eq!(exit_name(code), name);
        }
    }

    #[test]
    fn every_plain_intercept_has_a_name() {
        for row in &encode::PLAIN {
            assert!(exitcode::plain_name(row.code).is_some(), "{:x}", row.code);
        }
    }
}
