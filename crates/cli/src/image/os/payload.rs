//! What of packages goes onto a disk: their files as `dpkg --unpack` leaves them, with its records, so that `dpkg --configure` can go on.

use crate::image::libraries::Libraries;
use crate::image::{apt, modules, tar};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;

/// Directories that are links into /usr.
pub const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const INFO: &str = "var/lib/dpkg/info";

/// A package, unpacked.
#[derive(Default)]
pub struct Unpacked {
    /// Entries of a tar archive.
    pub archive: Vec<u8>,
    /// What dpkg notes of it.
    pub status: String,
    pub taken: Taken,
}

/// What a machine that installs is made of.
#[derive(Default)]
pub struct Taken {
    pub kernel: Option<Vec<u8>>,
    pub modules: modules::Modules,
    /// By path.
    pub programs: BTreeMap<String, Vec<u8>>,
    pub libraries: Libraries,
}

impl Taken {
    pub fn add(&mut self, other: Self) {
        self.kernel = self.kernel.take().or(other.kernel);
        self.modules.extend(other.modules);
        self.programs.extend(other.programs);
        self.libraries.extend(other.libraries);
    }

    fn take(&mut self, path: &str, data: &[u8]) {
        if path.starts_with("boot/vmlinuz-") {
            self.kernel = Some(data.to_vec());
        } else if let Some(name) = modules::name_of(path) {
            self.modules.insert(name, data.to_vec());
        } else if path.contains(".so") {
            self.libraries.add(data.to_vec());
        } else {
            self.programs.insert(path.to_owned(), data.to_vec());
        }
    }
}

/// Unpacks a package. `wanted` files are taken besides.
pub fn unpack(package: &Path, wanted: impl Fn(&str) -> bool) -> Result<Unpacked> {
    let mut records = BTreeMap::new();
    apt::tarfile(package, "--ctrl-tarfile", |stream| {
        let keep = |path, data| {
            records.insert(path, data);
            Ok(())
        };
        tar::read(stream, |_| true, keep)
    })?;
    let control = records.remove("control").context("a package has no control file")?;
    let control = Control::parse(&String::from_utf8_lossy(&control))?;
    let configuration = configuration(records.get("conffiles").map_or(&[], Vec::as_slice));
    let mut unpacked = Unpacked { status: control.unpacked(&configuration), ..Unpacked::default() };
    let mut list = String::new();
    apt::tarfile(package, "--fsys-tarfile", |stream| {
        while let Some(entry) = tar::next(stream)? {
            let path = format!("/{}", entry.path.trim_end_matches('/'));
            list.push_str(if path == "/" { "/." } else { &path });
            list.push('\n');
            place(stream, entry, configuration.contains(&path), &wanted, &mut unpacked)?;
        }
        Ok(())
    })?;
    let info = format!("{INFO}/{}", control.info());
    tar::write(&mut unpacked.archive, tar::FILE, &format!("{info}.list"), "", 0o644, list.as_bytes());
    for (name, data) in &records {
        let mode = if data.starts_with(b"#!") || data.starts_with(b"\x7fELF") { 0o755 } else { 0o644 };
        tar::write(&mut unpacked.archive, tar::FILE, &format!("{info}.{name}"), "", mode, data);
    }
    Ok(unpacked)
}

/// An entry at its place: below /usr where that is merged, and a file of the configuration as one that dpkg is still to put there.
fn place(
    stream: &mut dyn Read,
    mut entry: tar::Entry,
    is_configuration: bool,
    wanted: &impl Fn(&str) -> bool,
    unpacked: &mut Unpacked,
) -> Result<()> {
    let original = entry.path.trim_end_matches('/').to_owned();
    if original.is_empty() || original == "." || MERGED.contains(&original.as_str()) {
        return tar::skip(stream, entry.size);
    }
    entry.path = merged(&original);
    if entry.kind == tar::HARD_LINK {
        entry.link = merged(entry.link.trim_start_matches("./"));
    }
    if is_configuration {
        entry.path.push_str(".dpkg-new");
    }
    let archive = &mut unpacked.archive;
    tar::write_entry(archive, &entry);
    let start = archive.len();
    stream.take(entry.size).read_to_end(archive)?;
    ensure!((archive.len() - start) as u64 == entry.size, "a package's archive is cut short");
    let padding = entry.size.next_multiple_of(512) - entry.size;
    std::io::copy(&mut stream.take(padding), &mut std::io::sink())?;
    if entry.kind == tar::FILE && wanted(&original) {
        unpacked.taken.take(&original, &unpacked.archive[start..]);
    }
    tar::pad(&mut unpacked.archive);
    Ok(())
}

/// Where a path is with those links.
pub fn merged(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// The files that dpkg does not replace where somebody has changed them.
fn configuration(conffiles: &[u8]) -> Vec<String> {
    let lines = conffiles.lines().map_while(Result::ok);
    lines.map(|line| line.trim().to_owned()).filter(|line| line.starts_with('/')).collect()
}

/// A package's control file.
struct Control {
    name: String,
    architecture: String,
    multi_arch: bool,
    text: String,
}

impl Control {
    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            values.map(|value| value.trim().to_owned()).next()
        };
        let name = field("Package").context("a package has no name")?;
        let architecture = field("Architecture").context("a package has no architecture")?;
        let multi_arch = field("Multi-Arch").as_deref() == Some("same");
        Ok(Self { name, architecture, multi_arch, text: text.trim_end().to_owned() })
    }

    /// How the names of its records begin.
    fn info(&self) -> String {
        if self.multi_arch { format!("{}:{}", self.name, self.architecture) } else { self.name.clone() }
    }

    /// dpkg's note of a package that is unpacked and not configured.
    fn unpacked(&self, configuration: &[String]) -> String {
        let mut status = format!("{}\nStatus: install ok unpacked\n", self.text);
        if !configuration.is_empty() {
            status.push_str("Conffiles:\n");
            configuration.iter().for_each(|file| status.push_str(&format!(" {file} newconffile\n")));
        }
        status.push('\n');
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_usr_is_below_it() {
        assert_eq!(merged("lib/x"), "usr/lib/x");
        assert_eq!(merged("library/x"), "library/x");
    }

    #[test]
    fn packages_of_several_architectures_have_records_with_theirs() {
        let control = Control::parse("Package: libc6\nArchitecture: amd64\nMulti-Arch: same\n").unwrap();
        assert_eq!(control.info(), "libc6:amd64");
    }

    #[test]
    fn files_of_the_configuration_are_new_to_dpkg() {
        let control = Control::parse("Package: a\nArchitecture: all\n").unwrap();
        let status = control.unpacked(&["/etc/a".into()]);
        assert!(status.ends_with("Conffiles:\n /etc/a newconffile\n\n"), "{status}");
    }
}
