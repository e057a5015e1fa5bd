//! Operations against fake machines, through real workers' sockets.

use super::*;
use crate::guid::Guid;
use crate::host::{EngineFacts, Host, HostFacts, HostSystem};
use crate::operation::{Answer, Arguments, Impact, Question, Surface, invoke};
use crate::scratch::Scratch;
use crate::state;
use crate::store::Store;
use crate::value::{Kind, Record, Value};
use crate::worker::fake::{BROKEN, DEAF, ThreadLauncher};

pub(crate) struct World {
    pub(crate) host: Host,
    _scratch: Scratch,
}

#[derive(Default)]
struct Here {
    network: super::network_tests::FakeNetwork,
}

impl HostSystem for Here {
    fn network(&self) -> &dyn crate::host_network::HostNetwork {
        &self.network
    }
    fn host(&self) -> HostFacts {
        HostFacts {
            name: "here".into(),
            logical_processors: 2,
            memory: 8 << 30,
            memory_free: 4 << 30,
            vendor: "AuthenticAMD".into(),
            megahertz: 2000,
            brand: "a brand".into(),
        }
    }
    /// `kvm` cannot nest here.
    fn engine(&self, choice: &str, nested: bool) -> Result<EngineFacts, String> {
        if choice == "kvm" && nested {
            return Err("the kvm engine cannot nest here".into());
        }
        Ok(EngineFacts { name: "soft".into(), reason: String::new(), nested: true, max_vcpus: 8 })
    }
}

#[derive(Default)]
pub(crate) struct Person {
    says_yes: bool,
    pub(crate) heard: Vec<String>,
    asked: Vec<String>,
}

impl Surface for Person {
    fn say(&mut self, text: &str) {
        self.heard.push(text.into());
    }
    fn confirm(&mut self, question: &Question) -> bool {
        self.asked.push(question.text.clone());
        self.says_yes
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).unwrap();
        let mut host = Host::new(store, Box::new(ThreadLauncher));
        host.system = Box::new(Here::default());
        Self { host, _scratch: scratch }
    }
    pub(crate) fn with(names: &[&str]) -> Self {
        let world = Self::new();
        for name in names {
            world.ok("New-VM", &[("Name", (*name).into())]);
        }
        world
    }
    pub(crate) fn asking(&self, person: &mut Person, cmdlet: &str, given: &[(&str, Value)]) -> Answer {
        let operation = find(cmdlet).unwrap();
        let mut arguments = Arguments::default();
        for (name, value) in given {
            if let Err(failure) = arguments.set(operation, name, value.clone()) {
                return Answer { errors: vec![failure], ..Answer::default() };
            }
        }
        invoke(&self.host, operation, &arguments, person)
    }
    pub(crate) fn run(&self, cmdlet: &str, given: &[(&str, Value)]) -> Answer {
        self.asking(&mut Person::default(), cmdlet, given)
    }
    pub(crate) fn ok(&self, cmdlet: &str, given: &[(&str, Value)]) -> Answer {
        let answer = self.run(cmdlet, given);
        assert!(answer.errors.is_empty(), "{cmdlet}: {:?}", answer.errors);
        answer
    }
    pub(crate) fn error(&self, cmdlet: &str, given: &[(&str, Value)]) -> String {
        let answer = self.run(cmdlet, given);
        answer.errors.first().map(|failure| failure.message.clone()).unwrap_or_default()
    }
    pub(crate) fn property(&self, cmdlet: &str, name: &str) -> String {
        let answer = self.ok(cmdlet, &[("VMName", "vm".into())]);
        answer.records[0].property(name).unwrap().to_string()
    }
    fn state(&self) -> String {
        self.property("Get-VM", "State")
    }
}

fn vm(name: &str) -> (&'static str, Value) {
    ("VMName", name.into())
}

#[test]
fn every_operation_has_a_cmdlet_a_route_and_words() {
    for operation in operations() {
        assert!(
            operation.cmdlet.contains('-') && operation.rest.route.starts_with('/'),
            "{}",
            operation.cmdlet
        );
        assert!(operation.doc.ends_with('.') && operation.all_parameters().all(|p| p.doc.ends_with('.')));
    }
}

#[test]
fn no_two_operations_share_a_name_a_verb_or_a_route() {
    let mut seen = std::collections::HashSet::new();
    for operation in operations() {
        let names = operation.aliases.iter().chain([&operation.cmdlet]).map(|name| name.to_lowercase());
        let verbs = operation.verbs.iter().map(|verb| format!("{} {}", crate::command(operation), verb.name));
        let rest = format!("{} {}", operation.rest.method.name(), operation.rest.route);
        for name in names.chain(verbs).chain([rest]) {
            assert!(seen.insert(name.clone()), "{name}");
        }
    }
}

#[test]
fn no_operation_has_two_parameters_of_a_name_or_flag() {
    for operation in operations() {
        let mut seen = std::collections::HashSet::new();
        for parameter in operation.all_parameters() {
            for name in parameter.names() {
                assert!(seen.insert(name.to_lowercase()), "{} {name}", operation.cmdlet);
            }
            if let crate::Cli::Flag(flag) = parameter.cli {
                assert!(seen.insert(format!("--{flag}")), "{} --{flag}", operation.cmdlet);
            }
        }
    }
}

#[test]
fn what_only_looks_asks_and_changes_nothing() {
    for operation in operations().filter(|operation| operation.cmdlet.starts_with("Get-")) {
        assert_eq!(operation.impact, Impact::None, "{}", operation.cmdlet);
    }
}

#[test]
fn a_new_vm_is_off_and_of_the_newest_version() {
    let world = World::with(&["vm"]);
    assert_eq!((world.state().as_str(), world.property("Get-VM", "Version").as_str()), ("Off", "12.0"));
}

#[test]
fn an_unknown_name_has_hyper_vs_error() {
    let answer = World::new().run("Get-VM", &[vm("x")]);
    assert_eq!(answer.errors[0].message, "Hyper-V was unable to find a virtual machine with name \"x\".");
    assert_eq!(
        answer.errors[0].qualified_id("Get-VM"),
        "InvalidParameter,Microsoft.HyperV.PowerShell.Commands.GetVM"
    );
}

#[test]
fn one_wrong_name_does_not_stop_the_others() {
    let world = World::with(&["a", "b"]);
    let answer = world.run("Get-VM", &[("Name", Value::list(["a", "x", "b"]))]);
    assert_eq!((answer.records.len(), answer.errors.len()), (2, 1));
}

#[test]
fn a_vm_starts_and_shuts_down() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    assert_eq!(world.state(), "Running");
    world.ok("Stop-VM", &[vm("vm")]);
    assert_eq!(world.state(), "Off");
}

#[test]
fn starting_what_runs_is_only_a_warning() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    assert_eq!(world.ok("Start-VM", &[vm("vm")]).warnings, [state::ALREADY]);
}

#[test]
fn of_two_starts_at_once_neither_fails() {
    let world = World::with(&["vm"]);
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| world.run("Start-VM", &[vm("vm")]))).collect();
        for start in starts {
            assert!(start.join().unwrap().errors.is_empty());
        }
    });
    assert_eq!(world.state(), "Running");
}

#[test]
fn a_guest_that_is_deaf_is_turned_off_only_by_force() {
    let world = World::with(&["vm"]);
    world.ok("Set-VMFirmware", &[vm("vm"), ("CommandLine", DEAF.into())]);
    world.ok("Start-VM", &[vm("vm")]);
    let wait = ("TimeoutSeconds", Value::Int(0));
    assert!(world.error("Stop-VM", &[vm("vm"), wait.clone()]).contains("-TurnOff"));
    world.ok("Stop-VM", &[vm("vm"), ("Force", true.into()), wait]);
    assert_eq!(world.state(), "Off");
}

#[test]
fn a_start_that_fails_says_which_vm_and_why() {
    let world = World::with(&["vm"]);
    world.ok("Set-VMFirmware", &[vm("vm"), ("CommandLine", BROKEN.into())]);
    let error = world.error("Start-VM", &[vm("vm")]);
    assert!(error.starts_with("'vm' failed to start. (Virtual machine ID ") && error.contains("mend it"));
    assert_eq!(world.state(), "Off");
}

#[test]
fn too_many_processors_fail_the_start_with_the_numbers() {
    let world = World::with(&["vm"]);
    world.ok("Set-VMProcessor", &[vm("vm"), ("Count", Value::Int(9))]);
    assert!(
        world.error("Start-VM", &[vm("vm")]).contains("9 virtual processors and the soft engine gives 8")
    );
}

/// Its processors are threads.
#[test]
fn the_software_engine_has_more_processors_than_the_host() {
    let world = World::with(&["vm"]);
    world.ok("Set-VMProcessor", &[vm("vm"), ("Count", Value::Int(3))]);
    world.ok("Start-VM", &[vm("vm")]);
}

#[test]
fn suspend_and_resume_go_there_and_back() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    world.ok("Suspend-VM", &[vm("vm")]);
    assert_eq!(world.state(), "Paused");
    world.ok("Resume-VM", &[vm("vm")]);
    assert_eq!(world.state(), "Running");
}

#[test]
fn the_extensions_are_exposed_and_read_back() {
    let world = World::with(&["vm"]);
    let on = ("ExposeVirtualizationExtensions", Value::Bool(true));
    world.ok("Set-VMProcessor", &[vm("vm"), on]);
    assert_eq!(world.property("Get-VMProcessor", "ExposeVirtualizationExtensions"), "True");
}

#[test]
fn the_extensions_stay_while_the_vm_runs() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    let on = ("ExposeVirtualizationExtensions", Value::Bool(true));
    assert!(world.error("Set-VMProcessor", &[vm("vm"), on]).contains(state::WRONG_STATE));
    assert_eq!(world.property("Get-VMProcessor", "ExposeVirtualizationExtensions"), "False");
}

#[test]
fn what_cannot_nest_at_start_is_refused_when_set() {
    let world = World::with(&["vm"]);
    world.ok("Set-VM", &[vm("vm"), ("Engine", "kvm".into())]);
    let on = ("ExposeVirtualizationExtensions", Value::Bool(true));
    assert!(world.error("Set-VMProcessor", &[vm("vm"), on]).contains("kvm engine cannot nest"));
}

#[test]
fn an_old_version_cannot_nest_until_it_is_updated() {
    let world = World::new();
    world.ok("New-VM", &[("Name", "vm".into()), ("Version", "9.0".into())]);
    let on = ("ExposeVirtualizationExtensions", Value::Bool(true));
    assert!(world.error("Set-VMProcessor", &[vm("vm"), on.clone()]).contains("9.0 is below 9.3"));
    world.ok("Update-VMVersion", &[vm("vm"), ("Force", true.into())]);
    world.ok("Set-VMProcessor", &[vm("vm"), on]);
}

#[test]
fn intels_personality_is_not_there_yet() {
    let world = World::with(&["vm"]);
    assert!(
        world
            .error("Set-VMProcessor", &[vm("vm"), ("ProcessorModel", "intel".into())])
            .contains("not there yet")
    );
}

#[test]
fn the_processor_shows_the_references_properties_in_order() {
    let world = World::with(&["vm"]);
    let records = world.ok("Get-VMProcessor", &[vm("vm")]).records;
    let names: Vec<&str> = records[0].properties.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names[..2], ["ResourcePoolName", "Count"]);
    let at = |name| names.iter().position(|own| *own == name).unwrap();
    assert!(at("ExposeVirtualizationExtensions") < at("Maximum") && at("Maximum") < at("OperationalStatus"));
    assert!(at("Id") < at("VMId") && at("VMId") < at("IsDeleted"));
}

fn startup(amount: &str) -> [(&'static str, Value); 2] {
    [vm("vm"), ("StartupBytes", amount.into())]
}

#[test]
fn a_running_static_vm_is_resized_and_the_configuration_kept() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    for (amount, bytes) in [("1056MB", 1056i64 << 20), ("768MB", 768 << 20)] {
        assert_eq!(world.ok("Set-VMMemory", &startup(amount)).warnings, Vec::<String>::new());
        let record = &world.ok("Get-VM", &[vm("vm")]).records[0];
        assert_eq!(
            (record.property("MemoryAssigned"), record.property("MemoryStartup")),
            (Some(&bytes.into()), Some(&bytes.into()))
        );
    }
}

#[test]
fn a_resize_with_a_hypervisor_inside_says_so_and_changes_nothing() {
    use std::io::{Read, Write};
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    let config = world.host.configs().unwrap().remove(0);
    {
        let client = crate::worker::Client::connect(&world.host.store.directory(config.id)).unwrap();
        let (mut output, mut keys) = client.console().unwrap();
        // The echo comes after the change. What was kept comes first.
        let mut byte = [0];
        while byte != *b"\n" {
            output.read_exact(&mut byte).unwrap();
        }
        keys.write_all(b"h").unwrap();
        output.read_exact(&mut byte).unwrap();
    }
    let error = world.error("Set-VMMemory", &startup("1056MB"));
    assert!(
        error.starts_with("Failed to modify device 'Memory'.") && error.contains("unload that hypervisor")
    );
    assert_eq!(world.host.configs().unwrap()[0], config);
}

#[test]
fn an_odd_amount_of_memory_is_an_invalid_parameter() {
    let world = World::with(&["vm"]);
    let answer = world.run("Set-VMMemory", &startup("513MB"));
    let failure = &answer.errors[0];
    assert!(failure.message.starts_with("Failed to modify device 'Memory'."), "{failure}");
    assert!(failure.qualified_id("Set-VMMemory").starts_with("InvalidParameter,"));
}

#[test]
fn dynamic_memory_is_not_switched_while_running() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    let error = world.error("Set-VMMemory", &[vm("vm"), ("DynamicMemoryEnabled", true.into())]);
    assert!(error.starts_with("Failed to modify device 'Memory'.") && error.contains("Stop-VM"));
    world.ok("Set-VMMemory", &[vm("vm"), ("DynamicMemoryEnabled", false.into())]);
}

#[test]
fn a_setter_is_silent_without_passthru() {
    let world = World::with(&["vm"]);
    assert!(world.ok("Set-VM", &[vm("vm"), ("Notes", "n".into())]).records.is_empty());
    let answer = world.ok("Set-VM", &[vm("vm"), ("Notes", "m".into()), ("Passthru", true.into())]);
    assert_eq!(answer.records[0].property("Notes"), Some(&"m".into()));
}

#[test]
fn objects_of_the_pipeline_mean_their_vm() {
    let world = World::with(&["vm", "vm"]);
    let records = world.ok("Get-VM", &[]).records;
    let second = Value::Record(Box::new(records[1].clone()));
    world.ok("Set-VM", &[("VM", second), ("Notes", "second".into())]);
    let notes = |record: &Record| record.property("Notes").unwrap().to_string();
    let all: Vec<String> = world.ok("Get-VM", &[]).records.iter().map(notes).collect();
    assert_eq!(all.iter().filter(|text| *text == "second").count(), 1);
}

#[test]
fn removing_asks_and_no_means_no() {
    let world = World::with(&["vm"]);
    let mut person = Person::default();
    world.asking(&mut person, "Remove-VM", &[vm("vm")]);
    assert_eq!(person.asked, ["Are you sure you want to remove virtual machine \"vm\"?"]);
    assert_eq!(world.host.names(), ["vm"]);
    world.asking(&mut Person { says_yes: true, ..person }, "Remove-VM", &[vm("vm")]);
    assert!(world.host.names().is_empty());
}

#[test]
fn what_if_says_and_does_nothing() {
    let world = World::with(&["vm"]);
    let mut person = Person::default();
    world.asking(&mut person, "Remove-VM", &[vm("vm"), ("WhatIf", true.into())]);
    assert!(person.heard[0].starts_with("What if: ") && world.host.names() == ["vm"]);
}

#[test]
fn confirm_false_does_not_ask() {
    let world = World::with(&["vm"]);
    world.ok("Remove-VM", &[vm("vm"), ("Confirm", false.into())]);
    assert!(world.host.names().is_empty());
}

#[test]
fn a_running_vm_is_not_removed() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    assert!(world.error("Remove-VM", &[vm("vm"), ("Force", true.into())]).starts_with(state::WRONG_STATE));
}

#[test]
fn saving_is_refused_with_a_sentence() {
    let world = World::with(&["vm"]);
    assert!(world.error("Save-VM", &[vm("vm")]).contains("not there yet"));
}

#[test]
fn disks_come_and_go_and_their_files_stay() {
    let world = World::with(&["vm"]);
    let file = world.host.store.home().join("disk.raw");
    std::fs::write(&file, vec![0; 1024]).unwrap();
    world.ok("Add-VMHardDiskDrive", &[vm("vm"), ("Path", file.display().to_string().into())]);
    assert_eq!(world.property("Get-VMHardDiskDrive", "Path"), file.display().to_string());
    world.ok("Remove-VMHardDiskDrive", &[vm("vm"), ("ControllerLocation", Value::Int(0))]);
    assert!(world.ok("Get-VMHardDiskDrive", &[vm("vm")]).records.is_empty() && file.exists());
}

#[test]
fn a_disk_that_is_not_there_is_refused() {
    let world = World::with(&["vm"]);
    let add = |path: &str| world.error("Add-VMHardDiskDrive", &[vm("vm"), ("Path", path.into())]);
    assert!(add("/no/such.raw").contains("/no/such.raw"));
}

#[test]
fn what_a_disk_is_stays_what_it_was_when_it_came() {
    let world = World::with(&["vm"]);
    let path = world.host.store.home().join("disk.img");
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    world.ok("Add-VMHardDiskDrive", &[vm("vm"), ("Path", path.display().to_string().into())]);
    // As a guest could write it.
    let mut header = vec![0; 4096];
    header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    std::fs::write(&path, header).unwrap();
    let config = &world.host.configs().unwrap()[0];
    assert_eq!(config.disks[0].format, ireko_machine::Format::Raw);
    assert_eq!(world.property("Get-VMHardDiskDrive", "Format"), "raw");
}

#[test]
fn an_image_over_another_is_refused_unless_that_is_named() {
    let world = World::with(&["vm"]);
    let at = |name: &str| world.host.store.home().join(name).display().to_string();
    world.ok("New-VHD", &[("Path", at("base.qcow2").into()), ("SizeBytes", Value::Int(1 << 20))]);
    world.ok("New-VHD", &[("Path", at("top.qcow2").into()), ("ParentPath", at("base.qcow2").into())]);
    let add = [vm("vm"), ("Path", at("top.qcow2").into())];
    let told = world.error("Add-VMHardDiskDrive", &add);
    assert!(told.contains("base.qcow2") && told.contains("-ParentPath"), "{told}");
    world.ok("Add-VMHardDiskDrive", &[&add[..], &[("ParentPath", at("base.qcow2").into())]].concat());
    assert_eq!(world.host.configs().unwrap()[0].disks[0].behind.len(), 1);
}

#[test]
fn spoofing_is_switched_through_the_pipeline_while_it_runs() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    let adapters = world.ok("Get-VMNetworkAdapter", &[vm("vm")]).records;
    let adapter = Value::Record(Box::new(adapters[0].clone()));
    world.ok("Set-VMNetworkAdapter", &[("VMNetworkAdapter", adapter), ("MacAddressSpoofing", "on".into())]);
    assert_eq!(world.property("Get-VMNetworkAdapter", "MacAddressSpoofing"), "On");
}

#[test]
fn metering_must_be_on_to_measure() {
    let world = World::with(&["vm"]);
    assert!(world.error("Measure-VM", &[vm("vm")]).contains("Enable-VMResourceMetering"));
    world.ok("Enable-VMResourceMetering", &[vm("vm")]);
    assert_eq!(world.ok("Measure-VM", &[vm("vm")]).records.len(), 1);
}

#[test]
fn enabling_nesting_shows_the_plan_asks_and_does_it() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    let mut person = Person { says_yes: true, ..Person::default() };
    let answer = world.asking(&mut person, "Enable-NestedVm", &[("Name", "vm".into())]);
    assert!(answer.errors.is_empty(), "{:?}", answer.errors);
    assert!(person.heard.iter().any(|line| line.contains("will be turned off")));
    assert_eq!(world.property("Get-VMProcessor", "ExposeVirtualizationExtensions"), "True");
    assert_eq!(world.property("Get-VMMemory", "Startup"), (4u64 << 30).to_string());
    assert_eq!(world.property("Get-VMNetworkAdapter", "MacAddressSpoofing"), "On");
    // The plan, the memory, the spoofing.
    assert_eq!((person.asked.len(), world.state().as_str()), (3, "Off"));
}

#[test]
fn enabling_nesting_twice_changes_nothing() {
    let world = World::with(&["vm"]);
    let force = ("Force", Value::Bool(true));
    world.ok("Enable-NestedVm", &[("Name", "vm".into()), force.clone()]);
    let mut person = Person::default();
    world.asking(&mut person, "Enable-NestedVm", &[("Name", "vm".into()), force]);
    assert_eq!(person.heard, ["None, vm is already setup for nesting"]);
}

#[test]
fn the_plan_alone_is_shown_with_what_if() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    let mut person = Person { says_yes: true, ..Person::default() };
    world.asking(&mut person, "Enable-NestedVm", &[("Name", "vm".into()), ("WhatIf", true.into())]);
    assert!(person.heard.iter().any(|line| line.contains("Virtualization extensions will be enabled")));
    assert_eq!((person.asked.len(), world.state().as_str()), (0, "Running"));
}

#[test]
fn a_vm_that_cannot_nest_is_not_stopped_for_it() {
    let world = World::with(&["vm"]);
    world.ok("Set-VM", &[vm("vm"), ("Engine", "kvm".into())]);
    world.ok("Start-VM", &[vm("vm")]);
    let error = world.error("Enable-NestedVm", &[("Name", "vm".into()), ("Force", true.into())]);
    assert!(error.contains("the kvm engine cannot nest here"), "{error}");
    assert_eq!(world.state(), "Running");
}

#[test]
fn nothing_runs_inside_a_vm_that_is_off() {
    let world = World::with(&["vm"]);
    let nested = ("Nested", Value::Bool(true));
    assert!(world.error("Get-VM", &[vm("vm"), nested.clone()]).contains("Start-VM"));
    assert!(world.ok("Get-VM", &[nested]).records.is_empty());
    assert_eq!(world.property("Get-VM", "HypervisorRunning"), "False");
}

#[test]
fn the_levels_of_a_running_vm_begin_with_itself() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    let answer = world.ok("Get-VM", &[vm("vm"), ("Nested", true.into())]);
    let levels: Vec<_> = answer.records.iter().map(|r| (r.kind, r.property("Level").cloned())).collect();
    assert_eq!(levels, [(Kind::NestedWorld, Some(Value::Int(1)))]);
}

#[test]
fn the_hosts_status_comes_first_and_says_what_blocks() {
    let world = World::with(&["vm"]);
    let records = world.ok("Get-NestedVmStatus", &[]).records;
    assert_eq!(records[0].property("HostNestedSupport"), Some(&true.into()));
    assert_eq!(records[0].property("HardwareBlocker"), Some(&"the kvm engine cannot nest here".into()));
    assert!(records[1].property("VmCfgErrors").unwrap().to_string().contains("not exposed"));
}

#[test]
fn no_to_the_plan_leaves_the_vm_running() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    world.asking(&mut Person::default(), "Enable-NestedVm", &[("Name", "vm".into())]);
    assert_eq!(world.state(), "Running");
}

#[test]
fn a_vm_whose_worker_was_killed_is_off_with_the_reason() {
    use crate::store::Run;
    use crate::store::run::Kept;
    let world = World::with(&["vm"]);
    let id: Guid = world.property("Get-VM", "VMId").parse().unwrap();
    Run { pid: 77, started: 1, ..Run::default() }.write(&world.host.store.directory(id)).unwrap();
    let answer = world.ok("Get-VM", &[vm("vm")]);
    assert_eq!(answer.records[0].property("State"), Some(&"Off".into()));
    let shown = |name| answer.records[0].property(name).unwrap().to_string();
    assert!(shown("Status").starts_with("Ended: its worker (process 77) died without a word"));
    assert!(shown("EndReason").contains("process 77"));
}

#[test]
fn an_end_reason_is_one_sentence_whatever_a_worker_wrote() {
    use crate::store::Run;
    use crate::store::run::Kept;
    let world = World::with(&["vm"]);
    let id: Guid = world.property("Get-VM", "VMId").parse().unwrap();
    let run = Run { ended: Some(2), reason: Some("a triple fault\nrip 0\nrax 1".into()), ..Run::default() };
    run.write(&world.host.store.directory(id)).unwrap();
    assert_eq!(world.property("Get-VM", "EndReason"), "a triple fault");
}

#[test]
fn a_hostile_name_is_refused() {
    let world = World::new();
    for name in ["", "a\u{1b}[2J", "a\nb"] {
        assert!(!world.error("New-VM", &[("Name", name.into())]).is_empty(), "{name:?}");
    }
}

#[test]
fn a_missing_parameter_is_named() {
    assert!(World::new().error("Start-VM", &[]).contains("Name"));
}

#[test]
fn the_wrong_kind_of_object_is_refused() {
    let record = Record::new(Kind::VMHost);
    assert!(
        World::new().error("Start-VM", &[("VM", Value::Record(Box::new(record)))]).contains("VirtualMachine")
    );
}

/// Workers that are there and say nothing, as when they are stopped.
fn silent(world: &World) -> Vec<(crate::store::WorkerLock, std::os::unix::net::UnixListener)> {
    let directories = world.host.configs().unwrap().into_iter().map(|vm| world.host.store.directory(vm.id));
    let one = |directory: std::path::PathBuf| {
        let lock = crate::store::WorkerLock::take(&directory).unwrap().unwrap();
        // The path itself may be too long for a socket.
        crate::store::run::make_directory(&directory).unwrap();
        let opened = std::fs::File::open(directory.join(crate::store::run::DIRECTORY)).unwrap();
        let path = format!("/proc/self/fd/{}/control.sock", std::os::fd::AsRawFd::as_raw_fd(&opened));
        (lock, std::os::unix::net::UnixListener::bind(path).unwrap())
    };
    directories.map(one).collect()
}

#[test]
fn a_vm_whose_worker_does_not_answer_is_shown_as_it_was_last_known() {
    let world = World::with(&["vm"]);
    let _silent = silent(&world);
    let status = |name| world.property("Get-VM", name);
    assert_eq!((status("State"), status("Status")), ("Running".into(), "Not responding".into()));
    let directory = world.host.store.directory(world.host.configs().unwrap()[0].id);
    crate::store::Run::note_paused(&directory, true);
    assert_eq!((status("State"), status("Status")), ("Paused".into(), "Not responding".into()));
}

#[test]
fn one_that_does_not_answer_does_not_make_others_look_so() {
    let world = World::with(&["vm"]);
    let _silent = silent(&world);
    world.ok("New-VM", &[("Name", "wm".into())]);
    world.ok("Start-VM", &[vm("wm")]);
    let mut all = world.host.configs().unwrap();
    // The silent one is asked first.
    all.sort_by_key(|config| config.name.clone());
    let silent: Vec<bool> = world.host.vms(all).iter().map(|vm| vm.silent).collect();
    assert_eq!(silent, [true, false]);
}

#[test]
fn all_workers_are_asked_before_any_is_waited_for() {
    use std::io::{BufRead, BufReader};
    let status: crate::worker::protocol::Status = serde_json::from_value(serde_json::json!({
        "state": "Running", "pid": 1, "uptime_seconds": 0.0, "engine": "", "engine_reason": "",
        "memory_assigned": 0, "memory_resident": 0, "cpu_seconds": 0.0, "cpu_load": 0.0, "nested": false,
        "resets": 0, "console_bytes": 0, "viewers": 0,
    }))
    .unwrap();
    let answer = crate::worker::protocol::Reply::Status(Box::new(status));
    let world = World::new();
    (0..20).for_each(|n| drop(world.ok("New-VM", &[("Name", format!("vm{n}").as_str().into())])));
    let silent = silent(&world);
    let (all, host) = (world.host.configs().unwrap(), &world.host);
    let heard = std::thread::scope(|scope| {
        // None answers before each of them has heard its question.
        scope.spawn(|| {
            let mut asked: Vec<_> = silent.iter().map(|(_, listener)| listener.accept().unwrap().0).collect();
            for stream in &asked {
                BufReader::new(stream).read_line(&mut String::new()).unwrap();
            }
            for stream in &mut asked {
                let _ = crate::worker::protocol::write_line(stream, &answer);
            }
        });
        host.vms(all).iter().filter(|vm| vm.status.is_some()).count()
    });
    assert_eq!(heard, 20);
}

#[test]
fn nothing_is_asked_of_a_worker_that_does_not_answer() {
    use std::io::Read;
    let world = World::with(&["vm"]);
    let held = silent(&world);
    let bandwidth = ("MaximumBandwidth", Value::Int(8_000_000));
    let memory = ("StartupBytes", Value::Int(3 << 30));
    let tried: [(&str, &[(&str, Value)]); 9] = [
        ("Suspend-VM", &[vm("vm")]),
        ("Resume-VM", &[vm("vm")]),
        ("Restart-VM", &[vm("vm"), ("Force", true.into())]),
        ("Stop-VM", &[vm("vm")]),
        ("Start-VM", &[vm("vm")]),
        ("Set-VMMemory", &[vm_name(), memory]),
        ("Set-VMNetworkAdapter", &[vm_name(), bandwidth]),
        ("Enable-VMResourceMetering", &[vm_name()]),
        ("Get-VM", &[vm("vm"), ("Nested", true.into())]),
    ];
    for (cmdlet, arguments) in tried {
        let said = world.error(cmdlet, arguments);
        assert!(said.contains("does not answer") && said.contains("Stop-VM -TurnOff"), "{cmdlet}: {said}");
        assert!(!said.contains("os error"), "{cmdlet}: {said}");
    }
    // Whatever it finds when it goes on is a question.
    held[0].1.set_nonblocking(true).unwrap();
    let mut found = String::new();
    while let Ok((mut stream, _)) = held[0].1.accept() {
        let _ = stream.read_to_string(&mut found);
    }
    assert!(!found.is_empty() && found.lines().all(|line| line == r#"{"do":"status"}"#), "{found}");
}

#[test]
fn what_is_invisible_is_in_no_name() {
    let world = World::with(&["vm"]);
    world.ok("New-VMSwitch", &[("Name", "wire".into()), ("SwitchType", "Private".into())]);
    let name = || Value::from("vm\u{200b}");
    let disk = world.host.store.home().join("a\u{2060}.raw").display().to_string();
    let new_disk = [("NewVHDPath", disk.as_str().into()), ("NewVHDSizeBytes", Value::Int(512))];
    let tried: [(&str, Vec<(&str, Value)>); 8] = [
        ("New-VM", vec![("Name", name())]),
        ("Rename-VM", vec![("Name", "vm".into()), ("NewName", name())]),
        ("New-VMSwitch", vec![("Name", name()), ("SwitchType", "Private".into())]),
        ("Rename-VMSwitch", vec![("Name", "wire".into()), ("NewName", name())]),
        ("Add-VMNetworkAdapter", vec![vm_name(), ("Name", name())]),
        ("Rename-VMNetworkAdapter", vec![vm_name(), ("NewName", name())]),
        ("New-NetNat", vec![("Name", name()), ("InternalIPInterfaceAddressPrefix", "10.9.0.0/24".into())]),
        ("New-VM", [vec![("Name", "other".into())], new_disk.to_vec()].concat()),
    ];
    for (cmdlet, arguments) in tried {
        let said = world.error(cmdlet, &arguments);
        assert!(said.contains("invisible or direction-changing character U+2"), "{cmdlet}: {said}");
    }
}

#[test]
fn a_pause_is_remembered_for_when_the_worker_does_not_answer() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[vm("vm")]);
    let directory = world.host.store.directory(world.host.configs().unwrap()[0].id);
    let paused = || crate::store::Run::noted_paused(&directory);
    world.ok("Suspend-VM", &[vm("vm")]);
    let held = paused();
    world.ok("Resume-VM", &[vm("vm")]);
    assert_eq!((held, paused()), (true, false));
}

#[test]
fn limits_of_disks_and_adapters_are_set_while_the_vm_runs_and_shown() {
    let world = World::with(&["vm"]);
    let disk = world.host.store.home().join("disk.raw");
    std::fs::write(&disk, [0; 512]).unwrap();
    let disk = disk.display().to_string();
    world.ok("Add-VMHardDiskDrive", &[vm_name(), ("Path", disk.as_str().into())]);
    world.ok("Start-VM", &[vm("vm")]);
    let place = || ("ControllerLocation", Value::Int(0));
    world.ok("Set-VMHardDiskDrive", &[vm_name(), place(), ("MaximumIOPS", Value::Int(50))]);
    world.ok("Set-VMNetworkAdapter", &[vm_name(), ("MaximumBandwidth", Value::Int(8_000_000))]);
    assert_eq!(world.property("Get-VMHardDiskDrive", "MaximumIOPS"), "50");
    assert_eq!(world.property("Get-VMNetworkAdapter", "MaximumBandwidth"), "8000000");
    // What was not named stays; another image does not come while it runs.
    world.ok("Set-VMHardDiskDrive", &[vm_name(), place(), ("MaximumBytesPerSecond", Value::Int(1 << 20))]);
    assert_eq!(world.property("Get-VMHardDiskDrive", "MaximumIOPS"), "50");
    let path = ("Path", disk.as_str().into());
    assert!(world.error("Set-VMHardDiskDrive", &[vm_name(), place(), path]).contains("Stop-VM"));
}

fn vm_name() -> (&'static str, Value) {
    ("VMName", "vm".into())
}
