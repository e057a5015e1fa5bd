//! What was measured, and what follows from it.

use super::kernels::{self, Group, Kernel, Key};
use serde::Serialize;
use std::collections::BTreeMap;

/// What the names of the peer's places begin with.
pub const PEER: &str = "TCG";

/// One place where kernels ran: this machine, or a level of an engine.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// `native`, `L1`, `L2`, `TCG L1` …
    pub name: String,
    /// What it is, in words.
    pub what: String,
    pub kernel: String,
    pub boot_id: String,
    /// From the command that starts level 1 to this level's first answer.
    pub boot_seconds: f64,
    /// What the engine's process holds besides the guest's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_memory_bytes: Option<u64>,
    /// Why it has no results, or not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Nanoseconds of each round.
    #[serde(skip)]
    pub rounds: BTreeMap<Key, Vec<u64>>,
    /// The least time counts.
    #[serde(skip)]
    pub best: bool,
    /// The number that a kernel gave, or what a program said, by its name.
    #[serde(skip)]
    pub checks: BTreeMap<&'static str, String>,
}

impl Column {
    /// The time of one operation in nanoseconds: the rounds' median, or the least if that was asked for.
    pub fn ns_per_op(&self, kernel: &Kernel) -> Option<f64> {
        let mut rounds = self.rounds.get(&kernel.key())?.clone();
        rounds.sort_unstable();
        let middle = if self.best { 0 } else { rounds.len().checked_sub(1)? };
        let median = (*rounds.get(middle / 2)? as f64 + *rounds.get(middle.div_ceil(2))? as f64) / 2.0;
        Some(median / kernel.operations as f64)
    }

    pub fn ratio(&self, base: &Column, kernel: &Kernel) -> Option<f64> {
        let (own, base) = (self.ns_per_op(kernel)?, base.ns_per_op(kernel)?);
        (base > 0.0).then(|| own / base)
    }

    /// The geometric mean of a group's ratios, and the greatest; `None` unless all of the group that the base has
    /// were measured.
    pub fn means(&self, base: &Column, group: Group) -> Option<Summary> {
        let wanted =
            kernels::all().filter(|kernel| kernel.group == group && base.ns_per_op(kernel).is_some());
        let ratios: Option<Vec<f64>> = wanted.map(|kernel| self.ratio(base, kernel)).collect();
        let ratios = ratios.filter(|ratios| !ratios.is_empty())?;
        let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
        let worst = ratios.iter().copied().fold(0.0, f64::max);
        Some(Summary { geometric: (logs / ratios.len() as f64).exp(), worst })
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    pub geometric: f64,
    pub worst: f64,
}

/// All columns, the first of them native.
pub struct Results {
    pub rounds: u32,
    pub columns: Vec<Column>,
    pub notes: Vec<String>,
}

impl Results {
    pub fn native(&self) -> &Column {
        &self.columns[0]
    }

    /// Level 1 of our own engine.
    pub fn first_level(&self) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == "L1")
    }

    /// Everything of ours was measured, and every number was the same everywhere.
    pub fn ok(&self) -> bool {
        let mut ours = self.columns.iter().filter(|column| !column.name.starts_with(PEER));
        ours.all(|column| column.error.is_none()) && self.differences().is_empty()
    }

    /// How one time comes from several rounds, in words.
    pub fn statistic(&self) -> &'static str {
        if self.native().best { "least" } else { "median" }
    }

    /// Kernels whose number, and programs whose output, was not the same everywhere.
    pub fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, right) in &self.native().checks {
            for column in &self.columns[1..] {
                if let Some(own) = column.checks.get(name).filter(|own| *own != right) {
                    let (own, right) = first_difference(own, right);
                    found.push(format!("{name} gives {own} on {}, {right} natively", column.name));
                }
            }
        }
        found
    }

    pub fn document(&self) -> serde_json::Value {
        let kernels: Vec<_> = kernels::all()
            .filter(|kernel| self.native().ns_per_op(kernel).is_some())
            .map(|kernel| self.kernel_document(kernel))
            .collect();
        let differences = self.differences();
        serde_json::json!({
            "ok": self.ok(),
            "rounds": self.rounds,
            "statistic": self.statistic(),
            "engines": self.columns,
            "kernels": kernels,
            "means": self.means_document(),
            "differences": differences,
            "notes": self.notes,
        })
    }

    fn kernel_document(&self, kernel: &Kernel) -> serde_json::Value {
        let times: BTreeMap<&str, _> = self
            .columns
            .iter()
            .filter_map(|column| {
                let document = serde_json::json!({
                    "ns_per_op": column.ns_per_op(kernel)?,
                    "ratio_to_native": column.ratio(self.native(), kernel),
                    "rounds_ns": column.rounds.get(&kernel.key()),
                });
                Some((column.name.as_str(), document))
            })
            .collect();
        serde_json::json!({
            "name": kernel.name, "group": kernel.group, "operation": kernel.operation,
            "operations": kernel.operations, "times": times,
        })
    }

    fn means_document(&self) -> serde_json::Value {
        let of = |base: &Column| -> BTreeMap<String, _> {
            let means = |column: &Column| {
                serde_json::json!({
                    "compute": column.means(base, Group::Compute), "system": column.means(base, Group::System),
                    "cold": column.means(base, Group::Cold), "warm": column.means(base, Group::Warm),
                })
            };
            self.columns.iter().map(|column| (column.name.clone(), means(column))).collect()
        };
        serde_json::json!({"to_native": of(self.native()), "to_L1": self.first_level().map(of)})
    }
}

/// What of two texts is not the same, for people: all of them if they are one word each, else the first line that differs.
pub fn first_difference(one: &str, other: &str) -> (String, String) {
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    if word(one) && word(other) {
        return (one.to_owned(), other.to_owned());
    }
    let (mut ones, mut others) = (one.split_inclusive('\n'), other.split_inclusive('\n'));
    let mut number = 1;
    loop {
        match (ones.next(), others.next()) {
            (Some(a), Some(b)) if a == b => number += 1,
            (a, b) => {
                let show = |line: Option<&str>| line.map_or("its end".to_owned(), |line| format!("{line:?}"));
                return (format!("{} in line {number}", show(a)), show(b));
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::kernels::KERNELS;
    use super::*;

    pub fn column(name: &str, factor: u64) -> Column {
        let rounds =
            KERNELS.iter().map(|kernel| (kernel.key(), vec![factor * kernel.operations; 3])).collect();
        let checks = KERNELS.iter().map(|kernel| (kernel.name, "0x1".into())).collect();
        Column {
            name: name.into(),
            what: String::new(),
            kernel: String::new(),
            boot_id: String::new(),
            boot_seconds: 1.0,
            own_memory_bytes: None,
            error: None,
            rounds,
            best: false,
            checks,
        }
    }

    pub fn results() -> Results {
        Results {
            rounds: 3,
            columns: vec![column("native", 2), column("L1", 3), column("TCG L1", 20)],
            notes: vec![],
        }
    }

    #[test]
    fn the_median_is_of_all_rounds() {
        let kernel = &KERNELS[0];
        let mut column = column("x", 1);
        column.rounds.insert(kernel.key(), [9, 1, 5, 7].map(|t| t * kernel.operations).to_vec());
        assert_eq!(column.ns_per_op(kernel), Some(6.0));
    }

    #[test]
    fn the_least_counts_if_asked_for() {
        let kernel = &KERNELS[0];
        let mut column = column("x", 1);
        column.rounds.insert(kernel.key(), [9, 2, 5].map(|t| t * kernel.operations).to_vec());
        column.best = true;
        assert_eq!(column.ns_per_op(kernel), Some(2.0));
    }

    #[test]
    fn means_are_geometric() {
        let results = results();
        let means = results.columns[2].means(results.native(), Group::Compute).unwrap();
        assert!((means.geometric - 10.0).abs() < 1e-9 && (means.worst - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_missing_kernel_leaves_no_mean() {
        let mut results = results();
        results.columns[1].rounds.remove(&KERNELS[0].key());
        assert!(results.columns[1].means(results.native(), Group::Compute).is_none());
    }

    #[test]
    fn a_different_number_is_found() {
        let mut results = results();
        assert!(results.differences().is_empty());
        results.columns[1].checks.insert(KERNELS[0].name, "0x2".into());
        assert_eq!(results.differences(), ["integer gives 0x2 on L1, 0x1 natively"]);
        assert!(!results.ok());
    }

    #[test]
    fn of_what_programs_say_the_first_line_that_differs_is_told() {
        let mut results = results();
        results.columns[0].checks.insert("gcc", "one\ntwo\n".into());
        results.columns[1].checks.insert("gcc", "one\ntwo".into());
        assert_eq!(results.differences(), ["gcc gives \"two\" in line 2 on L1, \"two\\n\" natively"]);
    }

    #[test]
    fn what_ends_early_differs_at_its_end() {
        assert_eq!(first_difference("a b\n", "a b\nc\n"), ("its end in line 2".into(), "\"c\\n\"".into()));
    }

    #[test]
    fn the_first_time_and_again_are_apart() {
        let program = |group| kernels::all().find(|kernel| kernel.key() == (group, "gcc")).unwrap();
        let mut column = column("x", 1);
        column.rounds.insert((Group::Cold, "gcc"), vec![70]);
        column.rounds.insert((Group::Warm, "gcc"), vec![9, 20, 10]);
        assert_eq!(column.ns_per_op(program(Group::Cold)), Some(70.0));
        assert_eq!(column.ns_per_op(program(Group::Warm)), Some(10.0));
    }
}
