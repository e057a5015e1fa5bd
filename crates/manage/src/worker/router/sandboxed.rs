//! The process behind the walls: frames, sockets, and two pipes to who started it.

use super::settings::Settings;
use super::state::{RouterState, Told};
use super::wire::SwitchPort;
use crate::guid::Guid;
use crate::store::Store;
use crate::worker::jail::{share_switches, tell_environment};
use crate::worker::protocol::write_line;
use ireko_jail::Layers;
use ireko_jail::enter::{self, Plan};
use ireko_nat::{Report, Router, Sockets, event::Watcher, serve};
use ireko_net::role::Role;
use ireko_net::switch::Socket;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Stdin, Stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More of a line than this is none.
const LONGEST_LINE: usize = 4 << 20;

/// Is the router, until nobody speaks to it any more. It must have one thread.
pub fn run(store: &Store, id: Guid, layers: Layers) {
    let mut out = io::stdout();
    if let Err(why) = route(store, id, layers) {
        let _ = write_line(&mut out, &Told::Error(why));
    }
}

fn route(store: &Store, id: Guid, mut layers: Layers) -> Result<(), String> {
    let limits = Sockets::limits();
    tell_environment(&mut layers);
    let plan = Plan {
        id: id.0,
        home: store.home().to_owned(),
        files: None,
        sockets: Some(store.switch_directory(id)),
        network: true,
    };
    let lend = |identity: &ireko_jail::identity::Identity, by_names: bool| {
        share_switches(store, identity.switches)?;
        match by_names {
            true => fs::set_permissions(store.home(), Permissions::from_mode(0o711)),
            false => Ok(()),
        }
    };
    let jailed =
        enter::enter(&plan, layers, &lend, || ()).map_err(|error| format!("no walls around it: {error}"))?;
    let ports = Store::at(jailed.home).ports(id);
    let mut lines = Lines::default();
    let settings = lines.first().ok_or("nobody said what it is to be")?;
    let socket = Socket::open(&ports, "router", Role::given(settings.mac()))
        .map_err(|error| format!("it cannot be plugged in: {error}"))?;
    let socket = Arc::new(socket);
    let sockets = Sockets::new().map_err(|error| format!("no sockets: {error}"))?;
    let mut router = Router::new(sockets, settings.config(), limits);
    let (layers, out) = (jailed.layers, io::stdout());
    let mut watcher =
        Supervisor { lines, socket: socket.clone(), layers, out, last: None, asked: None, company: true };
    watcher.say(&Told::Ready);
    serve(&mut router, &mut SwitchPort::new(socket), &mut watcher)
        .map_err(|error| format!("the wire is gone: {error}"))
}

/// Settings as they come in.
struct Lines {
    stdin: Stdin,
    held: Vec<u8>,
    over: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self { stdin: io::stdin(), held: Vec::new(), over: false }
    }
}

impl Lines {
    /// Takes what is there; waits if nothing is.
    fn read(&mut self) {
        let mut room = [0; 16 * 1024];
        match self.stdin.lock().read(&mut room) {
            Ok(0) => self.over = true,
            Ok(count) => self.held.extend_from_slice(&room[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(_) => self.over = true,
        }
        self.over |= self.held.len() > LONGEST_LINE;
    }

    /// The newest of the settings that are whole.
    fn newest(&mut self) -> Option<Settings> {
        let end = self.held.iter().rposition(|byte| *byte == b'\n')?;
        let whole: Vec<u8> = self.held.drain(..=end).collect();
        let last = whole.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty())?;
        serde_json::from_slice(last).ok()
    }

    fn first(&mut self) -> Option<Settings> {
        loop {
            if let Some(settings) = self.newest() {
                return Some(settings);
            }
            if self.over {
                return None;
            }
            self.read();
        }
    }
}

struct Supervisor {
    lines: Lines,
    socket: Arc<Socket>,
    layers: Layers,
    out: Stdout,
    last: Option<(Report, bool)>,
    /// When it was last looked whether somebody else is plugged in, and whether somebody was.
    asked: Option<Instant>,
    company: bool,
}

/// How often that is looked at: each port hears of it.
const ASK: Duration = Duration::from_secs(10);

impl Supervisor {
    fn say(&mut self, told: &Told) -> bool {
        write_line(&mut self.out, told).is_ok()
    }
}

/// What changes with every frame is no news.
fn is_news(last: &(Report, bool), report: &Report, company: bool) -> bool {
    last.1 != company
        || last.0.guests.len() != report.guests.len()
        || last
            .0
            .guests
            .iter()
            .zip(&report.guests)
            .any(|(a, b)| (a.mac, &a.addresses) != (b.mac, &b.addresses))
        || last.0.problems != report.problems
        || last.0.flows != report.flows
        || last.0.counters.echoes_refused != report.counters.echoes_refused
}

impl Watcher for Supervisor {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.lines.stdin.as_fd())
    }

    fn heard(&mut self, router: &mut Router<Sockets>) -> bool {
        self.lines.read();
        if let Some(settings) = self.lines.newest() {
            router.configure(settings.config());
        }
        !self.lines.over
    }

    fn looked(&mut self, router: &mut Router<Sockets>, now: Instant) -> bool {
        if self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK) {
            (self.asked, self.company) = (Some(now), self.socket.has_company());
        }
        let (report, company) = (router.report(now), self.company);
        if self.last.as_ref().is_some_and(|last| !is_news(last, &report, company)) {
            return true;
        }
        let state = RouterState::of(report.clone(), company, &self.layers);
        self.last = Some((report, company));
        self.say(&Told::State(state))
    }
}
