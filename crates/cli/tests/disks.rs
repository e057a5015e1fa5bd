//! Disks that firmware boots: Debian's kernel and busybox behind Debian's GRUB, up to a login, again after a reset, and with a
//! virtual machine inside; GRUB's menu on the screen; and Debian's Xen, started by us and by GRUB.

mod home;
mod kernel;
mod medium;
mod screen;
mod xen;

use home::Home;
use medium::{Label, Medium};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// How long a machine may be silent before it is taken to hang.
const SILENCE: Duration = Duration::from_secs(120);

/// A machine, and what its console has said since somebody last waited for something.
struct Machine {
    process: Child,
    keyboard: ChildStdin,
    output: Receiver<Vec<u8>>,
    heard: String,
}

impl Machine {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        Self::with_memory(home, "512M", arguments)
    }

    fn with_memory(home: &Home, memory: &str, arguments: &[&str]) -> Self {
        let common = ["run", "--engine", "soft", "--nested", "--memory", memory];
        let mut command = home.command(&[&common[..], arguments].concat());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keyboard, mut screen) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let _ = sender.send(bytes[..count].to_vec());
            }
        });
        Self { process, keyboard, output, heard: String::new() }
    }

    /// Waits for `text` on the console and forgets everything up to it.
    fn wait(&mut self, text: &str) {
        while !self.heard.contains(text) {
            match self.output.recv_timeout(SILENCE) {
                Ok(bytes) => self.heard += &String::from_utf8_lossy(&bytes),
                Err(why) => panic!("{text:?} does not come ({why}); the console says {:?}", self.heard),
            }
        }
        let end = self.heard.find(text).unwrap() + text.len();
        self.heard.drain(..end);
    }

    fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(line.as_bytes()).unwrap();
        self.keyboard.write_all(b"\n").unwrap();
    }

    fn log_in(&mut self) {
        self.wait("login: ");
        self.type_line("root");
        self.wait("# ");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Boots `medium` to a login, gives it `line`, resets it from inside, boots it again, and starts a machine in it.
fn boots_twice_and_nests(home: &Home, medium: &Medium, firmware: &[&str], line: &str) {
    let disk = ["--disk", medium.disk.to_str().unwrap()];
    let mut machine = Machine::start(home, &[firmware, &disk[..]].concat());
    machine.log_in();
    machine.type_line(&format!("{line}; echo goes on $?"));
    machine.wait("goes on 0");
    machine.type_line("reboot -f");
    machine.log_in();
    machine.type_line(&medium.nest());
    machine.wait("a machine in a machine");
    machine.wait("# ");
    machine.type_line("poweroff -f");
    assert_eq!(machine.process.wait().unwrap().code(), Some(0));
}

/// To memory, for a second or two.
const SUSPEND: &str = "cd /sys/class/rtc/rtc0 && echo 0 > wakealarm && echo +4 > wakealarm && echo deep > /sys/power/mem_sleep && echo mem > /sys/power/state";

#[test]
fn seabios_boots_debian_from_an_mbr_disk_twice_and_a_machine_runs_in_it() {
    let home = Home::new("mbr");
    let medium = Medium::new(&home, Label::Mbr);
    boots_twice_and_nests(&home, &medium, &["--firmware", "bios"], SUSPEND);
}

#[test]
fn ovmf_boots_debian_from_a_gpt_disk_twice_and_a_machine_runs_in_it() {
    let home = Home::new("gpt");
    let medium = Medium::new(&home, Label::Gpt);
    boots_twice_and_nests(&home, &medium, &["--firmware", "uefi"], "true");
}

#[test]
fn ovmf_starts_a_loader_behind_every_controller() {
    let home = Home::new("controllers");
    let medium = Medium::menu(&home, Label::Gpt);
    for bus in ["virtio", "scsi", "sata", "ide", "nvme"] {
        let disk = format!("{},bus={bus}", medium.disk.display());
        let mut machine = Machine::start(&home, &["--firmware", "uefi", "--disk", &disk]);
        machine.wait("BdsDxe: starting Boot0");
        machine.wait("GNU GRUB");
    }
}

/// Linux writes a variable and finds it behind a reset; with secure boot it is firmware's handler of SMIs that writes.
fn keeps_a_variable(home: &Home, medium: &Medium, firmware: &[&str]) {
    const NAME: &str = "/sys/firmware/efi/efivars/Ireko-6a6f4d31-3f0c-4e3b-9d39-5b3c1e6f0a77";
    let variables = home.0.join("variables.fd");
    let files = ["--variables", variables.to_str().unwrap(), "--disk", medium.disk.to_str().unwrap()];
    let mut machine = Machine::start(home, &[firmware, &files[..]].concat());
    machine.log_in();
    // Kept over resets, for boot and run time (UEFI 2.10, 8.2).
    machine.type_line(&format!("printf '\\7\\0\\0\\0it is %s' kept >{NAME}; reboot -f"));
    machine.log_in();
    machine.type_line(&format!("cat {NAME}"));
    machine.wait("it is kept");
}

#[test]
fn linux_keeps_variables_of_uefi() {
    let home = Home::new("efivars");
    let medium = Medium::new(&home, Label::Gpt);
    keeps_a_variable(&home, &medium, &["--firmware", "uefi"]);
}

#[test]
fn linux_keeps_variables_of_uefi_with_secure_boot() {
    let home = Home::new("efivars-secure");
    let medium = Medium::signed(&home);
    keeps_a_variable(&home, &medium, &["--firmware", "uefi", "--secure-boot"]);
}

/// The same disk twice: firmware says which of them it starts from.
#[test]
fn uefi_starts_from_the_disk_that_comes_first_in_its_boot_order() {
    let home = Home::new("order");
    let medium = Medium::menu(&home, Label::Gpt);
    let second = home.0.join("second.img");
    std::fs::copy(&medium.disk, &second).unwrap();
    let ok = |arguments: &[&str]| home.vm_ok(arguments);
    let create = ["create", "pc", "--memory", "256M", "--engine", "soft", "--start-with", "firmware"];
    let (disk, second) = (medium.disk.to_str().unwrap(), second.to_str().unwrap());
    ok(&[&create[..], &["--generation", "2", "--disk", disk]].concat());
    ok(&["disk-add", "pc", "--controller", "NVMe", second]);
    ok(&["firmware-set", "pc", "--boot-order", "NVMe:0:0,SCSI:0:0"]);
    ok(&["start", "pc"]);
    let starts = |log: &str| log.lines().find(|line| line.contains("BdsDxe: starting ")).map(str::to_owned);
    let line = loop {
        if let Some(line) = starts(&ok(&["log", "pc"])) {
            break line;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(line.contains("NVMe("), "{line}");
}

#[test]
fn secure_boot_starts_debians_signed_loaders_and_kernel() {
    let home = Home::new("signed");
    let medium = Medium::signed(&home);
    let disk = medium.disk.to_str().unwrap();
    let mut machine = Machine::start(&home, &["--firmware", "uefi", "--secure-boot", "--disk", disk]);
    machine.log_in();
    machine.type_line("dmesg | grep secureboot");
    machine.wait("Secure boot enabled");
}

#[test]
fn secure_boot_refuses_a_loader_that_nobody_signed() {
    let home = Home::new("unsigned");
    let medium = Medium::menu(&home, Label::Gpt);
    let disk = medium.disk.to_str().unwrap();
    let mut machine = Machine::start(&home, &["--firmware", "uefi", "--secure-boot", "--disk", disk]);
    machine.wait("BdsDxe: failed to load Boot0001 ");
    machine.wait(": Access Denied");
    machine.wait("No bootable option or device was found.");
}

/// UEFI's handlers of SMIs write them; nobody else may.
#[test]
fn with_secure_boot_firmware_keeps_its_variables() {
    let home = Home::new("variables");
    let medium = Medium::menu(&home, Label::Gpt);
    let (disk, variables) = (medium.disk.to_str().unwrap(), home.0.join("variables.fd"));
    let secure = ["--firmware", "uefi", "--secure-boot", "--variables", variables.to_str().unwrap()];
    let mut machine = Machine::start(&home, &[&secure[..], &["--disk", disk]].concat());
    machine.wait("No bootable option or device was found.");
    let name: Vec<u8> = "BootOrder".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let kept = std::fs::read(variables).unwrap();
    assert!(kept.windows(name.len()).any(|window| window == name));
}
