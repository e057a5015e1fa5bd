//! Loads kernel modules from the guest's own root file system.

use crate::image::{MODULES, modules};
use crate::{facts, sys};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The PCI vendor of virtio devices (virtio 1.2, 4.1.2).
const VIRTIO_VENDOR: &str = "0x1af4";

/// The drivers of virtio devices, where there are any.
pub fn load_virtio() -> Result<()> {
    let virtio =
        |path: &Path| fs::read_to_string(path.join("vendor")).is_ok_and(|v| v.trim() == VIRTIO_VENDOR);
    if devices().any(|path| virtio(&path)) {
        load(&["virtio_pci", "virtio_console"])?;
    }
    Ok(())
}

/// All drivers of the image that this machine may need.
pub fn load_all() -> Result<()> {
    load_virtio()?;
    load(&["virtio_blk", "virtio_rng"])?;
    load_memory()?;
    load_storage()?;
    load_network()?;
    if has_device(FOLDER) {
        load(&["virtiofs"])?;
    }
    load_variables()?;
    // A machine without virtualization extensions is no error for a shell.
    let _ = load_kvm();
    Ok(())
}

/// PCI device ids of the balloon and the memory device (virtio 1.2, 4.1.2.1 and 5).
const BALLOON: &str = "0x1045";
const MEM: &str = "0x1058";

/// The same of the file system device.
const FOLDER: &str = "0x105a";

/// The drivers for memory that comes and goes, where there are such devices.
fn load_memory() -> Result<()> {
    if has_device(BALLOON) {
        load(&["virtio_balloon"])?;
    }
    if has_device(MEM) {
        // Memory that is added is used at once, and for everything: were it kept for what can be moved, the kernel itself
        // could run out although much is free. What cannot be unplugged later goes to the balloon.
        let _ = fs::write("/sys/devices/system/memory/auto_online_blocks", "online");
        load(&["virtio_mem"])?;
    }
    Ok(())
}

/// PCI device id of the SCSI host, and the class of IDE controllers.
const SCSI: &str = "0x1048";
const IDE: &str = "0x0101";

/// Disks and CDs at other controllers than virtio's and NVMe's, which the kernel has built in.
fn load_storage() -> Result<()> {
    let class = |path: PathBuf| fs::read_to_string(path.join("class")).unwrap_or_default();
    let ide = devices().any(|path| class(path).starts_with(IDE));
    let controllers = [(ide, "ata_piix"), (has_device(SCSI), "virtio_scsi")];
    for (_, driver) in controllers.iter().filter(|(there, _)| *there) {
        load(&["sd_mod", "sr_mod", "isofs", driver])?;
    }
    Ok(())
}

/// PCI device id of network adapters.
const NETWORK: &str = "0x1041";

/// The driver of network adapters, where there are any, and what the host's side of a switch needs.
pub fn load_network() -> Result<()> {
    if has_device(NETWORK) {
        load(&["virtio_net"])?;
    }
    load(&["tun", "nft_chain_nat", "nft_masq"])
}

/// UEFI's variables as files, where there is UEFI.
fn load_variables() -> Result<()> {
    const PLACE: &str = "/sys/firmware/efi/efivars";
    if !Path::new(PLACE).exists() {
        return Ok(());
    }
    load(&["efivarfs"])?;
    sys::mount("efivarfs", PLACE).with_context(|| format!("cannot mount {PLACE}"))
}

fn devices() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten().map(|entry| entry.path())
}

fn has_device(id: &str) -> bool {
    let read = |path: &Path, name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
    devices().any(|path| read(&path, "vendor").trim() == VIRTIO_VENDOR && read(&path, "device").trim() == id)
}

/// The ACPI power button, and its events as a device.
pub fn load_button() -> Result<()> {
    load(&["evdev", "button"])
}

/// KVM for this processor's vendor; says what is missing when /dev/kvm does not come.
pub fn load_kvm() -> Result<()> {
    let cpu = facts::read().cpuid;
    let (module, extension, there) = match cpu.vendor.as_str() {
        "AuthenticAMD" => ("kvm_amd", "SVM", cpu.svm),
        "GenuineIntel" => ("kvm_intel", "VMX", cpu.vmx),
        other => bail!("no KVM module is known for the processor vendor {other}"),
    };
    if !there {
        bail!("CPUID does not show {extension}, so {module} cannot work here");
    }
    load(&[module])?;
    if !Path::new("/dev/kvm").exists() {
        bail!("{module} is loaded, but there is no /dev/kvm");
    }
    Ok(())
}

fn load(names: &[&str]) -> Result<()> {
    let all = read_all()?;
    for name in modules::load_order(names, &all)? {
        let path = Path::new("/").join(MODULES).join(format!("{name}.ko"));
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        sys::load_module(&file, "").with_context(|| format!("the kernel does not load {name}"))?;
    }
    Ok(())
}

fn read_all() -> Result<modules::Modules> {
    let directory = Path::new("/").join(MODULES);
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut all = modules::Modules::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if let Some(name) = modules::name_of(&path.to_string_lossy()) {
            all.insert(name, fs::read(&path)?);
        }
    }
    Ok(all)
}
