//! The table for people.

use super::kernels::{self, Group, KERNELS, Kernel};
use super::programs::PROGRAMS;
use super::results::{Column, Results, Summary};
use crate::table::{align, time};
use std::fmt::Write;

/// All tables.
pub fn table(results: &Results) -> String {
    let mut text = engines(results);
    let several = format!("{} of {}", results.statistic(), results.rounds);
    let groups = [
        (Group::Compute, "compute: time against native", several.as_str()),
        (Group::System, "system work: time against native", &several),
        (Group::Cold, "programs, the first time after the start: time against native", "once"),
        (Group::Warm, "programs, again: time against native", &several),
    ];
    for (group, title, statistic) in groups {
        let rows = ratios(results, group);
        if rows.len() > 1 {
            let _ = write!(text, "\n{title} ({statistic})\n{}", align(&rows));
        }
    }
    let rows = exits(results);
    if rows.len() > 1 {
        let _ = write!(
            text,
            "\nCPUID, answered by the hypervisor above ({} of {})\n{}",
            results.statistic(),
            results.rounds,
            align(&rows)
        );
    }
    for line in results.differences().iter().chain(&results.notes) {
        let _ = writeln!(text, "\n{line}");
    }
    text
}

fn engines(results: &Results) -> String {
    let mut rows = vec![row(["", "what", "kernel", "boot id", "up after", "engine's memory"])];
    for column in &results.columns {
        let memory = column.own_memory_bytes.map_or(String::new(), crate::size::show);
        rows.push(row([
            &column.name,
            column.error.as_deref().unwrap_or(&column.what),
            &column.kernel,
            column.boot_id.split('-').next().unwrap_or(""),
            &format!("{:.1} s", column.boot_seconds),
            &memory,
        ]));
    }
    align(&rows)
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|cell| crate::nest::board::clean(cell)).collect()
}

fn ratios(results: &Results, group: Group) -> Vec<Vec<String>> {
    let native = results.native();
    let others: Vec<&Column> = results.columns[1..].iter().filter(|c| has(c, group)).collect();
    let programs = matches!(group, Group::Cold | Group::Warm);
    let mut rows = vec![row([if programs { "program" } else { "kernel" }, "native"])];
    rows[0].extend(others.iter().map(|column| column.name.clone()));
    for kernel in kernels::all().filter(|kernel| kernel.group == group) {
        let Some(ns) = native.ns_per_op(kernel) else { continue };
        let mut cells = vec![kernel.name.to_owned(), time(ns)];
        cells.extend(others.iter().map(|column| ratio(column.ratio(native, kernel))));
        cells.push(kernel.operation.to_owned());
        rows.push(cells);
    }
    if rows.len() > 1 {
        rows.push(means("geometric mean", &others, native, group, |means| means.geometric));
        rows.push(means("worst", &others, native, group, |means| means.worst));
        if let Some(first) = results.first_level().filter(|_| others.len() > 1) {
            rows.push(means("mean against L1", &others, first, group, |means| means.geometric));
        }
    }
    rows
}

fn has(column: &Column, group: Group) -> bool {
    column.rounds.keys().any(|(of, _)| *of == group)
}

fn means(
    what: &str,
    columns: &[&Column],
    base: &Column,
    group: Group,
    which: fn(Summary) -> f64,
) -> Vec<String> {
    let mut cells = row([what, ""]);
    cells.extend(columns.iter().map(|column| ratio(column.means(base, group).map(which))));
    cells
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"))
}

fn exits(results: &Results) -> Vec<Vec<String>> {
    let mut rows = vec![row(["level", "time"])];
    for kernel in KERNELS.iter().filter(|kernel| kernel.group == Group::Nesting) {
        for column in &results.columns {
            rows.extend(
                column.ns_per_op(kernel).map(|ns| row([&column.name, &time(ns), answered_by(column)])),
            );
        }
    }
    rows
}

/// A CPUID at depth n is an exit to the hypervisor at depth n - 1.
fn answered_by(column: &Column) -> &'static str {
    match column.name.as_str() {
        "native" => "by this machine, or what it runs on",
        "L1" | "TCG L1" => "by the engine itself",
        _ => "by KVM in the level above",
    }
}

/// The kernels, or programs, that were chosen by name, or all.
pub fn chosen(names: &[String], programs: bool) -> anyhow::Result<Vec<&'static Kernel>> {
    let (all, what) = if programs { (PROGRAMS, "program") } else { (KERNELS, "kernel") };
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        found.extend(all.iter().filter(|kernel| kernel.name == name));
        if found.len() == before {
            let mut known: Vec<&str> = all.iter().map(|kernel| kernel.name).collect();
            known.truncate(if programs { known.len() / 2 } else { known.len() });
            anyhow::bail!("there is no {what} {name:?}; there are {}", known.join(", "));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::*;

    #[test]
    fn the_table_has_every_kernel_and_both_means() {
        let text = table(&results());
        assert!(KERNELS.iter().all(|kernel| kernel.group == Group::Nesting || text.contains(kernel.name)));
        assert_eq!(text.matches("geometric mean").count(), 2);
    }

    #[test]
    fn a_name_that_is_no_kernel_is_refused_with_all_names() {
        let error = chosen(&["x".into()], false).unwrap_err().to_string();
        assert!(error.starts_with("there is no kernel \"x\"; there are integer, sieve"), "{error}");
        let error = chosen(&["sieve".into()], true).unwrap_err().to_string();
        assert!(error.starts_with("there is no program \"sieve\"; there are gcc, gcc-large"), "{error}");
        assert_eq!(error.matches("gcc-large").count(), 1);
    }

    #[test]
    fn a_program_that_is_chosen_runs_the_first_time_and_again() {
        let groups: Vec<Group> = chosen(&["git".into()], true).unwrap().iter().map(|k| k.group).collect();
        assert_eq!(groups, [Group::Cold, Group::Warm]);
    }
}
