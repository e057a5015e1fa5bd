//! The command line.

use clap::{Parser, Subcommand};

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
    Nest(crate::nest::NestArgs),
    /// Run one virtual machine on this terminal (Ctrl-A X ends it).
    Run(Box<crate::run_args::RunArgs>),
    /// Say what this host can do, by trying, and what is missing.
    Doctor(crate::doctor::DoctorArgs),
    /// List the processors that a VM can be given with --cpu, and what this machine lacks for each.
    Cpus {
        /// List the features that a processor can have more or less, as in amd,+la57,-rdtscp.
        #[arg(long)]
        features: bool,
    },
    /// Make the guest image, or say what it is made of.
    Image(crate::image_command::ImageArgs),
    /// Compare speed: this machine, each level of ours, and QEMU's translator where it is installed.
    Bench(crate::suite::BenchArgs),
    /// Manage virtual machines that live on after the command returns.
    Vm(crate::vm::VmCommand),
    /// Make disk images, look at them, convert, resize, check and merge them.
    Disk(crate::vm::DiskCommand),
    /// Show who is where on virtual switches, what is dropped and why, and capture what goes over them.
    Switch(crate::vm::SwitchCommand),
    /// Draw running virtual machines with the levels inside them, seen from outside.
    Tree(crate::tree::TreeArgs),
    /// A prompt of cmdlets (Get-VM, Start-VM, …), or a script of them.
    Shell(crate::shell::ShellArgs),
    /// Offer the operations as a REST API on a Unix socket, and on TCP with a token.
    Serve(crate::serve::ServeArgs),
    /// Have systemd run `ireko serve` from each start of the host on, which starts what is to start with it.
    Setup(crate::setup::SetupArgs),
    /// Print a completion script for a shell; for bash: source <(ireko completions bash).
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write a page for each command into a directory.
    Man(crate::manual::ManArgs),
    /// Run one virtual machine of the store; started by `vm start`.
    #[command(hide = true)]
    Worker { id: ireko_manage::Guid },
    /// Serve a disk that is mounted; started by Mount-VHD.
    #[command(hide = true)]
    Mount { id: ireko_manage::Guid },
    /// Be the host's side of an Internal switch; started by New-VMSwitch.
    #[command(hide = true)]
    HostSide { id: ireko_manage::Guid },
    /// Look after the router of a switch; started with the first machine on it.
    #[command(hide = true)]
    Router { id: ireko_manage::Guid },
    /// Be that router; started by who looks after it.
    #[command(hide = true)]
    RouterSandboxed { id: ireko_manage::Guid },
    /// Serve a folder to a guest; started by who runs it.
    #[command(hide = true)]
    Folder { access: FolderAccess, folder: std::path::PathBuf },
    /// Run a nest whose first machine is saved at random moments, and each time goes on in a new one: a test.
    #[command(hide = true)]
    Saved(crate::saved::SavedArgs),
    /// Race processors against each other and look whether they see what the memory model forbids: a test.
    #[command(hide = true)]
    Litmus(crate::suite::litmus::LitmusArgs),
    /// Say what confines workers here; started by doctor.
    #[command(hide = true)]
    Jail { home: std::path::PathBuf },
}

/// What a guest may do with a folder.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FolderAccess {
    Read,
    Write,
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
