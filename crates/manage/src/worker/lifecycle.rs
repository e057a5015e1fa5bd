//! A worker's life: lock, machine, socket, handshake, run, and what it leaves.

use super::com;
use super::console::Console;
use super::console_log::Log;
use super::crash::{After, Held, after, told};
use super::disk_errors;
use super::disks::DiskLocks;
use super::ends::{self, NextSignal};
use super::guest::{self, IntegrationServices};
use super::introspection::Watch;
use super::jail::Opened;
use super::machine::{Factory, Machine};
use super::memory::{self, Balancer};
use super::metering::Metering;
use super::protocol::{SOCKET, Started};
use super::screen::VNC;
use super::server::{self, Control, Inner, serve};
use super::vnc;
use super::vsock;
use crate::guid::Guid;
use crate::host::now;
use crate::state::State;
use crate::store::config::{AutomaticStop, DisplayAdapter, ScreenPort, StartWith};
use crate::store::run::Kept;
use crate::store::{self, Config, Meter, Run, Store, WorkerLock};
use ireko_jail::Layers;
use ireko_machine::Outcome;
use ireko_vmcore::Broker;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Runs the VM to its end. `report` is called once: when it runs, or with the error why it does not.
pub fn run(store: &Store, id: Guid, factory: &dyn Factory, report: impl FnOnce(Started)) {
    begin(store, id, factory, None, report);
}

/// How a process of its own runs its VM.
pub struct Confinement {
    /// What is in force already.
    pub layers: Layers,
    /// The signals that end it, which must be held.
    pub next_signal: NextSignal,
}

/// As [`run`], in a process of its own with one thread: behind all walls that can be had, before anything of the guest's is
/// looked at.
pub fn run_confined(
    store: &Store,
    id: Guid,
    factory: &dyn Factory,
    confinement: Confinement,
    report: impl FnOnce(Started),
) {
    begin(store, id, factory, Some(confinement), report);
}

fn begin(
    store: &Store,
    id: Guid,
    factory: &dyn Factory,
    confinement: Option<Confinement>,
    report: impl FnOnce(Started),
) {
    match prepare(store, id, factory, confinement) {
        Ok(prepared) => prepared.run(factory, report),
        Err(why) => {
            factory.limits().iter().for_each(|limits| limits.leave());
            report(Started::Error(why));
        }
    }
}

struct Prepared {
    config: Config,
    /// `None` while another is made.
    machine: Option<Box<dyn Machine>>,
    control: Arc<Control>,
    listener: UnixListener,
    /// Of viewers, where there is a screen.
    viewers: Option<UnixListener>,
    /// The same on loopback, with the password.
    at_port: Option<(TcpListener, String)>,
    /// Of who connects to ports of the guest's.
    sockets: UnixListener,
    /// Of serial ports that have sockets.
    com_ports: [Option<UnixListener>; 2],
    // Dropped in this order: who sees the worker gone finds its disks free.
    _disks: Released,
    _lock: WorkerLock,
}

/// Files that are anybody's when this goes.
struct Released(Arc<DiskLocks>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Why a second worker of a VM ends.
pub const ANOTHER: &str = "another worker runs this virtual machine already";

fn prepare(
    store: &Store,
    id: Guid,
    factory: &dyn Factory,
    confinement: Option<Confinement>,
) -> Result<Prepared, String> {
    let config = store.load(id).map_err(|e| e.to_string())?;
    let directory = store.directory(id);
    let lock = WorkerLock::take(&directory)
        .map_err(|error| format!("the worker's lock cannot be had: {error}"))?
        .ok_or(ANOTHER)?;
    let files = Arc::new(DiskLocks::take(store, &config)?);
    let disks = Released(files.clone());
    factory.open(&config, &files)?;
    let metering = config.metering.then(|| Metering::new(Meter::read(&directory).unwrap_or_default()));
    let listener =
        listen(&directory, SOCKET).map_err(|error| format!("the control socket cannot be made: {error}"))?;
    let sockets = listen(&directory, vsock::SOCKET)
        .map_err(|error| format!("the socket for its ports cannot be made: {error}"))?;
    let viewers = has_screen(&config)
        .then(|| listen(&directory, VNC))
        .transpose()
        .map_err(|error| format!("the screen's socket cannot be made: {error}"))?;
    let at_port = if viewers.is_some() { at_port(&config)? } else { None };
    let com_ports = com_ports(&config)?;
    let (place, next_signal) = enter(store, &config, confinement, &lock, &listener)?;
    let broker = broker(&place)?;
    factory.moved(&place.store, &broker);
    let console = Console::default();
    let second = config.com_ports[1].is_some().then(Console::default);
    let machine = factory.make(&config, &files, console.clone(), second.clone())?;
    let inner = Inner {
        remote: machine.remote(),
        engine: machine.engine(),
        paused: false,
        critical: false,
        turned_off: false,
        by_host: false,
        reset_wanted: false,
        stopping_until: None,
        resets: 0,
        crash: config.automatic_crash,
        crashed: None,
        started: Instant::now(),
        load: 0.0,
        watch: Watch::default(),
        memory: Balancer::new(config.memory.clone()),
        integration: IntegrationServices::new(config.integration.clone()),
        processor_maximum: config.processor.maximum,
        disks: config.disks.clone(),
        dvds: config.dvds.clone(),
        metering,
    };
    let control = Arc::new(Control {
        console,
        second,
        network: machine.network(),
        limits: factory.limits(),
        directory: place.store.directory(id),
        pid: place.pid,
        jail: place.layers,
        broker,
        gauges: place.gauges,
        nested: config.processor.expose_virtualization_extensions,
        changing: Mutex::default(),
        driving: Mutex::default(),
        held: Held::default(),
        questions: Arc::default(),
        files,
        inner: Mutex::new(inner),
    });
    if let Some(next) = next_signal {
        let gently = config.automatic_stop != AutomaticStop::TurnOff;
        ends::heed_signals(next, Arc::downgrade(&control), gently);
    }
    let machine = Some(machine);
    Ok(Prepared {
        config,
        machine,
        control,
        listener,
        viewers,
        at_port,
        sockets,
        com_ports,
        _lock: lock,
        _disks: disks,
    })
}

/// Whether viewers may come; to a kernel that only a BIOS can start, if an adapter is chosen.
fn has_screen(config: &Config) -> bool {
    match config.display {
        DisplayAdapter::Auto => config.boot.start_with == StartWith::Firmware,
        DisplayAdapter::None => false,
        DisplayAdapter::Vga | DisplayAdapter::Virtio => true,
    }
}

/// Nobody but this host reaches it.
fn at_port(config: &Config) -> Result<Option<(TcpListener, String)>, String> {
    let Some(ScreenPort { port, password }) = &config.screen else { return Ok(None) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))
        .map_err(|error| format!("port {port} for its screen cannot be had: {error}; use Set-VMScreen"))?;
    Ok(Some((listener, password.clone())))
}

fn com_ports(config: &Config) -> Result<[Option<UnixListener>; 2], String> {
    let [first, second] = &config.com_ports;
    let listen = |path: &Option<std::path::PathBuf>| path.as_deref().map(com::listen).transpose();
    Ok([listen(first)?, listen(second)?])
}

/// From the thread that may do what it does: it inherits that thread's walls.
fn broker(place: &Opened) -> Result<Broker, String> {
    if place.layers.0.is_empty() {
        return Ok(Broker::default());
    }
    Broker::start(ireko_jail::thread::confining()).map_err(|error| format!("no thread for names: {error}"))
}

fn enter(
    store: &Store,
    config: &Config,
    confinement: Option<Confinement>,
    lock: &WorkerLock,
    listener: &UnixListener,
) -> Result<(Opened, Option<NextSignal>), String> {
    let Some(Confinement { layers, next_signal }) = confinement else {
        return Ok((Opened::open(store), None));
    };
    let place = Opened::behind_walls(store, config, layers)
        .map_err(|error| format!("the worker cannot be confined: {error}"))?;
    // It may be another process by now: who asks the kernel for the holder and the listener is to find this one.
    if !lock.inherit().map_err(|error| format!("the worker's lock cannot be kept: {error}"))? {
        return Err(ANOTHER.into());
    }
    let _ = rustix::net::listen(listener, BACKLOG);
    Ok((place, Some(next_signal)))
}

/// As std has it.
const BACKLOG: i32 = 128;

/// Through the directory's descriptor: a socket's path may have 107 bytes only, and the home's may be longer.
fn listen(directory: &Path, name: &str) -> std::io::Result<UnixListener> {
    store::run::make_directory(directory)?;
    let _ = fs::remove_file(directory.join(name));
    let opened = File::open(directory)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))?;
    fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Prepared {
    fn run(mut self, factory: &dyn Factory, report: impl FnOnce(Started)) {
        let control = self.control.clone();
        let directory = control.directory.clone();
        Run::note_paused(&directory, false);
        let mut run = Run { pid: control.pid, started: now(), running: true, ..Run::default() };
        if let Err(error) = run.write(&directory) {
            return report(Started::Error(format!("the worker cannot write its state: {error}")));
        }
        let (served, listener) = (control.clone(), self.listener.try_clone());
        spawn("control socket", move || listener.into_iter().for_each(|one| serve(served.clone(), one)));
        if let Some(viewers) = self.viewers.take() {
            let served = control.clone();
            spawn("screen", move || vnc::serve(served, &viewers));
        }
        if let Some((listener, password)) = self.at_port.take() {
            let served = control.clone();
            spawn("screen", move || vnc::serve_with_password(served, &listener, &password));
        }
        self.serve_com_ports();
        self.serve_sockets();
        let log = keep_log(&control);
        disk_errors::heed(&control);
        let machine = self.machine.as_ref();
        if machine.is_some_and(|machine| machine.watched()) {
            watch(&control);
        }
        let engine = machine.map(|machine| machine.engine().0).unwrap_or_default();
        report(Started::Running { pid: run.pid, engine });
        control.measure(&mut control.lock());
        let outcome = self.run_through_resets(factory);
        control.measure(&mut control.lock());
        control.keep_meter();
        run.ended = Some(now());
        run.running = control.lock().by_host;
        run.clean = matches!(outcome, Outcome::PowerOff | Outcome::Stopped);
        run.reason = Some(told(&outcome));
        if !run.clean {
            crate::worker::log(&outcome.to_string());
        }
        if let Err(error) = run.write(&directory) {
            crate::worker::log(&format!("the end ({outcome}) cannot be written: {error}"));
        }
        control.console.close();
        control.second.iter().for_each(Console::close);
        let _ = log.recv_timeout(LAST_WORDS);
        [SOCKET, VNC, vsock::SOCKET].iter().for_each(|name| drop(fs::remove_file(directory.join(name))));
        control.limits.iter().for_each(|limits| limits.leave());
    }

    fn serve_sockets(&self) {
        let (served, listener) = (self.control.clone(), self.sockets.try_clone());
        spawn("vsock", move || listener.iter().for_each(|listener| vsock::serve(&served, listener)));
        let heeded = self.control.clone();
        spawn("vsock offers", move || vsock::heed(&heeded));
    }

    fn serve_com_ports(&mut self) {
        let consoles = [Some(self.control.console.clone()), self.control.second.clone()];
        for (port, (listener, console)) in
            self.com_ports.iter_mut().map(Option::take).zip(consoles).enumerate()
        {
            let (Some(listener), Some(console)) = (listener, console) else { continue };
            let control = self.control.clone();
            spawn("com", move || com::serve(&control, &listener, port, &console));
        }
    }

    /// A reset is a new machine of the same configuration, and so is a triple fault: that is how a PC hears of one, and how
    /// some systems reboot. The first one's registers are kept in the worker's log.
    fn run_through_resets(&mut self, factory: &dyn Factory) -> Outcome {
        let control = self.control.clone();
        let mut faulted = false;
        loop {
            // One goes before the next comes: a VM never has its memory twice.
            let Some(outcome) = self.machine.take().map(|machine| run_to_its_end(&control, machine)) else {
                return Outcome::Stopped;
            };
            let crash = control.lock().crash;
            self.heed_installer(&outcome);
            match after(&outcome, crash) {
                After::Again => {}
                After::Hold | After::End => return outcome,
            }
            let crashed = matches!(outcome, Outcome::Shutdown(_) | Outcome::Watchdog);
            if crashed && !std::mem::replace(&mut faulted, true) {
                crate::worker::log(&format!("{outcome}; it starts again"));
            }
            if let Err(outcome) = self.again(factory) {
                return outcome;
            }
        }
    }

    /// An installer is done when it has reset the machine or turned it off itself; what it has made starts from then on.
    fn heed_installer(&mut self, outcome: &Outcome) {
        let mut inner = self.control.lock();
        let wanted = std::mem::take(&mut inner.reset_wanted);
        let own = match outcome {
            Outcome::Reset => !wanted,
            Outcome::PowerOff => inner.stopping_until.is_none() && !inner.by_host,
            _ => false,
        };
        drop(inner);
        if !own || self.config.boot.installer.take().is_none() {
            return;
        }
        let directory = self.control.directory.clone();
        if let Some(Err(error)) = self.control.broker.ask(move || Run::note_installed(&directory)) {
            crate::worker::log(&format!("that the installer is done cannot be noted: {error}"));
        }
    }

    fn again(&mut self, factory: &dyn Factory) -> Result<(), Outcome> {
        let control = self.control.clone();
        let _alone = control.driving();
        // What was changed while it ran counts from now on.
        self.config.memory = control.lock().memory.settings.clone();
        self.config.disks = control.lock().disks.clone();
        self.config.processor.maximum = control.lock().processor_maximum;
        self.config.dvds = control.lock().dvds.clone();
        if let Some(adapters) = control.network.as_ref().and_then(|network| network.settings()) {
            self.config.adapters = adapters;
        }
        let machine = factory
            .make(&self.config, &control.files, control.console.clone(), control.second.clone())
            .map_err(|why| Outcome::Failed(format!("after a reset: {why}")))?;
        let mut inner = control.lock();
        (inner.remote, inner.engine) = (machine.remote(), machine.engine());
        // It may be another since the machine was made.
        inner.remote.limit_processors(inner.processor_maximum);
        // A pause is for the VM: a guest that resets itself does not end it.
        if inner.paused {
            inner.remote.pause();
        }
        inner.critical = false;
        self.machine = Some(machine);
        inner.started = Instant::now();
        inner.stopping_until = None;
        inner.resets += 1;
        inner.watch = Watch::default();
        inner.memory.restart();
        inner.integration.restart();
        if inner.turned_off { Err(Outcome::Stopped) } else { Ok(()) }
    }
}

/// Runs a machine; one whose guest crashed may have to wait, as it is, for what somebody says then.
fn run_to_its_end(control: &Control, mut machine: Box<dyn Machine>) -> Outcome {
    let outcome = machine.run();
    let crash = control.lock().crash;
    match after(&outcome, crash) {
        After::Hold => control.hold(&outcome),
        _ => outcome,
    }
}

/// For the console's log to reach its file at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Keeps the console's log until the console closes; then there is an answer.
fn keep_log(control: &Arc<Control>) -> Receiver<()> {
    let (done, heard) = channel();
    let mut log = Log::new(&control.directory, control.broker.clone());
    // Before anybody hears that it runs: who looks then finds this run and not only the one before it.
    log.begin();
    let (console, walls) = (control.console.clone(), control.jail.clone());
    spawn("console log", move || {
        server::confine(&walls);
        log.keep(&console);
        let _ = done.send(());
    });
    heard
}

/// Looks at load, meter, memory and the guest's agent for as long as the VM is there.
fn watch(control: &Arc<Control>) {
    let sampled = Arc::downgrade(control);
    let first = control.jail.clone();
    spawn("usage", move || {
        server::confine(&first);
        sample(&sampled);
    });
    let served = Arc::downgrade(control);
    let first = control.jail.clone();
    spawn("guest", move || {
        server::confine(&first);
        guest::serve(&served);
    });
    let kept = Arc::downgrade(control);
    let first = control.jail.clone();
    spawn("memory", move || {
        server::confine(&first);
        memory::balance(&kept);
    });
}

pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(body) {
        crate::worker::log(&format!("no thread for {name}: {error}"));
    }
}

const EVERY: Duration = Duration::from_secs(1);

/// Load and meter, once a second, for as long as the VM is there.
fn sample(control: &std::sync::Weak<Control>) {
    let Some(mut before) = control.upgrade().map(|control| control.gauges.usage()) else { return };
    let mut at = Instant::now();
    let mut round = 0u64;
    loop {
        std::thread::sleep(EVERY);
        let Some(control) = control.upgrade() else { return };
        control.introspect();
        let (usage, seconds) = (control.gauges.usage(), at.elapsed().as_secs_f64());
        let cpu = usage.cpu_seconds - before.cpu_seconds;
        let mut inner = control.lock();
        inner.load = cpu / seconds;
        if round.is_multiple_of(2) && inner.state() == State::Stopping && inner.integration.needs_button() {
            // A system that has just begun to start hears no button: it is pressed until somebody heeds it.
            inner.remote.power_button();
        }
        control.measure(&mut inner);
        drop(inner);
        if round.is_multiple_of(10) {
            control.keep_meter();
        }
        (before, at, round) = (usage, Instant::now(), round + 1);
    }
}
