//! Counters as text for people.

use super::names;
use super::worlds::{Count, World, Worlds};
use ireko_translate::thunk::Reason;
use ireko_vmcore::{NamedCount, WorldCounters};
use std::cmp::Reverse;
use std::fmt::Write;

/// Names an address of a world, or gives nothing.
type Symbol<'a> = dyn Fn(Option<u64>, u64) -> String + 'a;

/// Rows of the longer tables.
const ROWS: usize = 24;

/// Every world, and where its time went.
pub fn worlds(out: &mut String, worlds: &Worlds, khz: u64, symbol: &Symbol) {
    for (number, world) in worlds.list.iter().enumerate() {
        world_report(out, number, world, khz, symbol);
    }
}

/// The same for programs.
pub fn accounts(worlds: &Worlds, khz: u64) -> Vec<WorldCounters> {
    worlds.list.iter().enumerate().map(|(number, world)| account(number, world, khz)).collect()
}

fn account(number: usize, world: &World, khz: u64) -> WorldCounters {
    let seconds = |ticks| milliseconds(ticks, khz) / 1000.0;
    let named =
        |name: String, count: Count| NamedCount { name, times: count.times, seconds: seconds(count.ticks) };
    let mut exits: Vec<_> =
        world.exits.iter().map(|(&code, count)| named(names::exit(code).into_owned(), *count)).collect();
    exits.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    WorldCounters {
        id: world.id,
        level: world.level,
        name: world.vmcb.map_or("host".to_owned(), |vmcb| format!("guest {number} (VMCB {vmcb:#x})")),
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

fn world_report(out: &mut String, number: usize, world: &World, khz: u64, symbol: &Symbol) {
    let name = match world.vmcb {
        None => "host world".to_owned(),
        Some(vmcb) => {
            let root =
                world.nested_root.map_or("no nested paging".to_owned(), |root| format!("nCR3 {root:#x}"));
            format!(
                "guest world {number}: level {}, VMCB {vmcb:#x}, last ASID {}, {root}, {} entries",
                world.level, world.asid, world.entries
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
    let exits = world.exits.iter().map(|(&code, count)| (names::exit(code).into_owned(), *count));
    table(out, "exits (time until the next VMRUN)", exits, khz);
    list(out, "exceptions", world.exceptions.iter().map(|(&v, &n)| (names::exception(v).to_owned(), n)));
    list(out, "interrupts", world.interrupts.iter().map(|(v, &n)| (format!("{v:#x}"), n)));
    list(
        out,
        "slow access sites",
        world
            .slow_sites
            .iter()
            .map(|(&(rip, why), &n)| (format!("{why:<9?} {rip:#x}{}", symbol(world.vmcb, rip)), n)),
    );
    list(
        out,
        "unknown jump targets",
        world.lookups.iter().map(|(&rip, &n)| (format!("{rip:#x}{}", symbol(world.vmcb, rip)), n)),
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
