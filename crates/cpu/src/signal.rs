//! Host signals in translated code: #DE, #XM, #MF, #GP and #UD of a copied instruction arrive as signals, and become
//! the guest's exceptions.

// UNSAFETY: a signal handler that looks at and changes the interrupted context.
#![allow(unsafe_code)]

use ireko_translate::{Hot, thunk};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

const CACHES: usize = 1024;

/// Address ranges of all code caches, as start and end; 0 is free.
static STARTS: [AtomicUsize; CACHES] = [const { AtomicUsize::new(0) }; CACHES];
static ENDS: [AtomicUsize; CACHES] = [const { AtomicUsize::new(0) }; CACHES];

const SIGNALS: [i32; 4] = [libc::SIGSEGV, libc::SIGFPE, libc::SIGBUS, libc::SIGILL];

/// Keeps one code cache known to the handler.
pub struct Registration(usize);

impl Registration {
    pub fn new((start, end): (usize, usize)) -> Option<Self> {
        install();
        let taken = |slot: &usize| {
            STARTS[*slot].compare_exchange(0, start, Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        let slot = (0..CACHES).find(taken)?;
        ENDS[slot].store(end, Ordering::Release);
        Some(Self(slot))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        ENDS[self.0].store(0, Ordering::Release);
        STARTS[self.0].store(0, Ordering::Release);
    }
}

fn translated(address: usize) -> bool {
    // A slot in the middle may be free again.
    (0..CACHES)
        .any(|n| address >= STARTS[n].load(Ordering::Acquire) && address < ENDS[n].load(Ordering::Acquire))
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in SIGNALS {
            // SAFETY: installs a handler of the right signature; it runs on the alternate stack.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handle as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
    });
}

/// Gives this thread an alternate signal stack, since RSP is not a stack in translated code.
pub fn prepare_thread() {
    use std::cell::RefCell;
    const SIZE: usize = 128 << 10;
    thread_local! { static STACK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) } }
    STACK.with(|stack| {
        let mut stack = stack.borrow_mut();
        if stack.is_empty() {
            stack.resize(SIZE, 0);
            let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: SIZE };
            // SAFETY: the buffer lives as long as the thread.
            unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) };
        }
    });
}

extern "C" fn handle(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid context to a SA_SIGINFO handler.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let rip = registers[libc::REG_RIP as usize] as usize;
    if !translated(rip) {
        // Not ours: the default action, when the instruction runs again.
        // SAFETY: resets one signal.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    let hot = registers[libc::REG_RSP as usize] as *mut Hot;
    // SAFETY: while translated code runs, RSP is its bank.
    unsafe {
        (*hot).reason = thunk::Reason::Signal as u64;
        (*hot).rip = rip as u64;
        (*hot).site = registers[libc::REG_TRAPNO as usize] as u64;
    }
    registers[libc::REG_RIP as usize] = thunk::leave_address() as i64;
}
