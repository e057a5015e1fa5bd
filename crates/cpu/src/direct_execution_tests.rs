//! Programs as they stand, in a process of their own: what they see, and what they cannot do.

use crate::Cpu;
use crate::direct::Direct;
use crate::direct::child::calls;
use crate::direct::layout::BASE;
use crate::fault::Fault;
use crate::system::bench::*;
use ireko_nested::Intercept;
use ireko_x86::Exception;
use ireko_x86::bits::{cr4, dr6, pf};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

/// Where the bench has its page tables.
const TABLES: u64 = 0x1_0000;
const SMALL: u64 = TABLES + 0x3000;
const USER: u64 = 7;
pub(super) const PROGRAM: u64 = 0x6_0000;
pub(super) const DATA: u64 = 0x7_0000;
pub(super) const ABSENT: u64 = 0x9_0000;
/// HLT, which programs may not.
pub(super) const BREAK: u8 = 0xf4;

/// A program with its code at [`PROGRAM`], under small pages, of which that at [`ABSENT`] is not there.
pub(super) fn program(code: &[u8]) -> Cpu {
    let mut cpu = long_in_file();
    for page in (0..256u64).filter(|page| page << 12 != ABSENT) {
        write64(&mut cpu, SMALL + 8 * page, page << 12 | USER);
    }
    write64(&mut cpu, TABLES + 0x2000, SMALL | USER);
    write(&mut cpu, PROGRAM, code);
    write(&mut cpu, HANDLER, &[0xf4; 0x1000]);
    set_level(&mut cpu, 3);
    let regs = &mut cpu.processor.regs;
    regs.cr4 |= cr4::OSFXSR | cr4::OSXSAVE | cr4::FSGSBASE;
    regs.xcr0 = 7;
    (regs.seg[seg::CS].selector, regs.seg[seg::SS].selector) = (0x33, 0x2b);
    for index in [seg::DS, seg::ES, seg::FS, seg::GS] {
        regs.seg[index].selector = 0;
    }
    (regs.rip, regs.rflags, regs.gpr[gpr::RSP]) = (PROGRAM, 0x202, DATA + 0xff0);
    (regs.lstar, regs.star) = (HANDLER, u64::from(KERNEL_CODE) << 32);
    // Exceptions are seen here, and not by a handler.
    cpu.platform.tuning.direct_exceptions = false;
    cpu.flush_tlb(false);
    cpu
}

/// From now on it runs as it stands.
pub(super) fn direct(mut cpu: Cpu) -> Cpu {
    cpu.direct = Some(Direct::new(cpu.mmu.physical.memory().file().unwrap(), 1).unwrap());
    (0..8).for_each(|_| cpu.found_program());
    assert!(cpu.mmu.banks.current().direct.on);
    cpu
}

/// How a program ends that begins as it stands.
pub(super) fn end(cpu: &mut Cpu) -> Result<(), Fault> {
    let ended = cpu.run_blocks();
    assert_ne!(cpu.instruments.counters.direct_runs, 0);
    ended
}

pub(super) fn breaks(ended: &Result<(), Fault>) -> bool {
    matches!(ended, Err(Fault::Exception(exception)) if exception.vector == vector::GP)
}

/// The general registers of a program that ends with HLT, as it stands and translated.
pub(super) fn both(code: &[u8]) -> [[u64; 16]; 2] {
    let mut cpu = direct(program(code));
    let ended = end(&mut cpu);
    assert!(breaks(&ended), "{ended:?}");
    let mut translated = program(code);
    let ended = translated.run_blocks();
    assert!(breaks(&ended), "{ended:?}");
    [cpu, translated].map(|cpu| cpu.processor.regs.gpr)
}

#[test]
fn a_loop_gives_what_it_gives_translated() {
    // XOR EAX, EAX; MOV ECX, 100000; ADD RAX, RCX; LOOP.
    let code = [0x31, 0xc0, 0xb9, 0xa0, 0x86, 1, 0, 0x48, 0x01, 0xc8, 0xe2, 0xfb, BREAK];
    let [direct, translated] = both(&code);
    assert_eq!((direct, direct[gpr::RAX]), (translated, 5_000_050_000));
}

#[test]
fn vector_registers_come_and_go_with_the_program() {
    // MOV EAX, 7; VMOVD XMM9, EAX; VPBROADCASTD YMM9, XMM9; CPUID; VEXTRACTI128 XMM9, YMM9, 1; VMOVD EBX, XMM9.
    let code = [0x90; 200];
    let code = [
        code.as_slice(),
        &[
            0xb8, 7, 0, 0, 0, 0xc5, 0x79, 0x6e, 0xc8, 0xc4, 0x42, 0x7d, 0x58, 0xc9, 0x0f, 0xa2, 0xc4, 0x43,
            0x7d, 0x39, 0xc9, 1, 0xc5, 0x79, 0x7e, 0xcb, BREAK,
        ],
    ]
    .concat();
    let [direct, translated] = both(&code);
    assert_eq!((direct[gpr::RBX], translated[gpr::RBX]), (7, 7));
}

#[test]
fn cpuid_is_the_guests() {
    let code = [[0x90; 200].as_slice(), &[0xb8, 1, 0, 0, 0, 0x0f, 0xa2, BREAK]].concat();
    let [direct, translated] = both(&code);
    assert_eq!(direct, translated);
}

#[test]
fn a_page_that_is_not_there_is_the_guests_fault() {
    // MOV [ABSENT + 8], AL
    let mut cpu = direct(program(&[0x88, 0x04, 0x25, 8, 0, 9, 0]));
    let expected = Exception::page_fault(ABSENT + 8, pf::USER | pf::WRITE);
    assert_eq!(end(&mut cpu), Err(expected.into()));
    assert_eq!(cpu.processor.regs.rip, PROGRAM);
}

#[test]
fn a_page_that_is_no_more_is_forgotten() {
    // MOV AL, [DATA]; HLT
    let code = [0x8a, 0x04, 0x25, 0, 0, 7, 0, BREAK];
    let mut cpu = direct(program(&code));
    assert!(breaks(&end(&mut cpu)));
    write64(&mut cpu, SMALL + 8 * (DATA >> 12), 0);
    cpu.flush_page(DATA);
    cpu.processor.regs.rip = PROGRAM;
    assert_eq!(end(&mut cpu), Err(Exception::page_fault(DATA, pf::USER).into()));
}

#[test]
fn code_that_a_program_writes_is_run_as_written() {
    // MOV BYTE [PROGRAM + 17], 9; then at 16: MOV AL, 1; ten rounds of both.
    let mut code = [0x90; 32];
    code[..8].copy_from_slice(&[0xc6, 0x04, 0x25, 17, 0, 6, 0, 9]);
    code[16..19].copy_from_slice(&[0xb0, 1, BREAK]);
    let [direct, translated] = both(&code);
    assert_eq!((direct[gpr::RAX], translated[gpr::RAX]), (9, 9));
}

#[test]
fn code_that_a_device_writes_is_run_as_written() {
    let code = [0xb0, 1, BREAK];
    let mut cpu = direct(program(&code));
    assert!(breaks(&end(&mut cpu)));
    write(&mut cpu, PROGRAM, &[0xb0, 2]);
    cpu.processor.regs.rip = PROGRAM;
    assert!(breaks(&end(&mut cpu)));
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX] & 0xff, 2);
}

#[test]
fn a_system_call_is_the_guests() {
    // MOV EAX, 39 (getpid); SYSCALL
    let mut cpu = direct(program(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05]));
    assert_eq!(end(&mut cpu), Ok(()));
    let regs = &cpu.processor.regs;
    assert_eq!((regs.rip, regs.cpl, regs.gpr[gpr::RAX], regs.gpr[gpr::RCX]), (HANDLER, 0, 39, PROGRAM + 7));
}

#[test]
fn a_program_that_runs_for_ever_is_left_when_somebody_wakes() {
    let mut cpu = direct(program(&[0xeb, 0xfe]));
    let wake = cpu.platform.wake.clone();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(30));
        wake.wake();
    });
    assert_eq!(end(&mut cpu), Ok(()));
    waker.join().unwrap();
}

#[test]
fn what_the_process_has_for_itself_is_no_code_of_the_guests() {
    // MOV RDX, an address; JMP RDX: places all over the stub's code. Some wait there, until somebody wakes the processor.
    for place in (0..420).step_by(7).map(|offset| BASE + offset) {
        let code = [&[0x48, 0xba], place.to_le_bytes().as_slice(), &[0xff, 0xe2]].concat();
        let mut cpu = direct(program(&code));
        let wake = cpu.platform.wake.clone();
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let waker = std::thread::spawn(move || {
            let pause = std::time::Duration::from_millis(20);
            while ended.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                wake.wake();
            }
        });
        let ended = loop {
            cpu.platform.wake.clear();
            match cpu.run_blocks() {
                Ok(()) => continue,
                Err(fault) => break fault,
            }
        };
        drop(done);
        waker.join().unwrap();
        let Fault::Exception(exception) = &ended else { panic!("{place:#x}: {ended:?}") };
        assert!(matches!(exception.vector, vector::PF | vector::GP), "{place:#x}: {exception:?}");
    }
}

#[test]
fn who_destroys_his_process_has_a_fault_and_the_machine_goes_on() {
    // MOV RSP, in the stack that signals come on, near its end; UD2.
    let stack = calls::SIGNAL_STACK + 1024;
    let code = [&[0x48, 0xbc], stack.to_le_bytes().as_slice(), &[0x0f, 0x0b]].concat();
    let mut cpu = direct(program(&code));
    assert!(matches!(end(&mut cpu), Err(Fault::Exception(_))));
    write(&mut cpu, PROGRAM, &[0xb0, 3, BREAK]);
    cpu.processor.regs.rip = PROGRAM;
    assert!(breaks(&cpu.run_blocks()));
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX] & 0xff, 3);
}

/// How a program ends.
#[derive(Debug, PartialEq)]
struct Ended {
    fault: Result<(), Fault>,
    rip: u64,
    flags: u64,
    /// What a handler may find on its stack: where it returns to, and the flags.
    pushed: Option<[u64; 2]>,
}

/// How a program ends as it stands, and how translated: alike.
fn ends_alike(code: &[u8]) -> Ended {
    let [direct, translated] = [direct(program(code)), program(code)].map(|mut cpu| {
        // Programs may call these gates.
        [1, 3, 4, 0x80].into_iter().for_each(|vector| long_gate(&mut cpu, vector, 0xee00));
        let mut fault = Ok(());
        for _ in 0..20 {
            // What is done alone is the main loop's; of the host's exceptions its handler makes the guest's.
            let run = || if cpu.single() { cpu.step() } else { cpu.run_blocks() };
            fault = crate::guard(run).unwrap();
            if fault.is_err() || cpu.processor.regs.cpl == 0 {
                break;
            }
        }
        let regs = &cpu.processor.regs;
        let (handled, stack) = (regs.cpl == 0, regs.gpr[gpr::RSP]);
        // Translated, its first instruction may be done by then.
        let rip = if handled { regs.rip & !0xf } else { regs.rip };
        let flags = regs.rflags;
        let pushed = handled.then(|| [read64(&mut cpu, stack), read64(&mut cpu, stack + 16)]);
        Ended { fault, rip, flags, pushed }
    });
    assert_eq!(direct, translated, "{code:x?}");
    translated
}

#[test]
fn flags_that_popf_sets_stay() {
    // PUSH flags; POPF; HLT: ID, NT, AC, DF, and those of arithmetic.
    for flags in [1 << 21, 1 << 14, 1 << 18, 1 << 10, 0x8d5] {
        let flags: u32 = flags | 0x202;
        let code = [&[0x68], flags.to_le_bytes().as_slice(), &[0x9d, BREAK]].concat();
        assert_eq!(ends_alike(&code).flags, u64::from(flags));
    }
}

#[test]
fn a_program_that_traps_itself_is_trapped_behind_the_next_instruction() {
    // PUSH flags with TF; POPF, then: NOP; a store to a page that is not mapped yet; RDTSC.
    for next in [&[0x90u8] as &[u8], &[0xa2, 0, 0, 8, 0, 0, 0, 0, 0], &[0x0f, 0x31]] {
        let code = [&[0x68, 2, 3, 0, 0, 0x9d], next, &[BREAK]].concat();
        let ended = ends_alike(&code);
        assert_eq!(ended.fault, Err(Exception::debug(dr6::BS).into()));
        assert_eq!((ended.rip, ended.flags & 0x100), (PROGRAM + 6 + next.len() as u64, 0x100));
    }
}

#[test]
fn tf_is_seen_by_whom_an_instruction_calls() {
    // PUSH flags with TF; POPF, then: INT3; ICEBP; INT 4.
    for next in [&[0xccu8] as &[u8], &[0xf1], &[0xcd, 4]] {
        let code = [&[0x68, 2, 3, 0, 0, 0x9d], next, &[BREAK]].concat();
        let pushed = ends_alike(&code).pushed.map(|[_, flags]| flags & 0x100);
        assert_eq!(pushed, Some(0x100), "{next:x?}");
    }
}

#[test]
fn a_system_call_under_tf_ends_as_it_does_translated() {
    // PUSH flags with TF; POPF; SYSCALL.
    let ended = ends_alike(&[0x68, 2, 3, 0, 0, 0x9d, 0x0f, 0x05, BREAK]);
    assert_eq!(ended.rip, HANDLER);
}

#[test]
fn interrupt_instructions_end_as_they_do_translated() {
    let forms: [(&[u8], u64); 5] =
        [(&[0xcc], 3), (&[0xcd, 3], 3), (&[0xcd, 4], 4), (&[0xcd, 0x80], 0x80), (&[0xf1], 1)];
    for (code, vector) in forms {
        let ended = ends_alike(&[code, &[BREAK]].concat());
        assert_eq!(ended.rip, HANDLER + 16 * vector, "{code:x?}");
        assert_eq!(ended.pushed.map(|pushed| pushed[0]), Some(PROGRAM + code.len() as u64), "{code:x?}");
    }
}

#[test]
fn an_x87_error_ends_as_it_does_translated() {
    // PUSH 340h; FLDCW [RSP]; FLDZ; FLD1; FDIV ST, ST(1); FWAIT. CR0.NE is 0.
    let code = [0x68, 0x40, 3, 0, 0, 0xd9, 0x2c, 0x24, 0xd9, 0xee, 0xd9, 0xe8, 0xd8, 0xf1, 0x9b, BREAK];
    let ended = ends_alike(&code);
    assert!(ended.fault.is_err() && ended.rip == PROGRAM + 14, "{ended:?}");
}

#[test]
fn tables_of_the_processor_are_the_guests() {
    let forms: [&[u8]; 8] = [
        // SGDT, SIDT [DATA]; SMSW, SLDT, STR EAX; then VERR, LAR and LSL of words in memory.
        &[0x0f, 0x01, 0x04, 0x25, 0, 0, 7, 0],
        &[0x0f, 0x01, 0x0c, 0x25, 0, 0, 7, 0],
        &[0x0f, 0x01, 0xe0],
        &[0x0f, 0x00, 0xc0],
        &[0x0f, 0x00, 0xc8],
        &[0x0f, 0x00, 0x24, 0x25, 0, 0, 7, 0],
        &[0x0f, 0x02, 0x04, 0x25, 0, 0, 7, 0],
        &[0x0f, 0x03, 0x04, 0x25, 0, 0, 7, 0],
    ];
    for form in forms {
        // MOV EAX, 7; MOV DWORD [DATA], 0x2b; the instruction; SETZ BL; MOV RCX, [DATA].
        let front = [0xb8, 7, 0, 0, 0, 0xc7, 0x04, 0x25, 0, 0, 7, 0, 0x2b, 0, 0, 0];
        let behind = [0x0f, 0x94, 0xc3, 0x48, 0x8b, 0x0c, 0x25, 0, 0, 7, 0, BREAK];
        let [direct, translated] = both(&[&[0x90; 200], front.as_slice(), form, &behind].concat());
        assert_eq!(direct, translated, "{form:x?}");
    }
}

/// How a program ends whose hypervisor asked for something, as it stands and translated; and whether it went to a process.
fn under(intercepts: &[Intercept], code: &[u8]) -> ([Result<(), Fault>; 2], bool) {
    // CWDE: NOP at a page's start may be PAUSE.
    let code = [[0x98; 200].as_slice(), code, &[BREAK]].concat();
    let start = || {
        let mut cpu = program(&code);
        guest(&mut cpu, intercepts);
        cpu
    };
    let (translated, mut cpu) = (start(), start());
    cpu.direct = Some(Direct::new(cpu.mmu.physical.memory().file().unwrap(), 1).unwrap());
    (0..8).for_each(|_| cpu.found_program());
    // A switch of worlds wants a look around, which is the main loop's.
    let end = |cpu: &mut Cpu| (0..20).map(|_| cpu.run_blocks()).find(Result::is_err).unwrap_or(Ok(()));
    let mut translated = translated;
    let ends = [end(&mut cpu), end(&mut translated)];
    (ends, cpu.instruments.counters.direct_runs != 0)
}

#[test]
fn what_a_hypervisor_intercepts_exits() {
    let forms: [(Intercept, &[u8]); 18] = [
        (Intercept::Pause, &[0xf3, 0x90]),
        (Intercept::Pushf, &[0x9c]),
        (Intercept::Popf, &[0x6a, 2, 0x9d]),
        (Intercept::Iret, &[0x48, 0xcf]),
        (Intercept::SoftwareInterrupt, &[0xcd, 0x80]),
        (Intercept::SoftwareInterrupt, &[0xcd, 3]),
        (Intercept::SoftwareInterrupt, &[0xcd, 4]),
        (Intercept::Icebp, &[0xf1]),
        (Intercept::Rdtsc, &[0x0f, 0x31]),
        (Intercept::Rdtscp, &[0x0f, 0x01, 0xf9]),
        (Intercept::Rdpmc, &[0x0f, 0x33]),
        (Intercept::Cpuid, &[0x0f, 0xa2]),
        (Intercept::Vmmcall, &[0x0f, 0x01, 0xd9]),
        (Intercept::Rdpru, &[0x0f, 0x01, 0xfd]),
        (Intercept::IdtrRead, &[0x0f, 0x01, 0x0c, 0x25, 0, 0, 7, 0]),
        (Intercept::GdtrRead, &[0x0f, 0x01, 0x04, 0x25, 0, 0, 7, 0]),
        (Intercept::LdtrRead, &[0x0f, 0x00, 0xc0]),
        (Intercept::TrRead, &[0x0f, 0x00, 0xc8]),
    ];
    for (intercept, code) in forms {
        let ([direct, translated], ran) = under(&[intercept], code);
        assert_eq!(direct, translated, "{intercept:?}");
        // What no process can be told of keeps a program from going there.
        assert_eq!(
            ran,
            !matches!(intercept, Intercept::Pushf | Intercept::Popf | Intercept::Iret),
            "{intercept:?}"
        );
        // Where #GP or #UD comes first, as of RDPMC at CPL 3, there is no exit.
        let exits = matches!(translated, Err(Fault::Exit(_)));
        assert!(
            exits || !matches!(intercept, Intercept::Pause | Intercept::Iret | Intercept::Cpuid),
            "{intercept:?}"
        );
    }
}

#[test]
fn xsave_tells_of_no_component_of_the_hosts() {
    // MOV EAX, -1; MOV EDX, EAX; XSAVE [DATA]; MOV RBX, XSTATE_BV: of x87 and SSE alone.
    let code = [
        &[0x90; 200],
        [0xb8, 0xff, 0xff, 0xff, 0xff, 0x89, 0xc2, 0x0f, 0xae, 0x24, 0x25, 0, 0, 7, 0].as_slice(),
        &[0x48, 0x8b, 0x1c, 0x25, 0, 2, 7, 0, BREAK],
    ]
    .concat();
    let mut cpu = program(&code);
    cpu.processor.regs.xcr0 = 3;
    let mut cpu = direct(cpu);
    assert!(breaks(&end(&mut cpu)));
    assert_eq!(cpu.processor.regs.gpr[gpr::RBX] & !3, 0);
}

#[test]
fn an_instruction_across_two_pages_is_looked_at_whichever_page_comes_first() {
    // CPUID at the end of a page that is mapped at two places, before a page with its second byte and before another.
    let (front, behind, other) = (PROGRAM + 0x1000, PROGRAM + 0x2000, PROGRAM + 0x4000);
    for order in [[front, front + 0x2000], [front + 0x2000, front]] {
        // Each place is entered at the last three bytes: NOP; NOP; 0F.
        let call =
            |place: u64| [&[0x48, 0xb8], (place + 0xffd).to_le_bytes().as_slice(), &[0xff, 0xd0]].concat();
        let code = [call(order[0]), call(order[1]), vec![BREAK]].concat();
        let start = || {
            let mut cpu = program(&code);
            write64(&mut cpu, SMALL + 8 * ((front + 0x2000) >> 12), front | USER);
            write(&mut cpu, front, &[0x90; 0x1000]);
            write(&mut cpu, front + 0xfff, &[0x0f]);
            // CPUID; RET, and SYSCALL's place: 0F 1F C0 is NOP EAX; RET.
            write(&mut cpu, behind, &[0xa2, 0xc3]);
            write(&mut cpu, other, &[0x1f, 0xc0, 0xc3]);
            cpu.processor.regs.gpr[gpr::RAX] = 0;
            cpu.flush_tlb(false);
            cpu
        };
        let mut translated = start();
        let mut cpu = direct(start());
        assert!(breaks(&end(&mut cpu)) && breaks(&translated.run_blocks()));
        assert_eq!(cpu.processor.regs.gpr, translated.processor.regs.gpr, "{order:x?}");
    }
}

#[test]
fn a_page_that_is_written_all_the_time_is_never_run_unseen() {
    // Forty times: MOV AL to the code behind; it; then CPUID is written there.
    let mut cpu = direct(program(&[0xb0, 1, BREAK]));
    for round in 0..40u8 {
        write(&mut cpu, PROGRAM, &[0xb0, round, BREAK]);
        cpu.processor.regs.rip = PROGRAM;
        assert!(breaks(&cpu.run_blocks()));
        assert_eq!(cpu.processor.regs.gpr[gpr::RAX] & 0xff, u64::from(round));
    }
    let cpuid = [0xb8, 0, 0, 0, 0, 0x0f, 0xa2, BREAK];
    write(&mut cpu, PROGRAM, &cpuid);
    cpu.processor.regs.rip = PROGRAM;
    assert!(breaks(&cpu.run_blocks()));
    let mut translated = program(&cpuid);
    assert!(breaks(&translated.run_blocks()));
    assert_eq!(cpu.processor.regs.gpr[gpr::RBX], translated.processor.regs.gpr[gpr::RBX]);
}
