//! What New-VM does for who brings a system's name, or says who is to log in: a disk over that system's, and a seed for cloud-init.

use super::vhd;
use super::{disk, image};
use crate::host::NoSystem;
use crate::operation::parameter::{bytes, path, switch, text};
use crate::operation::{Call, Failure, Parameter};
use crate::rules::drives::{FOR_DISKS, Wanted, free};
use crate::seed::{self, Seed, SshKey};
use crate::store::config::{DriveAddress, StartWith};
use crate::store::{Begun, Config, Disk};
use ireko_machine::Format;
use ring::rand::{SecureRandom, SystemRandom};
use std::path::Path;

const SET: &str = "System";
const DISK: &str = "disk.qcow2";
const SEED: &str = "seed.iso";
/// In the VM's directory: with which `ireko vm ssh` logs in where no other key was given.
pub const SSH_KEY: &str = "ssh_key";

/// Of New-VM.
pub const PARAMETERS: [Parameter; 7] = [
    text(
        "System",
        "An operating system by its name: debian, made of the packages that this host's apt knows (debian-12: only of that version), or one of the list of cloud images. Its disk is a layer over one that is made or got once (Ireko's own).",
    )
    .set(SET)
    .required()
    .flag("os"),
    bytes("SystemSizeBytes", "The size of that disk; the root file system grows to it (Ireko's own).")
        .set(SET)
        .flag("size"),
    text("User", "Who may log in and become root, told by cloud-init; without it the system's own user (Ireko's own).")
        .flag("user"),
    text(
        "Password",
        "With which password; a random one is told if neither it nor a key is given (Ireko's own).",
    )
    .flag("password"),
    path("SshKey", "With which key: a file with public ones (Ireko's own).").many().flag("ssh-key"),
    path("UserData", "A file for cloud-init, as its user data (Ireko's own).").flag("user-data"),
    switch("Start", "Start it, too (Ireko's own).").flag("start"),
];

/// Puts the disks and the files of them where a new VM is to have them; the configuration names them by their later places.
pub fn bring(call: &mut Call<'_>, config: &mut Config) -> Result<Option<Begun>, Failure> {
    let arguments = call.arguments;
    let system = arguments.text("System").map(str::to_owned);
    let seeded = ["User", "Password", "SshKey", "UserData"].iter().any(|name| arguments.has(name));
    if system.is_none() && !seeded {
        return Ok(None);
    }
    // What is wrong is said before anything long.
    let (mut seed, random) = seed(call, config)?;
    let key = seed.keys.is_empty().then(|| own_key(&config.name)).transpose()?;
    let lock = system.as_ref().map(|_| call.host.store.hold_systems(false)).transpose();
    let lock = lock.map_err(|error| Failure::failed(format!("The systems cannot be locked: {error}.")))?;
    let system = system.map(|name| (call.host.systems)(&name, &call.host.store.systems()));
    let system = system.transpose().map_err(|why| match why {
        NoSystem::Unknown(why) => Failure::invalid(why),
        NoSystem::Failed(why) => Failure::failed(why),
    })?;
    seed.keys.extend(key.iter().map(|key| key.public.clone()));
    seed.listens = !system.as_ref().is_some_and(|system| system.listens);
    config.user = seed.user.clone().or_else(|| system.as_ref().and_then(|system| system.login.clone()));
    let mut begun = call.host.store.begin(config.id)?;
    if let Some(lock) = lock {
        begun.hold(lock);
    }
    let later = call.host.store.directory(config.id);
    if let Some(system) = &system {
        let size = arguments.int("SystemSizeBytes").map(|size| size as u64);
        let new = vhd::New::over(&later.join(DISK), &system.path, size)?;
        vhd::make(&begun.path().join(DISK), &new)?;
        let found = image::find(arguments, &system.path, None)?;
        let layer = ireko_machine::Layer { path: found.path, format: found.facts.format };
        let behind = [layer].into_iter().chain(found.behind).map(Into::into).collect();
        let own = Disk::new(DriveAddress::scsi(0), later.join(DISK), false);
        config.disks.push(Disk { format: Format::Qcow2, behind, ..own });
        config.boot.start_with = StartWith::Firmware;
    }
    let cannot = |error: std::io::Error| {
        Failure::failed(format!("The seed for cloud-init cannot be written: {error}."))
    };
    write_secret(&begun.path().join(SEED), &seed.image()).map_err(cannot)?;
    if let Some(key) = key {
        write_secret(&begun.path().join(SSH_KEY), key.private.as_bytes()).map_err(cannot)?;
    }
    let place = free(config, &Wanted::default(), FOR_DISKS).map_err(Failure::invalid)?;
    config.disks.push(Disk::new(place, later.join(SEED), true));
    if let Some(password) = random {
        let user = seed.user.as_deref().or(system.as_ref().map(|system| system.user.as_str()));
        let who = user.map_or_else(|| "the system's own user".to_owned(), |name| format!("'{name}'"));
        call.surface.say(&format!(
            "Log in at the console as {who} with the password '{password}', which is not told again."
        ));
    }
    Ok(Some(begun))
}

/// What the system is told, and a password that its owner does not know yet.
fn seed(call: &Call<'_>, config: &Config) -> Result<(Seed, Option<String>), Failure> {
    let arguments = call.arguments;
    let user = arguments.text("User").map(str::to_owned);
    if let Some(name) = user.as_deref().filter(|name| !seed::is_user(name)) {
        return Err(Failure::invalid(format!(
            "'{}' cannot be the name of a user: it begins with a small letter and has small letters, digits, - and _, 32 at most.",
            name.escape_debug()
        )));
    }
    let keys: Vec<String> = arguments.items("SshKey").iter().map(ToString::to_string).collect();
    let keys = keys.iter().map(|path| keys_in(path)).collect::<Result<Vec<_>, _>>()?.concat();
    let own = arguments.text("UserData").map(user_data).transpose()?;
    let given = arguments.text("Password").map(str::to_owned);
    let random = given.is_none() && keys.is_empty() && own.is_none();
    let random = random.then(random_password).transpose()?;
    let password = given.or_else(|| random.clone());
    let hash = |password: String| Ok::<_, Failure>(seed::hashed(&password, random_bytes()?));
    let password = password.map(hash).transpose()?;
    let (name, instance) = (config.name.clone(), config.id.to_string());
    Ok((Seed { name, instance, user, password, keys, own, listens: false }, random))
}

/// More than this is no file of keys, and cloud-init takes no more.
const LARGEST: u64 = 64 << 10;

pub fn small_file(what: &str, path: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::invalid(format!("The {what} '{path}' cannot be read: {why}.")).about(path)
    };
    let path = disk::absolute(path)?;
    let meta = std::fs::metadata(&path).map_err(|error| wrong(&error))?;
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(wrong(&"it is no file of 64 KiB at most"));
    }
    std::fs::read(&path).map_err(|error| wrong(&error))
}

fn keys_in(path: &str) -> Result<Vec<String>, Failure> {
    let text = small_file("file of keys", path)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<String> = lines.map(str::to_owned).collect();
    if keys.is_empty() || !keys.iter().all(|key| seed::is_key(key)) {
        return Err(Failure::invalid(format!(
            "'{path}' has no public keys of SSH; give the file whose name ends in .pub."
        ))
        .about(path));
    }
    Ok(keys)
}

fn user_data(path: &str) -> Result<Vec<u8>, Failure> {
    let data = small_file("user data", path)?;
    if data.starts_with(b"#") || data.starts_with(b"Content-Type:") || data.starts_with(b"MIME-Version:") {
        return Ok(data);
    }
    Err(Failure::invalid(format!(
        "'{path}' is no user data for cloud-init: its first line is none like #cloud-config or #!/bin/sh."
    ))
    .about(path))
}

fn random_bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::failed("This host gives no random numbers."))?;
    Ok(bytes)
}

/// For who is to log in from this host.
fn own_key(name: &str) -> Result<SshKey, Failure> {
    let key = seed::ssh_key(random_bytes()?, random_bytes()?, &format!("ireko-{}", seed::host_name(name)));
    key.ok_or_else(|| Failure::failed("No key for SSH can be made."))
}

/// Without letters that look like others.
fn random_password() -> Result<String, Failure> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters = random_bytes::<14>()?;
    Ok(letters.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect())
}

pub fn write_secret(path: &Path, data: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(data)?;
    file.sync_all()
}
