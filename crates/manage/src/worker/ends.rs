//! A worker that is told to end (SIGTERM, as when the host shuts down) ends its VM in order.

use super::protocol::{Reply, Request};
use super::server::{self, Control};
use std::sync::Weak;
use std::sync::mpsc::channel;
use std::time::Duration;

/// For the guest to shut down. Service managers wait a little longer before they kill.
const PATIENCE: Duration = Duration::from_secs(60);

/// For us to end.
const MOMENT: Duration = Duration::from_secs(5);

/// Waits for the next signal that asks this process to end. The signals must be held.
pub type NextSignal = fn() -> i32;

/// At the first signal the VM does what its AutomaticStopAction says, as far as that is there: it is shut down (`gently`), or
/// turned off. After a while, or at a second signal, it is turned off.
pub fn heed_signals(next: NextSignal, control: Weak<Control>, gently: bool) {
    let (told, signals) = channel();
    let walls = control.upgrade().map(|control| control.jail.clone()).unwrap_or_default();
    let own = walls.clone();
    super::lifecycle::spawn("signals", move || {
        server::confine(&own);
        while told.send(next()).is_ok() {}
    });
    super::lifecycle::spawn("shutdown", move || {
        server::confine(&walls);
        if signals.recv().is_err() {
            return;
        }
        control.upgrade().iter().for_each(|control| control.lock().by_host = true);
        let ask = |request| control.upgrade().map(|control| control.answer(&request));
        if gently && ask(Request::ShutDown { seconds: PATIENCE.as_secs() }) == Some(Reply::Done) {
            let _ = signals.recv_timeout(PATIENCE);
        }
        // Without an answer there is no VM any longer.
        if ask(Request::TurnOff).is_none() || signals.recv_timeout(MOMENT).is_err() {
            super::log("ended by a signal");
            std::process::exit(1);
        }
    });
}
