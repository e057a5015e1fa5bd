//! `ireko worker ID`: the process that runs one VM.

use crate::agent_config::AgentConfig;
use crate::image;
use crate::progress::Progress;
use crate::say;
use crate::sys;
use anyhow::Result;
use ireko_jail::Layers;
use ireko_machine::{Firmware, Source};
use ireko_manage::Guid;
use ireko_manage::store::switch::DEFAULT;
use ireko_manage::store::{Config, Store, default_home};
use ireko_manage::worker::machine::{Image, ImageReader, RealMachines};
use ireko_manage::worker::{self, Confinement, Network, limits, protocol};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

pub fn worker(id: Guid) -> Result<ExitCode> {
    let mut layers = Layers::default();
    // Before anything of our own is open: whatever else is there was left open by whoever started us.
    ireko_jail::close_from(FIRST);
    layers.stands("own descriptors only", "all others were closed at the start");
    // A session of its own: no terminal's signal reaches it. It fails for who leads a group already; that is enough.
    let _ = ireko_manage::worker::own_session();
    let store = Store::open(default_home()?)?;
    // Who cannot be read is told of below.
    let limits =
        store.load(id).ok().map(|config| limits::enter(id, &config.memory, config.processor.relative_weight));
    // Before there is a second thread, so that all of them hold the signals.
    sys::hold_ending_signals();
    let directory = store.directory(id);
    let machines = RealMachines::new(
        Box::new(|config| built_in(config).map_err(|e| format!("{e:#}"))),
        Box::new(move |config| firmware(config, &directory).map_err(|e| format!("{e:#}"))),
        Some(Arc::new(Network::new(store.clone()))),
        limits.map(Arc::new),
    );
    let confinement = Confinement { layers, next_signal: sys::next_ending_signal };
    worker::run_confined(&store, id, &machines, confinement, |started| {
        if let Err(error) = protocol::write_line(&mut io::stdout(), &started) {
            say!("nobody hears that it {started:?}: {error}");
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Behind standard input, output and error.
const FIRST: u32 = 3;

/// `ireko mount ID`: the process behind a disk that is a file of this host.
pub fn mount(id: Guid) -> Result<ExitCode> {
    ireko_jail::close_from(FIRST);
    let _ = ireko_manage::worker::own_session();
    let store = Store::open(default_home()?)?;
    ireko_manage::mount::run(&store, id, |started| {
        if let Err(error) = protocol::write_line(&mut io::stdout(), &started) {
            say!("nobody hears that it {started:?}: {error}");
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// `ireko host-side ID`: the process of a switch's adapter of this host.
pub fn host_side(id: Guid) -> Result<ExitCode> {
    let _ = ireko_manage::worker::own_session();
    let store = Store::open(default_home()?)?;
    worker::host_side::run(&store, id, |started| {
        if let Err(error) = protocol::write_line(&mut io::stdout(), &started) {
            say!("nobody hears that it {started:?}: {error}");
        }
    });
    // Its other thread waits for the host's frames.
    std::process::exit(0)
}

/// `ireko router ID`: the process that looks after a switch's router.
pub fn router(id: Guid) -> Result<ExitCode> {
    ireko_jail::close_from(FIRST);
    let _ = ireko_manage::worker::own_session();
    let store = Store::open(default_home()?)?;
    worker::router::run(&store, id, |started| {
        if let Err(error) = protocol::write_line(&mut io::stdout(), &started) {
            say!("nobody hears that it {started:?}: {error}");
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// `ireko router-sandboxed ID`: the router itself, behind walls.
pub fn router_sandboxed(id: Guid) -> Result<ExitCode> {
    let mut layers = Layers::default();
    ireko_jail::close_from(FIRST);
    layers.stands("own descriptors only", "all others were closed at the start");
    let store = Store::open(default_home()?)?;
    worker::router::sandboxed::run(&store, id, layers);
    Ok(ExitCode::SUCCESS)
}

/// `ireko folder ACCESS FOLDER`: what serves a folder to a guest, behind walls.
pub fn folder(path: &Path, read_only: bool) -> Result<ExitCode> {
    let mut layers = Layers::default();
    ireko_jail::close_from(FIRST);
    layers.stands("own descriptors only", "all others were closed at the start");
    ireko_manage::folder::run(path, read_only, layers);
    Ok(ExitCode::SUCCESS)
}

/// The firmware of its generation. What UEFI keeps is in the VM's directory.
fn firmware(config: &Config, directory: &Path) -> Result<Firmware> {
    match config.generation {
        1 => image::firmware::bios(starts_from_network(config), &Progress::new()),
        _ => {
            let secure = config.boot.secure_boot;
            let name = if secure { "variables-secure.fd" } else { "variables.fd" };
            image::firmware::uefi(Some(&directory.join(name)), secure, &Progress::new())
        }
    }
}

/// An adapter without a switch has nothing to start from; nor is there anything to start at the router of the Default Switch.
pub fn starts_from_network(config: &Config) -> bool {
    config.adapters.iter().any(|adapter| adapter.switch.is_some_and(|switch| switch != DEFAULT))
}

/// The image of Debian's packages, with a shell.
fn built_in(config: &Config) -> Result<Box<ImageReader>> {
    let image = image::open(&Progress::new())?;
    let nested = config.processor.expose_virtualization_extensions;
    let read = move || -> Result<Image> {
        let parts = image.parts()?;
        let archive = parts.archive(&image.init()?, nested);
        let source = |name: &str, data| Source::Bytes { name: name.to_owned(), data: Arc::new(data) };
        Ok(Image {
            kernel: source("the guest image's kernel", parts.kernel),
            initrd: source("the guest image", archive),
            command_line: AgentConfig::default().to_command_line(""),
        })
    };
    Ok(Box::new(move || read().map_err(|e| format!("{e:#}"))))
}
