//! VMs and their parts as records, with the properties that Hyper-V shows, in its order (reference: 2.1 to 2.7).

use crate::folder::Share;
use crate::guid::Guid;
use crate::host::{HostFacts, Vm};
use crate::operation::parameter::Type;
use crate::rules::drives;
use crate::state::State;
use crate::store::config::{BootEntry, DriveAddress, Dvd, MIB, Module, StartWith, Vlan};
use crate::store::{Adapter, Config, Disk, Switch};
use crate::value::{Kind, Record, Value};
use crate::worker::guest::Contact;
use crate::worker::host_side::SideState;
use crate::worker::{self, protocol::Status};
use ireko_machine::ErrorPolicy;
use ireko_net::traffic::{Report, Source};
use std::time::Duration;

/// The class id of processor settings, as everywhere (reference: 2.2).
const PROCESSOR_CLASS: &str = "b637f346-6a0e-4dec-af52-bd70cb80a21d";
const MEMORY_CLASS: &str = "4764334d-e001-4176-82ee-5594ec9b530e";

fn on_off(on: bool) -> &'static str {
    if on { "On" } else { "Off" }
}

fn uptime(vm: &Vm) -> Duration {
    vm.status.as_ref().map_or(Duration::ZERO, |status| {
        // 100 ns is what a .NET TimeSpan holds.
        Duration::from_millis((status.uptime_seconds * 1000.0) as u64)
    })
}

/// Percent of the whole host.
fn cpu_usage(vm: &Vm, host: &HostFacts) -> i64 {
    let load = vm.status.as_ref().map_or(0.0, |status| status.cpu_load);
    (load * 100.0 / f64::from(host.logical_processors)).round().clamp(0.0, 100.0) as i64
}

/// On one line, and cut. EndReason has the whole sentence.
fn status_text(vm: &Vm) -> String {
    let (crash, error, memory) = (crash(vm), disk_error(vm), offline(vm));
    let (what, reason) = match (crash.as_deref(), error.as_deref(), memory.as_deref()) {
        (Some(crash), ..) => ("Crashed", Some(crash)),
        (None, Some(error), _) => ("Disk error", Some(error)),
        (None, None, Some(memory)) => ("Memory", Some(memory)),
        (None, None, None) => ("Ended", vm.end_reason.as_deref()),
    };
    match reason.and_then(|reason| reason.lines().next()) {
        _ if vm.silent => "Not responding".into(),
        None => "Operating normally".into(),
        Some(line) => format!("{what}: {}", short(line)),
    }
}

fn short(line: &str) -> String {
    const LONGEST: usize = 100;
    let line = crate::render::printable(line);
    let cut: String = line.chars().take(LONGEST).collect();
    let more = if cut.len() < line.len() { "…" } else { "" };
    format!("{cut}{more}")
}

/// One sentence; what came behind it, like registers, is in the worker's log.
fn end_reason(vm: &Vm) -> String {
    let reason = crash(vm).or_else(|| vm.end_reason.clone());
    reason.and_then(|reason| reason.lines().next().map(str::to_owned)).unwrap_or_default()
}

/// How the guest of a machine crashed that is held since.
fn crash(vm: &Vm) -> Option<String> {
    vm.status.as_ref()?.crashed.clone()
}

/// What the host could not do with the disks of a machine that runs.
fn disk_error(vm: &Vm) -> Option<String> {
    vm.status.as_ref()?.disk_error.clone()
}

/// What the guest was given and does not use.
fn offline(vm: &Vm) -> Option<String> {
    let bytes = vm.status.as_ref()?.memory_offline;
    (bytes > 0).then(|| format!("{} MB more wait to be set online by its system", bytes / MIB))
}

/// As CIM_ManagedSystemElement has them.
fn operational_status(vm: &Vm) -> &'static str {
    match vm.status.as_ref().is_some_and(|status| status.disk_error.is_some()) {
        _ if vm.silent => "LostCommunication",
        true => "Degraded",
        false => "Ok",
    }
}

pub fn vm(vm: &Vm, host: &HostFacts) -> Record {
    let config = &vm.config;
    let assigned = vm.status.as_ref().map_or(0, |status| status.memory_assigned);
    // A guest that does not say what it uses: what it has touched.
    let demand = vm.status.as_ref().map_or(0, |status| {
        status.memory_demand.unwrap_or(status.memory_resident.min(status.memory_assigned))
    });
    let short = |status: &Status| match status.memory_offline {
        0 => worker::memory::status(assigned, demand, &config.memory),
        _ => "Warning",
    };
    let place = vm.directory.display().to_string();
    let record = Record::new(Kind::VirtualMachine)
        .with("ParentCheckpointId", Value::Null)
        .with("ParentCheckpointName", "")
        .with("VMName", config.name.as_str())
        .with("VMId", config.id)
        .with("CheckpointFileLocation", "")
        .with("ConfigurationLocation", place.as_str())
        .with("SmartPagingFileInUse", false)
        .with("SmartPagingFilePath", "")
        .with("SnapshotFileLocation", "")
        .with("AutomaticStartAction", format!("{:?}", config.automatic_start))
        .with("AutomaticStartDelay", config.automatic_start_delay)
        .with("AutomaticStopAction", format!("{:?}", config.automatic_stop))
        .with("AutomaticCriticalErrorAction", critical_error(config))
        .with("AutomaticCriticalErrorActionTimeout", 0)
        .with("AutomaticCheckpointsEnabled", false)
        .with("CPUUsage", cpu_usage(vm, host))
        .with("MemoryAssigned", assigned)
        .with("MemoryDemand", demand)
        .with("MemoryStatus", vm.status.as_ref().map_or("", short))
        .with("NumaAligned", vm.status.as_ref().map(|_| true))
        .with("NumaNodesCount", 1)
        .with("NumaSocketCount", 1)
        .with("Heartbeat", heartbeat(vm))
        .with("IntegrationServicesState", "")
        .with("IntegrationServicesVersion", "0.0")
        .with("Uptime", uptime(vm))
        .with("OperationalStatus", Value::list([operational_status(vm)]))
        .with("PrimaryOperationalStatus", operational_status(vm))
        .with("SecondaryOperationalStatus", Value::Null)
        .with("StatusDescriptions", Value::list([status_text(vm)]))
        .with("PrimaryStatusDescription", status_text(vm))
        .with("SecondaryStatusDescription", "")
        .with("Status", status_text(vm))
        .with("ReplicationHealth", "NotApplicable")
        .with("ReplicationMode", "None")
        .with("ReplicationState", "Disabled")
        .with("ResourceMeteringEnabled", config.metering)
        .with("CheckpointType", config.checkpoint_type.name())
        .with("EnhancedSessionTransportType", Value::Null)
        .with("Groups", Value::list(vm.groups.iter().map(String::as_str)))
        .with("Version", config.version.to_string())
        .with("VirtualMachineType", "RealizedVirtualMachine")
        .with("VirtualMachineSubType", format!("Generation{}", config.generation))
        .with("Notes", config.notes.as_str())
        .with("State", vm.state.to_string())
        .with("ComPort1", com_port(vm, 0))
        .with("ComPort2", com_port(vm, 1))
        .with("DVDDrives", list(dvds(vm)))
        .with("FibreChannelHostBusAdapters", Value::List(Vec::new()))
        .with("FloppyDrive", Value::Null)
        .with("HardDrives", list(disks(vm)))
        .with("RemoteFxAdapter", Value::Null)
        .with("VMIntegrationService", list(super::integration::records(vm)))
        .with("DynamicMemoryEnabled", config.memory.dynamic)
        .with("MemoryMaximum", config.memory.maximum)
        .with("MemoryMinimum", config.memory.minimum)
        .with("MemoryStartup", config.memory.startup)
        .with("ProcessorCount", config.processor.count)
        .with("BatteryPassthroughEnabled", false)
        .with("Generation", i64::from(config.generation))
        .with("IsClustered", false)
        .with("ParentSnapshotId", Value::Null)
        .with("ParentSnapshotName", "")
        .with("Path", place.as_str())
        .with("SizeOfSystemFiles", size_of_files(vm))
        .with("GuestControlledCacheTypes", false)
        .with("LowMemoryMappedIoSpace", 0)
        .with("HighMemoryMappedIoSpace", 0)
        .with("HighMemoryMappedIoBaseAddress", 0)
        .with("LockOnDisconnect", "Off")
        .with("CreationTime", Value::Time(config.created))
        .with("Id", config.id)
        .with("Name", config.name.as_str())
        .with("NetworkAdapters", adapters(vm))
        .with("CimSession", "CimSession: .")
        .with("ComputerName", host.name.as_str())
        .with("IsDeleted", false);
    own_properties(record, vm)
}

/// What Hyper-V does not have.
fn own_properties(record: Record, vm: &Vm) -> Record {
    let config = &vm.config;
    record
        .with("AutomaticCrashAction", format!("{:?}", config.automatic_crash))
        .with("MemoryOffline", vm.status.as_ref().map_or(0, |status| status.memory_offline))
        .with("Shares", Value::list(config.shares.iter().map(Share::shown)))
        .with("Engine", vm.status.as_ref().map_or(config.engine.clone(), |status| status.engine.clone()))
        .with("ExposeVirtualizationExtensions", config.processor.expose_virtualization_extensions)
        .with("HypervisorRunning", hypervisor_running(vm))
        .with("Limits", vm.status.as_ref().and_then(|status| status.limits.clone()).unwrap_or_default())
        .with("NestedWorlds", vm.status.as_ref().map_or(Some(0), |status| status.worlds))
        .with("WorkerProcessId", vm.status.as_ref().map(|status| status.pid))
        .with("EndReason", end_reason(vm))
        .with(
            "DiskError",
            disk_error(vm).map(|error| crate::render::printable(&error).to_string()).unwrap_or_default(),
        )
        .with("DiskErrors", vm.status.as_ref().map_or(0, |status| status.disk_errors))
        .with("Jail", jail(vm))
}

/// Whether what the host cannot do with its disks holds it.
fn critical_error(config: &Config) -> &'static str {
    let told = config.disks.iter().all(|disk| disk.error_policy == ErrorPolicy::Report);
    if told { "None" } else { "Pause" }
}

/// Where a serial port goes.
fn com_port(vm: &Vm, port: usize) -> Value {
    let path = vm.config.com_ports[port].as_ref().map(|path| path.display().to_string());
    let record = Record::new(Kind::VMComPort).with("VMName", vm.config.name.as_str());
    record.with("Name", format!("COM {}", port + 1)).with("Path", path.unwrap_or_default()).into()
}

fn size_of_files(vm: &Vm) -> u64 {
    let files = std::fs::read_dir(&vm.directory).into_iter().flatten().flatten();
    let sizes =
        files.filter(|file| file.path().extension().is_some_and(|kind| kind == "json" || kind == "fd"));
    sizes.filter_map(|file| file.metadata().ok()).map(|facts| facts.len()).sum()
}

/// Nothing runs in a VM that is Off; `None`: not known yet.
fn hypervisor_running(vm: &Vm) -> Option<bool> {
    vm.status.as_ref().map_or(Some(false), |status| status.hypervisor)
}

/// What stands between the guest and the host besides the engine; what is missing says why.
fn jail(vm: &Vm) -> Value {
    let layers = vm.status.iter().flat_map(|status| &status.jail.0);
    Value::list(layers.map(|layer| crate::render::printable(&layer.to_string())).collect::<Vec<_>>())
}

fn list(records: Vec<Record>) -> Value {
    Value::list(records)
}
fn adapters(vm: &Vm) -> Value {
    list(network_adapters(vm))
}

/// What every part of a VM ends with.
fn identity(record: Record, vm: &Vm, host: &HostFacts) -> Record {
    record
        .with("VMId", vm.config.id)
        .with("VMName", vm.config.name.as_str())
        .with("VMSnapshotId", Guid::NIL)
        .with("VMSnapshotName", "")
        .with("VMCheckpointId", Guid::NIL)
        .with("VMCheckpointName", "")
        .with("CimSession", "CimSession: .")
        .with("ComputerName", host.name.as_str())
        .with("IsDeleted", false)
}

fn part_id(vm: &Vm, class: &str) -> String {
    format!("Microsoft:{}\\{class}\\0", vm.config.id.to_string().to_uppercase())
}

/// What the guest reads: a running VM's engine is known, another's only where it is said.
fn brand(vm: &Vm, host: &HostFacts) -> String {
    let engine = vm.status.as_ref().map_or(vm.config.engine.as_str(), |status| status.engine.as_str());
    ireko_machine::engine::processor_name(engine).map_or_else(|| host.brand.clone(), str::to_owned)
}

pub fn processor(vm: &Vm, host: &HostFacts) -> Record {
    let own = &vm.config.processor;
    let (status, description): (&[&str], &[&str]) = match (vm.state, own.host_resource_protection) {
        (State::Off | State::Saved, _) => (&[], &[]),
        (_, true) => {
            (&["Ok", "HostResourceProtectionEnabled"], &["OK", "Host resource protection is enabled."])
        }
        (_, false) => {
            (&["Ok", "HostResourceProtectionDisabled"], &["OK", "Host resource protection is disabled."])
        }
    };
    let record = Record::new(Kind::VMProcessor)
        .with("ResourcePoolName", "Primordial")
        .with("Count", own.count)
        .with("CompatibilityForMigrationEnabled", own.compatibility_for_migration)
        .with("CompatibilityForMigrationMode", "MinimumFeatureSet")
        .with("CompatibilityForOlderOperatingSystemsEnabled", own.compatibility_for_older_operating_systems)
        .with("HwThreadCountPerCore", own.threads_per_core)
        .with("ExposeVirtualizationExtensions", own.expose_virtualization_extensions)
        .with("EnablePerfmonPmu", false)
        .with("EnablePerfmonLbr", false)
        .with("EnablePerfmonPebs", false)
        .with("EnablePerfmonIpt", false)
        .with("EnableLegacyApicMode", false)
        .with("ApicMode", "Default")
        .with("AllowACountMCount", false)
        .with("CpuBrandString", brand(vm, host))
        .with("PerfCpuFreqCapMhz", 0)
        .with("Maximum", own.maximum)
        .with("Reserve", own.reserve)
        .with("RelativeWeight", own.relative_weight)
        .with("MaximumCountPerNumaNode", own.maximum_per_numa_node)
        .with("MaximumCountPerNumaSocket", own.maximum_per_numa_socket)
        .with("EnableHostResourceProtection", own.host_resource_protection)
        .with("OperationalStatus", Value::list(status.iter().copied()))
        .with("StatusDescription", Value::list(description.iter().copied()))
        .with("Name", "Processor")
        .with("Id", part_id(vm, PROCESSOR_CLASS));
    identity(record, vm, host).with("ProcessorModel", own.model.as_str())
}

pub fn memory(vm: &Vm, host: &HostFacts) -> Record {
    let own = &vm.config.memory;
    let record = Record::new(Kind::VMMemory)
        .with("ResourcePoolName", "Primordial")
        .with("Buffer", own.buffer)
        .with("DynamicMemoryEnabled", own.dynamic)
        .with("Maximum", own.maximum)
        .with("MaximumPerNumaNode", host.memory / MIB)
        .with("Minimum", own.minimum)
        .with("Priority", own.priority)
        .with("Startup", own.startup)
        .with("HugePagesEnabled", false)
        .with("MemoryEncryptionPolicy", "Disabled")
        .with("MemoryEncryptionEnabled", false)
        .with("BackingType", "Virtual")
        .with("Name", "Memory")
        .with("Id", part_id(vm, MEMORY_CLASS));
    identity(record, vm, host)
}

/// A record of a drive, with its place.
fn drive(vm: &Vm, kind: Kind, place: DriveAddress) -> Record {
    let what = if kind == Kind::DvdDrive { "DVD Drive" } else { "Hard Drive" };
    let (controller, number, location) = (place.controller.name(), place.number, place.location);
    Record::new(kind)
        .with("ControllerLocation", location)
        .with("ControllerNumber", number)
        .with("ControllerType", controller)
        .with("Name", format!("{what} on {controller} controller number {number} at location {location}"))
        .with("VMId", vm.config.id)
        .with("VMName", vm.config.name.as_str())
}

fn disk(vm: &Vm, disk: &Disk) -> Record {
    drive(vm, Kind::HardDiskDrive, disk.place)
        .with("Path", disk.path.display().to_string())
        .with("Format", disk.format.name())
        .with("ParentPath", Value::list(disk.behind.iter().map(|layer| layer.path.display().to_string())))
        .with("DiskNumber", Value::Null)
        .with("ReadOnly", disk.read_only)
        .with("MaximumIOPS", disk.maximum_iops)
        .with("MaximumBytesPerSecond", disk.maximum_bytes_per_second)
        .with("ErrorPolicy", disk.error_policy.name())
}

fn dvd(vm: &Vm, dvd: &Dvd) -> Record {
    drive(vm, Kind::DvdDrive, dvd.place)
        .with("Path", dvd.path.as_ref().map(|path| path.display().to_string()))
        .with("DvdMediaType", if dvd.path.is_some() { "ISO" } else { "None" })
}

pub fn disks(vm: &Vm) -> Vec<Record> {
    vm.config.disks.iter().map(|own| disk(vm, own)).collect()
}

pub fn dvds(vm: &Vm) -> Vec<Record> {
    vm.config.dvds.iter().map(|own| dvd(vm, own)).collect()
}

pub fn firmware(vm: &Vm) -> Record {
    let boot = &vm.config.boot;
    let shown = |path: &Option<std::path::PathBuf>, none: &str| {
        path.as_ref().map_or_else(|| none.to_owned(), |path| path.display().to_string())
    };
    let no_kernel = match boot.start_with {
        StartWith::Kernel => "(built-in Debian image)",
        StartWith::Firmware => "",
    };
    let record = Record::new(Kind::VMFirmware)
        .with("VMName", vm.config.name.as_str())
        .with("StartWith", format!("{:?}", boot.start_with))
        .with("Kernel", shown(&boot.kernel, no_kernel))
        .with("Initrd", shown(&boot.initrd, ""))
        .with("CommandLine", boot.command_line.as_str())
        .with("Module", Value::list(boot.modules.iter().map(module)))
        .with("BootProtocol", boot.protocol.as_deref().map_or("Auto", protocol))
        .with("SecureBoot", on_off(boot.secure_boot));
    let order = drives::boot_order(&vm.config).into_iter().filter_map(|entry| boot_source(vm, entry));
    let record = record.with("BootOrder", list(order.collect()));
    let record = match vm.config.generation {
        1 => {
            let startup = drives::startup_order(&vm.config);
            record.with("StartupOrder", Value::list(startup.iter().map(|kind| format!("{kind:?}"))))
        }
        _ => record,
    };
    record.with("VMId", vm.config.id)
}

/// As it is given.
fn module(module: &Module) -> String {
    format!("{} {}", module.path.display(), module.command_line).trim_end().to_owned()
}

/// As its parameter has it.
fn protocol(name: &str) -> &str {
    let Type::Enum(words) = super::firmware::BOOT_PROTOCOL.kind else { return name };
    words.iter().find(|word| word.eq_ignore_ascii_case(name)).unwrap_or(&name)
}

/// Something that firmware tries, with the object that it is.
fn boot_source(vm: &Vm, entry: BootEntry) -> Option<Record> {
    let at = |place: DriveAddress| move |own: &DriveAddress| *own == place;
    let device = match entry {
        BootEntry::Drive(place) => {
            let own = vm.config.disks.iter().find(|own| at(place)(&own.place)).map(|own| disk(vm, own));
            own.or_else(|| vm.config.dvds.iter().find(|own| at(place)(&own.place)).map(|own| dvd(vm, own)))?
        }
        BootEntry::Network(id) => adapter(vm, vm.config.adapters.iter().find(|own| own.id == id)?),
    };
    let kind = if matches!(entry, BootEntry::Drive(_)) { "Drive" } else { "Network" };
    Some(
        Record::new(Kind::VMBootSource)
            .with("Name", kind)
            .with("BootType", kind)
            .with("Description", device.property("Name").cloned().unwrap_or(Value::Null))
            .with("Device", device)
            .with("VMId", vm.config.id)
            .with("VMName", vm.config.name.as_str()),
    )
}

fn adapter(vm: &Vm, own: &Adapter) -> Record {
    let record = Record::new(Kind::VMNetworkAdapter)
        .with("Name", own.name.as_str())
        .with("Id", format!("Microsoft:{}\\{}", vm.config.id.to_string().to_uppercase(), own.id))
        .with("VMName", vm.config.name.as_str())
        .with("VMId", vm.config.id)
        .with("IsManagementOs", false)
        .with("SwitchName", own.switch.and_then(|id| vm.switches.get(&id).cloned()))
        .with("SwitchId", own.switch)
        .with("Connected", own.switch.is_some_and(|id| vm.switches.contains_key(&id)))
        .with("IsLegacy", false)
        .with("MacAddress", own.mac.as_str())
        .with("DynamicMacAddressEnabled", own.dynamic_mac)
        .with("MacAddressSpoofing", on_off(own.mac_address_spoofing))
        .with("AllowTeaming", "Off")
        .with("DhcpGuard", on_off(own.dhcp_guard))
        .with("RouterGuard", on_off(own.router_guard))
        .with("PortMirroringMode", format!("{:?}", own.port_mirroring))
        .with("IeeePriorityTag", "Off")
        .with("DeviceNaming", "Off")
        .with("BandwidthSetting", bandwidth(own))
        .with("VlanSetting", vlan_words(&own.vlan))
        .with("AclList", Value::List(Vec::new()))
        .with("Status", Value::list(if vm.state == State::Off { &[][..] } else { &["Ok"] }.iter().copied()))
        .with(
            "StatusDescription",
            Value::list(if vm.state == State::Off { &[][..] } else { &["OK"] }.iter().copied()),
        )
        .with("IPAddresses", Value::list(addresses(vm, own).iter().map(ToString::to_string)))
        .with("MaximumBandwidth", own.maximum_bandwidth)
        .with("MaximumFramesPerSecond", own.maximum_frames_per_second);
    counted(record, traffic(vm, own), &own.mac)
}

fn bandwidth(own: &Adapter) -> Option<Record> {
    let bound = Record::new(Kind::Custom).with("MaximumBandwidth", own.maximum_bandwidth);
    (own.maximum_bandwidth > 0).then_some(bound)
}

/// What an adapter's port has counted, if it is there.
pub fn traffic<'a>(vm: &'a Vm, own: &Adapter) -> Option<&'a Report> {
    let all = &vm.status.as_ref()?.traffic;
    all.iter().find(|(id, _)| *id == own.id).map(|(_, report)| report)
}

/// Ireko's own properties: what went through the port, what it dropped and why, and which addresses are behind it.
fn counted(record: Record, report: Option<&Report>, own: &str) -> Record {
    let none = Report::default();
    let report = report.unwrap_or(&none);
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let dropped: u64 = report.dropped.iter().map(|(_, count)| count).sum();
    let causes = report.dropped.iter().map(|(cause, count)| format!("{cause}: {count}"));
    let behind = report.sources.iter().filter(|source| !source.mac.eq_ignore_ascii_case(own));
    record
        .with("FramesSent", number(report.sent))
        .with("FramesReceived", number(report.received))
        .with("BytesSent", number(report.sent_bytes))
        .with("BytesReceived", number(report.received_bytes))
        .with("FramesDropped", number(dropped))
        .with("DropCauses", Value::list(causes))
        .with("ForeignAddresses", Value::list(report.foreign.iter().map(source_words)))
        .with("AddressesBehind", Value::list(behind.map(source_words)))
}

/// A port of a switch: one row for its own address, one for each machine behind it (a level deeper at least), and one for each
/// address whose frames were dropped.
pub fn switch_ports(
    switch: &Switch,
    owner: &str,
    report: Option<&Report>,
    own: Option<(String, &Vlan)>,
    addresses: &[std::net::IpAddr],
    trouble: Option<&str>,
) -> Vec<Record> {
    let none = Report::default();
    let report = report.unwrap_or(&none);
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let outside = own.is_none();
    let row = |owner: String, level: &str, mac: &str, told: &[std::net::IpAddr], vlan: String| {
        Record::new(Kind::VMSwitchPort)
            .with("SwitchName", switch.name.as_str())
            .with("SwitchId", switch.id)
            .with("Owner", owner)
            .with("Level", level)
            .with("MacAddress", mac)
            .with("IPAddresses", Value::list(told.iter().map(ToString::to_string)))
            .with("Vlan", vlan)
    };
    let level = match owner.starts_with('(') {
        true => "0",
        false => "1",
    };
    let (mac, vlan) = own.map_or_else(Default::default, |(mac, vlan)| (mac, vlan_words(vlan)));
    let dropped: u64 = report.dropped.iter().map(|(_, count)| count).sum();
    let causes = report.dropped.iter().map(|(cause, count)| format!("{cause}: {count}"));
    let causes = trouble.map(str::to_owned).into_iter().chain(causes);
    let mut rows = vec![
        row(owner.to_owned(), level, &mac, addresses, vlan)
            .with("FramesSent", number(report.sent))
            .with("FramesReceived", number(report.received))
            .with("FramesDropped", number(dropped))
            .with("DropCauses", Value::list(causes)),
    ];
    let other = |word: &str, level: &str, source: &Source| {
        row(format!("{word} {owner}"), level, &source.mac, &source.addresses, String::new())
    };
    let behind = report.sources.iter().filter(|source| !source.mac.eq_ignore_ascii_case(&mac));
    let deeper = if outside { "" } else { "2+" };
    rows.extend(behind.map(|source| {
        other("behind", deeper, source)
            .with("FramesSent", number(source.frames))
            .with("FramesReceived", Value::Null)
            .with("FramesDropped", 0i64)
            .with("DropCauses", Value::List(Vec::new()))
    }));
    rows.extend(report.foreign.iter().map(|source| {
        other("refused of", deeper, source)
            .with("FramesSent", 0i64)
            .with("FramesReceived", Value::Null)
            .with("FramesDropped", number(source.frames))
            .with("DropCauses", Value::list(["source address"]))
    }));
    rows
}

/// A switch's router, with what is wrong with it.
pub fn router_port(switch: &Switch, addresses: &[std::net::IpAddr], problems: &[String]) -> Record {
    Record::new(Kind::VMSwitchPort)
        .with("SwitchName", switch.name.as_str())
        .with("SwitchId", switch.id)
        .with("Owner", "(the router)")
        .with("Level", "0")
        .with("MacAddress", "")
        .with("IPAddresses", Value::list(addresses.iter().map(ToString::to_string)))
        .with("Vlan", "Untagged")
        .with("FramesSent", Value::Null)
        .with("FramesReceived", Value::Null)
        .with("FramesDropped", Value::Null)
        .with("DropCauses", Value::list(problems.iter().map(String::as_str)))
}

/// An address with how many frames came from it, and what it says of itself.
fn source_words(source: &Source) -> String {
    let told: Vec<String> = source.addresses.iter().map(ToString::to_string).collect();
    match told.is_empty() {
        true => format!("{} ({})", source.mac, source.frames),
        false => format!("{} ({}) {}", source.mac, source.frames, told.join(" ")),
    }
}

/// As Hyper-V shows it.
fn vlan_words(vlan: &Vlan) -> String {
    match vlan {
        Vlan::Untagged => "Untagged".into(),
        Vlan::Access(id) => format!("Access {id}"),
        Vlan::Trunk { native, allowed } => format!("Trunk {native},{allowed}"),
    }
}

/// What VLANs an adapter is in.
pub fn adapter_vlan(vm: Option<&Vm>, id: Value, name: &str, vlan: &Vlan) -> Record {
    let (mode, access, native, allowed) = match vlan {
        Vlan::Untagged => ("Untagged", 0, 0, String::new()),
        Vlan::Access(id) => ("Access", *id, 0, String::new()),
        Vlan::Trunk { native, allowed } => ("Trunk", 0, *native, allowed.clone()),
    };
    let list = match vlan {
        Vlan::Untagged => String::new(),
        Vlan::Access(id) => id.to_string(),
        Vlan::Trunk { native, allowed } => format!("{native},{allowed}"),
    };
    Record::new(Kind::VMNetworkAdapterVlan)
        .with("VMName", vm.map_or("", |vm| vm.config.name.as_str()))
        .with("VMNetworkAdapterName", name)
        .with("Mode", mode)
        .with("VlanList", list)
        .with("OperationMode", mode)
        .with("AccessVlanId", i64::from(access))
        .with("NativeVlanId", i64::from(native))
        .with("AllowedVlanIdListString", allowed)
        .with("IsManagementOs", vm.is_none())
        .with("ParentAdapterId", id)
}

pub fn adapter_vlans(vm: &Vm) -> Vec<Record> {
    let one = |own: &Adapter| {
        let id = format!("Microsoft:{}\\{}", vm.config.id.to_string().to_uppercase(), own.id);
        adapter_vlan(Some(vm), id.into(), &own.name, &own.vlan)
    };
    vm.config.adapters.iter().map(one).collect()
}

/// As its guest tells, or as its switch's router has seen it.
pub fn addresses(vm: &Vm, own: &Adapter) -> Vec<std::net::IpAddr> {
    let facts = vm.status.as_ref().and_then(|status| status.guest.facts.as_ref());
    let told = facts.map(|facts| facts.addresses(&own.mac)).unwrap_or_default();
    if !told.is_empty() {
        return told;
    }
    let seen = vm.routed.iter().filter(|seen| seen.mac.eq_ignore_ascii_case(&own.mac));
    let routed: Vec<_> = seen.flat_map(|seen| seen.addresses.iter().copied()).collect();
    if !routed.is_empty() {
        return routed;
    }
    // As it says by ARP and neighbour discovery.
    let sources = traffic(vm, own).map(|report| report.sources.as_slice()).unwrap_or_default();
    let own = sources.iter().find(|source| source.mac.eq_ignore_ascii_case(&own.mac));
    own.map(|source| source.addresses.clone()).unwrap_or_default()
}

/// Those of all its adapters.
pub fn addresses_of(vm: &Vm) -> Vec<std::net::IpAddr> {
    vm.config.adapters.iter().flat_map(|own| addresses(vm, own)).collect()
}

/// As Hyper-V calls what is known of a guest's heartbeat.
fn heartbeat(vm: &Vm) -> &'static str {
    let contact = vm.status.as_ref().map(|status| status.guest.contact);
    match (contact, vm.state) {
        (None, _) => "",
        _ if !vm.config.integration.heartbeat => "Disabled",
        (_, State::Paused | State::PausedCritical) => "Paused",
        (Some(Contact::Never), _) => "NoContact",
        (Some(Contact::There), _) => "OkApplicationsUnknown",
        (Some(Contact::Lost), _) => "LostCommunication",
    }
}

/// This host's adapter in an Internal switch.
pub fn host_adapter(switch: &Switch, side: Option<&SideState>) -> Record {
    let record = Record::new(Kind::VMNetworkAdapter)
        .with("Name", switch.name.as_str())
        .with("Id", switch.id)
        .with("VMName", "")
        .with("IsManagementOs", true)
        .with("SwitchName", switch.name.as_str())
        .with("SwitchId", switch.id)
        .with("Connected", true)
        .with("MacAddress", switch.mac_address())
        .with("VlanSetting", vlan_words(&switch.host_vlan))
        .with("Status", Value::list(["Ok"]))
        .with("IPAddresses", Value::List(Vec::new()));
    let report = side.and_then(|side| side.host.as_ref());
    counted(record, report, &switch.mac_address())
}

pub fn switch(switch: &Switch, host: &HostFacts) -> Record {
    Record::new(Kind::VMSwitch)
        .with("Name", switch.name.as_str())
        .with("Id", switch.id)
        .with("Notes", switch.notes.as_str())
        .with("SwitchType", format!("{:?}", switch.kind))
        .with("AllowManagementOS", switch.has_host_adapter())
        .with("NetAdapterInterfaceDescription", switch.uplink_description.as_str())
        .with(
            "NetAdapterInterfaceDescriptions",
            match &switch.uplink {
                Some(_) => Value::list([switch.uplink_description.as_str()]),
                None => Value::Null,
            },
        )
        .with("NetAdapterName", switch.uplink.as_deref())
        .with("BandwidthReservationMode", "None")
        .with("IovEnabled", false)
        .with("IovSupport", false)
        .with("IovSupportReasons", Value::list(["There are no adapters of the host to share."]))
        .with("EmbeddedTeamingEnabled", false)
        .with("Extensions", Value::List(Vec::new()))
        .with("ComputerName", host.name.as_str())
        .with("IsDeleted", false)
}

pub fn network_adapters(vm: &Vm) -> Vec<Record> {
    vm.config.adapters.iter().map(|own| adapter(vm, own)).collect()
}
