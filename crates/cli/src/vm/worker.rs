//! `ireko worker ID`: the process that runs one VM.

use super::ends;
use crate::image;
use crate::orders::Orders;
use crate::progress::Progress;
use crate::say;
use crate::sys;
use anyhow::Result;
use ireko_machine::Source;
use ireko_manage::Guid;
use ireko_manage::store::{Config, Store, default_home};
use ireko_manage::worker::machine::{Image, RealMachines};
use ireko_manage::worker::{self, Network, limits, protocol};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

pub fn worker(id: Guid) -> Result<ExitCode> {
    // A session of its own: no terminal's signal reaches it. It fails for who leads a group already; that is enough.
    let _ = ireko_manage::worker::own_session();
    let store = Store::open(default_home()?)?;
    // Who cannot be read is told of below.
    let limits = store.load(id).ok().map(|config| limits::enter(id, &config.memory));
    // Before there is a second thread, so that all of them hold the signals.
    sys::hold_ending_signals();
    ends::heed_signals(store.clone(), id);
    let machines = RealMachines {
        image: Box::new(|config| built_in(config).map_err(|e| format!("{e:#}"))),
        network: Some(Arc::new(Network::new(store.clone()))),
        limits: limits.map(Arc::new),
    };
    worker::run(&store, id, &machines, |started| {
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

/// The image of Debian's packages, with a shell.
fn built_in(config: &Config) -> Result<Image> {
    let parts = image::ensure(false, &Progress::new())?;
    let nested = config.processor.expose_virtualization_extensions;
    let archive = parts.archive(&image::own_binary()?, nested);
    let source = |name: &str, data| Source::Bytes { name: name.to_owned(), data: Arc::new(data) };
    Ok(Image {
        kernel: source("the guest image's kernel", parts.kernel),
        initrd: source("the guest image", archive),
        command_line: Orders::default().to_command_line(""),
    })
}
