//! What a record shows when nobody says what: the columns of its table, or that it is a list.

use crate::value::{Kind, Record, Value};

/// A column of a default table: its title, the property, and how the value is shown.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    pub property: &'static str,
    pub scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    AsIs,
    /// Bytes shown in MiB, for titles that end in `(M)`.
    Mebibytes,
}

const fn column(title: &'static str) -> Column {
    Column { title, property: title, scale: Scale::AsIs }
}
const fn titled(title: &'static str, property: &'static str) -> Column {
    Column { title, property, scale: Scale::AsIs }
}
const fn mebibytes(title: &'static str, property: &'static str) -> Column {
    Column { title, property, scale: Scale::Mebibytes }
}

/// The columns of the default table of such records (reference: 2.1 to 2.7). Empty: the default view is a list.
pub fn columns(record: &Record) -> &'static [Column] {
    match record.kind {
        Kind::VirtualMachine => VM,
        Kind::VMProcessor => PROCESSOR,
        Kind::VMMemory => MEMORY,
        Kind::VMHost => HOST,
        Kind::VMHostSupportedVersion => VERSION,
        Kind::VMGroup => GROUP,
        Kind::VMSystem => SYSTEM,
        Kind::HardDiskDrive => DISK,
        Kind::DvdDrive => DVD,
        Kind::VMBootSource => BOOT_SOURCE,
        Kind::VMFirmware if record.property("StartupOrder").is_some() => BIOS,
        Kind::VMFirmware => FIRMWARE,
        Kind::VMNetworkAdapter => ADAPTER,
        Kind::VMNetworkAdapterVlan => VLAN,
        Kind::VMSwitch => SWITCH,
        Kind::VMSwitchPort => SWITCH_PORT,
        Kind::NetAdapter => NET_ADAPTER,
        Kind::VMMeteringReport => METERING,
        Kind::NestedWorld => WORLD,
        Kind::VMComPort => COM_PORT,
        Kind::VMIntegrationService => SERVICE,
        Kind::VMKeyValuePair => PAIR,
        Kind::VHD
        | Kind::VHDReport
        | Kind::NetIPAddress
        | Kind::NetNat
        | Kind::NetNatStaticMapping
        | Kind::NestedVmStatus
        | Kind::VMScreen
        | Kind::VMConsoleLog
        | Kind::VMHostNumaNode
        | Kind::VMCommandResult
        | Kind::Custom => &[],
    }
}

const VM: &[Column] = &[
    column("Name"),
    column("State"),
    titled("CPUUsage(%)", "CPUUsage"),
    mebibytes("MemoryAssigned(M)", "MemoryAssigned"),
    column("Uptime"),
    column("Status"),
    column("Version"),
];
const SERVICE: &[Column] = &[
    column("VMName"),
    column("Name"),
    column("Enabled"),
    column("PrimaryStatusDescription"),
    column("SecondaryStatusDescription"),
];
const GROUP: &[Column] = &[
    column("Name"),
    column("GroupType"),
    column("InstanceId"),
    column("VMMembers"),
    column("VMGroupMembers"),
];
const PAIR: &[Column] = &[column("VMName"), column("Name"), column("Data")];
const COM_PORT: &[Column] = &[column("VMName"), column("Name"), column("Path")];
const PROCESSOR: &[Column] = &[
    column("VMName"),
    column("Count"),
    column("CompatibilityForMigrationEnabled"),
    column("CompatibilityForOlderOperatingSystemsEnabled"),
];
const MEMORY: &[Column] = &[
    column("VMName"),
    column("DynamicMemoryEnabled"),
    mebibytes("Minimum(M)", "Minimum"),
    mebibytes("Startup(M)", "Startup"),
    mebibytes("Maximum(M)", "Maximum"),
];
const HOST: &[Column] = &[
    column("Name"),
    column("LogicalProcessorCount"),
    mebibytes("MemoryCapacity(M)", "MemoryCapacity"),
    column("VirtualMachineMigrationEnabled"),
];
const VERSION: &[Column] = &[column("Name"), column("Version"), column("IsDefault")];
const SYSTEM: &[Column] = &[column("Name"), column("SizeOnDisk"), column("UsedBy")];
const DISK: &[Column] = &[
    column("VMName"),
    column("ControllerType"),
    column("ControllerNumber"),
    column("ControllerLocation"),
    column("DiskNumber"),
    column("Path"),
];
const DVD: &[Column] = &[
    column("VMName"),
    column("ControllerType"),
    column("ControllerNumber"),
    column("ControllerLocation"),
    column("DvdMediaType"),
    column("Path"),
];
const BOOT_SOURCE: &[Column] = &[column("BootType"), column("Description"), column("VMName")];
const FIRMWARE: &[Column] = &[
    column("VMName"),
    column("StartWith"),
    column("SecureBoot"),
    column("BootOrder"),
    column("Kernel"),
    column("Initrd"),
    column("CommandLine"),
];
const BIOS: &[Column] = &[
    column("VMName"),
    column("StartWith"),
    column("StartupOrder"),
    column("BootOrder"),
    column("Kernel"),
    column("Initrd"),
    column("CommandLine"),
];
const ADAPTER: &[Column] = &[
    column("Name"),
    column("IsManagementOs"),
    column("VMName"),
    column("SwitchName"),
    column("MacAddress"),
    column("Status"),
    column("IPAddresses"),
];
const SWITCH: &[Column] = &[column("Name"), column("SwitchType"), column("NetAdapterInterfaceDescription")];
const VLAN: &[Column] =
    &[column("VMName"), column("VMNetworkAdapterName"), column("Mode"), column("VlanList")];
const SWITCH_PORT: &[Column] = &[
    column("SwitchName"),
    column("Owner"),
    column("Level"),
    column("MacAddress"),
    column("IPAddresses"),
    column("Vlan"),
    titled("Sent", "FramesSent"),
    titled("Received", "FramesReceived"),
    titled("Dropped", "FramesDropped"),
    column("DropCauses"),
];
const NET_ADAPTER: &[Column] = &[
    column("Name"),
    column("InterfaceDescription"),
    column("ifIndex"),
    column("Status"),
    column("MacAddress"),
    column("LinkSpeed"),
];
const METERING: &[Column] = &[
    column("VMName"),
    titled("AvgCPU(MHz)", "AverageProcessorUsage"),
    titled("AvgRAM(M)", "AverageMemoryUsage"),
    titled("MaxRAM(M)", "MaximumMemoryUsage"),
    titled("MinRAM(M)", "MinimumMemoryUsage"),
    titled("TotalDisk(M)", "TotalDiskAllocation"),
    titled("NetworkInbound(M)", "NetworkInbound"),
    titled("NetworkOutbound(M)", "NetworkOutbound"),
];

const WORLD: &[Column] = &[
    column("VMName"),
    column("Level"),
    column("World"),
    column("Parent"),
    column("HypervisorRunning"),
    titled("Processor(%)", "ProcessorShare"),
    column("ProcessorTime"),
    column("Exits"),
    titled("Exits/s", "ExitsPerSecond"),
    column("ExitReasons"),
];

impl Column {
    /// The cell's text.
    pub fn cell(&self, record: &Record) -> String {
        match (self.scale, record.property(self.property)) {
            (_, None) => String::new(),
            (Scale::Mebibytes, Some(Value::Int(bytes))) => (bytes >> 20).to_string(),
            (_, Some(value)) => value.to_string(),
        }
    }

    /// Numbers stand on the right.
    pub fn is_number(&self, record: &Record) -> bool {
        matches!(record.property(self.property), Some(Value::Int(_) | Value::Float(_)))
    }
}
