//! Instruments: counters by world, a trace, state dumps, symbols and the lockstep mode. All are off unless an
//! engine option asks for them; then [`Cpu::inspect`] is there, and the hooks in [`hook`] look at it.
//!
//! How to use them is in `docs/debugging.md`.

pub mod counters;
mod exit_counts;
pub mod hook;
pub mod lockstep;
pub mod nesting;
pub mod options;
mod report;
mod state;
pub mod symbols;
pub mod trace;
pub mod worlds;

pub use counters::Counters;
pub use hook::{access, deliver, exception, exit, interrupt, left, lockstep_on, sleep, switched, system};
pub use options::Options;

use crate::Cpu;
use crate::host;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The instruments that are on.
pub struct Inspect {
    worlds: Option<worlds::Worlds>,
    trace: Option<trace::Trace>,
    symbols: Option<symbols::Symbols>,
    lockstep: Option<lockstep::Lockstep>,
    report: Option<File>,
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

impl Cpu {
    /// What the instruments have to say, for the end of a dump.
    pub(crate) fn inspection(&mut self) -> String {
        let mut text = self.describe_levels();
        let khz = self.platform.counter.khz();
        let Some(inspect) = self.inspect.as_deref_mut() else { return text };
        if let Some(worlds) = &mut inspect.worlds {
            worlds.account(host::rdtsc(), &self.counters);
        }
        let Some(inspect) = self.inspect.as_deref() else { return text };
        let symbol = |world, address| self.symbol(world, address);
        let vendor = self.processor.vendor();
        if let Some(worlds) = &inspect.worlds {
            report::worlds(&mut text, worlds, khz, vendor, &symbol);
        }
        if let Some(lockstep) = &inspect.lockstep {
            text.push_str(&format!(
                "lockstep: {} blocks compared, {} not\n",
                lockstep.compared, lockstep.kept
            ));
        }
        if let Some(trace) = &inspect.trace {
            trace.last().for_each(|entry| text.push_str(&(entry.line(khz, vendor, symbol) + "\n")));
        }
        text
    }

    /// The counters by world, if they are on.
    pub(crate) fn inspected_counters(&mut self) -> Option<Vec<ireko_vmcore::WorldCounters>> {
        let khz = self.platform.counter.khz();
        let worlds = self.inspect.as_deref_mut()?.worlds.as_mut()?;
        worlds.account(host::rdtsc(), &self.counters);
        Some(report::accounts(worlds, khz, self.processor.vendor()))
    }

    /// Writes the dump where the options want it; called when a run ends.
    pub(crate) fn report(&mut self) {
        if let Some(trace) = self.inspect.as_deref_mut().and_then(|i| i.trace.as_mut()) {
            trace.flush();
        }
        if self.inspect.as_deref().is_none_or(|i| i.report.is_none()) {
            return;
        }
        let text = self.describe();
        let Some(mut file) = self.inspect.as_deref().and_then(|i| i.report.as_ref()) else { return };
        if let Err(error) = file.write_all(text.as_bytes()) {
            // If not even that can be said, the VM's end matters more.
            let _ = writeln!(std::io::stderr(), "the report cannot be written: {error}");
        }
    }
}
