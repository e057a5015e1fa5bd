//! Debian's packages by apt: found, downloaded and verified by apt itself (its signatures), no root needed where
//! its lists are there.

use super::tar;
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const META_PACKAGE: &str = "linux-image-cloud-amd64";
pub const BUSYBOX: &str = "busybox-static";

/// apt's words, not those of the user's language, and never an unverified package. What is installed here does not count: where
/// it is newer than all that the lists have, apt would want that version, and find nowhere to get it.
fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command.args(["-o", "APT::Get::AllowUnauthenticated=false", "-o", "Dir::State::status=/dev/null"]);
    command
}

fn output(mut command: Command) -> Result<(bool, String, String)> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(out) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok((out.status.success(), text(&out.stdout), text(&out.stderr)))
        }
        Err(_) => bail!(
            "{name} is not there: guest image and firmware come from Debian's packages, so Ireko needs Debian's apt and dpkg"
        ),
    }
}

/// The newest cloud kernel's package name. Fetches apt's lists first when they are missing and we may.
pub fn newest_kernel(progress: &Progress) -> Result<String> {
    newest_kernel_of(META_PACKAGE, progress)
}

/// The same of the kernel that a package without files stands for.
pub fn newest_kernel_of(meta: &str, progress: &Progress) -> Result<String> {
    if let Some(name) = kernel_in_lists(meta)? {
        return Ok(name);
    }
    if !crate::sys::is_root() {
        bail!("apt's lists do not have {meta}; run this once, then try again: sudo apt-get update");
    }
    update(progress, || Ok(kernel_in_lists(meta)?.is_some()))?;
    kernel_in_lists(meta)?.with_context(|| {
        format!(
            "apt knows no {meta}; add Debian's main archive to /etc/apt/sources.list and run apt-get update"
        )
    })
}

/// The newest cloud kernel that apt's lists have now.
pub fn newest_known() -> Result<String> {
    kernel_in_lists(META_PACKAGE)?
        .with_context(|| format!("apt's lists do not have {META_PACKAGE}; run: apt-get update"))
}

fn kernel_in_lists(meta: &str) -> Result<Option<String>> {
    let mut command = apt("apt-cache");
    command.args(["depends", meta]);
    let (_, listing, _) = output(command)?;
    Ok(newest_dependency(meta, &listing))
}

/// The `Depends:` of the listing with the highest version numbers, of the kernel whose package `meta` is.
fn newest_dependency(meta: &str, listing: &str) -> Option<String> {
    const KERNEL: &str = "linux-image";
    let suffix = meta.strip_prefix(KERNEL)?;
    let names =
        listing.lines().filter_map(|line| line.trim().trim_start_matches('|').strip_prefix("Depends: "));
    names
        .filter(|name| name.starts_with(KERNEL) && name.ends_with(suffix))
        .max_by_key(|name| numbers(name))
        .map(str::to_owned)
}

/// Packages, and all that they depend on.
pub fn dependencies(packages: &[&str]) -> Result<Vec<String>> {
    const LEFT_OUT: [&str; 6] = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
    let mut command = apt("apt-cache");
    command.args(["depends", "--recurse"]).args(LEFT_OUT.map(|kind| format!("--no-{kind}"))).args(packages);
    let (ok, listing, errors) = output(command)?;
    anyhow::ensure!(ok, "apt does not know what {} need: {}", packages.join(" and "), last_error(&errors));
    Ok(named_first(&listing))
}

/// What apt would install on an empty machine to have `packages` there, with versions. Fetches the lists first when they do not
/// have them all and we may.
pub fn installation(packages: &[&str], progress: &Progress) -> Result<Vec<(String, String)>> {
    match installation_by_lists(packages, progress) {
        Err(_) if crate::sys::is_root() => {
            update(progress, || Ok(true))?;
            installation_by_lists(packages, progress)
        }
        Err(error) => Err(error.context("run this once, then try again: sudo apt-get update")),
        known => known,
    }
}

fn installation_by_lists(packages: &[&str], progress: &Progress) -> Result<Vec<(String, String)>> {
    const ALL_THAT_MUST_BE: &str = "?essential";
    let step = progress.step("resolve packages");
    let mut command = apt("apt-get");
    command.args(["install", "--simulate", "-q", "-o", "APT::Install-Recommends=false"]);
    command.arg(ALL_THAT_MUST_BE).args(packages);
    let (ok, listing, errors) = output(command)?;
    anyhow::ensure!(ok, "apt cannot resolve what a system needs: {}", last_error(&errors));
    step.done();
    Ok(installed(&listing))
}

/// `Inst NAME (VERSION …` of a simulation.
fn installed(listing: &str) -> Vec<(String, String)> {
    let package = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
        let version = rest.split([' ', ')']).next()?;
        Some((name.to_owned(), version.to_owned()))
    };
    listing.lines().filter_map(package).collect()
}

/// The archives of a distribution that apt has lists of, as lines of a sources.list.
pub fn sources(origin: &str) -> Result<Vec<String>> {
    let mut command = apt("apt-get");
    command.args(["indextargets", "--format", "$(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)"]);
    command.arg("Created-By: Packages");
    let (_, listing, _) = output(command)?;
    let of_origin = listing.lines().filter_map(|line| line.strip_prefix(origin)?.strip_prefix(' '));
    let mut sources: Vec<String> = of_origin.map(str::to_owned).collect();
    sources.sort();
    sources.dedup();
    Ok(sources)
}

/// Packages whose names begin so.
pub fn names(start: &str) -> Result<Vec<String>> {
    let mut command = apt("apt-cache");
    command.args(["pkgnames", start]);
    Ok(output(command)?.1.lines().map(str::to_owned).collect())
}

/// The version of a package that would be downloaded, as its file's name has it.
pub fn candidate(package: &str) -> Result<Option<String>> {
    let mut command = apt("apt-cache");
    command.args(["show", "--no-all-versions", package]);
    let (_, listing, _) = output(command)?;
    Ok(listing.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned))
}

/// A setting of apt's configuration, if it is set.
pub fn setting(name: &str) -> Result<Option<String>> {
    let mut command = apt("apt-config");
    command.args(["shell", "value", name]);
    let (_, said, _) = output(command)?;
    let value = said.trim().strip_prefix("value='").and_then(|rest| rest.strip_suffix('\''));
    Ok(value.filter(|value| !value.is_empty()).map(str::to_owned))
}

/// Each package's lines begin with its name; those of virtual ones with `<`.
fn named_first(listing: &str) -> Vec<String> {
    let first = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphanumeric());
    listing.lines().filter(first).map(str::to_owned).collect()
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn update(progress: &Progress, known: impl Fn() -> Result<bool>) -> Result<()> {
    let step = progress.step("apt-get update");
    let mut command = apt("apt-get");
    command.args(["update", "-q"]);
    let (ok, _, errors) = output(command)?;
    step.done();
    // Other archives in the sources may fail: what counts is whether the package is known afterwards.
    if !ok && !known()? {
        bail!("apt-get update failed: {}", last_error(&errors));
    }
    Ok(())
}

/// Makes sure that apt's lists have a package. Fetches them first when they have not and we may.
pub fn know(package: &str, progress: &Progress) -> Result<()> {
    if in_lists(package)? {
        return Ok(());
    }
    if !crate::sys::is_root() {
        bail!("apt's lists do not have {package}; run this once, then try again: sudo apt-get update");
    }
    update(progress, || in_lists(package))?;
    if !in_lists(package)? {
        bail!(
            "apt knows no {package}; add Debian's main archive to /etc/apt/sources.list and run apt-get update"
        );
    }
    Ok(())
}

fn in_lists(package: &str) -> Result<bool> {
    let mut command = apt("apt-cache");
    command.args(["show", "--no-all-versions", package]);
    Ok(output(command)?.0)
}

/// Downloads `packages` into `directory`; gives their files in the same order. Where the lists are older than the mirror, which
/// keeps no old versions, they are fetched anew.
pub fn download(packages: &[&str], directory: &Path, progress: &Progress) -> Result<Vec<PathBuf>> {
    match download_once(packages, directory, progress) {
        Err(first) if crate::sys::is_root() => {
            update(progress, || Ok(false)).map_err(|_| first)?;
            download_once(packages, directory, progress)
        }
        result => result,
    }
}

fn download_once(packages: &[&str], directory: &Path, progress: &Progress) -> Result<Vec<PathBuf>> {
    let bar = progress.percent(&format!("download {}", listed(packages)));
    let mut command = apt("apt-get");
    command
        .args(["download", "-q", "-o", "APT::Status-Fd=1", "-o", "Acquire::Retries=2"])
        // The directory is ours alone; apt's own user cannot write there.
        .args(["-o", "APT::Sandbox::User=root"])
        .args(packages)
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("apt-get is not there: Ireko needs Debian's apt")?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(percent) = download_percent(&line) {
                bar.percent(percent);
            }
        }
    }
    let mut errors = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut errors);
    }
    if !child.wait()?.success() {
        bail!(
            "apt could not download {}: {}; see that this machine reaches its mirror and that its lists are new (sudo apt-get update), and try again",
            listed(packages),
            last_error(&errors)
        );
    }
    bar.done();
    packages.iter().map(|package| file_of(package, directory)).collect()
}

/// The names of a few packages, or how many there are.
fn listed(packages: &[&str]) -> String {
    const FEW: usize = 4;
    match packages {
        [first, rest @ ..] if packages.len() > FEW => format!("{first} and {} more packages", rest.len()),
        few => few.join(" "),
    }
}

/// `dlstatus:1:45.3:Retrieving …` of apt's status descriptor.
fn download_percent(line: &str) -> Option<f64> {
    line.strip_prefix("dlstatus:")?.split(':').nth(1)?.parse().ok()
}

fn file_of(package: &str, directory: &Path) -> Result<PathBuf> {
    let start = format!("{package}_");
    std::fs::read_dir(directory)?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&start))
        .map(|entry| entry.path())
        .with_context(|| format!("apt did not leave a file of {package} in {}", directory.display()))
}

/// What apt said was wrong, in one line.
fn last_error(errors: &str) -> String {
    let mut lines = errors.lines().filter_map(|line| line.strip_prefix("E: "));
    lines.next().unwrap_or("it gave no reason (is the network there?)").trim().to_owned()
}

/// `package_version` of a package's file, as apt names it.
pub fn stem(file: &Path) -> String {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().replace("%3a", "-");
    name.trim_end_matches("_amd64").to_owned()
}

/// Reads the wanted files of a package.
pub fn unpack(
    file: &Path,
    wanted: impl Fn(&str) -> bool,
    keep: impl FnMut(String, Vec<u8>) -> Result<()>,
) -> Result<()> {
    tarfile(file, "--fsys-tarfile", |stream| tar::read(stream, wanted, keep))
}

/// Reads one of a package's archives: its files (`--fsys-tarfile`) or its control files (`--ctrl-tarfile`).
pub fn tarfile(file: &Path, which: &str, read: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<()> {
    let mut child = Command::new("dpkg-deb")
        .arg(which)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("dpkg-deb is not there: Ireko needs Debian's dpkg to unpack packages")?;
    let result = match child.stdout.take() {
        Some(stdout) => read(&mut BufReader::with_capacity(1 << 20, stdout)),
        None => Err(anyhow::anyhow!("dpkg-deb has no output")),
    };
    if result.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    result.with_context(|| format!("cannot unpack {}", file.display()))?;
    anyhow::ensure!(status.success(), "dpkg-deb could not unpack {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_found_by_number() {
        let listing = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n \
                       |Depends: linux-image-6.1.0-37-cloud-amd64\n  Recommends: firmware\n";
        assert_eq!(
            newest_dependency(META_PACKAGE, listing).as_deref(),
            Some("linux-image-6.1.0-37-cloud-amd64")
        );
        assert_eq!(newest_dependency(META_PACKAGE, "N: Unable to locate package\n"), None);
    }

    #[test]
    fn virtual_packages_and_what_a_package_depends_on_are_not_its_line() {
        let listing = "xen-utils\n  Depends: libc6\n    libc6\nlibc6\n<python3:any>\n  python3\n";
        assert_eq!(named_first(listing), ["xen-utils", "libc6"]);
    }

    #[test]
    fn a_simulation_names_what_it_would_install() {
        let listing =
            "Reading lists\nInst base-files (12.4+deb12u14 Debian:12.14 [amd64])\nConf base-files (12)\n";
        assert_eq!(installed(listing), [("base-files".to_owned(), "12.4+deb12u14".to_owned())]);
    }

    #[test]
    fn the_progress_of_a_download_is_read() {
        assert_eq!(download_percent("dlstatus:1:45.3:Retrieving file 1 of 1"), Some(45.3));
        assert_eq!(download_percent("Get:1 http://deb.debian.org/debian"), None);
    }

    #[test]
    fn an_error_of_apt_is_one_line() {
        let errors = "W: something\nE: Failed to fetch x  Could not resolve 'y'\nE: Unable\n";
        assert_eq!(last_error(errors), "Failed to fetch x  Could not resolve 'y'");
    }
}
