//! Where programs run: in the root file system, which nobody can write, with memory for what they write. Natively that is a directory
//! and a mount namespace of our own; in a guest a disk.

use super::Script;
use crate::sys;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where a guest mounts the disk.
const MOUNTED: &str = "/mnt";
/// More than this no program says.
const MOST_OUTPUT: usize = 16 << 10;

pub struct Inside {
    root: PathBuf,
}

impl Inside {
    /// Goes in: for processes with one thread. `source` is a directory, or a disk with an ext4 file system.
    pub fn enter(source: &Path) -> Result<Self> {
        let inside = if source.is_dir() { Self::of_directory(source, true)? } else { Self::of_disk(source)? };
        inside.with_the_kernels()
    }

    fn of_directory(source: &Path, read_only: bool) -> Result<Self> {
        sys::unshare_mounts().context(
            "programs run natively in a mount namespace, and this machine gives none: run as root, or allow user namespaces",
        )?;
        let root = source.to_string_lossy();
        let bound = sys::mount_with(&root, &root, "", libc::MS_BIND, "").and_then(|()| {
            let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | sys::kept_mount_flags(source)?;
            if read_only { sys::mount_with(&root, &root, "", flags, "") } else { Ok(()) }
        });
        bound.with_context(|| format!("cannot mount {root}"))?;
        Ok(Self { root: source.to_owned() })
    }

    fn of_disk(source: &Path) -> Result<Self> {
        let disk = source.to_string_lossy();
        fs::create_dir_all(MOUNTED)?;
        sys::mount_with(&disk, MOUNTED, "ext4", libc::MS_RDONLY, "")
            .with_context(|| format!("cannot mount {disk}"))?;
        Ok(Self { root: MOUNTED.into() })
    }

    fn with_the_kernels(self) -> Result<Self> {
        let below = |name: &str| self.root.join(name).to_string_lossy().into_owned();
        for name in ["proc", "dev"] {
            sys::mount_with(&format!("/{name}"), &below(name), "", libc::MS_BIND | libc::MS_REC, "")
                .with_context(|| format!("cannot bind /{name}"))?;
        }
        sys::mount_with("tmpfs", &below("tmp"), "tmpfs", 0, "").context("cannot mount a tmpfs")?;
        Ok(self)
    }

    /// Runs a script to its end; gives how long that took, and what it said.
    pub fn run(&self, script: &Script) -> Result<(Duration, String)> {
        let place = self.root.join("tmp").join(script.name);
        let work = place.join("work");
        if !place.exists() {
            for (name, content) in (script.files)() {
                let path = place.join(name);
                fs::create_dir_all(path.parent().unwrap_or(&place))?;
                fs::write(path, content)?;
            }
        } else if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        let mut command = self.shell(script.text, &format!("/tmp/{}/work", script.name))?;
        let start = Instant::now();
        let output = command.output().context("the shell does not start")?;
        let taken = start.elapsed();
        ensure!(output.status.success(), "{}: {}", output.status, last_line(&output.stderr));
        ensure!(output.stdout.len() <= MOST_OUTPUT, "it says {} bytes", output.stdout.len());
        match String::from_utf8(output.stdout) {
            Ok(said) => Ok((taken, said)),
            Err(_) => bail!("what it says is no text"),
        }
    }

    fn shell(&self, text: &str, directory: &str) -> Result<Command> {
        let mut command = Command::new("/bin/sh");
        command.args(["-e", "-c", text]).stdin(Stdio::null()).env_clear();
        command.envs([("PATH", "/usr/sbin:/usr/bin"), ("HOME", "/tmp"), ("LC_ALL", "C"), ("TZ", "UTC")]);
        sys::give_root(&mut command, &self.root, directory)?;
        Ok(command)
    }
}

fn last_line(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("without a word").to_owned()
}

/// What the packages' scripts would have made, in a directory that becomes the root file system.
pub fn finish(directory: &Path) -> Result<()> {
    let inside = Inside::of_directory(directory, false)?.with_the_kernels()?;
    let output = inside.shell(include_str!("scripts/finish.sh"), "/")?.output()?;
    ensure!(output.status.success(), "the programs cannot be prepared: {}", last_line(&output.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_is_the_reason() {
        assert_eq!(last_line(b"a\nb: not found\n\n"), "b: not found");
        assert_eq!(last_line(b""), "without a word");
    }
}
