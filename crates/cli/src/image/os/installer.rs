//! Debian's own installer, of the package with its kernel and its first root file system. The answers that it is to find lie in an
//! archive behind that; where packages come from is answered by what this host's apt has.

use super::{DEBIAN, System};
use crate::image::cpio::Cpio;
use crate::image::{apt, cache};
use crate::progress::Progress;
use anyhow::{Context, Result, ensure};
use ireko_manage::host::{InstallerFiles, NoSystem};
use std::fs;
use std::path::PathBuf;

const KERNEL: &str = "linux";
const INITRD: &str = "initrd.gz";
/// How the directories are named that hold what was got; another whenever that changes.
const RECIPE: &str = "i1";
/// In the root directory it is found without being named.
const ANSWERS: &str = "preseed.cfg";

/// An installer's kernel, its file system with `answers`, and a command line with `more` of it.
pub fn files(
    name: &str,
    answers: Option<&[u8]>,
    more: &str,
    progress: &Progress,
) -> Result<InstallerFiles, NoSystem> {
    let system = System::parse(name).ok_or_else(|| {
        NoSystem::Unknown(format!(
            "There is no installer of '{}': debian and debian-12 are known; others start from their images, -ISOPath.",
            name.escape_debug()
        ))
    })?;
    debian(&system, answers, more, progress).map_err(|error| NoSystem::Failed(format!("{error:#}")))
}

fn debian(
    system: &System,
    answers: Option<&[u8]>,
    more: &str,
    progress: &Progress,
) -> Result<InstallerFiles> {
    let kept = ensure(system.version, progress)?;
    let read =
        |name| fs::read(kept.join(name)).with_context(|| format!("cannot read the installer's {name}"));
    let own = mirror(&apt::sources(DEBIAN)?, apt::setting("Acquire::http::Proxy")?.as_deref());
    let mut initrd = read(INITRD)?;
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    let mut archive = Cpio::with_capacity(own.len() + answers.map_or(0, <[u8]>::len));
    // What comes later counts.
    archive.file(ANSWERS, 0o600, &[own.as_bytes(), answers.unwrap_or_default()].concat());
    initrd.extend(archive.finish());
    Ok(InstallerFiles { kernel: read(KERNEL)?, initrd, command_line: command_line(answers.is_some(), more) })
}

/// It is at the serial console, and what it installs has one, too. Who has answered is asked for what is missing only.
fn command_line(answered: bool, more: &str) -> String {
    const CONSOLES: &str = "console=tty0 console=ttyS0,115200";
    let alone =
        if answered { "auto=true priority=critical TERM=dumb DEBIAN_FRONTEND=text" } else { "priority=high" };
    let given = if more.is_empty() { String::new() } else { format!("{more} ") };
    format!("{alone} {given}{CONSOLES} --- {CONSOLES}")
}

/// Where the installer gets packages: from what this host's lists are of. Where that has no name on a network, it asks.
fn mirror(sources: &[String], proxy: Option<&str>) -> String {
    let fields = sources.iter().filter_map(|line| {
        let mut words = line.strip_prefix("deb ")?.split(' ');
        Some((words.next()?, words.next()?))
    });
    let place = |security: bool| {
        let mut of = fields.clone().filter(|(_, release)| release.ends_with("-security") == security);
        of.find_map(|(uri, _)| {
            let (protocol, rest) =
                uri.split_once("://").filter(|(name, _)| matches!(*name, "http" | "https"))?;
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            Some((protocol, host, format!("/{}", path.trim_end_matches('/'))))
        })
    };
    let mut answers = String::new();
    let mut answer = |question: &str, kind: &str, value: &str| {
        answers.push_str(&format!("d-i {question} {kind} {value}\n"));
    };
    if let Some((protocol, host, path)) = place(false) {
        answer("mirror/country", "string", "manual");
        answer("mirror/protocol", "string", protocol);
        answer(&format!("mirror/{protocol}/hostname"), "string", host);
        answer(&format!("mirror/{protocol}/directory"), "string", &path);
        answer(&format!("mirror/{protocol}/proxy"), "string", proxy.unwrap_or_default());
        match place(true) {
            Some((_, host, path)) => {
                answer("apt-setup/security_host", "string", host);
                answer("apt-setup/security_path", "string", &path);
            }
            None => answer("apt-setup/services-select", "multiselect", "updates"),
        }
    }
    answers
}

/// The directory with kernel and root file system; got by apt first if it is not there.
fn ensure(version: Option<u32>, progress: &Progress) -> Result<PathBuf> {
    let cache = cache::directory()?;
    let package = package(version, progress)?;
    if let Some(kept) = cache::newest(&cache, &format!("installer-{package}_"), RECIPE)
        && [KERNEL, INITRD].iter().all(|name| kept.join(name).is_file())
    {
        // Drivers that are fetched later are of the newest kernel only.
        let newest = apt::candidate(&package)?;
        if newest.is_none_or(|newest| kept.to_string_lossy().contains(&format!("_{newest}"))) {
            return Ok(kept);
        }
    }
    let draft = cache::Draft::new(&cache)?;
    let files = apt::download(&[&package], draft.path(), progress)?;
    let kept = draft.path().join("files");
    fs::create_dir(&kept)?;
    let step = progress.step("unpack the installer");
    let place = |path: &str| {
        let (before, name) = path.rsplit_once('/')?;
        before.ends_with("/text/debian-installer/amd64").then(|| name.to_owned())
    };
    let wanted = |path: &str| place(path).is_some_and(|name| name == KERNEL || name == INITRD);
    apt::unpack(&files[0], wanted, |path, data| {
        let name = place(&path).unwrap_or_default();
        fs::write(kept.join(name), data).context("cannot keep the installer in the cache")
    })?;
    for name in [KERNEL, INITRD] {
        ensure!(kept.join(name).is_file(), "the package {package} has no {name}");
    }
    step.done();
    let file = apt::stem(&files[0]);
    draft.keep("files", &format!("installer-{}+{RECIPE}", file.trim_end_matches("_all")))
}

/// The newest that the lists have, if no version is wanted.
fn package(version: Option<u32>, progress: &Progress) -> Result<String> {
    const PREFIX: &str = "debian-installer-";
    const SUFFIX: &str = "-netboot-amd64";
    if let Some(version) = version {
        let name = format!("{PREFIX}{version}{SUFFIX}");
        apt::know(&name, progress)?;
        return Ok(name);
    }
    let number = |name: &String| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse::<u32>().ok();
    let newest = || {
        Ok::<_, anyhow::Error>(
            apt::names(PREFIX)?.into_iter().filter(|n| number(n).is_some()).max_by_key(number),
        )
    };
    if let Some(name) = newest()? {
        return Ok(name);
    }
    apt::know(&format!("{PREFIX}12{SUFFIX}"), progress)?;
    newest()?
        .context("apt's lists have no installer of Debian's; add its main archive to /etc/apt/sources.list")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(sources: &[&str], proxy: Option<&str>) -> String {
        mirror(&sources.iter().map(|&line| line.to_owned()).collect::<Vec<_>>(), proxy)
    }

    #[test]
    fn packages_come_from_where_the_hosts_do() {
        let said =
            answered(&["deb http://mirror.example/some/debian/ bookworm main"], Some("http://proxy:1"));
        for answer in [
            "d-i mirror/http/hostname string mirror.example\n",
            "d-i mirror/http/directory string /some/debian\n",
            "d-i mirror/http/proxy string http://proxy:1\n",
        ] {
            assert!(said.contains(answer), "{answer} in {said}");
        }
    }

    #[test]
    fn security_updates_come_from_where_the_hosts_do() {
        let security = "deb https://other.example/debian-security bookworm-security main";
        let said = answered(&[security, "deb https://mirror.example/debian bookworm main"], None);
        assert!(said.contains("d-i mirror/https/hostname string mirror.example\n"), "{said}");
        assert!(said.contains("d-i apt-setup/security_host string other.example\n"), "{said}");
        assert!(said.contains("d-i apt-setup/security_path string /debian-security\n"), "{said}");
    }

    #[test]
    fn without_an_archive_of_security_updates_none_is_asked() {
        let said = answered(&["deb http://mirror.example/debian bookworm main"], None);
        assert!(said.contains("d-i apt-setup/services-select multiselect updates\n"), "{said}");
    }

    #[test]
    fn what_is_no_place_on_a_network_is_no_answer() {
        assert_eq!(answered(&["deb file:/srv/debian bookworm main"], None), "");
    }

    #[test]
    fn what_is_installed_has_the_serial_console_too() {
        let line = command_line(true, "hostname=web");
        let (installers, installed) = line.split_once(" --- ").unwrap();
        assert!(installers.contains("hostname=web") && installed.contains("console=ttyS0"), "{line}");
    }
}
