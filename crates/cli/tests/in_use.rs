//! What keeps a machine from starting, and what does not: files that another one writes, whichever way each was started.

mod home;
mod kernel;

use home::Home;
use kernel::multiboot;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};

/// Prints a letter and runs for ever: mov dx,0x3f8; mov al,'x'; out dx,al; jmp self
const RUNS: &[u8] = &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0xeb, 0xfe];

struct Scene {
    home: Home,
    kernel: PathBuf,
    disk: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let home = Home::new(name);
        fs::create_dir_all(&home.0).unwrap();
        let (kernel, disk) = (home.0.join("kernel"), home.0.join("disk"));
        fs::write(&kernel, multiboot(RUNS)).unwrap();
        fs::write(&disk, [0; 4096]).unwrap();
        let disk = disk.display().to_string();
        Self { home, kernel, disk }
    }

    fn run(&self, more: &[&str]) -> Running {
        let mut command = self.home.command(&["run", "--engine", "soft", "--memory", "64M", "--kernel"]);
        command.arg(&self.kernel).args(more).stdin(Stdio::null());
        let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        running.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        running
    }

    /// What a machine says that does not start.
    fn refused(&self, more: &[&str]) -> String {
        let mut command = self.home.command(&["run", "--engine", "soft", "--memory", "64M", "--kernel"]);
        let Output { status, stderr, .. } = command.arg(&self.kernel).args(more).output().unwrap();
        assert_eq!(status.code(), Some(1));
        String::from_utf8_lossy(&stderr).into_owned()
    }

    fn create(&self) {
        let kernel = self.kernel.display().to_string();
        let more = ["--memory", "64M", "--engine", "soft", "--kernel", &kernel, "--disk", &self.disk];
        let made = self.home.run(&[&["vm", "create", "web"], &more[..]].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_disk_that_a_machine_writes_is_refused_to_another_that_runs_here() {
    let place = Scene::new("run-run");
    let running = place.run(&["--disk", &place.disk]);
    let said = place.refused(&["--disk", &place.disk]);
    assert!(said.contains(&format!("{}` is in use by process {}", place.disk, running.0.id())), "{said}");
}

#[test]
fn a_disk_that_a_machine_writes_is_refused_to_a_managed_one() {
    let place = Scene::new("run-vm");
    place.create();
    let running = place.run(&["--disk", &place.disk]);
    let started = place.home.run(&["vm", "start", "web"]);
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(said.contains(&format!("in use by process {}", running.0.id())), "{said}");
}

#[test]
fn a_disk_that_a_managed_machine_has_is_refused_with_its_name() {
    let place = Scene::new("vm-run");
    place.create();
    let started = place.home.run(&["vm", "start", "web"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let said = place.refused(&["--disk", &place.disk]);
    assert!(said.contains("is in use by the virtual machine 'web'"), "{said}");
}

#[test]
fn a_disk_that_is_given_twice_is_refused() {
    let place = Scene::new("twice");
    let said = place.refused(&["--disk", &place.disk, "--disk", &place.disk]);
    assert!(said.contains("this virtual machine itself, which has it twice"), "{said}");
}

#[test]
fn a_cd_may_be_in_the_drives_of_many() {
    let place = Scene::new("cd");
    let _one = place.run(&["--cdrom", &place.disk]);
    let _other = place.run(&["--cdrom", &place.disk]);
}

#[test]
fn variables_that_a_machine_keeps_are_refused_to_another() {
    let place = Scene::new("variables");
    let variables = place.home.0.join("variables").display().to_string();
    let arguments =
        ["run", "--engine", "soft", "--memory", "256M", "--firmware", "uefi", "--variables", &variables];
    let mut command = place.home.command(&arguments);
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    running.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let Output { status, stderr, .. } = place.home.command(&arguments).output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains(&format!("{variables} are in use by process {}", running.0.id())), "{said}");
}

#[test]
fn a_machine_that_firmware_starts_needs_no_guest_image() {
    let place = Scene::new("no-image");
    let cache = place.home.0.join("cache");
    fs::create_dir_all(&cache).unwrap();
    let run = |arguments: &[&str]| {
        let output = place.home.command(arguments).env("IREKO_CACHE", &cache).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["vm", "create", "pc", "--memory", "64M", "--engine", "soft", "--start-with", "firmware"]);
    run(&["vm", "start", "pc"]);
    let kept = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let other: Vec<String> = kept.filter(|name| !name.starts_with("firmware-")).collect();
    assert!(other.is_empty(), "{other:?}");
}

#[test]
fn a_console_of_a_machine_that_is_off_is_refused_in_a_sentence() {
    let place = Scene::new("off");
    place.create();
    let said = String::from_utf8_lossy(&place.home.run(&["vm", "console", "web"]).stderr).into_owned();
    assert_eq!(said, "ireko: 'web' is not running; start it first\n");
}

#[test]
fn too_little_memory_is_told_before_any_file_is_too_large_for_it() {
    let place = Scene::new("memory");
    let mut command = place.home.command(&["run", "--engine", "soft", "--memory", "5", "--kernel"]);
    let said = String::from_utf8_lossy(&command.arg(&place.kernel).output().unwrap().stderr).into_owned();
    assert!(said.contains("5 bytes of memory are too few"), "{said}");
}
