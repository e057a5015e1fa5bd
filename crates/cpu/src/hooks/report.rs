//! What the instruments have to say, at the end of a run and when somebody asks.

use crate::Cpu;
use crate::cpu::Privilege;
use crate::host;
use crate::inspect::report;
use std::io::Write;

impl Cpu {
    /// What the instruments have to say, for the end of a dump.
    pub(crate) fn inspection(&mut self) -> String {
        let mut text = self.describe_levels();
        let khz = self.platform.counter.khz();
        let Some(inspect) = self.instruments.inspect.as_deref_mut() else { return text };
        if let Some(worlds) = &mut inspect.worlds {
            worlds.account(host::rdtsc(), &self.instruments.counters);
        }
        let Some(inspect) = self.instruments.inspect.as_deref() else { return text };
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
        let worlds = self.instruments.inspect.as_deref_mut()?.worlds.as_mut()?;
        worlds.account(host::rdtsc(), &self.instruments.counters);
        Some(report::accounts(worlds, khz, self.processor.vendor()))
    }

    /// Registers and the bytes at RIP, for reports.
    pub fn describe(&mut self) -> String {
        self.fpu_sync();
        let mut bytes = [0; 16];
        let code = match self.read_linear(self.processor.regs.rip, &mut bytes, Privilege::System) {
            Ok(()) => bytes.iter().map(|b| format!("{b:02x} ")).collect(),
            Err(_) => "not readable".to_string(),
        };
        let world = if self.control().is_some() { "guest" } else { "host" };
        let inspection = self.inspection();
        format!(
            "{}\ncode: {code}\nworld: {world}\n{:?}\n{inspection}",
            crate::inspect::registers::describe_registers(&self.processor.regs),
            self.instruments.counters
        )
    }

    /// Writes the dump where the options want it; called when a run ends.
    pub(crate) fn report(&mut self) {
        if let Some(trace) = self.instruments.inspect.as_deref_mut().and_then(|i| i.trace.as_mut()) {
            trace.flush();
        }
        if self.instruments.inspect.as_deref().is_none_or(|i| i.report.is_none()) {
            return;
        }
        let text = self.describe();
        let Some(mut file) = self.instruments.inspect.as_deref().and_then(|i| i.report.as_ref()) else {
            return;
        };
        if let Err(error) = file.write_all(text.as_bytes()) {
            // If not even that can be said, the VM's end matters more.
            let _ = writeln!(std::io::stderr(), "the report cannot be written: {error}");
        }
    }
}
