//! Folders of the host's in a guest: Linux's own file system (virtiofs), programs in it, and the owner's walls outside.

mod home;

use home::Home;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

struct Shared {
    home: Home,
    folder: PathBuf,
}

/// Who owns the folder where this test may choose.
const OWNER: u32 = 12345;

fn root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

impl Shared {
    fn new(name: &str) -> Self {
        let home = Home::new(name);
        let folder = home.0.join("folder");
        fs::create_dir_all(home.0.join("ireko")).unwrap();
        fs::create_dir_all(&folder).unwrap();
        fs::write(home.0.join("outside"), "secret").unwrap();
        if root() {
            std::os::unix::fs::chown(&folder, Some(OWNER), Some(OWNER)).unwrap();
        }
        Self { home, folder }
    }

    /// What a shell in a guest with the folder at /mnt prints.
    fn run(&self, more: &str, line: &str) -> String {
        let share = format!("src={}{more}", self.folder.display());
        let line =
            format!("mkdir -p /mnt; mount -t virtiofs src /mnt && cd /mnt && {{ {line}; }}; echo status $?");
        let arguments =
            ["run", "--image", "--engine", "soft", "--memory", "512M", "--share", &share, "--exec", &line];
        let mut command = self.home.command(&arguments);
        let output = command.env("IREKO_HOME", self.home.0.join("ireko")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert!(said.contains("status "), "{said} {}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

#[test]
fn programs_of_a_guest_work_in_a_folder_of_the_hosts() {
    let shared = Shared::new("work");
    fs::write(shared.folder.join("from-host"), "of the host\n").unwrap();
    symlink("../outside", shared.folder.join("out")).unwrap();
    let said = shared.run(
        "",
        "cat from-host; cat out; mkdir -p a/b && cp -r /bin/busybox a/b/ && cmp /bin/busybox a/b/busybox && echo same; \
         (cd a && tar c b) | (mkdir c && cd c && tar x) && cmp a/b/busybox c/b/busybox && echo unpacked; \
         ln a/b/busybox hard; ln -s a/b soft; mv a/b/busybox a/moved; stat -c %h hard; ls soft | wc -l; \
         for n in $(seq 300); do echo $n > file-$n; done; ls | grep -c file-; rm file-*; ls | grep -c file-; \
         dd if=/dev/zero of=big bs=1M count=8 2>/dev/null; truncate -s 5000000 big; stat -c %s big; \
         mkfifo pipe; mknod device c 1 3; chown 1:1 hard; chmod 640 hard; touch -d '2001-02-03 04:05:06' hard; sync",
    );
    for line in ["of the host", "same", "unpacked", "2", "0", "300", "5000000", "status 0"] {
        assert!(said.lines().any(|said| said == line), "{line} in {said}");
    }
    assert!(!said.contains("secret"), "{said}");
    let made = fs::metadata(shared.folder.join("hard")).unwrap();
    assert_eq!((made.nlink(), made.permissions().mode() & 0o7777, made.mtime()), (2, 0o640, 981_173_106));
    assert!(!shared.folder.join("pipe").exists() && !shared.folder.join("device").exists());
    if root() {
        assert_eq!((made.uid(), made.gid()), (OWNER, OWNER));
    }
}

#[test]
fn a_folder_for_reading_stays_as_it_is() {
    let shared = Shared::new("read");
    fs::write(shared.folder.join("file"), "content\n").unwrap();
    let said = shared
        .run(",ro", "cat file; echo more >> file; rm file; mkdir new; mount -o remount,rw /mnt; touch x");
    assert!(said.contains("content\n") && said.contains("Read-only file system"), "{said}");
    assert_eq!(fs::read_to_string(shared.folder.join("file")).unwrap(), "content\n");
    assert_eq!(fs::read_dir(&shared.folder).unwrap().count(), 1);
}

#[test]
fn a_managed_machine_has_its_folders_and_says_so() {
    let shared = Shared::new("managed");
    let home = Home(shared.home.0.join("ireko"));
    let share = format!("src={}", shared.folder.display());
    home.vm_ok(&["create", "box", "--memory", "512M", "--engine", "soft", "--share", &share]);
    assert!(home.vm_ok(&["show", "box"]).contains(&share));
    let line = "mkdir -p /mnt; mount -t virtiofs src /mnt; echo $((6*7)) > /mnt/answer; poweroff -f";
    home.vm_ok(&["set", "box", "--command-line", &format!("\"ireko.exec={line}\"")]);
    home.vm_ok(&["start", "box"]);
    let since = std::time::Instant::now();
    while !home.vm_ok(&["list"]).contains("Off") {
        assert!(since.elapsed() < std::time::Duration::from_secs(300), "{}", home.vm_ok(&["log", "box"]));
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(fs::read_to_string(shared.folder.join("answer")).unwrap(), "42\n");
    home.vm_ok(&["set", "box", "--share", ""]);
    assert!(!home.vm_ok(&["show", "box"]).contains(&share));
}

#[test]
fn what_cannot_be_shared_is_said() {
    let shared = Shared::new("refused");
    let home = Home(shared.home.0.join("ireko"));
    let refused = |share: &str| home.vm_error(&["create", "box", "--share", share]);
    assert!(refused("src").contains("write NAME=FOLDER"));
    assert!(refused("src=/no/such/folder").contains("check the path"));
    assert!(refused("src=/etc/hostname").contains("it is no folder"));
    assert!(refused(&format!("src={}", shared.home.0.display())).contains("share another folder"));
    assert!(home.vm_ok(&["list"]).trim().is_empty());
}
