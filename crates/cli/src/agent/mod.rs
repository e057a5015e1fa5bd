//! Process 1 of a guest: reports what it finds, runs the benchmarks, starts the next level, passes on what that
//! says, and turns the machine off.

mod drivers;
mod network;
mod power;
mod shell;
mod sums;
mod uplink;

use crate::agent_config::AgentConfig;
use crate::image::{self, Parts};
use crate::level::{self, Heard, Plan, Running};
use crate::report::Event;
use crate::say;
use crate::{bench, facts, sys};
use anyhow::{Context, Result, ensure};
use ireko_machine::Outcome;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::Duration;
use uplink::Uplink;

/// What stays for this level itself, before the next gets its share.
const OWN_MEMORY: u64 = 96 << 20;
/// Below this no Debian kernel with the image comes up.
const LEAST_MEMORY: u64 = 128 << 20;
/// Console lines of a child that are kept for the case that it fails.
const KEPT_LINES: usize = 40;

/// What is said of sums that were right, before their number and how many seconds the level is up.
pub const SUMS: &str = "right sums: ";

/// Never returns: when process 1 ends, the kernel panics.
pub fn main() -> ! {
    mount_all();
    let config = AgentConfig::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    if config.level == 0 || config.exec.is_some() {
        shell::run(config.exec.as_deref());
    } else {
        report(&config);
    }
    let error = sys::power_off();
    say!("ireko: cannot turn the machine off: {error}");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn mount_all() {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        if let Err(error) = sys::mount(kind, target) {
            say!("ireko: cannot mount {target}: {error}");
        }
    }
}

fn report(config: &AgentConfig) {
    let mut uplink = Uplink::open();
    let sums = config.sums.then(sums::Sums::begin);
    let result = answer(config, &mut uplink).and_then(|own_boot_id| {
        if config.level < config.depth { descend(config, &own_boot_id, &mut uplink) } else { Ok(()) }
    });
    if let Err(error) = result {
        uplink.send(&Event::Failed { level: config.level, error: format!("{error:#}") });
    }
    if let Some(sums) = sums {
        let level = config.level;
        uplink.send(&match sums.end() {
            Ok(count) => Event::Doing { level, what: format!("{SUMS}{count} in {:.2}", facts::uptime()) },
            Err(error) => Event::Failed { level, error },
        });
    }
    uplink.drain();
}

/// Says who we are and how fast; gives our boot id.
fn answer(config: &AgentConfig, uplink: &mut Uplink) -> Result<String> {
    let level = config.level;
    let facts = facts::read();
    let own_boot_id = facts.boot_id.clone();
    let parent_boot_id = config.parent.clone();
    uplink.send(&Event::Up { level, parent_boot_id, facts: Box::new(facts) });
    if let Some(network) = &config.network {
        uplink.send(&Event::Doing { level, what: "ask for a lease".into() });
        let address = network::join()?;
        uplink.send(&Event::Doing { level, what: format!("fetch a file as {address}") });
        let fetched = network::fetched(network)?;
        let (bytes, sha256, seconds) = (fetched.bytes, fetched.sum, fetched.time.as_secs_f64());
        uplink.send(&Event::Fetched { level, address, bytes, sha256, seconds });
    }
    let each = Duration::from_millis(config.bench_ms.clamp(1, 10_000));
    let benchmarks = bench::run(each, |name| {
        uplink.send(&Event::Doing { level, what: format!("benchmark {name}") });
    });
    uplink.send(&Event::Answer { level, benchmarks });
    Ok(own_boot_id)
}

/// Starts the next level and passes on what it says until it ends.
fn descend(config: &AgentConfig, own_boot_id: &str, uplink: &mut Uplink) -> Result<()> {
    let level = config.level;
    let mut doing = |what: &str| uplink.send(&Event::Doing { level, what: what.to_owned() });
    doing("load KVM");
    drivers::load_kvm()?;
    doing("make the next level's image");
    let parts = Parts::read(Path::new("/"))?;
    let init = image::own_binary()?;
    let memory = childs_memory()?;
    doing("start the next level");
    let plan = Plan {
        config: config.for_child(own_boot_id),
        memory,
        engine: "kvm".into(),
        cpu: "auto".into(),
        append: String::new(),
        options: Vec::new(),
    };
    let running = level::start(&plan, &parts, &init, own_boot_id)
        .with_context(|| format!("cannot start level {}", level + 1))?;
    // The VM has its copies.
    drop((parts, init));
    let outcome = pass_on(&running, config, uplink);
    uplink.send(&Event::End { level: level + 1, outcome: outcome.to_string() });
    Ok(())
}

/// Two thirds of what is free.
fn childs_memory() -> Result<u64> {
    let free = facts::memory("MemAvailable");
    let share = free.saturating_sub(OWN_MEMORY) / 3 * 2;
    let rounded = share & !((2 << 20) - 1);
    ensure!(
        rounded >= LEAST_MEMORY,
        "{} are free, of which the next level would get {}: too little for a kernel; give the first level more with --memory",
        crate::size::show(free),
        crate::size::show(rounded)
    );
    Ok(rounded)
}

fn pass_on(running: &Running, config: &AgentConfig, uplink: &mut Uplink) -> Outcome {
    let mut kept: VecDeque<Event> = VecDeque::new();
    loop {
        match running.heard.recv() {
            Ok(Heard::Event(event @ Event::Console { .. })) if !config.console => {
                kept.push_back(event);
                if kept.len() > KEPT_LINES {
                    kept.pop_front();
                }
            }
            Ok(Heard::Event(event)) => uplink.send(&event),
            Ok(Heard::Ended(outcome)) => {
                if outcome != Outcome::PowerOff {
                    kept.iter().for_each(|event| uplink.send(event));
                }
                return outcome;
            }
            Err(_) => return Outcome::Failed("the VM's thread is gone".into()),
        }
    }
}
