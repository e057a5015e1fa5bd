//! The console of a running VM on this terminal.

use crate::output::out;
use crate::say;
use crate::sys;
use crate::terminal::{Key, Keys, Raw};
use anyhow::{Context, Result, anyhow, bail};
use ireko_manage::Host;
use ireko_manage::select;
use ireko_manage::store::Config;
use ireko_manage::worker::Client;
use ireko_manage::worker::client::is_silence;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// How a viewer leaves.
#[derive(Debug, PartialEq)]
enum Left {
    Ended,
    Detached,
}

/// Shows what was kept and what comes, and sends what is typed, until the VM ends or Ctrl-A X.
pub fn attach(host: &Host, name: &str) -> Result<ExitCode> {
    let config = find(host, name)?;
    let client =
        Client::connect(&host.store.directory(config.id)).map_err(|error| not_there(&config.name, error))?;
    let (output, input) = client.console().map_err(|error| match is_silence(&error) {
        true => anyhow!(ireko_manage::host::silent(&config)),
        false => anyhow!(error).context("the worker does not give its console"),
    })?;
    let raw = Raw::enter();
    if raw.is_terminal() {
        crate::output::say(format_args!("ireko: console of '{}'; Ctrl-A X detaches", config.name), "\r\n");
    }
    // Without std's buffer, which could hold keys that nobody is told of.
    let keyboard = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // What came together with the answer, then what comes.
    out(output.buffer())?;
    let left = view(output.into_inner(), input, keyboard, raw.is_terminal());
    raw.restore();
    match left? {
        Left::Ended => say!("\nireko: '{}' has ended", config.name),
        Left::Detached => say!("\nireko: detached"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where nobody listens, the system's words for that say nothing more.
fn not_there(name: &str, error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            anyhow!("'{name}' is not running; start it first")
        }
        _ => anyhow!(error).context(format!("the console of '{name}' cannot be reached")),
    }
}

pub fn find(host: &Host, name: &str) -> Result<Config> {
    let all = host.configs()?;
    match select::one_by_name(&all, name)?.as_slice() {
        [one] => Ok((*one).clone()),
        found => bail!("\"{name}\" means {} virtual machines; a console is of one", found.len()),
    }
}

/// Without a terminal every byte is the guest's, and the end of the keys does not end the view.
fn view(mut output: UnixStream, mut input: UnixStream, mut keyboard: File, terminal: bool) -> Result<Left> {
    let (mut keys, mut typing) = (Keys::default(), true);
    let mut bytes = [0; 8192];
    loop {
        let keyboard_fd = if typing { keyboard.as_raw_fd() } else { -1 };
        let [has_output, has_keys] =
            sys::wait_readable([output.as_raw_fd(), keyboard_fd]).context("cannot wait for the worker")?;
        if has_output {
            let count = output.read(&mut bytes).context("the connection to the worker broke")?;
            if count == 0 {
                return Ok(Left::Ended);
            }
            out(&bytes[..count])?;
        }
        if has_keys {
            // What is typed while the VM ends is lost.
            let count = keyboard.read(&mut bytes).unwrap_or(0);
            typing = count > 0;
            if send(&mut input, &mut keys, &bytes[..count], terminal) == Some(Left::Detached) {
                return Ok(Left::Detached);
            }
        }
    }
}

fn send(input: &mut UnixStream, keys: &mut Keys, typed: &[u8], terminal: bool) -> Option<Left> {
    if !terminal {
        let _ = input.write_all(typed);
        return None;
    }
    for key in typed.iter().flat_map(|&byte| keys.push(byte)) {
        match key {
            Key::Byte(byte) => drop(input.write_all(&[byte])),
            Key::End => return Some(Left::Detached),
        }
    }
    None
}
