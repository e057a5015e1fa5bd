//! The instruments' options, as `name=value`.

use std::path::PathBuf;

/// What a trace tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    pub exits: bool,
    pub entries: bool,
    pub exceptions: bool,
    pub interrupts: bool,
}

impl Kinds {
    pub const ALL: Self = Self { exits: true, entries: true, exceptions: true, interrupts: true };

    pub fn any(self) -> bool {
        self != Self::default()
    }

    fn parse(value: &str) -> Result<Self, String> {
        let mut kinds = Self::default();
        for word in value.split(',') {
            match word {
                "exits" => kinds.exits = true,
                "entries" => kinds.entries = true,
                "exceptions" => kinds.exceptions = true,
                "interrupts" => kinds.interrupts = true,
                "on" | "all" => kinds = Self::ALL,
                "off" => kinds = Self::default(),
                _ => {
                    return Err(format!(
                        "engine option trace does not know {word:?}; it takes exits, entries, exceptions, \
                         interrupts (with commas between), all or off"
                    ));
                }
            }
        }
        Ok(kinds)
    }
}

/// How much of the run the lockstep mode compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockstepOptions {
    /// Blocks that run before the first comparison.
    pub from: u64,
    /// One block of so many is compared.
    pub every: u64,
    /// From this comparison on, the fast path's RBX is made wrong: to see that the mode finds what it should.
    pub wrong_from: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub trace: Kinds,
    pub trace_file: Option<PathBuf>,
    /// Events that are kept for the dump.
    pub ring: usize,
    pub counters: bool,
    /// Where the dump is written when the run ends.
    pub report: Option<PathBuf>,
    pub system_map: Option<PathBuf>,
    pub lockstep: Option<LockstepOptions>,
}

impl Options {
    /// The names, for messages.
    pub const NAMES: &str = "trace, trace-file, ring, counters, report, system-map, lockstep, lockstep-from \
                             and lockstep-every";
    const MOST_RING: u64 = 1 << 20;

    /// Those of one processor of many: each but the first has files of its own, with its number behind their names.
    pub fn of_processor(&self, id: u32) -> Self {
        let numbered = |path: &PathBuf| {
            let mut name = path.clone().into_os_string();
            if id > 0 {
                name.push(format!(".{id}"));
            }
            PathBuf::from(name)
        };
        let (trace_file, report) =
            (self.trace_file.as_ref().map(numbered), self.report.as_ref().map(numbered));
        Self { trace_file, report, ..self.clone() }
    }

    /// Whether something is wanted of each instruction, or each event.
    pub fn follows(&self) -> bool {
        self.trace != Kinds::default() || self.ring > 0 || self.lockstep.is_some()
    }

    /// Takes one option; `false` if it is none of the instruments'.
    pub fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "trace" => self.trace = Kinds::parse(value)?,
            "trace-file" => self.trace_file = Some(path(name, value)?),
            "ring" => self.ring = number(name, value, Self::MOST_RING)? as usize,
            "counters" => self.counters = switch(name, value)?,
            "report" => self.report = Some(path(name, value)?),
            "system-map" => self.system_map = Some(path(name, value)?),
            "lockstep" => self.lockstep = switch(name, value)?.then(|| self.lockstep()),
            "lockstep-from" => {
                self.lockstep =
                    Some(LockstepOptions { from: number(name, value, u64::MAX)?, ..self.lockstep() })
            }
            "lockstep-every" => {
                let every = number(name, value, u64::MAX)?.max(1);
                self.lockstep = Some(LockstepOptions { every, ..self.lockstep() });
            }
            "lockstep-wrong-from" => {
                let wrong_from = Some(number(name, value, u64::MAX)?);
                self.lockstep = Some(LockstepOptions { wrong_from, ..self.lockstep() });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn lockstep(&self) -> LockstepOptions {
        self.lockstep.unwrap_or(LockstepOptions { from: 0, every: 1, wrong_from: None })
    }

    /// Whether any instrument is asked for.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// `on` or `off`.
pub fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" | "1" | "true" => Ok(true),
        "off" | "0" | "false" => Ok(false),
        _ => Err(format!("engine option {name} is on or off, not {value:?}; write {name}=on")),
    }
}

fn number(name: &str, value: &str, most: u64) -> Result<u64, String> {
    let parsed = value.parse().ok().filter(|&number: &u64| number <= most);
    parsed.ok_or_else(|| format!("engine option {name} is a number up to {most}, not {value:?}"))
}

fn path(name: &str, value: &str) -> Result<PathBuf, String> {
    if value.is_empty() || value == "on" {
        return Err(format!("engine option {name} needs a file; write {name}=FILE"));
    }
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(texts: &[(&str, &str)]) -> Result<Options, String> {
        let mut options = Options::default();
        for (name, value) in texts {
            assert!(options.take(name, value)?);
        }
        Ok(options)
    }

    #[test]
    fn a_trace_takes_several_kinds() {
        let options = taken(&[("trace", "exits,interrupts")]).unwrap();
        assert_eq!(options.trace, Kinds { exits: true, interrupts: true, ..Kinds::default() });
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_known_ones() {
        assert!(taken(&[("trace", "exit")]).unwrap_err().contains("exceptions"));
    }

    #[test]
    fn a_lockstep_of_every_zeroth_block_is_of_every_block() {
        assert_eq!(taken(&[("lockstep-every", "0")]).unwrap().lockstep.unwrap().every, 1);
    }

    #[test]
    fn a_ring_beyond_its_bound_is_refused() {
        assert!(taken(&[("ring", "99999999999")]).is_err());
    }

    #[test]
    fn other_names_are_left_to_others() {
        assert_eq!(Options::default().take("plain", "on"), Ok(false));
    }
}
