//! The fault boundary: a host fault on a thread that runs a guest (in translated code, in the assembly around it or in our own
//! Rust) comes back from [`crate::guard`] as an error, and never ends the process.
//!
//! Translated code's own faults are the guest's, mostly, and go another way ([`crate::signal`]); what comes here is a mistake of
//! ours. What the abandoned frames held (locks, memory) stays held: the VM is about to end, and with it its process.

// UNSAFETY: leaves frames from a signal handler, by machine code that restores registers and stack.
#![allow(unsafe_code)]

use std::arch::global_asm;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

/// What happened, in the host's terms.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostFault {
    pub signal: i32,
    /// The exception's vector.
    pub trap: u64,
    /// The address that was accessed, if it is a page fault.
    pub address: u64,
    pub rip: u64,
    pub rsp: u64,
}

impl std::fmt::Display for HostFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { signal, trap, address, rip, rsp } = self;
        write!(
            f,
            "host exception {trap} (signal {signal}) at host address {rip:#x}, accessing {address:#x}, with RSP {rsp:#x}: an engine fault; please report it"
        )
    }
}

impl std::error::Error for HostFault {}

/// Where to go on after a fault.
#[repr(C)]
struct Frame {
    /// RSP with the callee's registers above it.
    rsp: u64,
    fault: HostFault,
}

thread_local! {
    /// The innermost guard of this thread. Plain data without a destructor, so that a signal handler may look at it.
    static INNERMOST: Cell<*mut Frame> = const { Cell::new(ptr::null_mut()) };
}

// `ireko_guard(frame, body, argument)` calls `body(argument)` and gives 0; or 1, after `ireko_guard_landing` was jumped to with
// the frame's RSP. The FPU may be in any state then.
global_asm!(
    ".pushsection .text.ireko_guard,\"ax\",@progbits",
    ".globl ireko_guard",
    "ireko_guard:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "mov [rdi], rsp",
    "mov rdi, rdx",
    "call rsi",
    "xor eax, eax",
    "jmp 9f",
    ".globl ireko_guard_landing",
    "ireko_guard_landing:",
    "fninit",
    "vzeroupper",
    "mov dword ptr [rsp], 0x1f80",
    "ldmxcsr [rsp]",
    "mov eax, 1",
    "9:",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn ireko_guard(frame: *mut Frame, body: extern "C" fn(*mut u8), argument: *mut u8) -> u64;
    fn ireko_guard_landing();
}

/// A closure and its result, behind a plain pointer.
struct Call<F, T> {
    body: ManuallyDrop<F>,
    result: Option<std::thread::Result<T>>,
}

extern "C" fn run<F: FnOnce() -> T, T>(call: *mut u8) {
    // SAFETY: `guard` hands over its own `Call`, once.
    let call = unsafe { &mut *call.cast::<Call<F, T>>() };
    // SAFETY: the body is taken here and nowhere else.
    let body = unsafe { ManuallyDrop::take(&mut call.body) };
    call.result = Some(catch_unwind(AssertUnwindSafe(body)));
}

/// Runs `body`; a host fault on this thread meanwhile ends it, without any of its destructors. Panics go on to the caller. The
/// thread's faults have to come to the signal handler: [`crate::guard`].
pub(crate) fn guard<T>(body: impl FnOnce() -> T) -> Result<T, HostFault> {
    let mut call = Call { body: ManuallyDrop::new(body), result: None };
    let trampoline = trampoline(&call);
    let mut frame = Frame { rsp: 0, fault: HostFault::default() };
    let outer = INNERMOST.replace(&raw mut frame);
    // SAFETY: frame and call outlive the call, and the trampoline is made for this kind of call.
    let faulted = unsafe { ireko_guard(&raw mut frame, trampoline, (&raw mut call).cast()) };
    INNERMOST.set(outer);
    if faulted != 0 {
        // SAFETY: the handler has written it.
        return Err(unsafe { (&raw const frame.fault).read_volatile() });
    }
    match call.result.expect("the body ran to its end") {
        Ok(value) => Ok(value),
        Err(panic) => resume_unwind(panic),
    }
}

fn trampoline<F: FnOnce() -> T, T>(_: &Call<F, T>) -> extern "C" fn(*mut u8) {
    run::<F, T>
}

/// In a signal handler: notes the fault with this thread's innermost guard, and gives the RIP and RSP to go on with; `None`
/// where nothing is guarded.
pub(crate) fn leave(fault: HostFault) -> Option<(u64, u64)> {
    let frame = INNERMOST.get();
    if frame.is_null() {
        return None;
    }
    // SAFETY: a guard that is on this thread's stack, below which the fault happened.
    unsafe {
        (&raw mut (*frame).fault).write_volatile(fault);
        Some((ireko_guard_landing as *const () as u64, (*frame).rsp))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::HostFault;
    use crate::signal::guard;
    use std::panic::catch_unwind;

    /// Reads a byte of the host's memory.
    pub(crate) fn touch(address: u64) -> Result<u8, HostFault> {
        // SAFETY: not at all; this is what the boundary is for.
        guard(|| unsafe { (address as *const u8).read_volatile() })
    }

    #[test]
    fn a_fault_is_an_error_that_says_where() {
        let fault = touch(0x1234).unwrap_err();
        assert_eq!((fault.signal, fault.trap, fault.address), (libc::SIGSEGV, 14, 0x1234));
    }

    #[test]
    fn a_thread_survives_many_faults() {
        assert!((0..100).all(|n| touch(n).is_err()));
    }

    #[test]
    fn an_inner_guard_leaves_the_outer_one_in_force() {
        let outer = guard(|| {
            assert!(touch(8).is_err());
            // SAFETY: as above.
            unsafe { (16 as *const u8).read_volatile() }
        });
        assert_eq!(outer.unwrap_err().address, 16);
    }

    #[test]
    fn a_result_comes_through() {
        assert_eq!(guard(|| 7), Ok(7));
    }

    #[test]
    fn a_panic_comes_through() {
        assert!(catch_unwind(|| guard(|| panic!("on purpose"))).is_err());
    }

    #[test]
    fn an_endless_recursion_is_a_fault() {
        #[allow(unconditional_recursion)]
        fn deeper(n: u64) -> u64 {
            std::hint::black_box(deeper(std::hint::black_box(n + 1)) + 1)
        }
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        let fault = thread.spawn(|| guard(|| deeper(0))).unwrap().join().unwrap();
        assert_eq!(fault.unwrap_err().signal, libc::SIGSEGV);
    }

    use crate::mmu::physical::Physical;
    use crate::mmu::view::SUPERVISOR_ALL;
    use crate::system::bench::{self, CODE};
    use ireko_vmcore::memory::BLOCK;
    use ireko_vmcore::{Bus, Halt, Memory, Space, Stop};
    use std::sync::Arc;

    struct Nothing;
    impl Bus for Nothing {
        fn read(&self, _: Space, _: u64, _: &mut [u8]) {}
        fn write(&self, _: Space, _: u64, _: &[u8]) {}
    }

    const DATA: u64 = 0x7_0000;

    /// Runs code whose data page leads to host memory that cannot be accessed.
    fn misled(code: &[u8]) -> Halt {
        misled_to(bench::long().mmu.banks.current().entry(SUPERVISOR_ALL, DATA).host, code)
    }

    fn misled_to(nowhere: u64, code: &[u8]) -> Halt {
        let mut cpu = bench::long();
        bench::write(&mut cpu, CODE, code);
        for gpr in [3, 6, 7] {
            cpu.processor.regs.gpr[gpr] = DATA;
        }
        cpu.processor.regs.gpr[1] = 8;
        cpu.mmu.banks.current().fill(SUPERVISOR_ALL, DATA, nowhere as *mut u8, true, false);
        cpu.run_guarded(&Nothing, &Stop::default())
    }

    /// Memory with one block that was there, and the host address that somebody has looked up before it went.
    fn gone() -> (Arc<Memory>, u64) {
        const ROOM: u64 = 1 << 32;
        let memory = Arc::new(Memory::with_room(&[(0, 0x1000)], Some((ROOM, BLOCK))).unwrap());
        memory.plug(ROOM, BLOCK).unwrap();
        let looked_up = Physical::new(memory.clone()).host(ROOM).unwrap() as u64;
        assert_eq!(touch(looked_up), Ok(0));
        let other = memory.clone();
        std::thread::spawn(move || other.unplug(ROOM, BLOCK).unwrap()).join().unwrap();
        (memory, looked_up)
    }

    #[test]
    fn a_block_that_went_after_it_was_looked_up_is_a_fault_and_no_end() {
        let (_memory, stale) = gone();
        assert_eq!(touch(stale).unwrap_err().address, stale);
    }

    #[test]
    fn whoever_still_reaches_for_a_block_that_went_ends_the_run_with_a_report() {
        let (_memory, stale) = gone();
        for code in [&[0x8b, 0x03][..], &[0xf3, 0xa4], &[0xac]] {
            let halt = misled_to(stale, code);
            assert!(is_reported(&halt), "{code:x?}: {halt:?}");
        }
    }

    fn is_reported(halt: &Halt) -> bool {
        matches!(halt, Halt::Failed(text) if text.contains("rip="))
    }

    #[test]
    fn a_fault_of_translated_code_ends_the_run_with_a_report() {
        let halt = misled(&[0x8b, 0x03]); // mov eax, [rbx]
        assert!(is_reported(&halt), "{halt:?}");
    }

    #[test]
    fn a_fault_in_assembly_ends_the_run_with_a_report() {
        let halt = misled(&[0xf3, 0xa4]); // rep movsb
        assert!(is_reported(&halt), "{halt:?}");
    }

    #[test]
    fn a_fault_in_a_routine_ends_the_run_with_a_report() {
        let halt = misled(&[0xac]); // lodsb
        assert!(is_reported(&halt), "{halt:?}");
    }
}
