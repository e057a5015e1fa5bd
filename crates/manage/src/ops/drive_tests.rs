//! Drives, their places, and what firmware tries.

use super::tests::World;
use crate::value::Value;

fn vm_name() -> (&'static str, Value) {
    ("VMName", "vm".into())
}

/// A file in the home that may be a disk or a CD.
fn image(world: &World, name: &str) -> Value {
    let path = world.host.store.home().join(name);
    std::fs::write(&path, vec![0; 2048]).unwrap();
    path.display().to_string().into()
}

#[test]
fn what_is_done_about_a_disks_errors_is_kept() {
    let world = World::with(&["vm"]);
    let policy = |name: &'static str| ("ErrorPolicy", Value::text(name));
    world.ok("Add-VMHardDiskDrive", &[vm_name(), ("Path", image(&world, "disk.raw")), policy("stop")]);
    assert_eq!(world.property("Get-VMHardDiskDrive", "ErrorPolicy"), "Stop");
    world.ok("Set-VMHardDiskDrive", &[vm_name(), policy("StopWhenFull")]);
    assert_eq!(world.property("Get-VMHardDiskDrive", "ErrorPolicy"), "StopWhenFull");
    world.ok("Set-VMHardDiskDrive", &[vm_name(), ("MaximumIOPS", Value::Int(5))]);
    assert_eq!(world.property("Get-VMHardDiskDrive", "ErrorPolicy"), "StopWhenFull");
}

#[test]
fn disks_at_ide_have_places_of_their_own() {
    let world = World::with(&["vm"]);
    let path = || ("Path", image(&world, "disk.raw"));
    let ide = || ("ControllerType", Value::text("ide"));
    let number = |name, number| (name, Value::Int(number));
    world.ok("Add-VMHardDiskDrive", &[vm_name(), path()]);
    (0..4).for_each(|_| drop(world.ok("Add-VMHardDiskDrive", &[vm_name(), path(), ide()])));
    assert!(world.error("Add-VMHardDiskDrive", &[vm_name(), path(), ide()]).contains("no free IDE location"));
    let second = [vm_name(), ide(), number("ControllerNumber", 1), number("ControllerLocation", 1)];
    world.ok("Remove-VMHardDiskDrive", &second);
    assert_eq!(world.ok("Get-VMHardDiskDrive", &[vm_name(), ide()]).records.len(), 3);
    assert_eq!(world.ok("Get-VMHardDiskDrive", &[vm_name()]).records.len(), 4);
    assert!(world.error("Remove-VMHardDiskDrive", &second).contains("no disk at IDE location 1"));
    let beyond = [vm_name(), path(), ide(), number("ControllerNumber", 2)];
    assert!(world.error("Add-VMHardDiskDrive", &beyond).contains("no IDE controller 2"));
    let open = [vm_name(), number("ControllerLocation", 0)];
    assert!(world.error("Remove-VMHardDiskDrive", &open).contains("Which disk"));
}

#[test]
fn a_dvd_drive_takes_an_image_and_gives_it_back() {
    let world = World::with(&["vm"]);
    world.ok("Add-VMDvdDrive", &[vm_name()]);
    assert_eq!(world.property("Get-VMDvdDrive", "DvdMediaType"), "None");
    world.ok("Set-VMDvdDrive", &[vm_name(), ("Path", image(&world, "cd.iso"))]);
    assert_eq!(world.property("Get-VMDvdDrive", "DvdMediaType"), "ISO");
    assert_eq!(world.property("Get-VMDvdDrive", "ControllerType"), "IDE");
    world.ok("Set-VMDvdDrive", &[vm_name(), ("Path", Value::Null)]);
    assert_eq!(world.property("Get-VMDvdDrive", "Path"), "");
    let drive = world.ok("Get-VMDvdDrive", &[vm_name()]).records.remove(0);
    world.ok("Remove-VMDvdDrive", &[("VMDvdDrive", drive.into())]);
    assert!(world.ok("Get-VMDvdDrive", &[vm_name()]).records.is_empty());
    assert!(world.error("Remove-VMDvdDrive", &[vm_name()]).contains("no DVD drive"));
}

#[test]
fn what_has_no_end_or_no_positions_is_no_disc() {
    let world = World::with(&["vm"]);
    world.ok("Add-VMDvdDrive", &[vm_name()]);
    let said = world.error("Set-VMDvdDrive", &[vm_name(), ("Path", "/dev/zero".into())]);
    assert!(said.contains("neither a file nor a block device; give an ISO image"), "{said}");
}

#[test]
fn a_running_machine_gets_another_disc_and_the_one_before_is_free() {
    let world = World::with(&["vm"]);
    world.ok("Add-VMDvdDrive", &[vm_name()]);
    world.ok("Start-VM", &[("Name", "vm".into())]);
    let (disc, medium) = (image(&world, "cd.iso"), world.property("Get-VMDvdDrive", "Path"));
    assert_eq!(medium, "");
    let lock = || {
        let file = std::fs::File::open(disc.to_string()).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
    };
    world.ok("Set-VMDvdDrive", &[vm_name(), ("Path", disc.clone())]);
    assert_eq!(world.property("Get-VMDvdDrive", "Path"), disc.to_string());
    assert!(lock().is_err());
    world.ok("Set-VMDvdDrive", &[vm_name(), ("Path", Value::Null)]);
    assert_eq!(world.property("Get-VMDvdDrive", "Path"), "");
    assert!(lock().is_ok());
    assert!(world.error("Add-VMDvdDrive", &[vm_name()]).contains("Stop-VM"));
}

#[test]
fn disks_at_scsi_and_nvme_come_and_go_while_the_machine_runs_and_others_do_not() {
    let world = World::with(&["vm"]);
    world.ok("Start-VM", &[("Name", "vm".into())]);
    let (path, kind) = (image(&world, "disk.raw"), |kind: &str| ("ControllerType", Value::text(kind)));
    let disk = || ("Path", path.clone());
    for hot in ["SCSI", "NVMe"] {
        world.ok("Add-VMHardDiskDrive", &[vm_name(), disk(), kind(hot)]);
        let said = world.error("Add-VMHardDiskDrive", &[vm_name(), disk(), kind(hot)]);
        assert!(said.contains("is in use by this virtual machine itself"), "{said}");
        assert_eq!(world.ok("Get-VMHardDiskDrive", &[vm_name()]).records.len(), 1);
        world.ok("Remove-VMHardDiskDrive", &[vm_name(), kind(hot)]);
        assert!(world.ok("Get-VMHardDiskDrive", &[vm_name()]).records.is_empty());
    }
    for cold in ["IDE", "SATA"] {
        let said = world.error("Add-VMHardDiskDrive", &[vm_name(), disk(), kind(cold)]);
        assert!(said.contains(&format!("disks at {cold} controllers")) && said.contains("Stop-VM"), "{said}");
    }
}

#[test]
fn a_disk_that_the_guest_does_not_let_go_of_stays() {
    let world = World::new();
    world.ok("New-VM", &[("Name", "vm".into()), ("CommandLine", crate::worker::fake::DEAF.into())]);
    world.ok("Add-VMHardDiskDrive", &[vm_name(), ("Path", image(&world, "disk.raw"))]);
    world.ok("Start-VM", &[("Name", "vm".into())]);
    let said = world.error("Remove-VMHardDiskDrive", &[vm_name()]);
    assert!(said.contains("did not let go of the disk within 7 seconds"), "{said}");
    assert_eq!(world.ok("Get-VMHardDiskDrive", &[vm_name()]).records.len(), 1);
    world.ok("Suspend-VM", &[("Name", "vm".into())]);
    assert!(world.error("Remove-VMHardDiskDrive", &[vm_name()]).contains("Resume-VM"));
}

#[test]
fn an_order_of_nothing_is_refused() {
    let world = World::with(&["vm"]);
    let said = world.error("Set-VMBios", &[vm_name(), ("StartupOrder", Value::list(Vec::<&str>::new()))]);
    assert!(said.contains("The StartupOrder is empty"), "{said}");
}

fn boot_order(world: &World) -> Vec<String> {
    let firmware = world.ok("Get-VMFirmware", &[vm_name()]).records.remove(0);
    let of = |value: &Value| match value {
        Value::Record(source) => source.property("Description").unwrap().to_string(),
        other => panic!("{other}"),
    };
    firmware.property("BootOrder").unwrap().items().iter().map(of).collect()
}

#[test]
fn uefi_tries_first_what_it_is_told_by_object_or_by_words() {
    let world = World::new();
    let two = ("Generation", Value::Int(2));
    world.ok("New-VM", &[("Name", "vm".into()), two.clone()]);
    world.ok("New-VM", &[("Name", "other".into()), two]);
    world.ok("Add-VMHardDiskDrive", &[vm_name(), ("Path", image(&world, "disk.raw"))]);
    world.ok("Add-VMDvdDrive", &[vm_name(), ("Path", image(&world, "cd.iso"))]);
    let (disk, dvd, network) = (
        "Hard Drive on SCSI controller number 0 at location 0",
        "DVD Drive on SATA controller number 0 at location 0",
        "Network Adapter",
    );
    assert_eq!(boot_order(&world), [disk, dvd, network]);
    let drive = world.ok("Get-VMDvdDrive", &[vm_name()]).records.remove(0);
    world.ok("Set-VMFirmware", &[vm_name(), ("FirstBootDevice", drive.clone().into())]);
    assert_eq!(boot_order(&world), [dvd, disk, network]);
    let words = Value::list(["Network", "SCSI:0:0"]);
    world.ok("Set-VMFirmware", &[vm_name(), ("BootOrder", words)]);
    assert_eq!(boot_order(&world), [network, disk, dvd]);
    let set = |vm: &str, name, value| world.error("Set-VMFirmware", &[("VMName", vm.into()), (name, value)]);
    assert!(set("other", "FirstBootDevice", drive.into()).contains("is of 'vm' and not of 'other'"));
    assert!(set("vm", "FirstBootDevice", "SATA:0:5".into()).contains("'SATA:0:5'"));
    assert!(set("vm", "StartupOrder", Value::list(["CD"])).contains("use -BootOrder"));
}

#[test]
fn what_firmware_tries_is_named_once() {
    let world = World::new();
    world.ok("New-VM", &[("Name", "one".into()), ("Generation", Value::Int(1))]);
    world.ok("New-VM", &[("Name", "two".into()), ("Generation", Value::Int(2))]);
    world.ok("Add-VMHardDiskDrive", &[("VMName", "two".into()), ("Path", image(&world, "disk.raw"))]);
    let set = |vm: &str, name, words: &[&'static str]| {
        let order = (name, Value::list(words.iter().copied()));
        world.error("Set-VMFirmware", &[("VMName", vm.into()), order])
    };
    assert!(set("one", "StartupOrder", &["CD", "IDE", "CD"]).contains("StartupOrder has 'CD' twice"));
    assert!(set("two", "BootOrder", &["Disk", "Network", "disk"]).contains("BootOrder has 'disk' twice"));
    assert!(set("two", "BootOrder", &["SCSI:0:0", "scsi:0:0"]).contains("twice"));
    let rest = Value::list(["SCSI:0:0", "Disk"]);
    world.ok("Set-VMFirmware", &[("VMName", "two".into()), ("BootOrder", rest)]);
}

#[test]
fn a_bios_tries_kinds_of_devices_in_the_order_that_it_is_told() {
    let world = World::new();
    world.ok("New-VM", &[("Name", "vm".into()), ("BootDevice", "CD".into())]);
    let dvd = "DVD Drive on IDE controller number 1 at location 0";
    assert_eq!(boot_order(&world), [dvd, "Network Adapter"]);
    let order = Value::list(["LegacyNetworkAdapter", "CD"]);
    world.ok("Set-VMBios", &[vm_name(), ("StartupOrder", order)]);
    assert_eq!(boot_order(&world), ["Network Adapter", dvd]);
    assert_eq!(world.property("Get-VMBios", "StartupOrder"), "{LegacyNetworkAdapter, CD, IDE, Floppy}");
    let first = [vm_name(), ("FirstBootDevice", "CD".into())];
    assert!(world.error("Set-VMFirmware", &first).contains("use -StartupOrder"));
}

#[test]
fn modules_are_files_with_command_lines_for_a_kernel_of_ones_own() {
    let world = World::with(&["vm"]);
    let (kernel, module) = (image(&world, "kernel"), image(&world, "a module").to_string());
    let given = Value::list([format!("{module} root=//x  y").as_str(), module.as_str()]);
    let set = |more: &[(&'static str, Value)]| {
        world.error("Set-VMFirmware", &[&[vm_name(), ("Module", given.clone())], more].concat())
    };
    assert!(set(&[]).contains("give -Kernel too"));
    assert_eq!(set(&[("Kernel", kernel), ("BootProtocol", "pvh".into())]), "");
    let shown = |name| world.property("Get-VMFirmware", name);
    assert_eq!(shown("Module"), format!("{{{module} root=//x  y, {module}}}"));
    assert_eq!(shown("BootProtocol"), "PVH");
    let wrong = world.error("Set-VM", &[("Name", "vm".into()), ("Module", "/no/such/file a b".into())]);
    assert!(wrong.contains("'/no/such/file' does not exist"), "{wrong}");
    world.ok("Set-VMFirmware", &[vm_name(), ("Module", Value::Null), ("BootProtocol", "Auto".into())]);
    assert_eq!((shown("Module"), shown("BootProtocol")), ("{}".into(), "Auto".into()));
}

#[test]
fn what_starts_with_firmware_shows_no_kernel_that_it_does_not_start() {
    let world = World::with(&["vm"]);
    let kernel = || world.property("Get-VMFirmware", "Kernel");
    assert_eq!(kernel(), "(built-in Debian image)");
    world.ok("Set-VMFirmware", &[vm_name(), ("StartWith", "Firmware".into())]);
    assert_eq!(kernel(), "");
}

#[test]
fn secure_boot_is_off_until_it_is_turned_on_in_a_machine_of_generation_2() {
    let world = World::with(&["old"]);
    world.ok("New-VM", &[("Name", "vm".into()), ("Generation", Value::Int(2))]);
    let set = |vm: &str, word: &str| {
        world.error("Set-VMFirmware", &[("VMName", vm.into()), ("EnableSecureBoot", word.into())])
    };
    let shown = || world.property("Get-VMFirmware", "SecureBoot");
    assert_eq!(shown(), "Off");
    assert_eq!((set("vm", "On"), shown()), (String::new(), "On".into()));
    assert_eq!((set("vm", "Off"), shown()), (String::new(), "Off".into()));
    assert!(set("old", "On").contains("knows no secure boot"));
    assert_eq!(set("old", "Off"), "");
}

#[test]
fn secure_boot_and_an_engine_without_it_are_refused_whichever_comes_second() {
    let world = World::new();
    let engine = |name: &str| world.error("Set-VM", &[("Name", "vm".into()), ("Engine", name.into())]);
    let secure = |word: &str| world.error("Set-VMFirmware", &[vm_name(), ("EnableSecureBoot", word.into())]);
    world.ok("New-VM", &[("Name", "vm".into()), ("Generation", Value::Int(2))]);
    assert_eq!((engine("kvm"), secure("Off")), Default::default());
    assert!(secure("On").contains("cannot have both secure boot and the engine kvm"));
    assert_eq!((engine("auto"), secure("On")), Default::default());
    assert!(engine("kvm").contains("-EnableSecureBoot Off"));
    assert_eq!(engine("soft"), "");
}
