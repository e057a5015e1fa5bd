//! What a worker may take of its host, whatever its guest does: a control group of its own where cgroup v2 can be written,
//! else resource limits.

mod group;
mod resources;
#[cfg(test)]
mod tests;
pub mod weight;

use self::group::Group;
use crate::guid::Guid;
use crate::store::Memory;
use crate::{rules, worker};
use ireko_machine::overhead;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Processes and threads of one worker.
pub const MOST_PROCESSES: u64 = 512;
/// Open files of one worker.
const MOST_FILES: u64 = 4096;
/// Address space that may be written beside guest memory: room for tables that grow by doubling, stacks, heaps.
const ADDRESS_SPACE: u64 = 1 << 30;

/// The limits of this process.
pub struct Limits {
    group: Result<Mutex<Group>, String>,
}

/// Puts this process under its limits and gives it its weight, at its start: before it has other threads, and before it gives up rights. The result
/// stays with it to its end.
pub fn enter(id: Guid, memory: &Memory, relative_weight: u32) -> Limits {
    let reachable = rules::memory::most(memory, worker::memory::host().total);
    resources::limit(reachable + reachable / 4 + ADDRESS_SPACE);
    let allowed = rules::memory::allowed(memory);
    let bytes = allowed + overhead(allowed);
    let group = Group::enter(Path::new(group::MOUNT), &id.to_string(), bytes, relative_weight);
    if !group.as_ref().is_ok_and(Group::weighs) {
        weight::take(relative_weight);
    }
    Limits { group: group.map(Mutex::new) }
}

impl Limits {
    /// In words: which of the two, and why.
    pub fn describe(&self) -> String {
        match &self.group {
            Ok(group) => group.lock().unwrap_or_else(|e| e.into_inner()).describe(),
            Err(why) => format!("resource limits ({why})"),
        }
    }

    /// The VM may have so much from now on. What it may have no more, its guest has to give first: that counts from the next
    /// start on.
    pub fn allow(&self, memory: &Memory) {
        let allowed = rules::memory::allowed(memory);
        if let Ok(group) = &self.group {
            group.lock().unwrap_or_else(|e| e.into_inner()).raise(allowed + overhead(allowed));
        }
    }

    /// The machine has this weight from now on. False: its next start brings it.
    pub fn weigh(&self, weight: u32) -> bool {
        let group = self.group.as_ref().ok();
        group.is_some_and(|group| group.lock().unwrap_or_else(|e| e.into_inner()).weigh(weight))
    }

    /// The end of the worker.
    pub fn leave(&self) {
        if let Ok(group) = &self.group {
            group.lock().unwrap_or_else(|e| e.into_inner()).leave();
        }
    }
}

/// Whether workers get a group of their own on this host, and what they get otherwise and why; by trying.
pub fn survey() -> (bool, String) {
    match Group::try_out(Path::new(group::MOUNT)) {
        Ok(place) => (
            true,
            format!("each in a control group of its own in {} (memory.max, pids.max)", place.display()),
        ),
        Err(why) => (false, format!("resource limits only (data, open files, core dumps): {why}")),
    }
}

/// How machines get their weight on this host; by trying.
pub fn weighing() -> weight::Weighing {
    match Group::could_weigh(Path::new(group::MOUNT)) {
        true => weight::Weighing::Group,
        false => weight::Weighing::Nice(weight::lowest()),
    }
}

/// Removes groups of workers that are gone, as far as the kernel lets them go now.
pub fn sweep_all() {
    group::sweep(Path::new(group::MOUNT));
}

/// Removes the group of a worker that is gone, and of any other. What the kernel does for a worker (KVM's threads) may be in it a
/// moment longer.
pub fn sweep(id: Guid) {
    for _ in 0..25 {
        group::sweep(Path::new(group::MOUNT));
        if !group::exists(Path::new(group::MOUNT), &id.to_string()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
