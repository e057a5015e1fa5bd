//! The system calls that no crate offers as safe functions.

// UNSAFETY: seccomp(2) with a program of our own, and fork(2).
#![allow(unsafe_code)]

use seccompiler::sock_filter;
use std::io;

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Puts a filter on this thread, for ever. Threads that it starts inherit it.
pub fn install(program: &[sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // Kernels before 5.16 would switch speculative store bypass off, which costs far more than the filter: the threads
    // that run guest code hold no secrets of other guests.
    let set = |flags: libc::c_ulong| {
        // SAFETY: `program` points at `len` instructions (seccompiler's type is the kernel's), which the kernel copies.
        check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) })
    };
    set(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW).or_else(|_| set(0)).map(drop)
}

/// Tries to execute a program; comes back only because it may not, or because there is none.
pub fn execute_nothing() -> io::Error {
    let (path, list) = (c"/no/such/program", [std::ptr::null()]);
    // SAFETY: a string and an empty list that end with a null; on success nothing of this program is left.
    unsafe { libc::execve(path.as_ptr(), list.as_ptr(), list.as_ptr()) };
    io::Error::last_os_error()
}

/// Tries to have a page with this protection, and gives it back.
pub fn map_page(protection: i32) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh private mapping at no particular place, which nobody uses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping that was just made.
    check(unsafe { libc::munmap(page, 4096) }.into()).map(drop)
}

/// Tries to make a page that is there executable, and gives it back.
pub fn make_executable() -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh private mapping at no particular place, which nobody uses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0) };
    // SAFETY: of the mapping that was just made; an error if there is none.
    let result = check(unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC) }.into());
    // SAFETY: as above.
    unsafe { libc::munmap(page, 4096) };
    result.map(drop)
}

/// Tries to make a child process. The child ends at once.
pub fn fork_nothing() -> io::Result<()> {
    // SAFETY: the child calls nothing but _exit.
    let child = check(i64::from(unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        child
    }))?;
    // SAFETY: waits for our own child, without a status pointer.
    unsafe { libc::waitpid(child as i32, std::ptr::null_mut(), 0) };
    Ok(())
}

/// Tries to trace the parent (ptrace(2)), and lets it go.
pub fn trace_parent() -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE takes no pointers that matter, and changes nothing of this process.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, libc::getppid(), nothing, nothing) })?;
    // SAFETY: as above.
    check(unsafe { libc::ptrace(libc::PTRACE_DETACH, libc::getppid(), nothing, nothing) }).map(drop)
}
