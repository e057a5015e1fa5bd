//! Host signals: #DE, #XM, #MF, #GP and #UD of a copied instruction arrive as signals, and become the guest's exceptions. All
//! others on a thread that runs a guest go to the fault boundary.

// UNSAFETY: a signal handler that looks at and changes the interrupted context.
#![allow(unsafe_code)]

use crate::boundary::{self, HostFault};
use ireko_translate::{Hot, thunk};
use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

const CACHES: usize = 1024;

/// Address ranges of all code caches, as start and end; 0 is free.
static STARTS: [AtomicUsize; CACHES] = [const { AtomicUsize::new(0) }; CACHES];
static ENDS: [AtomicUsize; CACHES] = [const { AtomicUsize::new(0) }; CACHES];

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGFPE, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP];

/// Keeps one code cache known to the handler.
pub struct Registration(usize);

impl Registration {
    pub fn new((start, end): (usize, usize)) -> Option<Self> {
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

/// Lets host faults of this thread come here, and gives it an alternate signal stack, since RSP is not a stack in translated code.
pub fn prepare_thread() {
    install();
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

/// Runs `body`; a host fault on this thread meanwhile ends it, without any of its destructors. Panics go on to the caller.
pub fn guard<T>(body: impl FnOnce() -> T) -> Result<T, HostFault> {
    prepare_thread();
    boundary::guard(body)
}

thread_local! {
    /// The bank that translated code runs on. Plain data without a destructor, so that a signal handler may look at it.
    static ARMED: Cell<*mut Hot> = const { Cell::new(std::ptr::null_mut()) };
}

/// Translated code of this thread runs on this bank from now on.
pub fn arm(hot: *mut Hot) {
    ARMED.set(hot);
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid context to a SA_SIGINFO handler.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // SAFETY: as above. Signals that another process sent have no address.
    let (sent, address) = unsafe { ((*info).si_code <= 0, (*info).si_addr() as u64) };
    let (rip, rsp) = (registers[libc::REG_RIP as usize], registers[libc::REG_RSP as usize]);
    let trap = registers[libc::REG_TRAPNO as usize] as u64;
    let hot = ARMED.get();
    if !sent && translated(rip as usize) && rsp as *mut Hot == hot {
        // SAFETY: translated code runs on this bank, which this thread owns.
        unsafe {
            (*hot).reason = thunk::Reason::Signal as u64;
            (*hot).rip = rip as u64;
            (*hot).site = trap;
            (*hot).temp[0] = address;
        }
        registers[libc::REG_RIP as usize] = thunk::leave_address() as i64;
        return;
    }
    let fault = HostFault { signal, trap, address, rip: rip as u64, rsp: rsp as u64 };
    match (!sent).then(|| boundary::leave(fault)).flatten() {
        Some((rip, rsp)) => {
            registers[libc::REG_RIP as usize] = rip as i64;
            registers[libc::REG_RSP as usize] = rsp as i64;
            registers[libc::REG_EFL as usize] &= !(TRAP | DIRECTION | ALIGNMENT);
        }
        // Not ours: the default action, when the instruction runs again or the signal comes again.
        // SAFETY: resets one signal, and sends it to this thread where it was sent to begin with.
        None => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            if sent {
                libc::raise(signal);
            }
        },
    }
}

const TRAP: i64 = 1 << 8;
const DIRECTION: i64 = 1 << 10;
const ALIGNMENT: i64 = 1 << 18;
