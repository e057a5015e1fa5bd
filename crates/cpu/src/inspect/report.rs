//! Counters as text for people.

use super::worlds::{Count, WorldCounts, Worlds};
use ireko_nested::Vendor;
use ireko_translate::thunk::Reason;
use ireko_vmcore::{NamedCount, WorldCounters};
use ireko_x86::exception;
use std::cmp::Reverse;
use std::fmt::Write;

/// Names an address of a world, or gives nothing.
type Symbol<'a> = dyn Fn(Option<u64>, u64) -> String + 'a;

/// Rows of the longer tables.
const ROWS: usize = 24;

/// Every world, and where its time went.
pub fn worlds(out: &mut String, worlds: &Worlds, khz: u64, vendor: &dyn Vendor, symbol: &Symbol) {
    for (number, world) in worlds.list.iter().enumerate() {
        world_report(out, number, world, khz, vendor, symbol);
    }
}

/// The same for programs.
pub fn accounts(worlds: &Worlds, khz: u64, vendor: &dyn Vendor) -> Vec<WorldCounters> {
    worlds.list.iter().enumerate().map(|(number, world)| account(number, world, khz, vendor)).collect()
}

fn account(number: usize, world: &WorldCounts, khz: u64, vendor: &dyn Vendor) -> WorldCounters {
    let words = vendor.words();
    let seconds = |ticks| milliseconds(ticks, khz) / 1000.0;
    let named =
        |name: String, count: Count| NamedCount { name, times: count.times, seconds: seconds(count.ticks) };
    let mut exits: Vec<_> =
        world.exits.iter().map(|(&code, count)| named(vendor.exit_name(code).into_owned(), *count)).collect();
    exits.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    WorldCounters {
        id: world.id,
        level: world.level,
        name: match world.control_block {
            None => "host".to_owned(),
            Some(at) => format!("guest {number} ({} {at:#x})", words.structure),
        },
        seconds: seconds(world.ticks),
        idle_seconds: seconds(world.idle),
        entries: world.entries,
        counts: world.counters.rows(),
        system: world.system().into_iter().map(|(code, count)| named(format!("{code:?}"), count)).collect(),
        exits,
    }
}

fn milliseconds(ticks: u64, khz: u64) -> f64 {
    ticks as f64 / khz.max(1) as f64
}

fn world_report(
    out: &mut String,
    number: usize,
    world: &WorldCounts,
    khz: u64,
    vendor: &dyn Vendor,
    symbol: &Symbol,
) {
    let words = vendor.words();
    let name = match world.control_block {
        None => "host world".to_owned(),
        Some(at) => {
            let root = match world.nested_root {
                None => format!("no {}", words.stage2),
                Some(root) => format!("{} {root:#x}", words.stage2_root),
            };
            format!(
                "guest world {number}: level {}, {} {at:#x}, last {} {}, {root}, {} entries",
                world.level, words.structure, words.tag, world.asid, world.entries
            )
        }
    };
    let (all, idle) = (milliseconds(world.ticks, khz), milliseconds(world.idle, khz));
    let _ = writeln!(out, "== {name}: {all:.1} ms, of which idle {idle:.1} ms");
    let rows = world.counters.rows().into_iter().filter(|row| row.1 > 0);
    let _ = writeln!(out, "  {}", rows.map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", "));
    let left = world.left.iter().enumerate().filter(|(_, times)| **times > 0);
    let left = left.map(|(reason, times)| format!("{:?} {times}", Reason::of(reason as u64)));
    let _ = writeln!(out, "  left translated code: {}", left.collect::<Vec<_>>().join(", "));
    let system = world.system().into_iter().map(|(code, count)| (format!("{code:?}"), count));
    table(out, "system instructions", system.chain([("(raises)".to_owned(), world.raised)]), khz);
    table(out, "slow accesses", world.slow.iter().map(|(why, count)| (format!("{why:?}"), *count)), khz);
    let exits = world.exits.iter().map(|(&code, count)| (vendor.exit_name(code).into_owned(), *count));
    table(out, "exits (time until the next entry)", exits, khz);
    list(out, "exceptions", world.exceptions.iter().map(|(&v, &n)| (exception::name(v).to_owned(), n)));
    list(out, "interrupts", world.interrupts.iter().map(|(v, &n)| (format!("{v:#x}"), n)));
    list(
        out,
        "slow access sites",
        world
            .slow_sites
            .iter()
            .map(|(&(rip, why), &n)| (format!("{why:<9?} {rip:#x}{}", symbol(world.control_block, rip)), n)),
    );
    list(
        out,
        "unknown jump targets",
        world.lookups.iter().map(|(&rip, &n)| (format!("{rip:#x}{}", symbol(world.control_block, rip)), n)),
    );
}

fn table(out: &mut String, title: &str, rows: impl Iterator<Item = (String, Count)>, khz: u64) {
    let mut rows: Vec<_> = rows.filter(|(_, count)| count.times > 0).collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by_key(|(_, count)| Reverse(count.ticks));
    let _ = writeln!(out, "  {title}:");
    for (name, count) in rows.iter().take(ROWS) {
        let each = count.ticks / count.times;
        let all = milliseconds(count.ticks, khz);
        let _ = writeln!(out, "    {name:<28} {:>12} times {each:>9} ticks each {all:>10.1} ms", count.times);
    }
}

fn list(out: &mut String, title: &str, rows: impl Iterator<Item = (String, u64)>) {
    let mut rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by_key(|(_, times)| Reverse(*times));
    let _ = writeln!(out, "  {title}:");
    for (name, times) in rows.iter().take(ROWS) {
        let _ = writeln!(out, "    {times:>12} {name}");
    }
}
