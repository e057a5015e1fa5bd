//! A thread for each device that serves queues, and what all of them do at a pause and at the end.

use crate::ending::Ending;
use crate::{MachineError, Outcome};
use ireko_devices::Service;
use ireko_vmcore::{OnThread, Work};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the host does not give back within this time is waited for no more: it cannot reach the guest.
const PATIENCE: Duration = Duration::from_millis(300);

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct DeviceThreads {
    services: Vec<Arc<dyn Service>>,
    ending: Ending,
    first: OnThread,
}

impl DeviceThreads {
    pub fn new(ending: Ending, first: OnThread) -> Self {
        Self { services: Vec::new(), ending, first }
    }

    /// `name` is the thread's.
    pub fn start(&mut self, name: String, kind: Work, service: Arc<dyn Service>) -> Result<(), MachineError> {
        self.services.push(service.clone());
        let (ending, first, what) = (self.ending.clone(), self.first.clone(), name.clone());
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                first.begin(kind);
                run(&*service, &what, &ending);
            })
            .map_err(|error| MachineError::Platform(format!("no thread for a device: {error}")))?;
        Ok(())
    }

    /// When it comes back no device writes to guest memory.
    pub fn pause(&self) {
        self.rest(|service, patience| service.pause(patience));
    }

    pub fn resume(&self) {
        self.services.iter().for_each(|service| service.resume());
    }

    pub fn end(&self) {
        self.services.iter().for_each(|service| service.end());
    }

    /// Whether all that was asked of the host when it ended is done.
    pub fn rests(&self) -> bool {
        self.rest(|service, patience| service.rests(patience))
    }

    /// For all of them together as long as for one.
    fn rest(&self, one: impl Fn(&dyn Service, Duration) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        let left = || until.saturating_duration_since(Instant::now());
        // All are asked, also behind one that does not rest.
        self.services.iter().filter(|service| !one(&***service, left())).count() == 0
    }
}

fn run(service: &dyn Service, name: &str, ending: &Ending) {
    // A panic is our mistake, but the guest's end and not this process's.
    if catch_unwind(AssertUnwindSafe(|| service.run())).is_err() {
        ending.end(Outcome::Failed(format!("a panic in the device {name}")));
    }
}
