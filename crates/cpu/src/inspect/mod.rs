//! Instruments: counters by world, a trace, state dumps, symbols and the lockstep mode. All are off unless an
//! engine option asks for them; then [`Instruments::inspect`] is there, and [`crate::hooks`] give to it. Here is what they keep: it knows no
//! processor.
//!
//! How to use them is in `docs/debugging.md`.

pub mod counters;
mod exit_counts;
pub mod lockstep;
pub mod nesting;
pub mod options;
pub mod registers;
pub mod report;
pub mod symbols;
pub mod trace;
pub mod worlds;

pub use counters::Counters;
pub use options::Options;

use crate::host;
use std::fs::File;
use std::path::Path;

/// What is counted always, and what is looked at when somebody asks.
pub struct Instruments {
    /// Those that are on.
    pub inspect: Option<Box<Inspect>>,
    /// Who runs in guest worlds.
    pub(crate) ledger: nesting::Ledger,
    pub counters: Counters,
}

/// The instruments that an engine option turns on.
pub struct Inspect {
    pub worlds: Option<worlds::Worlds>,
    pub trace: Option<trace::Trace>,
    pub symbols: Option<symbols::Symbols>,
    pub lockstep: Option<lockstep::Lockstep>,
    pub report: Option<File>,
}

fn report_file(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("the report cannot be written to {}: {error}", path.display()))
}

impl Inspect {
    /// `None` if nothing is asked for.
    pub fn new(options: &Options) -> Result<Option<Box<Self>>, String> {
        if !options.any() {
            return Ok(None);
        }
        let worlds = options.counters.then(|| worlds::Worlds::new(host::rdtsc()));
        let trace = trace::Trace::new(options)?;
        let symbols = options.system_map.as_deref().map(symbols::Symbols::load).transpose()?;
        let lockstep = options.lockstep.map(lockstep::Lockstep::new);
        // Open before the vCPU's thread is confined, which may open nothing.
        let report = options.report.as_deref().map(report_file).transpose()?;
        Ok(Some(Box::new(Self { worlds, trace, symbols, lockstep, report })))
    }
}
