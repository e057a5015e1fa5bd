//! What becomes of what the host cannot do for a disk: the guest is told, or its machine is held and the request is tried again.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Error, ErrorKind};
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorPolicy {
    /// The guest is told.
    #[default]
    Report,
    /// The machine is held while the host's storage is full; of all else the guest is told.
    StopWhenFull,
    /// The machine is held.
    Stop,
}

impl ErrorPolicy {
    pub const NAMES: &[&str] = &["Report", "StopWhenFull", "Stop"];
    const ALL: [Self; 3] = [Self::Report, Self::StopWhenFull, Self::Stop];

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no error policy; use report, stopwhenfull or stop")]
pub struct NoErrorPolicy(String);

impl FromStr for ErrorPolicy {
    type Err = NoErrorPolicy;
    fn from_str(text: &str) -> Result<Self, NoErrorPolicy> {
        let found = Self::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| NoErrorPolicy(text.chars().take(64).collect()))
    }
}

/// What was asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Flush,
    Discard,
}

/// One thing that the host could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    pub disk: String,
    pub access: Access,
    pub why: String,
    /// The request waits.
    pub held: bool,
    /// The host's storage is full.
    pub full: bool,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "written",
            Access::Flush => "flushed",
            Access::Discard => "trimmed",
        };
        write!(f, "the disk '{}' cannot be {access}: {}", self.disk, self.why)?;
        f.write_str(match (self.held, self.full) {
            (false, _) => "; its guest was told",
            (true, true) => "; the virtual machine is held until there is room",
            (true, false) => "; the virtual machine is held until it can be",
        })
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn why(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "its file ends before its disk does".into(),
        _ => error.to_string(),
    }
}

/// What is known of one machine's disks.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Of this; another number means that something has changed.
    pub number: u64,
    /// Requests that wait.
    pub waiting: usize,
    /// Errors so far, and the last one, unless it only held what is done since.
    pub count: u64,
    pub last: Option<DiskError>,
}

#[derive(Default)]
struct Inner {
    standing: Standing,
    /// How often it was said that all is to be tried again.
    tries: u64,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// What the host could not do for the disks of one machine, over all its resets. Cheap to clone.
#[derive(Clone, Default)]
pub struct DiskErrors(Arc<Shared>);

impl fmt::Debug for DiskErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.standing().fmt(f)
    }
}

impl DiskErrors {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        inner.standing.number += 1;
        self.0.changed.notify_all();
    }

    pub fn standing(&self) -> Standing {
        self.lock().standing.clone()
    }

    /// Waits until something has changed since `number`.
    pub fn next(&self, number: u64) -> Standing {
        let inner = self.lock();
        let same = |inner: &mut Inner| inner.standing.number == number;
        let inner = self.0.changed.wait_while(inner, same).unwrap_or_else(PoisonError::into_inner);
        inner.standing.clone()
    }

    /// What waits is tried now.
    pub fn try_again(&self) {
        self.lock().tries += 1;
    }
}

/// What is done about one disk's errors. Without somebody who hears of them the guest is told.
#[derive(Debug, Default)]
pub struct ErrorHandling {
    policy: AtomicU8,
    heard: OnceLock<(String, DiskErrors)>,
}

impl ErrorHandling {
    /// Who hears of errors of the disk by this name; the first one stays.
    pub fn tell(&self, disk: &str, errors: &DiskErrors) {
        let _ = self.heard.set((disk.to_owned(), errors.clone()));
    }

    /// From now on; what waits is tried by it.
    pub fn set(&self, policy: ErrorPolicy) {
        let before = self.policy.swap(policy as u8, Relaxed);
        if let Some((_, errors)) = self.heard.get().filter(|_| before != policy as u8) {
            errors.try_again();
        }
    }

    fn holds(&self, error: &Error) -> bool {
        match ErrorPolicy::ALL.get(usize::from(self.policy.load(Relaxed))) {
            Some(ErrorPolicy::Stop) => true,
            Some(ErrorPolicy::StopWhenFull) => is_full(error),
            _ => false,
        }
    }

    /// The host could not do it, `again` after it waited. None: the guest is to be told.
    pub fn failed(&self, access: Access, error: &Error, again: Option<Waiting>) -> Option<Waiting> {
        let (disk, errors) = self.heard.get()?;
        let (held, full) = (self.holds(error), is_full(error));
        let told = DiskError { disk: disk.clone(), access, why: why(error), held, full };
        let mut waiting = again.or_else(|| held.then(|| Waiting::new(errors.clone())));
        errors.change(|inner| {
            // What is tried by itself again and again is one error.
            if inner.standing.last.as_ref() != Some(&told) || !held {
                inner.standing.count += 1;
            }
            inner.standing.last = Some(told);
            if let Some(waiting) = &mut waiting {
                (waiting.tries, waiting.full) = (inner.tries, full);
            }
        });
        waiting.filter(|_| held)
    }
}

/// A request that waits to be tried again.
pub struct Waiting {
    errors: DiskErrors,
    tries: u64,
    /// For room, so that it may be tried without being told.
    pub full: bool,
}

impl Waiting {
    fn new(errors: DiskErrors) -> Self {
        errors.change(|inner| inner.standing.waiting += 1);
        Self { errors, tries: 0, full: false }
    }

    /// Whether somebody has said so since it failed.
    pub fn is_to_be_tried(&self) -> bool {
        self.errors.lock().tries != self.tries
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.errors.change(|inner| {
            inner.standing.waiting = inner.standing.waiting.saturating_sub(1);
            // It is done, or nobody wants it any more: there is nothing to be told.
            if inner.standing.waiting == 0 && inner.standing.last.as_ref().is_some_and(|last| last.held) {
                inner.standing.last = None;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handling(policy: ErrorPolicy) -> (ErrorHandling, DiskErrors) {
        let (handling, errors) = (ErrorHandling::default(), DiskErrors::default());
        handling.set(policy);
        handling.tell("disk", &errors);
        (handling, errors)
    }

    #[test]
    fn a_policy_says_which_errors_hold_a_request() {
        let held =
            |policy, kind: ErrorKind| handling(policy).0.failed(Access::Write, &kind.into(), None).is_some();
        let both = |policy| (held(policy, ErrorKind::StorageFull), held(policy, ErrorKind::Other));
        let all = [ErrorPolicy::Report, ErrorPolicy::StopWhenFull, ErrorPolicy::Stop];
        assert_eq!(all.map(both), [(false, false), (true, false), (true, true)]);
    }

    #[test]
    fn nobody_is_held_whom_nobody_could_let_go() {
        let handling = ErrorHandling::default();
        handling.set(ErrorPolicy::Stop);
        assert!(handling.failed(Access::Write, &ErrorKind::StorageFull.into(), None).is_none());
    }

    #[test]
    fn a_request_waits_until_it_is_dropped() {
        let (handling, errors) = handling(ErrorPolicy::Stop);
        let waiting = handling.failed(Access::Write, &ErrorKind::StorageFull.into(), None);
        let waiting = handling.failed(Access::Write, &ErrorKind::StorageFull.into(), waiting);
        assert_eq!((errors.standing().waiting, errors.standing().count), (1, 1));
        drop(waiting);
        assert_eq!((errors.standing().waiting, errors.standing().last), (0, None));
    }

    #[test]
    fn what_failed_after_it_was_told_to_try_again_waits_for_the_next_time() {
        let (handling, errors) = handling(ErrorPolicy::Stop);
        let waiting = handling.failed(Access::Read, &ErrorKind::Other.into(), None);
        errors.try_again();
        assert!(waiting.as_ref().unwrap().is_to_be_tried());
        let waiting = handling.failed(Access::Read, &ErrorKind::Other.into(), waiting);
        assert!(!waiting.unwrap().is_to_be_tried());
    }

    #[test]
    fn another_policy_lets_go_what_waits() {
        let (handling, errors) = handling(ErrorPolicy::Stop);
        let waiting = handling.failed(Access::Read, &ErrorKind::Other.into(), None);
        handling.set(ErrorPolicy::Report);
        assert!(waiting.as_ref().unwrap().is_to_be_tried());
        assert!(handling.failed(Access::Read, &ErrorKind::Other.into(), waiting).is_none());
        assert_eq!(errors.standing().waiting, 0);
    }

    #[test]
    fn an_error_is_one_sentence() {
        let (handling, errors) = handling(ErrorPolicy::Report);
        handling.failed(Access::Read, &ErrorKind::UnexpectedEof.into(), None);
        let said = errors.standing().last.unwrap().to_string();
        assert_eq!(
            said,
            "the disk 'disk' cannot be read: its file ends before its disk does; its guest was told"
        );
    }

    #[test]
    fn a_policy_survives_its_name() {
        for name in ErrorPolicy::NAMES {
            assert_eq!(name.to_lowercase().parse::<ErrorPolicy>().unwrap().name(), *name);
        }
        assert!("ignore".parse::<ErrorPolicy>().is_err());
    }
}
