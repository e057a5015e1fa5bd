//! A loop whose turns are translated in a row does what it does turn by turn.

use crate::Cpu;
use crate::fault::Fault;
use crate::system::bench::{CODE, long, set_level, write, write64};
use crate::tuning::Unroll;
use ireko_x86::Registers;
use ireko_x86::bits::rflags;
use ireko_x86::exception::Exception;
use ireko_x86::regs::gpr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Level-1 table, and the first page of data. Of the sixteen pages from there on the last is not there, and the one before is only read.
const TABLE: u64 = 0x2_0000;
const DATA: u64 = 0x4_0000;
const PAGES: u64 = 16;

/// At these distances all of it is there again: entries of the TLB are the same by one index, and others by the other.
const AGAIN: [u64; 3] = [0, 8 << 20, 8 << 30];

fn cpu(cpl: u8) -> Cpu {
    let mut cpu = long();
    write64(&mut cpu, 0x1_2000, TABLE | 7);
    write64(&mut cpu, 0x1_2000 + 8 * (AGAIN[1] >> 21), TABLE | 7);
    write64(&mut cpu, 0x1_1000 + 8 * (AGAIN[2] >> 30), 0x1_2000 | 7);
    for page in 0..256 {
        let flags = match page {
            _ if page == (DATA >> 12) + PAGES - 1 => 0,
            _ if page == (DATA >> 12) + PAGES - 2 => 5,
            _ => 7,
        };
        write64(&mut cpu, TABLE + 8 * page, page << 12 | flags);
    }
    for at in (0..PAGES << 12).step_by(8) {
        write64(&mut cpu, DATA + at, at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    cpu.flush_tlb(false);
    set_level(&mut cpu, cpl);
    cpu.platform.tuning.direct_exceptions = false;
    cpu
}

/// What a loop leaves: how it ended, the registers, and the data.
#[derive(Debug, PartialEq)]
struct Left {
    end: Result<(), Fault>,
    regs: Registers,
    data: Vec<u8>,
}

fn run(code: &[u8], cpl: u8, unrolls: Unroll, ready: impl Fn(&mut Registers)) -> Left {
    let mut cpu = cpu(cpl);
    cpu.code.unrolls = unrolls;
    write(&mut cpu, CODE, code);
    let regs = &mut cpu.processor.regs;
    (regs.rip, regs.gpr[gpr::RSP]) = (CODE, DATA + 0x2000);
    ready(regs);
    let end = cpu.round();
    let mut data = vec![0; ((PAGES - 1) << 12) as usize];
    data.chunks_mut(4096).zip((DATA..).step_by(4096)).for_each(|(page, at)| cpu.read_physical(at, page));
    Left { end, regs: cpu.processor.regs, data }
}

/// The same of both ways, given once.
fn both(code: &[u8], cpl: u8, ready: impl Fn(&mut Registers)) -> Left {
    let [one, row] = [Unroll::None, Unroll::All].map(|unrolls| run(code, cpl, unrolls, &ready));
    assert!(one == row, "{code:02x?}\n{:?} {:x?}\n{:?} {:x?}", one.end, one.regs, row.end, row.regs);
    row
}

/// mov rax, [rsi]; lea rcx, [rsi+r12]; mov [rdi], rax; add rsi, 8; add rdi, 8; dec r13; jnz; ud2.
const COPY: [u8; 25] = [
    0x48, 0x8b, 0x06, 0x4a, 0x8d, 0x0c, 0x26, 0x48, 0x89, 0x07, 0x48, 0x83, 0xc6, 8, 0x48, 0x83, 0xc7, 8,
    0x49, 0xff, 0xcd, 0x75, 0xe9, 0x0f, 0x0b,
];

fn copies(from: u64, to: u64, count: u64) -> impl Fn(&mut Registers) {
    move |regs| {
        (regs.gpr[6], regs.gpr[7], regs.gpr[13]) = (from, to, count);
    }
}

#[test]
fn it_turns_as_often_as_it_should() {
    for cpl in [0, 3] {
        for count in 1..20 {
            let left = both(&COPY, cpl, copies(DATA, DATA + 0x3000, count));
            let copied = (count * 8) as usize;
            assert_eq!((left.end, left.regs.rip, left.regs.gpr[13]), (Err(Fault::ud()), CODE + 23, 0));
            assert_eq!(left.data[0x3000..0x3000 + copied], left.data[..copied]);
        }
    }
}

/// The fault is that of the turn that it comes in, with all turns before it done.
#[test]
fn a_fault_is_in_its_turn() {
    let missing = DATA + ((PAGES - 1) << 12);
    for before in 0..20 {
        let left = both(&COPY, 3, copies(missing - before * 8, DATA + 0x3000, 100));
        assert_eq!((left.regs.rip, left.regs.gpr[6]), (CODE, missing));
        let read_only = missing - 0x1000;
        let left = both(&COPY, 3, copies(DATA, read_only - before * 8, 100));
        assert_eq!((left.regs.rip, left.regs.gpr[7], left.regs.gpr[13]), (CODE + 7, read_only, 100 - before));
    }
}

#[test]
fn pages_are_crossed_in_the_middle_of_a_turn() {
    for offset in 0..16 {
        both(&COPY, 3, copies(DATA + 0xfc1 + offset, DATA + 0x4fb3 + offset, 40));
    }
}

/// The loop writes into itself: `add eax, 1` becomes `add eax, 2` and so on, each turn the next.
#[test]
fn a_loop_that_rewrites_itself_sees_it_in_the_next_turn() {
    // add eax, 1; inc byte [rip-9]; dec r13; jnz; ud2.
    let code = [0x83, 0xc0, 1, 0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, 0x49, 0xff, 0xcd, 0x75, 0xf2, 0x0f, 0x0b];
    for cpl in [0, 3] {
        let left = both(&code, cpl, |regs| (regs.gpr[0], regs.gpr[13]) = (0, 10));
        assert_eq!(left.regs.gpr[0], (1..=10).sum::<u64>());
    }
}

/// A jump back without a condition, and a way out of the middle; flags go from turn to turn.
#[test]
fn flags_go_from_turn_to_turn() {
    // cmp rsi, r13; jae +12; adc rax, [rsi]; lea rsi, [rsi+8]; rcr rbx, 1; jmp; ud2.
    let code = [
        0x4c, 0x39, 0xee, 0x73, 0x0c, 0x48, 0x13, 0x06, 0x48, 0x8d, 0x76, 8, 0x48, 0xd1, 0xdb, 0xeb, 0xef,
        0x0f, 0x0b,
    ];
    let left = both(&code, 3, |regs| {
        (regs.gpr[6], regs.gpr[13], regs.gpr[0], regs.gpr[3]) = (DATA, DATA + 31 * 8, u64::MAX, 0);
    });
    assert_eq!((left.end, left.regs.gpr[6]), (Err(Fault::ud()), DATA + 31 * 8));
}

/// `add` becomes `adc` in the turn behind the one that writes it, and takes the carry of the comparison in front of the write.
#[test]
fn flags_are_there_for_an_instruction_that_is_written_meanwhile() {
    // add rax, rbx; lea r13, [r13-1]; test r13, r13; jz +11; cmp rbx, rdx; mov [rip-23], cl; jmp; ud2.
    let code = [
        0x48, 0x01, 0xd8, 0x4d, 0x8d, 0x6d, 0xff, 0x4d, 0x85, 0xed, 0x74, 0x0b, 0x48, 0x39, 0xd3, 0x88, 0x0d,
        0xec, 0xff, 0xff, 0xff, 0xeb, 0xe9, 0x0f, 0x0b,
    ];
    for cpl in [0, 3] {
        let left = both(&code, cpl, |regs| {
            (regs.gpr[0], regs.gpr[3], regs.gpr[2], regs.gpr[13], regs.gpr[1]) = (0, 1, 2, 3, 0x11);
        });
        assert_eq!(left.regs.gpr[0], 5);
    }
}

/// Whoever interrupts a loop at its start finds the flags of its last turn.
#[test]
fn flags_are_there_for_who_interrupts() {
    // add rsi, rbx; mov [rdi], rsi; jmp. The store lies over a page's end.
    let code = [0x48, 0x01, 0xde, 0x48, 0x89, 0x37, 0xeb, 0xf8];
    let mut cpu = cpu(3);
    cpu.code.unrolls = Unroll::All;
    write(&mut cpu, CODE, &code);
    let regs = &mut cpu.processor.regs;
    (regs.rip, regs.gpr[3], regs.gpr[6], regs.gpr[7]) = (CODE, 7, 0, DATA + 0xffc);
    let asks = Asks::of(&cpu);
    for _ in 0..50 {
        cpu.round().unwrap();
        let regs = &cpu.processor.regs;
        let even = (regs.gpr[6] as u8).count_ones().is_multiple_of(2);
        if regs.rip == CODE && regs.gpr[6] != 0 {
            assert_eq!(regs.rflags & rflags::PF != 0, even, "{:x?}", regs);
        }
    }
    drop(asks);
}

/// The address of a group's first access is that of its instruction, moved: it may be moved no further than a displacement can be.
#[test]
fn displacements_at_their_ends_are_not_moved_beyond() {
    // mov rbx, [rdi]; jmp +0; mov rax, [rsi-80000000h]; sub rsi, 8; dec r13; jnz; ud2.
    let code = [
        0x48, 0x8b, 0x1f, 0xeb, 0, 0x48, 0x8b, 0x86, 0, 0, 0, 0x80, 0x48, 0x83, 0xee, 8, 0x49, 0xff, 0xcd,
        0x75, 0xf0, 0x0f, 0x0b,
    ];
    // 2 GiB below the data there is nothing.
    let below = both(&code, 3, copies((DATA + 0x800).wrapping_sub(0x8000_0000), DATA, 9));
    assert_ne!(below.end, Err(Fault::ud()));
    let there = both(&code, 3, copies(DATA + 0x800 + 0x8000_0000, DATA, 9));
    assert_eq!((there.end, there.regs.gpr[6]), (Err(Fault::ud()), DATA + 0x800 + 0x8000_0000 - 72));
}

/// A page that may only be read is at its entry, put there by the second level. A loop that writes looks up another page at that entry.
#[test]
fn no_page_is_written_by_another_pages_entry_for_reading() {
    // mov al, [rsi]; mov al, [rbx]; mov al, [rsi]; jmp +0; mov [rdi], al; mov [rdi+8], al; dec r13; jnz; ud2.
    let code = [
        0x8a, 0x06, 0x8a, 0x03, 0x8a, 0x06, 0xeb, 0, 0x88, 0x07, 0x88, 0x47, 8, 0x49, 0xff, 0xcd, 0x75, 0xf6,
        0x0f, 0x0b,
    ];
    let read_only = DATA + ((PAGES - 2) << 12);
    for upper in [0, AGAIN[2]] {
        for bit in 12..34 {
            let left = both(&code, 3, |regs| {
                (regs.gpr[6], regs.gpr[3]) = (upper + read_only, upper + read_only + AGAIN[1]);
                (regs.gpr[7], regs.gpr[13]) = ((upper + read_only) ^ (1 << bit), 9);
            });
            let page = &left.data[(read_only - DATA) as usize..];
            assert_eq!(page[0], ((PAGES - 2) << 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) as u8, "bit {bit}");
        }
    }
}

/// Pages at the skewed index are forgotten one by one, and with the large page that they are of.
#[test]
fn what_a_loop_found_is_forgotten_with_the_page() {
    // mov rax, [rsi]; mov rbx, [rsi+8]; jmp.
    let code = [0x48, 0x8b, 0x06, 0x48, 0x8b, 0x5e, 8, 0xeb, 0xf7];
    for large in [false, true] {
        for again in AGAIN {
            let mut cpu = cpu(3);
            cpu.code.unrolls = Unroll::All;
            write(&mut cpu, CODE, &code);
            (cpu.processor.regs.rip, cpu.processor.regs.gpr[6]) = (CODE, DATA + again);
            let asks = Asks::of(&cpu);
            for _ in 0..5 {
                cpu.round().unwrap();
            }
            drop(asks);
            write64(&mut cpu, TABLE + 8 * (DATA >> 12), 0);
            if large {
                cpu.mmu.banks.current().mark_size(DATA + again, 2 << 20);
            }
            cpu.flush_page(DATA + again + if large { 0x1000 } else { 0 });
            assert_eq!(cpu.round(), Err(Fault::Exception(Exception::page_fault(DATA + again, 4))));
        }
    }
}

/// Loops of instructions by chance.
#[test]
fn loops_by_chance() {
    let mut random = 0x1234_5678_9abc_def1u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) % below
    };
    let body: [&[u8]; 23] = [
        &[0x48, 0x89, 0xf9],             // mov rcx, rdi
        &[0x48, 0x8b, 0x41, 0x08],       // mov rax, [rcx+8]
        &[0x4a, 0x8d, 0x0c, 0xc3],       // lea rcx, [rbx+r8*8]
        &[0x48, 0x89, 0x11],             // mov [rcx], rdx
        &[0x0f, 0x42, 0xce],             // cmovb ecx, esi
        &[0x48, 0x8b, 0x06],             // mov rax, [rsi]
        &[0x48, 0x8b, 0x46, 0x18],       // mov rax, [rsi+18h]
        &[0x48, 0x89, 0x07],             // mov [rdi], rax
        &[0x48, 0x01, 0x47, 0xf8],       // add [rdi-8], rax
        &[0x48, 0x83, 0xc6, 8],          // add rsi, 8
        &[0x48, 0x8d, 0x7f, 0xf0],       // lea rdi, [rdi-10h]
        &[0x48, 0x83, 0xc7, 4],          // add rdi, 4
        &[0x4a, 0x8b, 0x14, 0xc3],       // mov rdx, [rbx+r8*8]
        &[0x4a, 0x89, 0x54, 0xc3, 0x10], // mov [rbx+r8*8+10h], rdx
        &[0x49, 0xff, 0xc0],             // inc r8
        &[0x49, 0x83, 0xe8, 2],          // sub r8, 2
        &[0x53],                         // push rbx
        &[0x59],                         // pop rcx
        &[0x48, 0x11, 0xc2],             // adc rdx, rax
        &[0x48, 0x39, 0xd0],             // cmp rax, rdx
        &[0x72, 0x03, 0x49, 0xff, 0xc1], // jb +3; inc r9
        &[0x0f, 0x92, 0xc1],             // setb cl
        &[0x8a, 0x4e, 0x3f],             // mov cl, [rsi+3fh]
    ];
    for _ in 0..200 {
        let mut code: Vec<u8> = (0..1 + next(9)).flat_map(|_| body[next(23) as usize].to_vec()).collect();
        code.extend([0x49, 0xff, 0xcd]); // dec r13
        let back = -(code.len() as i64 + 2) as u8;
        code.extend([0x75, back, 0x0f, 0x0b]); // jnz; ud2
        let mut place = |end: u64| DATA + AGAIN[next(3) as usize] + next(end);
        let places = [place(15 << 12), place(15 << 12), place(14 << 12), next(40), 1 + next(60)];
        both(&code, if next(2) == 0 { 0 } else { 3 }, |regs| {
            (regs.gpr[6], regs.gpr[7], regs.gpr[3]) = (places[0], places[1], places[2]);
            (regs.gpr[8], regs.gpr[13]) = (places[3], places[4]);
        });
    }
}

/// One that turns on is found by whoever asks for attention, and is another block then, once.
#[test]
fn a_loop_that_is_found_running_is_translated_anew() {
    let mut cpu = cpu(3);
    cpu.code.unrolls = Unroll::Running;
    write(&mut cpu, CODE, &[0x48, 0x8b, 0x06, 0x48, 0x89, 0x07, 0xeb, 0xf8]); // mov rax, [rsi]; mov [rdi], rax; jmp
    (cpu.processor.regs.gpr[6], cpu.processor.regs.gpr[7]) = (DATA, DATA + 0x100);
    let key = cpu.key();
    let block = cpu.block(key).unwrap();
    let first = cpu.code.code_length(block);
    let asks = Asks::of(&cpu);
    let made: Vec<u64> = (0..5)
        .map(|_| {
            cpu.round().unwrap();
            cpu.instruments.counters.blocks
        })
        .collect();
    drop(asks);
    assert_eq!((made[0], made[4]), (1, 2));
    let key = cpu.key();
    let block = cpu.block(key).unwrap();
    assert_ne!(cpu.code.code_length(block), first);
}

/// Asks a processor to look around, again and again.
struct Asks {
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asks {
    fn of(cpu: &Cpu) -> Self {
        let (wake, enough) = (cpu.platform.wake.clone(), Arc::new(AtomicBool::new(false)));
        let stop = enough.clone();
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                wake.wake();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { enough, thread: Some(thread) }
    }
}

impl Drop for Asks {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
