//! A hostile kernel on a whole machine: it runs, is paused and goes on at any moment, and is turned off; the process lives,
//! stays within its memory, and is told how each ended.

pub mod kernel;

use crate::rng::Rng;
use anyhow::{Context, Result, bail};
use ireko_machine::{DiskSpec, Endpoints, EngineChoice, Handle, Outcome, Source, Spec, Vm};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const MEMORY: u64 = 64 << 20;
/// What the process may have beside the guest's memory: banks, translated code, blocks.
pub const OVERHEAD: u64 = 768 << 20;
/// What a pause or an end may take before it counts as not coming at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of the kernels.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub kernels: u64,
    pub pauses: u64,
    /// How they ended, by the kind of outcome.
    pub ends: BTreeMap<&'static str, u64>,
    pub slowest_pause: Duration,
    pub slowest_end: Duration,
    /// Most bytes that the process had.
    pub resident: u64,
}

/// Runs kernels from `seed` on for so long, each for `life` at most.
pub fn run(seed: u64, time: Duration, life: Duration) -> Result<Report> {
    let mut report = Report::default();
    let began = Instant::now();
    let disk = disk()?;
    while began.elapsed() < time {
        let seed = seed + report.kernels;
        one(seed, life, &disk, &mut report).with_context(|| format!("the kernel of seed {seed}"))?;
        report.kernels += 1;
    }
    std::fs::remove_file(disk)?;
    Ok(report)
}

fn disk() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("ireko-storm-{}", std::process::id()));
    std::fs::write(&path, vec![0x5a; 1 << 20])?;
    Ok(path)
}

fn one(seed: u64, life: Duration, disk: &Path, report: &mut Report) -> Result<()> {
    let data = Arc::new(kernel::kernel(seed));
    let mut rng = Rng::new(seed);
    let spec = Spec {
        memory: MEMORY,
        disks: vec![DiskSpec::new(disk, false)],
        engine: EngineChoice::Soft,
        nested: true,
        virtio_console: true,
        ..Spec::new(Source::Bytes { name: "storm".into(), data })
    };
    let mut vm = Vm::new(spec, Endpoints::serial(std::io::sink()))?;
    let handle = vm.handle();
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(vm.run()));
    let outcome = match disturb(&handle, &ended, life, &mut rng, report)? {
        Some(outcome) => outcome,
        None => end(&handle, &ended, report)?,
    };
    *report.ends.entry(kind(&outcome)?).or_default() += 1;
    report.resident = report.resident.max(resident()?);
    if report.resident > MEMORY + OVERHEAD {
        bail!("{} MiB are resident, of a guest of {} MiB", report.resident >> 20, MEMORY >> 20);
    }
    Ok(())
}

/// Pauses and resumes at random moments; the outcome, if the kernel ends by itself.
fn disturb(
    handle: &Handle,
    ended: &Receiver<Outcome>,
    life: Duration,
    rng: &mut Rng,
    report: &mut Report,
) -> Result<Option<Outcome>> {
    let began = Instant::now();
    while began.elapsed() < life {
        if let Ok(outcome) = ended.recv_timeout(Duration::from_millis(2 + rng.next() % 60)) {
            return Ok(Some(outcome));
        }
        let paused = Instant::now();
        let (sender, done) = channel();
        let pausing = handle.clone();
        std::thread::spawn(move || {
            pausing.pause();
            let _ = sender.send(());
        });
        if done.recv_timeout(PATIENCE).is_err() {
            bail!("it cannot be paused");
        }
        report.pauses += 1;
        report.resident = report.resident.max(resident()?);
        report.slowest_pause = report.slowest_pause.max(paused.elapsed());
        handle.resume();
    }
    Ok(None)
}

fn end(handle: &Handle, ended: &Receiver<Outcome>, report: &mut Report) -> Result<Outcome> {
    let asked = Instant::now();
    handle.stop();
    let outcome = ended.recv_timeout(PATIENCE).ok().context("it cannot be turned off")?;
    report.slowest_end = report.slowest_end.max(asked.elapsed());
    Ok(outcome)
}

/// A word for the outcome; what is our own failure is an error.
fn kind(outcome: &Outcome) -> Result<&'static str> {
    Ok(match outcome {
        Outcome::PowerOff => "turned itself off",
        Outcome::Reset => "reset",
        Outcome::DebugExit(_) => "debug exit",
        Outcome::Shutdown(_) => "shutdown",
        Outcome::Watchdog => "watchdog",
        Outcome::Idle(_) => "halted for good",
        Outcome::Unsupported(_) => "not supported",
        Outcome::Failed(text) => bail!("{text}"),
        Outcome::Stopped => "turned off",
    })
}

/// Resident bytes of this process.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/statm")?;
    let pages = status.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    Ok(pages.context("/proc/self/statm")? * 4096)
}
