//! What needs names of files, done by one thread for others that may not use any: a broker, as sandboxes call it.

use crate::thread::{OnThread, Work};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, ThreadId, current};

type Job = Box<dyn FnOnce() + Send>;

/// Jobs are done one after the other. By default on the thread that asks.
#[derive(Clone, Debug, Default)]
pub struct Broker(Option<Arc<Queue>>);

#[derive(Debug)]
struct Queue {
    jobs: Sender<Job>,
    thread: ThreadId,
}

impl Broker {
    /// Starts the thread, which ends when nobody can ask any more.
    pub fn start(first: OnThread) -> io::Result<Self> {
        let (jobs, come) = channel();
        let thread = Builder::new().name("broker".into()).spawn(move || serve(&first, &come))?;
        Ok(Self(Some(Arc::new(Queue { jobs, thread: thread.thread().id() }))))
    }

    /// Waits until it is done. `None`: it panicked.
    pub fn ask<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // What the broker drops may ask, too.
        let Some(queue) = self.0.as_ref().filter(|queue| queue.thread != current().id()) else {
            return Some(job());
        };
        let (answer, heard) = channel();
        let job = move || {
            let _ = answer.send(job());
        };
        queue.jobs.send(Box::new(job)).ok()?;
        heard.recv().ok()
    }
}

fn serve(first: &OnThread, jobs: &Receiver<Job>) {
    first.begin(Work::Broker);
    for job in jobs {
        // Who asked is told by the answer that does not come.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Option<String> {
        current().name().map(str::to_owned)
    }

    #[test]
    fn a_job_is_done_by_the_brokers_thread_and_answered() {
        let broker = Broker::start(OnThread::default()).unwrap();
        assert_eq!(broker.ask(name).flatten().as_deref(), Some("broker"));
    }

    #[test]
    fn without_a_thread_who_asks_does_it() {
        assert_eq!(Broker::default().ask(name), Some(name()));
    }

    #[test]
    fn a_job_may_ask() {
        let broker = Broker::start(OnThread::default()).unwrap();
        let own = broker.clone();
        assert_eq!(broker.ask(move || own.ask(|| 7)), Some(Some(7)));
    }

    #[test]
    fn a_job_that_panics_is_no_answer_and_ends_nothing() {
        let broker = Broker::start(OnThread::default()).unwrap();
        let failed: Option<()> = broker.ask(|| panic!("on purpose"));
        assert_eq!((failed, broker.ask(|| 7)), (None, Some(7)));
    }
}
