//! Programs as they stand, in a process of their own: what they see, and what they cannot do.

use crate::Cpu;
use crate::direct::Direct;
use crate::direct::stub::BASE;
use crate::fault::Fault;
use crate::system::bench::*;
use ireko_x86::Exception;
use ireko_x86::bits::{cr4, pf};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

/// Where the bench has its page tables.
const TABLES: u64 = 0x1_0000;
const SMALL: u64 = TABLES + 0x3000;
const USER: u64 = 7;
const PROGRAM: u64 = 0x6_0000;
const DATA: u64 = 0x7_0000;
const ABSENT: u64 = 0x9_0000;
/// HLT, which programs may not.
const BREAK: u8 = 0xf4;

/// A program with its code at [`PROGRAM`], under small pages, of which that at [`ABSENT`] is not there.
fn program(code: &[u8]) -> Cpu {
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
fn direct(mut cpu: Cpu) -> Cpu {
    cpu.direct = Some(Direct::new(cpu.mmu.physical.memory().file().unwrap(), 1).unwrap());
    (0..8).for_each(|_| cpu.found_program());
    assert!(cpu.mmu.banks.current().direct.on);
    cpu
}

/// How a program ends that begins as it stands.
fn end(cpu: &mut Cpu) -> Result<(), Fault> {
    let ended = cpu.run_blocks();
    assert_ne!(cpu.instruments.counters.direct_runs, 0);
    ended
}

fn breaks(ended: &Result<(), Fault>) -> bool {
    matches!(ended, Err(Fault::Exception(exception)) if exception.vector == vector::GP)
}

/// The general registers of a program that ends with HLT, as it stands and translated.
fn both(code: &[u8]) -> [[u64; 16]; 2] {
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
    let stack = BASE + 0x1000 + (64 << 10) + 64;
    let code = [&[0x48, 0xbc], stack.to_le_bytes().as_slice(), &[0x0f, 0x0b]].concat();
    let mut cpu = direct(program(&code));
    assert!(matches!(end(&mut cpu), Err(Fault::Exception(_))));
    write(&mut cpu, PROGRAM, &[0xb0, 3, BREAK]);
    cpu.processor.regs.rip = PROGRAM;
    assert!(breaks(&cpu.run_blocks()));
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX] & 0xff, 3);
}
