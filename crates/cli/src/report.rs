//! What levels say to the levels above: lines with a prefix, each an event as JSON, and the proof that a chain of
//! reports hangs together.

use crate::bench::Times;
use crate::facts::Facts;
use serde::{Deserialize, Serialize};

/// What every event's line begins with, so that kernel messages on the same console are told apart.
pub const PREFIX: &str = "@ireko ";

/// One thing that happened at a level. Produced by code that runs there, except `Start` and `End`, which the
/// parent says of its child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The parent starts `level` with `engine`, for the given reason.
    Start { level: u32, engine: String, reason: String, memory_bytes: u64, parent_boot_id: String },
    /// The level's user space runs.
    Up { level: u32, parent_boot_id: String, facts: Box<Facts> },
    /// What the level does now.
    Doing { level: u32, what: String },
    /// What the level fetched over its network.
    Fetched { level: u32, address: String, bytes: u64, sha256: String, seconds: f64 },
    /// The level's answer.
    Answer { level: u32, benchmarks: Times },
    /// A line of the level's console that is no event.
    Console { level: u32, line: String },
    /// The level could not go on.
    Failed { level: u32, error: String },
    /// The parent saw the level end.
    End { level: u32, outcome: String },
}

impl Event {
    pub fn level(&self) -> u32 {
        match *self {
            Self::Start { level, .. }
            | Self::Up { level, .. }
            | Self::Doing { level, .. }
            | Self::Fetched { level, .. }
            | Self::Answer { level, .. }
            | Self::Console { level, .. }
            | Self::Failed { level, .. }
            | Self::End { level, .. } => level,
        }
    }

    /// The event as a line, without its end.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("events have only string keys and plain values");
        format!("{PREFIX}{json}")
    }

    /// The event in a console line; `None` for lines that are something else. A kernel message may have left its
    /// end before the prefix.
    pub fn from_line(line: &str) -> Option<Self> {
        let start = line.find(PREFIX)?;
        serde_json::from_str(line[start + PREFIX.len()..].trim()).ok()
    }
}

/// Cuts a console's bytes into lines. Overlong lines are cut, so that a guest cannot make us keep what it likes.
#[derive(Default)]
pub struct Lines {
    pending: Vec<u8>,
}

const LONGEST_LINE: usize = 64 << 10;

impl Lines {
    /// The lines that `bytes` complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.pending.push(byte);
            }
            if byte == b'\n' || self.pending.len() >= LONGEST_LINE {
                lines.push(self.take());
            }
        }
        lines
    }

    /// What is left without a line end.
    pub fn rest(&mut self) -> Option<String> {
        (!self.pending.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let line = String::from_utf8_lossy(&self.pending).trim_end_matches('\r').to_owned();
        self.pending.clear();
        line
    }
}

/// One link of the chain: who a level is, and who it says its parent is.
#[derive(Clone, Debug)]
pub struct Link {
    pub level: u32,
    pub boot_id: String,
    pub parent_boot_id: String,
    /// The parent's own statement of its boot id when it started this level.
    pub started_by: String,
}

/// Checks that the links are levels 1 to `depth`, that each names the one before as its parent (level 1 the host),
/// and that all are different machines.
pub fn prove_chain(host: &str, depth: u32, links: &[Link]) -> Result<(), String> {
    let mut seen = vec![host];
    for level in 1..=depth {
        let Some(link) = links.iter().find(|link| link.level == level) else {
            return Err(format!("level {level} did not answer"));
        };
        let parent = seen[level as usize - 1];
        if link.boot_id.is_empty() {
            return Err(format!("level {level} gave no boot id"));
        }
        if link.parent_boot_id != parent || link.started_by != parent {
            return Err(format!(
                "level {level} names {} as its parent and was started by {}, but level {}'s boot id is {parent}",
                link.parent_boot_id,
                link.started_by,
                level - 1
            ));
        }
        if seen.contains(&link.boot_id.as_str()) {
            return Err(format!("level {level} has the boot id of a level above it ({})", link.boot_id));
        }
        seen.push(&link.boot_id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(level: u32, boot_id: &str, parent: &str) -> Link {
        Link { level, boot_id: boot_id.into(), parent_boot_id: parent.into(), started_by: parent.into() }
    }

    #[test]
    fn an_event_survives_its_line() {
        let event = Event::Doing { level: 2, what: "says \"hello\"\n{}".into() };
        assert_eq!(Event::from_line(&event.to_line()), Some(event));
    }

    #[test]
    fn an_event_is_found_behind_the_rest_of_a_kernel_message() {
        let event = Event::End { level: 1, outcome: "powered off".into() };
        assert_eq!(Event::from_line(&format!("[    1.0] kvm: {}\r", event.to_line())), Some(event));
    }

    #[test]
    fn other_lines_are_no_events() {
        for line in ["", "[    0.000000] Linux version 6.1", "@ireko", "@ireko {", "@ireko {\"event\":\"x\"}"]
        {
            assert_eq!(Event::from_line(line), None, "{line}");
        }
    }

    #[test]
    fn lines_come_whole_from_bytes_in_pieces() {
        let mut lines = Lines::default();
        assert!(lines.push(b"one").is_empty());
        assert_eq!(lines.push(b" line\r\ntwo\nthr"), ["one line", "two"]);
        assert_eq!(lines.rest().as_deref(), Some("thr"));
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&vec![b'x'; LONGEST_LINE + 5]).len(), 1);
        assert_eq!(lines.rest().map(|l| l.len()), Some(5));
    }

    #[test]
    fn a_true_chain_is_proven() {
        assert_eq!(prove_chain("h", 2, &[link(1, "a", "h"), link(2, "b", "a")]), Ok(()));
    }

    #[test]
    fn a_missing_level_breaks_the_chain() {
        let error = prove_chain("h", 2, &[link(1, "a", "h")]).unwrap_err();
        assert_eq!(error, "level 2 did not answer");
    }

    #[test]
    fn a_wrong_parent_breaks_the_chain() {
        assert!(prove_chain("h", 2, &[link(1, "a", "h"), link(2, "b", "h")]).is_err());
    }

    #[test]
    fn a_parent_that_did_not_start_it_breaks_the_chain() {
        let mut second = link(2, "b", "a");
        second.started_by = "x".into();
        assert!(prove_chain("h", 2, &[link(1, "a", "h"), second]).is_err());
    }

    #[test]
    fn the_same_machine_twice_breaks_the_chain() {
        let error = prove_chain("h", 2, &[link(1, "a", "h"), link(2, "a", "a")]).unwrap_err();
        assert!(error.contains("boot id of a level above"), "{error}");
    }
}
