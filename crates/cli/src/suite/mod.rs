//! `ireko bench`: the same kernels natively, at each level of ours, and in QEMU's translator, side by side.
//!
//! One binary measures itself everywhere: [`probe`] runs kernels where it is, [`peer`] starts a probe somewhere and
//! asks it. With `--programs` it is real programs in a root file system of Debian's ([`programs`]). Kernel by kernel each place has its turn, so that what disturbs the machine disturbs all of them.

mod chart;
mod compute;
mod kernels;
pub mod litmus;
mod memory;
mod peer;
mod probe;
mod programs;
mod results;
mod show;
mod simd;
mod system;
mod translator;

use crate::out;
use crate::output::out;
use crate::progress::{Progress, Step};
use crate::{facts, image};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use kernels::{Group, Kernel, Work};
use peer::{Conversation, Setting};
use probe::Answer;
use results::{Column, PEER, Results, first_difference};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A level has this long to come up, and as much again for each level above it.
const BOOT_PATIENCE: Duration = Duration::from_secs(120);
/// A clock that is this much off the host's makes a time worthless.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(60);
/// Deeper than this no level comes up before patience ends.
const DEEPEST: u32 = 6;

#[derive(Args)]
pub struct BenchArgs {
    /// Run programs that people run instead of kernels, in a root file system of Debian's packages that is made the first time.
    #[arg(long, conflicts_with_all = ["translator", "peer_nest"])]
    pub programs: bool,
    /// Measurements of each kernel at each place; their median counts. Programs run once more before, which is shown apart.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Let the least time count instead of the median: for machines that do other work meanwhile.
    #[arg(long)]
    pub best: bool,
    /// Measure in levels 1 to N.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub levels: u32,
    /// Only these kernels, or programs, by name.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave QEMU out even if it is installed.
    #[arg(long)]
    pub no_peer: bool,
    /// Measure exits in a level 2 inside QEMU, too (takes minutes).
    #[arg(long, conflicts_with = "no_peer")]
    pub peer_nest: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Write a chart.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Measure the translator itself, over the code of a static program (our own without FILE).
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "/proc/self/exe")]
    pub translator: Option<PathBuf>,
    /// Level 1's engine.
    #[arg(long, default_value = "soft")]
    pub engine: String,
    /// Level 1's processor, as `ireko run --cpu` takes it.
    #[arg(long, default_value = "auto")]
    pub cpu: String,
    /// Engine debugging and bisection options.
    #[arg(long = "option", value_name = "NAME=VALUE")]
    pub options: Vec<String>,
    /// Seconds that one kernel or program may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub timeout: u64,
    /// Run kernels as lines on standard input ask for them.
    #[arg(long, hide = true)]
    pub probe: bool,
    /// Where programs run: a directory, or a disk.
    #[arg(long, value_name = "PATH", hide = true)]
    pub root: Option<PathBuf>,
    /// Do in that directory what its packages' scripts would have.
    #[arg(long, requires = "root", hide = true)]
    pub finish: bool,
}

/// Whether this process was started only to end: a kernel measures that.
pub fn ends_at_once() -> bool {
    std::env::args_os().nth(1).is_some_and(|word| word == system::END)
}

pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    ensure!(
        (1..=DEEPEST).contains(&args.levels),
        "--levels {} is not possible: give 1 to {DEEPEST}",
        args.levels
    );
    if args.probe {
        return Ok(probe::serve(args.levels, args.root.as_deref()));
    }
    if let Some(root) = args.root.as_deref().filter(|_| args.finish) {
        return programs::finish(root).map(|()| ExitCode::SUCCESS);
    }
    ensure!((1..=1000).contains(&args.rounds), "--rounds {} is not possible: give 1 to 1000", args.rounds);
    if let Some(path) = &args.translator {
        return translator(path, args);
    }
    facts::require_v3()?;
    let results = measure(args)?;
    tell(args, &results)
}

fn translator(path: &Path, args: &BenchArgs) -> Result<ExitCode> {
    let measured = translator::measure(path, args.rounds)?;
    if args.json {
        out!("{}", serde_json::to_string_pretty(&measured)?)?;
    } else {
        out(translator::show(path, &measured).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Success only if everything was measured and every number was the same everywhere.
fn tell(args: &BenchArgs, results: &Results) -> Result<ExitCode> {
    if args.json {
        out!("{}", serde_json::to_string_pretty(&results.document())?)?;
    } else {
        out(show::table(results).as_bytes())?;
    }
    if let Some(path) = &args.svg {
        fs::write(path, chart::svg(results)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if results.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One place where kernels run, and what it gave so far.
struct Subject {
    column: Column,
    /// Which process, and how many levels below it.
    engine: usize,
    depth: u32,
    groups: &'static [Group],
    clock_wrong: bool,
}

const ALL: &[Group] = &[Group::Compute, Group::System, Group::Nesting, Group::Cold, Group::Warm];

impl Subject {
    fn new(name: String, what: &str, engine: usize, depth: u32, groups: &'static [Group]) -> Self {
        let column = Column {
            name,
            what: what.to_owned(),
            kernel: String::new(),
            boot_id: String::new(),
            boot_seconds: 0.0,
            own_memory_bytes: None,
            error: None,
            rounds: BTreeMap::new(),
            best: false,
            checks: BTreeMap::new(),
        };
        Self { column, engine, depth, groups, clock_wrong: false }
    }

    fn meet(&mut self, answer: Answer, start: Duration) {
        if let Answer::Ready { facts } = answer {
            (self.column.kernel, self.column.boot_id) = (facts.kernel, facts.boot_id);
            self.column.boot_seconds = start.as_secs_f64();
        }
    }

    /// One measurement; an error is kept, and ends this place's part.
    fn measure(&mut self, engines: &mut [Option<Conversation>], kernel: &'static Kernel, patience: Duration) {
        if self.column.error.is_some() || !self.groups.contains(&kernel.group) {
            return;
        }
        let Some(engine) = engines[self.engine].as_mut() else { return };
        let start = Instant::now();
        let result = engine.ask(self.depth, kernel.name, patience);
        if let Err(error) = result.and_then(|answer| self.enter(kernel, answer, start.elapsed())) {
            self.column.error = Some(format!("{}: {error:#}", kernel.name));
        }
    }

    fn enter(&mut self, kernel: &'static Kernel, answer: Answer, taken: Duration) -> Result<()> {
        let Answer::Measured { kernel: name, nanoseconds, check } = answer else {
            bail!("the answer is no time");
        };
        ensure!(name == kernel.name, "the answer is about {name:?}");
        let claimed = Duration::from_nanos(nanoseconds);
        let wrong = claimed > taken + CLOCK_TOLERANCE;
        ensure!(
            !wrong || self.column.name.starts_with(PEER),
            "its clock is wrong: it says {claimed:?}, but only {taken:?} passed here"
        );
        // The peer is not ours to mend: the time that passed here, with the console's, is the best there is.
        self.clock_wrong |= wrong;
        let nanoseconds = if wrong { taken.as_nanos() as u64 } else { nanoseconds };
        let known = self.column.checks.entry(kernel.name).or_insert_with(|| check.clone());
        if *known != check {
            let (now, before) = first_difference(&check, known);
            bail!("gives {now} now, {before} before");
        }
        self.column.rounds.entry(kernel.key()).or_default().push(nanoseconds);
        Ok(())
    }
}

/// All places and the processes that serve them.
struct Field {
    engines: Vec<Option<Conversation>>,
    places: Vec<Subject>,
    notes: Vec<String>,
    /// Where programs run, if any.
    programs: Option<image::programs::Root>,
}

fn measure(args: &BenchArgs) -> Result<Results> {
    let kernels = show::chosen(&args.only, args.programs)?;
    let progress = Progress::new();
    let parts = image::ensure(false, &progress)?;
    let make = || image::programs::ensure(&progress, peer::finish);
    let programs = args.programs.then(make).transpose()?;
    let mut field = Field { engines: Vec::new(), places: Vec::new(), notes: Vec::new(), programs };
    field.natively()?;
    field.ours(args, &progress);
    if !args.no_peer {
        field.peer(args, &parts, &progress)?;
    }
    field.look_for_others();
    let mut line = progress.line();
    let (cold, kernels): (Vec<_>, Vec<_>) = kernels.into_iter().partition(|k| k.group == Group::Cold);
    if !cold.is_empty() {
        field.round(&cold, "the first time", args, &mut line);
    }
    for round in 1..=args.rounds {
        field.round(&kernels, &format!("round {round} of {}", args.rounds), args, &mut line);
    }
    drop(line);
    Ok(field.finish(args))
}

impl Field {
    fn natively(&mut self) -> Result<()> {
        let mut place = Subject::new("native".into(), "this machine", 0, 0, ALL);
        let root = self.programs.as_ref().map(|root| root.directory.as_path());
        let engine = Conversation::start(&Setting::native(root), BOOT_PATIENCE)?;
        place.meet(engine.ready(), engine.boot);
        self.engines.push(Some(engine));
        self.places.push(place);
        Ok(())
    }

    fn ours(&mut self, args: &BenchArgs, progress: &Progress) {
        let setting = Setting::ireko(args.levels, &args.engine, &args.cpu, &args.options, self.disk());
        let names = (1..=args.levels).map(|level| {
            let what = if level == 1 {
                format!("Ireko, engine {}", args.engine)
            } else {
                "KVM in the level above".into()
            };
            (format!("L{level}"), what, ALL)
        });
        self.boot(&setting, names.collect(), progress);
    }

    fn disk(&self) -> Option<&Path> {
        self.programs.as_ref().map(|root| root.disk.as_path())
    }

    /// QEMU wants files; they are gone when it has read them.
    fn peer(&mut self, args: &BenchArgs, parts: &image::Parts, progress: &Progress) -> Result<()> {
        let Some(version) = peer::qemu_version() else {
            self.notes.push(
                "QEMU is not installed, so there is no peer to compare with: apt install qemu-system-x86"
                    .into(),
            );
            return Ok(());
        };
        let directory = std::env::temp_dir().join(format!("ireko-bench-{}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let (kernel, archive) = (directory.join("vmlinuz"), directory.join("initramfs"));
        let init = image::own_binary()?;
        let written = fs::write(&kernel, &parts.kernel)
            .and_then(|()| fs::write(&archive, parts.archive(&init, args.peer_nest)));
        if written.is_ok() {
            let mut names = vec![("TCG L1".to_owned(), format!("QEMU {version}, -accel tcg -cpu max"), ALL)];
            if args.peer_nest {
                names.push(("TCG L2".into(), "KVM in QEMU's level 1".into(), &[Group::Nesting]));
            }
            let setting = Setting::qemu(names.len() as u32, &kernel, &archive, self.disk());
            self.boot(&setting, names, progress);
        }
        let _ = fs::remove_dir_all(&directory);
        written.with_context(|| format!("cannot write in {}", directory.display()))
    }

    /// Starts an engine and says hello to all its levels.
    fn boot(
        &mut self,
        setting: &Setting,
        names: Vec<(String, String, &'static [Group])>,
        progress: &Progress,
    ) {
        let engine = self.engines.len();
        let start = Instant::now();
        let mut running = None;
        let mut trouble: Option<String> = None;
        for (depth, (name, what, groups)) in (0..).zip(names) {
            let mut place = Subject::new(name, &what, engine, depth, groups);
            let step = progress.step(&format!("start {}", place.column.name));
            let patience = BOOT_PATIENCE * (depth + 1) * (depth + 1);
            let met = match (&trouble, running.as_mut()) {
                (Some(_), _) => Err(anyhow::anyhow!("the level above did not come up")),
                (None, None) => Conversation::start(setting, patience).map(|started| {
                    let first = started.ready();
                    running = Some(started);
                    first
                }),
                (None, Some(running)) => running.ask(depth, probe::HELLO, patience),
            };
            match met {
                Ok(answer) => place.meet(answer, start.elapsed()),
                Err(error) => {
                    let error = format!("did not come up: {error:#}");
                    place.column.error = Some(error.clone());
                    trouble = Some(error);
                }
            }
            step.done();
            self.places.push(place);
        }
        self.engines.push(running);
    }

    /// The load of the last minute was others' work, where it is more than our own start.
    fn look_for_others(&mut self) {
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: f64 = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        if load > 0.75 * processors as f64 {
            self.notes.push(format!(
                "this machine was busy with other work (load {load:.1} on {processors} processors): ratios are rough"
            ));
        }
    }

    /// Every kernel once at every place, the places of one kernel after each other.
    fn round(&mut self, kernels: &[&'static Kernel], news: &str, args: &BenchArgs, line: &mut Step) {
        for kernel in kernels {
            let long = matches!(kernel.work, Work::Script(_));
            for place in &mut self.places {
                let what = format!("{news}: {}", kernel.name);
                match long {
                    true => line.update(&format!("{what} on {}", place.column.name), &what),
                    false => line.update(&what, news),
                }
                place.measure(&mut self.engines, kernel, Duration::from_secs(args.timeout));
            }
        }
    }

    fn finish(mut self, args: &BenchArgs) -> Results {
        let memory: Vec<Option<u64>> =
            self.engines.iter().map(|engine| engine.as_ref()?.own_memory()).collect();
        for place in &mut self.places {
            place.column.best = args.best;
            if place.depth == 0 && place.engine > 0 {
                place.column.own_memory_bytes = memory[place.engine];
            }
            if place.clock_wrong {
                let name = &place.column.name;
                self.notes
                    .push(format!("{name}'s clock runs wrong: where it does, its times are the host's"));
            }
        }
        let columns = self.places.into_iter().map(|place| place.column).collect();
        Results { rounds: args.rounds, columns, notes: self.notes }
    }
}
