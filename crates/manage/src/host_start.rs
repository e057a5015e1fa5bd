//! What starts by itself once the host has started: the AutomaticStartAction of each virtual machine.

use crate::host::Host;
use crate::operation::{Answer, Arguments, Failure, Question, Surface, invoke};
use crate::ops::find;
use crate::store::config::AutomaticStart;
use crate::store::run::Kept;
use crate::store::{Config, Run, atomic};
use crate::value::Value;
use std::time::Duration;

/// The boot of the host in which virtual machines were started last.
const SEEN: &str = "host-boot";
/// The kernel's name of this boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Nobody to ask.
struct Nobody;

impl Surface for Nobody {
    fn say(&mut self, _: &str) {}
    fn confirm(&mut self, _: &Question) -> bool {
        false
    }
}

/// Whether a machine is to start with the host. It was running if nobody but the host ended it.
fn wanted(config: &Config, run: Option<&Run>) -> bool {
    match config.automatic_start {
        AutomaticStart::Nothing => false,
        AutomaticStart::Start => true,
        AutomaticStart::StartIfRunning => run.is_some_and(|run| run.running),
    }
}

/// What is to start, those with the shortest delay first; nothing if that was done in this boot of the host already.
pub fn due(host: &Host) -> Result<Vec<Config>, Failure> {
    let boot = std::fs::read(BOOT).unwrap_or_default();
    due_in(host, &boot)
}

fn due_in(host: &Host, boot: &[u8]) -> Result<Vec<Config>, Failure> {
    let seen = host.store.home().join(SEEN);
    if atomic::read(&seen).is_ok_and(|seen| seen == boot) {
        return Ok(Vec::new());
    }
    let mut configs = host.configs()?;
    configs.retain(|config| wanted(config, Run::read(&host.store.directory(config.id)).as_ref()));
    configs.sort_by_key(|config| config.automatic_start_delay);
    atomic::write(&seen, boot)
        .map_err(|error| Failure::failed(format!("'{}' cannot be written: {error}.", seen.display())))?;
    Ok(configs)
}

/// Starts them, each after its delay; `told` hears of each.
pub fn start(host: &Host, configs: &[Config], mut told: impl FnMut(&Config, &Answer)) {
    let mut waited = 0;
    for config in configs {
        let wait = config.automatic_start_delay.saturating_sub(waited);
        std::thread::sleep(Duration::from_secs(wait.into()));
        waited += wait;
        if let Some(answer) = start_one(host, config) {
            told(config, &answer);
        }
    }
}

/// None if it runs already.
fn start_one(host: &Host, config: &Config) -> Option<Answer> {
    if host.vm(config.clone()).state != crate::state::State::Off {
        return None;
    }
    let operation = find("Start-VM")?;
    let mut arguments = Arguments::default();
    arguments.set(operation, "Name", Value::text(config.id.to_string())).ok()?;
    Some(invoke(host, operation, &arguments, &mut Nobody))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::World;

    fn world() -> World {
        let world = World::new();
        for (name, action) in [("never", "Nothing"), ("always", "Start"), ("again", "StartIfRunning")] {
            world.ok("New-VM", &[("Name", name.into())]);
            world.ok("Set-VM", &[("VMName", name.into()), ("AutomaticStartAction", action.into())]);
        }
        world
    }

    fn names(world: &World, boot: &[u8]) -> Vec<String> {
        let mut names: Vec<String> =
            due_in(&world.host, boot).unwrap().into_iter().map(|config| config.name).collect();
        names.sort();
        names
    }

    #[test]
    fn machines_start_once_with_each_boot_of_the_host() {
        let world = world();
        assert_eq!(names(&world, b"one"), ["always"]);
        assert!(names(&world, b"one").is_empty());
        assert_eq!(names(&world, b"two"), ["always"]);
    }

    #[test]
    fn what_was_running_starts_again_unless_somebody_ended_it() {
        let world = world();
        world.ok("Start-VM", &[("Name", "again".into())]);
        assert_eq!(names(&world, b"one"), ["again", "always"]);
        world.ok("Stop-VM", &[("Name", "again".into()), ("TurnOff", true.into())]);
        assert_eq!(names(&world, b"two"), ["always"]);
    }

    #[test]
    fn those_that_are_due_are_started_and_told() {
        let world = world();
        let (due, mut told) = (due_in(&world.host, b"one").unwrap(), Vec::new());
        start(&world.host, &due, |config, answer| told.push((config.name.clone(), answer.errors.len())));
        assert_eq!(told, [("always".to_owned(), 0)]);
        start(&world.host, &due, |config, _| panic!("{}", config.name));
    }

    #[test]
    fn the_shortest_delay_comes_first() {
        let world = world();
        let delay = ("AutomaticStartDelay", Value::Int(30));
        world.ok("Set-VM", &[("VMName", "always".into()), delay]);
        world.ok("Set-VM", &[("VMName", "never".into()), ("AutomaticStartAction", "Start".into())]);
        let due: Vec<u32> =
            due_in(&world.host, b"one").unwrap().iter().map(|config| config.automatic_start_delay).collect();
        assert_eq!(due, [0, 30]);
    }
}
