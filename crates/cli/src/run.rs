//! `ireko run`: one VM in the foreground on this terminal.

use crate::agent_config::AgentConfig;
use crate::output::{OutputError, out};
use crate::progress::Progress;
use crate::run_args::{Display, NetworkChoice, Reboot, RunArgs};
use crate::terminal::{Key, Keys, Raw};
use crate::{facts, image, run_network, say, sys, user};
use anyhow::{Context, Result};
use ireko_machine::disk_errors::Standing;
use ireko_machine::{
    DiskBus, DiskErrors, DiskSpec, Endpoints, Firmware, FolderSpec, Handle, MachineError, ModuleSpec,
    Outcome, Source, Spec, Vm,
};
use ireko_manage::folder::{Linked, Share};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Exit code of `--exec` when the guest reset itself (a panic of its kernel) and no status of the command came back.
const NO_END: u8 = 76;
/// Exit code of errors that no guest can give: isa-debug-exit's are odd.
const OUR_ERROR: u8 = 2;

pub fn run(args: &RunArgs) -> Result<ExitCode> {
    if !args.test_devices {
        return start(args);
    }
    start(args).or_else(|error| {
        say!("ireko: {error:#}");
        Ok(ExitCode::from(OUR_ERROR))
    })
}

fn start(args: &RunArgs) -> Result<ExitCode> {
    facts::require_v3()?;
    // A pipe may keep us waiting: until then signals end the process.
    let spec = with_firmware_it_needs(spec(args)?.resolved().map_err(user::explained)?)?;
    let errors = DiskErrors::default();
    for (disk, files) in spec.disks.iter().filter_map(|disk| Some((disk, disk.files.as_ref()?))) {
        files.errors().tell(&disk.path.display().to_string(), &errors);
    }
    sys::hold_ending_signals();
    let gone = Gone::default();
    let vm = Vm::new(spec.clone(), endpoints(args, &gone))?;
    let engine = vm.engine().clone();
    say!("ireko: engine {}: {}; Ctrl-A X ends the VM", engine.name, engine.reason);
    let raw = Raw::enter();
    restore_on_panic(&raw);
    let current = Current::new(vm.handle());
    spawn("keyboard", keyboard(current.clone(), raw.is_terminal()))?;
    spawn("signals", signals(current.clone(), raw.clone()))?;
    spawn("screen", stop_when_gone(gone.clone(), current.clone()))?;
    spawn("disk errors", hold_for_disks(errors, current.clone()))?;
    let next = || Vm::on(engine.clone(), spec.clone(), endpoints(args, &gone));
    let outcome = run_through_resets(vm, next, &current, starts_again(args));
    raw.restore();
    let files = spec.disks.iter().filter_map(|disk| Some((disk, disk.files.as_ref()?)));
    for (disk, error) in files.filter_map(|(disk, files)| Some((disk, files.release().err()?))) {
        say!("\nireko: not all of the disk {} could be written: {error}", disk.path.display());
    }
    let outcome = outcome?;
    if outcome == Outcome::Reset && args.exec.is_some() {
        say!("\nireko: {outcome} before the command had ended");
        return Ok(ExitCode::from(NO_END));
    }
    Ok(gone.error().map_or_else(|| tell(&outcome), |error| without_screen(&error)))
}

/// Says what the host cannot do with the disks, and holds the machine while a request waits for it.
fn hold_for_disks(errors: DiskErrors, current: Current) -> impl FnOnce() + Send + 'static {
    const AGAIN: Duration = Duration::from_secs(5);
    move || {
        let mut before = Standing::default();
        let mut held = false;
        loop {
            let now = errors.next(before.number);
            if now.last != before.last
                && let Some(error) = &now.last
            {
                say!("\r\nireko: {error}\r");
            }
            if held != (now.waiting > 0) {
                held = current.hold(now.waiting > 0);
            }
            if now.waiting > 0 && now.last.as_ref().is_some_and(|error| !error.full) {
                // Nobody is there who could say when.
                thread::sleep(AGAIN);
                errors.try_again();
            }
            before = now;
        }
    }
}

fn endpoints(args: &RunArgs, gone: &Gone) -> Endpoints {
    let mut endpoints = Endpoints::serial(Screen(gone.clone()));
    endpoints.firmware_debug = args.firmware_debug.then(|| Box::new(io::stderr()) as _);
    endpoints
}

/// Whether a guest that resets itself starts again.
fn starts_again(args: &RunArgs) -> bool {
    match args.reboot {
        Some(reboot) => reboot == Reboot::Reset,
        None => args.firmware.is_some(),
    }
}

fn run_through_resets(
    mut vm: Vm,
    next: impl Fn() -> Result<Vm, MachineError>,
    current: &Current,
    starts_again: bool,
) -> Result<Outcome> {
    loop {
        let outcome = vm.run();
        if !starts_again || !matches!(outcome, Outcome::Reset | Outcome::Shutdown(_)) {
            return Ok(outcome);
        }
        // One goes before the next comes: a VM never has its memory twice.
        drop(vm);
        vm = next().context("after a reset")?;
        if !current.replace(vm.handle()) {
            return Ok(Outcome::Stopped);
        }
    }
}

/// The machine that runs now, over all resets.
#[derive(Clone)]
struct Current(Arc<Mutex<(Handle, bool)>>);

impl Current {
    fn new(handle: Handle) -> Self {
        Self(Arc::new(Mutex::new((handle, false))))
    }
    fn lock(&self) -> MutexGuard<'_, (Handle, bool)> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// False: it was stopped meanwhile.
    fn replace(&self, handle: Handle) -> bool {
        let mut current = self.lock();
        current.0 = handle;
        !current.1
    }
    fn stop(&self) {
        let mut current = self.lock();
        current.1 = true;
        current.0.stop();
    }
    /// Whether it is held then.
    fn hold(&self, hold: bool) -> bool {
        let handle = self.lock().0.clone();
        match hold {
            true => handle.pause(),
            false => {
                handle.resume();
                false
            }
        }
    }
    fn input(&self, bytes: &[u8]) {
        self.lock().0.serial_input(bytes);
    }
}

fn spec(args: &RunArgs) -> Result<Spec> {
    let mut spec = match (&args.firmware, &args.kernel) {
        (Some(firmware), None) => {
            let alone = args.initrd.is_none() && args.append.is_empty();
            anyhow::ensure!(
                alone,
                "--initrd and --append are for a kernel, and firmware has none: add --kernel"
            );
            Spec::with_firmware(self::firmware(firmware, args)?)
        }
        (firmware, Some(kernel)) => {
            let mut spec = Spec::new(kernel.as_path());
            spec.firmware = firmware.as_deref().map(|name| self::firmware(name, args)).transpose()?;
            spec.initrd = args.initrd.as_deref().map(Source::from);
            spec.modules = args.module.iter().map(|module| ModuleSpec::parse(module)).collect();
            spec.protocol = args.protocol.as_deref().map(str::parse).transpose()?;
            spec.command_line = args.append.clone();
            spec
        }
        (None, None) if args.xen => {
            let (exec, memory) = (args.exec.as_deref(), args.memory_size()?);
            image::xen::spec(exec, &args.append, memory, &Progress::new())?
        }
        (None, None) => image_spec(args)?,
    };
    spec.memory = args.memory_size()?;
    spec.vcpus = args.cpus;
    spec.display = display(args);
    spec.disks = args.disk.iter().map(|disk| DiskSpec::parse(disk)).collect::<Result<_, _>>()?;
    let bus = cd_bus(&spec);
    for disc in &args.cdrom {
        spec.disks.push(DiskSpec::parse_cd(disc, bus)?);
    }
    spec.nics.extend(nic(args)?);
    spec.folders = folders(&args.share)?;
    spec.engine = args.engine()?;
    spec.nested = args.nested;
    spec.cpu = ireko_machine::cpu_model(&args.cpu)?;
    spec.test_devices = args.test_devices;
    spec.options = args.options.clone();
    spec.on_thread = ireko_jail::thread::confining();
    Ok(spec)
}

/// Each with a process that serves it.
fn folders(shares: &[String]) -> Result<Vec<FolderSpec>> {
    let home = ireko_manage::store::default_home()?;
    let start = |text: &String| {
        let share = Share::parse(text).map_err(anyhow::Error::msg)?;
        share.check(&home).map_err(anyhow::Error::msg)?;
        let folder = Linked::start(&share, &home).map_err(anyhow::Error::msg)?;
        Ok(FolderSpec { tag: share.name, folder: Arc::new(folder) })
    };
    shares.iter().map(start).collect()
}

/// The adapter that is asked for.
fn nic(args: &RunArgs) -> Result<Option<ireko_machine::NicSpec>> {
    if args.network == NetworkChoice::User {
        return run_network::user(&args.publish, &args.host_loopback).map(Some);
    }
    anyhow::ensure!(
        args.publish.is_empty() && args.host_loopback.is_empty(),
        "--publish and --host-loopback are for a guest with a network: add --network user"
    );
    Ok(None)
}

/// The oldest kernels are started by a BIOS.
fn with_firmware_it_needs(mut spec: Spec) -> Result<Spec> {
    let needed = spec.kernel.as_ref().map(Source::needs_bios).transpose()?;
    if spec.firmware.is_none() && needed == Some(true) {
        spec.firmware = Some(image::firmware::bios(false, &Progress::new())?);
    }
    Ok(spec)
}

/// Debian's firmware shows what it does.
fn display(args: &RunArgs) -> Option<ireko_machine::Display> {
    let shows = args.firmware.as_deref().is_some_and(|name| name == "bios" || name == "uefi");
    match args.display {
        Some(Display::Vga) => Some(ireko_machine::Display::Vga),
        Some(Display::Virtio) => Some(ireko_machine::Display::Virtio),
        Some(Display::None) => None,
        None => shows.then(ireko_machine::Display::default),
    }
}

/// A PC of generation 1 has its CDs at IDE.
fn cd_bus(spec: &Spec) -> DiskBus {
    if matches!(spec.firmware, Some(Firmware::Bios { .. })) { DiskBus::Ide } else { DiskBus::Sata }
}

/// Debian's SeaBIOS or OVMF, or a BIOS image that the user has. Opened, so that a reset finds the same.
fn firmware(name: &Path, args: &RunArgs) -> Result<Firmware> {
    if name == Path::new("uefi") {
        return image::firmware::uefi(args.variables.as_deref(), args.secure_boot, &Progress::new());
    }
    anyhow::ensure!(
        args.variables.is_none(),
        "only UEFI has variables: use --variables with --firmware uefi"
    );
    anyhow::ensure!(!args.secure_boot, "only UEFI knows secure boot: use --secure-boot with --firmware uefi");
    match name.to_str() {
        Some("bios") => image::firmware::bios(false, &Progress::new()),
        _ => {
            let image = Source::from(name).open("firmware")?;
            let video = display(args).map(|_| image::firmware::video(&Progress::new())).transpose()?;
            Ok(Firmware::Bios { image, video, network: None })
        }
    }
}

fn image_spec(args: &RunArgs) -> Result<Spec> {
    let parts = image::ensure(false, &Progress::new())?;
    let archive = parts.archive(&image::own_binary()?, args.nested);
    let config = AgentConfig { exec: args.exec.clone(), ..AgentConfig::default() };
    let source = |name: &str, data| Source::Bytes { name: name.to_owned(), data: Arc::new(data) };
    let mut spec = Spec::new(source("the guest image's kernel", parts.kernel));
    spec.initrd = Some(source("the guest image", archive));
    spec.command_line = config.to_command_line(&args.append);
    Ok(spec)
}

/// Says how it ended; only an orderly end is silent.
fn tell(outcome: &Outcome) -> ExitCode {
    match outcome {
        Outcome::PowerOff | Outcome::DebugExit(_) => (),
        other => say!("\nireko: {other}"),
    }
    ExitCode::from(outcome.exit_code())
}

fn without_screen(error: &OutputError) -> ExitCode {
    say!("\nireko: {error}; the VM was stopped");
    error.code()
}

/// Standard output, byte by byte as the guest writes.
struct Screen(Gone);

/// Why standard output is not written any more.
#[derive(Clone, Default)]
struct Gone(Arc<(Mutex<Option<Arc<OutputError>>>, Condvar)>);

impl Write for Screen {
    /// The guest's port works as ever; that nobody sees what it writes is not its business.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.error().is_none()
            && let Err(error) = out(bytes)
        {
            self.0.is(error);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Gone {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<OutputError>>> {
        self.0.0.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn error(&self) -> Option<Arc<OutputError>> {
        self.lock().clone()
    }
    fn is(&self, error: OutputError) {
        *self.lock() = Some(Arc::new(error));
        self.0.1.notify_all();
    }
    fn wait(&self) {
        let mut error = self.lock();
        while error.is_none() {
            error = self.0.1.wait(error).unwrap_or_else(|e| e.into_inner());
        }
    }
}

/// A machine whose screen is gone ends, as a program would.
fn stop_when_gone(gone: Gone, current: Current) -> impl FnOnce() + Send {
    move || {
        gone.wait();
        current.stop();
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .with_context(|| format!("cannot start a thread for {name}"))
}

/// Passes on what is typed. Without a terminal every byte is the guest's.
fn keyboard(current: Current, terminal: bool) -> impl FnOnce() + Send {
    move || {
        let mut keys = Keys::default();
        let mut bytes = [0; 256];
        while let Ok(count @ 1..) = io::stdin().read(&mut bytes) {
            if !terminal {
                current.input(&bytes[..count]);
                continue;
            }
            for key in bytes[..count].iter().flat_map(|&byte| keys.push(byte)) {
                match key {
                    Key::Byte(byte) => current.input(&[byte]),
                    Key::End => current.stop(),
                }
            }
        }
    }
}

/// The first SIGINT, SIGTERM or SIGHUP stops the VM, the second the process.
fn signals(current: Current, raw: Raw) -> impl FnOnce() + Send {
    move || {
        sys::next_ending_signal();
        current.stop();
        let signal = sys::next_ending_signal();
        raw.restore();
        std::process::exit(128 + signal);
    }
}

fn restore_on_panic(raw: &Raw) {
    let raw = raw.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        raw.restore();
        before(panic);
    }));
}
