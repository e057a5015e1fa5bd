//! The live tree of levels, and the tables at the end.

use super::board::{Board, Level, personality};
use crate::bench::KERNELS;
use crate::progress::{Progress, Step};
use crate::size;
use crate::table::{align, time};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

/// A line a level, on standard error.
pub struct Tree<'a> {
    progress: &'a Progress,
    lines: BTreeMap<u32, Step>,
}

impl<'a> Tree<'a> {
    pub fn new(progress: &'a Progress) -> Self {
        Self { progress, lines: BTreeMap::new() }
    }

    pub fn update(&mut self, board: &Board, now: Instant) {
        for (&number, level) in &board.levels {
            let line = self.lines.entry(number).or_insert_with(|| self.progress.line());
            let news = format!("{}level {number}  {}", branch(number), describe(level));
            line.update(&format!("{news}{}", age(level, now)), &news);
        }
    }

    /// Leaves the tree on the screen.
    pub fn end(self) {
        self.lines.into_values().for_each(Step::freeze);
    }
}

fn branch(number: u32) -> String {
    format!("{}└─ ", "   ".repeat(number.saturating_sub(1) as usize))
}

fn describe(level: &Level) -> String {
    let mut text = format!("{:4}  ", level.engine);
    if let Some(facts) = &level.facts {
        let hypervisor = facts.cpuid.hypervisor.as_deref().unwrap_or("no hypervisor");
        let _ = write!(text, "{}  {hypervisor}  ", facts.kernel);
    }
    text + level.error.as_deref().unwrap_or(&level.doing)
}

/// Time since the level came up, or since it was started.
fn age(level: &Level, now: Instant) -> String {
    match (level.up, level.started) {
        (Some(up), _) => format!("  up {:.0} s", (now - up).as_secs_f64()),
        (None, Some(started)) => format!("  {:.0} s", (now - started).as_secs_f64()),
        _ => String::new(),
    }
}

/// Both tables.
pub fn tables(board: &Board) -> String {
    let (levels, network, benchmarks) = (levels(board), network(board), benchmarks(board));
    let network = if network.len() > 1 { align(&network) + "\n" } else { String::new() };
    format!("{}\n{network}{}", align(&levels), align(&benchmarks))
}

/// What each level fetched over its network.
fn network(board: &Board) -> Vec<Vec<String>> {
    let mut rows = vec![row(["network", "address", "fetched", "time", "SHA-256"])];
    for (number, level) in &board.levels {
        let Some(fetched) = &level.fetched else { continue };
        rows.push(row([
            &format!("level {number}"),
            &fetched.address,
            &size::show(fetched.bytes),
            &format!("{:.2} s", fetched.seconds),
            fetched.sha256.get(..16).unwrap_or_default(),
        ]));
    }
    rows
}

fn levels(board: &Board) -> Vec<Vec<String>> {
    let mut rows =
        vec![row(["level", "engine", "cpu", "hypervisor", "kernel", "memory", "boot", "boot id", "parent"])];
    rows.push(row([
        "host",
        "-",
        personality(&board.host.cpuid.vendor),
        board.host.cpuid.hypervisor.as_deref().unwrap_or("-"),
        &board.host.kernel,
        &size::show(board.host.memory_bytes),
        "-",
        short(&board.host.boot_id),
        "-",
    ]));
    for (number, level) in &board.levels {
        let Some(facts) = &level.facts else { continue };
        rows.push(row([
            &number.to_string(),
            &level.engine,
            personality(&facts.cpuid.vendor),
            facts.cpuid.hypervisor.as_deref().unwrap_or("-"),
            &facts.kernel,
            &size::show(level.memory_bytes),
            &level.boot_seconds().map_or("-".into(), |s| format!("{s:.1} s")),
            short(&facts.boot_id),
            short(&level.parent_boot_id),
        ]));
    }
    rows
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|cell| super::board::clean(cell)).collect()
}

/// The first group of a boot id.
fn short(boot_id: &str) -> &str {
    boot_id.split('-').next().unwrap_or(boot_id)
}

fn benchmarks(board: &Board) -> Vec<Vec<String>> {
    let reports = board.reports();
    let mut rows = vec![vec!["benchmark".to_owned(), "host".to_owned()]];
    rows[0].extend(reports.iter().flat_map(|r| [format!("level {}", r.level), "x host".to_owned()]));
    for kernel in KERNELS {
        let host = board.host_times.get(kernel.name).copied();
        let mut cells =
            vec![format!("{} ({})", kernel.name, kernel.operation), host.map_or("-".into(), time)];
        for report in &reports {
            let measured = report.benchmarks.get(kernel.name);
            cells.push(measured.map_or("-".into(), |m| time(m.ns_per_op)));
            let ratio = measured.and_then(|m| m.ratio_to_host);
            cells.push(ratio.map_or("-".into(), |r| format!("{r:.2}")));
        }
        rows.push(cells);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![row(["a", "b"]), row(["long", "c"])];
        assert_eq!(align(&rows), "a     b\nlong  c\n");
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let shown: Vec<String> = [1.5, 2500.0, 3e6, 4e9].into_iter().map(time).collect();
        assert_eq!(shown, ["1.50 ns", "2.50 us", "3.00 ms", "4.00 s"]);
    }
}
