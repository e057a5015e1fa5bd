//! The system calls that no crate offers as safe functions.

// UNSAFETY: seccomp(2) with a program of our own, fork(2), descriptors closed by number, signals.
#![allow(unsafe_code)]

use crate::filter::Kind;
use crate::identity::Identity;
use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;
use seccompiler::sock_filter;
use std::io;
use std::os::fd::AsRawFd;

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

/// Whether this process may change the host's mounts and networks: CAP_SYS_ADMIN.
pub fn may_administer() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}

/// Leaves a namespace.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the table of descriptors, which others could rely on, is not among what callers leave.
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: as above.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Takes over user and group, and no others.
pub fn become_user(identity: &Identity, on_switches: bool) -> io::Result<()> {
    let groups = [identity.switches()];
    rustix::thread::set_thread_groups(if on_switches { &groups } else { &[] })?;
    let (user, group) = (identity.uid(), identity.gid());
    rustix::thread::set_thread_res_gid(group, group, group)?;
    Ok(rustix::thread::set_thread_res_uid(user, user, user)?)
}

/// Closes everything from this descriptor on. What it was is nobody's business any more.
pub fn close_from(first: u32) {
    // SAFETY: the caller has just started and owns no descriptor that it has not opened itself, of which there are none yet;
    // or it does nothing any more but wait for its child.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } < 0 {
        // Kernels before 5.9.
        for fd in first..4096 {
            // SAFETY: as above.
            unsafe { libc::close(fd as i32) };
        }
    }
}

/// Forks. The child comes back; the parent waits for it, without rights or descriptors, and ends as it does. The process
/// must have one thread. The parent becomes who the child will be: nobody else may send the signal that ends the child with
/// it.
pub fn continue_in_child(identity: Option<&Identity>) -> io::Result<Parent> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // SAFETY: there is one thread, so the child's memory is whole.
    match check(i64::from(unsafe { libc::fork() }))? {
        0 => Ok(Parent(ours)),
        child => wait_and_follow(child as i32, &theirs, identity),
    }
}

/// The end of a pipe whose other end the parent holds.
pub struct Parent(OwnedFd);

impl Parent {
    /// Asks for a signal when the parent ends. False: it has ended already.
    pub fn dies_with_it(&self) -> bool {
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        // Nobody ever writes: the end of the file is the parent's.
        rustix::io::read(&self.0, &mut [0; 1]) != Ok(0)
    }
}

fn wait_and_follow(child: i32, pipe: &OwnedFd, identity: Option<&Identity>) -> ! {
    // Signals are for the child; this process ends by its end.
    // SAFETY: sigset_t is plain data that sigfillset initializes.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
    }
    // SAFETY: standard input is nothing that anybody needs here.
    unsafe { libc::dup2(pipe.as_raw_fd(), 0) };
    close_from(1);
    let _ = identity.map(|identity| become_user(identity, false));
    let _ = crate::thread::confine(Kind::Waiting);
    let mut status = 0;
    // SAFETY: waits for our own child.
    while unsafe { libc::waitpid(child, &mut status, 0) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            break;
        }
    }
    if libc::WIFSIGNALED(status) {
        die_of(libc::WTERMSIG(status));
    }
    // SAFETY: ends this process; nothing of it is to be tidied up.
    unsafe { libc::_exit(libc::WEXITSTATUS(status)) }
}

/// As the child did, so that whoever waits for this process is told the truth.
fn die_of(signal: i32) {
    // SAFETY: plain signal calls on this process; sigset_t is initialized by sigemptyset.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut one = std::mem::zeroed();
        libc::sigemptyset(&mut one);
        libc::sigaddset(&mut one, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &one, std::ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
}

/// Whether this user may have a user namespace: tried by a child.
pub fn users_possible() -> bool {
    // SAFETY: there is one thread, and the child calls nothing but unshare and _exit.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(i32::from(libc::unshare(libc::CLONE_NEWUSER) != 0));
        }
        child
    };
    let mut status = 1;
    // SAFETY: waits for our own child.
    child > 0 && unsafe { libc::waitpid(child, &mut status, 0) } == child && status == 0
}
