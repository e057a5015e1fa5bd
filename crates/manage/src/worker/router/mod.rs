//! The router of the Default Switch. Two processes: this one sees the store and the host's names, starts the other, and tells
//! it what is to be; the other ([`sandboxed`]) is behind walls, has the frames and the host's sockets, and tells what it
//! sees. Should it die, it is started again; the guests lose frames and connections.

pub mod sandboxed;
pub mod settings;
pub mod state;
mod wire;

use super::jail::ENVIRONMENT;
use super::log;
use super::protocol::{Started, read_line, write_line};
use crate::guid::Guid;
use crate::store::{Store, WorkerLock};
use settings::{Settings, Watched};
use state::{Told, keep};
use std::fs;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

/// How often it is looked for changes.
const LOOK: Duration = Duration::from_millis(500);
/// How long nobody may be plugged in before it ends.
const IDLE: Duration = Duration::from_secs(60);
/// One that lives for less, so often in a row, is not started again.
const SHORT: Duration = Duration::from_secs(2);
const SHORT_LIVES: u32 = 5;

/// Touched by whoever wants the router: it does not end within a while after that.
const WANTED: &str = "wanted";

/// Notes that somebody wants the router.
pub fn want(store: &Store, id: Guid) {
    let _ = fs::write(store.switch_directory(id).join(WANTED), "");
}

fn wanted_lately(store: &Store, id: Guid) -> bool {
    let touched = fs::metadata(store.switch_directory(id).join(WANTED)).and_then(|found| found.modified());
    let age = touched.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age < IDLE)
}

/// Is the router to its end. `report` is called once: when it is there, or with the error why it is not.
pub fn run(store: &Store, id: Guid, report: impl FnOnce(Started)) {
    let mut report = Some(report);
    let mut tell = |started: Started| {
        if let Some(report) = report.take() {
            report(started);
        }
    };
    loop {
        let lock = match WorkerLock::take(&store.switch_directory(id)) {
            Ok(Some(lock)) => lock,
            // Somebody else was faster.
            Ok(None) => return tell(Started::Running { pid: 0, engine: String::new() }),
            Err(error) => return tell(Started::Error(format!("its lock cannot be had: {error}"))),
        };
        if let Err(why) = lives(store, id, &mut tell) {
            log(&why);
            return tell(Started::Error(why));
        }
        let _ = fs::remove_file(state::path(store, id));
        drop(lock);
        // Who came between the last look and now has seen the lock, and does not start another.
        if !store.ports(id).is_dir() || !wanted_lately(store, id) {
            return;
        }
    }
}

/// One life after the other, until nobody is plugged in.
fn lives(store: &Store, id: Guid, tell: &mut dyn FnMut(Started)) -> Result<(), String> {
    let mut short = 0;
    loop {
        let since = Instant::now();
        let over = Life::begin(store, id)?.live(store, id, tell)?;
        if over {
            return Ok(());
        }
        short = if since.elapsed() < SHORT { short + 1 } else { 0 };
        if short >= SHORT_LIVES {
            return Err(format!(
                "the router ended {SHORT_LIVES} times within {} seconds each",
                SHORT.as_secs()
            ));
        }
        log("the router has ended, and is started again");
    }
}

struct Life {
    child: Child,
    watched: Watched,
    heard: Receiver<Told>,
}

impl Life {
    fn begin(store: &Store, id: Guid) -> Result<Self, String> {
        let program: PathBuf =
            std::env::current_exe().map_err(|error| format!("this program has no name: {error}"))?;
        let mut child = Command::new(&program)
            .args(["router-sandboxed", &id.to_string()])
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| ENVIRONMENT.iter().any(|known| name == known)))
            .env("IREKO_HOME", store.home())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the router {} cannot be started: {error}", program.display()))?;
        let (said, heard) = channel();
        let mut out = BufReader::new(child.stdout.take().ok_or("the router has no output")?);
        std::thread::spawn(move || {
            while let Ok(Some(told)) = read_line::<Told>(&mut out) {
                if said.send(told).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, watched: Watched::default(), heard })
    }

    fn say(&mut self, settings: &Settings) -> io::Result<()> {
        match &mut self.child.stdin {
            Some(stdin) => write_line(stdin, settings),
            None => Err(io::Error::other("the router hears nothing")),
        }
    }

    /// True: nobody needs a router any more.
    fn live(mut self, store: &Store, id: Guid, tell: &mut dyn FnMut(Started)) -> Result<bool, String> {
        let result = self.serve(store, id, tell);
        // It ends when nobody speaks to it any more; one that does not is ended.
        drop(self.child.stdin.take());
        for _ in 0..20 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return result;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        result
    }

    fn serve(&mut self, store: &Store, id: Guid, tell: &mut dyn FnMut(Started)) -> Result<bool, String> {
        let (mut alone, mut last) = (None, None);
        loop {
            if let Some(settings) = self.watched.look(store, id)?
                && self.say(&settings).is_err()
            {
                return Ok(false);
            }
            match self.heard.recv_timeout(LOOK) {
                Ok(Told::Ready) => tell(Started::Running { pid: self.child.id(), engine: String::new() }),
                Ok(Told::Error(why)) => return Err(why),
                Ok(Told::State(state)) => {
                    alone = if state.company { None } else { alone.or_else(|| Some(Instant::now())) };
                    if last.as_ref() != Some(&state) {
                        keep(store, id, &state);
                        last = Some(state);
                    }
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
            let gone = !store.ports(id).is_dir();
            let idle = alone.is_some_and(|since: Instant| since.elapsed() >= IDLE);
            if gone || idle && !wanted_lately(store, id) {
                return Ok(true);
            }
        }
    }
}
