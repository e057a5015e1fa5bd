//! The machine as a worker sees it: something that runs to an end and can be told things meanwhile.

use super::console::Console;
use super::disks::DiskLocks;
use super::limits::Limits;
use super::network::Network;
use super::screen::Shown;
use super::server::NO_DISPLAY;
use crate::folder::{Linked, Share};
use crate::rules;
use crate::store::config::{BootEntry, ControllerType, DisplayAdapter, DriveAddress, Dvd, Module, StartWith};
use crate::store::switch::DEFAULT;
use crate::store::{Adapter, Config, Disk, Store};
use ireko_machine::engine::{self, Chosen};
use ireko_machine::layout;
use ireko_machine::{
    BootDevice, ChannelHost, DiskBus, DiskFiles, DiskSpec, Endpoints, Firmware, FolderSpec, Full, Handle,
    KeyEvent, MachineError, MemoryControl, MemoryState, ModuleSpec, Motion, Nesting, Outcome, Position,
    Rates, Smbios, Source, Spec, Throttle, Vm, VsockHost,
};
use ireko_vmcore::Broker;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

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

const NO_DRIVES: &str = "The machine has no drives that could change.";

/// What other threads may do with it.
pub trait Remote: Send + Sync {
    fn power_button(&self);
    fn turn_off(&self);
    fn reset(&self);
    /// Whether it came to rest.
    fn pause(&self) -> bool;
    fn resume(&self);
    fn input(&self, bytes: &[u8]);
    /// To COM 2.
    fn second_input(&self, bytes: &[u8]) {
        let _ = bytes;
    }
    /// Bounds the use of the disk with this serial number from now on.
    fn limit_disk(&self, serial: &str, rates: Rates) {
        let _ = (serial, rates);
    }
    /// Bounds what each vCPU takes of a processor of the host from now on, in percent.
    fn limit_processors(&self, percent: u32) {
        let _ = percent;
    }
    /// Another medium in a DVD drive, or none. The error is a sentence.
    fn change_medium(&self, dvd: &Dvd, files: Option<Arc<DiskFiles>>) -> Result<(), String> {
        let _ = (dvd, files);
        Err(NO_DRIVES.into())
    }
    /// A disk more. The error is a sentence.
    fn add_disk(&self, disk: &Disk, files: Arc<DiskFiles>) -> Result<(), String> {
        let _ = (disk, files);
        Err(NO_DRIVES.into())
    }
    /// A disk less, once the guest has let go of it. False: it has not within the time. The error is a sentence.
    fn remove_disk(&self, place: DriveAddress, patience: Duration) -> Result<bool, String> {
        let _ = (place, patience);
        Err(NO_DRIVES.into())
    }
    /// The host's side of its socket device, if it has one.
    fn vsock(&self) -> Option<VsockHost> {
        None
    }
    /// The channel to a guest agent, if it has one.
    fn guest_agent(&self) -> Option<ChannelHost> {
        None
    }
    /// What its display shows, if it has one.
    fn screen(&self) -> Option<Shown> {
        None
    }
    /// Types keys. The error is a sentence.
    fn keys(&self, events: &[KeyEvent]) -> Result<(), String> {
        let _ = events;
        Err(NO_DISPLAY.into())
    }
    /// Moves the pointer: by so much, or, if the guest has a driver for that, to where it is.
    fn pointer(&self, motion: Motion, position: Position) {
        let _ = (motion, position);
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
    /// Opens all that machines of this configuration need beside its disks, so that making them needs no names. The error is a
    /// sentence.
    fn open(&self, config: &Config, files: &DiskLocks) -> Result<(), String> {
        let _ = (config, files);
        Ok(())
    }
    /// The store has another name from now on, and who uses names in it is this one.
    fn moved(&self, store: &Store, broker: &Broker) {
        let _ = (store, broker);
    }
    /// With COM 1 at a console, and COM 2 if there is one for it. The error is a sentence.
    fn make(
        &self,
        config: &Config,
        files: &DiskLocks,
        console: Console,
        second: Option<Console>,
    ) -> Result<Box<dyn Machine>, String>;
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

/// Reads the built-in image; again after each reset.
pub type ImageReader = dyn Fn() -> Result<Image, String> + Send + Sync;

/// Opens the built-in image, as this configuration needs it.
pub type ImageMaker = dyn Fn(&Config) -> Result<Box<ImageReader>, String> + Send + Sync;

/// Opens the firmware of this configuration's generation, with what it keeps for this VM.
pub type FirmwareOpener = dyn Fn(&Config) -> Result<Firmware, String> + Send + Sync;

/// Machines of `ireko-machine`.
pub struct RealMachines {
    image: Box<ImageMaker>,
    firmware: Box<FirmwareOpener>,
    network: Option<Arc<Network>>,
    limits: Option<Arc<Limits>>,
    opened: Mutex<Option<Opened>>,
}

/// What machines are made from, again after each reset.
struct Opened {
    engine: Chosen,
    boot: Boot,
    folders: Vec<FolderSpec>,
    /// What the host has in all.
    host_memory: u64,
}

enum Boot {
    Image(Box<ImageReader>),
    /// With the firmware that this kernel needs, if it does.
    Kernel {
        kernel: Source,
        initrd: Option<Source>,
        modules: Vec<ModuleSpec>,
        firmware: Option<Firmware>,
    },
    Firmware(Firmware),
    /// With what it starts until that is done.
    Installer {
        firmware: Firmware,
        kernel: Source,
        initrd: Source,
    },
}

impl Factory for RealMachines {
    fn limits(&self) -> Option<Arc<Limits>> {
        self.limits.clone()
    }

    fn open(&self, config: &Config, files: &DiskLocks) -> Result<(), String> {
        layout::check_host_memory(config.memory.startup).map_err(|e| e.to_string())?;
        let nested = config.processor.expose_virtualization_extensions;
        let secure = config.boot.start_with == StartWith::Firmware && config.boot.secure_boot;
        let choose = if secure { engine::choose_for_secure_boot } else { engine::choose };
        let engine = config.engine.parse().and_then(|engine| choose(engine, nested));
        let mut opened = self.opened(config, engine.map_err(|e| e.to_string())?)?;
        opened.folders = self.folders(config)?;
        for drive in drives(config, files) {
            drive.open().map_err(|e| e.to_string())?;
        }
        *self.lock() = Some(opened);
        Ok(())
    }

    fn moved(&self, store: &Store, broker: &Broker) {
        self.network.iter().for_each(|network| network.moved(store.clone(), broker.clone()));
    }

    fn make(
        &self,
        config: &Config,
        files: &DiskLocks,
        console: Console,
        second: Option<Console>,
    ) -> Result<Box<dyn Machine>, String> {
        let opened = self.lock();
        let opened = opened.as_ref().ok_or("nothing is open for this machine")?;
        let mut spec = spec(config, opened, files)?;
        if let Some(network) = &self.network {
            spec.nics = network.nics(&config.adapters)?;
        }
        let vm =
            Vm::on(opened.engine.clone(), spec, endpoints(console, second)).map_err(|e| e.to_string())?;
        Ok(Box::new(RealMachine { vm, network: self.network.clone() }))
    }
}

fn endpoints(console: Console, second: Option<Console>) -> Endpoints {
    let second = second.map(|console| Box::new(console) as Box<dyn std::io::Write + Send>);
    Endpoints { second, ..Endpoints::serial(console) }
}

impl RealMachines {
    /// Without a network, machines have no adapters.
    pub fn new(
        image: Box<ImageMaker>,
        firmware: Box<FirmwareOpener>,
        network: Option<Arc<Network>>,
        limits: Option<Arc<Limits>>,
    ) -> Self {
        Self { image, firmware, network, limits, opened: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What a configuration comes to, on this engine.
    pub fn spec(&self, config: &Config, engine: Chosen) -> Result<Spec, String> {
        spec(config, &self.opened(config, engine)?, &DiskLocks::default())
    }

    fn opened(&self, config: &Config, engine: Chosen) -> Result<Opened, String> {
        let (boot, folders) = (self.boot(config)?, Vec::new());
        Ok(Opened { engine, boot, folders, host_memory: super::memory::host().total })
    }

    /// Each with a process that serves it.
    fn folders(&self, config: &Config) -> Result<Vec<FolderSpec>, String> {
        let start = |share: &Share| {
            let home = self.network.as_ref().map_or_else(Default::default, |network| network.home());
            share.check(&home)?;
            let folder = Arc::new(Linked::start(share, &home)?);
            Ok(FolderSpec { tag: share.name.clone(), folder })
        };
        config.shares.iter().map(start).collect()
    }

    fn boot(&self, config: &Config) -> Result<Boot, String> {
        if config.boot.start_with == StartWith::Firmware {
            let firmware = (self.firmware)(config)?;
            let Some(installer) = &config.boot.installer else { return Ok(Boot::Firmware(firmware)) };
            let open = |path: &Path, what| Source::from(path).open(what).map_err(|error| error.to_string());
            let kernel = open(&installer.kernel, "installer's kernel")?;
            return Ok(Boot::Installer { firmware, kernel, initrd: open(&installer.initrd, "installer")? });
        }
        let Some(kernel) = &config.boot.kernel else {
            return Ok(Boot::Image((self.image)(config)?));
        };
        let text = |error: MachineError| error.to_string();
        let kernel = Source::from(kernel.as_path()).open("kernel").map_err(text)?;
        let initrd = config.boot.initrd.as_deref().map(|path| Source::from(path).open("initrd"));
        let firmware = kernel.needs_bios().map_err(text)?.then(|| self.bios(config, &kernel));
        let modules = config.boot.modules.iter().map(open_module);
        Ok(Boot::Kernel {
            kernel,
            initrd: initrd.transpose().map_err(text)?,
            modules: modules.collect::<Result<_, _>>().map_err(text)?,
            firmware: firmware.transpose()?,
        })
    }

    /// For a kernel that starts in real mode.
    fn bios(&self, config: &Config, kernel: &Source) -> Result<Firmware, String> {
        if config.generation != 1 {
            return Err(format!(
                "The kernel `{}` starts in real mode with a BIOS, which virtual machines of generation 1 have; make one with -Generation 1.",
                kernel.name()
            ));
        }
        (self.firmware)(config)
    }
}

fn open_module(module: &Module) -> Result<ModuleSpec, MachineError> {
    let source = Source::from(module.path.as_path()).open("module")?;
    Ok(ModuleSpec { source, command_line: module.command_line.clone() })
}

pub fn rates(disk: &Disk) -> Rates {
    Rates { bytes: disk.maximum_bytes_per_second, operations: disk.maximum_iops }
}

/// Disks, then DVD drives, with their files.
fn drives(config: &Config, files: &DiskLocks) -> Vec<DiskSpec> {
    let disks = config.disks.iter().map(|one| disk(one, files.of(one.place)));
    disks.chain(config.dvds.iter().map(|one| dvd(one, files.of(one.place)))).collect()
}

fn disk(disk: &Disk, files: Option<Arc<DiskFiles>>) -> DiskSpec {
    let throttle = Arc::new(Throttle::new(rates(disk)));
    let (format, behind) = (disk.format, disk.behind.iter().cloned().map(Into::into).collect());
    let (spec, error_policy) = (DiskSpec::new(&disk.path, disk.read_only), disk.error_policy);
    seated(disk.place, DiskSpec { throttle, format, behind, error_policy, files, ..spec })
}

fn dvd(dvd: &Dvd, files: Option<Arc<DiskFiles>>) -> DiskSpec {
    let path = dvd.path.clone().unwrap_or_default();
    seated(dvd.place, DiskSpec { empty: dvd.path.is_none(), files, ..DiskSpec::cd(path) })
}

fn seated(place: DriveAddress, spec: DiskSpec) -> DiskSpec {
    let drive =
        (place.controller == ControllerType::Ide).then_some((place.number * 2 + place.location) as usize);
    DiskSpec { drive, bus: bus(place.controller, spec.cd), serial: place.serial(), ..spec }
}

fn bus(controller: ControllerType, cd: bool) -> DiskBus {
    match controller {
        ControllerType::Ide => DiskBus::Ide,
        ControllerType::Scsi if cd => DiskBus::Scsi,
        ControllerType::Scsi => DiskBus::Virtio,
        ControllerType::Sata => DiskBus::Sata,
        ControllerType::Nvme => DiskBus::Nvme,
    }
}

/// What firmware tries, by the numbers that [`drives`] and the adapters have. An adapter on the Default Switch, whose router has
/// nothing to start, only if somebody has put it there: firmware would wait for it for minutes.
fn boot_order(config: &Config) -> Vec<BootDevice> {
    let named = |id| config.boot.order.contains(&BootEntry::Network(id));
    let device = |entry| match entry {
        BootEntry::Drive(place) => {
            let empty = |dvd: &Dvd| dvd.place == place && dvd.path.is_none();
            let number = config.places().position(|own| own == place)?;
            (!config.dvds.iter().any(empty)).then_some(BootDevice::Disk(number))
        }
        BootEntry::Network(id) => {
            let may = |adapter: &Adapter| adapter.switch != Some(DEFAULT) || named(id);
            let own = config.adapters.iter().position(|adapter| adapter.id == id && may(adapter));
            own.map(BootDevice::Nic)
        }
    };
    rules::drives::boot_order(config).into_iter().filter_map(device).collect()
}

/// The processor's model: what nearly every machine has, where the VM is to move between machines.
fn model(processor: &crate::store::Processor) -> &str {
    const EVERYWHERE: &str = "x86-64-v2";
    let open = matches!(processor.model.as_str(), "auto" | "amd" | "host");
    if processor.compatibility_for_migration && open { EVERYWHERE } else { &processor.model }
}

fn spec(config: &Config, opened: &Opened, files: &DiskLocks) -> Result<Spec, String> {
    let mut spec = boot(config, &opened.boot)?;
    spec.display = display(config.display, spec.firmware.is_some());
    spec.memory = config.memory.startup;
    spec.most_memory = Some(rules::memory::most(&config.memory, opened.host_memory));
    spec.vcpus = config.processor.count;
    spec.engine = config.engine.parse().map_err(|e: ireko_machine::MachineError| e.to_string())?;
    spec.cpu = ireko_machine::cpu_model(model(&config.processor)).map_err(|e| e.to_string())?;
    spec.nested = config.processor.expose_virtualization_extensions;
    spec.disks = drives(config, files);
    spec.folders = opened.folders.clone();
    spec.processor_maximum = config.processor.maximum;
    spec.hot_plug = true;
    (spec.vsock, spec.guest_agent, spec.watchdog) = (true, true, true);
    spec.second_serial = config.com_ports[1].is_some();
    spec.boot_order = boot_order(config);
    spec.smbios = Smbios { uuid: config.id.0, serial: config.id.to_string(), ..Smbios::default() };
    spec.on_thread = ireko_jail::thread::confining();
    Ok(spec)
}

fn boot(config: &Config, boot: &Boot) -> Result<Spec, String> {
    let given = &config.boot.command_line;
    match boot {
        Boot::Image(image) => {
            let image = image()?;
            let mut spec = Spec::new(image.kernel);
            spec.initrd = Some(image.initrd);
            spec.command_line = format!("{} {given}", image.command_line).trim().to_owned();
            Ok(spec)
        }
        Boot::Firmware(firmware) => Ok(Spec::with_firmware(firmware.clone())),
        Boot::Installer { firmware, kernel, initrd } => {
            // Once it is done, the configuration has none any more.
            let Some(installer) = &config.boot.installer else {
                return Ok(Spec::with_firmware(firmware.clone()));
            };
            let mut spec = Spec::new(kernel.clone());
            spec.firmware = Some(firmware.clone());
            spec.initrd = Some(initrd.clone());
            spec.command_line = installer.command_line.clone();
            Ok(spec)
        }
        Boot::Kernel { kernel, initrd, modules, firmware } => {
            let mut spec = Spec::new(kernel.clone());
            spec.firmware = firmware.clone();
            spec.initrd = initrd.clone();
            spec.modules = modules.clone();
            let protocol = config.boot.protocol.as_deref().map(str::parse).transpose();
            spec.protocol = protocol.map_err(|e: MachineError| e.to_string())?;
            spec.command_line = given.clone();
            Ok(spec)
        }
    }
}

fn display(adapter: DisplayAdapter, firmware: bool) -> Option<ireko_machine::Display> {
    match adapter {
        DisplayAdapter::Auto => firmware.then_some(ireko_machine::Display::Vga),
        DisplayAdapter::None => None,
        DisplayAdapter::Vga => Some(ireko_machine::Display::Vga),
        DisplayAdapter::Virtio => Some(ireko_machine::Display::Virtio),
    }
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
struct RealMachine {
    vm: Vm,
    network: Option<Arc<Network>>,
}

impl Machine for RealMachine {
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
    fn second_input(&self, bytes: &[u8]) {
        self.second_serial_input(bytes);
    }
    fn limit_disk(&self, serial: &str, rates: Rates) {
        Handle::limit_disk(self, serial, rates);
    }
    fn limit_processors(&self, percent: u32) {
        Handle::limit_processors(self, percent);
    }
    fn change_medium(&self, one: &Dvd, files: Option<Arc<DiskFiles>>) -> Result<(), String> {
        Handle::change_medium(self, &dvd(one, files)).map_err(|e| e.to_string())
    }
    fn add_disk(&self, one: &Disk, files: Arc<DiskFiles>) -> Result<(), String> {
        Handle::plug_disk(self, &disk(one, Some(files))).map_err(|e| e.to_string())
    }
    fn remove_disk(&self, place: DriveAddress, patience: Duration) -> Result<bool, String> {
        Handle::unplug_disk(self, &place.serial(), patience).map_err(|e| e.to_string())
    }
    fn vsock(&self) -> Option<VsockHost> {
        Handle::vsock(self).cloned()
    }
    fn guest_agent(&self) -> Option<ChannelHost> {
        Handle::guest_agent(self).cloned()
    }
    fn screen(&self) -> Option<Shown> {
        let screen = Handle::screen(self)?;
        let (picture, text) = (screen.picture(), screen.text());
        Some(Shown {
            width: picture.width as u32,
            height: picture.height as u32,
            pixels: picture.pixels,
            text,
        })
    }
    fn keys(&self, events: &[KeyEvent]) -> Result<(), String> {
        Handle::key_events(self, events).ok_or(NO_DISPLAY)?.map_err(|Full| {
            "Its system does not take what was typed before; wait until it does, or type less.".into()
        })
    }
    fn pointer(&self, motion: Motion, position: Position) {
        Handle::pointer(self, motion, position);
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

#[cfg(test)]
mod tests {
    use super::model;
    use crate::store::Processor;

    fn chosen(own: &str, migration: bool) -> String {
        let processor =
            Processor { model: own.into(), compatibility_for_migration: migration, ..Processor::default() };
        let name = model(&processor);
        ireko_machine::cpu_model(name).expect("a model that there is");
        name.to_owned()
    }

    /// Where no model was chosen; one that was chosen is the user's.
    #[test]
    fn compatibility_for_migration_chooses_the_baseline() {
        let of = |migration| ["auto", "amd", "host", "EPYC"].map(|own| chosen(own, migration));
        assert_eq!(of(true), ["x86-64-v2", "x86-64-v2", "x86-64-v2", "EPYC"]);
        assert_eq!(of(false), ["auto", "amd", "host", "EPYC"]);
    }
}
