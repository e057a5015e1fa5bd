use super::*;
use ireko_x86::vmcb::exitcode;

/// A ledger whose clock goes on by one tick an event.
struct Story {
    ledger: Ledger,
    now: u64,
}

impl Story {
    fn new() -> Self {
        let mut ledger = Ledger::new(Window::default());
        ledger.since = 0;
        Self { ledger, now: 0 }
    }
    /// Level 1 enters a VMCB, and it exits: with VMRUN of another, or for another reason.
    fn run(&mut self, control_block: u64, vmrun: Option<u64>) -> usize {
        self.ledger.enter(self.now + 1, control_block, &Control::default(), 0);
        let world = self.ledger.current;
        let code = if vmrun.is_some() { exitcode::VMRUN } else { exitcode::CPUID };
        self.now += 2;
        self.ledger.exit(self.now, code, vmrun, 0);
        world
    }
    /// Level, and the VMCBs from level 2 in.
    fn path(&self, mut world: usize) -> Vec<u64> {
        let mut path = Vec::new();
        while let Some(parent) = self.ledger.nodes[world].parent {
            path.insert(0, self.ledger.nodes[world].control_block);
            world = parent;
        }
        path
    }
}

/// VMCBs: level 1's own for level 2 and the one on its behalf; level 2's for level 3, and so on.
const A1: u64 = 0x1000;
const A2: u64 = 0x2000;
const X1: u64 = 0x11000;
const X2: u64 = 0x12000;
const Z1: u64 = 0x21000;

#[test]
fn a_guest_of_the_processor_is_level_2() {
    let mut story = Story::new();
    let world = story.run(A1, None);
    assert_eq!((story.ledger.nodes[world].level, story.path(world)), (2, vec![A1]));
}

#[test]
fn a_vmcb_entered_after_a_guests_vmrun_is_that_guests_guest() {
    let mut story = Story::new();
    story.run(A1, Some(X1));
    let world = story.run(A2, None);
    assert_eq!(story.path(world), [A1, X1]);
}

#[test]
fn it_stays_so_while_level_1_deals_with_its_exits_alone() {
    let mut story = Story::new();
    story.run(A1, Some(X1));
    story.run(A2, None);
    let world = story.run(A2, None);
    assert_eq!(story.path(world), [A1, X1]);
}

/// Level 3 runs a guest: VMRUN of level 3, level 2 deals with it and runs its VMCB on level 3's behalf.
fn level_4(story: &mut Story) -> usize {
    story.run(A1, Some(X1));
    story.run(A2, Some(Z1));
    story.run(A1, Some(X2));
    story.run(A2, None)
}

#[test]
fn a_guest_of_level_3_is_level_4_though_it_shares_level_3s_vmcb() {
    let mut story = Story::new();
    let world = level_4(&mut story);
    assert_eq!(story.path(world), [A1, X1, Z1]);
}

#[test]
fn an_exit_of_level_4_that_level_3_deals_with_is_level_3s_time() {
    let mut story = Story::new();
    let world = level_4(&mut story);
    // Level 2 shows it to level 3, which goes on with the same guest.
    let above = {
        story.run(A1, Some(X1));
        story.run(A2, Some(Z1))
    };
    let again = {
        story.run(A1, Some(X2));
        story.run(A2, None)
    };
    assert_eq!((story.path(above), again), (vec![A1, X1], world));
}

#[test]
fn an_exit_of_level_4_that_level_2_deals_with_goes_back_to_level_4() {
    let mut story = Story::new();
    let world = level_4(&mut story);
    let above = story.run(A1, Some(X2));
    assert_eq!((story.path(above), story.run(A2, None)), (vec![A1], world));
}

#[test]
fn level_5_is_told_from_level_4() {
    const Z2: u64 = 0x22000;
    const W1: u64 = 0x31000;
    let mut story = Story::new();
    let world = level_4(&mut story);
    // It does VMRUN itself: level 2 shows that to level 3, which runs Z2 on its behalf.
    story.run(A1, Some(X1));
    story.run(A2, Some(Z1));
    story.run(A1, Some(X2));
    assert_eq!(story.run(A2, Some(W1)), world);
    story.run(A1, Some(X1));
    story.run(A2, Some(Z2));
    story.run(A1, Some(X2));
    let inner = story.run(A2, None);
    assert_eq!(story.path(inner), [A1, X1, Z1, W1]);
}

#[test]
fn a_vmrun_that_is_refused_changes_nothing() {
    let mut story = Story::new();
    story.run(A1, Some(X1));
    let world = story.run(A1, None);
    let other = story.run(0x9000, None);
    assert_eq!((story.path(world), story.path(other)), (vec![A1], vec![0x9000]));
}

#[test]
fn another_machine_that_went_first_is_understood_when_it_comes_back() {
    const B1: u64 = 0x5000;
    let mut story = Story::new();
    story.run(A1, Some(X1));
    story.run(B1, None);
    story.run(A1, None);
    let world = story.run(B1, None);
    assert_eq!(story.path(world), [B1]);
}

#[test]
fn a_page_that_was_another_machines_vmcb_is_understood_anew() {
    let mut story = Story::new();
    story.run(A2, None);
    for _ in 0..=LONG {
        story.run(A1, None);
    }
    story.run(A1, Some(X1));
    let world = story.run(A2, None);
    assert_eq!(story.path(world), [A1, X1]);
}

#[test]
fn time_goes_to_the_world_that_ran() {
    let mut story = Story::new();
    let outer = story.run(A1, Some(X1));
    let inner = story.run(A2, None);
    let ticks: Vec<_> = [OWN, outer, inner].map(|world| story.ledger.nodes[world].ticks).to_vec();
    assert_eq!(ticks, [2, 1, 1]);
}

#[test]
fn exits_are_counted_by_name() {
    let mut story = Story::new();
    story.run(A1, None);
    story.run(A1, None);
    story.run(A1, Some(X1));
    let nesting = story.ledger.nesting(10, 1000, true, &ireko_nested::svm::State::default());
    let exits: Vec<_> = nesting.worlds[1].exits.iter().map(|(name, n)| (name.as_ref(), *n)).collect();
    assert_eq!(exits, [("VMEXIT_CPUID", 2), ("VMEXIT_VMRUN", 1)]);
}

#[test]
fn a_guest_that_makes_up_vmcbs_costs_no_memory() {
    let mut story = Story::new();
    for control_block in 1..10_000 {
        story.run(control_block << 12, Some(control_block << 13));
    }
    assert!(story.ledger.nodes.len() <= MOST && story.ledger.rows.len() <= MOST);
}
