//! A checker of emitted code: it decodes what the translator made and follows it, knowing nothing of how it was made.
//!
//! Every access to memory must be through an address that a check or a thunk has let through, for as many bytes and for
//! writing only if that was asked for; or lie in the words of the bank that are translated code's. Nothing may change RSP, call or
//! jump but through the bank's thunks and tables, or be an instruction that guests must not run.
//!
//! It follows values by name through all ways in a block (an abstract interpretation); where two ways meet, what both
//! agree on is left.

mod follow;
mod forbidden;
mod place;
mod value;

use crate::block::{Request, Translated};
use follow::Walk;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory};
use std::collections::{BTreeMap, BTreeSet};
use value::AbstractState;

/// Steps per instruction after which the ways through a block must have become stable.
const PATIENCE: usize = 64;

/// Whether emitted code keeps to the rules; else the first instruction that does not, in words.
pub fn verify(request: &Request, made: &Translated) -> Result<(), String> {
    let code = decode(&made.code)?;
    structure(made, &code)?;
    let mut info = InstructionInfoFactory::new();
    // What comes to each instruction, by where it comes from.
    let start = BTreeMap::from([(usize::MAX, AbstractState::new())]);
    let mut incoming = BTreeMap::from([(0, start)]);
    let order = order(&code);
    let mut open = BTreeSet::from([(0, 0)]);
    let mut steps = PATIENCE * code.len();
    while let Some((_, at)) = open.pop_first() {
        steps = steps.checked_sub(1).ok_or("the ways through the block do not become stable")?;
        let insn = code.get(&at).ok_or_else(|| format!("{at:#x}: no instruction begins there"))?;
        let state = joined(&incoming[&at], at);
        let (first_site, first_link) = (request.first_site, request.first_link);
        let mut walk = Walk { at, insn, made, first_site, first_link, info: &mut info, state };
        let ways = walk.step().map_err(|wrong| format!("{at:#x}: {insn}: {wrong}"))?;
        for (target, state) in ways {
            let known = incoming.entry(target).or_default();
            if known.get(&at) != Some(&state) {
                known.insert(at, state);
                open.insert((order.get(&target).copied().unwrap_or_default(), target));
            }
        }
    }
    Ok(())
}

/// A number for each instruction that is above those of all that come before it on the ways through the code, loops spill. In
/// this order nearly every instruction is looked at when all is known that comes to it.
fn order(code: &BTreeMap<usize, Instruction>) -> BTreeMap<usize, usize> {
    let (mut order, mut seen, mut open) = (BTreeMap::new(), BTreeSet::new(), vec![(0, false)]);
    while let Some((at, left)) = open.pop() {
        if left {
            // From the end: what was left last comes first.
            order.insert(at, code.len() - order.len());
        } else if seen.insert(at) {
            open.push((at, true));
            open.extend(code.get(&at).into_iter().flat_map(|insn| ways(at, insn)).map(|to| (to, false)));
        }
    }
    order
}

/// Where an instruction may lead in the block.
fn ways(at: usize, insn: &Instruction) -> impl Iterator<Item = usize> {
    let branches = insn.is_jcc_short_or_near() || insn.is_jmp_short_or_near() || insn.is_jcx_short();
    let ends = matches!(
        insn.flow_control(),
        FlowControl::UnconditionalBranch | FlowControl::IndirectBranch | FlowControl::Return
    );
    let target = branches.then(|| insn.near_branch_target() as usize);
    target.into_iter().chain((!ends).then(|| at + insn.len()))
}

/// What all ways to an instruction agree on.
fn joined(ways: &BTreeMap<usize, AbstractState>, at: usize) -> AbstractState {
    let mut ways = ways.values();
    let first = ways.next().cloned().unwrap_or_else(AbstractState::new);
    ways.fold(first, |state, other| state.join(other, at))
}

/// All instructions by their offset.
fn decode(code: &[u8]) -> Result<BTreeMap<usize, Instruction>, String> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut found = BTreeMap::new();
    while decoder.can_decode() {
        let at = decoder.position();
        let insn = decoder.decode();
        if insn.is_invalid() {
            return Err(format!("{at:#x}: not an instruction: {:02x?}", &code[at..code.len().min(at + 15)]));
        }
        forbidden::check(&insn).map_err(|wrong| format!("{at:#x}: {insn}: {wrong}"))?;
        found.insert(at, insn);
    }
    Ok(found)
}

/// Links, stubs and places of faults are where instructions begin and end.
fn structure(made: &Translated, code: &BTreeMap<usize, Instruction>) -> Result<(), String> {
    let begins = |at: u32| code.contains_key(&(at as usize));
    for link in &made.links {
        let end = link.patch as usize + 4;
        let jump = code.range(..end).next_back().is_some_and(|(at, insn)| {
            at + insn.len() == end && (insn.is_jmp_short_or_near() || insn.is_jcc_short_or_near())
        });
        if !jump || !begins(link.stub) || link.far.is_some_and(|far| !begins(far)) {
            return Err(format!("the link at {:#x} is no jump, or has no stub", link.patch));
        }
    }
    let ended = |at: u32| begins(at) || at as usize == made.code.len();
    match made.faults.iter().find(|f| !ended(f.0)) {
        Some(fault) => Err(format!("{:#x}: a fault is noted in the middle of an instruction", fault.0)),
        None => Ok(()),
    }
}
