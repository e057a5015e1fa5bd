//! Whether standard output was closed when the program started.

// UNSAFETY: a function in the list of initializers, and one system call in it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Before `main`, std opens /dev/null in the place of descriptors that are closed, so that nothing else gets their numbers. What
/// is written there is lost without a word; only who looks earlier can tell.
extern "C" fn look() {
    // SAFETY: F_GETFD takes no argument and changes nothing.
    let closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } < 0;
    CLOSED.store(closed, Ordering::Relaxed);
}

// SAFETY: the C library calls what this section lists, before `main`; the function uses nothing that is not there by then.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

pub fn standard_output() -> bool {
    CLOSED.load(Ordering::Relaxed)
}
