//! Debian's packages for tests, unpacked: got and verified by apt, once for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Amd64,
    /// With lists of its own: the host's apt is left as it is.
    I386,
}

static ONE: Mutex<()> = Mutex::new(());

/// The directory with the files of `names`; what they only depend on (a kernel without a version) is the newest of it.
pub fn packages(directory: &str, architecture: Architecture, names: &[&str]) -> PathBuf {
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(directory);
    if place.exists() {
        return place;
    }
    let draft = place.with_extension(format!("{}-{}", module_path!().replace("::", "-"), std::process::id()));
    fs::create_dir_all(draft.join("files")).unwrap();
    let apt = Apt::new(architecture, &draft);
    if architecture == Architecture::I386
        || !names.iter().all(|name| apt.run("apt-cache", &["show", name]).is_some())
    {
        // An archive among the sources that fails is not ours.
        let _ = apt.run("apt-get", &["update", "-q"]);
    }
    let names: Vec<_> = names.iter().map(|name| apt.real(name)).collect();
    let names: Vec<_> = ["download"].into_iter().chain(names.iter().map(String::as_str)).collect();
    assert!(apt.run("apt-get", &names).is_some(), "apt cannot download {names:?}");
    for entry in fs::read_dir(&draft).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|ending| ending == "deb") {
            let done = Command::new("dpkg-deb").arg("-x").arg(&entry).arg(draft.join("files")).status();
            assert!(done.unwrap().success(), "{entry:?}");
        }
    }
    fs::rename(draft.join("files"), &place).unwrap();
    fs::remove_dir_all(draft).unwrap();
    place
}

struct Apt<'a> {
    directory: &'a Path,
    options: Vec<String>,
}

impl<'a> Apt<'a> {
    fn new(architecture: Architecture, directory: &'a Path) -> Self {
        let mut options = vec!["APT::Sandbox::User=root".to_owned()];
        if architecture == Architecture::I386 {
            let own = |name: &str| directory.join(name).display().to_string();
            fs::create_dir_all(own("lists/partial")).unwrap();
            fs::create_dir_all(own("cache/archives/partial")).unwrap();
            fs::write(own("status"), "").unwrap();
            options.extend([
                "APT::Architecture=i386".into(),
                "APT::Architectures=i386".into(),
                "Acquire::Languages=none".into(),
                format!("Dir::State::lists={}", own("lists")),
                format!("Dir::State::status={}", own("status")),
                format!("Dir::Cache={}", own("cache")),
            ]);
        }
        Self { directory, options }
    }

    /// What it says, if it does what it is asked.
    fn run(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").current_dir(self.directory).stdin(Stdio::null()).args(arguments);
        command.args(self.options.iter().flat_map(|option| ["-o", option]));
        let output = command.output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The kernel's package that one without files stands for.
    fn real(&self, name: &str) -> String {
        let depends = self.run("apt-cache", &["depends", name]).unwrap_or_default();
        let mut kernels =
            depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
        kernels.next().map_or(name.to_owned(), |version| format!("linux-image-{version}"))
    }
}
