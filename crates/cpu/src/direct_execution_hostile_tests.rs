//! Programs that turn against the process that they run in: they know all of its code and write all of its memory.

use super::tests::*;
use crate::Cpu;
use crate::direct::child::calls;
use crate::fault::Fault;
use crate::system::bench::*;
use ireko_x86::Exception;
use ireko_x86::bits::pf;
use ireko_x86::regs::{gpr, seg};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Where the kernel's context has registers, and where its mask of signals is (linux/arch/x86/include/uapi/asm/sigcontext.h).
const CONTEXT: u64 = 304;
const RIP: u64 = 40 + 16 * 8;
const FLAGS: u64 = 40 + 17 * 8;
const ERROR: u64 = 40 + 19 * 8;
const TRAP: u64 = 40 + 20 * 8;
const CR2: u64 = 40 + 22 * 8;
const SELECTORS: u64 = 40 + 18 * 8;
const AREA: u64 = 224;
const MASK: u64 = 296;
/// A frame that a program has made, on the stack that signals come on, and the XSAVE area of one.
const FORGED: u64 = calls::SIGNAL_STACK + 0x400;
const FORGED_AREA: u64 = calls::SIGNAL_STACK + 0x1000;
/// What a program has found out.
const FOUND: u64 = DATA + 0x800;

/// Instructions, one behind the other.
#[derive(Default)]
struct Code(Vec<u8>);

impl Code {
    fn add(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// MOV of a register, immediate.
    fn set(self, register: usize, value: u64) -> Self {
        let register = register as u8;
        self.add(&[0x48 | register >> 3, 0xb8 | register & 7]).add(&value.to_le_bytes())
    }

    /// MOV RAX, [address].
    fn load(self, address: u64) -> Self {
        self.add(&[0x48, 0xa1]).add(&address.to_le_bytes())
    }

    /// MOV [address], RAX.
    fn save(self, address: u64) -> Self {
        self.add(&[0x48, 0xa3]).add(&address.to_le_bytes())
    }

    fn store(self, address: u64, value: u64) -> Self {
        self.set(gpr::RAX, value).save(address)
    }

    /// JMP, by R11.
    fn jump(self, address: u64) -> Self {
        self.set(11, address).add(&[0x41, 0xff, 0xe3])
    }

    /// IRETQ, with these flags.
    fn return_to(self, address: u64, flags: u64) -> Self {
        let push = |code: Self, value| code.set(11, value).add(&[0x41, 0x53]);
        let code = [0x2b, DATA + 0xf00, flags, 0x33, address].into_iter().fold(self, push);
        code.add(&[0x48, 0xcf])
    }

    /// REP MOVSB from where RSI says.
    fn copy_to(self, address: u64, bytes: u64) -> Self {
        self.set(gpr::RDI, address).set(gpr::RCX, bytes).add(&[0xf3, 0xa4])
    }

    /// The context of the last signal is at [`FORGED`], too, and the next report tells of that one.
    fn forge(self) -> Self {
        let code = self.store(DATA, 1).load(calls::SHARED).add(&[0x48, 0x89, 0xc6]);
        code.copy_to(FORGED, CONTEXT).store(calls::SHARED, FORGED)
    }

    /// What is written there and the like, from here to the program's start.
    fn here(&self) -> u64 {
        PROGRAM + self.0.len() as u64
    }
}

/// Its faults, one after the other, while somebody wakes the processor all the time.
fn faults(cpu: &mut Cpu, count: usize) -> Vec<Fault> {
    let wake = cpu.platform.wake.clone();
    let (done, ended) = channel::<()>();
    let waker = std::thread::spawn(move || {
        while ended.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
            wake.wake();
        }
    });
    let mut faults = Vec::new();
    for _ in 0..2000 {
        cpu.platform.wake.clear();
        if let Err(fault) = cpu.run_blocks() {
            faults.push(fault);
        }
        if faults.len() == count {
            break;
        }
    }
    drop(done);
    waker.join().unwrap();
    faults
}

fn is_exception(fault: &Fault) -> bool {
    matches!(fault, Fault::Exception(_))
}

#[test]
fn a_stubs_calls_reach_no_guest_memory() {
    for (call, number) in [(calls::write(), 1), (calls::read(), 0)] {
        for file in [5, 6] {
            // Guest memory from its start, to and from DATA.
            let code = Code::default().store(DATA, 0x1234).set(gpr::RAX, number).set(gpr::RDI, file);
            let code = code.set(gpr::RSI, DATA).set(gpr::RDX, 8).jump(call);
            let mut cpu = direct(program(&code.0));
            write64(&mut cpu, 0, 0x5678);
            assert!(faults(&mut cpu, 1).iter().all(is_exception));
            assert_eq!((read64(&mut cpu, 0), read64(&mut cpu, DATA)), (0x5678, 0x1234), "{number} {file}");
        }
    }
}

#[test]
fn who_reports_twice_sees_no_secret() {
    // Once more by the trap of TF behind the call.
    let mut code = Code::default().store(FOUND, 0).forge();
    let patch = code.0.len() + 2;
    code = code.store(FORGED + RIP, 0).store(FORGED + FLAGS, 0x202);
    code = code.store(FORGED + TRAP, 14).store(FORGED + ERROR, 4).store(FORGED + CR2, 0xa_0000);
    code = code.store(calls::SHARED + 8, 11);
    code =
        code.set(gpr::RAX, 1).set(gpr::RDI, 4).set(gpr::RSI, calls::SHARED + 72).set(gpr::RDX, calls::REPORT);
    code = code.return_to(calls::write(), 0x302);
    let loose = code.here();
    // MOV EAX, [RCX]; TEST EAX, EAX; JZ; MOV [FOUND], RAX; JMP $.
    code = code.set(gpr::RCX, calls::SECRET).add(&[0x8b, 0x01, 0x85, 0xc0, 0x74, 0xfa]).save(FOUND);
    code = code.add(&[0xeb, 0xfe]);
    code.0[patch..patch + 8].copy_from_slice(&loose.to_le_bytes());
    let mut cpu = direct(program(&code.0));
    for _ in 0..20 {
        faults(&mut cpu, 1);
        cpu.flush_tlb(false);
    }
    assert_eq!(read64(&mut cpu, FOUND), 0);
}

#[test]
fn a_forged_frame_brings_no_state_that_a_processor_would_not_take() {
    let forged: [(u64, u64); 7] = [
        // MXCSR, and the header behind the registers.
        (FORGED_AREA + 24, u64::MAX),
        (FORGED_AREA + 520, u64::MAX),
        (calls::SHARED + 24, 0x8000_0000_0000),
        (calls::SHARED + 32, 1 << 63),
        // The signal; CS of the guest's kernel, and SS.
        (calls::SHARED + 8, 99),
        (FORGED + SELECTORS, u64::from(KERNEL_CODE) | 0x2b << 48),
        (FORGED + SELECTORS, 0x33 | u64::from(KERNEL_DATA) << 48),
    ];
    for (address, value) in forged {
        let code = Code::default().forge().load(FORGED + AREA).add(&[0x48, 0x89, 0xc6]);
        let code = code.copy_to(FORGED_AREA, 832).store(FORGED + AREA, FORGED_AREA);
        let code = code.store(FORGED + RIP, PROGRAM + 0x800).store(FORGED + FLAGS, 0x202);
        let code = code.store(calls::SHARED + 8, 23).store(address, value);
        let code = code.set(gpr::RAX, 1).set(gpr::RDI, 4).set(gpr::RSI, calls::SHARED + 72);
        let code = code.set(gpr::RDX, calls::REPORT).jump(calls::write());
        let mut cpu = direct(program(&code.0));
        write(&mut cpu, PROGRAM + 0x800, &[BREAK]);
        let found = faults(&mut cpu, 1);
        assert!(found.iter().all(is_exception) && found.len() == 1, "{address:#x}: {found:?}");
        let regs = &cpu.processor.regs;
        assert!(
            [seg::FS, seg::GS].into_iter().all(|index| regs.canonical(regs.seg[index].base)),
            "{address:#x}"
        );
        assert_eq!(
            (regs.cpl, regs.seg[seg::CS].selector, regs.seg[seg::SS].selector),
            (3, 0x33, 0x2b),
            "{value:#x}"
        );
    }
}

#[test]
fn who_would_be_deaf_to_signals_has_a_fault() {
    // On a stack of its own.
    let frame = DATA + 0x100;
    let code = Code::default().forge().set(gpr::RSI, FORGED).copy_to(frame, CONTEXT);
    let code = code.store(frame + MASK, u64::MAX).store(frame + RIP, PROGRAM + 0x800);
    let code = code.set(gpr::RSP, frame).set(gpr::RAX, 15).jump(calls::sigreturn());
    let mut cpu = direct(program(&code.0));
    // JMP $.
    write(&mut cpu, PROGRAM + 0x800, &[0xeb, 0xfe]);
    let found = faults(&mut cpu, 1);
    // It was no return from a signal: a program was where nothing is.
    assert_eq!(found, [Exception::page_fault(calls::sigreturn() + 2, pf::USER).into()]);
}

#[test]
fn who_guesses_maps_nothing() {
    for number in [9, 11, 15, 231] {
        // Where a number is told from an instruction.
        let code = Code(vec![0x90; 128]).store(DATA, 1).set(gpr::RAX, number).set(gpr::RDI, 0x50_0000);
        let code = code.set(gpr::RSI, 4096).set(gpr::RDX, 3).set(10, 0x4011).set(8, 5);
        let code = code.set(9, 0).jump(calls::command());
        let mut cpu = direct(program(&code.0));
        let found = faults(&mut cpu, 1);
        let expected = Exception::page_fault(calls::command() + 2, pf::USER);
        assert_eq!(
            found,
            [expected.into()],
            "{number} {} {} {}",
            cpu.instruments.counters.direct_runs,
            cpu.instruments.counters.direct_steps,
            cpu.instruments.counters.direct_faults
        );
        assert!(cpu.mmu.banks.current().space.is_none());
    }
}
