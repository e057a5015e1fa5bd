//! What Debian's Linux finds of a disk behind each controller that its cloud kernel knows: serial numbers, caches, discards, and disks
//! that are only read.

mod home;
mod viewer;

use home::Home;
use std::fs;
use std::sync::{Mutex, PoisonError};
use viewer::Console;

const SIZE: usize = 1 << 20;
/// What is discarded.
const GONE: std::ops::Range<usize> = 65536..131_072;

impl Home {
    /// A disk without a zero in it.
    fn full(&self, name: &str) -> String {
        fs::create_dir_all(&self.0).unwrap();
        let path = self.0.join(name);
        fs::write(&path, vec![0x5a; SIZE]).unwrap();
        path.display().to_string()
    }
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// One VM at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Read-only, FUA, cache, whether it rotates, and the serial number by whichever file has it; then the disk is discarded in part, and
/// written to.
const LOOK: &str = "for d in vda nvme0n1 sda sdb; do s=/sys/block/$d; q=$s/queue; \
    echo fact $d $(cat $s/ro $q/fua $q/write_cache $q/rotational) $(cat $s/serial $s/device/serial 2>&-) \
    $([ -e $s/device/vpd_pg80 ] && tr -dc a-z0-9 < $s/device/vpd_pg80); \
    blkdiscard -o 65536 -l 65536 /dev/$d && echo discarded $d; echo written > /dev/$d; sync; done";

#[test]
fn every_controller_says_what_its_disk_is_and_discards() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("every");
    // The kernel numbers IDE's disks first.
    let disks = [("virtio", "vda"), ("nvme", "nvme0n1"), ("ide", "sda"), ("scsi", "sdb")];
    let given: Vec<_> = disks.iter().map(|(bus, _)| format!("{},bus={bus}", home.full(bus))).collect();
    let mut arguments = vec!["run", "--engine", "soft", "--image", "--exec", LOOK];
    given.iter().for_each(|disk| arguments.extend(["--disk", disk]));
    let said = home.ok(&arguments);
    // libata sends no FUA unless it is told to; virtio has none: both flush instead. virtio does not say what rotates.
    for (fact, (bus, name)) in [
        "0 0 write back 1 ireko0",
        "0 1 write back 0 ireko1",
        "0 0 write back 0 ireko2",
        "0 1 write back 0 ireko3",
    ]
    .into_iter()
    .zip(disks)
    {
        assert!(said.contains(&format!("fact {name} {fact}")), "{bus}: {said}");
        assert!(said.contains(&format!("discarded {name}")), "{bus}: {said}");
        let content = fs::read(home.0.join(bus)).unwrap();
        assert!(content.starts_with(b"written\n"), "{bus}");
        assert!(content[GONE].iter().all(|byte| *byte == 0), "{bus}: what was discarded is there");
        assert_eq!((content[GONE.start - 1], content[GONE.end]), (0x5a, 0x5a), "{bus}: more was discarded");
    }
}

#[test]
fn a_disk_that_is_only_read_is_not_written_behind_any_controller() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("read-only");
    home.ok(&["vm", "create", "pc", "--memory", "512M", "--engine", "soft"]);
    for controller in ["SCSI", "NVMe", "IDE"] {
        let disk = home.full(controller);
        home.ok(&["vm", "disk-add", "pc", &disk, "--read-only=true", "--controller", controller]);
    }
    home.ok(&["vm", "start", "pc"]);
    let mut console: Console = home.console("pc");
    console.until("built-in shell");
    console.type_in("for d in vda nvme0n1 sda; do echo over > /dev/$d; sync; blkdiscard /dev/$d; done; cat /sys/block/vda/ro /sys/block/nvme0n1/ro; echo done-$((6 * 7))");
    console.until("done-42");
    home.ok(&["vm", "stop", "pc", "--turn-off"]);
    for controller in ["SCSI", "NVMe", "IDE"] {
        let content = fs::read(home.0.join(controller)).unwrap();
        assert!(content.iter().all(|byte| *byte == 0x5a), "{controller}");
    }
}
