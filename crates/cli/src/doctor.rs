//! `ireko doctor`: what this host can do, by trying, and what to do about the rest.

use crate::out;
use crate::output::out;
use crate::{facts, image, jail, size};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Args)]
pub struct DoctorArgs {
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// One thing that was tried.
#[derive(Serialize)]
struct Finding {
    name: String,
    ok: bool,
    /// What was found, and what to do when it is not good.
    what: String,
    /// Nothing works without it.
    needed: bool,
}

#[derive(Serialize)]
struct Engine {
    engine: String,
    usable: bool,
    nested: bool,
    what: String,
}

#[derive(Serialize)]
struct Document {
    ok: bool,
    host: facts::Facts,
    engines: Vec<Engine>,
    findings: Vec<Finding>,
}

pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let document = examine();
    if args.json {
        out!("{}", serde_json::to_string_pretty(&document)?)?;
    } else {
        out(in_words(&document).as_bytes())?;
    }
    Ok(if document.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine() -> Document {
    let host = facts::read();
    let processor = processor(&host);
    // The engines' own probes run guest code, which the wrong processor could not.
    let engines = if processor.ok { engines() } else { Vec::new() };
    let mut findings = vec![processor, nesting(&engines), memory(), limits(), image_state(), packages()];
    findings.extend(walls());
    let ok = findings.iter().all(|finding| finding.ok || !finding.needed);
    Document { ok, host, engines, findings }
}

fn processor(host: &facts::Facts) -> Finding {
    let result = facts::require_v3();
    let what = match &result {
        Ok(()) => format!("{}: x86-64-v3 and all that Ireko needs", host.cpuid.brand),
        Err(error) => error.to_string(),
    };
    Finding { name: "processor".into(), ok: result.is_ok(), what, needed: true }
}

fn engines() -> Vec<Engine> {
    let found = ireko_machine::engine::survey();
    found
        .into_iter()
        .map(|s| Engine { engine: s.engine.to_string(), usable: s.usable, nested: s.nested, what: s.what })
        .collect()
}

fn nesting(engines: &[Engine]) -> Finding {
    let able: Vec<&str> =
        engines.iter().filter(|e| e.usable && e.nested).map(|e| e.engine.as_str()).collect();
    let what = if able.is_empty() {
        "no engine can give guests virtualization extensions".to_owned()
    } else {
        format!("guests can have virtualization extensions with the engine {}", able.join(" or "))
    };
    Finding { name: "nesting".into(), ok: !able.is_empty(), what, needed: true }
}

fn memory() -> Finding {
    const WANTED: u64 = 2 << 30;
    let free = facts::memory("MemAvailable");
    let ok = free >= WANTED;
    let advice = if ok { "" } else { ": give nest less than its usual 2G with --memory" };
    Finding { name: "memory".into(), ok, what: format!("{} free{advice}", size::show(free)), needed: false }
}

fn limits() -> Finding {
    let (ok, what) = ireko_manage::worker::limits::survey();
    Finding { name: "limits".into(), ok, what, needed: false }
}

fn image_state() -> Finding {
    let (ok, what) = match image::state() {
        Ok(state) => match state.image {
            Some(image) => (true, format!("{} is made", image.display())),
            None => {
                (true, format!("not made yet; nest and run --image make it in {}", state.cache.display()))
            }
        },
        Err(error) => (false, format!("{error:#}")),
    };
    Finding { name: "guest image".into(), ok, what, needed: false }
}

fn packages() -> Finding {
    let (ok, what) = match image::packages_known() {
        Ok(kernel) => (true, format!("apt knows {kernel}")),
        Err(error) => (false, format!("{error:#}")),
    };
    Finding { name: "packages".into(), ok, what, needed: false }
}

/// What stands between a guest and this host besides the engine.
fn walls() -> Vec<Finding> {
    let found = jail::look();
    let finding = |name: &str, ok, what: &str| Finding {
        name: format!("jail: {name}"),
        ok,
        what: what.to_owned(),
        needed: false,
    };
    match found {
        Ok(found) => {
            found.layers.0.iter().map(|layer| finding(&layer.name, layer.in_force, &layer.what)).collect()
        }
        Err(error) => vec![finding("all", false, &format!("workers cannot be confined: {error:#}"))],
    }
}

fn in_words(document: &Document) -> String {
    let mut text = String::new();
    let mut line = |ok: bool, name: &str, what: &str| {
        text += &format!("{} {name:26} {what}\n", if ok { "ok     " } else { "missing" });
    };
    for finding in &document.findings {
        line(finding.ok, &finding.name, &finding.what);
        if finding.name == "processor" {
            for engine in &document.engines {
                let nested = if engine.nested { " (with nesting)" } else { "" };
                line(
                    engine.usable,
                    &format!("engine {}", engine.engine),
                    &format!("{}{nested}", engine.what),
                );
            }
        }
    }
    text
}
