//! Where byte strings are known to end otherwise than on silicon, each with its reason. What `oracle/known.rs` explains is
//! explained here, too. Strings are counted by reason; a row goes when its cause goes.

use super::super::Mismatch;
use super::super::arena::{CODE, PAGE, PAGES};
use super::super::case::INT3;
use super::super::known::{self as table, Seen};
use super::super::state::{End, Outcome};
use super::generate::CODE_END;
use iced_x86::{CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};
use ireko_translate::block::DECODER_OPTIONS;

type Row = (&'static str, fn(&Mismatch) -> bool);

/// What silicon leaves open, or what this model does beyond the manual.
const MODEL: [Row; 26] = [
    (
        "how many bytes an undefined opcode takes is the model's (62h is EVEX here, on older ones BOUND or nothing)",
        |m| {
            let near = |i: &Instruction| i.is_invalid() && i.len() >= 14;
            let pair = (m.native.end.vector, m.soft_vector());
            let either = matches!(pair, (6, Some(13)) | (13, Some(6)));
            !table::family_1a() && either && m.at_native_end(near)
        },
    ),
    (
        "bits of an EVEX or VEX prefix that mean nothing are #UD here, and ignored by family 19h (broadcast between registers, say)",
        |m| {
            let begins = |bytes: &[u8]| {
                let mut opcode = bytes
                    .iter()
                    .skip_while(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67));
                opcode.next().is_some_and(|byte| matches!(byte, 0x62 | 0xc4 | 0xc5))
            };
            let extended = |at: u64| {
                m.case.pieces.iter().any(|p| p.insn.ip() == at && p.insn.is_invalid() && begins(&p.bytes))
            };
            let beyond =
                m.soft.as_ref().is_some_and(|s| extended(s.state.rip) && s.state.rip != m.native.state.rip);
            !table::family_1a() && !table::intel() && m.soft_vector() == Some(6) && beyond
        },
    ),
    ("the operand of a form that does not exist is read before its #UD", |m| {
        let formless = |i: &Instruction| (i.is_invalid() && i.len() < 15) || i.has_lock_prefix();
        matches!(m.native.end.vector, 12..=14) && m.soft_vector() == Some(6) && m.at_native_end(formless)
    }),
    ("a loop ends where a flag is undefined", |m| {
        m.differences.iter().all(|d| d.starts_with("rflags"))
            && m.has(|i| i.rflags_undefined() != 0)
            && m.has(|i| i.flow_control() != FlowControl::Next)
    }),
    ("virtualization is switched on for the host and off for guests: #GP comes before #UD", |m| {
        let svm = |i: &Instruction| {
            i.cpuid_features()
                .iter()
                .any(|f| matches!(f, CpuidFeature::SVM | CpuidFeature::SKINIT | CpuidFeature::SKINIT_or_SVM))
        };
        m.native.end.vector == 13 && m.soft_vector() == Some(6) && m.at_native_end(svm)
    }),
    ("the host has an instruction set that guests are not shown", |m| {
        let beyond = m.soft.as_ref().is_some_and(|s| s.state.rip != m.native.state.rip);
        m.soft_vector() == Some(6) && (m.native.end.vector != 6 || beyond) && m.at_soft_end(not_shown)
    }),
    ("a flag that the manual leaves undefined is read", |m| {
        let inside = || m.inside().iter().any(|i| i.rflags_read() != 0);
        !m.case.is_defined() || m.has(|i| i.rflags_undefined() != 0) && inside()
    }),
    ("F2 and F3 choose the condition of LOOPE and LOOPNE here (no manual says so)", |m| {
        let counted = |i: &Instruction| {
            let loops = i.is_loopcc();
            loops && (i.has_rep_prefix() || i.has_repe_prefix() || i.has_repne_prefix())
        };
        m.has(counted)
    }),
    (
        "a far CALL, RET or IRET goes through its frame's words, and the outer stack's, in an order of the model's",
        |m| {
            let far = |i: &Instruction| {
                i.is_call_far()
                    || i.is_call_far_indirect()
                    || matches!(
                        i.mnemonic(),
                        Mnemonic::Retf | Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq
                    )
            };
            m.both_fault() && m.at_native_end(far)
        },
    ),
    ("SYSEXIT at CPL 3 is #GP here before it is #UD", |m| {
        let sysexit = |i: &Instruction| matches!(i.mnemonic(), Mnemonic::Sysexit | Mnemonic::Sysexitq);
        m.native.end.vector == 13 && m.soft_vector() == Some(6) && m.at_native_end(sysexit)
    }),
    ("VPERMQ and VPERMPD do without VEX.W here, and VERR and VERW may have LOCK", |m| {
        let bytes = |m: &Mismatch, wanted: &[u8]| {
            m.case
                .pieces
                .iter()
                .any(|p| p.insn.is_invalid() && p.bytes.windows(wanted.len()).any(|w| w == wanted))
        };
        let beyond = m.soft.as_ref().is_some_and(|s| s.state.rip != m.native.state.rip);
        (m.native.end.vector != 6 || beyond)
            && m.soft_vector() == Some(6)
            && m.at_soft_end(Instruction::is_invalid)
            && [&[0x7d, 0][..], &[0x7d, 1], &[0x0f, 0]].iter().any(|wanted| bytes(m, wanted))
    }),
    ("of an operand past 4 GiB, either the limit or the page before it may fault", |m| {
        let fault = |vector: Option<u64>| matches!(vector, Some(12..=14));
        let top = m.soft.as_ref().is_some_and(|s| at_the_top(s) || at_the_top(&m.native));
        m.case.bits == 32 && fault(Some(m.native.end.vector)) && fault(m.soft_vector()) && top
    }),
    ("a near jump to an address that is not canonical faults here before it", |m| {
        let jumps = |i: &Instruction| {
            matches!(
                i.flow_control(),
                FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return
            )
        };
        m.native.end.vector == 13 && m.soft_vector() == Some(13) && m.at_native_end(jumps)
    }),
    ("what lies behind the end of a page: its fault and that of the bytes before it, in either order", |m| {
        let beyond = |end: &End| end.vector == 14 && end.cr2 == CODE_END && end.error & 0x10 != 0;
        let ends_at_page = |i: &Instruction| CODE_END - i.ip() <= 15;
        let either = m.soft.as_ref().is_some_and(|s| beyond(&m.native.end) != beyond(&s.end));
        m.both_fault() && either && m.at_native_end(ends_at_page)
    }),
    ("a string that strayed into its data faults there, where nobody decoded it (a far RET, say)", |m| {
        let strayed = |rip: u64| !(CODE..CODE_END).contains(&rip);
        let both = m.soft.as_ref().is_some_and(|s| strayed(s.state.rip)) && strayed(m.native.state.rip);
        m.both_fault() && both
    }),
    ("the child that runs strings natively has more memory mapped than the arena", |m| {
        let arena = |at: u64| PAGES.iter().any(|(page, _)| (*page..page + PAGE as u64).contains(&at));
        let beyond = |end: &End| end.vector == 14 && !arena(end.cr2);
        m.soft.as_ref().is_some_and(|s| beyond(&s.end) && s.end != m.native.end)
    }),
    ("a selector that only the host's system has in its table", |m| {
        let loads = |i: &Instruction| {
            use Mnemonic::*;
            i.op0_register().is_segment_register() || matches!(i.mnemonic(), Lds | Les | Lfs | Lgs | Lss)
        };
        let named = m.soft.as_ref().is_some_and(|s| s.end.vector == 13 && s.end.error != 0);
        let beyond = m.soft.as_ref().is_some_and(|s| s.state.rip != m.native.state.rip);
        (m.native.end.vector != 13 || beyond) && named && m.at_soft_end(loads)
    }),
    ("the host's system stands in for what UMIP refuses, and says #PF where #GP was", |m| {
        let tables = |i: &Instruction| {
            use Mnemonic::*;
            matches!(i.mnemonic(), Sldt | Str | Smsw | Sgdt | Sidt)
        };
        m.native.end.vector == 14 && m.soft_vector() == Some(13) && m.at_native_end(tables)
    }),
    (
        "a jump into the middle of an instruction leads to one that reads the time, or the host's tables",
        |m| {
            let reads = |i: &Instruction| {
                use Mnemonic::*;
                matches!(i.mnemonic(), Rdtsc | Rdtscp | Str | Sldt | Sgdt | Sidt | Smsw)
            };
            let same = |s: &Outcome| (s.end.vector, s.state.rip) == (m.native.end.vector, m.native.state.rip);
            m.soft.as_ref().is_some_and(same) && m.inside().iter().any(reads)
        },
    ),
    ("the host's system has protection keys on, this one has them off", |m| {
        let keys = |i: &Instruction| matches!(i.mnemonic(), Mnemonic::Rdpkru | Mnemonic::Wrpkru);
        m.soft_vector() == Some(6) && m.at_soft_end(keys)
    }),
    ("a loop that ends late goes through a page of device registers here, at half a microsecond each", |m| {
        let back = |i: &Instruction| i.near_branch_target() != 0 && i.near_branch_target() <= i.ip();
        m.soft.is_none() && m.differences.iter().all(|d| d.ends_with("Stopped")) && m.has(back)
    }),
    ("a hypervisor below the host leaves RIP at an INT1 that it has intercepted", |m| {
        let int1 = |i: &Instruction| i.mnemonic() == Mnemonic::Int1;
        let behind = m.soft.as_ref().is_some_and(|s| s.end.vector == 1 && s.state.rip > m.native.state.rip);
        m.native.end.vector == 1 && behind && m.at_native_end(int1)
    }),
    ("REX in front of VEX, EVEX or XOP near the fifteenth byte: #UD at once, or #GP for what follows", |m| {
        let near = |i: &Instruction| {
            let vector = matches!(m.behind_prefixes(i), Some(0xc4 | 0xc5 | 0x62 | 0x8f));
            i.is_invalid()
                && i.len() >= 14
                && vector
                && m.prefixes(i).last().is_some_and(|b| b & 0xf0 == 0x40)
        };
        m.native.end.vector == 13 && m.soft_vector() == Some(6) && m.at_native_end(near)
    }),
    ("MOVSXD of 16 bits has its operand's alignment checked as of 32", |m| {
        let short = |i: &Instruction| i.mnemonic() == Mnemonic::Movsxd && i.op0_register().size() == 2;
        m.native.end.vector == 17 && m.at_native_end(short)
    }),
    ("POPA that faults leaves what it popped until then", |m| {
        let word = |d: &String| matches!(&d[..1], "r") && !d.starts_with("rip") && !d.starts_with("rsp");
        let popa = |i: &Instruction| matches!(i.mnemonic(), Mnemonic::Popa | Mnemonic::Popad);
        m.both_fault() && m.differences.iter().all(word) && m.at_native_end(popa)
    }),
    ("a jump into the middle of an instruction runs one that may leave flags undefined", |m| {
        let starts = |at: u64| m.case.pieces.iter().any(|p| p.insn.ip() == at);
        m.differences.iter().all(|d| d.starts_with("rflags"))
            && m.has(|i| i.near_branch_target() != 0 && !starts(i.near_branch_target()))
    }),
];

/// Where silicon is Intel's and the guest's processor AMD's.
const INTEL: [Row; 15] = [
    ("a near branch of 64-bit code ignores an operand-size prefix on Intel's", |m| {
        use FlowControl::*;
        let near = |i: &Instruction| {
            matches!(
                i.flow_control(),
                UnconditionalBranch | ConditionalBranch | Call | Return | IndirectBranch | IndirectCall
            )
        };
        let short = |i: &Instruction| near(i) && m.case.bits == 64 && m.operand_size_prefix(i);
        m.has(short)
    }),
    ("SYSENTER is there in long mode on Intel's", |m| {
        m.soft_vector() == Some(6) && m.at_soft_end(|i| i.mnemonic() == Mnemonic::Sysenter)
    }),
    ("SYSCALL is only there in 64-bit code on Intel's, and SYSRET at CPL 3 is #UD", |m| {
        let system = |i: &Instruction| {
            matches!(i.mnemonic(), Mnemonic::Syscall | Mnemonic::Sysret | Mnemonic::Sysretq)
        };
        m.native.end.vector == 6 && m.at_native_end(system)
    }),
    (
        "a segment register that is pushed as 32 bits leaves the upper half of its place alone on Intel's",
        |m| {
            m.case.bits == 32
                && m.has(|i| i.mnemonic() == Mnemonic::Push && i.op0_register().is_segment_register())
        },
    ),
    (
        "a repeated string instruction with 67h cuts its registers to 32 bits, even where it does nothing, on Intel's",
        |m| {
            let indices = |d: &String| ["rcx", "rsi", "rdi"].iter().any(|name| d.starts_with(name));
            m.differences.iter().all(indices)
                && m.has(|i| i.is_string_instruction() && m.prefixes(i).contains(&0x67))
        },
    ),
    ("a step of a repeated comparison shows the flags from before it on Intel's", |m| {
        let compares = |i: &Instruction| i.is_string_instruction() && i.rflags_written() != 0;
        m.differences.iter().all(|d| d.starts_with("rflags"))
            && m.native.end.vector == 1
            && m.at_native_end(compares)
    }),
    (
        "a misaligned operand's #AC comes before its page's fault on some of Intel's, and at the end of ENTER's frame",
        |m| m.native.end.vector == 17,
    ),
    ("VPINSRD and VPEXTRD ignore VEX.W outside of 64-bit code on Intel's", |m| {
        let words = |i: &Instruction| matches!(i.mnemonic(), Mnemonic::Vpinsrd | Mnemonic::Vpextrd);
        m.case.bits == 32 && m.soft_vector() == Some(6) && m.at_soft_end(words)
    }),
    ("an instruction set of Intel's, which a decoder of AMD's does not know", |m| {
        m.soft_vector() == Some(6) && m.at_soft_end(|i| m.is_intels(i))
    }),
    ("a far return that goes through on Intel's refuses its selector here", |m| {
        let far = |i: &Instruction| {
            matches!(i.mnemonic(), Mnemonic::Retf | Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq)
        };
        m.soft_vector() == Some(13) && m.at_soft_end(far)
    }),
    ("LOCK makes no CR8 of CR0 on Intel's", |m| {
        let cr8 = |i: &Instruction| [i.op0_register(), i.op1_register()].contains(&Register::CR8);
        m.native.end.vector == 6 && m.at_native_end(cr8)
    }),
    ("F3 90 with REX.B is PAUSE on Intel's", |m| m.has(|i| i.mnemonic() == Mnemonic::Pause)),
    ("UD0 has an operand on Intel's", |m| {
        matches!(m.native.end.vector, 13 | 14)
            && m.soft_vector() == Some(6)
            && m.at_soft_end(|i| i.mnemonic() == Mnemonic::Ud0)
    }),
    (
        "of an instruction that has too many bytes, or all that it may have, those behind its fifteenth are fetched, too, on Intel's",
        |m| {
            let long = |i: &Instruction| i.is_invalid() && CODE_END - i.ip() <= 32;
            m.native.end.vector == 14
                && m.native.end.cr2 == CODE_END
                && matches!(m.soft_vector(), Some(6 | 13))
                && m.at_soft_end(long)
        },
    ),
    ("a far pointer has 64 bits of offset with REX.W on Intel's", |m| {
        let far = |i: &Instruction| {
            matches!(i.mnemonic(), Mnemonic::Lss | Mnemonic::Lfs | Mnemonic::Lgs)
                || i.is_jmp_far_indirect()
                || i.is_call_far_indirect()
        };
        m.case.bits == 64 && m.has(|i| far(i) && m.wide(i))
    }),
];

fn at_the_top(outcome: &Outcome) -> bool {
    let address = outcome.end.cr2 & 0xffff_ffff;
    outcome.end.vector == 14 && (address >= 0xffff_ffc0 || address == 0)
}

fn not_shown(insn: &Instruction) -> bool {
    !insn.cpuid_features().iter().all(|&f| ireko_cpu::isa::engine_has(f))
}

impl Mismatch {
    fn soft_vector(&self) -> Option<u64> {
        self.soft.as_ref().map(|s| s.end.vector)
    }

    /// Neither ended at its INT3.
    fn both_fault(&self) -> bool {
        self.native.end.vector != 3 && self.soft_vector().is_some_and(|v| v != 3)
    }

    /// One of the string's instructions, also those that a jump into the middle of another finds.
    fn has(&self, wanted: impl Fn(&Instruction) -> bool) -> bool {
        self.case.pieces.iter().any(|p| wanted(&p.insn)) || self.inside().iter().any(wanted)
    }

    /// Undefined for a decoder of AMD's, and of a set that guests are not shown for one of Intel's.
    fn is_intels(&self, insn: &Instruction) -> bool {
        let piece = self.case.pieces.iter().find(|p| p.insn.ip() == insn.ip());
        let decoded = |bytes: &[u8]| Decoder::new(self.case.bits, bytes, DecoderOptions::NONE).decode();
        insn.is_invalid()
            && piece.map(|p| decoded(&p.bytes)).is_some_and(|i| !i.is_invalid() && not_shown(&i))
    }

    /// 66h among the prefixes.
    fn operand_size_prefix(&self, insn: &Instruction) -> bool {
        self.prefixes(insn).contains(&0x66)
    }

    /// REX.W, before the opcode's 0Fh or FFh.
    fn wide(&self, insn: &Instruction) -> bool {
        self.prefixes(insn).last().is_some_and(|byte| byte & 0xf8 == 0x48)
    }

    fn prefixes(&self, insn: &Instruction) -> &[u8] {
        const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
        let piece = self.case.pieces.iter().find(|p| p.insn.ip() == insn.ip());
        let bytes = piece.map_or(&[][..], |p| &p.bytes);
        let rex = |byte: &u8| self.case.bits == 64 && byte & 0xf0 == 0x40;
        let count = bytes.iter().take_while(|&byte| PREFIXES.contains(byte) || rex(byte)).count();
        &bytes[..count]
    }

    /// The first byte of the opcode, or of the prefix of a vector instruction.
    fn behind_prefixes(&self, insn: &Instruction) -> Option<u8> {
        let piece = self.case.pieces.iter().find(|p| p.insn.ip() == insn.ip());
        piece.and_then(|p| p.bytes.get(self.prefixes(insn).len()).copied())
    }

    /// What jumps into the middle of an instruction lead to, until the string's end.
    fn inside(&self) -> Vec<Instruction> {
        let pieces = &self.case.pieces;
        let Some(start) = pieces.first().map(|p| p.insn.ip()) else { return Vec::new() };
        let string = pieces.iter().filter(|p| !p.prelude).flat_map(|p| p.bytes.iter().copied());
        let bytes: Vec<u8> = string.chain([INT3; 15]).collect();
        let between = |at: &u64| {
            (start..start + bytes.len() as u64).contains(at) && !pieces.iter().any(|p| p.insn.ip() == *at)
        };
        let targets = pieces.iter().map(|p| p.insn.near_branch_target()).filter(between);
        targets
            .flat_map(|at| {
                Decoder::with_ip(self.case.bits, &bytes[(at - start) as usize..], at, DECODER_OPTIONS)
            })
            .collect()
    }

    fn at(&self, rip: u64, wanted: impl Fn(&Instruction) -> bool) -> bool {
        let here = |insn: &Instruction| insn.ip() == rip && wanted(insn);
        self.case.pieces.iter().any(|p| here(&p.insn)) || self.inside().iter().any(here)
    }

    /// The instruction that silicon ended at.
    fn at_native_end(&self, wanted: impl Fn(&Instruction) -> bool) -> bool {
        self.at(self.native.state.rip, wanted)
    }

    /// The instruction that the software CPU ended at.
    fn at_soft_end(&self, wanted: impl Fn(&Instruction) -> bool) -> bool {
        self.soft.as_ref().is_some_and(|s| self.at(s.state.rip, wanted))
    }
}

/// The reason, if the disagreement is a known one.
pub fn reason(mismatch: &Mismatch) -> Option<&'static str> {
    let of_table = || {
        let soft = mismatch.soft.as_ref()?;
        let Mismatch { case, native, differences, .. } = mismatch;
        table::reason(&Seen { case, native, soft, differences })
    };
    let intel = INTEL.iter().filter(|_| table::intel());
    let rows = MODEL.iter().chain(intel);
    rows.into_iter().find(|row| row.1(mismatch)).map(|row| row.0).or_else(of_table)
}
