//! `bytes --strings N --first NUMBER [--most M]`: random byte strings on silicon and on the software CPU.

use anyhow::{Context, Result, bail};
use ireko_lab::oracle::bytes::{Strings, signature};
use ireko_lab::oracle::report;
use std::collections::BTreeMap;
use std::time::Instant;

/// Strings between two lines that say how far it is.
const REPORT_EVERY: u64 = 250_000;

struct Plan {
    strings: u64,
    first: u64,
    /// Of each kind of mismatch so many are shown in full.
    most: u64,
}

fn main() -> Result<()> {
    let plan = arguments()?;
    let mut oracle = Strings::new()?;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let (began, mut next, last) = (Instant::now(), plan.first, plan.first + plan.strings);
    while next < last {
        let end = last.min(next + REPORT_EVERY);
        oracle.run(next..end, |mismatch| {
            let count = kinds.entry(signature(mismatch)).or_default();
            *count += 1;
            if *count <= plan.most {
                println!("{}\n{}", signature(mismatch), report::text(mismatch));
            }
            true
        })?;
        next = end;
        let tally = &oracle.tally;
        let (executions, seconds) = (tally.executions, began.elapsed().as_secs_f64());
        eprintln!(
            "{executions} executions, {:.0} a second, {} mismatches of {} kinds",
            executions as f64 / seconds,
            tally.mismatches,
            kinds.len()
        );
    }
    for (kind, count) in &kinds {
        println!("{count:7} {kind}");
    }
    println!("{:#?}", oracle.tally);
    if oracle.tally.mismatches > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn arguments() -> Result<Plan> {
    let mut plan = Plan { strings: 10_000_000, first: 0, most: 1 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
        let number = value.parse().with_context(|| format!("{name} wants a number, not {value:?}"))?;
        match name.as_str() {
            "--strings" => plan.strings = number,
            "--first" => plan.first = number,
            "--most" => plan.most = number,
            _ => bail!("{name} is not an option; there are --strings, --first and --most"),
        }
    }
    Ok(plan)
}
