//! What is known of each level while a nest comes up.

use super::stats::LevelStats;
use crate::bench::{self, Compared, Times};
use crate::facts::{Cpuid, Dmi, Facts};
use crate::report::{Event, Link};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

const KEPT_LINES: usize = 40;

/// One level, as far as it was heard of.
#[derive(Default)]
pub struct Level {
    pub engine: String,
    pub reason: String,
    pub memory_bytes: u64,
    pub started: Option<Instant>,
    pub up: Option<Instant>,
    pub started_by: String,
    pub parent_boot_id: String,
    pub facts: Option<Facts>,
    pub benchmarks: Option<Times>,
    pub fetched: Option<Fetched>,
    pub doing: String,
    pub error: Option<String>,
    pub console: VecDeque<String>,
}

/// What a level fetched over its network.
#[derive(Clone, Serialize)]
pub struct Fetched {
    pub address: String,
    pub bytes: u64,
    pub sha256: String,
    pub seconds: f64,
}

/// All levels of a nest.
pub struct Board {
    pub host: Facts,
    pub host_times: Times,
    pub depth: u32,
    pub levels: BTreeMap<u32, Level>,
    pub last_heard: Option<(u32, Instant)>,
    pub stats: Option<Vec<LevelStats>>,
}

impl Board {
    pub fn new(host: Facts, host_times: Times, depth: u32) -> Self {
        Self { host, host_times, depth, levels: BTreeMap::new(), last_heard: None, stats: None }
    }

    /// Takes in an event. Those of levels that nobody ordered are not believed.
    pub fn hear(&mut self, event: Event, now: Instant) {
        let number = event.level();
        if number == 0 || number > self.depth {
            return;
        }
        let level = self.levels.entry(number).or_default();
        // Of its start and its end, the parent speaks.
        let parent_speaks = matches!(event, Event::Start { .. } | Event::End { .. });
        self.last_heard = Some((if parent_speaks { number - 1 } else { number }, now));
        level.hear(event, now);
    }

    /// The innermost level answered.
    pub fn answered(&self) -> bool {
        self.levels.get(&self.depth).is_some_and(|level| level.benchmarks.is_some())
    }

    /// The links of the levels that came up, for the proof.
    pub fn links(&self) -> Vec<Link> {
        let up =
            self.levels.iter().filter_map(|(&number, level)| Some((number, level, level.facts.as_ref()?)));
        up.map(|(number, level, facts)| Link {
            level: number,
            boot_id: facts.boot_id.clone(),
            parent_boot_id: level.parent_boot_id.clone(),
            started_by: level.started_by.clone(),
        })
        .collect()
    }

    /// What a level said was wrong, the innermost first.
    pub fn complaint(&self) -> Option<String> {
        let mut levels = self.levels.iter().rev();
        levels.find_map(|(number, level)| Some(format!("level {number}: {}", level.error.as_ref()?)))
    }

    /// Which level was last heard, when, and what it did.
    pub fn last_words(&self, now: Instant) -> String {
        match self.last_heard {
            Some((0, at)) => format!("last heard from the host, {} ago", seconds(now - at)),
            Some((number, at)) => {
                let doing = self.levels.get(&number).map_or("", |level| level.doing.as_str());
                let doing = if doing.is_empty() { String::new() } else { format!(" ({doing})") };
                format!("last heard from level {number}, {} ago{doing}", seconds(now - at))
            }
            None => "nothing was heard from any level".to_owned(),
        }
    }

    /// The last console lines of the innermost level that wrote any.
    pub fn last_lines(&self) -> Option<(u32, Vec<String>)> {
        let mut levels = self.levels.iter().rev();
        levels
            .find(|(_, level)| !level.console.is_empty())
            .map(|(&number, level)| (number, level.console.iter().cloned().collect()))
    }

    pub fn reports(&self) -> Vec<LevelReport> {
        self.levels.iter().map(|(&number, level)| level.report(number, &self.host_times)).collect()
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

impl Level {
    fn hear(&mut self, event: Event, now: Instant) {
        match event {
            Event::Start { engine, reason, memory_bytes, parent_boot_id, .. } => {
                self.started = Some(now);
                (self.engine, self.reason, self.memory_bytes) =
                    (clean(&engine), clean(&reason), memory_bytes);
                self.started_by = parent_boot_id;
                self.doing = "boots".into();
            }
            Event::Up { parent_boot_id, facts, .. } => {
                self.up = Some(now);
                self.parent_boot_id = parent_boot_id;
                self.facts = Some(*facts);
                self.doing = "is up".into();
            }
            Event::Doing { what, .. } => self.doing = clean(&what),
            Event::Fetched { address, bytes, sha256, seconds, .. } => {
                self.doing = format!("fetched {bytes} bytes");
                let (address, sha256) = (clean(&address), clean(&sha256));
                self.fetched = Some(Fetched { address, bytes, sha256, seconds });
            }
            Event::Answer { benchmarks, .. } => {
                self.benchmarks = Some(benchmarks);
                self.doing = "answered".into();
            }
            Event::Console { line, .. } => self.keep(clean(&line)),
            Event::Failed { error, .. } => self.error = Some(clean(&error)),
            Event::End { outcome, .. } => {
                self.doing = format!("ended: {}", clean(&outcome));
                if self.benchmarks.is_none() {
                    self.error.get_or_insert(format!("ended before it answered: {}", clean(&outcome)));
                }
            }
        }
    }

    fn keep(&mut self, line: String) {
        if line.trim().is_empty() {
            return;
        }
        self.console.push_back(line);
        if self.console.len() > KEPT_LINES {
            self.console.pop_front();
        }
    }

    /// Seconds from the parent's start of it to its first word.
    pub fn boot_seconds(&self) -> Option<f64> {
        Some((self.up? - self.started?).as_secs_f64())
    }

    fn report(&self, number: u32, host: &Times) -> LevelReport {
        let facts = self.facts.clone().unwrap_or_default();
        LevelReport {
            level: number,
            engine: self.engine.clone(),
            engine_reason: self.reason.clone(),
            cpu: personality(&facts.cpuid.vendor).to_owned(),
            hypervisor: facts.cpuid.hypervisor.clone(),
            kernel: facts.kernel,
            boot_id: facts.boot_id,
            parent_boot_id: self.parent_boot_id.clone(),
            boot_seconds: self.boot_seconds(),
            uptime_seconds: facts.uptime_seconds,
            memory_bytes: self.memory_bytes,
            processors: facts.processors,
            dmi: facts.dmi,
            cpuid: facts.cpuid,
            fetched: self.fetched.clone(),
            benchmarks: self.benchmarks.as_ref().map(|times| bench::compare(times, host)).unwrap_or_default(),
            error: self.error.clone(),
        }
    }
}

/// A level in the JSON document.
#[derive(Serialize)]
pub struct LevelReport {
    pub level: u32,
    pub engine: String,
    pub engine_reason: String,
    pub cpu: String,
    pub hypervisor: Option<String>,
    pub kernel: String,
    pub boot_id: String,
    pub parent_boot_id: String,
    pub boot_seconds: Option<f64>,
    /// The level's own uptime when it first spoke.
    pub uptime_seconds: f64,
    pub memory_bytes: u64,
    pub processors: usize,
    pub dmi: Dmi,
    pub cpuid: Cpuid,
    /// Over its network, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Fetched>,
    pub benchmarks: BTreeMap<String, Compared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The short name of a processor vendor.
pub fn personality(vendor: &str) -> &str {
    match vendor {
        "AuthenticAMD" => "amd",
        "GenuineIntel" => "intel",
        other => other,
    }
}

/// Guests' text without what could steer a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).take(4096).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        Board::new(Facts::default(), Times::new(), 2)
    }

    #[test]
    fn a_level_that_nobody_ordered_is_not_believed() {
        let mut board = board();
        for level in [0, 3, u32::MAX] {
            board.hear(Event::Failed { level, error: "x".into() }, Instant::now());
        }
        assert!(board.levels.is_empty() && board.complaint().is_none());
    }

    #[test]
    fn only_the_innermost_levels_answer_counts() {
        let mut board = board();
        board.hear(Event::Answer { level: 1, benchmarks: Times::new() }, Instant::now());
        assert!(!board.answered());
        board.hear(Event::Answer { level: 2, benchmarks: Times::new() }, Instant::now());
        assert!(board.answered());
    }

    #[test]
    fn an_end_before_the_answer_is_a_complaint() {
        let mut board = board();
        board.hear(Event::End { level: 2, outcome: "triple fault".into() }, Instant::now());
        assert_eq!(board.complaint().unwrap(), "level 2: ended before it answered: triple fault");
    }

    #[test]
    fn a_start_is_heard_from_the_parent() {
        let mut board = board();
        let start = Event::Start {
            level: 2,
            engine: "kvm".into(),
            reason: String::new(),
            memory_bytes: 0,
            parent_boot_id: String::new(),
        };
        let now = Instant::now();
        board.hear(start, now);
        assert_eq!(board.last_words(now), "last heard from level 1, 0 s ago");
    }

    #[test]
    fn a_guests_text_cannot_steer_the_terminal() {
        assert_eq!(clean("\x1b[2Jx\r\u{9b}"), " [2Jx  ");
    }
}
