//! Images that no machine uses.

use super::tests::World;
use crate::store::config::{BootEntry, StartWith};
use crate::value::Value;

fn at(world: &World, name: &str) -> Value {
    world.host.store.home().join(name).display().to_string().into()
}

fn size(bytes: i64) -> (&'static str, Value) {
    ("SizeBytes", Value::Int(bytes))
}

const MIB: i64 = 1 << 20;

#[test]
fn a_name_says_of_which_format_an_image_is_made() {
    let world = World::with(&[]);
    for (name, format, kind) in [
        ("a.vhdx", "VHDX", "Dynamic"),
        ("a.vhd", "VHD", "Dynamic"),
        ("a.qcow2", "QCOW2", "Dynamic"),
        ("a.img", "RAW", "Fixed"),
    ] {
        let made = world.ok("New-VHD", &[("Path", at(&world, name)), size(8 * MIB)]).records.remove(0);
        assert_eq!(made.property("VhdFormat"), Some(&format.into()));
        assert_eq!(made.property("VhdType"), Some(&kind.into()));
        let again = world.ok("Get-VHD", &[("Path", at(&world, name))]).records.remove(0);
        assert_eq!(again, made);
        let report = world.ok("Test-VHD", &[("Path", at(&world, name))]).records.remove(0);
        assert_eq!(report.property("Result"), Some(&true.into()));
    }
    let told = world.error("New-VHD", &[("Path", at(&world, "a.disk")), size(MIB)]);
    assert!(told.contains("says nothing of a format"), "{told}");
    let told = world.error("New-VHD", &[("Path", at(&world, "a.vhdx")), size(MIB)]);
    assert!(told.contains("exists"), "{told}");
}

#[test]
fn an_image_is_converted_resized_and_compacted() {
    let world = World::with(&[]);
    let content: Vec<u8> =
        (0..8 << 20).map(|byte: u32| if byte < 3 << 20 { (byte >> 9) as u8 } else { 0 }).collect();
    std::fs::write(world.host.store.home().join("a.img"), &content).unwrap();
    let mut from = "a.img";
    for to in ["b.vhdx", "c.vhd", "d.qcow2", "e.img"] {
        world.ok("Convert-VHD", &[("Path", at(&world, from)), ("DestinationPath", at(&world, to))]);
        from = to;
    }
    assert!(std::fs::read(world.host.store.home().join("e.img")).unwrap() == content);
    for name in ["b.vhdx", "d.qcow2", "e.img"] {
        let path = ("Path", at(&world, name));
        world.ok("Resize-VHD", &[path.clone(), size(16 * MIB)]);
        let told = world.error("Resize-VHD", &[path.clone(), size(4 * MIB)]);
        assert!(told.contains("-Shrink"), "{told}");
        world.ok("Resize-VHD", &[path.clone(), size(4 * MIB), ("Shrink", true.into())]);
        world.ok("Optimize-VHD", std::slice::from_ref(&path));
        let now = world.ok("Get-VHD", &[path]).records.remove(0);
        assert_eq!(now.property("Size"), Some(&Value::Int(4 * MIB)));
    }
}

#[test]
fn a_layer_is_found_over_its_parent_and_merged_into_it() {
    let world = World::with(&["vm"]);
    for format in ["vhdx", "vhd"] {
        let (base, top) = (format!("base.{format}"), format!("top.{format}"));
        world.ok("New-VHD", &[("Path", at(&world, &base)), size(8 * MIB)]);
        let parent = ("ParentPath", at(&world, &base));
        world.ok("New-VHD", &[("Path", at(&world, &top)), parent, ("Differencing", true.into())]);
        // Its parent is known by a number: nobody has to name it.
        world.ok("Add-VMHardDiskDrive", &[("VMName", "vm".into()), ("Path", at(&world, &top))]);
        let config = &world.host.configs().unwrap()[0];
        assert_eq!(config.disks.last().unwrap().behind.len(), 1);
        world.ok("Merge-VHD", &[("Path", at(&world, &top))]);
        assert!(!world.host.store.home().join(&top).exists());
    }
}

#[test]
fn an_image_that_somebody_has_is_left_alone() {
    let world = World::with(&[]);
    world.ok("New-VHD", &[("Path", at(&world, "a.qcow2")), size(8 * MIB)]);
    let file = std::fs::File::open(world.host.store.home().join("a.qcow2")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let told = world.error("Resize-VHD", &[("Path", at(&world, "a.qcow2")), size(16 * MIB)]);
    assert!(told.contains("in use by"), "{told}");
    let told = world.error("Test-VHD", &[("Path", at(&world, "a.qcow2"))]);
    assert!(told.contains("in use by"), "{told}");
}

#[test]
fn a_damaged_image_is_told_of() {
    let world = World::with(&[]);
    world.ok("New-VHD", &[("Path", at(&world, "a.qcow2")), size(8 * MIB)]);
    let path = world.host.store.home().join("a.qcow2");
    let mut bytes = std::fs::read(&path).unwrap();
    // An L2 table that is nowhere.
    let l1 = u64::from_be_bytes(bytes[40..48].try_into().unwrap()) as usize;
    bytes[l1 + 4] = 0x7f;
    std::fs::write(&path, bytes).unwrap();
    let told = world.error("Test-VHD", &[("Path", at(&world, "a.qcow2"))]);
    assert!(told.contains("1 damaged"), "{told}");
}

#[test]
fn a_machine_starts_with_the_disk_or_the_disc_that_it_brings() {
    let world = World::with(&[]);
    world.ok("New-VHD", &[("Path", at(&world, "a.qcow2")), size(8 * MIB)]);
    let mut disc = vec![0; 40 << 10];
    disc[0x8001..0x8006].copy_from_slice(b"CD001");
    std::fs::write(world.host.store.home().join("a.iso"), disc).unwrap();
    std::fs::write(world.host.store.home().join("no.iso"), vec![0; 40 << 10]).unwrap();
    let new = |name: &str, more: &[(&str, Value)]| {
        world.ok("New-VM", &[&[("Name", name.into())], more].concat());
        world.host.configs().unwrap().into_iter().find(|config| config.name == name).unwrap()
    };
    let (disk, iso) = (("VHDPath", at(&world, "a.qcow2")), ("ISOPath", at(&world, "a.iso")));
    assert_eq!(new("plain", &[]).boot.start_with, StartWith::Kernel);
    assert_eq!(new("disk", std::slice::from_ref(&disk)).boot.start_with, StartWith::Firmware);
    let told = [disk.clone(), ("StartWith", "Kernel".into())];
    assert_eq!(new("told", &told).boot.start_with, StartWith::Kernel);
    for generation in [1, 2] {
        let config = new(
            &format!("disc {generation}"),
            &[iso.clone(), disk.clone(), ("Generation", Value::Int(generation))],
        );
        assert_eq!(config.boot.start_with, StartWith::Firmware);
        let first = crate::rules::drives::boot_order(&config)[0];
        assert_eq!(first, BootEntry::Drive(config.dvds[0].place));
        assert!(config.dvds[0].path.is_some());
    }
    let no = world.error("New-VM", &[("Name", "no".into()), ("ISOPath", at(&world, "no.iso"))]);
    assert!(no.contains("no ISO image"), "{no}");
}
