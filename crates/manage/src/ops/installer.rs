//! What New-VM does for who wants a system to be installed by its own installer: that starts instead of the disks, until it resets the
//! machine or turns it off.

use super::system;
use crate::host::{InstallerFiles, NoSystem};
use crate::operation::parameter::{path, text};
use crate::operation::{Call, Failure, Parameter};
use crate::store::config::{Installer, StartWith};
use crate::store::{Begun, Config, Run, Store, VmLock};
use std::fs;
use std::path::Path;

const KERNEL: &str = "installer.kernel";
const INITRD: &str = "installer.initrd";

/// Of New-VM.
pub const PARAMETERS: [Parameter; 2] = [
    text(
        "Installer",
        "Starts the installer of a system instead of the disk, until it resets the machine or turns it off: debian, of the packages that this host's apt knows (debian-12: only of that version). It asks at the console, and gets packages where this host's apt does (Ireko's own).",
    )
    .flag("installer"),
    path("Preseed", "A file with answers for it, so that it asks nothing (Ireko's own).").flag("preseed"),
];

/// Every one of them is the system's that is installed, and not of who installs it.
const OTHERS: [&str; 8] = ["System", "User", "Password", "SshKey", "UserData", "Kernel", "Initrd", "ISOPath"];

/// What starts it, if one is wanted; what is wrong is said before anything is made.
pub fn find(call: &Call<'_>) -> Result<Option<InstallerFiles>, Failure> {
    let arguments = call.arguments;
    let Some(name) = arguments.text("Installer") else {
        return match arguments.has("Preseed") {
            true => Err(Failure::invalid("-Preseed is for an installer; say which: -Installer debian.")),
            false => Ok(None),
        };
    };
    if let Some(other) = OTHERS.iter().find(|other| arguments.has(other)) {
        return Err(Failure::invalid(format!(
            "-{other} and -Installer are two ways to a system; give one. What an installer is to know is in its -Preseed file."
        )));
    }
    if !arguments.has("NewVHDPath") && !arguments.has("VHDPath") {
        return Err(Failure::invalid(
            "An installer needs a disk to install on: give -NewVHDPath with -NewVHDSizeBytes, or -VHDPath.",
        ));
    }
    if arguments.text("StartWith") == Some("Kernel") {
        return Err(Failure::invalid("An installer starts with firmware; leave -StartWith Kernel out."));
    }
    let answers = arguments.text("Preseed").map(answers).transpose()?;
    let more = arguments.text("CommandLine").unwrap_or_default();
    let found = (call.host.installers)(name, answers.as_deref(), more);
    found.map(Some).map_err(|why| match why {
        NoSystem::Unknown(why) => Failure::invalid(why),
        NoSystem::Failed(why) => Failure::failed(why),
    })
}

fn answers(path: &str) -> Result<Vec<u8>, Failure> {
    let data = system::small_file("file of answers", path)?;
    let is_answer = |line: &str| {
        let mut words = line.split_whitespace();
        // Owner, question, type, and the value, which may be empty.
        words.next().is_some()
            && words.next().is_some_and(|name| name.contains('/'))
            && words.next().is_some()
    };
    let text = String::from_utf8_lossy(&data);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match lines.clone().any(is_answer) {
        true => Ok(data),
        false => Err(Failure::invalid(format!(
            "'{path}' has no answers for an installer: lines like `d-i netcfg/get_hostname string web`."
        ))
        .about(path)),
    }
}

/// Its files are the machine's own, for as long as it is not done.
pub fn bring(call: &Call<'_>, config: &mut Config, files: &InstallerFiles) -> Result<Begun, Failure> {
    let begun = call.host.store.begin(config.id)?;
    let later = call.host.store.directory(config.id);
    for (name, data) in [(KERNEL, &files.kernel), (INITRD, &files.initrd)] {
        system::write_secret(&begun.path().join(name), data)
            .map_err(|error| Failure::failed(format!("The installer cannot be kept: {error}.")))?;
    }
    config.boot.start_with = StartWith::Firmware;
    config.boot.command_line.clear();
    config.boot.installer = Some(Installer {
        kernel: later.join(KERNEL),
        initrd: later.join(INITRD),
        command_line: files.command_line.clone(),
    });
    Ok(begun)
}

/// What is installed starts from now on.
pub fn leave_if_done(store: &Store, lock: &VmLock, config: &mut Config) -> Result<(), Failure> {
    let directory = store.directory(config.id);
    if config.boot.installer.is_none() || !Run::noted_installed(&directory) {
        return Ok(());
    }
    config.boot.installer = None;
    store.save(lock, config)?;
    // It holds passwords, maybe. What cannot be removed harms no start.
    remove(&directory);
    Ok(())
}

fn remove(directory: &Path) {
    let _ = Run::forget_installed(directory);
    for name in [KERNEL, INITRD] {
        let _ = fs::remove_file(directory.join(name));
    }
}
