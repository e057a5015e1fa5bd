//! What a VM is made from.

use crate::MachineError;
use crate::disk::{DiskFiles, Layer};
use crate::image::{Protocol, gzip, real_mode};
use crate::layers::Unfit;
use crate::layout::Layout;
use ireko_storage::Format;
use ireko_vmcore::folder::Folder;
use ireko_vmcore::{Changes, CpuModel, ErrorPolicy, OnThread, Port, Throttle};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

pub const MIB: u64 = 1 << 20;
pub const DEFAULT_MEMORY: u64 = 512 * MIB;

/// Where bytes come from: a file that the user named, the same opened already, or bytes that we made.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    Open { name: String, file: Arc<File> },
    Bytes { name: String, data: Arc<Vec<u8>> },
}

impl Source {
    /// As the user knows it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Open { name, .. } | Self::Bytes { name, .. } => name.clone(),
        }
    }

    /// The same, to be read again and again without its name. `what` it is ("kernel", "initrd") is for the error.
    pub fn open(self, what: &'static str) -> Result<Self, MachineError> {
        match self {
            Self::File(path) => {
                let name = path.display().to_string();
                let file =
                    crate::disk::open_file(&path, true).map_err(|error| unreadable(what, &name, error))?;
                Ok(Self::Open { name, file: Arc::new(file) })
            }
            other => Ok(other),
        }
    }

    /// As `open`; what can be read only once, like a pipe, is read now.
    fn resolve(self, what: &'static str, memory: u64) -> Result<Self, MachineError> {
        match &self {
            Self::File(path) if path.metadata().is_ok_and(|meta| !meta.is_file()) => {
                Ok(Self::Bytes { name: self.name(), data: self.read(what, memory)? })
            }
            _ => self.open(what),
        }
    }

    /// Whether it is a kernel that only a BIOS can start. Looks at its first bytes only.
    pub fn needs_bios(&self) -> Result<bool, MachineError> {
        const HEAD: u64 = 64 << 10;
        let failed = |error| unreadable("kernel", &self.name(), error);
        let head = match self {
            Self::Bytes { data, .. } => data.iter().copied().take(HEAD as usize).collect(),
            Self::Open { file, .. } => read_at_most(file, HEAD).map_err(failed)?,
            Self::File(path) => {
                File::open(path).and_then(|file| read_at_most(&file, HEAD)).map_err(failed)?
            }
        };
        Ok(real_mode::is(&gzip::head(&head).unwrap_or(head)))
    }

    /// All bytes, of which there may be `memory` at most. `what` it is ("kernel", "initrd") is for the error.
    pub fn read(&self, what: &'static str, memory: u64) -> Result<Arc<Vec<u8>>, MachineError> {
        let failed = |error| unreadable(what, &self.name(), error);
        // One byte more tells a file that ends there from one that goes on (as /dev/zero does).
        let data = match self {
            Self::Bytes { data, .. } => data.clone(),
            Self::Open { file, .. } => read_at_most(file, memory + 1).map(Arc::new).map_err(failed)?,
            Self::File(path) => File::open(path)
                .and_then(|file| read_at_most(&file, memory + 1))
                .map(Arc::new)
                .map_err(failed)?,
        };
        if data.len() as u64 > memory {
            return Err(MachineError::FileTooLarge { what, name: self.name(), memory_mib: memory / MIB });
        }
        Ok(data)
    }
}

fn unreadable(what: &'static str, name: &str, why: std::io::Error) -> MachineError {
    let name = name.to_owned();
    match why.kind() {
        std::io::ErrorKind::NotFound => MachineError::Missing { what, name },
        _ => MachineError::Unreadable { what, name, why },
    }
}

/// From its start, wherever another reader of the same descriptor is.
fn read_at_most(file: &File, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    At { file, offset: 0 }.take(limit).read_to_end(&mut data)?;
    Ok(data)
}

struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, data: &mut [u8]) -> std::io::Result<usize> {
        // What has no positions (a pipe) is read as it comes.
        let count = match self.file.read_at(data, self.offset) {
            Err(error) if error.raw_os_error() == Some(libc::ESPIPE) => (&*self.file).read(data)?,
            other => other?,
        };
        self.offset += count as u64;
        Ok(count)
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}

/// A file that a kernel gets beside an initrd, with a command line of its own.
#[derive(Clone, Debug)]
pub struct ModuleSpec {
    pub source: Source,
    pub command_line: String,
}

impl ModuleSpec {
    /// As users write it: a file, and behind a blank its command line. A file's name may hold blanks: the first one behind a
    /// file that is there counts.
    pub fn parse(text: &str) -> Self {
        let mut blanks = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]);
        let first = text.find(' ').unwrap_or(text.len());
        let end = blanks.find(|at| Path::new(&text[..*at]).is_file()).unwrap_or(first);
        let (file, command_line) = text.split_at(end);
        Self { source: Path::new(file).into(), command_line: command_line.trim().into() }
    }
}

/// The controller that a disk is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskBus {
    #[default]
    Virtio,
    /// AHCI, as the ICH9 has it.
    Sata,
    /// As the PIIX3 has it.
    Ide,
    /// A controller for each disk.
    Nvme,
    /// virtio-scsi.
    Scsi,
}

impl FromStr for DiskBus {
    type Err = MachineError;
    fn from_str(text: &str) -> Result<Self, MachineError> {
        match text {
            "virtio" => Ok(Self::Virtio),
            "sata" => Ok(Self::Sata),
            "ide" => Ok(Self::Ide),
            "nvme" => Ok(Self::Nvme),
            "scsi" => Ok(Self::Scsi),
            _ => Err(MachineError::UnknownBus(text.into())),
        }
    }
}

/// A disk, by the image that it is in.
#[derive(Clone, Debug)]
pub struct DiskSpec {
    pub path: PathBuf,
    /// Said by whoever brings the image, and never found out again: a guest may have written to it.
    pub format: Format,
    /// Images behind it, the nearest first.
    pub behind: Vec<Layer>,
    pub read_only: bool,
    pub bus: DiskBus,
    /// Which of IDE's four drives it is; otherwise the next free one.
    pub drive: Option<usize>,
    /// A CD in its drive.
    pub cd: bool,
    /// A drive without a CD, and without a file.
    pub empty: bool,
    /// What tells it from the machine's others, and what the guest is told; empty, it is made of its number.
    pub serial: String,
    pub throttle: Arc<Throttle>,
    pub error_policy: ErrorPolicy,
    /// Its files, if they are open already.
    pub files: Option<Arc<DiskFiles>>,
}

impl DiskSpec {
    pub fn new(path: impl Into<PathBuf>, read_only: bool) -> Self {
        let (path, throttle) = (path.into(), Arc::default());
        let (bus, serial) = (DiskBus::default(), String::new());
        let (format, behind) = (Format::Raw, Vec::new());
        let (drive, cd, empty, files) = (None, false, false, None);
        let error_policy = ErrorPolicy::default();
        Self { path, format, behind, read_only, bus, drive, cd, empty, serial, throttle, error_policy, files }
    }

    /// A CD in a SATA drive.
    pub fn cd(path: impl Into<PathBuf>) -> Self {
        Self { bus: DiskBus::Sata, cd: true, ..Self::new(path, true) }
    }

    /// As users write it: a file, and behind it `,bus=NAME` for the controller, `,format=NAME` for what it is,
    /// `,error-policy=NAME` for what is done about its errors, `,read-only=on` for a disk that the guest cannot write, and
    /// `,backing=FILE` for each image behind it. Without a format its content and its name tell, if they agree.
    pub fn parse(text: &str) -> Result<Self, MachineError> {
        let (mut path, mut format, mut parents) = (text, None, Vec::new());
        let (mut bus, mut error_policy) = (DiskBus::default(), ErrorPolicy::default());
        let mut read_only = false;
        while let Some((before, (word, value))) = last_option(path) {
            match word {
                "bus" => bus = value.parse()?,
                "error-policy" => error_policy = value.parse().map_err(MachineError::UnknownErrorPolicy)?,
                "read-only" => read_only = on_or_off(value)?,
                "format" => format = Some(value.parse().map_err(MachineError::UnknownFormat)?),
                _ => parents.insert(0, PathBuf::from(value)),
            }
            path = before;
        }
        let spec = Self { bus, error_policy, ..Self::new(path, read_only) };
        match crate::layers::find(&spec.path, format, &parents) {
            // Whoever opens it says so.
            Err((_, Unfit::Missing(_) | Unfit::Directory | Unfit::NoFile)) if parents.is_empty() => Ok(spec),
            Err((path, why)) => Err(unfit(&path, &why)),
            Ok(found) if format.is_none() && !found.is_named_so() => Err(MachineError::DiskFormat {
                name: spec.path.display().to_string(),
                found: found.facts.format,
            }),
            Ok(found) => Ok(Self { format: found.facts.format, behind: found.behind, ..spec }),
        }
    }

    /// The same of a CD, whose drive is behind `usual` if nothing is said.
    pub fn parse_cd(text: &str, usual: DiskBus) -> Result<Self, MachineError> {
        let (path, bus) = match text.rsplit_once(",bus=") {
            Some((path, bus)) => (path, bus.parse()?),
            None => (text, usual),
        };
        let none = |bus| Err(MachineError::NoDrivesBehind { disc: path.into(), bus });
        match bus {
            DiskBus::Ide | DiskBus::Sata | DiskBus::Scsi => Ok(Self { bus, ..Self::cd(path) }),
            DiskBus::Virtio => none("virtio"),
            DiskBus::Nvme => none("nvme"),
        }
    }

    /// The same, to be used again and again without its name, and locked for as long.
    pub fn open(self) -> Result<Self, MachineError> {
        if self.empty {
            return Ok(self);
        }
        let files = crate::disk::open(&self)?;
        let name = |number: usize| self.layers()[number].path.display().to_string();
        files.lock().map_err(|(number, user)| MachineError::DiskInUse { name: name(number), user })?;
        Ok(Self { files: Some(files), ..self })
    }

    /// The image and those behind it.
    pub fn layers(&self) -> Vec<Layer> {
        let own = Layer { path: self.path.clone(), format: self.format };
        [own].into_iter().chain(self.behind.iter().cloned()).collect()
    }
}

/// The last option behind a file's name, which may hold commas itself.
fn last_option(text: &str) -> Option<(&str, (&str, &str))> {
    let (before, option) = text.rsplit_once(',')?;
    let (word, value) = option.split_once('=')?;
    matches!(word, "bus" | "format" | "backing" | "error-policy" | "read-only")
        .then_some((before, (word, value)))
}

fn on_or_off(value: &str) -> Result<bool, MachineError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(MachineError::ReadOnly(value.into())),
    }
}

fn unfit(path: &Path, why: &Unfit) -> MachineError {
    let why = match why {
        Unfit::Unlinked(_) => format!("{why}; say where it is: `,backing=FILE`"),
        Unfit::Unnamed(name) => format!("{why}; if you trust it, say so: `,backing={name}`"),
        why => why.to_string(),
    };
    MachineError::Disk { name: path.display().to_string(), why }
}

/// What a machine shows pictures on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Display {
    /// A VGA with a framebuffer.
    #[default]
    Vga,
    /// The same, until a driver of virtio's GPU takes it.
    Virtio,
}

/// Something that firmware can load from, by its number in the machine's [`Spec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    Disk(usize),
    Nic(usize),
}

/// A network adapter.
#[derive(Clone, Debug)]
pub struct NicSpec {
    pub mac: [u8; 6],
    pub port: Arc<dyn Port>,
}

/// A folder of the host's, which the guest mounts by its tag.
#[derive(Clone, Debug)]
pub struct FolderSpec {
    pub tag: String,
    pub folder: Arc<dyn Folder>,
}

/// Which engine executes the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// KVM if it proves usable and can do what is asked, otherwise the software CPU.
    #[default]
    Auto,
    Soft,
    Kvm,
}

impl FromStr for EngineChoice {
    type Err = MachineError;
    fn from_str(text: &str) -> Result<Self, MachineError> {
        match text {
            "auto" => Ok(Self::Auto),
            "soft" => Ok(Self::Soft),
            "kvm" => Ok(Self::Kvm),
            _ => Err(MachineError::UnknownEngine(text.into())),
        }
    }
}

/// A CPU model by its name, and behind it features that it is to have or not to have (`EPYC,+la57,-rdtscp`); `None` leaves it
/// to the engine.
pub fn cpu_model(text: &str) -> Result<Option<CpuModel>, MachineError> {
    let Some((name, changes)) = text.split_once(',') else { return model_by_name(text) };
    let named = match model_by_name(name)? {
        Some(CpuModel::Named(named)) => Some(named),
        _ => None,
    };
    Ok(Some(CpuModel::Changed(named, cpu_changes(changes)?)))
}

fn cpu_changes(text: &str) -> Result<Changes, MachineError> {
    let mut changes = Changes::default();
    for change in text.split(',') {
        let none = || MachineError::NoChange(change.into());
        let (sign, name) =
            change.split_at_checked(1).filter(|(_, name)| !name.is_empty()).ok_or_else(none)?;
        let list = match sign {
            "+" => &mut changes.more,
            "-" => &mut changes.less,
            _ => return Err(none()),
        };
        let unknown = || MachineError::UnknownFeature(name.into());
        let feature = ireko_cpu::cpuid::features::named(name).ok_or_else(unknown)?;
        if feature == ireko_x86::cpuid::SVM {
            return Err(MachineError::ChangedNesting(change.into()));
        }
        list.push(feature);
    }
    Ok(changes)
}

fn model_by_name(text: &str) -> Result<Option<CpuModel>, MachineError> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(None),
        "amd" => Ok(Some(CpuModel::Amd)),
        "host" => Ok(Some(CpuModel::Host)),
        _ => match ireko_x86::models::named(text) {
            Some(named) => Ok(Some(CpuModel::Named(named))),
            None => Err(MachineError::UnknownCpu(text.into())),
        },
    }
}

/// Bytes from text as users write it: `1073741824`, `512M`, `1.5G`, `2GiB`.
pub fn parse_memory(text: &str) -> Result<u64, MachineError> {
    let wrong = || MachineError::MemoryText(text.into());
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * scale as f64;
    if bytes.is_finite() && bytes < 1e18 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// What the guest's DMI says (SMBIOS types 0 and 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smbios {
    pub bios_vendor: String,
    pub bios_version: String,
    pub manufacturer: String,
    pub product: String,
    pub version: String,
    pub serial: String,
    pub uuid: [u8; 16],
}

impl Default for Smbios {
    fn default() -> Self {
        Self {
            bios_vendor: "Ireko".into(),
            bios_version: env!("CARGO_PKG_VERSION").into(),
            manufacturer: "Ireko".into(),
            product: "Ireko VM".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            serial: "0".into(),
            uuid: [0; 16],
        }
    }
}

impl Smbios {
    /// For a VM at nesting level `level` (1 is the host's own VM).
    pub fn level(level: u32) -> Self {
        Self { product: format!("Ireko VM level {level}"), ..Self::default() }
    }
}

/// What starts the processors, if no kernel is started directly.
#[derive(Clone, Debug)]
pub enum Firmware {
    /// SeaBIOS, on a generation 1 machine, with what it runs for devices that it does not know: without `video` a display stays dark until
    /// a system drives it, without `network` nothing starts from a network adapter.
    Bios { image: Source, video: Option<Source>, network: Option<Source> },
    /// OVMF, on a generation 2 machine, with the flash memory that holds its variables: what is there is used, what the guest
    /// writes is written there; with secure boot from system-management mode alone, which its build must have.
    Uefi { code: Source, variables: Variables, secure_boot: bool },
}

/// A file of UEFI's variables.
#[derive(Clone, Debug)]
pub struct Variables {
    /// As the user knows it.
    pub name: String,
    pub file: Arc<File>,
}

/// One VM.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Bytes, a multiple of 2 MiB.
    pub memory: u64,
    /// Where it is given: memory can be taken back and given again while the VM runs, up to so many bytes in all.
    pub most_memory: Option<u64>,
    pub vcpus: u32,
    /// Started directly: the fast path, without firmware; with firmware, it starts the kernel.
    pub kernel: Option<Source>,
    pub firmware: Option<Firmware>,
    /// By which the kernel is started, if it can be by several.
    pub protocol: Option<Protocol>,
    /// For kernels that know modules: the first.
    pub initrd: Option<Source>,
    /// More of them.
    pub modules: Vec<ModuleSpec>,
    pub command_line: String,
    pub disks: Vec<DiskSpec>,
    /// What each vCPU takes of a processor of the host at most, in percent.
    pub processor_maximum: u32,
    /// Disks that have slots of their own may come and go while the machine runs.
    pub hot_plug: bool,
    /// What firmware tries, in that order; empty, it is the disks as they come.
    pub boot_order: Vec<BootDevice>,
    pub nics: Vec<NicSpec>,
    pub folders: Vec<FolderSpec>,
    pub engine: EngineChoice,
    /// Give the guest virtualization extensions.
    pub nested: bool,
    /// `None`: the engine's own choice (AMD for soft, the host's processor for KVM).
    pub cpu: Option<CpuModel>,
    /// What bare-metal test kernels expect: isa-debug-exit, pc-testdev, fw_cfg.
    pub test_devices: bool,
    /// A display, keyboard, mouse and tablet.
    pub display: Option<Display>,
    /// COM2 beside COM1.
    pub second_serial: bool,
    /// A virtio console beside the serial one.
    pub virtio_console: bool,
    /// A socket device, for streams between the guest and its host.
    pub vsock: bool,
    /// A channel to QEMU's guest agent.
    pub guest_agent: bool,
    /// A watchdog timer.
    pub watchdog: bool,
    pub smbios: Smbios,
    /// Engine debugging options, `name=value`.
    pub options: Vec<String>,
    /// What each of its threads does first.
    pub on_thread: OnThread,
}

impl Spec {
    pub fn new(kernel: impl Into<Source>) -> Self {
        Self { kernel: Some(kernel.into()), ..Self::without_kernel() }
    }

    /// Whether firmware is to start what is signed only.
    pub fn secure_boot(&self) -> bool {
        matches!(self.firmware, Some(Firmware::Uefi { secure_boot: true, .. }))
    }

    /// Starts with firmware, which loads from a disk.
    pub fn with_firmware(firmware: Firmware) -> Self {
        Self { firmware: Some(firmware), ..Self::without_kernel() }
    }

    /// With its files open, and what can be read only once read: it does for every start after a reset, too.
    pub fn resolved(self) -> Result<Self, MachineError> {
        // A file that is larger than no memory would be blamed for that.
        Layout::new(self.memory)?;
        let resolve = |source: Option<Source>, what| source.map(|s| s.resolve(what, self.memory)).transpose();
        let (kernel, initrd) = (resolve(self.kernel, "kernel")?, resolve(self.initrd, "initrd")?);
        let module = |module: ModuleSpec| {
            Ok(ModuleSpec { source: module.source.resolve("module", self.memory)?, ..module })
        };
        let modules = self.modules.into_iter().map(module).collect::<Result<_, MachineError>>()?;
        let disks = self.disks.into_iter().map(DiskSpec::open).collect::<Result<_, _>>()?;
        Ok(Self { kernel, initrd, modules, disks, ..self })
    }

    fn without_kernel() -> Self {
        Self {
            memory: DEFAULT_MEMORY,
            most_memory: None,
            vcpus: 1,
            kernel: None,
            firmware: None,
            protocol: None,
            initrd: None,
            modules: Vec::new(),
            command_line: String::new(),
            disks: Vec::new(),
            processor_maximum: crate::quota::ALL,
            hot_plug: false,
            boot_order: Vec::new(),
            nics: Vec::new(),
            folders: Vec::new(),
            engine: EngineChoice::Auto,
            nested: false,
            cpu: None,
            test_devices: false,
            display: None,
            second_serial: false,
            virtio_console: false,
            vsock: false,
            guest_agent: false,
            watchdog: false,
            smbios: Smbios::default(),
            options: Vec::new(),
            on_thread: OnThread::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_with_and_without_unit() {
        let read = |text| parse_memory(text).unwrap();
        assert_eq!(read("1073741824"), 1 << 30);
        assert_eq!(read("512M"), 512 << 20);
        assert_eq!(read("1.5G"), 3 << 29);
        assert_eq!(read("2GiB"), 2 << 30);
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        for text in ["", "G", "12X", "-1M", "1..2G", "99999999999999999999", "99999999999T", "1.5.G"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_kernel_that_needs_a_bios_is_known_by_its_head_also_in_gzip() {
        let source = |data| Source::Bytes { name: "k".into(), data: Arc::new(data) };
        let kernel = [real_mode::sample(), vec![7; 1 << 20]].concat();
        assert!(source(gzip::pack(&kernel)).needs_bios().unwrap() && source(kernel).needs_bios().unwrap());
        assert!(!source(b"text".to_vec()).needs_bios().unwrap());
    }

    #[test]
    fn a_modules_command_line_is_behind_its_file() {
        let module = ModuleSpec::parse("dir/vmlinuz root=/dev/sda1  ro");
        assert_eq!(
            (module.source.name().as_str(), module.command_line.as_str()),
            ("dir/vmlinuz", "root=/dev/sda1  ro")
        );
        assert_eq!(ModuleSpec::parse("initrd").command_line, "");
    }

    #[test]
    fn an_unknown_engine_is_named() {
        assert!("xen".parse::<EngineChoice>().unwrap_err().to_string().contains("`xen`"));
    }

    #[test]
    fn a_disks_controller_is_behind_its_file() {
        let disk = DiskSpec::parse("a,b.img,bus=sata").unwrap();
        assert_eq!((disk.path.as_path(), disk.bus), (Path::new("a,b.img"), DiskBus::Sata));
        assert_eq!(DiskSpec::parse("a,b.img").unwrap().bus, DiskBus::Virtio);
    }

    #[test]
    fn a_disk_is_read_only_if_it_is_said() {
        let read_only = |text| DiskSpec::parse(text).map(|disk| disk.read_only);
        assert!(read_only("a,b.img,read-only=on").unwrap());
        assert!(!read_only("a,b.img,read-only=off").unwrap() && !read_only("a,b.img").unwrap());
        assert!(read_only("a.img,read-only=yes").unwrap_err().to_string().contains("`yes`"));
    }

    #[test]
    fn an_unknown_controller_is_named() {
        assert!(DiskSpec::parse("a.img,bus=floppy").unwrap_err().to_string().contains("`floppy`"));
    }

    #[test]
    fn an_unknown_cpu_is_named() {
        assert!(cpu_model("z80").unwrap_err().to_string().contains("`z80`"));
    }

    #[test]
    fn a_processor_may_have_features_more_and_less() {
        let Some(CpuModel::Changed(None, changes)) = cpu_model("amd,+la57,-sse4.1,-RDTSCP").unwrap() else {
            panic!("no changes")
        };
        let names =
            |features: &[ireko_x86::cpuid::Feature]| features.iter().map(|f| f.name).collect::<Vec<_>>();
        assert_eq!((names(&changes.more), names(&changes.less)), (vec!["LA57"], vec!["SSE4_1", "RDTSCP"]));
    }

    #[test]
    fn an_unknown_feature_is_named() {
        let error = cpu_model("amd,+la57,+warp").unwrap_err().to_string();
        assert!(error.contains("no feature `warp`"), "{error}");
    }

    #[test]
    fn what_is_no_change_of_a_processor_is_named() {
        for wrong in ["amd,la57", "amd,", "amd,+la57,", "amd,+"] {
            let named = wrong.rsplit(',').next().unwrap();
            let error = cpu_model(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("`{named}` is no change")), "{error}");
        }
    }

    #[test]
    fn nesting_is_not_a_change_of_the_processor() {
        for wrong in ["amd,+svm", "EPYC,-svm"] {
            assert!(matches!(cpu_model(wrong), Err(MachineError::ChangedNesting(_))), "{wrong}");
        }
    }

    #[test]
    fn the_case_of_a_processors_name_does_not_matter() {
        assert!(matches!(cpu_model("AMD"), Ok(Some(CpuModel::Amd))));
        assert!(matches!(cpu_model("epyc"), Ok(Some(CpuModel::Named(_)))));
    }

    #[test]
    fn a_missing_kernel_is_named() {
        let error = Source::File("/no/such/kernel".into()).read("kernel", MIB).unwrap_err();
        assert_eq!(error.to_string(), "the kernel `/no/such/kernel` does not exist; check the path");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = Source::File("/dev/zero".into()).read("initrd", MIB).unwrap_err();
        assert!(matches!(error, MachineError::FileTooLarge { memory_mib: 1, .. }));
    }

    #[test]
    fn blanks_between_a_module_and_its_command_line_are_of_neither() {
        let module = ModuleSpec::parse("m2  spaced  out ");
        assert_eq!((module.source.name().as_str(), module.command_line.as_str()), ("m2", "spaced  out"));
    }

    #[test]
    fn a_modules_name_may_hold_blanks_where_it_is_there() {
        let path = std::env::temp_dir().join(format!("ireko module {}", std::process::id()));
        std::fs::write(&path, "m").unwrap();
        let module = ModuleSpec::parse(&format!("{} a b", path.display()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!((module.source.name(), module.command_line.as_str()), (path.display().to_string(), "a b"));
    }
}
