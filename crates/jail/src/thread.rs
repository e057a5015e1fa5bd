//! One thread's walls: no new privileges, no capabilities, a filter for what it does.

use crate::capabilities;
use crate::filter::{self, Kind};
use ireko_vmcore::{OnThread, Work};
use std::io::{self, Write};

impl From<Work> for Kind {
    fn from(work: Work) -> Self {
        match work {
            Work::Vcpu => Self::Vcpu,
            Work::Timers => Self::Timers,
            Work::Network => Self::Network,
            Work::Disk => Self::Disk,
            Work::Device => Self::Device,
            Work::Broker => Self::Broker,
        }
    }
}

/// Confines the calling thread, for ever.
pub fn confine(kind: Kind) -> io::Result<()> {
    capabilities::no_new_privileges()?;
    if !capabilities::none_left() {
        capabilities::drop_all()?;
    }
    filter::confine(kind)
}

/// For the threads of a machine. A thread that cannot be confined says so on standard error and goes on.
pub fn confining() -> OnThread {
    OnThread::new(|work| {
        if let Err(error) = confine(work.into()) {
            // A standard error that cannot be written ends no thread.
            let _ = writeln!(std::io::stderr(), "ireko: the thread for {work:?} runs unconfined: {error}");
        }
    })
}
