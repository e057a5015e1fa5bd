//! A thread for each device that serves queues, and what all of them do at a pause and at the end.

use crate::run_state::RunState;
use crate::{MachineError, Outcome};
use ireko_devices::Service;
use ireko_vmcore::{OnThread, Work};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What the host does not give back within this time is waited for no more: it cannot reach the guest.
const PATIENCE: Duration = Duration::from_millis(300);
/// Of that, for what was begun to be finished.
const FINISH: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Services {
    all: Vec<Arc<dyn Service>>,
    ended: bool,
}

/// Cheap to clone: all clones know the same devices.
#[derive(Clone, Default)]
pub struct DeviceThreads {
    services: Arc<Mutex<Services>>,
    run_state: RunState,
    first: OnThread,
}

impl DeviceThreads {
    pub fn new(run_state: RunState, first: OnThread) -> Self {
        Self { services: Arc::default(), run_state, first }
    }

    fn lock(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn all(&self) -> Vec<Arc<dyn Service>> {
        self.lock().all.clone()
    }

    /// `name` is the thread's.
    pub fn start(&self, name: String, kind: Work, service: Arc<dyn Service>) -> Result<(), MachineError> {
        let (run_state, first, what, own) =
            (self.run_state.clone(), self.first.clone(), name.clone(), service.clone());
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                first.begin(kind);
                run(&*own, &what, &run_state);
            })
            .map_err(|error| MachineError::Platform(format!("no thread for a device: {error}")))?;
        let mut services = self.lock();
        if services.ended {
            service.end();
        }
        services.all.push(service);
        Ok(())
    }

    /// A device is gone: its thread ends when it has done what it is about.
    pub fn forget(&self, service: &Arc<dyn Service>) {
        service.end();
        self.lock().all.retain(|other| !Arc::ptr_eq(other, service));
    }

    /// When it comes back no device writes to guest memory. Whether all have finished what they had begun; else something waits for the
    /// host with a request half done.
    pub fn pause(&self) -> bool {
        self.all().iter().for_each(|service| service.hold());
        // Who gives requests to others may do so until it is held itself: so they are asked twice.
        let begun = Instant::now();
        let finish = || self.rest(begun + FINISH, |service, patience| service.finishes(patience));
        let finished = finish() && finish();
        self.rest(begun + PATIENCE, |service, patience| service.pause(patience));
        finished
    }

    pub fn resume(&self) {
        self.all().iter().for_each(|service| service.resume());
    }

    pub fn end(&self) {
        self.lock().ended = true;
        self.all().iter().for_each(|service| service.end());
    }

    /// Nobody asks any more: what the devices hold goes with their threads.
    pub fn clear(&self) {
        self.lock().all.clear();
    }

    /// Whether all that was asked of the host when it ended is done.
    pub fn rests(&self) -> bool {
        self.rest(Instant::now() + PATIENCE, |service, patience| service.rests(patience))
    }

    /// For all of them together as long as for one.
    fn rest(&self, until: Instant, one: impl Fn(&dyn Service, Duration) -> bool) -> bool {
        let left = || until.saturating_duration_since(Instant::now());
        // All are asked, also behind one that does not rest.
        self.all().iter().filter(|service| !one(&***service, left())).count() == 0
    }
}

fn run(service: &dyn Service, name: &str, run_state: &RunState) {
    // A panic is our mistake, but the guest's end and not this process's.
    if catch_unwind(AssertUnwindSafe(|| service.run())).is_err() {
        run_state.end(Outcome::Failed(format!("a panic in the device {name}")));
    }
}
