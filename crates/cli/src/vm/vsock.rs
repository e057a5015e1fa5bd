//! A port of a running VM on standard input and output.

use super::console::find;
use crate::output::out;
use anyhow::{Context, Result, anyhow, bail};
use ireko_manage::Host;
use ireko_manage::state::State;
use ireko_manage::store::Config;
use ireko_manage::worker::Client;
use ireko_manage::worker::vsock::reach;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is wanted.
pub struct Port {
    pub name: String,
    pub port: u32,
    /// Seconds for somebody to listen there.
    pub wait: u64,
}

/// Between two looks at who listens.
const AGAIN: Duration = Duration::from_millis(250);

/// Carries bytes both ways, until the guest ends it.
pub fn join(host: &Host, wanted: &Port) -> Result<ExitCode> {
    let config = find(host, &wanted.name)?;
    let mut stream = connected(host, &config, wanted.port, Duration::from_secs(wanted.wait))?;
    let (mut to, mut input) = (stream.try_clone()?, File::from(io::stdin().as_fd().try_clone_to_owned()?));
    std::thread::spawn(move || {
        let _ = carry(&mut input, |bytes| to.write_all(bytes));
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut failed = None;
    let carried = carry(&mut stream, |bytes| {
        out(bytes).map_err(|error| {
            failed = Some(error);
            ErrorKind::BrokenPipe.into()
        })
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    carried.context("the connection to the worker broke")?;
    Ok(ExitCode::SUCCESS)
}

fn carry(from: &mut impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => to(&bytes[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Connects when somebody listens, which may take so long.
fn connected(host: &Host, config: &Config, port: u32, patience: Duration) -> Result<UnixStream> {
    let (name, until) = (&config.name, Instant::now() + patience);
    loop {
        match reach(&host.store.directory(config.id), port) {
            Ok(Some(stream)) => return Ok(stream),
            Ok(None) if Instant::now() < until => std::thread::sleep(AGAIN),
            Ok(None) => {
                runs(host, config)?;
                bail!(
                    "nobody in '{name}' listens at port {port} of its socket device, or its system is not that far yet"
                )
            }
            Err(error) => return Err(not_there(name, error)),
        }
    }
}

fn not_there(name: &str, error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            anyhow!("'{name}' is not running; start it first")
        }
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            anyhow!("the worker of '{name}' does not answer; look again, or turn it off")
        }
        _ => anyhow!(error).context(format!("the ports of '{name}' cannot be reached")),
    }
}

/// Whether it runs, or why not.
pub fn runs(host: &Host, config: &Config) -> Result<()> {
    let connected = Client::connect(&host.store.directory(config.id));
    let status = connected.and_then(|mut client| client.status());
    match status.map_err(|error| not_there(&config.name, error))?.state {
        State::Paused | State::PausedCritical => bail!("'{}' is held; resume it first", config.name),
        _ => Ok(()),
    }
}
