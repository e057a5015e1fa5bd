//! `ireko nest`: boots level after level and shows what each reports.

mod args;
pub mod board;
mod show;
pub mod stats;

use crate::agent_config::{AgentConfig, Network};
use crate::image;
use crate::level::network::Server;
use crate::level::{self, Heard, Plan, Running};
use crate::output::out;
use crate::progress::Progress;
use crate::{bench, facts, report};
use crate::{out, say};
use anyhow::{Context, Result, bail};
pub use args::NestArgs;
use board::{Board, LevelReport};
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How deep a nest may be asked to go: beyond that no memory size helps.
const DEEPEST: u32 = 16;

/// The document that `--json` prints.
#[derive(Serialize)]
struct Document {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    depth: u32,
    /// From the command to the innermost level's answer.
    seconds: f64,
    host: Host,
    levels: Vec<LevelReport>,
    /// Where the first level's processor spent its time, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Vec<stats::LevelStats>>,
}

#[derive(Default, Serialize)]
struct Host {
    #[serde(flatten)]
    facts: facts::Facts,
    benchmarks: bench::Times,
}

pub fn run(args: &NestArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let mut board = Board::new(facts::read(), bench::Times::new(), args.depth);
    let result = nest(args, &mut board, start);
    if args.json {
        print_document(args, &board, &result, start)?;
    } else if board.links().iter().any(|link| link.level > 0) {
        out(show::tables(&board).as_bytes())?;
        if let Some(stats) = &board.stats {
            out(format!("\n{}", stats::tables(stats)).as_bytes())?;
        }
    }
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The document has the error, too; people who read the screen see it here.
        Err(error) => {
            say!("ireko: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn print_document(args: &NestArgs, board: &Board, result: &Result<()>, start: Instant) -> Result<()> {
    let document = Document {
        ok: result.is_ok(),
        error: result.as_ref().err().map(|error| format!("{error:#}")),
        depth: args.depth,
        seconds: start.elapsed().as_secs_f64(),
        host: Host { facts: board.host.clone(), benchmarks: board.host_times.clone() },
        levels: board.reports(),
        stats: board.stats.clone(),
    };
    Ok(out!("{}", serde_json::to_string_pretty(&document)?)?)
}

fn nest(args: &NestArgs, board: &mut Board, start: Instant) -> Result<()> {
    facts::require_v3()?;
    if !(1..=DEEPEST).contains(&args.depth) {
        bail!("--depth {} is not possible: give 1 to {DEEPEST}", args.depth);
    }
    let memory = args.memory_size()?;
    args.engine()?;
    ireko_machine::cpu_model(&args.cpu)?;
    let mut console = args.keep_console.as_ref().map(open_console).transpose()?;
    let progress = Progress::new();
    let parts = image::ensure(false, &progress)?;
    let init = image::own_binary()?;
    let step = progress.step("measure the host");
    board.host_times = bench::run(Duration::from_millis(args.bench_ms), |_| ());
    step.done();
    let own_boot_id = board.host.boot_id.clone();
    let server = args.network.map(|_| Server::start()).transpose()?;
    let network = args.network.zip(server.as_ref()).map(|(mode, server)| {
        // Where it is seen from inside is known once there is a router.
        Network { mode, server: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, server.port) }
    });
    let plan = Plan {
        config: AgentConfig {
            level: 1,
            depth: args.depth,
            parent: own_boot_id.clone(),
            bench_ms: args.bench_ms,
            console: console.is_some(),
            cpus: args.cpus,
            sums: false,
            network,
            exec: None,
        },
        memory,
        engine: args.engine.clone(),
        cpu: args.cpu.clone(),
        append: args.append.clone(),
        options: options(args)?,
    };
    let running = level::start(&plan, &parts, &init, &own_boot_id)
        .context("cannot start level 1 (its options are --memory, --engine and --cpu)")?;
    drop((parts, init));
    let mut tree = show::Tree::new(&progress);
    let result = listen(&running, board, &mut tree, &mut console, start + Duration::from_secs(args.timeout));
    let nesting = args.stats.then(|| running.handle.nesting());
    running.handle.stop();
    running.wait(Duration::from_secs(5));
    board.stats = nesting.map(|nesting| stats::levels(&nesting, &running.handle.counters()));
    tree.update(board, Instant::now());
    tree.end();
    result?;
    if let Some(server) = server {
        prove_fetched(board, &server)?;
    }
    report::prove_chain(&own_boot_id, args.depth, &board.links())
        .map_err(|error| anyhow::anyhow!("the levels' reports do not hang together: {error}"))
}

/// Each level fetched what the server has.
fn prove_fetched(board: &Board, server: &Server) -> Result<()> {
    for number in 1..=board.depth {
        let fetched = board.levels.get(&number).and_then(|level| level.fetched.as_ref());
        let Some(fetched) = fetched else { bail!("level {number} did not say what it fetched") };
        if (fetched.bytes, &fetched.sha256) != (server.bytes as u64, &server.sum) {
            bail!(
                "level {number} fetched {} bytes with the SHA-256 {}; the server's {} have {}",
                fetched.bytes,
                board::clean(&fetched.sha256),
                server.bytes,
                server.sum
            );
        }
    }
    Ok(())
}

/// Statistics want the counters of the engine that has any.
fn options(args: &NestArgs) -> Result<Vec<String>> {
    let mut options = args.options.clone();
    if args.stats && ireko_machine::engine::choose(args.engine()?, args.depth > 1)?.name == "soft" {
        options.push("counters=on".into());
    }
    Ok(options)
}

fn open_console(path: &std::path::PathBuf) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write the console to {}", path.display()))
}

/// Listens until the innermost level answered; an error if that cannot happen any more.
fn listen(
    running: &Running,
    board: &mut Board,
    tree: &mut show::Tree<'_>,
    console: &mut Option<File>,
    deadline: Instant,
) -> Result<()> {
    while !board.answered() {
        let now = Instant::now();
        if now >= deadline {
            return Err(failure(
                board,
                format!("the innermost level did not answer in time; {}", board.last_words(now)),
            ));
        }
        match running.heard.recv_timeout(Duration::from_millis(250).min(deadline - now)) {
            Ok(Heard::Event(event)) => {
                keep(console, &event)?;
                board.hear(event, Instant::now());
            }
            Ok(Heard::Ended(outcome)) => {
                let complaint = board.complaint().unwrap_or_else(|| board.last_words(Instant::now()));
                return Err(failure(
                    board,
                    format!(
                        "level 1 ended ({}) before level {} answered; {complaint}",
                        board::clean(&outcome.to_string()),
                        board.depth
                    ),
                ));
            }
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(failure(board, "level 1's thread is gone".into()));
            }
        }
        tree.update(board, Instant::now());
    }
    Ok(())
}

fn keep(console: &mut Option<File>, event: &report::Event) -> Result<()> {
    let Some(file) = console else { return Ok(()) };
    match event {
        report::Event::Console { level, line } => writeln!(file, "[L{level}] {line}"),
        other => writeln!(file, "[L{}] {}", other.level(), other.to_line()),
    }
    .context("cannot write the kept console")
}

/// An error with the last console lines of the innermost level that has any.
fn failure(board: &Board, sentence: String) -> anyhow::Error {
    match board.last_lines() {
        Some((number, lines)) => {
            anyhow::anyhow!("{sentence}\nlast lines of level {number}'s console:\n  {}", lines.join("\n  "))
        }
        None => anyhow::anyhow!(sentence),
    }
}
