//! The silicon oracle over the instruction table, and over byte strings: some thousand cases with a fixed seed.

use ireko_lab::oracle::bytes::{Strings, signature};
use ireko_lab::oracle::{Oracle, Plan, campaign, report};
use std::sync::Mutex;

/// One campaign at a time: each forks, and a fork copies one thread only.
static ALONE: Mutex<()> = Mutex::new(());

fn run(bits: u32, cases: usize) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let mut oracle = Oracle::new().expect("a child process and three guests");
    let plan = Plan { cases, seed: 20, bits, mnemonic: None, avx512: false };
    let mut texts = Vec::new();
    let tally = campaign(&mut oracle, &plan, |mismatch| {
        texts.push(report::text(mismatch));
        texts.len() < 5
    })
    .expect("the campaign runs");
    assert!(texts.is_empty(), "{tally:?}\n{}", texts.join("\n"));
    assert!(tally.strayed < cases / 100, "too few were judged: {tally:?}");
}

#[test]
fn strings_of_64_bit_code_end_as_on_silicon() {
    run(64, 24_000);
}

#[test]
fn strings_of_32_bit_code_end_as_on_silicon() {
    run(32, 12_000);
}

#[test]
fn byte_strings_end_as_on_silicon() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let mut oracle = Strings::new().expect("a child process and three guests");
    let mut texts = Vec::new();
    oracle
        .run(0..12_000, |mismatch| {
            texts.push(format!("{}\n{}", signature(mismatch), report::text(mismatch)));
            texts.len() < 5
        })
        .expect("the strings run");
    assert!(texts.is_empty(), "{:#?}\n{}", oracle.tally, texts.join("\n"));
    assert!(oracle.tally.executions > 10_000, "{:?}", oracle.tally);
}
