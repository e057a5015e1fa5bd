//! What runs inside a VM that is a hypervisor itself: what its engine sees, with rates.

use ireko_machine::{NestedWorld, Nesting};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Worlds that did not run for so long are left out: they have ended, most likely.
const LATELY: f64 = 10.0;
/// Reasons for exits that are told of each world.
const REASONS: usize = 8;

/// The insides of a VM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Introspection {
    /// Whether a hypervisor runs; `None`: not known.
    pub hypervisor: Option<bool>,
    /// The engine tells worlds apart.
    pub sees_worlds: bool,
    /// The first is the VM's own; every other comes after its parent.
    pub worlds: Vec<InnerWorld>,
}

/// One virtual processor of a machine below, or the VM itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InnerWorld {
    /// In [`Introspection::worlds`].
    pub parent: Option<usize>,
    /// 1 is the VM itself.
    pub level: u32,
    /// What the manual calls its control block, and where that is.
    pub structure: String,
    pub control_block: u64,
    pub asid: u32,
    pub nested_root: Option<u64>,
    pub rip: u64,
    pub seconds: f64,
    pub idle_seconds: f64,
    pub quiet_seconds: f64,
    pub entries: u64,
    pub exits: u64,
    /// The most frequent ones.
    pub reasons: Vec<(String, u64)>,
    /// Over the last seconds: of all that the VM's processors did, and exits a second.
    pub share: f64,
    pub exits_per_second: f64,
}

/// The last two looks.
#[derive(Default)]
pub struct Watch {
    older: Option<(Instant, Nesting)>,
    newer: Option<(Instant, Nesting)>,
}

impl Watch {
    pub fn seen(&mut self, at: Instant, nesting: Nesting) {
        self.older = self.newer.replace((at, nesting));
    }

    /// As of the last look: whether a hypervisor runs, and how many worlds below.
    pub fn last(&self) -> (Option<bool>, Option<u32>) {
        self.newer.as_ref().map_or((None, None), |(_, nesting)| {
            let lately = kept(&nesting.worlds).into_iter().filter(|&number| number > 0);
            let known = nesting.sees_worlds || nesting.hypervisor == Some(false);
            (nesting.hypervisor, known.then(|| lately.count() as u32))
        })
    }

    /// `nesting` is how things are now.
    pub fn inside(&self, now: Instant, nesting: &Nesting) -> Introspection {
        let before = self.older.as_ref().or(self.newer.as_ref());
        let seconds = before.map_or(0.0, |(at, _)| now.duration_since(*at).as_secs_f64());
        let busy: f64 = nesting.worlds.iter().map(|world| recent(before, world).0).sum();
        let kept = kept(&nesting.worlds);
        let place = |number: usize| kept.iter().position(|&other| other == number);
        let worlds = kept.iter().map(|&number| {
            let world = &nesting.worlds[number];
            let (time, exits) = recent(before, world);
            InnerWorld {
                parent: world.parent.and_then(place),
                share: if busy > 0.0 { time / busy } else { 0.0 },
                exits_per_second: if seconds > 0.0 { exits as f64 / seconds } else { 0.0 },
                ..InnerWorld::from(world)
            }
        });
        Introspection {
            hypervisor: nesting.hypervisor,
            sees_worlds: nesting.sees_worlds,
            worlds: worlds.collect(),
        }
    }
}

/// The worlds that ran lately, and those above them.
fn kept(worlds: &[NestedWorld]) -> Vec<usize> {
    let mut keep = vec![false; worlds.len()];
    for (number, world) in worlds.iter().enumerate().rev() {
        keep[number] |= world.parent.is_none() || world.quiet_seconds < LATELY;
        if let (true, Some(parent)) = (keep[number], world.parent.filter(|parent| *parent < number)) {
            keep[parent] = true;
        }
    }
    (0..worlds.len()).filter(|&number| keep[number]).collect()
}

/// Time awake and exits since the look before. A world that was not there then has begun since.
fn recent(before: Option<&(Instant, Nesting)>, world: &NestedWorld) -> (f64, u64) {
    let same = |then: &&NestedWorld| {
        (then.id, then.control_block, then.level) == (world.id, world.control_block, world.level)
    };
    let then = before.and_then(|(_, nesting)| nesting.worlds.iter().find(same));
    let awake = |world: &NestedWorld| world.seconds - world.idle_seconds;
    let (time, exits) = then.map_or((0.0, 0), |then| (awake(then), exits(then)));
    ((awake(world) - time).max(0.0), self::exits(world).saturating_sub(exits))
}

fn exits(world: &NestedWorld) -> u64 {
    world.exits.iter().map(|exit| exit.1).sum()
}

impl From<&NestedWorld> for InnerWorld {
    fn from(world: &NestedWorld) -> Self {
        Self {
            parent: None,
            level: world.level,
            structure: world.structure.to_string(),
            control_block: world.control_block,
            asid: world.asid,
            nested_root: world.nested_root,
            rip: world.rip,
            seconds: world.seconds,
            idle_seconds: world.idle_seconds,
            quiet_seconds: world.quiet_seconds,
            entries: world.entries,
            exits: exits(world),
            reasons: world.exits.iter().take(REASONS).map(|(name, n)| (name.to_string(), *n)).collect(),
            share: 0.0,
            exits_per_second: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn world(id: u64, parent: Option<usize>, seconds: f64, exits: u64, quiet_seconds: f64) -> NestedWorld {
        NestedWorld {
            id,
            parent,
            level: if parent.is_some() { 2 } else { 1 },
            seconds,
            quiet_seconds,
            exits: vec![("VMEXIT_CPUID".into(), exits)],
            ..NestedWorld::default()
        }
    }
    fn nesting(worlds: Vec<NestedWorld>) -> Nesting {
        Nesting { hypervisor: Some(true), sees_worlds: true, worlds }
    }

    #[test]
    fn shares_and_rates_are_of_the_time_since_the_look_before() {
        let mut watch = Watch::default();
        let start = Instant::now();
        watch.seen(start, nesting(vec![world(0, None, 10.0, 0, 0.0), world(1, Some(0), 5.0, 100, 0.0)]));
        let now = nesting(vec![world(0, None, 11.0, 0, 0.0), world(1, Some(0), 8.0, 140, 0.0)]);
        let inside = watch.inside(start + Duration::from_secs(4), &now);
        let seen: Vec<_> = inside.worlds.iter().map(|w| (w.share, w.exits_per_second)).collect();
        assert_eq!(seen, [(0.25, 0.0), (0.75, 10.0)]);
    }

    #[test]
    fn worlds_that_ended_are_left_out_unless_something_below_runs() {
        let worlds = vec![
            world(0, None, 1.0, 0, 99.0),
            world(1, Some(0), 1.0, 0, 99.0),
            world(2, Some(0), 1.0, 0, 99.0),
            world(3, Some(2), 1.0, 0, 0.0),
        ];
        let mut watch = Watch::default();
        watch.seen(Instant::now(), nesting(worlds.clone()));
        let inside = watch.inside(Instant::now(), &nesting(worlds));
        let parents: Vec<_> = inside.worlds.iter().map(|world| world.parent).collect();
        assert_eq!((parents, watch.last()), (vec![None, Some(0), Some(1)], (Some(true), Some(2))));
    }
}
