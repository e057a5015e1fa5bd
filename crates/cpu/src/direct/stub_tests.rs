//! A process by itself, without a guest: what it does not show, and how one that was turned against the engine ends.

use super::super::child::calls;
use super::super::copies::Copies;
use super::super::frame::GENERAL;
use super::*;
use crate::xstate;
use ireko_x86::regs::gpr;
use std::os::unix::fs::FileExt;

const PROGRAM: u64 = 0x1_0000;
const UD2: [u8; 2] = [0x0f, 0x0b];

/// A process with a program, which has left it by its first instruction, UD2: what follows that comes next.
fn process(code: &[u8]) -> (Stub, Copies) {
    let memory = memory_file(1 << 20).unwrap();
    let copies = Copies::new().unwrap();
    let mut stub = Stub::new(memory.as_fd(), copies.file()).unwrap();
    std::fs::File::from(memory).write_all_at(&[&UD2, code].concat(), 0).unwrap();
    let map = stub.map(PROGRAM, 4096, Backing::Memory(0), false, true);
    start(&mut stub, PROGRAM);
    assert_eq!(stub.run(&[map], || false).unwrap(), Ran::Left);
    assert_eq!((stub.left().signal, stub.left().context.register(libc::REG_RIP)), (libc::SIGILL, PROGRAM));
    start(&mut stub, PROGRAM + 2);
    (stub, copies)
}

fn start(stub: &mut Stub, rip: u64) {
    let (frame, _) = stub.begins();
    frame.context.set_register(libc::REG_RSP, PROGRAM);
    frame.context.set_register(libc::REG_RIP, rip);
    frame.context.set_register(libc::REG_EFL, 0x202);
}

/// JMP there, by R11.
fn jump(address: u64) -> Vec<u8> {
    [&[0x49, 0xbb], address.to_le_bytes().as_slice(), &[0x41, 0xff, 0xe3]].concat()
}

/// The report's call, with all that the filter wants of it.
fn report() -> Vec<u8> {
    let set = |code: u8, value: u64| [&[0x48, code], value.to_le_bytes().as_slice()].concat();
    [set(0xb8, 1), set(0xbf, REPORTS as u64), set(0xbe, NONCE), set(0xba, 8), jump(calls::write())].concat()
}

#[test]
fn a_second_report_to_one_request_is_refused() {
    let (mut stub, _copies) = process(&report());
    assert_eq!(stub.run(&[], || false).unwrap(), Ran::Left);
    // It waits in the call behind that report, where a signal makes it report again.
    stub.signal(libc::SIGURG);
    assert!(stub.awaits_report());
    assert!(stub.run(&[], || false).is_err());
}

#[test]
fn a_report_of_another_number_is_refused() {
    // MOV RAX, NONCE; INC QWORD [RAX]
    let code = [&[0x48, 0xb8], NONCE.to_le_bytes().as_slice(), &[0x48, 0xff, 0x00], &report()].concat();
    let (mut stub, _copies) = process(&code);
    assert!(stub.run(&[], || false).is_err());
}

#[test]
fn who_waits_for_a_request_and_has_not_reported_is_heard_of() {
    let (mut stub, _copies) = process(&jump(calls::read()));
    let frame = stub.begins().0;
    frame.context.set_register(libc::REG_RAX, libc::SYS_read as u64);
    frame.context.set_register(libc::REG_RDI, REQUESTS as u64);
    frame.context.set_register(libc::REG_RSI, NONCE);
    frame.context.set_register(libc::REG_RDX, 8);
    assert_eq!(stub.run(&[], || true).unwrap(), Ran::Left);
    assert_eq!(stub.left().context.register(libc::REG_RIP) >> 12, BASE >> 12);
}

#[test]
fn one_that_is_stopped_is_given_up() {
    let (mut stub, _copies) = process(&[0xeb, 0xfe]);
    stub.signal(libc::SIGSTOP);
    assert!(stub.run(&[], || true).is_err());
}

#[test]
fn one_that_has_ended_is_given_up() {
    // MOV RSP, near the lower end of the stack that signals come on; UD2.
    let stack = CONTROL + STACK as u64 + 1024;
    let code = [&[0x48, 0xbc], stack.to_le_bytes().as_slice(), &UD2].concat();
    let (mut stub, _copies) = process(&code);
    assert!(stub.run(&[], || false).is_err());
    assert!(stub.run(&[], || false).is_err());
}

#[test]
fn a_command_that_fails_is_told_before_the_program_runs() {
    let (mut stub, _copies) = process(&UD2);
    // An address that is none of a page's.
    let map = stub.map(PROGRAM + 0x1001, 4096, Backing::Memory(0), false, true);
    assert_eq!(stub.run(&[map], || false).unwrap(), Ran::NotBegun);
}

#[test]
fn commands_that_are_not_done_yet_are_not_taken_for_done() {
    let (mut stub, _copies) = process(&UD2);
    stub.signal(libc::SIGSTOP);
    stub.go(&[], true).unwrap();
    assert_eq!(stub.done(), Ran::NotBegun);
    stub.signal(libc::SIGCONT);
    stub.wait(|| true, SLOW).unwrap();
    assert_eq!(stub.done(), Ran::Left);
}

#[test]
fn who_is_on_the_way_to_a_program_is_told_from_who_comes_from_one() {
    let (mut stub, _copies) = process(&UD2);
    let halves = [stub.high(0), stub.high(1)];
    for (rip, half, returning) in
        [(BASE + 8, halves[1], true), (BASE + 8, 0, false), (PROGRAM, halves[1], false)]
    {
        let context = &mut stub.left.context;
        context.set_register(libc::REG_RIP, rip);
        context.set_register(libc::REG_R10, halves[0]);
        context.set_register(libc::REG_R8, half);
        assert_eq!(stub.is_returning(), returning, "{rip:#x} {half:#x}");
    }
}

#[test]
fn the_next_program_finds_nothing_of_the_last() {
    // MOV RAX, in what both have; MOV [RAX], RAX.
    let place = CONTROL + 0x2000;
    let code = [&[0x48, 0xb8], place.to_le_bytes().as_slice(), &[0x48, 0x89, 0x00], &UD2].concat();
    let (mut stub, _copies) = process(&code);
    assert_eq!(stub.run(&[], || false).unwrap(), Ran::Left);
    stub.forget().unwrap();
    let shared = stub.shared();
    assert_eq!(shared.iter().position(|byte| *byte != 0), None);
}

#[test]
fn registers_are_nowhere_when_they_are_wiped() {
    // SHL RAX, 1; MOVQ XMM0, RAX; UD2.
    let (mut stub, _copies) = process(&[0x48, 0xd1, 0xe0, 0x66, 0x48, 0x0f, 0x6e, 0xc0, 0x0f, 0x0b]);
    let value = 0x1234_5678_9abc_def0u64;
    stub.begins().0.context.set_register(libc::REG_RAX, value);
    assert_eq!(stub.run(&[], || false).unwrap(), Ran::Left);
    assert_eq!(stub.left().context.register(libc::REG_RAX), value << 1);
    stub.wipe();
    let shared = stub.shared();
    for value in [value, value << 1] {
        assert!(!shared.windows(8).any(|bytes| bytes == value.to_le_bytes()));
    }
}

#[test]
fn a_signal_tells_nothing_of_its_sender() {
    let (mut stub, _copies) = process(&[0xeb, 0xfe]);
    assert_eq!(stub.run(&[], || true).unwrap(), Ran::Left);
    assert_eq!(stub.left().signal, libc::SIGURG);
    // Behind the context is what is told: the number, an error, the kind, and a process and a user (linux/asm-generic/siginfo.h).
    let shared = stub.shared();
    let context = u64::from_le_bytes(shared[..8].try_into().unwrap());
    let told = &shared[(context - CONTROL) as usize + frame::CONTEXT..][..24];
    let told: Vec<i32> = told.chunks(4).map(|word| i32::from_le_bytes(word.try_into().unwrap())).collect();
    assert_eq!(told, [libc::SIGURG, 0, libc::SI_QUEUE, 0, 0, 0]);
}

#[test]
fn the_secret_is_gone_when_the_program_runs() {
    let (mut stub, _copies) = process(&UD2);
    let map = stub.map(PROGRAM + 0x1000, 4096, Backing::Memory(0), false, true);
    assert_eq!(stub.run(&[map], || false).unwrap(), Ran::Left);
    let shared = stub.shared();
    for half in [stub.high(0), stub.high(1)] {
        let half = &half.to_le_bytes()[4..];
        assert!(!shared.windows(4).any(|bytes| bytes == half));
    }
}

#[test]
fn a_program_gets_no_vector_state_but_its_own() {
    if !std::arch::is_x86_feature_detected!("avx2") {
        return;
    }
    // VPCMPEQD YMM0, YMM0, YMM0; UD2; then VEXTRACTI128 XMM1, YMM0, 1; VMOVQ RBX, XMM1; UD2.
    let first = [0xc5, 0xfd, 0x76, 0xc0, 0x0f, 0x0b];
    let second = [0xc4, 0xe3, 0x7d, 0x39, 0xc1, 1, 0xc4, 0xe1, 0xf9, 0x7e, 0xcb, 0x0f, 0x0b];
    let (mut stub, _copies) = process(&[first.as_slice(), &second].concat());
    assert_eq!(stub.run(&[], || false).unwrap(), Ran::Left);
    assert_ne!(stub.left().present() & xstate::AVX, 0);
    // The next is given x87 and SSE state.
    let own = stub.left().area.clone();
    stub.begins().0.set_area(&own, xstate::X87 | xstate::SSE, &xstate::vectors());
    start(&mut stub, PROGRAM + 2 + first.len() as u64);
    assert_eq!(stub.run(&[], || false).unwrap(), Ran::Left);
    assert_eq!(stub.left().context.register(GENERAL[gpr::RBX]), 0);
}
