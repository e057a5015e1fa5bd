//! Drives of a running machine that change, seen from Debian's Linux inside: CDs that go in and out, disks that come and go.

mod home;
mod kernel;
// Other disks are made by other tests.
#[allow(dead_code)]
mod medium;
mod viewer;

use home::Home;
use medium::{Label, Medium};
use std::fs;
use std::sync::{Mutex, PoisonError};
use viewer::Console;

impl Home {
    /// A file of a mebibyte that begins with a line.
    fn image(&self, name: &str, line: &str) -> String {
        fs::create_dir_all(&self.0).unwrap();
        let mut content = vec![0; 1 << 20];
        content[..line.len()].copy_from_slice(line.as_bytes());
        content[line.len()] = b'\n';
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

impl Console {
    /// Runs a line to its end.
    fn run(&mut self, line: &str) {
        self.type_in(&format!("{line}\necho done-$((6 * 7))"));
        self.until("done-42");
    }
    /// Runs a line that prints this.
    fn ask(&mut self, line: &str, text: &str) {
        self.run(line);
        assert!(self.seen().contains(text), "no {text:?}: {}", self.seen());
    }
}

/// One VM at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn started(home: &Home) -> Console {
    home.vm_ok(&["start", "pc"]);
    let console = home.console("pc");
    console.until("built-in shell");
    console
}

#[test]
fn linux_reads_the_disc_that_is_in_the_drive_now() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for controller in ["IDE", "SCSI"] {
        let home = Home::new(&format!("discs-{controller}"));
        let discs = ["one", "two"].map(|name| home.image(name, &format!("disc {name} is in")));
        home.vm_ok(&["create", "pc", "--memory", "512M", "--engine", "soft"]);
        home.vm_ok(&["dvd-add", "pc", "--controller", controller, "--path", &discs[0]]);
        let mut console = started(&home);
        console.ask("head -n 1 /dev/sr0", "disc one is in");
        home.vm_ok(&["dvd-set", "pc", "--path", &discs[1]]);
        console.ask("head -n 1 /dev/sr0", "disc two is in");
        // Locked by whoever has it open.
        console.run("exec 3</dev/sr0; eject /dev/sr0 || echo locked-$((1 + 1))");
        assert!(console.seen().contains("locked-2"), "{}", console.seen());
        home.vm_ok(&["dvd-set", "pc"]);
        console.run("exec 3<&-");
        console.ask("head -n 1 /dev/sr0 || echo empty-$((1 + 1))", "empty-2");
        home.vm_ok(&["dvd-set", "pc", "--path", &discs[0]]);
        console.ask("head -n 1 /dev/sr0", "disc one is in");
        // What is in is nobody's to write.
        let said = home.vm_error(&["disk-add", "pc", &discs[0]]);
        assert!(said.contains("is in use by this virtual machine itself"), "{said}");
        home.vm_ok(&["stop", "pc", "--turn-off"]);
    }
}

#[test]
fn disks_come_and_go_while_linux_runs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("disks");
    let disks = ["a", "b", "c"].map(|name| home.image(name, &format!("this is disk {name}")));
    home.vm_ok(&[
        "create",
        "pc",
        "--memory",
        "512M",
        "--engine",
        "soft",
        "--start-with",
        "kernel",
        "--disk",
        &disks[0],
    ]);
    home.vm_ok(&["meter", "pc"]);
    let mut console = started(&home);
    home.vm_ok(&["disk-add", "pc", &disks[1]]);
    console.run("until [ -e /dev/vdb ]; do sleep 0.1; done; head -n 1 /dev/vdb");
    console.ask("cat /sys/block/vdb/serial", "ireko1");
    console.run("echo written by linux > /dev/vdb; sync");
    home.vm_ok(&["disk-add", "pc", &disks[2], "--controller", "NVMe"]);
    console.run("until [ -e /dev/nvme0n1 ]; do sleep 0.1; done");
    console.ask("head -n 1 /dev/nvme0n1", "this is disk c");
    // What is read of a mebibyte, by whatever controller, is metered.
    console.run("cat /dev/nvme0n1 > /dev/null");
    let metered: serde_json::Value = serde_json::from_str(&home.vm_ok(&["measure", "pc", "--json"])).unwrap();
    let operations = metered[0]["AggregatedNormalizedIOCount"].as_u64().unwrap();
    assert!(operations >= 128 && metered[0]["AggregatedDiskDataRead"].as_u64() >= Some(1), "{metered}");
    // Both are there after a reset, too, and go.
    console.type_in("reboot -f");
    console.until("built-in shell");
    console.ask("head -n 1 /dev/vdb", "written by linux");
    home.vm_ok(&["disk-remove", "pc", "--controller", "SCSI", "--location", "1"]);
    console.ask("ls /dev/vdb || echo gone-$((1 + 1))", "gone-2");
    home.vm_ok(&["disk-remove", "pc", "--controller", "NVMe"]);
    console.ask("ls /dev/nvme0n1 || echo gone-$((2 + 1))", "gone-3");
    console.ask("head -n 1 /dev/vda", "this is disk a");
    assert!(fs::read(&disks[1]).unwrap().starts_with(b"written by linux\n"));
    // What was there from the start may go, too, and its place is free again.
    home.vm_ok(&["disk-remove", "pc"]);
    home.vm_ok(&["disk-add", "pc", &disks[1]]);
    console.run("until [ -e /dev/vda ]; do sleep 0.1; done");
    console.ask("head -n 1 /dev/vda", "written by linux");
    let said = home.vm_error(&["disk-add", "pc", &disks[2], "--controller", "SATA"]);
    assert!(said.contains("SATA controllers") && said.contains("use ireko vm stop"), "{said}");
    home.vm_ok(&["pause", "pc"]);
    let said = home.vm_error(&["disk-remove", "pc"]);
    assert!(said.contains("use ireko vm resume"), "{said}");
}

/// On the boards that firmware knows, whose tables it places and whose bus it numbers.
#[test]
fn disks_come_to_machines_that_firmware_started_and_go() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (label, generation) in [(Label::Mbr, "1"), (Label::Gpt, "2")] {
        let home = Home::new(&format!("firmware-{generation}"));
        let medium = Medium::new(&home, label);
        let (system, disk) = (medium.disk.display().to_string(), home.image("more", "this is another disk"));
        let create = ["create", "pc", "--memory", "512M", "--engine", "soft", "--generation", generation];
        home.vm_ok(&[&create[..], &["--start-with", "firmware", "--disk", &system]].concat());
        home.vm_ok(&["start", "pc"]);
        let mut console = home.console("pc");
        console.until("debian login:");
        console.type_in("root");
        console.until("#");
        for controller in ["SCSI", "NVMe"] {
            let name = if controller == "SCSI" { "vdb" } else { "nvme0n1" };
            home.vm_ok(&["disk-add", "pc", &disk, "--controller", controller]);
            console.run(&format!("until [ -e /dev/{name} ]; do sleep 0.1; done; head -n 1 /dev/{name}"));
            assert!(console.seen().contains("this is another disk"), "{}", console.seen());
            let location = if controller == "SCSI" { "1" } else { "0" };
            home.vm_ok(&["disk-remove", "pc", "--controller", controller, "--location", location]);
            console.ask(&format!("ls /dev/{name} || echo gone-$((1 + 1))"), "gone-2");
        }
    }
}

/// What a disk's file has lost is an error for the guest, or, with another policy, waits until the file has it again.
#[test]
fn a_file_that_was_cut_fails_its_guest_or_holds_its_machine() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("cut");
    let disk = home.image("disk", "this is a disk");
    let create =
        ["create", "pc", "--memory", "512M", "--engine", "soft", "--start-with", "kernel", "--disk", &disk];
    home.vm_ok(&create);
    let mut console = started(&home);
    let cut = |len| fs::File::options().write(true).open(&disk).unwrap().set_len(len).unwrap();
    let read = |word| {
        format!(
            "dd if=/dev/vda of=/dev/null bs=1M iflag=direct && echo {word}-$((1 + 1)) || echo failed-$((1 + 1))"
        )
    };
    cut(4096);
    console.ask(&read("read"), "failed-2");
    let shown = home.vm_ok(&["show", "pc"]);
    assert!(
        shown.contains("cannot be read: its file ends before its disk does; its guest was told"),
        "{shown}"
    );
    home.vm_ok(&["disk-set", "pc", "--error-policy", "stop"]);
    console.type_in(&read("again"));
    let since = std::time::Instant::now();
    while !home.vm_ok(&["show", "pc"]).contains("PausedCritical") {
        assert!(since.elapsed().as_secs() < 60, "it is not held: {}", console.seen());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    cut(1 << 20);
    home.vm_ok(&["resume", "pc"]);
    console.until("again-2");
    assert!(!home.vm_ok(&["show", "pc"]).contains("its file ends before its disk does"));
    home.vm_ok(&["stop", "pc", "--turn-off"]);
}
