//! Who runs below this processor's own world, at every depth: always on, because it costs a look at the time-stamp counter
//! and a few words at a world switch.
//!
//! A processor sees only the control blocks that its own hypervisor (level 1) runs. For a guest of its guest that
//! hypervisor makes one on that guest's behalf, and everything deeper shares it. But every entry at every depth exits to
//! level 1 first, which tells the block that the guest means, in its own memory. So a world is known by the path of
//! those addresses. `Ledger::resolve` follows it: a block that its owner runs is either a guest's own, or stands for
//! what that guest itself runs.
//!
//! What stands for what is told by the order of events: a block that was never seen before and is entered right after
//! a guest's own entry exited is that guest's. A hypervisor that lets another, new machine go first at that very moment is
//! misunderstood until that machine comes back without such an exit before it.

use super::exit_counts::ExitCounts;
use crate::host;
use ireko_nested::{Control, Vendor};
use ireko_vmcore::Window;
use ireko_vmcore::nesting::{NestedWorld, Nesting};

/// Worlds, and control blocks, that are told apart; when there are more, everything is learned anew.
const MOST: usize = 64;
/// Entries of others after which a control block may have become another's: its page was freed and is used again.
const LONG: u64 = 5000;
/// The processor's own world.
const OWN: usize = 0;

struct Node {
    /// No other ever has it.
    id: u64,
    parent: Option<usize>,
    level: u32,
    control_block: u64,
    asid: u32,
    root: Option<u64>,
    rip: u64,
    entries: u64,
    ticks: u64,
    idle: u64,
    /// When it was entered or left last: time-stamp counter, and entries in all.
    seen: u64,
    stamp: u64,
    exits: ExitCounts,
    /// The control block that it wanted entered, since it exited for that.
    wants: Option<u64>,
    /// What stands for its guests was entered after itself.
    in_guest: bool,
    /// Which world that was, and which of its children that was or belonged to.
    last: usize,
    last_child: Option<usize>,
}

impl Node {
    const fn new(id: u64, parent: Option<usize>, level: u32, control_block: u64) -> Self {
        Self {
            id,
            parent,
            level,
            control_block,
            asid: 0,
            root: None,
            rip: 0,
            entries: 0,
            ticks: 0,
            idle: 0,
            seen: 0,
            stamp: 0,
            exits: ExitCounts::new(),
            wants: None,
            in_guest: false,
            last: OWN,
            last_child: None,
        }
    }
}

/// What the control block at `control_block` in `owner`'s memory is.
#[derive(Clone, Copy)]
struct Row {
    owner: usize,
    control_block: u64,
    /// It stands for what this child of `owner` runs; `None`: it is the child `own` itself.
    for_child: Option<usize>,
    own: Option<usize>,
}

/// All worlds that were seen, and how their control blocks are used.
pub struct Ledger {
    nodes: Vec<Node>,
    rows: Vec<Row>,
    current: usize,
    since: u64,
    entries: u64,
    /// Guest worlds that there ever were.
    made: u64,
    /// Where others see it.
    pub window: Window,
}

impl Ledger {
    pub fn new(window: Window) -> Self {
        let mut ledger = Self {
            // Room for all of them: growing would call the C library between translated code.
            nodes: Vec::with_capacity(MOST),
            rows: Vec::with_capacity(2 * MOST),
            current: OWN,
            since: host::rdtsc(),
            entries: 0,
            made: 0,
            window,
        };
        ledger.nodes.push(Node::new(0, None, 1, 0));
        ledger
    }

    /// The world that the processor is in: its id, and its level.
    pub fn current(&self) -> (u64, u32) {
        let node = &self.nodes[self.current];
        (node.id, node.level)
    }

    fn account(&mut self, now: u64) {
        let node = &mut self.nodes[self.current];
        node.ticks += now.wrapping_sub(self.since);
        node.seen = now;
        self.since = now;
    }

    pub fn slept(&mut self, ticks: u64) {
        self.nodes[self.current].idle += ticks;
    }

    /// The processor's own hypervisor enters a guest; it would come back at `rip`.
    pub fn enter(&mut self, now: u64, control_block: u64, control: &Control, rip: u64) {
        self.account(now);
        self.nodes[OWN].rip = rip;
        self.entries += 1;
        if self.nodes.len() + 2 > MOST || self.rows.len() + 2 > MOST {
            self.forget();
        }
        let world = self.resolve(OWN, control_block);
        self.current = world;
        let node = &mut self.nodes[world];
        node.asid = control.asid;
        node.root = control.stage2.map(|stage2| stage2.root);
        node.entries += 1;
    }

    /// The world in which the processor is exits; `wants`: because it wants that control block entered.
    pub fn exit(&mut self, now: u64, code: u64, wants: Option<u64>, rip: u64) {
        self.account(now);
        let node = &mut self.nodes[self.current];
        node.exits.add(code);
        node.rip = rip;
        node.wants = wants.or(node.wants);
        self.current = OWN;
    }

    /// Which world runs when `owner` runs `control_block`.
    fn resolve(&mut self, owner: usize, control_block: u64) -> usize {
        let number =
            self.rows.iter().position(|row| row.owner == owner && row.control_block == control_block);
        let number = number.unwrap_or_else(|| self.learn(owner, control_block));
        self.doubt(number);
        let row = self.rows[number];
        let Some(child) = row.for_child else {
            let own = row.own.unwrap_or_else(|| self.child(number));
            self.nodes[owner].last_child = Some(own);
            let node = &mut self.nodes[own];
            (node.wants, node.in_guest, node.stamp) = (None, false, self.entries);
            return own;
        };
        self.nodes[owner].last_child = Some(child);
        if let Some(wants) = self.nodes[child].wants.take() {
            let world = self.resolve(child, wants);
            (self.nodes[child].in_guest, self.nodes[child].last) = (true, world);
        }
        let node = &mut self.nodes[child];
        node.stamp = self.entries;
        node.last
    }

    /// The child of `owner` that has just exited because it wants to run something.
    fn wanting(&self, owner: usize) -> Option<usize> {
        self.nodes[owner].last_child.filter(|&child| self.nodes[child].wants.is_some())
    }

    fn learn(&mut self, owner: usize, control_block: u64) -> usize {
        self.rows.push(Row { owner, control_block, for_child: self.wanting(owner), own: None });
        self.rows.len() - 1
    }

    /// Whether what was learned of a control block can still be true.
    fn doubt(&mut self, number: usize) {
        let row = self.rows[number];
        let quiet = |node: usize| self.entries - self.nodes[node].stamp > LONG;
        let now = match (row.for_child, row.own) {
            (Some(child), _) => {
                let node = &self.nodes[child];
                let senseless = node.wants.is_none() && (!node.in_guest || quiet(child));
                if senseless { None } else { Some(child) }
            }
            (None, Some(own)) if quiet(own) => self.wanting(row.owner).filter(|&child| child != own),
            (None, _) => None,
        };
        self.rows[number].for_child = now;
    }

    fn child(&mut self, row: usize) -> usize {
        let Row { owner, control_block, .. } = self.rows[row];
        let level = self.nodes[owner].level + 1;
        self.made += 1;
        self.nodes.push(Node::new(self.made, Some(owner), level, control_block));
        let own = self.nodes.len() - 1;
        self.rows[row].own = Some(own);
        own
    }

    /// Forgets all guests.
    pub fn forget(&mut self) {
        self.nodes.truncate(1);
        self.rows.clear();
        self.nodes[OWN].last_child = None;
        self.current = OWN;
    }

    pub fn nesting(&mut self, now: u64, khz: u64, on: bool, vendor: &dyn Vendor) -> Nesting {
        self.account(now);
        let seconds = |ticks: u64| ticks as f64 / khz.max(1) as f64 / 1000.0;
        let world = |node: &Node| NestedWorld {
            id: node.id,
            parent: node.parent,
            level: node.level,
            structure: vendor.words().structure.into(),
            control_block: node.control_block,
            asid: node.asid,
            nested_root: node.root,
            rip: node.rip,
            entries: node.entries,
            seconds: seconds(node.ticks),
            idle_seconds: seconds(node.idle),
            quiet_seconds: seconds(now.wrapping_sub(node.seen)),
            exits: node.exits.named(|code| vendor.exit_name(code)),
        };
        Nesting { hypervisor: Some(on), sees_worlds: true, worlds: self.nodes.iter().map(world).collect() }
    }
}

#[cfg(test)]
#[path = "nesting_tests.rs"]
mod tests;
