//! Counters by world: the processor's own, and each guest's, told apart as [`super::nesting`] does.
//!
//! What the processor counts anyway is split by looking at it at every world switch; system instructions, slow
//! accesses and exits are counted one by one.

use super::counters::Counters;
use iced_x86::Code;
use ireko_nested::Control;
use ireko_translate::thunk::Reason;
use std::collections::{BTreeMap, HashMap};

/// Worlds that are told apart; later ones count as the last.
const MOST_WORLDS: usize = 32;
/// Places that are counted one by one; later ones are not.
const MOST_SITES: usize = 1 << 16;

/// Values of [`Reason`], with room.
const REASONS: usize = 16;

/// How often, and how many TSC ticks in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub times: u64,
    pub ticks: u64,
}

impl Count {
    pub fn add(&mut self, ticks: u64) {
        self.times += 1;
        self.ticks += ticks;
    }
}

/// Why an access went the slow way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slow {
    /// Not in the TLB: a page walk.
    Miss,
    /// It crosses a page's end.
    Crossing,
    /// Device registers.
    Device,
    /// A write to a page that holds translated code.
    CodePage,
    /// It ended in an exception or exit.
    Fault,
    /// None of these: code without an inline look-up.
    Plain,
}

/// What one world did.
pub struct WorldCounts {
    /// Its number in the ledger of [`super::nesting`], and its level.
    pub id: u64,
    pub level: u32,
    /// System-physical address of its control structure; `None`: the processor's own world.
    pub control_block: Option<u64>,
    /// Of the last entry.
    pub asid: u32,
    pub nested_root: Option<u64>,
    pub entries: u64,
    /// TSC ticks in this world, asleep in HLT among them.
    pub ticks: u64,
    pub idle: u64,
    pub counters: Counters,
    /// By iced's code number.
    system: Vec<Count>,
    pub raised: Count,
    pub slow: BTreeMap<Slow, Count>,
    pub slow_sites: HashMap<(u64, Slow), u64>,
    /// Targets of jumps that translated code did not know.
    pub lookups: HashMap<u64, u64>,
    /// Why translated code was left, by [`Reason`].
    pub left: [u64; REASONS],
    pub exceptions: BTreeMap<u8, u64>,
    pub interrupts: BTreeMap<u8, u64>,
    /// By exit code; the ticks are those until the next entry.
    pub exits: BTreeMap<u64, Count>,
}

impl WorldCounts {
    fn new(id: u64, level: u32, control_block: Option<u64>) -> Self {
        Self {
            id,
            level,
            control_block,
            asid: 0,
            nested_root: None,
            entries: 0,
            ticks: 0,
            idle: 0,
            counters: Counters::default(),
            system: vec![Count::default(); Code::values().count()],
            raised: Count::default(),
            slow: BTreeMap::new(),
            slow_sites: HashMap::new(),
            lookups: HashMap::new(),
            left: [0; REASONS],
            exceptions: BTreeMap::new(),
            interrupts: BTreeMap::new(),
            exits: BTreeMap::new(),
        }
    }

    /// A system instruction was done.
    pub fn did(&mut self, code: Code, ticks: u64) {
        if let Some(count) = self.system.get_mut(code as usize) {
            count.add(ticks);
        }
    }

    /// System instructions that were done, most ticks first.
    pub fn system(&self) -> Vec<(Code, Count)> {
        let pairs = Code::values().zip(self.system.iter().copied());
        let mut rows: Vec<_> = pairs.filter(|(_, count)| count.times > 0).collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(count.ticks));
        rows
    }
}

/// The guest world that is entered.
#[derive(Clone, Copy)]
pub struct Entered<'a> {
    pub id: u64,
    pub level: u32,
    pub control_block: u64,
    pub control: &'a Control,
}

/// All worlds, and where the clock stands.
pub struct Worlds {
    pub list: Vec<WorldCounts>,
    current: usize,
    since: u64,
    then: Counters,
    /// The world and code of the last exit, until the next entry.
    last_exit: Option<(usize, u64, u64)>,
}

impl Worlds {
    pub fn new(now: u64) -> Self {
        let last_exit = None;
        Self {
            list: vec![WorldCounts::new(0, 1, None)],
            current: 0,
            since: now,
            then: Counters::default(),
            last_exit,
        }
    }

    pub fn number_now(&self) -> usize {
        self.current
    }

    pub fn current(&mut self) -> &mut WorldCounts {
        &mut self.list[self.current]
    }

    /// Puts what happened since the last look on the current world's account.
    pub fn account(&mut self, now: u64, counters: &Counters) {
        let world = &mut self.list[self.current];
        world.ticks += now.wrapping_sub(self.since);
        world.counters.add_between(&self.then, counters);
        self.since = now;
        self.then = *counters;
    }

    /// The processor is in another world now: a guest's, or its own.
    pub fn switch(&mut self, now: u64, counters: &Counters, guest: Option<Entered<'_>>) {
        self.account(now, counters);
        let Some(Entered { id, level, control_block, control }) = guest else {
            self.current = 0;
            return;
        };
        if let Some((world, code, then)) = self.last_exit.take() {
            self.list[world].exits.entry(code).or_default().ticks += now.wrapping_sub(then);
        }
        self.current = self.number(id, level, control_block);
        let world = self.current();
        world.asid = control.asid;
        world.nested_root = control.stage2.map(|stage2| stage2.root);
        world.entries += 1;
    }

    fn number(&mut self, id: u64, level: u32, control_block: u64) -> usize {
        if let Some(found) = self.list.iter().position(|world| world.id == id) {
            return found;
        }
        if self.list.len() < MOST_WORLDS {
            self.list.push(WorldCounts::new(id, level, Some(control_block)));
        }
        self.list.len() - 1
    }

    /// The current world exits; comes before [`Worlds::switch`].
    pub fn exit(&mut self, now: u64, code: u64) {
        self.current().exits.entry(code).or_default().times += 1;
        self.last_exit = Some((self.current, code, now));
    }

    pub fn slow_access(&mut self, rip: u64, why: Slow, ticks: u64) {
        let world = self.current();
        world.slow.entry(why).or_default().add(ticks);
        note(&mut world.slow_sites, (rip, why));
    }

    pub fn left(&mut self, reason: Reason, target: u64) {
        let world = self.current();
        world.left[reason as usize % REASONS] += 1;
        if reason == Reason::Lookup {
            note(&mut world.lookups, target);
        }
    }
}

fn note<K: std::hash::Hash + Eq>(map: &mut HashMap<K, u64>, key: K) {
    if let Some(count) = map.get_mut(&key) {
        *count += 1;
    } else if map.len() < MOST_SITES {
        map.insert(key, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(id: u64, control: &Control) -> Option<Entered<'_>> {
        Some(Entered { id, level: 2, control_block: id << 12, control })
    }

    #[test]
    fn time_and_counts_go_to_the_world_that_was_left() {
        let mut worlds = Worlds::new(100);
        let control = Control { asid: 7, ..Control::default() };
        let mut counters = Counters { walks: 5, ..Counters::default() };
        worlds.switch(110, &counters, entered(1, &control));
        counters.walks = 8;
        worlds.switch(140, &counters, None);
        let seen: Vec<_> = worlds.list.iter().map(|w| (w.ticks, w.counters.walks, w.asid)).collect();
        assert_eq!(seen, [(10, 5, 0), (30, 3, 7)]);
    }

    #[test]
    fn an_exit_costs_the_time_until_the_next_vmrun() {
        let mut worlds = Worlds::new(0);
        let control = Control::default();
        worlds.switch(0, &Counters::default(), entered(1, &control));
        worlds.exit(10, 0x72);
        worlds.switch(10, &Counters::default(), None);
        worlds.switch(25, &Counters::default(), entered(1, &control));
        assert_eq!(worlds.list[1].exits[&0x72], Count { times: 1, ticks: 15 });
    }

    #[test]
    fn too_many_worlds_share_the_last() {
        let mut worlds = Worlds::new(0);
        for n in 0..1000 {
            worlds.switch(0, &Counters::default(), entered(n, &Control::default()));
        }
        assert_eq!(worlds.list.len(), MOST_WORLDS);
    }
}
