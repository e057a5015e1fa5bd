//! `ireko jail HOME`: goes behind the walls of a worker, with nothing to run, and says what stands and what could still be
//! done inside. For `doctor` and for tests.

use crate::out;
use anyhow::{Context, Result, bail};
use ireko_jail::attempt::ATTEMPTS;
use ireko_jail::{Kind, Layers};
use ireko_manage::Guid;
use ireko_manage::store::{Config, Store, run};
use ireko_manage::worker::jail::Opened;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// What was found.
#[derive(Default, Serialize, Deserialize)]
pub struct Found {
    pub layers: Layers,
    /// What the process can do that makes machines, of all that an intruder would try.
    pub process_can: Vec<String>,
    /// What a thread can do that runs guest code.
    pub vcpu_can: Vec<String>,
    /// What a thread can do that carries a guest's frames.
    pub network_can: Vec<String>,
    /// What a thread can do that answers on the control socket.
    pub control_can: Vec<String>,
}

pub fn run(home: &Path) -> Result<ExitCode> {
    let mut layers = Layers::default();
    ireko_jail::close_from(3);
    layers.stands("own descriptors only", "all others were closed at the start");
    let store = Store::open(home)?;
    let config = Config::new(Guid::random()?, "nothing", 0);
    store.create(&config)?;
    run::make_directory(&store.directory(config.id))?;
    let place = Opened::behind_walls(&store, &config, layers)?;
    let process_can = possible();
    let found = Found {
        layers: place.layers,
        process_can,
        vcpu_can: possible_for(Kind::Vcpu)?,
        network_can: possible_for(Kind::Network)?,
        control_can: possible_for(Kind::Control)?,
    };
    out!("{}", serde_json::to_string(&found)?)?;
    Ok(ExitCode::SUCCESS)
}

fn possible_for(kind: Kind) -> Result<Vec<String>> {
    let inside = std::thread::spawn(move || ireko_jail::thread::confine(kind).map(|()| possible()));
    Ok(inside.join().map_err(|_| anyhow::anyhow!("the confined thread panicked"))??)
}

fn possible() -> Vec<String> {
    ATTEMPTS.iter().filter(|one| one.succeeds()).map(|one| one.name.to_owned()).collect()
}

/// What a worker has here: asked of a process like one.
pub fn look() -> Result<Found> {
    let home = std::env::temp_dir().join(format!("ireko-jail-{}", std::process::id()));
    let asked = ask(&home);
    let _ = std::fs::remove_dir_all(&home);
    asked
}

fn ask(home: &Path) -> Result<Found> {
    let mut command = Command::new("/proc/self/exe");
    command.env_clear().arg("jail").arg(home).stdin(Stdio::null());
    let output = command.output().context("no process for it can be started")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("it said something else")
}
