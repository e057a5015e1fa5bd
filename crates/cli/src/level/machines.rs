//! A level's machine, as the worker of its VM makes and runs it: the built-in image with what its agent is to do, on this process's threads.

use super::{Heard, Listener, Plan};
use crate::image::Parts;
use crate::report::Event;
use anyhow::Result;
use ireko_machine::engine::{self, Chosen};
use ireko_machine::{Endpoints, Firmware, Handle, Outcome, Smbios, Source, Vm};
use ireko_manage::Guid;
use ireko_manage::host::{EngineFacts, HostFacts, HostSystem, RealHostSystem};
use ireko_manage::store::{Config, Store};
use ireko_manage::worker::console::Console;
use ireko_manage::worker::disks::DiskLocks;
use ireko_manage::worker::machine::{Image, ImageReader, RealMachines};
use ireko_manage::worker::protocol::Started;
use ireko_manage::worker::{self, Factory, Launcher, Machine, Network, ProcessLauncher, Remote};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};

/// Makes the one machine of a level.
pub struct Levels {
    machines: RealMachines,
    /// Trying engines takes time; once is enough.
    chosen: Chosen,
    options: Vec<String>,
    level: u32,
    network: Option<Arc<Network>>,
    memory: u64,
    parent_boot_id: String,
    inner: Mutex<Inner>,
}

struct Inner {
    sender: Sender<Heard>,
    handle: Option<Handle>,
    outcome: Option<Outcome>,
}

/// Levels start a kernel directly.
fn no_firmware(_: &Config) -> Result<Firmware, String> {
    Err("a level of nest has no firmware".into())
}

impl Levels {
    pub fn new(
        plan: &Plan,
        parts: &Parts,
        init: &[u8],
        parent_boot_id: &str,
        sender: Sender<Heard>,
        network: Option<Arc<Network>>,
    ) -> Result<Self> {
        let config = &plan.config;
        let source =
            |name: &str, data: Vec<u8>| Source::Bytes { name: name.to_owned(), data: Arc::new(data) };
        let kernel = source("the guest image's kernel", parts.kernel.clone());
        let archive = match network {
            Some(_) => parts.archive(init, plan.deeper()),
            None => parts.archive_for_levels(init, plan.deeper()),
        };
        let initrd = source("the guest image", archive);
        // The VM takes it: it is large, and the level below wants the memory.
        let once = Mutex::new(Some((kernel, initrd)));
        let command_line = config.to_command_line("");
        let image = move |_: &Config| {
            let taken = once.lock().unwrap_or_else(|e| e.into_inner()).take();
            let given = Mutex::new(Some(taken.ok_or("a level is started once only")?));
            let command_line = command_line.clone();
            let read = move || {
                let taken = given.lock().unwrap_or_else(|e| e.into_inner()).take();
                let (kernel, initrd) = taken.ok_or("a level is started once only")?;
                Ok(Image { kernel, initrd, command_line: command_line.clone() })
            };
            Ok(Box::new(read) as Box<ImageReader>)
        };
        Ok(Self {
            machines: RealMachines::new(Box::new(image), Box::new(no_firmware), None, None),
            chosen: engine::choose(plan.engine.parse()?, plan.deeper())?,
            options: plan.options.clone(),
            level: config.level,
            network,
            memory: plan.memory,
            parent_boot_id: parent_boot_id.to_owned(),
            inner: Mutex::new(Inner { sender, handle: None, outcome: None }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn handle(&self) -> Option<Handle> {
        self.lock().handle.clone()
    }

    pub fn system(&self) -> Known {
        Known { chosen: self.chosen.clone() }
    }

    fn make(&self, config: &Config) -> Result<Vm, String> {
        let mut spec = self.machines.spec(config, self.chosen.clone())?;
        // Its memory stays as it is: no devices for that, which every kernel would have to find.
        spec.most_memory = None;
        spec.virtio_console = true;
        spec.options = self.options.clone();
        spec.smbios =
            Smbios { uuid: spec.smbios.uuid, serial: spec.smbios.serial, ..Smbios::level(self.level) };
        if let Some(network) = &self.network {
            spec.nics = network.nics(&config.adapters)?;
        }
        let sender = self.lock().sender.clone();
        let endpoints = Endpoints {
            serial: Box::new(Listener::new(self.level, &sender)),
            console: Some(Box::new(Listener::new(self.level, &sender))),
            second: None,
            firmware_debug: None,
        };
        let vm = Vm::on(self.chosen.clone(), spec, endpoints).map_err(|error| error.to_string())?;
        let start = Event::Start {
            level: self.level,
            engine: self.chosen.name.to_owned(),
            reason: self.chosen.reason.clone(),
            memory_bytes: self.memory,
            parent_boot_id: self.parent_boot_id.clone(),
        };
        let _ = sender.send(Heard::Event(start));
        self.lock().handle = Some(vm.handle());
        Ok(vm)
    }
}

/// The machine that we run on, with the engine that is known already.
pub struct Known {
    chosen: Chosen,
}

impl HostSystem for Known {
    fn host(&self) -> HostFacts {
        RealHostSystem.host()
    }
    fn engine(&self, _: &str, _: bool) -> Result<EngineFacts, String> {
        Ok(EngineFacts {
            name: self.chosen.name.into(),
            reason: self.chosen.reason.clone(),
            nested: self.chosen.nested,
            max_vcpus: self.chosen.hypervisor.caps().max_vcpus,
        })
    }
}

/// A level that ends is over: a reset is no new start.
struct Level {
    vm: Vm,
    levels: Arc<Levels>,
}

impl Machine for Level {
    fn remote(&self) -> Arc<dyn Remote> {
        Arc::new(self.vm.handle())
    }
    fn engine(&self) -> (String, String) {
        Machine::engine(&self.vm)
    }
    /// Nobody asks, and deep inside each look is dear.
    fn watched(&self) -> bool {
        false
    }
    fn run(&mut self) -> Outcome {
        let outcome = self.vm.run();
        self.levels.lock().outcome = Some(outcome.clone());
        if outcome == Outcome::Reset { Outcome::Stopped } else { outcome }
    }
}

/// A worker on a thread of this process: it ends with the command.
pub struct Threads {
    pub levels: Arc<Levels>,
    /// For what switches need, if there are any.
    pub processes: Option<ProcessLauncher>,
}

struct Making(Arc<Levels>);

impl Factory for Making {
    fn make(
        &self,
        config: &Config,
        _: &DiskLocks,
        _: Console,
        _: Option<Console>,
    ) -> Result<Box<dyn Machine>, String> {
        Ok(Box::new(Level { vm: self.0.make(config)?, levels: self.0.clone() }))
    }
}

impl Launcher for Threads {
    fn host_side(&self, store: &Store, switch: Guid) -> Result<(), String> {
        self.processes.as_ref().map_or(Ok(()), |processes| processes.host_side(store, switch))
    }

    fn router(&self, store: &Store, switch: Guid) -> Result<(), String> {
        self.processes.as_ref().map_or(Ok(()), |processes| processes.router(store, switch))
    }

    fn launch(&self, store: &Store, id: Guid) -> Result<(), String> {
        let (said, hear) = channel();
        let (store, levels) = (store.clone(), self.levels.clone());
        std::thread::Builder::new()
            .name(format!("level {}", levels.level))
            .spawn(move || {
                let making = Making(levels.clone());
                worker::run(&store, id, &making, move |started| drop(said.send(started)));
                let mut inner = levels.lock();
                inner.handle = None;
                if let Some(outcome) = inner.outcome.take() {
                    let _ = inner.sender.send(Heard::Ended(outcome));
                }
            })
            .map_err(|error| format!("no thread for level {}: {error}", self.levels.level))?;
        match hear.recv() {
            Ok(Started::Running { .. }) => Ok(()),
            Ok(Started::Error(why)) => Err(why),
            Err(_) => Err("its worker ended without a word".into()),
        }
    }
}
