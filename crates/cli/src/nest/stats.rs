//! `nest --stats`: where the first level's processor spent its time, level by level, as its engine counted it.

use crate::table::align;
use ireko_machine::Nesting;
use ireko_vmcore::WorldCounters;
use serde::Serialize;
use std::collections::BTreeMap;

/// Exits that the table shows of a level.
const SHOWN_EXITS: usize = 5;

/// What one level did, all its worlds together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LevelStats {
    pub level: u32,
    /// Virtual processors that ran at this level, one after another or beside each other.
    pub worlds: u32,
    /// Of the processor time that all levels used, not asleep.
    pub processor_share: f64,
    pub seconds: f64,
    pub idle_seconds: f64,
    /// World switches into this level, and out of it.
    pub entries: u64,
    pub exits: u64,
    pub exits_per_second: f64,
    /// Page walks, because the TLB did not know.
    pub tlb_misses: u64,
    pub blocks_translated: u64,
    pub system_instructions: u64,
    pub slow_accesses: u64,
    /// Most time first.
    pub by_reason: Vec<ExitStats>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExitStats {
    pub reason: String,
    pub times: u64,
    /// For each second that the level ran.
    pub per_second: f64,
    /// Until the next VMRUN of the first level: what its hypervisor took to deal with it.
    pub seconds: f64,
}

/// All levels, outermost first. Times come from what was always measured, the rest from the counters.
pub fn levels(nesting: &Nesting, counters: &[WorldCounters]) -> Vec<LevelStats> {
    let mut levels: BTreeMap<u32, LevelStats> = BTreeMap::new();
    for world in &nesting.worlds {
        let level = levels.entry(world.level).or_default();
        level.worlds += 1;
        level.seconds += world.seconds;
        level.idle_seconds += world.idle_seconds;
        level.entries += world.entries;
    }
    for world in counters {
        add(levels.entry(world.level).or_default(), world);
    }
    let busy: f64 = levels.values().map(LevelStats::busy).sum();
    for (number, level) in &mut levels {
        level.level = *number;
        level.processor_share = rate(level.busy(), busy);
        level.exits_per_second = rate(level.exits as f64, level.seconds);
        let seconds = level.seconds;
        level.by_reason.iter_mut().for_each(|exit| exit.per_second = rate(exit.times as f64, seconds));
        level.by_reason.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    }
    levels.into_values().collect()
}

impl LevelStats {
    fn busy(&self) -> f64 {
        (self.seconds - self.idle_seconds).max(0.0)
    }
}

fn rate(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}

fn add(level: &mut LevelStats, world: &WorldCounters) {
    let count = |name| world.counts.iter().find(|count| count.0 == name).map_or(0, |count| count.1);
    level.tlb_misses += count("walks");
    level.blocks_translated += count("blocks");
    level.system_instructions += count("system");
    level.slow_accesses += count("slow_accesses");
    for exit in &world.exits {
        level.exits += exit.times;
        let known = level.by_reason.iter_mut().find(|known| known.reason == exit.name);
        match known {
            Some(known) => {
                known.times += exit.times;
                known.seconds += exit.seconds;
            }
            None => level.by_reason.push(ExitStats {
                reason: exit.name.clone(),
                times: exit.times,
                per_second: 0.0,
                seconds: exit.seconds,
            }),
        }
    }
}

/// The levels' table, and one of the exits that took most.
pub fn tables(levels: &[LevelStats]) -> String {
    if levels.is_empty() {
        return "No statistics: only the software CPU counts by level; use --engine soft.\n".to_owned();
    }
    format!("{}\n{}", align(&overview(levels)), align(&exits(levels)))
}

fn overview(levels: &[LevelStats]) -> Vec<Vec<String>> {
    const TITLES: [&str; 11] = [
        "level",
        "share",
        "time",
        "asleep",
        "worlds",
        "entries",
        "exits",
        "exits/s",
        "TLB misses",
        "blocks",
        "system",
    ];
    let mut rows = vec![TITLES.map(str::to_owned).to_vec()];
    rows.extend(levels.iter().map(|level| {
        vec![
            level.level.to_string(),
            format!("{:.1}%", level.processor_share * 100.0),
            format!("{:.2} s", level.seconds),
            format!("{:.2} s", level.idle_seconds),
            level.worlds.to_string(),
            level.entries.to_string(),
            level.exits.to_string(),
            format!("{:.0}", level.exits_per_second),
            level.tlb_misses.to_string(),
            level.blocks_translated.to_string(),
            level.system_instructions.to_string(),
        ]
    }));
    rows
}

fn exits(levels: &[LevelStats]) -> Vec<Vec<String>> {
    let mut rows =
        vec![["level", "exit", "times", "per second", "dealt with in", "each"].map(str::to_owned).to_vec()];
    for level in levels {
        rows.extend(level.by_reason.iter().take(SHOWN_EXITS).map(|exit| {
            vec![
                level.level.to_string(),
                exit.reason.clone(),
                exit.times.to_string(),
                format!("{:.0}", exit.per_second),
                format!("{:.2} s", exit.seconds),
                crate::table::time(rate(exit.seconds * 1e9, exit.times as f64)),
            ]
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use ireko_machine::NestedWorld;
    use ireko_vmcore::NamedCount;

    fn world(level: u32, seconds: f64, idle_seconds: f64) -> NestedWorld {
        NestedWorld { level, seconds, idle_seconds, entries: 1, ..NestedWorld::default() }
    }

    fn counted(level: u32, times: u64, walks: u64) -> WorldCounters {
        WorldCounters {
            level,
            counts: vec![("walks", walks)],
            exits: vec![NamedCount { name: "VMEXIT_CPUID".into(), times, seconds: 0.5 }],
            ..WorldCounters::default()
        }
    }

    #[test]
    fn the_shares_of_time_awake_make_one() {
        let worlds = vec![world(1, 5.0, 3.0), world(2, 1.0, 0.0), world(2, 1.0, 0.0)];
        let levels = levels(&Nesting { worlds, ..Nesting::default() }, &[]);
        let shares: Vec<_> = levels.iter().map(|level| (level.worlds, level.processor_share)).collect();
        assert_eq!(shares, [(1, 0.5), (2, 0.5)]);
    }

    #[test]
    fn worlds_of_one_level_are_added_up() {
        let nesting = Nesting { worlds: vec![world(2, 2.0, 0.0)], ..Nesting::default() };
        let levels = levels(&nesting, &[counted(2, 30, 5), counted(2, 10, 6)]);
        let exit = &levels[0].by_reason[0];
        assert_eq!((levels[0].tlb_misses, exit.times, exit.per_second, exit.seconds), (11, 40, 20.0, 1.0));
    }

    #[test]
    fn an_engine_that_does_not_count_is_said_so() {
        assert!(tables(&levels(&Nesting::default(), &[])).contains("--engine soft"));
    }
}
