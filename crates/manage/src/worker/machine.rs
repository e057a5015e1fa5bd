//! The machine as a worker sees it: something that runs to an end and can be told things meanwhile.

use super::console::Console;
use super::limits::Limits;
use super::network::Network;
use crate::rules;
use crate::store::Config;
use ireko_machine::{
    DiskSpec, Endpoints, Handle, MemoryControl, MemoryState, Nesting, Outcome, Rates, Smbios, Source, Spec,
    Throttle, Vm,
};
use std::sync::Arc;

/// A VM that is ready to run.
pub trait Machine: Send {
    fn remote(&self) -> Arc<dyn Remote>;
    /// `kvm` or `soft`, and why.
    fn engine(&self) -> (String, String);
    /// Its load and its memory are looked at again and again while it runs, which costs a little.
    fn watched(&self) -> bool {
        true
    }
    /// Where its network adapters are plugged in, if it has any.
    fn network(&self) -> Option<Arc<Network>> {
        None
    }
    /// Blocks until the end.
    fn run(&mut self) -> Outcome;
}

/// What other threads may do with it.
pub trait Remote: Send + Sync {
    fn power_button(&self);
    fn turn_off(&self);
    fn reset(&self);
    /// Whether it came to rest.
    fn pause(&self) -> bool;
    fn resume(&self);
    fn input(&self, bytes: &[u8]);
    /// Bounds the use of the disk with this number from now on.
    fn limit_disk(&self, number: usize, rates: Rates) {
        let _ = (number, rates);
    }
    /// What it has of its memory.
    fn memory(&self) -> MemoryState;
    /// Asks the guest to have so many bytes; `insist`: by all means.
    fn aim(&self, target: u64, insist: bool);
    /// Lets the guest keep what it has.
    fn hold_memory(&self);
    /// Asks the guest for statistics of its memory.
    fn poll_memory(&self);
    /// Whether one runs inside; `None`: not known. May take a moment.
    fn hypervisor(&self) -> Option<bool>;
    /// What runs inside, as far as the engine sees it. May take a moment.
    fn nesting(&self) -> Nesting {
        Nesting::default()
    }
}

/// Makes machines from configurations; the same configuration again after a reset.
pub trait Factory: Send + Sync {
    /// The error is a sentence.
    fn make(&self, config: &Config, console: Console) -> Result<Box<dyn Machine>, String>;
    /// What this process may take of its host, where that is limited.
    fn limits(&self) -> Option<Arc<Limits>> {
        None
    }
}

/// Kernel, initrd and command line of the image that VMs without a kernel boot.
pub struct Image {
    pub kernel: Source,
    pub initrd: Source,
    pub command_line: String,
}

/// Gives the built-in image; `nested`: with what the next level needs.
pub type ImageMaker = dyn Fn(&Config) -> Result<Image, String> + Send + Sync;

/// Machines of `ireko-machine`.
pub struct RealMachines {
    pub image: Box<ImageMaker>,
    /// Without one, machines have no network adapters.
    pub network: Option<Arc<Network>>,
    pub limits: Option<Arc<Limits>>,
}

impl Factory for RealMachines {
    fn limits(&self) -> Option<Arc<Limits>> {
        self.limits.clone()
    }
    fn make(&self, config: &Config, console: Console) -> Result<Box<dyn Machine>, String> {
        let mut spec = self.spec(config)?;
        if let Some(network) = &self.network {
            spec.nics = network.nics(&config.adapters)?;
        }
        let vm = Vm::new(spec, Endpoints::serial(console)).map_err(|e| e.to_string())?;
        Ok(Box::new(Wired { vm, network: self.network.clone() }))
    }
}

impl RealMachines {
    /// What a configuration comes to.
    pub fn spec(&self, config: &Config) -> Result<Spec, String> {
        let mut spec = self.boot(config)?;
        spec.memory = config.memory.startup;
        spec.most_memory = Some(rules::memory::most(&config.memory, super::memory::host().total));
        spec.vcpus = config.processor.count;
        spec.engine = config.engine.parse().map_err(|e: ireko_machine::MachineError| e.to_string())?;
        spec.cpu = ireko_machine::cpu_model(&config.processor.model).map_err(|e| e.to_string())?;
        spec.nested = config.processor.expose_virtualization_extensions;
        spec.disks = config.disks.iter().map(disk).collect();
        // Frames are sent by names in the switch's directory, which confined threads cannot look up.
        if config.adapters.is_empty() {
            spec.on_thread = ireko_jail::thread::confining();
        }
        spec.smbios = Smbios { uuid: config.id.bytes(), serial: config.id.to_string(), ..Smbios::default() };
        Ok(spec)
    }

    fn boot(&self, config: &Config) -> Result<Spec, String> {
        let boot = &config.boot;
        let Some(kernel) = &boot.kernel else {
            let image = (self.image)(config)?;
            let mut spec = Spec::new(image.kernel);
            spec.initrd = Some(image.initrd);
            spec.command_line = format!("{} {}", image.command_line, boot.command_line).trim().to_owned();
            return Ok(spec);
        };
        let mut spec = Spec::new(kernel.as_path());
        spec.initrd = boot.initrd.as_deref().map(Source::from);
        spec.command_line = boot.command_line.clone();
        Ok(spec)
    }
}

pub fn rates(disk: &crate::store::Disk) -> Rates {
    Rates { bytes: disk.maximum_bytes_per_second, operations: disk.maximum_iops }
}

fn disk(disk: &crate::store::Disk) -> DiskSpec {
    let throttle = Arc::new(Throttle::new(rates(disk)));
    DiskSpec { path: disk.path.clone(), read_only: disk.read_only, throttle }
}

impl Machine for Vm {
    fn remote(&self) -> Arc<dyn Remote> {
        Arc::new(self.handle())
    }
    fn engine(&self) -> (String, String) {
        let chosen = Vm::engine(self);
        (chosen.name.to_owned(), chosen.reason.clone())
    }
    fn run(&mut self) -> Outcome {
        Vm::run(self)
    }
}

/// A machine with its plugs.
struct Wired {
    vm: Vm,
    network: Option<Arc<Network>>,
}

impl Machine for Wired {
    fn remote(&self) -> Arc<dyn Remote> {
        self.vm.remote()
    }
    fn engine(&self) -> (String, String) {
        Machine::engine(&self.vm)
    }
    fn network(&self) -> Option<Arc<Network>> {
        self.network.clone()
    }
    fn run(&mut self) -> Outcome {
        self.vm.run()
    }
}

impl Remote for Handle {
    fn power_button(&self) {
        Handle::power_button(self);
    }
    fn turn_off(&self) {
        self.stop();
    }
    fn reset(&self) {
        Handle::reset(self);
    }
    fn pause(&self) -> bool {
        Handle::pause(self)
    }
    fn resume(&self) {
        Handle::resume(self);
    }
    fn input(&self, bytes: &[u8]) {
        self.serial_input(bytes);
    }
    fn limit_disk(&self, number: usize, rates: Rates) {
        Handle::limit_disk(self, number, rates);
    }
    fn memory(&self) -> MemoryState {
        Handle::memory(self).map(MemoryControl::state).unwrap_or_default()
    }
    fn aim(&self, target: u64, insist: bool) {
        Handle::memory(self).iter().for_each(|memory| memory.aim(target, insist));
    }
    fn hold_memory(&self) {
        Handle::memory(self).iter().for_each(|memory| memory.hold());
    }
    fn poll_memory(&self) {
        Handle::memory(self).iter().for_each(|memory| memory.poll());
    }
    fn hypervisor(&self) -> Option<bool> {
        Handle::nesting(self).hypervisor
    }
    fn nesting(&self) -> Nesting {
        Handle::nesting(self)
    }
}
