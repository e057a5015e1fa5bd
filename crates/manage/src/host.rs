//! This host: its store, its workers, and what its machine and engines can do.

use crate::guid::Guid;
use crate::host_network::{HostNetwork, NoNetwork, RealNetwork};
use crate::operation::{Category, Failure};
use crate::state::State;
use crate::store::run::Kept;
use crate::store::switch::DEFAULT;
use crate::store::{Config, Group, Run, Store, StoreError, WorkerLock};
use crate::worker::client::{LOOK, is_silence};
use crate::worker::introspection::Introspection;
use crate::worker::kill::{Outer, kill};
use crate::worker::launch::{LOG, last_words};
use crate::worker::limits::weight::Weighing;
use crate::worker::protocol::{Reply, Request, SOCKET, Status};
use crate::worker::router::state::Seen;
use crate::worker::screen::Shown;
use crate::worker::{self, Client, Launcher};
use ireko_machine::EngineChoice;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What the machine below us has.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFacts {
    pub name: String,
    pub logical_processors: u32,
    pub memory: u64,
    pub memory_free: u64,
    /// `AuthenticAMD`, `GenuineIntel` …
    pub vendor: String,
    pub megahertz: u32,
    pub brand: String,
}

/// What an engine would give a VM.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineFacts {
    pub name: String,
    pub reason: String,
    pub nested: bool,
    pub max_vcpus: u32,
}

/// What says whether hardware could nest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hardware {
    pub manufacturer: String,
    pub model: String,
    /// `AMD-V`, `VT-x`; `None`: CPUID shows neither.
    pub extensions: Option<String>,
    /// The `nested` parameter of the KVM module; `None`: none is loaded.
    pub kvm_nested: Option<bool>,
}

/// One NUMA node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaNode {
    pub id: u32,
    /// By number.
    pub processors: Vec<u32>,
    pub memory: u64,
    pub memory_free: u64,
}

/// Looks at the machine and tries the engines.
pub trait HostSystem: Send + Sync {
    fn host(&self) -> HostFacts;
    /// The engine that a VM would get; the error is a sentence.
    fn engine(&self, choice: &str, nested: bool) -> Result<EngineFacts, String>;
    fn hardware(&self) -> Hardware {
        Hardware::default()
    }
    /// How machines get their weight.
    fn weighing(&self) -> Weighing {
        Weighing::Nice(0)
    }
    /// Its processors with the memory that is near them. Empty: it does not say.
    fn numa_nodes(&self) -> Vec<NumaNode> {
        Vec::new()
    }
    /// The host's own network.
    fn network(&self) -> &dyn HostNetwork {
        &NoNetwork
    }
}

/// The machine that we really run on.
pub struct RealHostSystem;

impl HostSystem for RealHostSystem {
    fn network(&self) -> &dyn HostNetwork {
        &RealNetwork
    }

    fn host(&self) -> HostFacts {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        HostFacts {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            logical_processors: info.lines().filter(|line| line.starts_with("processor")).count().max(1)
                as u32,
            memory: kilobytes(&meminfo, "MemTotal"),
            memory_free: kilobytes(&meminfo, "MemAvailable"),
            vendor: field(&info, "vendor_id").unwrap_or_default(),
            megahertz: field(&info, "cpu MHz")
                .and_then(|mhz| mhz.parse::<f64>().ok())
                .map_or(0, |mhz| mhz as u32),
            brand: field(&info, "model name").unwrap_or_default(),
        }
    }

    fn engine(&self, choice: &str, nested: bool) -> Result<EngineFacts, String> {
        let choice: EngineChoice = choice.parse().map_err(|e: ireko_machine::MachineError| e.to_string())?;
        let chosen = ireko_machine::engine::choose(choice, nested).map_err(|e| e.to_string())?;
        Ok(EngineFacts {
            name: chosen.name.into(),
            nested: chosen.nested,
            max_vcpus: chosen.hypervisor.caps().max_vcpus,
            reason: chosen.reason,
        })
    }

    fn weighing(&self) -> Weighing {
        worker::limits::weighing()
    }

    fn numa_nodes(&self) -> Vec<NumaNode> {
        let directories = std::fs::read_dir("/sys/devices/system/node").into_iter().flatten().flatten();
        let mut nodes: Vec<NumaNode> = directories.filter_map(|entry| numa_node(&entry.path())).collect();
        nodes.sort_by_key(|node| node.id);
        nodes
    }

    fn hardware(&self) -> Hardware {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = |path: &str| {
            let text = std::fs::read_to_string(path).ok()?;
            Some(text.trim().to_owned())
        };
        let flags = field(&info, "flags").unwrap_or_default();
        let has = |flag| flags.split_whitespace().any(|word| word == flag);
        let extensions = if has("svm") { Some("AMD-V") } else { has("vmx").then_some("VT-x") };
        let parameter = |module| line(&format!("/sys/module/{module}/parameters/nested"));
        Hardware {
            manufacturer: line("/sys/class/dmi/id/sys_vendor").unwrap_or_default(),
            model: line("/sys/class/dmi/id/product_name").unwrap_or_default(),
            extensions: extensions.map(str::to_owned),
            kvm_nested: parameter("kvm_amd")
                .or_else(|| parameter("kvm_intel"))
                .map(|value| matches!(value.as_str(), "1" | "Y")),
        }
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// From the kernel's directory of it.
fn numa_node(directory: &Path) -> Option<NumaNode> {
    let id = directory.file_name()?.to_str()?.strip_prefix("node")?.parse().ok()?;
    let processors = std::fs::read_to_string(directory.join("cpulist")).unwrap_or_default();
    let memory = std::fs::read_to_string(directory.join("meminfo")).unwrap_or_default();
    // `Node 0 MemTotal:  16331668 kB`
    let prefix = format!("Node {id} ");
    let memory: String =
        memory.lines().map(|line| line.trim_start_matches(&prefix).to_owned() + "\n").collect();
    Some(NumaNode {
        id,
        processors: list_of(&processors),
        memory: kilobytes(&memory, "MemTotal"),
        memory_free: kilobytes(&memory, "MemFree"),
    })
}

/// A kernel's list like `0-3,8`.
fn list_of(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<u32>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let number = field(text, name).and_then(|value| value.trim_end_matches(" kB").parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

/// Makes ready what a VM's start needs, where a person can see it happen.
pub type Preparation = dyn Fn(&Config) -> Result<(), String> + Send + Sync;

/// The disk of a system by its name, in the directory where they are kept; made or got first, where a person can see it happen.
pub type Systems = dyn Fn(&str, &Path) -> Result<SystemDisk, NoSystem> + Send + Sync;

/// A disk with a system, which nobody changes.
#[derive(Clone, Debug)]
pub struct SystemDisk {
    pub path: PathBuf,
    /// Whom its makers let in, if nobody else is named: in words, and the name if it is known.
    pub user: String,
    pub login: Option<String>,
    /// It listens for SSH at its socket device.
    pub listens: bool,
}

/// Why there is no disk of a system, in a sentence.
#[derive(Clone, Debug)]
pub enum NoSystem {
    /// Nobody knows the name.
    Unknown(String),
    Failed(String),
}

/// What starts a system's installer, by the system's name, with the answers that it is to find and more of a command line; got
/// first, where a person can see it happen.
pub type Installers = dyn Fn(&str, Option<&[u8]>, &str) -> Result<InstallerFiles, NoSystem> + Send + Sync;

/// A kernel, its first root file system, and its command line.
#[derive(Clone, Debug)]
pub struct InstallerFiles {
    pub kernel: Vec<u8>,
    pub initrd: Vec<u8>,
    pub command_line: String,
}

/// Of who has none.
pub fn no_installers(name: &str, _: Option<&[u8]>, _: &str) -> Result<InstallerFiles, NoSystem> {
    Err(NoSystem::Unknown(format!("There is no installer of '{}' here.", name.escape_debug())))
}

/// Of who makes none.
pub fn no_systems(name: &str, _: &Path) -> Result<SystemDisk, NoSystem> {
    Err(NoSystem::Unknown(format!("There is no system '{}' here.", name.escape_debug())))
}

/// Workers that are asked at the same time: each takes two descriptors.
const AT_ONCE: usize = 128;
/// A guest's agent, behind others that ask it.
const AGENT: Duration = Duration::from_secs(30);
/// To hear that it is to end.
const TO_ANSWER: Duration = Duration::from_secs(1);
/// To be gone after that, on a host that is busy.
const TO_END: Duration = Duration::from_millis(3500);

fn last_known(directory: &Path) -> State {
    if Run::noted_paused(directory) { State::Paused } else { State::Running }
}

/// All that operations work on.
pub struct Host {
    pub store: Store,
    pub launcher: Box<dyn Launcher>,
    pub system: Box<dyn HostSystem>,
    /// Called before a worker is started.
    pub prepare: Box<Preparation>,
    pub systems: Box<Systems>,
    pub installers: Box<Installers>,
}

impl Host {
    /// As root: VMs on switches, whose workers are other users, may use what switches there are. Where that fails, a worker
    /// says so when it plugs in.
    pub fn share_switches(&self) {
        if rustix::process::geteuid().is_root()
            && let Ok(identity) = ireko_jail::identity::Identity::of(&[0; 16])
        {
            let _ = crate::worker::jail::share_switches(&self.store, identity.switches);
        }
    }
}

/// The one sentence about a worker that is stopped or stuck.
pub fn silent(config: &Config) -> Failure {
    let told = format!(
        "'{}' does not answer: its worker is stopped or stuck; try again, or use Stop-VM -TurnOff, which ends it.",
        config.name
    );
    Failure::new(Category::OperationTimeout, "OperationTimeout", told).about(&config.name)
}

/// A VM as it is now.
#[derive(Clone, Debug)]
pub struct Vm {
    pub config: Config,
    /// Where it is kept.
    pub directory: PathBuf,
    pub state: State,
    /// What its worker says, if there is one.
    pub status: Option<Status>,
    /// The last run.
    pub run: Option<Run>,
    /// Names of the groups that it is in.
    pub groups: Vec<String>,
    /// Names of virtual switches.
    pub switches: BTreeMap<Guid, String>,
    /// Where the router of its switch has seen its adapters.
    pub routed: Vec<Seen>,
    /// Its worker lives and does not answer: the state is the last one known.
    pub silent: bool,
    /// Why it is Off, if its last end was not in order.
    pub end_reason: Option<String>,
}

/// Of a VM that has turned itself off, or whose worker was killed, what the host's kernel holds is left for who sees that.
fn tidied(vms: Vec<Vm>) -> Vec<Vm> {
    if vms.iter().any(|vm| vm.state == State::Off && vm.run.is_some()) {
        worker::limits::sweep_all();
    }
    vms
}

/// A worker that was asked for its status.
enum Asked {
    /// There is none.
    Off,
    Listens(Client),
    /// It listens not yet.
    Starting,
    Silent,
}

impl Asked {
    fn ask(directory: &Path) -> Self {
        if !WorkerLock::held(directory) {
            return Self::Off;
        }
        let asked = Client::connect(directory).and_then(|mut client| {
            client.send(&Request::Status)?;
            Ok(client)
        });
        match asked {
            Ok(client) => Self::Listens(client),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Self::Starting
            }
            Err(_) => Self::Silent,
        }
    }
}

impl Host {
    pub fn new(store: Store, launcher: Box<dyn Launcher>) -> Self {
        Self {
            store,
            launcher,
            system: Box::new(RealHostSystem),
            prepare: Box::new(|_| Ok(())),
            systems: Box::new(no_systems),
            installers: Box::new(no_installers),
        }
    }

    /// The VMs that can be read. What cannot be read is told by [`Host::damaged`].
    pub fn configs(&self) -> Result<Vec<Config>, StoreError> {
        Ok(self.store.all()?.into_iter().flatten().collect())
    }
    pub fn damaged(&self) -> Result<Vec<StoreError>, StoreError> {
        Ok(self.store.all()?.into_iter().filter_map(Result::err).collect())
    }
    /// For completion.
    pub fn names(&self) -> Vec<String> {
        self.configs().map_or_else(|_| Vec::new(), |all| all.into_iter().map(|vm| vm.name).collect())
    }

    pub fn vm(&self, config: Config) -> Vm {
        let asked = Asked::ask(&self.store.directory(config.id));
        tidied(vec![self.seen(config, asked, Instant::now() + LOOK, &self.groups())]).remove(0)
    }

    /// All at once: those that do not answer hold up nobody.
    pub fn vms(&self, configs: Vec<Config>) -> Vec<Vm> {
        let (mut vms, groups) = (Vec::new(), self.groups());
        for some in configs.chunks(AT_ONCE) {
            let asked: Vec<Asked> =
                some.iter().map(|config| Asked::ask(&self.store.directory(config.id))).collect();
            let until = Instant::now() + LOOK;
            let both = some.iter().cloned().zip(asked);
            vms.extend(both.map(|(config, asked)| self.seen(config, asked, until, &groups)));
        }
        tidied(vms)
    }

    fn seen(&self, config: Config, asked: Asked, until: Instant, groups: &[Group]) -> Vm {
        let directory = self.store.directory(config.id);
        let (run, switches) = (Run::read(&directory), self.switches_of(&config));
        let (state, status, silent) = match asked {
            Asked::Off => (State::Off, None, false),
            Asked::Listens(mut client) => match client.status_by(until) {
                Ok(status) => (status.state, Some(status), false),
                Err(_) => (last_known(&directory), None, true),
            },
            Asked::Starting => (State::Starting, None, false),
            Asked::Silent => (last_known(&directory), None, true),
        };
        // It may have ended between the two looks.
        let ended = status.is_none() && state != State::Off && !WorkerLock::held(&directory);
        let (state, silent) = if ended { (State::Off, false) } else { (state, silent) };
        let run = Run::read(&directory).or(run);
        let end_reason =
            run.as_ref().filter(|_| state == State::Off).and_then(|run| end_reason(run, &directory));
        let routed = self.routed(&config, state);
        let own = crate::ops::group::of_vm(groups, config.id);
        let groups = own.map(|group| group.name.clone()).collect();
        let directory = self.store.directory(config.id);
        Vm { config, directory, state, status, run, groups, switches, routed, silent, end_reason }
    }

    fn groups(&self) -> Vec<Group> {
        self.store.host_settings().unwrap_or_default().groups
    }

    /// What is off has no addresses.
    fn routed(&self, config: &Config, state: State) -> Vec<Seen> {
        let on = config.adapters.iter().filter(|adapter| adapter.switch == Some(DEFAULT));
        let own: Vec<&str> = on.map(|adapter| adapter.mac.as_str()).collect();
        if own.is_empty() || state == State::Off {
            return Vec::new();
        }
        let router = worker::router::state::read(&self.store, DEFAULT).unwrap_or_default();
        router
            .guests
            .into_iter()
            .filter(|seen| own.iter().any(|mac| seen.mac.eq_ignore_ascii_case(mac)))
            .collect()
    }

    fn switches_of(&self, config: &Config) -> BTreeMap<Guid, String> {
        if config.adapters.iter().all(|adapter| adapter.switch.is_none()) {
            return BTreeMap::new();
        }
        let all = self.store.switches().unwrap_or_default();
        all.into_iter().map(|switch| (switch.id, switch.name)).collect()
    }

    /// Asks a VM's worker for something.
    pub fn ask(&self, config: &Config, request: &Request) -> Result<(), Failure> {
        self.ask_with(config, request, &[])
    }

    fn answered(&self, config: &Config, reply: io::Result<Reply>) -> Result<(), Failure> {
        let directory = self.store.directory(config.id);
        match reply {
            Ok(Reply::Error(why)) => Err(Failure::refused(why).about(&config.name)),
            Ok(_) => Ok(()),
            // Ended before it could answer, as after TurnOff: the caller looks at the state.
            Err(_) if !WorkerLock::held(&directory) => Ok(()),
            Err(error) if is_silence(&error) => Err(silent(config)),
            Err(error) => Err(Failure::failed(format!(
                "The worker of '{}' broke off ({error}); try again, or use Stop-VM -TurnOff, which ends it.",
                config.name
            ))
            .about(&config.name)),
        }
    }

    /// As [`Host::ask`], with files that the worker gets.
    pub fn ask_with(&self, config: &Config, request: &Request, files: &[&File]) -> Result<(), Failure> {
        let directory = self.store.directory(config.id);
        let reply = Client::connect(&directory).and_then(|mut client| match files {
            [] => client.ask(request),
            files => client.ask_with(request, files.iter().copied()),
        });
        self.answered(config, reply)
    }

    /// Asks its guest's agent, in that one's words.
    pub fn ask_agent(
        &self,
        config: &Config,
        command: &str,
        arguments: serde_json::Value,
    ) -> Result<serde_json::Value, Failure> {
        self.running(config)?;
        let request = Request::Agent { command: command.to_owned(), arguments };
        let directory = self.store.directory(config.id);
        let reply = Client::connect(&directory).and_then(|mut client| client.ask_within(&request, AGENT));
        match reply {
            Ok(Reply::Agent(answer)) => Ok(*answer),
            other => self.answered(config, other).map(|()| serde_json::Value::Null),
        }
    }

    /// It runs: the error says that it does not.
    pub fn running(&self, config: &Config) -> Result<(), Failure> {
        match WorkerLock::held(&self.store.directory(config.id)) {
            true => Ok(()),
            false => Err(Failure::refused(format!(
                "{} '{}' is {}; use Start-VM first.",
                crate::state::WRONG_STATE,
                config.name,
                State::Off
            ))
            .about(&config.name)),
        }
    }

    /// What a running VM's screen shows.
    pub fn screen(&self, config: &Config) -> Result<Shown, Failure> {
        self.running(config)?;
        let name = &config.name;
        match Client::connect(&self.store.directory(config.id)).and_then(Client::screen) {
            Ok(Ok(shown)) => Ok(shown),
            Ok(Err(why)) => Err(Failure::refused(format!("'{name}': {why}")).about(name)),
            Err(error) if is_silence(&error) => Err(silent(config)),
            Err(error) => Err(Failure::failed(format!(
                "The worker of '{name}' does not show its screen ({error}); try again."
            ))
            .about(name)),
        }
    }

    /// What runs inside a running VM.
    pub fn inside(&self, vm: &Vm) -> Result<Introspection, Failure> {
        let (name, directory) = (&vm.config.name, self.store.directory(vm.config.id));
        if vm.silent {
            return Err(silent(&vm.config));
        }
        match Client::connect(&directory).and_then(|mut client| client.ask(&Request::Introspection)) {
            Ok(Reply::Introspection(inside)) => Ok(*inside),
            Ok(other) => {
                Err(Failure::failed(format!("The worker of '{name}' answered {other:?}.")).about(name))
            }
            Err(_) if !WorkerLock::held(&directory) => Err(Failure::refused(format!(
                "{} '{name}' is {}, so nothing runs inside; use Start-VM first.",
                crate::state::WRONG_STATE,
                State::Off
            ))
            .about(name)),
            Err(error) if is_silence(&error) => Err(silent(&vm.config)),
            Err(error) => Err(Failure::failed(format!(
                "The worker of '{name}' does not say what runs inside ({error}); try again."
            ))
            .about(name)),
        }
    }

    /// Whether the VM was Off within the time.
    pub fn wait_until_off(&self, id: Guid, most: Duration) -> bool {
        let (directory, since) = (self.store.directory(id), Instant::now());
        while WorkerLock::held(&directory) {
            if since.elapsed() >= most {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        worker::limits::sweep(id);
        true
    }

    /// Who waits outside for the worker that runs a VM now.
    pub fn outer(&self, config: &Config) -> Option<Outer> {
        Outer::of(&self.store.directory(config.id), config.id)
    }

    /// Turns a VM off. A worker that does not end by itself is killed.
    pub fn turn_off(&self, config: &Config) -> Result<(), String> {
        let directory = self.store.directory(config.id);
        let outer = self.outer(config);
        let done = self.end(config, &directory);
        outer.iter().for_each(Outer::end);
        done
    }

    fn end(&self, config: &Config, directory: &Path) -> Result<(), String> {
        let asked =
            Client::connect(directory).and_then(|mut client| client.ask_within(&Request::TurnOff, TO_ANSWER));
        // Who has heard it needs a moment; who has not, none.
        let patience = if asked.is_ok() { TO_END } else { Duration::ZERO };
        if self.wait_until_off(config.id, patience) {
            return Ok(());
        }
        let Some(process) = kill(directory)? else { return Ok(()) };
        if !self.wait_until_off(config.id, TO_END) {
            return Err(format!(
                "its worker (process {process}) was killed and is not gone yet: the kernel waits for what it asked of the host; the VM is Off when that is done"
            ));
        }
        self.bury(config, process);
        Ok(())
    }

    /// Writes what the dead cannot, unless there is a new worker already.
    fn bury(&self, config: &Config, process: u32) {
        let directory = self.store.directory(config.id);
        let Ok(Some(_lock)) = WorkerLock::take(&directory) else { return };
        let run = Run::read(&directory).unwrap_or_default();
        let reason = format!("turned off; its worker (process {process}) did not end and was killed");
        if run.ended.is_none() {
            let _ = Run { ended: Some(now()), reason: Some(reason), clean: false, ..run }.write(&directory);
        }
        let _ = std::fs::remove_file(directory.join(SOCKET));
        Run::note_paused(&directory, false);
        for adapter in &config.adapters {
            let ports = adapter.switch.map(|switch| self.store.ports(switch));
            ports.iter().for_each(|ports| ireko_net::switch::clear(ports, &adapter.id.to_string()));
        }
    }
}

/// None of a run that ended in order.
fn end_reason(run: &Run, directory: &Path) -> Option<String> {
    match (run.ended, &run.reason) {
        (Some(_), _) if run.clean => None,
        (Some(_), Some(reason)) => Some(reason.clone()),
        _ => {
            let words = last_words(&directory.join(LOG));
            Some(format!("its worker (process {}) died without a word; {words}", run.pid))
        }
    }
}
