//! A worker that is told to end (SIGTERM, as when the host shuts down) ends its VM in order.

use crate::say;
use crate::sys;
use ireko_manage::Guid;
use ireko_manage::store::Store;
use ireko_manage::store::config::AutomaticStop;
use ireko_manage::worker::Client;
use ireko_manage::worker::protocol::{Reply, Request};
use std::sync::mpsc::channel;
use std::time::Duration;

/// For the guest to shut down. Service managers wait a little longer before they kill.
const PATIENCE: Duration = Duration::from_secs(60);

/// For us to hear it and end.
const MOMENT: Duration = Duration::from_secs(5);

/// At the first signal the VM does what its AutomaticStopAction says, as far as that is there: it is shut down, or turned
/// off. After a while, or at a second signal, it is turned off. The signals must be held.
pub fn heed_signals(store: Store, id: Guid) {
    let (told, signals) = channel();
    std::thread::spawn(move || while told.send(sys::next_ending_signal()).is_ok() {});
    std::thread::spawn(move || {
        if signals.recv().is_err() {
            return;
        }
        let ask = |request| {
            Client::connect(&store.directory(id)).and_then(|mut worker| worker.ask_within(&request, MOMENT))
        };
        let gently = !store.load(id).is_ok_and(|config| config.automatic_stop == AutomaticStop::TurnOff);
        if gently && matches!(ask(Request::ShutDown { seconds: PATIENCE.as_secs() }), Ok(Reply::Done)) {
            let _ = signals.recv_timeout(PATIENCE);
        }
        // Without an answer there is no VM yet, or no longer.
        if ask(Request::TurnOff).is_err() || signals.recv_timeout(MOMENT).is_err() {
            say!("ended by a signal");
            std::process::exit(1);
        }
    });
}
