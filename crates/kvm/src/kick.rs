//! Getting a vCPU thread out of KVM_RUN.

use crate::ioctl::{self, ImmediateExit};
use std::sync::{Arc, Mutex, MutexGuard};

/// What another thread needs to make a vCPU's KVM_RUN return soon, now or the next time it is entered.
#[derive(Clone)]
pub struct Kick {
    target: Arc<Mutex<Target>>,
}

struct Target {
    exit: Option<ImmediateExit>,
    thread: Option<i32>,
}

impl Kick {
    pub fn new(exit: ImmediateExit) -> Self {
        ioctl::install_kick_handler();
        Self { target: Arc::new(Mutex::new(Target { exit: Some(exit), thread: None })) }
    }

    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The calling thread runs the vCPU from now on.
    pub fn enter(&self) {
        self.target().thread = Some(ioctl::thread_id());
    }

    /// Nobody runs the vCPU; an earlier kick is over.
    pub fn leave(&self) {
        self.target().thread = None;
        self.over();
    }

    /// An earlier kick has done its work.
    pub fn over(&self) {
        if let Some(exit) = &self.target().exit {
            exit.set(false);
        }
    }

    /// The next KVM_RUN ends what the last one has begun, and comes back.
    pub fn exit_at_once(&self) {
        if let Some(exit) = &self.target().exit {
            exit.set(true);
        }
    }

    pub fn kick(&self) {
        let target = self.target();
        if let Some(exit) = &target.exit {
            exit.set(true);
        }
        if let Some(thread) = target.thread {
            ioctl::kick_thread(thread);
        }
    }

    /// The vCPU goes away; later kicks do nothing.
    pub fn detach(&self) {
        let mut target = self.target();
        target.exit = None;
        target.thread = None;
    }
}
