//! `ireko run`'s command line.

use crate::engine_args::EngineArgs;
use anyhow::Result;
use clap::{ArgGroup, Args};
use std::path::PathBuf;

/// What a reset of the guest means.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Reboot {
    Exit,
    Reset,
}

/// What a guest shows pictures on.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Display {
    Vga,
    Virtio,
    None,
}

/// What a network adapter is plugged into.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkChoice {
    User,
    None,
}

#[derive(Args)]
#[command(group = ArgGroup::new("start").args(["kernel", "image", "xen", "firmware"]).multiple(true).required(true))]
pub struct RunArgs {
    /// A Linux kernel (bzImage or ELF), or a multiboot 1 or 2 or a PVH kernel; may be in gzip.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Boot the guest image of Debian's packages, with a shell.
    #[arg(long, group = "system", conflicts_with_all = ["kernel", "initrd"])]
    pub image: bool,
    /// Boot Debian's Xen with a dom0 of Debian's packages that has xl and guests to start, with a shell. PVH and HVM guests need
    /// --nested.
    #[arg(long, group = "system", conflicts_with_all = ["kernel", "initrd", "firmware"])]
    pub xen: bool,
    /// With --image or --xen: run this shell command instead of a shell.
    #[arg(long, value_name = "COMMAND", requires = "system")]
    pub exec: Option<String>,
    /// Start with firmware, which loads from a disk, or the kernel: `bios` is Debian's SeaBIOS, `uefi` its OVMF; or a file with a
    /// BIOS image.
    #[arg(long, value_name = "bios|uefi|FILE", conflicts_with = "image")]
    pub firmware: Option<PathBuf>,
    /// Where UEFI keeps its variables; made if it is not there. Without it they are lost at the end.
    #[arg(long, value_name = "FILE", requires = "firmware")]
    pub variables: Option<PathBuf>,
    /// With UEFI: start from disks, CDs and the network only what is signed by who Debian's loaders are signed by. A kernel by
    /// --kernel is the host's word and is not checked. It needs the engine soft.
    #[arg(long, requires = "firmware")]
    pub secure_boot: bool,
    /// Write what firmware says at its debug port to standard error.
    #[arg(long, requires = "firmware")]
    pub firmware_debug: bool,
    /// When the guest resets itself, or ends in a triple fault: `exit`, or `reset` to start it again. With firmware it starts
    /// again if nothing is said.
    #[arg(long, value_name = "exit|reset", conflicts_with = "exec")]
    pub reboot: Option<Reboot>,
    /// What the guest shows pictures on, with keyboard, mouse and tablet: `vga`, `virtio` (a VGA until a driver of virtio's GPU takes
    /// it), or `none`. Debian's firmware has `vga` if nothing is said.
    #[arg(long, value_name = "vga|virtio|none")]
    pub display: Option<Display>,
    /// The boot protocol, for kernels that know several: linux, pvh, multiboot or multiboot2.
    #[arg(long, value_name = "NAME", requires = "kernel")]
    pub protocol: Option<String>,
    /// The first root file system, or the first module.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// A module for a multiboot or PVH kernel, with its command line behind a blank; may be given several times.
    #[arg(long, value_name = "FILE ARGUMENTS", requires = "kernel")]
    pub module: Vec<String>,
    /// The kernel command line, or with --image and --xen, more of it.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// Memory, like 512M or 2G.
    #[arg(long, default_value = "1G")]
    pub memory: String,
    /// Virtual processors, 1 to 64. On the software engine there may be more than this machine has.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: u32,
    /// A disk image (raw, qcow2), behind virtio or the controllers `sata`, `ide`, `nvme` and `scsi`; may be given several times.
    /// What is behind an image is used only if `backing` names it.
    #[arg(
        long,
        value_name = "FILE[,bus=NAME][,format=NAME][,error-policy=NAME][,read-only=on][,backing=FILE]"
    )]
    pub disk: Vec<String>,
    /// A CD's image, in a drive behind `ide`, `sata` or `scsi`; may be given several times. Disks boot before CDs.
    #[arg(long, value_name = "FILE[,bus=NAME]")]
    pub cdrom: Vec<String>,
    /// A network adapter: `user` has a router in this process behind it, with DHCP, names and ways out over the host's own
    /// sockets; it needs no rights.
    #[arg(long, value_name = "user|none", default_value = "none")]
    pub network: NetworkChoice,
    /// With --network user: a port of this host that leads to one of the guest's, of 127.0.0.1 if no address is said; may be
    /// given several times.
    #[arg(long, value_name = "[ADDRESS:]HOSTPORT:GUESTPORT[/udp]")]
    pub publish: Vec<String>,
    /// With --network user: a port of this host's loopback that the guest reaches at the router's address; may be given several
    /// times.
    #[arg(long, value_name = "PORT")]
    pub host_loopback: Vec<u16>,
    /// A folder of this host that the guest mounts by `mount -t virtiofs NAME /mnt`, for reading and writing or only for reading;
    /// may be given several times.
    #[arg(long, value_name = "NAME=FOLDER[,ro]")]
    pub share: Vec<String>,
    #[command(flatten)]
    engine: EngineArgs,
    /// Give the guest virtualization extensions.
    #[arg(long)]
    pub nested: bool,
    /// The processor: amd, host, auto, or a name of `ireko cpus`; with features more and less as in amd,+la57,-rdtscp.
    #[arg(long, value_name = "MODEL", default_value = "auto")]
    pub cpu: String,
    /// Add what bare-metal test kernels expect: isa-debug-exit, test ports, fw_cfg.
    #[arg(long)]
    pub test_devices: bool,
}

impl std::ops::Deref for RunArgs {
    type Target = EngineArgs;
    fn deref(&self) -> &EngineArgs {
        &self.engine
    }
}

impl RunArgs {
    pub fn memory_size(&self) -> Result<u64> {
        Ok(ireko_machine::parse_memory(&self.memory)?)
    }
}
