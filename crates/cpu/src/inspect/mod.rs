//! Instruments: counters by world, a trace, state dumps, symbols, a profile and the lockstep mode. All are off unless an
//! engine option asks for them; then [`Cpu::inspect`] is there, and the hooks in [`hook`] look at it.
//!
//! How to use them is in `docs/debugging.md`.

pub mod counters;
pub mod hook;
pub mod names;
pub mod options;
mod report;
pub mod worlds;

pub use counters::Counters;
pub use hook::{access, deliver, exception, exit, interrupt, left, sleep, switched, system};
pub use options::Options;

use crate::Cpu;
use crate::silicon;

/// The instruments that are on.
pub struct Inspect {
    options: Options,
    worlds: Option<worlds::Worlds>,
}

impl Inspect {
    /// `None` if nothing is asked for.
    pub fn new(options: &Options) -> Result<Option<Box<Self>>, String> {
        if !options.any() {
            return Ok(None);
        }
        let worlds = options.counters.then(|| worlds::Worlds::new(silicon::rdtsc()));
        Ok(Some(Box::new(Self { options: options.clone(), worlds })))
    }
}

impl Cpu {
    /// What the instruments have to say, for the end of a dump.
    pub(crate) fn inspection(&mut self) -> String {
        let counters = self.counters;
        let khz = self.tsc.khz();
        let Some(inspect) = self.inspect.as_deref_mut() else { return String::new() };
        let mut text = String::new();
        if let Some(worlds) = &mut inspect.worlds {
            worlds.settle(silicon::rdtsc(), &counters);
            report::worlds(&mut text, worlds, khz);
        }
        text
    }

    /// Writes the dump where the options want it; called when a run ends.
    pub(crate) fn report(&mut self) {
        let Some(path) = self.inspect.as_deref().and_then(|i| i.options.report.clone()) else { return };
        let text = self.describe();
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("the report cannot be written to {}: {error}", path.display());
        }
    }
}
