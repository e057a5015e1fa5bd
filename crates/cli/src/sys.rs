//! The system calls that the standard library does not offer, each behind a safe function.

// UNSAFETY: mount, module loading, reboot, terminal modes, signals and fork are raw system calls.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

fn c(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL in a path"))
}

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// mount(2) without flags and data.
pub fn mount(kind: &str, target: &str) -> io::Result<()> {
    let (kind, target) = (c(kind)?, c(target)?);
    // SAFETY: three strings that outlive the call, and no data.
    let result = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    check(result.into()).map(drop)
}

/// mount(2) with a source, flags and the file system's own options.
pub fn mount_with(
    source: &str,
    target: &str,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> io::Result<()> {
    let (source, target, kind, options) = (c(source)?, c(target)?, c(kind)?, c(options)?);
    // SAFETY: four strings that outlive the call.
    let result = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast())
    };
    check(result.into()).map(drop)
}

/// The flags that what is mounted at `path` has, and that mounts of it in a user namespace must keep.
pub fn kept_mount_flags(path: &std::path::Path) -> io::Result<libc::c_ulong> {
    Ok(statvfs(path)?.f_flag & (libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC))
}

/// Gives this process, which has one thread, mounts of its own: as root, or else in a user namespace in which it is root.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: these take nothing and cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: no pointers are passed.
    let unshare = |flags| check(unsafe { libc::unshare(flags) }.into());
    if user != 0 || unshare(libc::CLONE_NEWNS).is_err() {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    mount_with("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")
}

/// Gives `command` another root directory, and a working directory in it.
pub fn give_root(
    command: &mut std::process::Command,
    root: &std::path::Path,
    directory: &str,
) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    let (root, directory) = (c(&root.to_string_lossy())?, c(directory)?);
    // SAFETY: the closure makes only async-signal-safe system calls, on strings that it owns.
    unsafe {
        command.pre_exec(move || {
            check(libc::chroot(root.as_ptr()).into())?;
            check(libc::chdir(directory.as_ptr()).into()).map(drop)
        })
    };
    Ok(())
}

/// Keeps this thread, and what it starts, to one of the processors that it may run on.
pub fn keep_to_one_processor() -> io::Result<()> {
    const SIZE: usize = size_of::<libc::cpu_set_t>();
    // SAFETY: cpu_set_t is plain data, for which all zeros is the empty set.
    let (mut all, mut one): (libc::cpu_set_t, libc::cpu_set_t) = unsafe { std::mem::zeroed() };
    // SAFETY: a valid place for the answer, of the size that is given.
    check(unsafe { libc::sched_getaffinity(0, SIZE, &mut all) }.into())?;
    // SAFETY: the numbers are within the set.
    let last = (0..libc::CPU_SETSIZE as usize).rev().find(|&cpu| unsafe { libc::CPU_ISSET(cpu, &all) });
    // SAFETY: as above.
    unsafe { libc::CPU_SET(last.unwrap_or(0), &mut one) };
    // SAFETY: a valid set of the size that is given.
    check(unsafe { libc::sched_setaffinity(0, SIZE, &one) }.into()).map(drop)
}

/// finit_module(2): loads the kernel module in `file`. A module that is loaded already counts as success.
pub fn load_module(file: &File, parameters: &str) -> io::Result<()> {
    let parameters = c(parameters)?;
    // SAFETY: the descriptor and the string are valid for the call.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other.map(drop),
    }
}

/// Turns the machine off. Comes back only when that failed.
pub fn power_off() -> io::Error {
    if !std::path::Path::new("/sys/firmware/acpi").exists() {
        power_off_without_acpi();
    }
    // SAFETY: no pointers are passed.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    io::Error::last_os_error()
}

/// A kernel that was told not to use ACPI only halts, so its register is written here: SLP_EN and the type of S5 in PM1a's
/// control register (ACPI 6.5, 4.8.3.2.1), which is where our machines have it.
fn power_off_without_acpi() {
    const PM1A_CONTROL: u16 = 0x604;
    const SLEEP_S5: u16 = 0x3400;
    // SAFETY: no pointers are passed; the port is written only if the kernel has given it to us.
    unsafe {
        libc::sync();
        if libc::ioperm(PM1A_CONTROL.into(), 2, 1) == 0 {
            core::arch::asm!("out dx, ax", in("dx") PM1A_CONTROL, in("ax") SLEEP_S5, options(nomem, nostack));
        }
    }
}

/// Starts a session with `tty` as its controlling terminal; for use between fork and exec.
pub fn own_terminal(tty: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on a descriptor.
    unsafe {
        check(libc::setsid().into())?;
        check(libc::ioctl(tty, libc::TIOCSCTTY, 0).into()).map(drop)
    }
}

/// Makes `command` lead its own session on `tty`.
pub fn give_terminal(command: &mut std::process::Command, tty: RawFd) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure makes only async-signal-safe system calls.
    unsafe { command.pre_exec(move || own_terminal(tty)) };
}

/// Waits until what was written to a terminal is out.
pub fn drain(tty: &File) {
    // SAFETY: a plain system call on a valid descriptor.
    unsafe { libc::tcdrain(tty.as_raw_fd()) };
}

/// One kernel call that does nothing else (getppid is never cached).
pub fn trivial_call() -> i64 {
    // SAFETY: getppid takes no arguments.
    unsafe { libc::syscall(libc::SYS_getppid) }
}

/// Forks a child that ends at once, and waits for it.
pub fn fork_and_wait() -> io::Result<()> {
    // SAFETY: the child calls nothing but _exit.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        child
    };
    check(child.into())?;
    // SAFETY: waits for our own child, without a status pointer.
    check(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }.into()).map(drop)
}

/// The effective user id.
pub fn user_id() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// Effective user id 0.
pub fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Bytes that an unprivileged user may still write in the file system that holds `path`.
pub fn free_space(path: &std::path::Path) -> io::Result<u64> {
    let stat = statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn statvfs(path: &std::path::Path) -> io::Result<libc::statvfs> {
    let path = c(&path.to_string_lossy())?;
    // SAFETY: statvfs is plain data, for which all zeros is a value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid string and a valid place for the answer.
    check(unsafe { libc::statvfs(path.as_ptr(), &mut stat) }.into())?;
    Ok(stat)
}

/// Terminal modes as they were, to be put back.
pub struct Modes(libc::termios);

/// The modes of a terminal; an error for what is not one.
pub fn terminal_modes(fd: RawFd) -> io::Result<Modes> {
    // SAFETY: termios is plain data, for which all zeros is a value.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: a descriptor and a valid place for the answer.
    check(unsafe { libc::tcgetattr(fd, &mut modes) }.into())?;
    Ok(Modes(modes))
}

pub fn set_terminal_modes(fd: RawFd, modes: &Modes) -> io::Result<()> {
    // SAFETY: a descriptor and a valid termios.
    check(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &modes.0) }.into()).map(drop)
}

impl Modes {
    /// Every byte as it comes, nothing echoed, no signals from keys.
    pub fn raw(&self) -> Self {
        let mut raw = self.0;
        // SAFETY: changes a valid termios in place.
        unsafe { libc::cfmakeraw(&mut raw) };
        Self(raw)
    }

    /// Lines as before, and what is typed is not shown.
    pub fn silent(&self) -> Self {
        let mut silent = self.0;
        silent.c_lflag &= !libc::ECHO;
        Self(silent)
    }
}

/// Waits until one of two descriptors can be read or has ended, and says which; a negative one never is.
pub fn wait_readable(fds: [RawFd; 2]) -> io::Result<[bool; 2]> {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: an array of two, of which the call writes the last field.
        match check(unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) }.into()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| polled.map(|one| one.revents != 0)),
        }
    }
}

fn ending_signals() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data that sigemptyset initializes.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// Holds back SIGINT, SIGTERM and SIGHUP in this thread and those it starts, for [`next_ending_signal`].
pub fn hold_ending_signals() {
    // SAFETY: a valid set, and no old set asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &ending_signals(), std::ptr::null_mut()) };
}

/// The program that is started hears of what we hold.
pub fn heed_ending_signals(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let heed = || {
        // SAFETY: a valid set, and no old set asked for; the call is async-signal-safe.
        check(
            unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &ending_signals(), std::ptr::null_mut()) }
                .into(),
        )
        .map(drop)
    };
    // SAFETY: the closure makes only async-signal-safe system calls.
    unsafe { command.pre_exec(heed) };
}

/// Waits for one of the held signals; gives its number.
pub fn next_ending_signal() -> i32 {
    let mut signal = 0;
    // SAFETY: a valid set and a valid place for the answer.
    unsafe { libc::sigwait(&ending_signals(), &mut signal) };
    signal
}
