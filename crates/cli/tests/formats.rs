//! Disks in images of every format: what Linux writes to them is in them, by `run` and by a worker behind its walls.

mod home;
mod viewer;

use home::Home;
use std::fs;

const FORMATS: [&str; 4] = ["qcow2", "vhdx", "vhd", "img"];

fn image(home: &Home, name: &str) -> String {
    home.0.join(name).display().to_string()
}

fn ok(home: &Home, arguments: &[&str]) -> String {
    let output = home.run(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Made by `ireko disk`, written to by Linux, looked at again by `ireko disk`.
#[test]
fn what_linux_writes_is_in_the_image() {
    let home = Home::new("run");
    fs::create_dir_all(&home.0).unwrap();
    let images = FORMATS.map(|format| image(&home, &format!("disk.{format}")));
    let mut words = vec!["run".to_owned(), "--engine".into(), "soft".into(), "--image".into()];
    let mut script = String::from("set -e");
    for (path, letter) in images.iter().zip('a'..) {
        ok(&home, &["disk", "create", path, "--size", "64M"]);
        words.extend(["--disk".to_owned(), path.clone()]);
        script += &format!(
            "; yes from {letter} | dd of=/dev/vd{letter} bs=64k seek=300 count=40 iflag=fullblock; \
             dd if=/dev/vd{letter} bs=64k skip=300 count=1 | head -n 1"
        );
    }
    words.extend(["--exec".to_owned(), script]);
    let said = ok(&home, &words.iter().map(String::as_str).collect::<Vec<_>>());
    for (path, letter) in images.iter().zip('a'..) {
        assert!(said.contains(&format!("from {letter}")), "{said}");
        ok(&home, &["disk", "check", path]);
        let raw = image(&home, &format!("{letter}.raw"));
        ok(&home, &["disk", "convert", path, &raw]);
        let bytes = fs::read(raw).unwrap();
        assert!(
            bytes[300 << 16..][..40 << 16].starts_with(format!("from {letter}\nfrom {letter}\n").as_bytes())
        );
        assert!(bytes[..300 << 16].iter().all(|byte| *byte == 0), "{path}");
    }
}

/// Tables grow while the guest writes: the worker's disk threads may do that behind their walls. One disk comes while it runs.
#[test]
fn a_managed_machine_writes_to_images_that_grow() {
    let home = Home::new("vm");
    fs::create_dir_all(&home.0).unwrap();
    home.vm_ok(&["create", "pc", "--memory", "512M", "--engine", "soft"]);
    let images = FORMATS.map(|format| image(&home, &format!("disk.{format}")));
    for path in &images {
        ok(&home, &["disk", "create", path, "--size", "64M"]);
    }
    images[..3].iter().for_each(|path| drop(home.vm_ok(&["disk-add", "pc", path])));
    home.vm_ok(&["start", "pc"]);
    let mut console = home.console("pc");
    console.until("built-in shell");
    home.vm_ok(&["disk-add", "pc", &images[3]]);
    console.type_in("until [ -e /dev/vdd ]; do sleep 0.1; done");
    for letter in 'a'..='d' {
        console.type_in(&format!(
            "yes {letter} | dd of=/dev/vd{letter} bs=64k seek=100 count=64 iflag=fullblock; \
             dd if=/dev/zero of=/dev/vd{letter} bs=64k seek=120 count=8; sync; echo done-{letter}-$((6 * 7))"
        ));
        console.until(&format!("done-{letter}-42"));
    }
    home.vm_ok(&["stop", "pc", "--turn-off"]);
    for (path, letter) in images.iter().zip('a'..) {
        ok(&home, &["disk", "check", path]);
        let raw = image(&home, &format!("{letter}.raw"));
        ok(&home, &["disk", "convert", path, &raw]);
        let bytes = fs::read(raw).unwrap();
        let written = &bytes[100 << 16..164 << 16];
        assert!(written.starts_with(format!("{letter}\n{letter}\n").as_bytes()), "{path}");
        assert!(written[20 << 16..28 << 16].iter().all(|byte| *byte == 0), "{path}");
        assert_eq!(written[(28 << 16) + 1], b'\n', "{path}");
    }
}
