//! What is saved of the controller with its queues.

use super::queue::{Completion, Submission};
use super::regs::QUEUES;
use super::{Admin, Doorbells, Nvme};
use crate::pci::saved::{SavedConfig, SavedMsix};
use crate::service::Service as _;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedNvme {
    pub config: SavedConfig,
    pub msix: SavedMsix,
    /// CC, CSTS, INTMS.
    pub control: u32,
    pub status: u32,
    pub masked: u32,
    /// AQA, ASQ and ACQ.
    pub admin: (u32, u64, u64),
    pub doorbells: [SavedDoorbells; QUEUES],
    pub submission: [Option<SavedSubmission>; QUEUES],
    pub completion: [Option<SavedCompletion>; QUEUES],
    /// Asynchronous event requests.
    pub events: u64,
}

/// Of a submission queue the tail, of a completion queue the head and how far it was posted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedDoorbells {
    pub tail: u16,
    pub head: u16,
    pub posted: u16,
    pub interrupts: bool,
}

/// A submission queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSubmission {
    pub base: u64,
    pub size: u16,
    pub head: u16,
    pub completion: u16,
}

/// A completion queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedCompletion {
    pub base: u64,
    pub size: u16,
    pub tail: u16,
    pub phase: bool,
    pub vector: Option<u16>,
}

impl Saved for SavedNvme {
    const NAME: &'static str = "nvme";
    const VERSION: u32 = 1;
}

fn submission(saved: &SavedSubmission) -> Result<Submission, RestoreError> {
    let SavedSubmission { base, size, head, completion } = *saved;
    let completion = usize::from(completion);
    ensure::<SavedNvme>(size > 0 && head < size, format!("a queue of {size} at {head}"))?;
    ensure::<SavedNvme>(completion < QUEUES, format!("completion queue {completion}"))?;
    Ok(Submission { base, size, head, completion })
}

fn completion(saved: &SavedCompletion) -> Result<Completion, RestoreError> {
    let SavedCompletion { base, size, tail, phase, vector } = *saved;
    let sound = size > 0 && size < u16::MAX && tail < size;
    ensure::<SavedNvme>(sound, format!("a queue of {size} at {tail}"))?;
    Ok(Completion { base, size, tail, phase, vector })
}

fn each<T: Copy, S>(
    saved: &[Option<S>; QUEUES],
    make: impl Fn(&S) -> Result<T, RestoreError>,
) -> Result<[Option<T>; QUEUES], RestoreError> {
    let mut made = [None; QUEUES];
    for (made, saved) in made.iter_mut().zip(saved) {
        *made = saved.as_ref().map(&make).transpose()?;
    }
    Ok(made)
}

impl SaveRestore for Nvme {
    type Saved = SavedNvme;

    fn save(&self) -> SavedNvme {
        let work = self.engine.at_rest(self.admin);
        let doorbells = self.doorbells.map(|doorbells| {
            let Doorbells { tail, head, posted, interrupts } = doorbells;
            SavedDoorbells { tail, head, posted, interrupts }
        });
        let submission = work.submission.map(|queue| {
            let Submission { base, size, head, completion } = queue?;
            Some(SavedSubmission { base, size, head, completion: completion as u16 })
        });
        let completion = work.completion.map(|queue| {
            let Completion { base, size, tail, phase, vector } = queue?;
            Some(SavedCompletion { base, size, tail, phase, vector })
        });
        SavedNvme {
            config: self.config.save(),
            msix: self.msix.save(),
            control: self.control,
            status: self.status,
            masked: self.masked,
            admin: (self.admin.sizes, self.admin.submission, self.admin.completion),
            doorbells,
            submission,
            completion,
            events: work.events as u64,
        }
    }

    fn restore(&mut self, saved: SavedNvme) -> Result<(), RestoreError> {
        let submission = each(&saved.submission, submission)?;
        let completion = each(&saved.completion, completion)?;
        ensure::<SavedNvme>(
            saved.events <= super::regs::MOST_EVENTS as u64,
            format!("{} events", saved.events),
        )?;
        self.msix.reset();
        self.reset_controller();
        self.config.restore(&saved.config);
        self.msix.restore::<SavedNvme>(saved.msix)?;
        (self.control, self.status, self.masked) = (saved.control, saved.status, saved.masked);
        let (sizes, first, second) = saved.admin;
        self.admin = Admin { sizes: sizes & 0x0fff_0fff, submission: first, completion: second };
        self.doorbells = saved.doorbells.map(|doorbells| {
            let SavedDoorbells { tail, head, posted, interrupts } = doorbells;
            Doorbells { tail, head, posted, interrupts }
        });
        {
            let mut work = self.engine.at_rest(self.admin);
            (work.submission, work.completion) = (submission, completion);
            work.events = saved.events as usize;
        }
        self.set_intx();
        // What had rung before is not saved.
        self.engine.mailbox().notify(0);
        Ok(())
    }
}
