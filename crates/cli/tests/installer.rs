//! Debian's installer, which starts instead of a machine's disk until it has reset the machine.

mod home;

use home::Home;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Writes `on the disk` to COM 1 and turns the machine off (real mode, at 0x7c00): xor ax,ax; mov ds,ax; cld; mov si,text;
/// next: lodsb; test al,al; jz off; mov dx,0x3f8; out dx,al; jmp next; off: mov dx,0x604; mov ax,0x3400; out dx,ax; self: jmp self.
#[rustfmt::skip]
const BOOT_SECTOR: &[u8] = &[
    0x31, 0xc0, 0x8e, 0xd8, 0xfc, 0xbe, 0x1d, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5,
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x34, 0xef, 0xeb, 0xfe, 0x90,
];

fn disk(home: &Home) -> PathBuf {
    let mut disk = vec![0; 1 << 20];
    disk[..BOOT_SECTOR.len()].copy_from_slice(BOOT_SECTOR);
    disk[BOOT_SECTOR.len()..][..12].copy_from_slice(b"on the disk\0");
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let path = home.0.join("disk.img");
    fs::write(&path, disk).unwrap();
    path
}

/// Nothing but a command, at the beginning of all.
fn answers(home: &Home) -> PathBuf {
    let path = home.0.join("answers");
    let command = "echo \"installed by $(uname -r)\" > /dev/ttyS0; sleep 1; reboot -f";
    fs::write(&path, format!("d-i preseed/early_command string {command}\n")).unwrap();
    path
}

fn directory(home: &Home) -> PathBuf {
    fs::read_dir(home.0.join("vms")).unwrap().flatten().map(|entry| entry.path()).next().unwrap()
}

fn until_off(home: &Home, times: usize) -> String {
    let since = Instant::now();
    loop {
        let log = home.vm_ok(&["log", "web"]);
        let off = home.vm_ok(&["list"]).contains("Off");
        if off && log.matches("on the disk").count() >= times {
            return log;
        }
        assert!(since.elapsed() < Duration::from_secs(600), "not off within ten minutes: {log}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn an_installer_finds_its_answers_and_what_it_leaves_starts_once_it_has_reset_the_machine() {
    let home = Home::new("reset");
    fs::create_dir_all(&home.0).unwrap();
    let (disk, answers) = (disk(&home), answers(&home));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    home.vm_ok(&[
        "create",
        "web",
        "--generation",
        "1",
        "--disk",
        &text(&disk),
        "--installer",
        "debian",
        "--preseed",
        &text(&answers),
        "--engine",
        "soft",
        "--start",
    ]);
    let log = until_off(&home, 1);
    assert_eq!((log.matches("installed by 6").count(), log.matches("on the disk").count()), (1, 1), "{log}");
    assert!(directory(&home).join("installer.initrd").exists());
    home.vm_ok(&["start", "web"]);
    let log = until_off(&home, 2);
    assert_eq!(log.matches("installed by 6").count(), 1, "{log}");
    assert!(!directory(&home).join("installer.initrd").exists());
}

#[test]
fn what_an_installer_cannot_be_given_is_said_before_anything_is_made() {
    let home = Home::new("refused");
    let new = |more: &[&str]| {
        let disk = home.0.join("new.qcow2");
        let of = ["create", "web", "--new-disk", disk.to_str().unwrap(), "--new-disk-size", "1G"];
        let said = home.vm_error(&[&of[..], more].concat());
        assert!(!disk.exists(), "{said}");
        said
    };
    assert!(new(&["--installer", "suse"]).contains("There is no installer of 'suse'"));
    assert!(new(&["--preseed", "/dev/null"]).contains("say which: --installer debian"));
    assert!(new(&["--installer", "debian", "--user", "me"]).contains("--user and --installer are two ways"));
    assert!(new(&["--installer", "debian", "--preseed", "/etc/hostname"]).contains("no answers"));
    let said = home.vm_error(&["create", "web", "--installer", "debian"]);
    assert!(said.contains("needs a disk to install on"), "{said}");
}
