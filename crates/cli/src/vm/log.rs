//! What a VM has printed on its console, from its log, and what it prints.

use super::console::find;
use super::define::Log;
use crate::output::out;
use anyhow::{Context, Result};
use ireko_manage::Host;
use ireko_manage::store::WorkerLock;
use ireko_manage::worker::console_log::{Reader, plain, tail};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks at the log.
const LOOK: Duration = Duration::from_millis(200);

pub fn show(host: &Host, log: &Log) -> Result<ExitCode> {
    let config = find(host, &log.name)?;
    let directory = host.store.directory(config.id);
    let unreadable = || format!("the console's log of '{}' cannot be read", config.name);
    let mut reader = Reader::new(&directory);
    let bytes = reader.read().with_context(unreadable)?;
    match log.tail {
        Some(lines) => out(tail(&plain(&bytes), lines).as_bytes())?,
        None => print(&bytes)?,
    }
    // Looked at first: what was printed before the end is read after it.
    let mut over = !log.follow;
    while !over {
        over = !WorkerLock::held(&directory);
        print(&reader.read().with_context(unreadable)?)?;
        if !over {
            std::thread::sleep(LOOK);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A terminal gets text; whatever else is there gets what was printed, byte by byte.
fn print(bytes: &[u8]) -> Result<()> {
    match std::io::stdout().is_terminal() {
        true => Ok(out(plain(bytes).as_bytes())?),
        false => Ok(out(bytes)?),
    }
}
