//! What goes over a switch, into a file.

use super::console::find;
use super::define;
use crate::{say, sys};
use anyhow::{Context, Result, bail};
use ireko_manage::Host;
use ireko_manage::capture::{Capture, LONGEST_FRAME, Writer};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How long Ctrl-C may go unheard, and what was captured unwritten.
const PATIENCE: Duration = Duration::from_millis(200);

pub fn run(host: &Host, asked: &define::Capture) -> Result<ExitCode> {
    let ports = ireko_manage::capture::ports(host, &asked.switch).map_err(anyhow::Error::msg)?;
    let labels = asked.port.as_deref().map(|name| labels(host, name)).transpose()?;
    let mut capture = Capture::open(&ports, labels.as_deref())
        .with_context(|| format!("cannot listen on the switch '{}'", asked.switch))?;
    let names = names(host);
    let to: Box<dyn Write> = match asked.output == Path::new("-") {
        true => Box::new(stdout()),
        false => {
            let shown = asked.output.display();
            Box::new(File::create(&asked.output).with_context(|| format!("cannot write {shown}"))?)
        }
    };
    let mut writer = Writer::begin(BufWriter::new(to), &asked.switch).context("cannot write the capture")?;
    let ended = ended();
    let end = asked.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut room, mut count, mut flushed) = ([0; LONGEST_FRAME + 1], 0u64, Instant::now());
    say!("ireko: capturing on '{}'; Ctrl-C ends it", asked.switch);
    while !ended.load(Ordering::Relaxed)
        && end.is_none_or(|end| Instant::now() < end)
        && asked.count.is_none_or(|most| count < most)
    {
        if let Some(heard) = capture.next(&mut room, PATIENCE) {
            let from = names.get(heard.from).map_or(heard.from, String::as_str);
            writer
                .packet(SystemTime::now(), heard.bytes, &format!("from {from}"))
                .context("cannot write the capture")?;
            count += 1;
        } else if !capture.stands() {
            bail!("the switch '{}' is gone; {count} frames were written", asked.switch);
        }
        if flushed.elapsed() >= PATIENCE {
            writer.flush().context("cannot write the capture")?;
            flushed = Instant::now();
        }
    }
    writer.flush().context("cannot write the capture")?;
    say!("ireko: {count} frames captured");
    Ok(ExitCode::SUCCESS)
}

/// Becomes true when somebody wants an end.
fn ended() -> Arc<AtomicBool> {
    sys::hold_ending_signals();
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    std::thread::spawn(move || {
        sys::next_ending_signal();
        told.store(true, Ordering::Relaxed);
    });
    ended
}

/// The labels of a machine's ports.
fn labels(host: &Host, name: &str) -> Result<Vec<String>> {
    let config = find(host, name)?;
    Ok(config.adapters.iter().map(|own| own.id.to_string()).collect())
}

/// Whose ports have which labels.
fn names(host: &Host) -> HashMap<String, String> {
    let configs = host.configs().unwrap_or_default();
    let one = |config: &ireko_manage::store::Config| {
        let name = config.name.clone();
        let ids = config.adapters.iter().map(|own| own.id.to_string().replace('-', ""));
        ids.map(move |id| (id, name.clone())).collect::<Vec<_>>()
    };
    let fixed = [("host", "this host"), ("uplink", "outside"), ("router", "the router")];
    let fixed = fixed.into_iter().map(|(label, name)| (label.to_owned(), name.to_owned()));
    configs.iter().flat_map(one).chain(fixed).collect()
}
