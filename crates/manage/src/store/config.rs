//! What a VM is: its configuration file.

use super::StoreError;
use super::layer::{self, Layer};
use crate::folder::Share;
use crate::guid::Guid;
use ireko_machine::{ErrorPolicy, Format};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub const FILE: &str = "config.json";
/// The layout of the file. Older ones are read as they are; newer ones are refused.
pub const SCHEMA: u32 = 1;

pub const MIB: u64 = 1 << 20;

/// The VM configuration version, which says what a VM may use (reference: 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConfigVersion(pub u16, pub u16);

impl ConfigVersion {
    pub const NEWEST: Self = Self(12, 0);
    /// All that this host runs.
    pub const SUPPORTED: &[Self] =
        &[Self(8, 0), Self(9, 0), Self(9, 1), Self(9, 2), Self(9, 3), Self(10, 0), Self(11, 0), Self(12, 0)];
}

impl fmt::Display for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for ConfigVersion {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{}` is no configuration version; write for example 12.0", text.escape_debug());
        let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self(major.parse().map_err(|_| wrong())?, minor.parse().map_err(|_| wrong())?))
    }
}

impl TryFrom<String> for ConfigVersion {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ConfigVersion> for String {
    fn from(version: ConfigVersion) -> Self {
        version.to_string()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub schema: u32,
    pub version: ConfigVersion,
    pub id: Guid,
    pub name: String,
    #[serde(default)]
    pub notes: String,
    /// Seconds since 1970.
    pub created: u64,
    pub generation: u8,
    /// `auto`, `soft` or `kvm`.
    pub engine: String,
    pub processor: Processor,
    pub memory: Memory,
    pub boot: Boot,
    #[serde(default)]
    pub disks: Vec<Disk>,
    #[serde(default)]
    pub dvds: Vec<Dvd>,
    #[serde(default)]
    pub adapters: Vec<Adapter>,
    /// Folders of the host's.
    #[serde(default)]
    pub shares: Vec<Share>,
    #[serde(default)]
    pub metering: bool,
    #[serde(default)]
    pub automatic_start: AutomaticStart,
    /// Seconds.
    #[serde(default)]
    pub automatic_start_delay: u32,
    #[serde(default)]
    pub automatic_stop: AutomaticStop,
    #[serde(default)]
    pub automatic_crash: AutomaticCrash,
    #[serde(default)]
    pub checkpoint_type: CheckpointType,
    /// Sockets of COM 1 and COM 2. COM 2 is there if it has one.
    #[serde(default)]
    pub com_ports: [Option<PathBuf>; 2],
    /// Where viewers of the screen may come in with a password.
    #[serde(default)]
    pub screen: Option<ScreenPort>,
    /// What it shows pictures on.
    #[serde(default)]
    pub display: DisplayAdapter,
    #[serde(default)]
    pub integration: Integration,
    /// Who is to log in, as far as it was said when it was made.
    #[serde(default)]
    pub user: Option<String>,
}

/// Which integration services are on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Integration {
    pub guest_service_interface: bool,
    pub heartbeat: bool,
    pub key_value_pairs: bool,
    pub shutdown: bool,
    pub time_synchronization: bool,
    pub vss: bool,
}

impl Default for Integration {
    fn default() -> Self {
        Self {
            guest_service_interface: false,
            heartbeat: true,
            key_value_pairs: true,
            shutdown: true,
            time_synchronization: true,
            vss: true,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutomaticStart {
    Nothing,
    #[default]
    StartIfRunning,
    Start,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutomaticStop {
    TurnOff,
    Save,
    #[default]
    ShutDown,
}

/// What a checkpoint will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointType {
    Disabled,
    Standard,
    #[default]
    Production,
    ProductionOnly,
}

impl CheckpointType {
    pub const NAMES: &[&str] = &["Disabled", "Standard", "Production", "ProductionOnly"];
    const ALL: [Self; 4] = [Self::Disabled, Self::Standard, Self::Production, Self::ProductionOnly];

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name().eq_ignore_ascii_case(name))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DisplayAdapter {
    /// A VGA for who starts with firmware, nothing for kernels.
    #[default]
    Auto,
    None,
    Vga,
    /// A VGA until a driver of virtio's GPU takes it.
    Virtio,
}

/// VNC on loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenPort {
    pub port: u16,
    pub password: String,
}

/// What becomes of a machine whose guest has crashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutomaticCrash {
    /// As a PC does.
    #[default]
    Restart,
    TurnOff,
    /// It is held for a look.
    Pause,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Processor {
    pub count: u32,
    /// `auto`, `amd` or `host`.
    pub model: String,
    pub expose_virtualization_extensions: bool,
    pub maximum: u32,
    pub reserve: u32,
    pub relative_weight: u32,
    pub compatibility_for_migration: bool,
    pub compatibility_for_older_operating_systems: bool,
    pub host_resource_protection: bool,
    /// 0: as the host.
    pub threads_per_core: u32,
    pub maximum_per_numa_node: u32,
    pub maximum_per_numa_socket: u32,
}

impl Default for Processor {
    fn default() -> Self {
        Self {
            count: 1,
            model: "auto".into(),
            expose_virtualization_extensions: false,
            maximum: 100,
            reserve: 0,
            relative_weight: 100,
            compatibility_for_migration: false,
            compatibility_for_older_operating_systems: false,
            host_resource_protection: false,
            threads_per_core: 0,
            maximum_per_numa_node: 8,
            maximum_per_numa_socket: 1,
        }
    }
}

/// Bytes, multiples of 2 MiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub startup: u64,
    pub dynamic: bool,
    pub minimum: u64,
    pub maximum: u64,
    /// Percent.
    pub buffer: u32,
    pub priority: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            startup: 1024 * MIB,
            dynamic: false,
            minimum: 512 * MIB,
            maximum: 1 << 40,
            buffer: 20,
            priority: 50,
        }
    }
}

/// What starts first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartWith {
    /// A kernel, directly.
    #[default]
    Kernel,
    /// The generation's firmware, which loads from a disk.
    Firmware,
}

/// What is started. Without a kernel it is the built-in Debian image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    #[serde(default)]
    pub start_with: StartWith,
    pub kernel: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    #[serde(default)]
    pub command_line: String,
    /// Beside a kernel of multiboot or PVH.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// By its name, for kernels that know several; none: the first of which the kernel says that it knows it.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Of generation 2: firmware starts only what is signed.
    #[serde(default)]
    pub secure_boot: bool,
    /// Of generation 2: what firmware tries first. What is not named comes behind, in its own order.
    #[serde(default)]
    pub order: Vec<BootEntry>,
    /// Of generation 1: kinds of devices, in the order in which firmware tries them.
    #[serde(default)]
    pub startup: Vec<Startup>,
    /// What firmware starts instead, until it is done.
    #[serde(default)]
    pub installer: Option<Installer>,
}

/// A system that makes another on the machine's disks, and then resets the machine or turns it off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installer {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub command_line: String,
}

/// A file that is loaded beside a kernel, with its command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    pub path: PathBuf,
    #[serde(default)]
    pub command_line: String,
}

/// Something that firmware can load from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootEntry {
    Drive(DriveAddress),
    /// The adapter's id.
    Network(Guid),
}

/// Kinds of devices in the setup of a BIOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Startup {
    CD,
    /// Hard disks at whatever controller.
    IDE,
    LegacyNetworkAdapter,
    Floppy,
}

impl Startup {
    /// As Hyper-V has it in a new machine.
    pub const ORDER: [Self; 4] = [Self::CD, Self::IDE, Self::LegacyNetworkAdapter, Self::Floppy];
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ControllerType {
    #[serde(rename = "IDE")]
    Ide,
    /// virtio.
    #[default]
    #[serde(rename = "SCSI")]
    Scsi,
    #[serde(rename = "SATA")]
    Sata,
    #[serde(rename = "NVMe")]
    Nvme,
}

impl ControllerType {
    pub const ALL: [Self; 4] = [Self::Ide, Self::Scsi, Self::Sata, Self::Nvme];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ide => "IDE",
            Self::Scsi => "SCSI",
            Self::Sata => "SATA",
            Self::Nvme => "NVMe",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// Where a drive is. In files of older versions it is at SCSI controller 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DriveAddress {
    #[serde(default)]
    pub controller: ControllerType,
    #[serde(default)]
    pub number: u32,
    pub location: u32,
}

impl DriveAddress {
    pub const fn scsi(location: u32) -> Self {
        Self { controller: ControllerType::Scsi, number: 0, location }
    }

    /// What the guest is told as the serial number of what is here: the same whatever else comes and goes.
    pub fn serial(&self) -> String {
        let Self { controller, number, location } = self;
        match controller {
            ControllerType::Scsi => format!("ireko{location}"),
            _ => format!("ireko-{}{number}-{location}", controller.name().to_ascii_lowercase()),
        }
    }

    /// Whether something can come here, or go, while the machine runs.
    pub fn hot(&self) -> bool {
        matches!(self.controller, ControllerType::Scsi | ControllerType::Nvme)
    }
}

/// A drive for CDs and DVDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dvd {
    #[serde(flatten)]
    pub place: DriveAddress,
    /// The image in it.
    pub path: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    #[serde(flatten)]
    pub place: DriveAddress,
    pub path: PathBuf,
    /// In files of older versions there is none, and all were raw.
    #[serde(default, with = "layer")]
    pub format: Format,
    /// Images behind it, the nearest first.
    #[serde(default)]
    pub behind: Vec<Layer>,
    #[serde(default)]
    pub read_only: bool,
    /// Operations of 8 KiB in a second; 0: as many as can be.
    #[serde(default)]
    pub maximum_iops: u64,
    /// 0: as many as can be.
    #[serde(default)]
    pub maximum_bytes_per_second: u64,
    /// What is done about what the host cannot do with it.
    #[serde(default)]
    pub error_policy: ErrorPolicy,
}

impl Disk {
    /// Of a raw image.
    pub fn new(place: DriveAddress, path: impl Into<PathBuf>, read_only: bool) -> Self {
        let (path, format, behind) = (path.into(), Format::Raw, Vec::new());
        let (maximum_iops, maximum_bytes_per_second, error_policy) = (0, 0, ErrorPolicy::default());
        Self { place, path, format, behind, read_only, maximum_iops, maximum_bytes_per_second, error_policy }
    }

    /// Its image and those behind it.
    pub fn layers(&self) -> Vec<Layer> {
        let own = Layer { path: self.path.clone(), format: self.format };
        [own].into_iter().chain(self.behind.iter().cloned()).collect()
    }
}

/// What is in a drive, by names.
#[derive(Clone, Debug)]
pub struct DriveFiles {
    /// The image, and those behind it.
    pub layers: Vec<Layer>,
    /// Those behind are only read anyway.
    pub read_only: bool,
}

impl DriveFiles {
    /// Of a DVD drive.
    pub fn medium(path: &Path) -> Self {
        Self { layers: vec![Layer { path: path.into(), format: Format::Raw }], read_only: true }
    }
}

impl From<&Disk> for DriveFiles {
    fn from(disk: &Disk) -> Self {
        Self { layers: disk.layers(), read_only: disk.read_only }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    pub name: String,
    pub id: Guid,
    /// 12 hexadecimal digits.
    pub mac: String,
    #[serde(default)]
    pub dynamic_mac: bool,
    #[serde(default)]
    pub switch: Option<Guid>,
    #[serde(default)]
    pub mac_address_spoofing: bool,
    #[serde(default)]
    pub dhcp_guard: bool,
    #[serde(default)]
    pub router_guard: bool,
    #[serde(default, skip_serializing_if = "Vlan::is_untagged")]
    pub vlan: Vlan,
    #[serde(default)]
    pub port_mirroring: PortMirroring,
    /// Of what it sends, in bits a second; 0: as many as can be.
    #[serde(default)]
    pub maximum_bandwidth: u64,
    /// Of what it sends; 0: as many as can be.
    #[serde(default)]
    pub maximum_frames_per_second: u64,
    /// Ports of the host that lead to it, as long as it is on a switch with a router.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<super::switch::Published>,
}

/// Whose frames others hear, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortMirroring {
    #[default]
    None,
    Source,
    Destination,
}

/// Which VLANs an adapter is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vlan {
    #[default]
    Untagged,
    Access(u16),
    /// As in `1-100,200`.
    Trunk {
        native: u16,
        allowed: String,
    },
}

impl Vlan {
    pub fn is_untagged(&self) -> bool {
        *self == Self::Untagged
    }
}

impl Config {
    pub fn new(id: Guid, name: &str, created: u64) -> Self {
        Self {
            schema: SCHEMA,
            version: ConfigVersion::NEWEST,
            id,
            name: name.to_owned(),
            notes: String::new(),
            created,
            generation: 1,
            engine: "auto".into(),
            processor: Processor::default(),
            memory: Memory::default(),
            boot: Boot::default(),
            disks: Vec::new(),
            dvds: Vec::new(),
            adapters: vec![Adapter::first(id)],
            shares: Vec::new(),
            metering: false,
            automatic_start: AutomaticStart::default(),
            automatic_start_delay: 0,
            automatic_stop: AutomaticStop::default(),
            automatic_crash: AutomaticCrash::default(),
            checkpoint_type: CheckpointType::default(),
            com_ports: [None, None],
            screen: None,
            display: DisplayAdapter::default(),
            integration: Integration::default(),
            user: None,
        }
    }
}

impl Config {
    /// The files of disks, then of media in drives.
    pub fn drive_files(&self) -> impl Iterator<Item = (DriveAddress, DriveFiles)> {
        let disks = self.disks.iter().map(|disk| (disk.place, DriveFiles::from(disk)));
        let medium = |dvd: &Dvd| Some((dvd.place, DriveFiles::medium(dvd.path.as_deref()?)));
        disks.chain(self.dvds.iter().filter_map(medium))
    }

    /// What is at the controllers.
    pub fn places(&self) -> impl Iterator<Item = DriveAddress> {
        self.disks.iter().map(|disk| disk.place).chain(self.dvds.iter().map(|dvd| dvd.place))
    }
}

impl Adapter {
    /// The one that every new VM has, with an address of the range that Hyper-V uses (reference: 2.3).
    fn first(vm: Guid) -> Self {
        Self::new(vm, "Network Adapter")
    }

    pub fn new(id: Guid, name: &str) -> Self {
        let bytes = id.0;
        Self {
            name: name.to_owned(),
            id,
            mac: format!("00155d{:02x}{:02x}{:02x}", bytes[13], bytes[14], bytes[15]).to_uppercase(),
            dynamic_mac: true,
            switch: None,
            mac_address_spoofing: false,
            dhcp_guard: false,
            router_guard: false,
            vlan: Vlan::Untagged,
            port_mirroring: PortMirroring::None,
            maximum_bandwidth: 0,
            maximum_frames_per_second: 0,
            published: Vec::new(),
        }
    }

    /// Its address is one of these that nobody has, which one follows from its id. False: there is none.
    pub fn within(&mut self, (first, last): (u64, u64), taken: &BTreeSet<u64>) -> bool {
        let [.., a, b, c, d] = self.id.0;
        let number = u64::from(u32::from_be_bytes([a, b, c, d]));
        let preferred = first + number % (last.saturating_sub(first) + 1);
        let free = free_address(preferred, last, taken);
        let free = free.or_else(|| free_address(first, preferred.saturating_sub(1), taken));
        free.map(|address| self.mac = format!("{address:012X}")).is_some()
    }

    pub fn number(&self) -> Option<u64> {
        u64::from_str_radix(&self.mac, 16).ok()
    }

    /// The MAC address as bytes, if it is one.
    pub fn address(&self) -> Option<[u8; 6]> {
        let digits = self.mac.as_bytes();
        let mut mac = [0; 6];
        if digits.len() != 12 {
            return None;
        }
        for (byte, pair) in mac.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(mac)
    }
}

/// The first address that is one machine's and nobody's yet.
fn free_address(first: u64, last: u64, taken: &BTreeSet<u64>) -> Option<u64> {
    /// In the first byte: an address of many (IEEE 802, 8.2).
    const GROUP: u64 = 1 << 40;
    let mut address = first;
    while address <= last {
        if address & GROUP != 0 {
            address = (address | (GROUP - 1)) + 1;
        } else if taken.contains(&address) {
            address += 1;
        } else {
            return Some(address);
        }
    }
    None
}

/// The schema is looked at first: of a newer file nothing else is believed.
pub(super) fn parse<T: serde::de::DeserializeOwned>(text: &[u8], path: &Path) -> Result<T, StoreError> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let damaged =
        |error: serde_json::Error| StoreError::Damaged { path: path.into(), why: error.to_string() };
    let Schema { schema } = serde_json::from_slice(text).map_err(damaged)?;
    if schema > SCHEMA {
        return Err(StoreError::TooNew { path: path.into(), schema });
    }
    serde_json::from_slice(text).map_err(damaged)
}
