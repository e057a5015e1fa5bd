//! What the host cannot do with a VM's disks: the log hears of it, and a VM whose request waits is held until it is done.

use super::lifecycle::spawn;
use super::server::{self, Control};
use ireko_machine::disk_errors::Standing;
use std::sync::{Arc, PoisonError, Weak};

/// For as long as the VM is there.
pub fn heed(control: &Arc<Control>) {
    let (heeding, walls) = (Arc::downgrade(control), control.jail.clone());
    let errors = control.files.errors().clone();
    spawn("disk errors", move || {
        server::confine(&walls);
        let mut before = Standing::default();
        loop {
            let now = errors.next(before.number);
            let Some(control) = Weak::upgrade(&heeding) else { return };
            if now.last != before.last
                && let Some(error) = &now.last
            {
                super::log(&error.to_string());
            }
            control.hold_or_let_go();
            before = now;
        }
    });
}

impl Control {
    /// A machine with a request that waits is held, and goes on once none does, unless somebody wants it held.
    fn hold_or_let_go(&self) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = self.files.errors().standing().waiting > 0;
        let remote = {
            let mut inner = self.lock();
            if inner.critical == waits || inner.turned_off || inner.crashed.is_some() {
                return;
            }
            inner.critical = waits;
            if inner.paused {
                return;
            }
            inner.remote.clone()
        };
        match waits {
            // Where its processors do not come to rest it runs on, and only the request waits.
            true if !remote.pause() => self.lock().critical = false,
            true => super::log("it is held for its disk"),
            false => {
                super::log("it goes on: its disk has done what it was asked for");
                remote.resume();
                self.lock().integration.late = true;
            }
        }
    }
}
