//! Loops that lead back to the start of their block, several turns in a row: accesses of all of them may share checks, and nobody looks for
//! attention between two turns.

use crate::block::Step;
use crate::classify::Class;

/// Turns at most, and instructions of all of them. (What comes behind the loop is not among them.)
const TURNS: usize = 8;
const MOST: usize = 64;

/// A loop at a block's start, and how often it is to be there.
#[derive(Clone, Copy)]
pub(crate) struct Turns {
    body: usize,
    turns: usize,
}

/// The loop to `start`, if there is one that can be there more than once.
pub(crate) fn turns(steps: &[Step], start: u64) -> Option<Turns> {
    let leads_back = |step: &Step| {
        matches!(step.class, Class::Branch | Class::Jump) && step.insn.near_branch_target() == start
    };
    let body = steps.iter().position(leads_back)? + 1;
    let turns = TURNS.min(MOST / body);
    (turns > 1 && steps[..body].iter().all(is_simple)).then_some(Turns { body, turns })
}

/// Puts more turns in front of the one that there is.
pub(crate) fn unroll(steps: &mut Vec<Step>, Turns { body, turns }: Turns) {
    let mut turn = steps[..body].to_vec();
    turn[body - 1].again = true;
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

#[cfg(test)]
mod tests {
    use crate::block::{Request, Translated, Translator};
    use crate::classify::Env;
    use crate::key::Key;

    fn translated(bytes: &[u8], unrolls: bool) -> Translated {
        let mut translator = Translator::new(Env { routine: |_| false, feature: |_| true });
        translator.unrolls = unrolls;
        let key = Key(Key::CODE64 | Key::USER);
        let (in_page, page_offset) = (bytes.len(), 0x100);
        let numbers = (0, 0, 0);
        let (first_site, first_link, block) = numbers;
        let request =
            Request { bytes, rip: 0x1100, in_page, page_offset, key, first_site, first_link, block };
        translator.translate(&request).expect("a block")
    }

    /// mov rax, [rsi]; add rsi, 8; dec rcx; jnz; ud2.
    const LOOP: [u8; 14] = [0x48, 0x8b, 0x06, 0x48, 0x83, 0xc6, 8, 0x48, 0xff, 0xc9, 0x75, 0xf4, 0x0f, 0x0b];

    #[test]
    fn a_loop_is_there_eight_times_and_its_accesses_have_one_check() {
        let (once, row) = (translated(&LOOP, false), translated(&LOOP, true));
        assert_eq!((once.instructions, row.instructions), (5, 4 * 8 + 1));
        assert_eq!((once.could_unroll, row.could_unroll), (true, false));
        // Each access alone would have a site for its slow half; one of UD2's is there.
        assert_eq!((once.sites.len(), row.sites.len()), (2, 1));
    }

    #[test]
    fn what_is_long_or_leads_elsewhere_is_there_once() {
        let mut long = [0x90].repeat(32);
        long.extend([0xeb, 0xde]);
        assert_eq!(translated(&long, true).instructions, 33);
        let elsewhere = [0x90, 0xeb, 0xfe];
        assert_eq!(translated(&elsewhere, true).instructions, 2);
    }
}
