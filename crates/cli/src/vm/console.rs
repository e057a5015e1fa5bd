//! The console of a running VM on this terminal.

use crate::terminal::{Key, Keys, Raw};
use anyhow::{Context, Result, bail};
use ireko_manage::Host;
use ireko_manage::select;
use ireko_manage::store::Config;
use ireko_manage::worker::Client;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Shows what was kept and what comes, and sends what is typed, until the VM ends or Ctrl-A X.
pub fn attach(host: &Host, name: &str) -> Result<ExitCode> {
    let config = find(host, name)?;
    let client = Client::connect(&host.store.directory(config.id))
        .with_context(|| format!("'{}' is not running; start it first", config.name))?;
    let (mut output, input) = client.console().context("the worker does not give its console")?;
    let raw = Raw::enter();
    if raw.is_terminal() {
        eprint!("ireko: console of '{}'; Ctrl-A X detaches\r\n", config.name);
    }
    let keyboard = raw.clone();
    std::thread::Builder::new().name("keyboard".into()).spawn(move || keys(&keyboard, input))?;
    let shown = show(&mut output);
    raw.restore();
    shown.context("the connection to the worker broke")?;
    eprintln!("\nireko: '{}' has ended", config.name);
    Ok(ExitCode::SUCCESS)
}

fn find(host: &Host, name: &str) -> Result<Config> {
    let all = host.configs()?;
    match select::one_by_name(&all, name)?.as_slice() {
        [one] => Ok((*one).clone()),
        found => bail!("\"{name}\" means {} virtual machines; a console is of one", found.len()),
    }
}

fn show(output: &mut impl Read) -> io::Result<()> {
    let mut bytes = [0; 8192];
    loop {
        let count = output.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&bytes[..count])?;
        stdout.flush()?;
    }
}

/// Without a terminal every byte is the guest's. Ends this process when the person wants to go.
fn keys(raw: &Raw, mut input: UnixStream) {
    let mut keys = Keys::default();
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = io::stdin().read(&mut bytes) {
        if !raw.is_terminal() {
            if input.write_all(&bytes[..count]).is_err() {
                return;
            }
            continue;
        }
        for key in bytes[..count].iter().flat_map(|&byte| keys.push(byte)) {
            let sent = match key {
                Key::Byte(byte) => input.write_all(&[byte]),
                Key::End => {
                    raw.restore();
                    eprintln!("\nireko: detached");
                    std::process::exit(0);
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
}
