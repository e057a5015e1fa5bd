//! Which system calls each kind of thread may make. What is not listed comes back with EPERM: a guest that has taken over
//! such a thread learns nothing more, and a C library that tries something new does without.

use crate::sys;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use std::collections::BTreeMap;
use std::io;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Makes machines, and starts the other threads.
    Main,
    /// Answers on the control socket, and looks after a running machine.
    Control,
    /// Runs guest code.
    Vcpu,
    Timers,
    Network,
    Disk,
    Device,
    /// Uses names for the others: of files, and of ports of a switch.
    Broker,
    /// Waits for its child and ends as that does.
    Waiting,
    /// Carries frames to the host's network, and back.
    Router,
    /// Serves a folder to a guest.
    Folder,
}

/// What every thread does: memory, locks, time, signals, descriptors that are open, its end.
const EVERY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pidfd_send_signal,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_timerfd_settime,
    libc::SYS_write,
    libc::SYS_writev,
];

/// A file or device that is open.
const FILE: &[c_long] = &[
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
];

/// A socket that is there.
const SOCKET: &[c_long] = &[
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
];

/// Files by their names, in what is left of the file system.
const NAMES: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];

/// Sockets that have names.
const NAMED_SOCKET: &[c_long] = &[libc::SYS_bind, libc::SYS_connect];

/// Connections, threads and what else a process needs that makes machines and talks to people.
const PROCESS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    libc::SYS_flock,
    libc::SYS_getpeername,
    libc::SYS_getrusage,
    libc::SYS_getsockname,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_pipe2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_setpriority,
    libc::SYS_sysinfo,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_uname,
    // The filters of the threads that it starts.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_seccomp,
];

/// What a router does besides: it waits for many sockets, and takes connections.
const ROUTER: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
    libc::SYS_getsockname,
    libc::SYS_listen,
    libc::SYS_sendmmsg,
];

/// What is done with files, directories and links below a directory that is open.
const FOLDER: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_syncfs,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

impl Kind {
    fn calls(self) -> Vec<c_long> {
        let more: &[&[c_long]] = match self {
            Self::Main => {
                &[FILE, SOCKET, NAMES, NAMED_SOCKET, PROCESS, &[libc::SYS_listen, libc::SYS_memfd_create]]
            }
            Self::Control => &[FILE, SOCKET, PROCESS],
            Self::Broker => &[FILE, SOCKET, NAMES, NAMED_SOCKET],
            // A disk's content that the host has at hand is read at once.
            Self::Vcpu => &[&[libc::SYS_preadv2]],
            Self::Timers | Self::Device => &[],
            Self::Network => &[SOCKET],
            Self::Disk => &[FILE],
            Self::Waiting => &[&[libc::SYS_wait4]],
            Self::Router => &[SOCKET, NAMES, NAMED_SOCKET, ROUTER],
            Self::Folder => &[FILE, FOLDER],
        };
        [EVERY].iter().chain(more).flat_map(|calls| calls.iter().copied()).collect()
    }

    fn starts_threads(self) -> bool {
        matches!(self, Self::Main | Self::Control)
    }

    /// Calls that depend on their arguments: each list is of conditions that are alternatives.
    fn conditional(self) -> Vec<(c_long, Vec<Vec<Argument>>)> {
        let pid = u64::from(std::process::id());
        let mut rules = vec![
            (libc::SYS_prctl, [libc::PR_SET_NAME as u64, PR_SET_VMA].map(|what| vec![is(0, what)]).to_vec()),
            (libc::SYS_tgkill, vec![vec![is(0, pid)]]),
            (libc::SYS_kill, vec![vec![is(0, pid)]]),
            (libc::SYS_ioctl, vec![vec![masked(1, 0xff00, u64::from(KVMIO) << 8)]]),
            (
                libc::SYS_fcntl,
                [libc::F_GETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC]
                    .map(|what| vec![is(1, what as u64)])
                    .to_vec(),
            ),
        ];
        if self != Self::Main {
            let no_code = || vec![vec![masked(2, libc::PROT_EXEC as u64, 0)]];
            rules.extend([(libc::SYS_mmap, no_code()), (libc::SYS_mprotect, no_code())]);
        }
        if matches!(self, Self::Main | Self::Broker) {
            // Ports of switches, and what a guest connects to.
            let unix = |kind: i32| vec![is(0, libc::AF_UNIX as u64), masked(1, 0xf, kind as u64)];
            rules.push((libc::SYS_socket, [libc::SOCK_DGRAM, libc::SOCK_STREAM].map(unix).to_vec()));
        }
        if self == Self::Router {
            let domains = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX];
            let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM];
            let sockets = domains.into_iter().flat_map(|domain| kinds.map(|kind| (domain, kind)));
            let rule = |(domain, kind)| vec![is(0, domain as u64), masked(1, 0xf, kind as u64)];
            rules.push((libc::SYS_socket, sockets.map(rule).collect()));
        }
        if self.starts_threads() {
            rules.push((libc::SYS_clone, vec![vec![masked(0, CLONES, THREAD)]]));
            rules.push((libc::SYS_prlimit64, vec![vec![is(2, 0)]]));
            let threads = [libc::PR_SET_NAME as u64, PR_SET_VMA, libc::PR_SET_NO_NEW_PRIVS as u64]
                .into_iter()
                .chain([libc::PR_CAPBSET_DROP as u64, libc::PR_CAP_AMBIENT as u64]);
            rules[0].1 = threads.map(|what| vec![is(0, what)]).collect();
        }
        rules
    }

    /// Calls of every argument that others may make with some.
    fn unconditional(self) -> Vec<c_long> {
        if self == Self::Main { vec![libc::SYS_mmap, libc::SYS_mprotect] } else { Vec::new() }
    }
}

/// linux/prctl.h: names for anonymous memory, which C libraries give.
const PR_SET_VMA: u64 = 0x5356_4d41;
/// linux/kvm.h: the type of its requests.
const KVMIO: u8 = 0xae;
/// What clone(2) is asked for when it makes a thread, and what it must not be asked for.
const THREAD: u64 = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
const CLONES: u64 = THREAD
    | (libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET) as u64
    | (libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP) as u64;

type Argument = SeccompCondition;

fn is(argument: u8, value: u64) -> Argument {
    SeccompCondition::new(argument, Len::Dword, Op::Eq, value).expect("an argument's number")
}

fn masked(argument: u8, mask: u64, value: u64) -> Argument {
    SeccompCondition::new(argument, Len::Dword, Op::MaskedEq(mask), value).expect("an argument's number")
}

/// The filter of a kind of thread, for the calling process.
pub fn program(kind: Kind) -> io::Result<BpfProgram> {
    let plain = kind.calls().into_iter().chain(kind.unconditional());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = plain.map(|call| (call, Vec::new())).collect();
    for (call, alternatives) in kind.conditional() {
        let alternatives =
            alternatives.into_iter().map(|all| SeccompRule::new(all).map_err(io::Error::other));
        rules.insert(call, alternatives.collect::<Result<_, _>>()?);
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, TargetArch::x86_64)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)?;
    Ok(without_clone3().into_iter().chain(filter).collect())
}

/// The flags of clone3(2) lie in memory, where no filter looks. C libraries do without it if it is not there.
fn without_clone3() -> [sock_filter; 3] {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let (number, absent) = (libc::SYS_clone3 as u32, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    [
        sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        sock_filter { code: equal, jt: 0, jf: 1, k: number },
        sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: absent },
    ]
}

/// Confines the calling thread to what its kind needs, for ever. It must have given up new privileges.
pub fn confine(kind: Kind) -> io::Result<()> {
    sys::install(&program(kind)?)
}
