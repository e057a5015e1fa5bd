//! The measuring side's view of one engine: a child process at whose far end a probe answers.

use super::probe::Answer;
use crate::report::Lines;
use anyhow::{Context, Result, bail, ensure};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The program that is the peer.
const QEMU: &str = "qemu-system-x86_64";
/// A level's memory: its own work, and as much again for each level below it.
const MEMORY_MIB: u32 = 640;
/// The same where programs run.
const PROGRAMS_MEMORY_MIB: u32 = 2048;
/// The disk with programs, as guests see it.
const GUESTS_DISK: &str = "/dev/vda";
/// Lines that are kept for the case that the engine dies.
const KEPT_LINES: usize = 12;

/// How a probe is started.
pub struct Setting {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Setting {
    /// On this machine, with the root file system in which programs run.
    pub fn native(root: Option<&Path>) -> Self {
        let mut arguments = ["bench", "--probe"].map(OsString::from).to_vec();
        arguments.extend(root.iter().flat_map(|root| ["--root".into(), root.into()]));
        Self { program: OURSELVES.into(), arguments }
    }

    /// In a VM of Ireko's, with `levels` levels in it.
    pub fn ireko(levels: u32, engine: &str, cpu: &str, options: &[String], disk: Option<&Path>) -> Self {
        let mut arguments = vec!["run".to_owned(), "--image".into(), "--engine".into(), engine.into()];
        arguments.extend(["--memory".into(), format!("{}M", memory(levels, disk))]);
        arguments.extend(["--cpu".to_owned(), cpu.to_owned()]);
        arguments.extend(["--exec".into(), probe_command(levels, disk)]);
        if levels > 1 {
            arguments.push("--nested".into());
        }
        arguments.extend(options.iter().flat_map(|option| ["--option".to_owned(), option.clone()]));
        let mut arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
        if let Some(disk) = disk {
            arguments.extend(["--disk".into(), with(disk.as_os_str(), ",format=raw,read-only=on")]);
        }
        Self { program: OURSELVES.into(), arguments }
    }

    /// In a VM of this VM's KVM, which gets the disk that this one has.
    pub fn inner(levels: u32, disk: Option<&Path>) -> Self {
        Self::ireko(levels, "kvm", "auto", &[], disk)
    }

    /// In a VM of QEMU's translator, from kernel and root file system files.
    pub fn qemu(levels: u32, kernel: &Path, archive: &Path, disk: Option<&Path>) -> Self {
        let exec = Some(probe_command(levels, disk));
        let config = crate::agent_config::AgentConfig { exec, ..Default::default() };
        let cpu = if levels > 1 { "max,+svm" } else { "max" };
        let words =
            ["-accel", "tcg", "-cpu", cpu, "-display", "none", "-monitor", "none", "-serial", "stdio"];
        let mut arguments: Vec<OsString> = words.map(OsString::from).to_vec();
        arguments.extend(["-no-reboot", "-nodefaults", "-m"].map(OsString::from));
        arguments.push(format!("{}M", memory(levels, disk)).into());
        if let Some(disk) = disk {
            // QEMU's commas in values are double.
            let file = format!(
                "file={},format=raw,if=virtio,readonly=on",
                disk.to_string_lossy().replace(',', ",,")
            );
            arguments.extend(["-drive".into(), file.into()]);
        }
        arguments.extend(["-kernel".into(), kernel.into(), "-initrd".into(), archive.into()]);
        arguments.extend(["-append".into(), config.to_command_line("").into()]);
        Self { program: QEMU.into(), arguments }
    }
}

const OURSELVES: &str = "/proc/self/exe";

fn with(start: &OsStr, rest: &str) -> OsString {
    let mut text = start.to_owned();
    text.push(rest);
    text
}

fn memory(levels: u32, disk: Option<&Path>) -> u32 {
    levels * if disk.is_some() { PROGRAMS_MEMORY_MIB } else { MEMORY_MIB }
}

fn probe_command(levels: u32, disk: Option<&Path>) -> String {
    let root = disk.map_or_else(String::new, |_| format!(" --root {GUESTS_DISK}"));
    format!("ireko bench --probe --levels {levels}{root}")
}

/// Does in the root file system's directory what its packages' scripts would have.
pub fn finish(root: &Path) -> Result<()> {
    let output = Command::new(OURSELVES)
        .args(["bench", "--finish", "--root"])
        .arg(root)
        .stdin(Stdio::null())
        .output()
        .context("cannot start ourselves")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().last().unwrap_or("it gave no reason").trim_start_matches("ireko: ");
    ensure!(output.status.success(), "{why}");
    Ok(())
}

/// The version of Debian's QEMU, if it is installed.
pub fn qemu_version() -> Option<String> {
    let output = Command::new(QEMU).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?;
    Some(line.trim_start_matches("QEMU emulator version ").split(' ').next()?.to_owned())
}

enum Heard {
    Answer(Answer),
    Other(String),
}

/// A running probe. Ends when dropped.
pub struct Conversation {
    child: Child,
    input: ChildStdin,
    heard: Receiver<Heard>,
    first: Option<Answer>,
    other: VecDeque<String>,
    /// An answer did not come in time: what comes now would be taken for that to another question.
    lost: bool,
    /// From the start of the process to its first answer.
    pub boot: Duration,
}

impl Conversation {
    /// Starts the engine and waits for its first word.
    pub fn start(setting: &Setting, patience: Duration) -> Result<Self> {
        let start = Instant::now();
        let name = setting.program.to_string_lossy().into_owned();
        let mut child = Command::new(&setting.program)
            .args(&setting.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            bail!("{name} has no pipes");
        };
        let (sender, heard) = channel();
        listen(output, sender.clone())?;
        listen(errors, sender)?;
        let mut conversation = Self {
            child,
            input,
            heard,
            first: None,
            other: VecDeque::new(),
            lost: false,
            boot: Duration::ZERO,
        };
        conversation.first = Some(conversation.wait(patience)?);
        conversation.boot = start.elapsed();
        Ok(conversation)
    }

    /// What it said when it came up.
    pub fn ready(&self) -> Answer {
        self.first.clone().unwrap_or(Answer::Failed { error: "nothing was heard".into() })
    }

    /// Asks the machine at `depth` levels below the process, 0 for its own.
    pub fn ask(&mut self, depth: u32, word: &str, patience: Duration) -> Result<Answer> {
        ensure!(!self.lost, "the engine did not answer before");
        let request = format!("{depth} {word}\n");
        self.input
            .write_all(request.as_bytes())
            .and_then(|()| self.input.flush())
            .context("the engine is gone")?;
        self.wait(patience)
    }

    fn wait(&mut self, patience: Duration) -> Result<Answer> {
        let deadline = Instant::now() + patience;
        loop {
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Heard::Answer(Answer::Failed { error })) => bail!("{error}"),
                Ok(Heard::Answer(answer)) => return Ok(answer),
                Ok(Heard::Other(line)) => self.keep(line),
                Err(RecvTimeoutError::Timeout) => {
                    self.lost = true;
                    bail!("no answer in {} s{}", patience.as_secs(), self.last_lines())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the engine ended{}", self.last_lines()),
            }
        }
    }

    fn keep(&mut self, line: String) {
        if !line.trim().is_empty() {
            self.other.push_back(crate::nest::board::clean(&line));
            self.other.drain(..self.other.len().saturating_sub(KEPT_LINES));
        }
    }

    fn last_lines(&self) -> String {
        self.other.iter().map(|line| format!("\n  | {line}")).collect()
    }

    /// Bytes that the process holds besides its greatest mapping, which in a VM's process is the guest's memory.
    pub fn own_memory(&self) -> Option<u64> {
        own_memory(&std::fs::read_to_string(format!("/proc/{}/smaps", self.child.id())).ok()?)
    }
}

fn own_memory(smaps: &str) -> Option<u64> {
    let resident = smaps.lines().filter_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
    let mut sizes: Vec<u64> = resident.filter_map(|size| size.trim().parse().ok()).collect();
    sizes.sort_unstable();
    sizes.pop()?;
    Some(sizes.iter().sum::<u64>() << 10)
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut from: impl Read + Send + 'static, sender: Sender<Heard>) -> Result<()> {
    let body = move || {
        let (mut lines, mut bytes) = (Lines::default(), [0; 4096]);
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            for line in lines.push(&bytes[..count]).into_iter() {
                let heard = Answer::from_line(&line).map_or(Heard::Other(line), Heard::Answer);
                if sender.send(heard).is_err() {
                    return;
                }
            }
        }
        let _ = lines.rest().map(|line| sender.send(Heard::Other(line)));
    };
    thread::Builder::new().name("listener".into()).spawn(body).map(drop).context("cannot start a thread")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_mapping_does_not_count() {
        let smaps = "00-10 rw-p\nRss:     8 kB\nPss: 3 kB\n20-30 rw-p\nRss:  1000 kB\n40-50\nRss:  4 kB\n";
        assert_eq!(own_memory(smaps), Some(12 << 10));
        assert_eq!(own_memory(""), None);
    }

    fn arguments(setting: &Setting) -> String {
        setting.arguments.iter().map(|word| format!("{} ", word.display())).collect()
    }

    #[test]
    fn each_level_gets_the_disk_of_the_one_above_and_cannot_write_it() {
        let disk = Path::new("/a,b/disk.img");
        let first = arguments(&Setting::ireko(2, "soft", "auto", &[], Some(disk)));
        assert!(first.contains("--disk /a,b/disk.img,format=raw,read-only=on "), "{first}");
        assert!(first.contains("--exec ireko bench --probe --levels 2 --root /dev/vda "), "{first}");
        let peer = arguments(&Setting::qemu(1, disk, disk, Some(disk)));
        assert!(peer.contains("-drive file=/a,,b/disk.img,format=raw,if=virtio,readonly=on "), "{peer}");
    }

    #[test]
    fn without_programs_there_is_no_disk() {
        let said = arguments(&Setting::inner(1, None));
        assert!(!said.contains("--disk") && !said.contains("--root"), "{said}");
    }
}
