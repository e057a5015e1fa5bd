//! `hostile [MINUTES [SEED]]`: hostile kernels, one after the other, paused at any moment and turned off.

use anyhow::{Context, Result, ensure};
use ireko_lab::storm;
use std::time::Duration;

/// What docs/security.md promises.
const PAUSE: Duration = Duration::from_secs(1);
const END: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what, otherwise| match arguments.next() {
        Some(text) => text.parse::<u64>().with_context(|| format!("{what} is a number, not {text:?}")),
        None => Ok(otherwise),
    };
    let (minutes, seed) = (number("MINUTES", 5)?, number("SEED", 0)?);
    let report = storm::run(seed, Duration::from_secs(60 * minutes), Duration::from_secs(5))?;
    println!("{report:#?}");
    ensure!(report.slowest_pause <= PAUSE, "a pause took {:?}, more than {PAUSE:?}", report.slowest_pause);
    ensure!(report.slowest_end <= END, "an end took {:?}, more than {END:?}", report.slowest_end);
    Ok(())
}
