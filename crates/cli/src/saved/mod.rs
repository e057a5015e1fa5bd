//! `ireko saved`: a nest whose first machine is saved at random moments, and each time goes on in a new one, of the same process. What it shows
//! is that nothing is lost: each level checks its memory and answers in the end. For tests (docs/debugging.md).

mod damaged;

use crate::agent_config::AgentConfig;
use crate::image;
use crate::out;
use crate::progress::Progress;
use crate::report::{Event, Lines};
use anyhow::{Context, Result, bail, ensure};
use ireko_machine::engine::{self, Chosen};
use ireko_machine::{Endpoints, Handle, MachineError, Outcome, SavedMachine, Source, Spec, Vm};
use ireko_vmcore::Record;
use ireko_vmcore::saved::difference;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct SavedArgs {
    /// The innermost level.
    #[arg(long, default_value_t = 2)]
    pub depth: u32,
    /// What runs the first level: soft or kvm.
    #[arg(long, default_value = "soft")]
    pub engine: String,
    /// The first level's memory.
    #[arg(long, default_value = "1G")]
    pub memory: String,
    /// The first level's processors.
    #[arg(long, default_value_t = 1)]
    pub processors: u32,
    /// Added to the first level's kernel command line.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub append: String,
    /// So many damaged states are loaded besides.
    #[arg(long, default_value_t = 0)]
    pub damaged: u32,
    /// It is saved so often, at most.
    #[arg(long, default_value_t = 20)]
    pub rounds: u32,
    /// Of the moments.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The longest time between two of them.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub most_ms: u64,
    /// Milliseconds for one benchmark at each level.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub bench_ms: u64,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// Engine options.
    #[arg(long = "option", value_name = "NAME=VALUE")]
    pub options: Vec<String>,
}

/// What is printed.
#[derive(Serialize)]
struct Document {
    rounds: u32,
    seconds: f64,
    /// Of these the machine ran, and its guest says that so many have passed: no more than those, as its clocks stand meanwhile.
    running_seconds: f64,
    guest_seconds: f64,
    /// Of the longest: until the machine was saved, until another was as it; the most bytes without memory, and of memory.
    longest_save_ms: u128,
    longest_restore_ms: u128,
    state_bytes: usize,
    memory_bytes: usize,
    /// Damaged states that were refused.
    refused: u32,
    /// How often each level's memory was checked.
    sums: BTreeMap<u32, u64>,
    answered: Vec<u32>,
}

pub fn run(args: &SavedArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let (spec, chosen) = prepare(args)?;
    let (sender, heard) = channel();
    let ports = Ports { serial: Port::new(&sender), console: Port::new(&sender) };
    let mut document = Document {
        rounds: 0,
        seconds: 0.0,
        running_seconds: 0.0,
        guest_seconds: 0.0,
        longest_save_ms: 0,
        longest_restore_ms: 0,
        state_bytes: 0,
        memory_bytes: 0,
        refused: 0,
        sums: BTreeMap::new(),
        answered: Vec::new(),
    };
    let make = |endpoints| Vm::on(chosen.clone(), spec.clone(), endpoints);
    let outcome = rounds(args, &make, &ports, start, &mut document);
    document.seconds = start.elapsed().as_secs_f64();
    document.running_seconds += document.seconds;
    listen(&heard, &mut document)?;
    out!("{}", serde_json::to_string_pretty(&document)?)?;
    let outcome = outcome?;
    ensure!(outcome == Outcome::PowerOff, "level 1 ended otherwise than it should: {outcome}");
    // Rates of clocks are measurements.
    ensure!(
        document.guest_seconds <= document.running_seconds * 1.01,
        "the guest's clock went on while it was saved"
    );
    for level in 1..=args.depth {
        ensure!(document.answered.contains(&level), "level {level} did not answer");
        ensure!(document.sums.get(&level).is_some_and(|sums| *sums > 0), "level {level} checked no sums");
    }
    Ok(ExitCode::SUCCESS)
}

fn prepare(args: &SavedArgs) -> Result<(Spec, Chosen)> {
    let parts = image::ensure(false, &Progress::new())?;
    let deeper = args.depth > 1;
    let config = AgentConfig {
        level: 1,
        depth: args.depth,
        parent: "host".into(),
        bench_ms: args.bench_ms,
        sums: true,
        ..AgentConfig::default()
    };
    let source = |name: &str, data| Source::Bytes { name: name.to_owned(), data: Arc::new(data) };
    let archive = parts.archive_for_levels(&image::own_binary()?, deeper);
    let mut spec = Spec::new(source("the guest image's kernel", parts.kernel));
    spec.initrd = Some(source("the guest image", archive));
    spec.command_line = config.to_command_line(&args.append);
    spec.memory = ireko_machine::parse_memory(&args.memory)?;
    spec.engine = args.engine.parse()?;
    spec.vcpus = args.processors;
    spec.nested = deeper;
    spec.virtio_console = true;
    spec.options = args.options.clone();
    let chosen = engine::choose(spec.engine, deeper)?;
    Ok((spec, chosen))
}

type Ended = Receiver<Outcome>;

/// A pause of its own, of which a machine tells nothing.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs a machine on a thread of its own, which drops it in the end.
fn begin(mut vm: Vm) -> Result<(Handle, Ended)> {
    let (handle, (sender, ended)) = (vm.handle(), channel());
    std::thread::Builder::new()
        .name("level 1".into())
        .spawn(move || {
            let outcome = vm.run();
            drop(vm);
            let _ = sender.send(outcome);
        })
        .context("no thread for level 1")?;
    Ok((handle, ended))
}

fn rounds(
    args: &SavedArgs,
    make: &impl Fn(Endpoints) -> Result<Vm, MachineError>,
    ports: &Ports,
    start: Instant,
    document: &mut Document,
) -> Result<Outcome> {
    let deadline = start + Duration::from_secs(args.timeout);
    let mut random = args.seed | 1;
    let (mut handle, mut ended) = begin(make(ports.endpoints())?)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = match document.rounds < args.rounds {
            true => Duration::from_millis(next(&mut random) % args.most_ms.max(1)).min(left),
            false => left,
        };
        match ended.recv_timeout(wait) {
            Ok(outcome) => return Ok(outcome),
            Err(RecvTimeoutError::Disconnected) => bail!("level 1's thread is gone"),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                handle.stop();
                bail!(
                    "level 1 did not end within {} seconds, after {} rounds",
                    args.timeout,
                    document.rounds
                );
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !handle.pause() {
            continue;
        }
        let stood = Instant::now();
        std::thread::sleep(PAUSE);
        document.running_seconds -= stood.elapsed().as_secs_f64();
        handle.resume();
        if !handle.pause() {
            continue;
        }
        let stood = Instant::now();
        if let Some(vm) = round(args, &handle, make, ports, document)
            .with_context(|| format!("round {}", document.rounds + 1))?
        {
            handle.stop();
            let _ = ended.recv();
            document.running_seconds -= stood.elapsed().as_secs_f64();
            (handle, ended) = begin(vm)?;
            document.rounds += 1;
        }
    }
}

/// Saves a machine that is paused and makes another of that. `None`: it cannot be saved just now, or has ended.
fn round(
    args: &SavedArgs,
    handle: &Handle,
    make: &impl Fn(Endpoints) -> Result<Vm, MachineError>,
    ports: &Ports,
    document: &mut Document,
) -> Result<Option<Vm>> {
    let begun = Instant::now();
    let saved = match handle.save() {
        Ok(saved) => saved,
        Err(MachineError::Save(_)) => {
            handle.resume();
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let state = Record::of(&saved).to_bytes();
    let mut memory = Vec::new();
    handle.save_memory(&mut memory)?;
    document.longest_save_ms = document.longest_save_ms.max(begun.elapsed().as_millis());
    document.state_bytes = document.state_bytes.max(state.len());
    document.memory_bytes = document.memory_bytes.max(memory.len());
    let begun = Instant::now();
    let mut vm = make(ports.endpoints())?;
    let loaded: SavedMachine = Record::from_bytes(&state)?.get()?;
    vm.restore(&loaded, &mut &memory[..])?;
    document.longest_restore_ms = document.longest_restore_ms.max(begun.elapsed().as_millis());
    check_same(&mut vm, &saved, &memory)?;
    let mut random = args.seed.wrapping_add(u64::from(document.rounds)) | 1;
    let (now, each) = (document.rounds + 1, args.damaged / args.rounds);
    let more = u32::from(now <= args.damaged % args.rounds);
    document.refused +=
        damaged::try_all(each + more, &saved, make, &mut |limit| next(&mut random) % limit.max(1))?;
    Ok(Some(vm))
}

/// What is saved again of a machine that has not run since it was loaded is the same.
fn check_same(vm: &mut Vm, saved: &SavedMachine, memory: &[u8]) -> Result<()> {
    let (one, other) = (Record::of(saved), Record::of(&vm.save()?));
    let differs = difference(&one, &other).unwrap_or_default();
    ensure!(one.to_bytes() == other.to_bytes(), "what is saved again is not the same: {differs}");
    let mut again = Vec::new();
    vm.save_memory(&mut again)?;
    ensure!(memory == again, "memory that is saved again is not the same");
    Ok(())
}

/// xorshift64.
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

fn listen(heard: &Receiver<Event>, document: &mut Document) -> Result<()> {
    for event in heard.try_iter() {
        match event {
            Event::Answer { level, .. } => document.answered.push(level),
            Event::Failed { level, error } => bail!("level {level}: {error}"),
            Event::Doing { level, what } => {
                let told = what.strip_prefix(crate::agent::SUMS).and_then(|told| told.split_once(" in "));
                if let Some((sums, seconds)) = told {
                    document.sums.insert(level, sums.parse()?);
                    if level == 1 {
                        document.guest_seconds = seconds.parse()?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A port's far end, which outlives machines: a line may begin in one and end in the next.
#[derive(Clone)]
struct Port {
    lines: Arc<Mutex<Lines>>,
    sender: Sender<Event>,
}

impl Port {
    fn new(sender: &Sender<Event>) -> Self {
        Self { lines: Arc::default(), sender: sender.clone() }
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = self.lines.lock().unwrap_or_else(|e| e.into_inner()).push(bytes);
        for event in lines.iter().filter_map(|line| Event::from_line(line)) {
            let _ = self.sender.send(event);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Ports {
    serial: Port,
    console: Port,
}

impl Ports {
    fn endpoints(&self) -> Endpoints {
        let console: Option<Box<dyn Write + Send>> = Some(Box::new(self.console.clone()));
        Endpoints { console, ..Endpoints::serial(self.serial.clone()) }
    }
}
