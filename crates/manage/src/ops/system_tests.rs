//! New-VM with a system, and with what cloud-init is to be told.

use super::tests::{Person, World};
use crate::value::Value;

/// A system whose disk is there.
fn with_a_system(world: &mut World) {
    world.host.systems = Box::new(|name, directory| {
        std::fs::create_dir_all(directory).unwrap();
        let path = directory.join(format!("{name}.img"));
        std::fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
        let user = String::from("somebody");
        Ok(crate::host::SystemDisk { path, login: Some(user.clone()), user, listens: true })
    });
}

#[test]
fn a_system_is_a_layer_over_its_disk_that_the_configuration_names() {
    let mut world = World::new();
    with_a_system(&mut world);
    world.ok("New-VM", &[("Name", "web".into()), ("System", "debian".into())]);
    let config = world.host.configs().unwrap().remove(0);
    let disk = &config.disks[0];
    assert_eq!(disk.path, world.host.store.directory(config.id).join("disk.qcow2"));
    assert_eq!(disk.behind[0].path, world.host.store.systems().join("debian.img"));
    assert!(disk.path.exists() && config.disks[1].path.exists());
}

#[test]
fn a_machine_has_a_key_of_its_own_where_none_is_given() {
    let mut world = World::new();
    with_a_system(&mut world);
    let key = world.host.store.home().join("key.pub");
    std::fs::write(&key, format!("ssh-ed25519 AAAA{} me", "C3".repeat(30))).unwrap();
    world.ok("New-VM", &[("Name", "own".into()), ("System", "debian".into())]);
    let given = Value::list([key.to_str().unwrap()]);
    world.ok("New-VM", &[("Name", "given".into()), ("System", "debian".into()), ("SshKey", given)]);
    for config in world.host.configs().unwrap() {
        let key = world.host.store.directory(config.id).join(super::SSH_KEY);
        assert_eq!((key.exists(), config.user.as_deref()), (config.name == "own", Some("somebody")));
    }
}

#[test]
fn a_system_is_removed_once_no_machine_is_over_it() {
    let mut world = World::new();
    world.host.systems = Box::new(|name, directory| {
        let path = directory.join(name).join("disk.img");
        std::fs::create_dir_all(directory.join(name)).unwrap();
        std::fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
        Ok(crate::host::SystemDisk { path, login: None, user: "somebody".into(), listens: true })
    });
    world.ok("New-VM", &[("Name", "web".into()), ("System", "debian".into())]);
    let kept = |world: &World| world.ok("Get-VMSystem", &[]).records.len();
    let said = world.error("Remove-VMSystem", &[("Name", Value::list(["deb*"]))]);
    assert!(said.contains("is under the virtual machine 'web'"), "{said}");
    world.ok("Remove-VMSystem", &[("Unused", true.into())]);
    assert_eq!(kept(&world), 1);
    world.ok("Remove-VM", &[("Name", "web".into()), ("Force", true.into())]);
    world.ok("Remove-VMSystem", &[("Unused", true.into())]);
    assert_eq!(kept(&world), 0);
    assert!(world.error("Remove-VMSystem", &[]).contains("-Unused"));
    assert!(world.error("Get-VMSystem", &[("Name", Value::list(["x"]))]).contains("no system 'x'"));
}

#[test]
fn an_installer_starts_until_it_is_done_and_its_files_go_then() {
    let mut world = World::new();
    world.host.installers = Box::new(|_, answers, more| {
        let initrd = answers.unwrap_or_default().to_vec();
        Ok(crate::host::InstallerFiles { kernel: vec![1], initrd, command_line: format!("own {more}") })
    });
    let home = world.host.store.home().to_owned();
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    std::fs::write(home.join("answers"), "d-i netcfg/get_hostname string web\n").unwrap();
    let (disk, answers) = (text(home.join("disk.qcow2")), text(home.join("answers")));
    world.ok(
        "New-VM",
        &[
            ("Name", "web".into()),
            ("Installer", "debian".into()),
            ("Preseed", answers.as_str().into()),
            ("CommandLine", "more".into()),
            ("NewVHDPath", disk.as_str().into()),
            ("NewVHDSizeBytes", 67_108_864u64.into()),
        ],
    );
    let config = || world.host.configs().unwrap().remove(0);
    let installer = config().boot.installer.unwrap();
    assert_eq!(
        (installer.command_line.as_str(), std::fs::read(&installer.kernel).unwrap()),
        ("own more", vec![1])
    );
    assert!(std::fs::read_to_string(&installer.initrd).unwrap().contains("get_hostname"));
    let start = || world.ok("Start-VM", &[("Name", Value::list(["web"]))]);
    start();
    assert!(config().boot.installer.is_some());
    world.ok("Stop-VM", &[("Name", Value::list(["web"])), ("TurnOff", true.into())]);
    crate::store::Run::note_installed(&world.host.store.directory(config().id)).unwrap();
    start();
    assert_eq!(
        (config().boot.installer, installer.kernel.exists(), installer.initrd.exists()),
        (None, false, false)
    );
}

#[test]
fn who_names_nobody_is_told_how_to_log_in() {
    let mut world = World::new();
    with_a_system(&mut world);
    let mut person = Person::default();
    world.asking(&mut person, "New-VM", &[("Name", "web".into()), ("System", "debian".into())]);
    assert!(person.heard[0].contains("as 'somebody' with the password '"), "{:?}", person.heard);
}

#[test]
fn a_system_that_does_not_fit_leaves_no_machine() {
    let mut world = World::new();
    with_a_system(&mut world);
    let given = [("Name", "web".into()), ("System", "debian".into()), ("SystemSizeBytes", 1048576u64.into())];
    let said = world.error("New-VM", &given);
    assert!(said.contains("4194304 bytes already"), "{said}");
    let left = std::fs::read_dir(world.host.store.home().join("vms")).unwrap().count();
    assert_eq!((world.host.configs().unwrap().len(), left), (0, 0));
}

#[test]
fn a_private_key_is_no_key_to_let_in() {
    let world = World::new();
    let key = world.host.store.home().join("key");
    std::fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    let key = Value::list([key.to_str().unwrap()]);
    let said = world.error("New-VM", &[("Name", "web".into()), ("SshKey", key)]);
    assert!(said.contains("no public keys of SSH"), "{said}");
}
