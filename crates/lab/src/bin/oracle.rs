//! `oracle --cases N --seed S [--code Mnemonic] [--bits 64|32] [--avx512 1] [--most M] [--strict 1]`: a longer run of the silicon oracle.

use anyhow::{Context, Result, bail};
use ireko_lab::oracle::{Oracle, Plan, campaign, report};
use std::collections::BTreeMap;

fn main() -> Result<()> {
    let (plan, most, strict) = arguments()?;
    let mut oracle = Oracle::new()?;
    oracle.strict = strict;
    let (mut shown, mut by_form) = (0, BTreeMap::new());
    let tally = campaign(&mut oracle, &plan, |mismatch| {
        for piece in mismatch.case.pieces.iter().filter(|p| !p.prelude) {
            *by_form.entry((mismatch.way, format!("{:?}", piece.insn.code()))).or_insert(0) += 1;
        }
        shown += 1;
        if shown <= most {
            println!("{}", report::text(mismatch));
        }
        true
    })?;
    for ((way, form), count) in by_form {
        println!("{count:6} {way} {form}");
    }
    println!("{tally:?}");
    if tally.mismatches > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn arguments() -> Result<(Plan, usize, bool)> {
    let mut plan = Plan { cases: 10_000, seed: 1, bits: 64, mnemonic: None, avx512: false };
    let (mut most, mut strict) = (20, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        let number = || value.parse::<u64>().with_context(|| format!("{name} wants a number, not {value:?}"));
        match name.as_str() {
            "--cases" => plan.cases = number()? as usize,
            "--seed" => plan.seed = number()?,
            "--bits" => plan.bits = number()? as u32,
            "--avx512" => plan.avx512 = number()? != 0,
            "--strict" => strict = number()? != 0,
            "--most" => most = number()? as usize,
            "--code" => plan.mnemonic = Some(value.clone()),
            _ => bail!(
                "{name} is not an option; there are --cases, --seed, --bits, --code, --avx512, --most and --strict"
            ),
        }
    }
    if !matches!(plan.bits, 32 | 64) {
        bail!("--bits is 64 or 32, not {}", plan.bits);
    }
    Ok((plan, most, strict))
}
