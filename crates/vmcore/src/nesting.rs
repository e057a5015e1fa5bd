//! What runs inside a guest that is a hypervisor itself, as its engine sees it from outside.
//!
//! A vCPU looks at itself only when somebody asks: its thread owns what is to be seen. A [`Window`] is the place where
//! they meet.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A VM's insides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nesting {
    /// A hypervisor runs: virtualization is switched on in some vCPU (EFER.SVME, CR4.VMXE). `None`: not known.
    pub hypervisor: Option<bool>,
    /// The engine tells worlds apart. Without that, `worlds` is empty whatever runs.
    pub sees_worlds: bool,
    /// The first is the VM's own; every other comes after its parent.
    pub worlds: Vec<NestedWorld>,
}

/// One world: the VM's own processors, or one virtual processor of a machine below, told apart by its control block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NestedWorld {
    /// No other world of its processor ever has it; 0 is the VM's own.
    pub id: u64,
    /// In [`Nesting::worlds`].
    pub parent: Option<usize>,
    /// 1 is the VM itself.
    pub level: u32,
    /// What the manual calls that block.
    pub structure: Cow<'static, str>,
    /// Where its hypervisor has its control block, in that hypervisor's physical memory; 0 for the VM's own world.
    pub control_block: u64,
    /// As of its last entry, as the VM's own hypervisor gave them to the processor.
    pub asid: u32,
    pub nested_root: Option<u64>,
    /// Where it was when it exited last; the VM's own world: where it entered a guest last.
    pub rip: u64,
    pub entries: u64,
    /// Time in this world, `idle_seconds` of it asleep.
    pub seconds: f64,
    pub idle_seconds: f64,
    /// How long ago it ran last.
    pub quiet_seconds: f64,
    /// Exits by the manual's names, most first.
    pub exits: Vec<(Cow<'static, str>, u64)>,
}

impl NestedWorld {
    /// What tells it from its siblings, from the outermost in.
    fn path(worlds: &[Self], mut number: usize) -> Vec<u64> {
        let mut path = vec![worlds[number].control_block];
        while let Some(parent) = worlds[number].parent.filter(|parent| *parent < number) {
            number = parent;
            path.push(worlds[number].control_block);
        }
        path.reverse();
        path
    }

    fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.seconds += other.seconds;
        self.idle_seconds += other.idle_seconds;
        if other.quiet_seconds < self.quiet_seconds {
            self.quiet_seconds = other.quiet_seconds;
            (self.rip, self.asid, self.nested_root) = (other.rip, other.asid, other.nested_root);
        }
        for (name, times) in &other.exits {
            match self.exits.iter_mut().find(|exit| exit.0 == *name) {
                Some(exit) => exit.1 += times,
                None => self.exits.push((name.clone(), *times)),
            }
        }
        self.exits.sort_by_key(|exit| std::cmp::Reverse(exit.1));
    }
}

impl Nesting {
    /// Adds what another vCPU of the same VM has seen. A world that moved from one to the other is one world.
    pub fn add(&mut self, other: &Self) {
        self.hypervisor = match (self.hypervisor, other.hypervisor) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        self.sees_worlds |= other.sees_worlds;
        let mut places = Vec::new();
        for (number, world) in other.worlds.iter().enumerate() {
            let path = NestedWorld::path(&other.worlds, number);
            let place = (0..self.worlds.len()).find(|&own| NestedWorld::path(&self.worlds, own) == path);
            places.push(place.unwrap_or(self.worlds.len()));
            match place {
                Some(place) => self.worlds[place].add(world),
                None => {
                    let parent = world.parent.and_then(|parent| places.get(parent).copied());
                    self.worlds.push(NestedWorld { parent, ..world.clone() });
                }
            }
        }
    }

    /// Worlds below the VM itself.
    pub fn below(&self) -> usize {
        self.worlds.iter().filter(|world| world.level > 1).count()
    }
}

/// Between a vCPU, which can tell, and those who want to know. Clones are one window.
#[derive(Clone, Default)]
pub struct Window {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    wanted: AtomicBool,
    seen: Mutex<(u64, Nesting)>,
    shown: Condvar,
    kick: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

impl Window {
    /// `kick` makes the vCPU come to where it looks whether somebody wants to know.
    pub fn new(kick: impl Fn() + Send + Sync + 'static) -> Self {
        let window = Self::default();
        *window.inner.kick.lock().unwrap_or_else(|e| e.into_inner()) = Some(Box::new(kick));
        window
    }

    fn seen(&self) -> MutexGuard<'_, (u64, Nesting)> {
        self.inner.seen.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// For the vCPU: whether somebody waits. One load.
    #[inline]
    pub fn wanted(&self) -> bool {
        self.inner.wanted.load(Ordering::Relaxed)
    }

    /// For the vCPU: how things are now.
    pub fn show(&self, nesting: Nesting) {
        self.inner.wanted.store(false, Ordering::SeqCst);
        let mut seen = self.seen();
        *seen = (seen.0 + 1, nesting);
        drop(seen);
        self.inner.shown.notify_all();
    }

    /// How things are, or were when the vCPU last showed them if it does not within `most`: it is paused or gone.
    pub fn look(&self, most: Duration) -> Nesting {
        let before = self.seen().0;
        self.inner.wanted.store(true, Ordering::SeqCst);
        if let Some(kick) = &*self.inner.kick.lock().unwrap_or_else(|e| e.into_inner()) {
            kick();
        }
        let until = Instant::now() + most;
        let mut seen = self.seen();
        while seen.0 == before {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            seen = self.inner.shown.wait_timeout(seen, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        seen.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(parent: Option<usize>, control_block: u64, seconds: f64) -> NestedWorld {
        let level = if parent.is_some() { 2 } else { 1 };
        NestedWorld { parent, level, control_block, seconds, ..NestedWorld::default() }
    }

    #[test]
    fn a_world_that_moved_between_processors_is_one() {
        let mut one =
            Nesting { worlds: vec![world(None, 0, 1.0), world(Some(0), 0x1000, 2.0)], ..Nesting::default() };
        let other = Nesting {
            worlds: vec![world(None, 0, 1.0), world(Some(0), 0x2000, 4.0), world(Some(0), 0x1000, 8.0)],
            ..Nesting::default()
        };
        one.add(&other);
        let seen: Vec<_> = one.worlds.iter().map(|w| (w.parent, w.control_block, w.seconds)).collect();
        assert_eq!(seen, [(None, 0, 2.0), (Some(0), 0x1000, 10.0), (Some(0), 0x2000, 4.0)]);
    }

    #[test]
    fn one_vcpu_that_cannot_tell_leaves_it_open() {
        let mut nesting = Nesting { hypervisor: Some(false), ..Nesting::default() };
        nesting.add(&Nesting::default());
        assert_eq!(nesting.hypervisor, None);
    }

    #[test]
    fn who_looks_gets_what_is_shown_after_the_kick() {
        let slot: Arc<Mutex<Option<Window>>> = Arc::default();
        let vcpu = slot.clone();
        let window = Window::new(move || {
            if let Some(window) = &*vcpu.lock().unwrap() {
                window.show(Nesting { hypervisor: Some(window.wanted()), ..Nesting::default() });
            }
        });
        *slot.lock().unwrap() = Some(window.clone());
        assert_eq!(window.look(Duration::from_secs(60)).hypervisor, Some(true));
    }

    #[test]
    fn a_vcpu_that_does_not_answer_is_seen_as_it_was() {
        let window = Window::default();
        window.show(Nesting { hypervisor: Some(true), ..Nesting::default() });
        assert_eq!(window.look(Duration::ZERO).hypervisor, Some(true));
    }
}
