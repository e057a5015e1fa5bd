//! A thread for each device that works on queues, and what all of them do at a pause and at the end.

use crate::ending::Ending;
use crate::{MachineError, Outcome};
use ireko_devices::{VirtioPci, Work};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the host does not give back within this time is waited for no more: it cannot reach the guest.
const PATIENCE: Duration = Duration::from_millis(500);

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct DeviceThreads {
    works: Vec<Arc<Work>>,
    ending: Ending,
}

impl DeviceThreads {
    pub fn new(ending: Ending) -> Self {
        Self { works: Vec::new(), ending }
    }

    /// `name` is the thread's.
    pub fn start(&mut self, name: String, function: &Mutex<VirtioPci>) -> Result<(), MachineError> {
        let work = function.lock().unwrap_or_else(PoisonError::into_inner).work();
        self.works.push(work.clone());
        let (ending, what) = (self.ending.clone(), name.clone());
        std::thread::Builder::new()
            .name(name)
            .spawn(move || run(&work, &what, &ending))
            .map_err(|error| MachineError::Platform(format!("no thread for a device: {error}")))?;
        Ok(())
    }

    /// When it comes back no device writes to guest memory.
    pub fn pause(&self) {
        self.rest(Work::pause);
    }

    pub fn resume(&self) {
        self.works.iter().for_each(|work| work.resume());
    }

    pub fn end(&self) {
        self.works.iter().for_each(|work| work.end());
    }

    /// Whether all that was asked of the host when it ended is done.
    pub fn rests(&self) -> bool {
        self.rest(Work::rests)
    }

    /// For all of them together as long as for one.
    fn rest(&self, one: impl Fn(&Work, Duration) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        let left = || until.saturating_duration_since(Instant::now());
        // All are asked, also behind one that does not rest.
        self.works.iter().filter(|work| !one(work, left())).count() == 0
    }
}

fn run(work: &Work, name: &str, ending: &Ending) {
    // A panic is our mistake, but the guest's end and not this process's.
    if catch_unwind(AssertUnwindSafe(|| work.run())).is_err() {
        ending.end(Outcome::Failed(format!("a panic in the device {name}")));
    }
}
