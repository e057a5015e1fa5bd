//! Starts the VM that is the next level, on the host and inside a level alike, and listens to it. It is made, changed and
//! started by the operations that people use, in a store of its own that goes with it.

mod machines;
pub mod network;

use crate::agent_config::AgentConfig;
use crate::image::Parts;
use crate::report::{Event, Lines};
use anyhow::{Context, Result, anyhow};
use ireko_machine::{Handle, Outcome};
use ireko_manage::store::Store;
use ireko_manage::worker::{Network, ProcessLauncher};
use ireko_manage::{Arguments, Host, Question, Surface, Value, find, invoke};
use machines::{Levels, Threads};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// The next level, as its parent wants it.
#[derive(Clone)]
pub struct Plan {
    pub config: AgentConfig,
    pub memory: u64,
    /// As the parameters of New-VM have them.
    pub engine: String,
    pub cpu: String,
    pub append: String,
    pub options: Vec<String>,
}

impl Plan {
    /// It holds a level itself.
    fn deeper(&self) -> bool {
        self.config.level < self.config.depth
    }
}

/// What comes from a running level.
pub enum Heard {
    Event(Event),
    Ended(Outcome),
}

/// A level that runs on threads of its own.
pub struct Running {
    pub handle: Handle,
    pub heard: Receiver<Heard>,
    _home: Home,
}

impl Running {
    /// Waits for a VM that was told to stop, so that its engine can write its report.
    pub fn wait(&self, most: Duration) {
        let deadline = Instant::now() + most;
        while let Ok(heard) = self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if matches!(heard, Heard::Ended(_)) {
                return;
            }
        }
    }
}

/// Boots the level. The first event is its `Start`.
pub fn start(plan: &Plan, parts: &Parts, init: &[u8], parent_boot_id: &str) -> Result<Running> {
    let (sender, heard) = channel();
    let home = Home::new(plan.config.level)?;
    let (store, mut config) = (Store::open(&home.0)?, plan.config.clone());
    if config.network.is_some() {
        let host = Host::new(store.clone(), Box::new(processes()?));
        network::prepare(&host, &mut config).context("no network for the next level")?;
    }
    let plan = &Plan { config, ..plan.clone() };
    let network = plan.config.network.map(|_| Arc::new(Network::new(store.clone())));
    let levels = Arc::new(Levels::new(plan, parts, init, parent_boot_id, sender, network)?);
    let processes = plan.config.network.map(|_| processes()).transpose()?;
    let host = Host {
        store,
        launcher: Box::new(Threads { levels: levels.clone(), processes }),
        system: Box::new(levels.system()),
        prepare: Box::new(|_| Ok(())),
        systems: Box::new(ireko_manage::host::no_systems),
        installers: Box::new(ireko_manage::host::no_installers),
    };
    let name = || Value::text(format!("level {}", plan.config.level));
    let new = [
        ("Name", name()),
        ("MemoryStartupBytes", plan.memory.into()),
        ("Engine", plan.engine.as_str().into()),
        ("ProcessorModel", plan.cpu.as_str().into()),
        ("CommandLine", plan.append.as_str().into()),
        ("SwitchName", network::switch_of(&plan.config).into()),
    ];
    run(&host, "New-VM", &new)?;
    network::allow(&host, &plan.config, name())?;
    let nested = ("ExposeVirtualizationExtensions", plan.deeper().into());
    let count = ("Count", u64::from(plan.config.cpus).into());
    run(&host, "Set-VMProcessor", &[("VMName", name()), nested, count])?;
    run(&host, "Start-VM", &[("Name", name())])?;
    let handle = levels.handle().with_context(|| format!("level {} has no machine", plan.config.level))?;
    Ok(Running { handle, heard, _home: home })
}

/// What switches have processes for.
fn processes() -> Result<ProcessLauncher> {
    let program = std::env::current_exe().context("cannot find our own binary")?;
    Ok(ProcessLauncher { program })
}

/// Nobody is asked.
struct Silent;

impl Surface for Silent {
    fn say(&mut self, _: &str) {}
    fn confirm(&mut self, _: &Question) -> bool {
        true
    }
}

fn run(host: &Host, cmdlet: &str, given: &[(&str, Value)]) -> Result<()> {
    let operation = find(cmdlet).with_context(|| format!("there is no {cmdlet}"))?;
    let mut arguments = Arguments::default();
    for (name, value) in given {
        arguments.set(operation, name, value.clone()).map_err(|failure| anyhow!(failure.message))?;
    }
    let answer = invoke(host, operation, &arguments, &mut Silent);
    answer.errors.into_iter().next().map_or(Ok(()), |failure| Err(anyhow!(failure.message)))
}

/// The store's directory, for as long as the level runs.
struct Home(PathBuf);

const HOMES: &str = "ireko-level-";

impl Home {
    fn new(level: u32) -> Result<Self> {
        let temporary = std::env::temp_dir();
        remove_orphans(&temporary);
        let path = temporary.join(format!("{HOMES}{level}-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Of processes that were killed.
fn remove_orphans(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(HOMES).and_then(|rest| rest.split_once('-')).map(|(_, pid)| pid);
        if process.is_some_and(|pid| !pid.is_empty() && !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Turns a console's bytes into events: those that the guest sends, and its other lines.
struct Listener {
    level: u32,
    lines: Lines,
    sender: Sender<Heard>,
}

impl Listener {
    fn new(level: u32, sender: &Sender<Heard>) -> Self {
        Self { level, lines: Lines::default(), sender: sender.clone() }
    }

    fn hear(&self, line: String) {
        let event = Event::from_line(&line).unwrap_or(Event::Console { level: self.level, line });
        // Nobody listens any more once the answer is there.
        let _ = self.sender.send(Heard::Event(event));
    }
}

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in self.lines.push(bytes) {
            self.hear(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A last line without an end is worth hearing: it may say why the guest died.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(line) = self.lines.rest() {
            self.hear(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_of_a_dead_process_is_removed_and_a_living_ones_stays() {
        let directory = std::env::temp_dir().join(format!("ireko-orphans-{}", std::process::id()));
        let (dead, alive) =
            (directory.join(format!("{HOMES}1-999999999")), directory.join(format!("{HOMES}1-1")));
        [&dead, &alive].iter().for_each(|path| std::fs::create_dir_all(path).unwrap());
        remove_orphans(&directory);
        assert!(!dead.exists() && alive.exists());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
