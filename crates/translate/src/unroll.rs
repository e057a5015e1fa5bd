//! Loops that lead back to the start of their block, several turns in a row: accesses of all of them may share checks, what is between two
//! turns need not keep flags for whoever interrupts, and nobody looks for attention there.

use crate::block::Step;
use crate::classify::Class;

/// Turns at most, and instructions of all of them.
const TURNS: usize = 8;
const MOST: usize = 64;

/// Puts more turns of the loop to `start` in front of the one that there is.
pub(crate) fn unroll(steps: &mut Vec<Step>, start: u64) {
    let leads_back = |step: &Step| {
        matches!(step.class, Class::Branch | Class::Jump) && step.insn.near_branch_target() == start
    };
    let Some(back) = steps.iter().position(leads_back) else { return };
    let body = back + 1;
    let turns = TURNS.min(MOST / body);
    if turns < 2 || !steps[..body].iter().all(is_simple) {
        return;
    }
    let mut turn = steps[..body].to_vec();
    turn[back].again = true;
    let first = std::iter::repeat_n(turn, turns - 1).flatten();
    *steps = first.chain(steps.drain(..)).collect();
}

/// What is done in place, and leaves the block only where it jumps.
fn is_simple(step: &Step) -> bool {
    matches!(
        step.class,
        Class::Plain | Class::Lea | Class::Branch | Class::Jump | Class::Push | Class::Pop | Class::Nothing
    )
}
