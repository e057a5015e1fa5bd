//! The silicon oracle over the instruction table: some thousand cases with a fixed seed.

use ireko_lab::oracle::{Oracle, Plan, campaign, report};

fn run(bits: u32, cases: usize) {
    let mut oracle = Oracle::new().expect("a child process and three guests");
    let plan = Plan { cases, seed: 20, bits, mnemonic: None };
    let mut texts = Vec::new();
    let tally = campaign(&mut oracle, &plan, |mismatch| {
        texts.push(report::text(mismatch));
        texts.len() < 5
    })
    .expect("the campaign runs");
    assert!(texts.is_empty(), "{tally:?}\n{}", texts.join("\n"));
}

#[test]
fn strings_of_64_bit_code_end_as_on_silicon() {
    run(64, 24_000);
}

#[test]
fn strings_of_32_bit_code_end_as_on_silicon() {
    run(32, 12_000);
}
