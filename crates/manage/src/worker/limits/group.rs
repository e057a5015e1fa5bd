//! A control group (cgroup v2) for one worker. Behind its walls a worker cannot remove it: whoever sees its VM Off does.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where cgroup v2 is (the unified hierarchy).
pub const MOUNT: &str = "/sys/fs/cgroup";
/// What names of groups start with.
const PREFIX: &str = "ireko-";
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// The one that shares processors by weight: without it there are groups all the same.
const PROCESSORS: &str = "cpu";
const DELEGATED: &str = "cgroup.subtree_control";
/// From 1 to 10000, and 100 without one: as RelativeWeight (cgroup-v2, "Weights").
const WEIGHT: &str = "cpu.weight";
/// How often a group is made, for the case that another worker's sweep takes it.
const ATTEMPTS: u32 = 3;

/// The group that this process is in.
pub struct Group {
    path: PathBuf,
    /// Open, since later the files may be out of reach.
    memory: File,
    /// `cpu.weight`, where processors are shared by groups.
    weight: Option<File>,
    /// `cgroup.procs` of the group that the process came from: the way out.
    out: Option<File>,
    bytes: u64,
}

impl Group {
    /// Makes a group for `name` somewhere below `mount`, and goes into it. The error says why there is none.
    pub fn enter(mount: &Path, name: &str, bytes: u64, weight: u32) -> Result<Self, String> {
        sweep(mount);
        let out = own(mount).and_then(|own| write_only(&own.join("cgroup.procs")).ok());
        let path = first(mount, name, |path| {
            limit(path, bytes)?;
            write(path, "cgroup.procs", &std::process::id().to_string())
        })?;
        let memory = write_only(&path.join("memory.max")).map_err(|error| told(&path, &error))?;
        let mut own = Self { weight: write_only(&path.join(WEIGHT)).ok(), path, memory, out, bytes };
        if !own.weigh(weight) {
            own.weight = None;
        }
        Ok(own)
    }

    /// Gives it this weight, from now on. False: processors are not shared by groups here.
    pub fn weigh(&mut self, weight: u32) -> bool {
        self.weight.as_mut().is_some_and(|file| file.write_all(weight.to_string().as_bytes()).is_ok())
    }

    pub fn weighs(&self) -> bool {
        self.weight.is_some()
    }

    /// Where a group could be made and limited.
    pub fn try_out(mount: &Path) -> Result<PathBuf, String> {
        Self::tried(mount).map(|(place, _)| place)
    }

    /// Whether one could be given a weight there.
    pub fn could_weigh(mount: &Path) -> bool {
        Self::tried(mount).is_ok_and(|(_, weighs)| weighs)
    }

    fn tried(mount: &Path) -> Result<(PathBuf, bool), String> {
        let name = format!("try-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = first(mount, &name, |path| limit(path, 1 << 30))?;
        let weighs = write_only(&path.join(WEIGHT)).is_ok();
        let _ = fs::remove_dir(&path);
        Ok((path.parent().unwrap_or(mount).to_owned(), weighs))
    }

    pub fn describe(&self) -> String {
        let (path, mib) = (self.path.display(), self.bytes >> 20);
        let weight = if self.weighs() { ", a weight of its own" } else { "" };
        format!("control group {path}: {mib} MiB of memory, {} processes{weight}", super::MOST_PROCESSES)
    }

    /// Lets it have so many bytes of memory, if it may not already.
    pub fn raise(&mut self, bytes: u64) {
        if bytes > self.bytes && self.memory.write_all(bytes.to_string().as_bytes()).is_ok() {
            self.bytes = bytes;
        }
    }

    /// Goes back to where this process came from, and removes the group. Whoever is locked in by now leaves it to the next
    /// one that looks.
    pub fn leave(&mut self) {
        if let Some(out) = &mut self.out
            && out.write_all(std::process::id().to_string().as_bytes()).is_ok()
        {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

fn write_only(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn write(group: &Path, file: &str, text: &str) -> Result<(), String> {
    let path = group.join(file);
    let written = write_only(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| told(&path, &error))
}

fn limit(group: &Path, bytes: u64) -> Result<(), String> {
    write(group, "pids.max", &super::MOST_PROCESSES.to_string())?;
    write(group, "memory.max", &bytes.to_string())
}

/// The group of this process.
fn own(mount: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(mount.join(path))
}

/// Groups in which one can be made: the root (whose groups outlive every session), then those above us from the nearest on.
fn places(mount: &Path) -> Vec<PathBuf> {
    let mut places = vec![mount.to_owned()];
    let own = own(mount).unwrap_or_else(|| mount.to_owned());
    places.extend(
        own.ancestors()
            .skip(1)
            .take_while(|above| *above != mount && above.starts_with(mount))
            .map(Path::to_owned),
    );
    places
}

/// Makes a group in the first place that lets `body` succeed; otherwise the first place's reason.
fn first(mount: &Path, name: &str, body: impl Fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    if !mount.join("cgroup.controllers").exists() {
        return Err(format!("no cgroup v2 at {}", mount.display()));
    }
    let mut why = None;
    for place in places(mount) {
        match attempts(|| make(&place, name, &body)) {
            Ok(path) => return Ok(path),
            Err(error) => why = why.or(Some(error)),
        }
    }
    Err(why.unwrap_or_else(|| "no place for a group".into()))
}

/// Another worker's sweep may take the group before anybody is in it.
fn attempts(mut body: impl FnMut() -> Result<PathBuf, String>) -> Result<PathBuf, String> {
    let mut last = body();
    for _ in 1..ATTEMPTS {
        if last.is_ok() {
            break;
        }
        last = body();
    }
    last
}

fn make(place: &Path, name: &str, body: &impl Fn(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    delegate(place)?;
    let path = place.join(format!("{PREFIX}{name}"));
    // One of that name is a leftover of this VM's last worker.
    let _ = fs::remove_dir(&path);
    fs::create_dir(&path).map_err(|error| told(&path, &error))?;
    body(&path).inspect_err(|_| drop(fs::remove_dir(&path)))?;
    Ok(path)
}

/// Lets groups in `place` be limited, and weighed where that can be had.
fn delegate(place: &Path) -> Result<(), String> {
    let has = |file: &str, wanted: &[&str]| {
        let text = fs::read_to_string(place.join(file)).unwrap_or_default();
        wanted.iter().all(|wanted| text.split_whitespace().any(|controller| controller == *wanted))
    };
    if !has(DELEGATED, &CONTROLLERS) {
        if !has("cgroup.controllers", &CONTROLLERS) {
            return Err(format!("{} has no controllers memory and pids", place.display()));
        }
        write(place, DELEGATED, "+memory +pids")?;
    }
    if !has(DELEGATED, &[PROCESSORS]) && has("cgroup.controllers", &[PROCESSORS]) {
        // Refused where somebody has real-time processes: then nice values do.
        let _ = write(place, DELEGATED, "+cpu");
    }
    Ok(())
}

/// Removes groups of ours that nobody is in.
pub fn sweep(mount: &Path) {
    for place in places(mount) {
        for group in fs::read_dir(place).into_iter().flatten().flatten() {
            if group.file_name().to_string_lossy().starts_with(PREFIX) {
                // Refused while somebody is in it.
                let _ = fs::remove_dir(group.path());
            }
        }
    }
}

/// Whether there is a group for `name`.
pub fn exists(mount: &Path, name: &str) -> bool {
    places(mount).iter().any(|place| place.join(format!("{PREFIX}{name}")).exists())
}
