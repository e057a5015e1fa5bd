//! What a pause holds beside the processors: time, devices, and what comes from outside. Who is paused can be saved and restored.

use crate::MachineError;
use crate::device_threads::DeviceThreads;
use crate::platform::Platform;
use crate::run_state::RunState;
use crate::saved::{self, SavedMachine};
use ireko_devices::{Irqs, PciBus, Rtc, SystemBus};
use ireko_vmcore::{Clock, Memory, Partition};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

/// Input that waits for the end of a pause; what comes beyond this is lost.
const MOST_WAITING: usize = 1 << 20;

/// Cheap to clone; keeps no device alive.
#[derive(Clone)]
pub struct Pause {
    engine: &'static str,
    clock: Clock,
    threads: DeviceThreads,
    rtc: Rtc,
    parts: Weak<Parts>,
    state: Arc<Mutex<Option<Paused>>>,
}

/// What is saved of a machine beside its processors.
pub struct Parts {
    pub bus: Arc<SystemBus>,
    pub pci: Arc<PciBus>,
    /// Unless the engine has its own interrupt controllers.
    pub irqs: Option<Arc<Irqs>>,
    pub memory: Arc<Memory>,
    pub partition: Arc<dyn Partition>,
}

struct Paused {
    /// The host's time, in nanoseconds since 1970.
    stopped_at: u64,
    /// No device is in the middle of a request.
    finished: bool,
    waiting: Vec<Box<dyn FnOnce() + Send>>,
    /// Bytes of what waits.
    size: usize,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

impl Pause {
    pub fn new(engine: &'static str, clock: Clock, platform: &Platform) -> Self {
        let (threads, rtc) = (platform.threads.clone(), platform.rtc.clone());
        Self { engine, clock, threads, rtc, parts: Arc::downgrade(&platform.parts), state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Paused>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Stops time, then the devices, of a machine whose processors rest.
    pub fn enter(&self) {
        let mut state = self.lock();
        if state.is_none() {
            self.clock.stop();
            self.parts.upgrade().iter().for_each(|parts| parts.partition.rest());
            let (stopped_at, finished) = (now(), self.threads.pause());
            *state = Some(Paused { stopped_at, finished, waiting: Vec::new(), size: 0 });
        }
    }

    /// Lets them go on, before the processors do.
    pub fn leave(&self) {
        // What comes meanwhile comes after what waits.
        let mut state = self.lock();
        let Some(paused) = state.take() else { return };
        self.rtc.pass(now().saturating_sub(paused.stopped_at));
        self.parts.upgrade().iter().for_each(|parts| parts.partition.go_on());
        self.clock.go();
        self.threads.resume();
        paused.waiting.into_iter().for_each(|input| input());
    }

    /// As [`Pause::leave`], unless somebody wants a pause.
    pub fn leave_unless_wanted(&self, run_state: &RunState) {
        if !run_state.paused() {
            self.leave();
        }
    }

    /// What comes from outside happens now, or (`None`) after the pause.
    pub fn input<T>(&self, size: usize, input: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match &mut *self.lock() {
            None => return Some(input()),
            Some(paused) if paused.size + size <= MOST_WAITING => {
                paused.size += size;
                paused.waiting.push(Box::new(move || drop(input())));
            }
            Some(_) => {}
        }
        None
    }

    /// What somebody changes at a machine, who is told what came of it: not while it is paused.
    pub fn change<T>(&self, change: impl FnOnce() -> Result<T, MachineError>) -> Result<T, MachineError> {
        let state = self.lock();
        if state.is_some() { Err(MachineError::Paused) } else { change() }
    }

    /// What is to be saved of a machine that is paused; `vcpus` gives its processors.
    pub fn save(
        &self,
        vcpus: impl FnOnce(&mut SavedMachine) -> Result<(), MachineError>,
    ) -> Result<SavedMachine, MachineError> {
        let state = self.lock();
        let refused = |why: &str| MachineError::Save(why.into());
        let paused = state.as_ref().ok_or_else(|| refused("it is not paused"))?;
        let parts = self.parts.upgrade().ok_or_else(|| refused("it has ended"))?;
        if !paused.finished {
            return Err(refused(
                "a device waits for the host in the middle of a request; resume it and try again",
            ));
        }
        let mut saved = SavedMachine::of(self.engine, &parts, self.clock.now(), paused.stopped_at)?;
        // They have taken in what devices told them: last.
        vcpus(&mut saved)?;
        Ok(saved)
    }

    pub fn restore(&self, saved: &SavedMachine, memory: &mut impl Read) -> Result<(), MachineError> {
        let mut state = self.lock();
        let (Some(paused), Some(parts)) = (&mut *state, self.parts.upgrade()) else {
            return Err(MachineError::Save("it runs, or has ended".into()));
        };
        self.clock.set(saved.clock);
        paused.stopped_at = saved.stopped_at;
        saved.restore_blocks(&parts.memory)?;
        saved::read_memory(&parts.memory, memory)?;
        saved.restore_devices(&parts)?;
        Ok(parts.partition.restore(&saved.partition)?)
    }

    /// Writes what memory holds, of a machine that is paused.
    pub fn write_memory(&self, to: &mut impl std::io::Write) -> Result<(), MachineError> {
        let _state = self.lock();
        let parts = self.parts.upgrade().ok_or_else(|| MachineError::Save("it has ended".into()))?;
        saved::write_memory(&parts.memory, to)
            .map_err(|why| MachineError::Save(format!("memory cannot be written: {why}")))
    }
}
