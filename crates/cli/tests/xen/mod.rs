//! Debian's Xen with a PV dom0: its guests of every kind, and how it starts.

use super::Machine;
use super::home::Home;
use super::medium::{Label, Medium};
use std::sync::Once;

/// The image is made once, for all of them.
static XEN: Once = Once::new();

fn make_image(home: &Home) {
    XEN.call_once_force(|_| assert!(home.run(&["image", "--xen"]).status.success()));
}

/// Runs a machine until its dom0 says that the command ended, with these guests in between.
fn starts(home: &Home, arguments: &[&str], kinds: &[&str]) {
    let mut machine = Machine::with_memory(home, "1G", arguments);
    for kind in kinds {
        machine.wait(&format!("guest: xen {kind}, Linux "));
    }
    machine.wait("the command ended: exit status: 0");
    assert_eq!(machine.process.wait().unwrap().code(), Some(0));
}

#[test]
fn xens_dom0_starts_guests_of_every_kind() {
    let home = Home::new("xen");
    make_image(&home);
    let command = "set -e; for kind in pv pvh hvm; do xl create -c /guest/$kind.cfg; done";
    starts(&home, &["--xen", "--exec", command], &["PV", "PVH", "HVM"]);
}

/// From its files, with command lines as a boot loader's user writes them.
#[test]
fn xen_starts_by_multiboot_2_with_modules() {
    let home = Home::new("xen-modules");
    make_image(&home);
    std::fs::create_dir_all(&home.0).unwrap();
    let file = |name: &str| home.0.join(name).display().to_string();
    assert!(home.run(&["image", "--xen", "--write", &file("")]).status.success());
    let linux = format!("{} vmlinuz console=hvc0 quiet ireko.exec=\"xl list\"", file("vmlinuz"));
    let append = "xen console=com1 com1=115200,8n1 dom0_mem=512M";
    let arguments = ["--protocol", "multiboot2", "--kernel", &file("xen.gz"), "--append", append];
    starts(&home, &[&arguments[..], &["--module", &linux, "--module", &file("initramfs")]].concat(), &[]);
}

#[test]
fn grub_starts_xen_with_seabios() {
    let home = Home::new("xen-mbr");
    make_image(&home);
    let medium = Medium::xen(&home, Label::Mbr, "xl create -c /guest/pv.cfg");
    starts(&home, &["--firmware", "bios", "--disk", medium.disk.to_str().unwrap()], &["PV"]);
}

#[test]
fn grub_starts_xen_with_ovmf_and_its_guests_of_every_kind() {
    let home = Home::new("xen-gpt");
    make_image(&home);
    let command =
        "set -e; xl create -c /guest/pv.cfg; xl create -c /guest/pvh.cfg; xl create -c /guest/hvm.cfg";
    let medium = Medium::xen(&home, Label::Gpt, command);
    starts(&home, &["--firmware", "uefi", "--disk", medium.disk.to_str().unwrap()], &["PV", "PVH", "HVM"]);
}

#[test]
fn a_pvh_dom0_is_refused_by_xen_for_want_of_an_iommu() {
    let home = Home::new("xen-pvh-dom0");
    make_image(&home);
    let mut machine = Machine::with_memory(&home, "1G", &["--xen", "--append", "dom0=pvh"]);
    machine.wait("iommu must be enabled for PVH hardware domain");
}
