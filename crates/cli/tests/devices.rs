//! What Debian's general kernel, which has drivers that the cloud's has not, finds of the machine's devices: SATA, ranges of zeros,
//! virtio's GPU and tablet, the event timer.

mod archive;
mod home;
mod packages;

use archive::Archive;
use home::Home;
use packages::{Architecture, packages};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Modules in an order in which each finds what it needs.
const VIRTIO: [&str; 5] =
    ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"];
const SCREEN: [&str; 7] =
    ["virtio_dma_buf", "drm", "drm_shmem_helper", "drm_kms_helper", "virtio-gpu", "virtio_input", "evdev"];
const DISKS: [&str; 15] = [
    "virtio_blk",
    "scsi_common",
    "scsi_mod",
    "virtio_scsi",
    "libata",
    "libahci",
    "ahci",
    "crc64",
    "crc64-rocksoft",
    "crct10dif_common",
    "crc-t10dif",
    "t10-pi",
    "nvme-core",
    "nvme",
    "sd_mod",
];
/// What `blkdiscard` is, and needs.
const TOOLS: [&str; 4] = ["blkdiscard", "libblkid.so.1", "libc.so.6", "ld-linux-x86-64.so.2"];

/// All files by their names, those that links lead to under the links' names, too.
fn files(directory: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path(), found),
            false => drop(found.insert(entry.file_name().into_string().unwrap(), entry.path())),
        }
    }
}

struct Debian {
    files: BTreeMap<String, PathBuf>,
}

impl Debian {
    fn new() -> Self {
        let names = ["linux-image-amd64", "busybox-static", "util-linux", "libblkid1", "libc6"];
        let mut found = BTreeMap::new();
        files(&packages("general", Architecture::Amd64, &names), &mut found);
        Self { files: found }
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(&self.files[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn kernel(&self) -> &Path {
        let named = |(name, path)| if str::starts_with(name, "vmlinuz-") { Some(path) } else { None };
        self.files.iter().find_map(|(name, path)| named((name.as_str(), path))).unwrap()
    }

    /// An archive in which process 1 loads the modules (behind a name may be parameters), does what the script says, and turns the machine off.
    fn initramfs(&self, modules: &[&str], script: &str) -> Vec<u8> {
        let mut archive = Archive::default();
        for directory in ["bin", "dev", "proc", "sys", "lib", "lib64", "modules"] {
            archive.add(directory, 0o040_755, &[]);
        }
        archive.add("bin/busybox", 0o100_755, &self.file("busybox"));
        archive.add("bin/discard", 0o100_755, &self.file(TOOLS[0]));
        TOOLS[1..3].iter().for_each(|name| {
            archive.add(&format!("lib/{name}"), 0o100_755, &self.file(name));
        });
        archive.add("lib64/ld-linux-x86-64.so.2", 0o100_755, &self.file(TOOLS[3]));
        for name in modules.iter().filter_map(|module| module.split(' ').next()) {
            archive.add(&format!("modules/{name}"), 0o100_644, &self.file(&format!("{name}.ko")));
        }
        let load: String = modules.iter().map(|name| format!("insmod /modules/{name}\n")).collect();
        let init = format!(
            "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin\nmount -t proc p /proc\n\
             mount -t sysfs s /sys\nmount -t devtmpfs d /dev\n{load}{script}\npoweroff -f\n"
        );
        archive.add("init", 0o100_755, init.as_bytes());
        archive.finish()
    }

    /// What it says until it is off.
    fn run(&self, home: &Home, arguments: &[&str], modules: &[&str], script: &str) -> String {
        fs::create_dir_all(&home.0).unwrap();
        let initrd = home.0.join("initrd");
        fs::write(&initrd, self.initramfs(modules, script)).unwrap();
        let mut command = Command::new("timeout");
        command.arg("150").arg(env!("CARGO_BIN_EXE_ireko"));
        command.args(["run", "--engine", "soft", "--memory", "512M", "--append", "console=ttyS0"]);
        command.arg("--kernel").arg(self.kernel()).arg("--initrd").arg(initrd).args(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

#[test]
fn virtios_gpu_has_the_console_and_the_tablet_is_found() {
    let script = "echo framebuffer $(cat /sys/class/graphics/fb0/name /sys/class/graphics/fb0/virtual_size)\n\
        echo input $(grep Name /proc/bus/input/devices)\n";
    let modules = [&VIRTIO[..], &SCREEN].concat();
    let said = Debian::new().run(&Home::new("gpu"), &["--display", "virtio"], &modules, script);
    assert!(said.contains("framebuffer virtio_gpudrmfb 1280,800"), "{said}");
    assert!(said.contains("Name=\"Ireko tablet\""), "{said}");
}

#[test]
fn with_an_event_timer_the_clock_is_the_tsc() {
    // The kernel measures its frequency first.
    let script = "cd /sys/devices/system/clocksource/clocksource0\n\
        for n in $(seq 60); do [ $(cat current_clocksource) = tsc ] && break; sleep 1; done\n\
        echo clocks $(cat available_clocksource) now $(cat current_clocksource)\n";
    let said = Debian::new().run(&Home::new("hpet"), &["--firmware", "bios"], &[], script);
    assert!(said.contains("3 comparators, 64-bit 100.000000 MHz counter"), "{said}");
    assert!(said.contains("clocks tsc hpet acpi_pm now tsc"), "{said}");
}

/// Writes, zeroes and discards a part of each disk. What is only discarded may be anything; here it is zeros as well.
#[test]
fn ranges_are_zeroed_and_discarded_behind_every_controller() {
    // The kernel looks for disks of several controllers at once, and names them as it finds them: their sizes tell them apart.
    const DISKS_OF: [(&str, usize); 5] =
        [("virtio", 1 << 20), ("nvme", 2 << 20), ("scsi", 3 << 20), ("scsi2", 4 << 20), ("sata", 5 << 20)];
    let home = Home::new("zeroes");
    fs::create_dir_all(&home.0).unwrap();
    let mut arguments = Vec::new();
    for (name, size) in DISKS_OF {
        fs::write(home.0.join(name), vec![0x5a; size]).unwrap();
        let bus = if name == "scsi2" { "scsi" } else { name };
        arguments.extend(["--disk".to_owned(), format!("{},bus={bus}", home.0.join(name).display())]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let script = "sleep 1; for b in /sys/block/vd* /sys/block/nvme* /sys/block/sd*; do d=$(basename $b)\n\
        s=$(($(cat $b/size) * 512)); echo zeroes $s $(cat $b/queue/write_zeroes_max_bytes)\n\
        discard -z -o 65536 -l 65536 /dev/$d && discard -o 262144 -l 65536 /dev/$d && echo done $s\n\
        echo written > /dev/$d; sync; done; grep ahci /proc/interrupts\n";
    let said = Debian::new().run(&home, &arguments, &[&VIRTIO[..], &DISKS].concat(), script);
    for (name, size) in DISKS_OF {
        assert!(said.contains(&format!("done {size}")), "{name}: {said}");
        // libata writes zeros as such.
        assert_eq!(said.contains(&format!("zeroes {size} 0")), name == "sata", "{name}: {said}");
        let content = fs::read(home.0.join(name)).unwrap();
        let zeros = |range: std::ops::Range<usize>| content[range].iter().all(|byte| *byte == 0);
        assert!(content.starts_with(b"written\n") && zeros(65536..131_072), "{name}");
        assert!(zeros(262_144..327_680), "{name}");
        let around = [65535, 131_072, 262_143, 327_680].map(|at| content[at]);
        assert_eq!((around, content.len()), ([0x5a; 4], size), "{name}");
    }
    assert!(said.contains("ahci["), "{said}");
}

/// Until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed() < Duration::from_secs(150), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A viewer that has said who it is.
fn viewer(socket: &str) -> UnixStream {
    let mut viewer = UnixStream::connect(socket).unwrap();
    let mut read = |count: usize, answer: &[u8]| {
        viewer.read_exact(&mut vec![0; count]).unwrap();
        viewer.write_all(answer).unwrap();
    };
    read(12, b"RFB 003.008\n");
    read(2, &[1]);
    read(4, &[1]);
    viewer
}

/// Who opens it and does not go on is taken for dead; here the machine is then off.
#[test]
fn a_watchdog_that_nobody_feeds_ends_the_machine() {
    let (debian, home) = (Debian::new(), Home::new("watchdog"));
    fs::create_dir_all(&home.0).unwrap();
    let script = "cat /sys/class/watchdog/watchdog0/identity; exec 3> /dev/watchdog; echo w >&3; sleep 600\n";
    let initrd = home.0.join("initrd");
    fs::write(&initrd, debian.initramfs(&["watchdog", "i6300esb heartbeat=2"], script)).unwrap();
    let ok = |arguments: &[&str]| home.vm_ok(arguments);
    let (kernel, initrd) = (debian.kernel().to_str().unwrap(), initrd.to_str().unwrap());
    let create = ["create", "pc", "--memory", "512M", "--engine", "soft", "--kernel", kernel];
    ok(&[&create[..], &["--initrd", initrd, "--command-line", "console=ttyS0"]].concat());
    ok(&["set", "pc", "--automatic-crash", "TurnOff"]);
    ok(&["start", "pc"]);
    until("it does not end", || ok(&["list", "pc"]).contains("Off"));
    assert!(ok(&["log", "pc"]).contains("i6300ESB timer"), "{}", ok(&["log", "pc"]));
    let shown = ok(&["show", "pc"]);
    assert!(shown.contains("did not begin its watchdog timer anew in time"), "{shown}");
}

#[test]
fn a_viewers_pointer_is_where_it_points() {
    let (debian, home) = (Debian::new(), Home::new("pointer"));
    fs::create_dir_all(&home.0).unwrap();
    // Type, code and value of each event, behind a time of 16 bytes.
    let script = "T=$(grep -A 4 tablet /proc/bus/input/devices | grep -o 'event[0-9]*')\n\
        echo ready; od -An -v -w24 -t d2 /dev/input/$T\n";
    let initrd = home.0.join("initrd");
    fs::write(&initrd, debian.initramfs(&[&VIRTIO[..], &SCREEN].concat(), script)).unwrap();
    let ok = |arguments: &[&str]| home.vm_ok(arguments);
    let (kernel, initrd) = (debian.kernel().to_str().unwrap(), initrd.to_str().unwrap());
    let create = ["create", "pc", "--memory", "512M", "--engine", "soft", "--kernel", kernel];
    ok(&[&create[..], &["--initrd", initrd, "--command-line", "console=tty0 console=ttyS0"]].concat());
    ok(&["screen-set", "pc", "--adapter", "virtio"]);
    ok(&["start", "pc"]);
    until("no tablet is found", || ok(&["log", "pc"]).contains("ready"));
    let shown = ok(&["screen", "pc"]);
    let of = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!((of("Width").as_str(), of("Height").as_str()), ("1280", "800"));
    let mut viewer = viewer(&of("Socket"));
    // A button at the last column of the middle line.
    let (column, line) = (1279u16.to_be_bytes(), 400u16.to_be_bytes());
    viewer.write_all(&[5, 1, column[0], column[1], line[0], line[1]]).unwrap();
    let told = |event: [i32; 3]| {
        let said = ok(&["log", "pc"]);
        let numbers =
            |line: &str| line.split_whitespace().map(|n| n.parse().ok()).collect::<Option<Vec<i32>>>();
        let events = said.lines().filter_map(numbers).filter(|numbers| numbers.len() == 12);
        events.into_iter().any(|numbers| numbers[8..11] == event)
    };
    for event in [[3, 0, 0x7fff], [3, 1, 400 * 0x7fff / 799], [1, 272, 1]] {
        until(&format!("no event {event:?}"), || told(event));
    }
}
