//! `ireko worker ID`: the process that runs one VM.

use crate::image;
use crate::orders::Orders;
use crate::progress::Progress;
use anyhow::Result;
use ireko_machine::Source;
use ireko_manage::Guid;
use ireko_manage::store::{Config, Store, default_home};
use ireko_manage::worker::machine::{Image, RealMachines};
use ireko_manage::worker::{self, Network, protocol};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

pub fn worker(id: Guid) -> Result<ExitCode> {
    // A session of its own: no terminal's signal reaches it. It fails for who leads a group already; that is enough.
    let _ = ireko_manage::worker::own_session();
    let store = Store::open(default_home()?)?;
    let machines = RealMachines {
        image: Box::new(|config| built_in(config).map_err(|e| format!("{e:#}"))),
        network: Some(Arc::new(Network::new(store.clone()))),
    };
    worker::run(&store, id, &machines, |started| {
        if let Err(error) = protocol::write_line(&mut io::stdout(), &started) {
            eprintln!("nobody hears that it {started:?}: {error}");
        }
    });
    Ok(ExitCode::SUCCESS)
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
