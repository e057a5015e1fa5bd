//! The table for people.

use super::kernels::{Group, KERNELS, Kernel};
use super::results::{Column, Results, Summary};
use crate::table::{align, time};
use std::fmt::Write;

/// All tables.
pub fn table(results: &Results) -> String {
    let mut text = engines(results);
    let groups = [
        (Group::Compute, "compute: time against native"),
        (Group::System, "system work: time against native"),
    ];
    for (group, title) in groups {
        let rows = ratios(results, group);
        if rows.len() > 1 {
            let _ =
                write!(text, "\n{title} ({} of {})\n{}", results.statistic(), results.rounds, align(&rows));
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
    let mut rows = vec![row(["kernel", "native"])];
    rows[0].extend(others.iter().map(|column| column.name.clone()));
    for kernel in KERNELS.iter().filter(|kernel| kernel.group == group) {
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
    KERNELS.iter().any(|kernel| kernel.group == group && column.rounds.contains_key(kernel.name))
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

/// The kernels that were chosen by name, or all.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let find = |name: &String| {
        super::kernels::find(name).ok_or_else(|| {
            let all: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
            anyhow::anyhow!("there is no kernel {name:?}; there are {}", all.join(", "))
        })
    };
    names.iter().map(find).collect()
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
        let error = chosen(&["x".into()]).unwrap_err().to_string();
        assert!(error.starts_with("there is no kernel \"x\"; there are integer, sieve"), "{error}");
    }
}
