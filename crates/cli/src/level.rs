//! Starts the VM that is the next level, on the host and inside a level alike, and listens to it.

use crate::image::Parts;
use crate::orders::Orders;
use crate::report::{Event, Lines};
use anyhow::{Result, anyhow};
use ireko_machine::{DiskSpec, Endpoints, EngineChoice, Handle, Outcome, Smbios, Source, Spec, Vm};
use ireko_vmcore::CpuModel;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The next level, as its parent wants it.
pub struct Plan {
    pub orders: Orders,
    pub memory: u64,
    pub engine: EngineChoice,
    pub cpu: Option<CpuModel>,
    pub append: String,
    pub options: Vec<String>,
    pub disks: Vec<DiskSpec>,
}

/// What comes from a running level.
pub enum Heard {
    Event(Event),
    Ended(Outcome),
}

/// A level that runs on a thread of its own.
pub struct Running {
    pub handle: Handle,
    pub heard: Receiver<Heard>,
}

impl Running {
    /// Waits for a VM that was told to stop, so that its engine can write its report.
    pub fn wait(&self, most: Duration) {
        let deadline = Instant::now() + most;
        while let Ok(heard) = self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if matches!(heard, Heard::Ended(_)) {
                return;
            }
        }
    }
}

/// Boots the level. The first event is its `Start`.
pub fn start(plan: &Plan, parts: &Parts, init: &[u8], parent_boot_id: &str) -> Result<Running> {
    let orders = &plan.orders;
    let (sender, heard) = channel();
    let endpoints = Endpoints {
        serial: Box::new(Listener::new(orders.level, &sender)),
        console: Some(Box::new(Listener::new(orders.level, &sender))),
    };
    let mut vm = Vm::new(spec(plan, parts, init), endpoints)?;
    let engine = vm.engine();
    let start = Event::Start {
        level: orders.level,
        engine: engine.name.to_owned(),
        reason: engine.reason.clone(),
        memory_bytes: plan.memory,
        parent_boot_id: parent_boot_id.to_owned(),
    };
    let _ = sender.send(Heard::Event(start));
    let handle = vm.handle();
    thread::Builder::new()
        .name(format!("level {}", orders.level))
        .spawn(move || {
            let outcome = vm.run();
            let _ = sender.send(Heard::Ended(outcome));
        })
        .map_err(|error| anyhow!("cannot start a thread for level {}: {error}", plan.orders.level))?;
    Ok(Running { handle, heard })
}

fn spec(plan: &Plan, parts: &Parts, init: &[u8]) -> Spec {
    let orders = &plan.orders;
    let deeper = orders.level < orders.depth;
    let source = |name: &str, data: Vec<u8>| Source::Bytes { name: name.to_owned(), data: Arc::new(data) };
    let mut spec = Spec::new(source("the guest image's kernel", parts.kernel.clone()));
    spec.initrd = Some(source("the guest image", parts.archive(init, deeper)));
    spec.command_line = orders.to_command_line(&plan.append);
    spec.memory = plan.memory;
    spec.engine = plan.engine;
    spec.cpu = plan.cpu.clone();
    spec.nested = deeper;
    spec.virtio_console = true;
    spec.smbios = Smbios::level(orders.level);
    spec.options = plan.options.clone();
    spec.disks = plan.disks.clone();
    spec
}

/// Turns a console's bytes into events: those that the guest sends, and its other lines.
struct Listener {
    level: u32,
    lines: Lines,
    sender: Sender<Heard>,
}

impl Listener {
    fn new(level: u32, sender: &Sender<Heard>) -> Self {
        Self { level, lines: Lines::default(), sender: sender.clone() }
    }

    fn hear(&self, line: String) {
        let event = Event::from_line(&line).unwrap_or(Event::Console { level: self.level, line });
        // Nobody listens any more once the answer is there.
        let _ = self.sender.send(Heard::Event(event));
    }
}

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in self.lines.push(bytes) {
            self.hear(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A last line without an end is worth hearing: it may say why the guest died.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(line) = self.lines.rest() {
            self.hear(line);
        }
    }
}
