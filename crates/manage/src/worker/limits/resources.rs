//! Resource limits (setrlimit(2)): what can be had everywhere.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// `data`: bytes of private memory that may be written. Not all address space: what guest memory may grow into is reserved
/// from the start on, closed.
pub fn limit(data: u64) {
    lower(Resource::Data, data);
    lower(Resource::Nofile, super::MOST_FILES);
    lower(Resource::Core, 0);
    // Counted by user: a bound for those only who do not share theirs. For root it counts once that is given up.
    if rustix::process::geteuid().is_root() {
        lower(Resource::Nproc, super::MOST_PROCESSES);
    }
}

/// A limit that is lower already stays; one that cannot be set is the host's own.
fn lower(resource: Resource, wanted: u64) {
    let now = getrlimit(resource);
    let least = |old: Option<u64>| Some(old.map_or(wanted, |old| old.min(wanted)));
    let _ = setrlimit(resource, Rlimit { current: least(now.current), maximum: least(now.maximum) });
}
