//! The command line.

use anyhow::Result;
use clap::{ArgGroup, Args, Parser, Subcommand};
use ireko_machine::EngineChoice;
use std::path::PathBuf;

/// Virtual machines that hold virtual machines, on any x86-64 Linux machine.
#[derive(Parser)]
#[command(name = "ireko", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Boot Debian inside Debian, level after level, and let each level report.
    Nest(NestArgs),
    /// Run one virtual machine on this terminal (Ctrl-A X ends it).
    Run(RunArgs),
    /// Say what this host can do, by trying, and what is missing.
    Doctor(DoctorArgs),
    /// List the processors that a VM can be given with --cpu, and what this machine lacks for each.
    Cpus {
        /// List the features that a processor can have more or less, as in amd,+la57,-rdtscp.
        #[arg(long)]
        features: bool,
    },
    /// Make the guest image, or say what it is made of.
    Image(ImageArgs),
    /// Compare speed: this machine, each level of ours, and QEMU's translator where it is installed.
    Bench(crate::suite::BenchArgs),
    /// Manage virtual machines that live on after the command returns.
    Vm(crate::vm::VmCommand),
    /// Make disk images, look at them, convert, resize, check and merge them.
    Disk(crate::vm::DiskCommand),
    /// Draw running virtual machines with the levels inside them, seen from outside.
    Tree(crate::tree::TreeArgs),
    /// A prompt of cmdlets (Get-VM, Start-VM, …), or a script of them.
    Shell(crate::shell::ShellArgs),
    /// Offer the operations as a REST API on a Unix socket, and on TCP with a token.
    Serve(crate::serve::ServeArgs),
    /// Print a completion script for a shell; for bash: source <(ireko completions bash).
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write a page for each command into a directory.
    Man(crate::manual::ManArgs),
    /// Run one virtual machine of the store; started by `vm start`.
    #[command(hide = true)]
    Worker { id: ireko_manage::Guid },
    /// Be the host's side of an Internal switch; started by New-VMSwitch.
    #[command(hide = true)]
    HostSide { id: ireko_manage::Guid },
    /// Run a nest whose first machine is saved at random moments, and each time goes on in a new one: a test.
    #[command(hide = true)]
    Saved(crate::saved::SavedArgs),
    /// Say what confines workers here; started by doctor.
    #[command(hide = true)]
    Jail { home: std::path::PathBuf },
}

/// What VMs of `nest` and `run` have in common.
#[derive(Args)]
pub struct EngineArgs {
    /// What executes guest code: auto, soft or kvm.
    #[arg(long, default_value = "auto")]
    pub engine: String,
    /// Engine debugging and bisection options.
    #[arg(long = "option", value_name = "NAME=VALUE")]
    pub options: Vec<String>,
}

#[derive(Args)]
pub struct NestArgs {
    /// The innermost level.
    #[arg(long, default_value_t = 2)]
    pub depth: u32,
    /// The first level's processor: amd, host, auto, or a name of `ireko cpus`.
    #[arg(long, default_value = "amd")]
    pub cpu: String,
    /// The first level's memory, like 512M or 2G.
    #[arg(long, default_value = "2G")]
    pub memory: String,
    #[command(flatten)]
    engine: EngineArgs,
    /// Print one JSON document instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Say where the first level's processor spent its time, by level: shares, exits, TLB misses. Counting costs a little.
    #[arg(long)]
    pub stats: bool,
    /// Write every level's console to a file. The kernels' messages cost time.
    #[arg(long, value_name = "FILE")]
    pub keep_console: Option<PathBuf>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    pub timeout: u64,
    /// Milliseconds for one benchmark at each level.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub bench_ms: u64,
    /// More words for the first level's kernel command line.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub append: String,
}

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
    /// A disk image (raw, qcow2), behind virtio or the controllers `sata`, `ide`, `nvme` and `scsi`; may be given several times.
    /// What is behind an image is used only if `backing` names it.
    #[arg(long, value_name = "FILE[,bus=NAME][,format=NAME][,backing=FILE]")]
    pub disk: Vec<String>,
    /// A CD's image, in a drive behind `ide`, `sata` or `scsi`; may be given several times. Disks boot before CDs.
    #[arg(long, value_name = "FILE[,bus=NAME]")]
    pub cdrom: Vec<String>,
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

#[derive(Args)]
pub struct DoctorArgs {
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ImageArgs {
    /// Make it anew from the newest packages.
    #[arg(long)]
    pub refresh: bool,
    /// Debian's Xen with its dom0, as `run --xen` boots it, instead.
    #[arg(long)]
    pub xen: bool,
    /// Write its kernel and root file system as vmlinuz and initramfs (and with --xen, xen.gz) into a directory, for other
    /// hypervisors and boot loaders.
    #[arg(long, value_name = "DIRECTORY")]
    pub write: Option<PathBuf>,
}

impl std::ops::Deref for NestArgs {
    type Target = EngineArgs;
    fn deref(&self) -> &EngineArgs {
        &self.engine
    }
}

impl std::ops::Deref for RunArgs {
    type Target = EngineArgs;
    fn deref(&self) -> &EngineArgs {
        &self.engine
    }
}

impl EngineArgs {
    pub fn engine(&self) -> Result<EngineChoice> {
        Ok(self.engine.parse()?)
    }
}

impl NestArgs {
    pub fn memory_size(&self) -> Result<u64> {
        Ok(ireko_machine::parse_memory(&self.memory)?)
    }
}

impl RunArgs {
    pub fn memory_size(&self) -> Result<u64> {
        Ok(ireko_machine::parse_memory(&self.memory)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> String {
        match Arguments::try_parse_from(words) {
            Ok(_) => panic!("{words:?} is taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_run_of_nothing_says_all_that_can_be_run() {
        let said = refused(&["ireko", "run"]);
        for one in ["--kernel", "--image", "--xen", "--firmware"] {
            assert!(said.contains(one), "{said}");
        }
    }

    #[test]
    fn a_wrong_value_comes_with_its_verbs_usage() {
        for (verb, words) in [
            ("screen-set", &["vm", "--port", "70000"][..]),
            ("com-set", &["vm", "--number", "3"]),
            ("disk-remove", &["vm", "--location", "99"]),
        ] {
            let said = refused(&[&["ireko", "vm", verb], words].concat());
            assert!(said.contains(&format!("Usage: ireko vm {verb} ")), "{said}");
        }
    }

    #[test]
    fn a_wrong_value_is_said_of_its_option() {
        let said = refused(&["ireko", "vm", "screen-set", "vm", "--port", "70000"]);
        assert!(said.contains("argument on --port. \"70000\""), "{said}");
    }

    #[test]
    fn a_dvd_drive_is_offered_no_controller_that_it_cannot_have() {
        let said = refused(&["ireko", "vm", "dvd-add", "vm", "--controller", "NVMe"]);
        assert!(said.contains("[possible values: IDE, SCSI, SATA]"), "{said}");
    }
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_kernel_or_the_image_is_needed() {
        assert!(Arguments::try_parse_from(["ireko", "run"]).is_err());
        assert!(Arguments::try_parse_from(["ireko", "run", "--image"]).is_ok());
        assert!(Arguments::try_parse_from(["ireko", "run", "--image", "--kernel", "x"]).is_err());
    }
}
