//! Who runs below this processor's own world, at every depth: always on, because it costs a look at the time-stamp counter
//! and a few words at a world switch.
//!
//! A processor sees only the VMCBs that its own hypervisor (level 1) runs. For a guest of its guest that hypervisor makes
//! a VMCB on that guest's behalf, and everything deeper shares it. But every VMRUN at every depth exits to level 1
//! first, and RAX then tells the VMCB that the guest means, in its own memory. So a world is known by the path of
//! those addresses. `Ledger::resolve` follows it: a VMCB that its owner runs is either a guest's own, or stands for
//! what that guest itself runs.
//!
//! What stands for what is told by the order of events: a VMCB that was never seen before and is entered right after
//! a guest's VMRUN exited is that guest's. A hypervisor that lets another, new machine go first at that very moment is
//! misunderstood until that machine comes back without such an exit before it.

use super::names;
use crate::{Cpu, host};
use ireko_nested::svm::encode::encode;
use ireko_nested::{Control, Exit};
use ireko_vmcore::Window;
use ireko_vmcore::nesting::{Nesting, World};
use ireko_x86::bits::efer;
use ireko_x86::regs::gpr::RAX;
use ireko_x86::vmcb::exitcode;

/// Worlds, and VMCBs, that are told apart; when there are more, everything is learned anew.
const MOST: usize = 64;
/// Entries of others after which a VMCB may have become another's: its page was freed and is used again.
const LONG: u64 = 5000;
/// Exit codes that are counted one by one: up to A4h, the four from 400h, INVALID, and all others.
const SLOTS: usize = 0xa5 + 4 + 2;
const INVALID_SLOT: usize = SLOTS - 2;
const OTHER_SLOT: usize = SLOTS - 1;

/// The processor's own world.
const OWN: usize = 0;

fn slot(code: u64) -> usize {
    match code {
        0..=0xa4 => code as usize,
        0x400..=0x403 => 0xa5 + (code - 0x400) as usize,
        exitcode::INVALID => INVALID_SLOT,
        _ => OTHER_SLOT,
    }
}

fn slot_name(slot: usize) -> std::borrow::Cow<'static, str> {
    match slot {
        INVALID_SLOT => names::exit(exitcode::INVALID),
        OTHER_SLOT => "others".into(),
        0xa5..INVALID_SLOT => names::exit(0x400 + (slot - 0xa5) as u64),
        _ => names::exit(slot as u64),
    }
}

struct Node {
    /// No other ever has it.
    id: u64,
    parent: Option<usize>,
    level: u32,
    vmcb: u64,
    asid: u32,
    root: Option<u64>,
    rip: u64,
    entries: u64,
    ticks: u64,
    idle: u64,
    /// When it was entered or left last: time-stamp counter, and entries in all.
    seen: u64,
    stamp: u64,
    exits: [u64; SLOTS],
    /// The VMCB that it wanted to run, since it exited with VMRUN.
    wants: Option<u64>,
    /// What stands for its guests was entered after itself.
    in_guest: bool,
    /// Which world that was, and which of its children that was or belonged to.
    last: usize,
    last_child: Option<usize>,
}

impl Node {
    const fn new(id: u64, parent: Option<usize>, level: u32, vmcb: u64) -> Self {
        Self {
            id,
            parent,
            level,
            vmcb,
            asid: 0,
            root: None,
            rip: 0,
            entries: 0,
            ticks: 0,
            idle: 0,
            seen: 0,
            stamp: 0,
            exits: [0; SLOTS],
            wants: None,
            in_guest: false,
            last: OWN,
            last_child: None,
        }
    }
}

/// What the VMCB at `vmcb` in `owner`'s memory is.
#[derive(Clone, Copy)]
struct Row {
    owner: usize,
    vmcb: u64,
    /// It stands for what this child of `owner` runs; `None`: it is the child `own` itself.
    for_child: Option<usize>,
    own: Option<usize>,
}

/// All worlds that were seen, and how their VMCBs are used.
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

    /// The processor's own hypervisor enters a VMCB; it would come back at `rip`.
    fn enter(&mut self, now: u64, vmcb: u64, control: &Control, rip: u64) {
        self.account(now);
        self.nodes[OWN].rip = rip;
        self.entries += 1;
        if self.nodes.len() + 2 > MOST || self.rows.len() + 2 > MOST {
            self.forget();
        }
        let world = self.resolve(OWN, vmcb);
        self.current = world;
        let node = &mut self.nodes[world];
        node.asid = control.asid;
        node.root = control.stage2.map(|stage2| stage2.root);
        node.entries += 1;
    }

    /// The world in which the processor is exits.
    fn exit(&mut self, now: u64, code: u64, rax: u64, rip: u64) {
        self.account(now);
        let node = &mut self.nodes[self.current];
        node.exits[slot(code)] += 1;
        node.rip = rip;
        if code == exitcode::VMRUN {
            node.wants = Some(rax);
        }
        self.current = OWN;
    }

    /// Which world runs when `owner` runs `vmcb`.
    fn resolve(&mut self, owner: usize, vmcb: u64) -> usize {
        let number = self.rows.iter().position(|row| row.owner == owner && row.vmcb == vmcb);
        let number = number.unwrap_or_else(|| self.learn(owner, vmcb));
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

    fn learn(&mut self, owner: usize, vmcb: u64) -> usize {
        self.rows.push(Row { owner, vmcb, for_child: self.wanting(owner), own: None });
        self.rows.len() - 1
    }

    /// Whether what was learned of a VMCB can still be true.
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
        let Row { owner, vmcb, .. } = self.rows[row];
        let level = self.nodes[owner].level + 1;
        self.made += 1;
        self.nodes.push(Node::new(self.made, Some(owner), level, vmcb));
        let own = self.nodes.len() - 1;
        self.rows[row].own = Some(own);
        own
    }

    /// Forgets all guests.
    fn forget(&mut self) {
        self.nodes.truncate(1);
        self.rows.clear();
        self.nodes[OWN].last_child = None;
        self.current = OWN;
    }

    fn nesting(&mut self, now: u64, khz: u64, on: bool) -> Nesting {
        self.account(now);
        let seconds = |ticks: u64| ticks as f64 / khz.max(1) as f64 / 1000.0;
        let world = |node: &Node| World {
            id: node.id,
            parent: node.parent,
            level: node.level,
            vmcb: node.vmcb,
            asid: node.asid,
            nested_root: node.root,
            rip: node.rip,
            entries: node.entries,
            seconds: seconds(node.ticks),
            idle_seconds: seconds(node.idle),
            quiet_seconds: seconds(now.wrapping_sub(node.seen)),
            exits: exits(&node.exits),
        };
        Nesting { hypervisor: Some(on), sees_worlds: true, worlds: self.nodes.iter().map(world).collect() }
    }
}

fn exits(counts: &[u64; SLOTS]) -> Vec<(std::borrow::Cow<'static, str>, u64)> {
    let some = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let mut exits: Vec<_> = some.map(|(slot, &count)| (slot_name(slot), count)).collect();
    exits.sort_by_key(|exit| std::cmp::Reverse(exit.1));
    exits
}

/// VMRUN was done.
pub fn entered(cpu: &mut Cpu) {
    let crate::cpu::World::Guest(control) = &cpu.processor.world else { return };
    cpu.nesting.enter(host::rdtsc(), cpu.processor.svm.vmcb, control, cpu.processor.svm.host.rip);
}

/// #VMEXIT is about to be done.
pub fn left(cpu: &mut Cpu, exit: &Exit) {
    let crate::cpu::World::Guest(control) = &cpu.processor.world else { return };
    let code = encode(exit, control, &cpu.processor.regs).code;
    cpu.nesting.exit(host::rdtsc(), code, cpu.processor.regs.gpr[RAX], cpu.processor.regs.rip);
}

/// Shows how things are, to whom asked for it.
pub fn show(cpu: &mut Cpu) {
    cpu.fpu_sync();
    // In a guest, VMRUN saved the hypervisor's own EFER.
    let own = if cpu.control().is_some() { cpu.processor.svm.host.efer } else { cpu.processor.regs.efer };
    let on = own & efer::SVME != 0;
    if !on && cpu.control().is_none() {
        cpu.nesting.forget();
    }
    let nesting = cpu.nesting.nesting(host::rdtsc(), cpu.platform.tsc.khz(), on);
    cpu.nesting.window.show(nesting);
}

#[cfg(test)]
#[path = "nesting_tests.rs"]
mod tests;
