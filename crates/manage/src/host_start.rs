//! What starts by itself once the host has started: the AutomaticStartAction of each virtual machine.

use crate::guid::Guid;
use crate::host::Host;
use crate::operation::{Answer, Arguments, Failure, Question, Surface, invoke};
use crate::ops::find;
use crate::store::config::AutomaticStart;
use crate::store::run::Kept;
use crate::store::{Config, Run, atomic};
use crate::value::Value;
use std::time::{Duration, Instant};

/// The boot of the host in which virtual machines were started last, and the ids of those that still wait for it, a line each.
const SEEN: &str = "host-boot";
/// The kernel's name of this boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// Between two looks at what waits.
const LOOK: Duration = Duration::from_secs(1);

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

/// Machines that wait for their start. Each is looked at anew when its time has come.
pub struct Waiting<'a> {
    host: &'a Host,
    boot: String,
    ids: Vec<Guid>,
}

/// What is to start in this boot of the host, and has not been started in it yet.
pub fn waiting(host: &Host) -> Result<Waiting<'_>, Failure> {
    waiting_in(host, std::fs::read_to_string(BOOT).unwrap_or_default().trim())
}

fn waiting_in<'a>(host: &'a Host, boot: &str) -> Result<Waiting<'a>, Failure> {
    let seen = atomic::read(&host.store.home().join(SEEN)).unwrap_or_default();
    let seen = String::from_utf8_lossy(&seen);
    let mut lines = seen.lines();
    if lines.next() == Some(boot) {
        let ids = lines.filter_map(|line| line.parse().ok()).collect();
        return Ok(Waiting { host, boot: boot.to_owned(), ids });
    }
    let mut configs = host.configs()?;
    configs.retain(|config| wanted(config, Run::read(&host.store.directory(config.id)).as_ref()));
    let ids = configs.into_iter().map(|config| config.id).collect();
    let waiting = Waiting { host, boot: boot.to_owned(), ids };
    waiting.note()?;
    Ok(waiting)
}

impl Waiting<'_> {
    /// For a server that is started after this one.
    fn note(&self) -> Result<(), Failure> {
        let ids: String = self.ids.iter().map(|id| format!("{id}\n")).collect();
        let seen = self.host.store.home().join(SEEN);
        let written = atomic::write_among_others(&seen, format!("{}\n{ids}", self.boot).as_bytes());
        written.map_err(|error| Failure::failed(format!("'{}' cannot be written: {error}.", seen.display())))
    }

    /// Starts them, each after its delay; `told` hears of each. What was removed meanwhile, or is not to start any more, is
    /// forgotten.
    pub fn start(mut self, mut told: impl FnMut(&Config, &Answer)) -> Result<(), Failure> {
        let began = Instant::now();
        while !self.ids.is_empty() {
            for id in self.ids.clone() {
                let config = self.host.store.load(id).ok();
                let config = config.filter(|config| config.automatic_start != AutomaticStart::Nothing);
                let delay = config.as_ref().map_or(0, |config| config.automatic_start_delay);
                if began.elapsed() < Duration::from_secs(delay.into()) {
                    continue;
                }
                self.ids.retain(|waiting| *waiting != id);
                if let Some((config, answer)) =
                    config.and_then(|own| start_one(self.host, &own).map(|a| (own, a)))
                {
                    told(&config, &answer);
                }
                self.note()?;
            }
            if !self.ids.is_empty() {
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
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
            set(&world, name, "AutomaticStartAction", action.into());
        }
        world
    }

    fn set(world: &World, vm: &str, name: &str, value: Value) {
        world.ok("Set-VM", &[("VMName", vm.into()), (name, value)]);
    }

    fn name(world: &World, id: Guid) -> String {
        world.host.store.load(id).unwrap().name
    }

    /// The names of those that wait in a boot, of which nobody starts any.
    fn names(world: &World, boot: &str) -> Vec<String> {
        let waiting = waiting_in(&world.host, boot).unwrap();
        let mut names: Vec<String> = waiting.ids.iter().map(|id| name(world, *id)).collect();
        names.sort();
        names
    }

    fn started(world: &World, boot: &str) -> Vec<String> {
        let mut names = Vec::new();
        let told = |config: &Config, answer: &Answer| {
            assert!(answer.errors.is_empty(), "{:?}", answer.errors);
            names.push(config.name.clone());
        };
        waiting_in(&world.host, boot).unwrap().start(told).unwrap();
        names
    }

    #[test]
    fn machines_start_once_with_each_boot_of_the_host() {
        let world = world();
        assert_eq!(started(&world, "one"), ["always"]);
        assert!(names(&world, "one").is_empty());
        assert_eq!(names(&world, "two"), ["always"]);
    }

    #[test]
    fn what_was_running_starts_again_unless_somebody_ended_it() {
        let world = world();
        world.ok("Start-VM", &[("Name", "again".into())]);
        assert_eq!(names(&world, "one"), ["again", "always"]);
        world.ok("Stop-VM", &[("Name", "again".into()), ("TurnOff", true.into())]);
        assert_eq!(names(&world, "two"), ["always"]);
    }

    #[test]
    fn those_that_a_server_did_not_get_to_wait_for_the_next() {
        let world = world();
        assert_eq!(names(&world, "one"), ["always"]);
        // One that is made later waits for the next boot.
        world.ok("New-VM", &[("Name", "new".into())]);
        set(&world, "new", "AutomaticStartAction", "Start".into());
        assert_eq!(started(&world, "one"), ["always"]);
    }

    #[test]
    fn what_is_changed_or_removed_while_it_waits_counts() {
        let world = world();
        set(&world, "never", "AutomaticStartAction", "Start".into());
        assert_eq!(names(&world, "one"), ["always", "never"]);
        set(&world, "never", "AutomaticStartAction", "Nothing".into());
        world.ok("Remove-VM", &[("Name", "always".into()), ("Force", true.into())]);
        assert!(started(&world, "one").is_empty());
    }

    #[test]
    fn a_delay_is_waited_for() {
        let world = world();
        set(&world, "never", "AutomaticStartAction", "Start".into());
        set(&world, "always", "AutomaticStartDelay", Value::Int(1));
        assert_eq!(started(&world, "one"), ["never", "always"]);
    }
}
