//! The control socket's other end: what requests do.

use super::console::Console;
use super::crash::Held;
use super::descriptors::Incoming;
use super::disks::DiskLocks;
use super::gauges::Gauges;
use super::guest::{self, IntegrationServices};
use super::introspection::{Introspection, Watch};
use super::limits::Limits;
use super::machine::Remote;
use super::memory::{self, Balancer};
use super::metering::Metering;
use super::network::Network;
use super::protocol::{Reply, Request, Status, read_line, write_line};
use super::screen::{Head, Shown};
use crate::state::{self, Action, State, Verdict};
use crate::store::config::{AutomaticCrash, Dvd};
use crate::store::run::Kept;
use crate::store::{Disk, Meter, Run};
use ireko_jail::{Kind, Layers};
use ireko_machine::Outcome;
use ireko_vmcore::Broker;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// More at once are turned away.
const MOST_CONNECTIONS: usize = 64;
const CROWDED: &str = "viewers have the console already, which is the most; close one.";
/// Of them, those that stay: viewers of the console, who may read or not. The others are there for whoever asks something.
const MOST_VIEWERS: usize = 32;
/// A viewer that takes nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked of a screen or keyboard that is not there.
pub const NO_DISPLAY: &str = "It has no display and no keyboard, as kernels that are started directly have none if nothing is said; Set-VMScreen -Adapter Vga gives it both.";
const NO_SHUTDOWN: &str = "Its integration service Shutdown is off; switch it on with Enable-VMIntegrationService, or use Stop-VM -TurnOff.";
const RESTLESS: &str = "Its processors did not come to rest; try again, or turn it off.";

/// The running VM, shared by the connections and the thread that runs it.
pub struct Control {
    /// COM 1.
    pub console: Console,
    /// COM 2, if it is there.
    pub second: Option<Console>,
    pub network: Option<Arc<Network>>,
    pub limits: Option<Arc<Limits>>,
    /// The VM's, by its name behind the walls.
    pub directory: PathBuf,
    pub pid: u32,
    pub jail: Layers,
    /// Uses names for the threads that answer.
    pub broker: Broker,
    pub gauges: Gauges,
    pub nested: bool,
    /// Changes of state are one after the other.
    pub changing: Mutex<()>,
    /// Changes of drives are, and none comes between a machine and the next after a reset.
    pub driving: Mutex<()>,
    pub held: Held,
    /// For its guest's agent.
    pub questions: Arc<guest::Questions>,
    pub files: Arc<DiskLocks>,
    pub inner: Mutex<Inner>,
}

pub struct Inner {
    pub remote: Arc<dyn Remote>,
    pub engine: (String, String),
    /// Somebody wants it to be.
    pub paused: bool,
    /// It is held for its disks.
    pub critical: bool,
    /// Also while there is no machine to be told, between two of them.
    pub turned_off: bool,
    /// It ends since this process was told to, as when the host shuts down.
    pub by_host: bool,
    /// Somebody wanted the reset that comes next.
    pub reset_wanted: bool,
    /// Pressed the power button: until when it counts.
    pub stopping_until: Option<Instant>,
    pub resets: u64,
    pub crash: AutomaticCrash,
    /// How its guest crashed, while it is held for a look.
    pub crashed: Option<String>,
    /// At its last reset, if there was one.
    pub started: Instant,
    pub load: f64,
    pub watch: Watch,
    pub metering: Option<Metering>,
    pub memory: Balancer,
    /// Its guest's agent.
    pub integration: IntegrationServices,
    /// As they are limited now, in percent.
    pub processor_maximum: u32,
    /// As they are limited now.
    pub disks: Vec<Disk>,
    /// With what is in them now.
    pub dvds: Vec<Dvd>,
}

impl Inner {
    pub fn state(&self) -> State {
        match self.stopping_until {
            _ if self.critical => State::PausedCritical,
            _ if self.paused => State::Paused,
            Some(until) if Instant::now() < until => State::Stopping,
            _ => State::Running,
        }
    }
}

impl Control {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn answer(&self, request: &Request) -> Reply {
        if let Request::Memory { settings } = request {
            return memory::change(self, settings).map_or_else(Reply::Error, |()| Reply::Done);
        }
        if let Request::Network { adapters } = request {
            let applied = self.network.as_ref().map_or(Ok(()), |network| network.apply(adapters));
            return applied.map_or_else(Reply::Error, |()| Reply::Done);
        }
        if let Request::Disks { disks } = request {
            self.limit(disks);
            return Reply::Done;
        }
        if let Request::RemoveDisk { place } = request {
            return self.remove_disk(*place).map_or_else(Reply::Error, |()| Reply::Done);
        }
        if let Request::Weight { weight } = request {
            return match self.limits.as_ref().is_some_and(|limits| limits.weigh(*weight)) {
                true => Reply::Done,
                false => Reply::Error("A weight can be had at its start only.".into()),
            };
        }
        if let Request::Processor { maximum } = request {
            let mut inner = self.lock();
            inner.processor_maximum = *maximum;
            inner.remote.limit_processors(*maximum);
            return Reply::Done;
        }
        if let Request::Agent { command, arguments } = request {
            let answer = guest::ask(self, command, arguments);
            return answer.map_or_else(Reply::Error, |answer| Reply::Agent(Box::new(answer)));
        }
        if let Request::Crash { action } = request {
            self.lock().crash = *action;
            return Reply::Done;
        }
        if let Request::Integration { settings } = request {
            self.lock().integration.change(settings.clone());
            return Reply::Done;
        }
        if *request == Request::Introspection {
            return Reply::Introspection(Box::new(self.inside()));
        }
        let action = match request {
            Request::Status => {
                let mut inner = self.lock();
                self.measure(&mut inner);
                return Reply::Status(Box::new(self.status(&inner)));
            }
            Request::Keys { keys } => return self.keys(keys),
            Request::Console
            | Request::Screen
            | Request::Introspection
            | Request::Integration { .. }
            | Request::Crash { .. }
            | Request::Processor { .. }
            | Request::Weight { .. }
            | Request::Agent { .. }
            | Request::Disks { .. }
            | Request::Medium { .. }
            | Request::AddDisk { .. }
            | Request::RemoveDisk { .. }
            | Request::Memory { .. }
            | Request::Network { .. } => return Reply::Done,
            Request::Meter { on } => return self.meter(&mut self.lock(), *on),
            // Whatever else is going on does not hold it up.
            Request::TurnOff => {
                let remote = {
                    let mut inner = self.lock();
                    inner.turned_off = true;
                    inner.remote.clone()
                };
                remote.turn_off();
                self.let_go(Outcome::Stopped);
                return Reply::Done;
            }
            Request::ShutDown { .. } => Action::ShutDown,
            Request::Reset => Action::Restart,
            Request::Pause => Action::Suspend,
            Request::Resume => Action::Resume,
        };
        let _alone = self.changing.lock().unwrap_or_else(|e| e.into_inner());
        let state = self.lock().state();
        match state::verdict(action, state) {
            Verdict::Already => Reply::Done,
            Verdict::Refused(what) => Reply::Error(format!("{} {what}", state::WRONG_STATE)),
            Verdict::Go if action == Action::ShutDown && !self.lock().integration.services.shutdown => {
                Reply::Error(NO_SHUTDOWN.into())
            }
            Verdict::Go => self.act(request),
        }
    }

    /// Not under the lock, as a pause may take its time.
    fn act(&self, request: &Request) -> Reply {
        let remote = self.lock().remote.clone();
        match request {
            Request::ShutDown { seconds } => {
                let wait = Duration::from_secs((*seconds).min(86_400));
                self.lock().stopping_until = Some(Instant::now() + wait);
                match remote.guest_agent().is_some_and(|channel| channel.is_open()) {
                    true => self.lock().integration.want_shut_down(),
                    false => remote.power_button(),
                }
            }
            Request::Reset => {
                let mut inner = self.lock();
                (inner.critical, inner.reset_wanted) = (false, true);
                drop(inner);
                self.paused(false);
                if !self.let_go(Outcome::Reset) {
                    remote.reset();
                }
            }
            // Said before it is done: a machine that comes after a reset meanwhile begins paused.
            Request::Pause => {
                self.lock().paused = true;
                if !remote.pause() {
                    self.lock().paused = false;
                    return Reply::Error(RESTLESS.into());
                }
                self.paused(true);
            }
            Request::Resume => {
                if let Some(refused) = self.resumed() {
                    return refused;
                }
                self.lock().critical = false;
                remote.resume();
                self.lock().integration.late = true;
                self.paused(false);
                self.files.errors().try_again();
            }
            _ => (),
        }
        Reply::Done
    }

    pub(super) fn paused(&self, paused: bool) {
        self.lock().paused = paused;
        let directory = self.directory.clone();
        self.broker.ask(move || Run::note_paused(&directory, paused));
    }

    /// Of disks that the machine has.
    fn limit(&self, disks: &[Disk]) {
        let mut inner = self.lock();
        let remote = inner.remote.clone();
        for own in &mut inner.disks {
            let Some(disk) = disks.iter().find(|disk| disk.place == own.place) else { continue };
            own.maximum_iops = disk.maximum_iops;
            own.maximum_bytes_per_second = disk.maximum_bytes_per_second;
            own.error_policy = disk.error_policy;
            self.files.of(own.place).iter().for_each(|files| files.errors().set(own.error_policy));
            remote.limit_disk(&own.place.serial(), super::machine::rates(own));
        }
    }

    fn status(&self, inner: &Inner) -> Status {
        let usage = self.gauges.usage();
        let memory = inner.remote.memory();
        let assigned = memory.assigned();
        let (hypervisor, worlds) = inner.watch.last();
        let disks = self.files.errors().standing();
        Status {
            state: inner.state(),
            pid: self.pid,
            uptime_seconds: inner.started.elapsed().as_secs_f64(),
            engine: inner.engine.0.clone(),
            engine_reason: inner.engine.1.clone(),
            memory_assigned: assigned.saturating_sub(inner.memory.offline()),
            memory_offline: inner.memory.offline(),
            memory_reachable: memory.base + memory.room,
            memory_target: inner.memory.target(),
            memory_adjusting: inner.memory.adjusting(assigned),
            memory_demand: inner.memory.demand(),
            memory_resident: usage.resident_bytes,
            cpu_seconds: usage.cpu_seconds,
            cpu_load: inner.load,
            nested: self.nested,
            hypervisor: hypervisor.or((!self.nested).then_some(false)),
            worlds: worlds.or((!self.nested).then_some(0)),
            limits: self.limits.as_ref().map(|limits| limits.describe()),
            resets: inner.resets,
            crashed: inner.crashed.clone(),
            disk_error: disks.last.map(|error| error.to_string()),
            disk_errors: disks.count,
            console_bytes: self.console.written(),
            viewers: self.console.viewers(),
            traffic: self.network.as_ref().map(|network| network.reports()).unwrap_or_default(),
            guest: inner.integration.guest.clone(),
            meter: inner.metering.as_ref().map(|metering| metering.meter.clone()),
            jail: self.jail.clone(),
        }
    }

    fn keys(&self, keys: &[u16]) -> Reply {
        let remote = self.lock().remote.clone();
        remote.keys(&crate::keys::unpack(keys)).map_or_else(Reply::Error, |()| Reply::Done)
    }

    /// What the screen shows now. Not under the lock: it takes a moment.
    pub(super) fn shown(&self) -> Result<Shown, String> {
        let remote = self.lock().remote.clone();
        remote.screen().ok_or_else(|| NO_DISPLAY.to_owned())
    }

    /// What runs inside now. Not under the lock: the VM's threads are asked.
    fn inside(&self) -> Introspection {
        let remote = self.lock().remote.clone();
        let nesting = remote.nesting();
        self.lock().watch.inside(Instant::now(), &nesting)
    }

    /// Notes what runs inside. Without virtualization extensions nothing can.
    pub fn introspect(&self) {
        if !self.nested {
            return;
        }
        let remote = self.lock().remote.clone();
        let nesting = remote.nesting();
        self.lock().watch.seen(Instant::now(), nesting);
    }

    fn meter(&self, inner: &mut Inner, on: bool) -> Reply {
        let meter = on.then(|| Meter { since: crate::host::now(), ..Meter::default() });
        inner.metering = meter.clone().map(Metering::new);
        self.measure(inner);
        let directory = self.directory.clone();
        let kept = self.broker.ask(move || match meter {
            Some(meter) => meter.write(&directory),
            None => Meter::remove(&directory),
        });
        match kept {
            Some(Ok(())) => Reply::Done,
            Some(Err(error)) => Reply::Error(error.to_string()),
            None => Reply::Error("The meter cannot be kept.".into()),
        }
    }
}

/// What threads do first that answer or look after things. In a process without walls, nothing.
pub fn confine(walls: &Layers) {
    if !walls.0.is_empty()
        && let Err(error) = ireko_jail::thread::confine(Kind::Control)
    {
        super::log(&format!("a thread runs unconfined: {error}"));
    }
}

/// Serves connections until the process ends, each on a thread.
pub fn serve(control: Arc<Control>, listener: UnixListener) {
    confine(&control.jail);
    let (open, viewers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: others must end first.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (control, counter, viewers) = (control.clone(), open.clone(), viewers.clone());
        let spawned = std::thread::Builder::new().name("control".into()).spawn(move || {
            // A connection that breaks concerns nobody else.
            let _ = connection(&control, stream, &viewers);
            counter.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn connection(control: &Control, stream: UnixStream, viewers: &AtomicUsize) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    writer.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(Incoming::new(stream));
    while let Some(request) = read_line::<Request>(&mut reader)? {
        if matches!(request, Request::Medium { .. } | Request::AddDisk { .. }) {
            let reply = control.take_over(&request, reader.get_mut());
            write_line(&mut writer, &reply)?;
            continue;
        }
        reader.get_mut().forget();
        if request == Request::Screen {
            send_screen(control, &mut writer)?;
            continue;
        }
        if request != Request::Console {
            write_line(&mut writer, &control.answer(&request))?;
            continue;
        }
        let seen = match viewers.fetch_add(1, Ordering::SeqCst) {
            0..MOST_VIEWERS => write_line(&mut writer, &control.answer(&request))
                .and_then(|()| view(control, reader, writer)),
            _ => write_line(&mut writer, &Reply::Error(format!("{MOST_VIEWERS} {CROWDED}"))),
        };
        viewers.fetch_sub(1, Ordering::SeqCst);
        return seen;
    }
    Ok(())
}

fn send_screen(control: &Control, writer: &mut UnixStream) -> io::Result<()> {
    match control.shown() {
        Ok(shown) => {
            write_line(writer, &Reply::Screen(Head::of(&shown)))?;
            writer.write_all(&shown.pixels)
        }
        Err(why) => write_line(writer, &Reply::Error(why)),
    }
}

/// Output on this thread, input on another, until either ends.
fn view(control: &Control, mut reader: BufReader<Incoming>, mut writer: UnixStream) -> io::Result<()> {
    let closer = writer.try_clone()?;
    std::thread::scope(|scope| {
        std::thread::Builder::new().name("input".into()).spawn_scoped(scope, move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let remote = control.lock().remote.clone();
                remote.input(&bytes[..count]);
            }
        })?;
        let result = control.console.follow(&mut writer);
        let _ = closer.shutdown(std::net::Shutdown::Both);
        result
    })
}
