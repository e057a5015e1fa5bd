//! The processors of one machine among each other: which pages each watches, who has heard of it, and who stands still.
//!
//! Each processor has its own translations of addresses and of code. What they need of each other is one rule: *who has asked for something goes on
//! when every other processor has been between two instructions since.* A processor is asked by a notice in its inbox, and is woken; it looks there
//! whenever it is between instructions, and says so. One that does not run (it waits, or its machine is held) is *outside*: nobody waits for it,
//! and it looks into its inbox before it runs again.
//!
//! Pages with code: who translates code (1) notes that it watches the page, (2) has the others take the right to write it unchecked out of their TLBs,
//! (3) waits, (4) reads the bytes. From (3) on every write goes by a check, and who writes tells those who watch, before the instruction behind the
//! write is done. So what a processor does after its write is seen by nobody who still has the old code and does not know of it.

use crate::hash::FastHash;
use crate::wake::Wake;
use ireko_vmcore::memory::{Reason, Watch};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a processor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The page at this host address is watched: it must not be written unchecked.
    Protect(usize),
    /// So many bytes at a physical address were written.
    Written(u64, usize),
}

/// More notices of writes than these become one of their whole pages.
const MOST_NOTICES: usize = 256;

/// Looks at another processor before this one gives its time to it.
const SPINS: u32 = 200;

/// One processor, as the others see it.
struct Member {
    wake: Arc<Wake>,
    /// It does not run the guest's instructions, and looks into its inbox before it does.
    outside: AtomicBool,
    /// The number of the last request that it has seen between two instructions.
    seen: AtomicU64,
    /// There are notices.
    any: AtomicBool,
    notices: Mutex<Vec<Notice>>,
}

/// Who watches a page.
#[derive(Default)]
struct Watched {
    /// A bit for each processor: for code, and for page tables.
    code: u64,
    tables: u64,
    /// Nobody can write it unchecked any more.
    protected: bool,
}

impl Watched {
    fn by(&mut self, reason: Reason) -> &mut u64 {
        if reason == Reason::Tables { &mut self.tables } else { &mut self.code }
    }
}

/// A page: its number, and its host address if it is there.
pub type Page = (u64, Option<usize>);

/// The processors of a machine, at most 64.
pub struct Siblings {
    members: Box<[Member]>,
    requests: AtomicU64,
    pages: Mutex<HashMap<u64, Watched, FastHash>>,
    /// The processor that runs alone, its number and 1; 0: none.
    alone: AtomicUsize,
}

/// The most processors of a machine.
pub const MOST: u32 = 64;

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(|e| e.into_inner())
}

/// Lets others run, if there is more to wait for than a moment.
fn relax(spins: &mut u32) {
    *spins += 1;
    if *spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
}

impl Siblings {
    /// One processor for each way to wake it.
    pub fn new(wakes: impl IntoIterator<Item = Arc<Wake>>) -> Arc<Self> {
        let member = |wake| Member {
            wake,
            outside: AtomicBool::new(true),
            seen: AtomicU64::new(0),
            any: AtomicBool::new(false),
            notices: Mutex::default(),
        };
        let members: Box<[Member]> = wakes.into_iter().map(member).collect();
        assert!(members.len() <= MOST as usize);
        Arc::new(Self {
            members,
            requests: AtomicU64::new(0),
            pages: Mutex::default(),
            alone: AtomicUsize::new(0),
        })
    }

    fn others(&self, own: usize) -> impl Iterator<Item = &Member> {
        self.members.iter().enumerate().filter(move |(id, _)| *id != own).map(|(_, member)| member)
    }

    fn tell(member: &Member, notice: Notice) {
        let mut notices = lock(&member.notices);
        if let Notice::Written(physical, _) = notice
            && notices.len() > MOST_NOTICES
        {
            let page = Notice::Written(physical & !0xfff, 4096);
            if !notices.contains(&page) {
                notices.push(page);
            }
        } else if notices.last() != Some(&notice) {
            notices.push(notice);
        }
        member.any.store(true, Ordering::SeqCst);
        drop(notices);
        member.wake.wake();
    }
}

/// One processor's place among them.
pub struct Seat {
    all: Arc<Siblings>,
    own: usize,
    /// It runs alone until [`Seat::let_run`].
    alone: bool,
}

impl Seat {
    pub fn new(all: Arc<Siblings>, id: u32) -> Self {
        assert!((id as usize) < all.members.len());
        Self { all, own: id as usize, alone: false }
    }

    fn member(&self) -> &Member {
        &self.all.members[self.own]
    }

    /// There are others.
    pub fn is_one_of_many(&self) -> bool {
        self.all.members.len() > 1
    }

    /// Whether there are notices, or others ask whether this one is between two instructions.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.is_one_of_many()
            && (self.member().any.load(Ordering::Acquire)
                || self.member().seen.load(Ordering::Relaxed) != self.all.requests.load(Ordering::Acquire)
                || self.all.alone.load(Ordering::Relaxed) != 0)
    }

    /// The guest's instructions are run from here on. Notices must be taken first.
    pub fn enter(&self) {
        if !self.is_one_of_many() {
            return;
        }
        let mut spins = 0;
        loop {
            self.member().outside.store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let alone = self.all.alone.load(Ordering::SeqCst);
            if alone == 0 || alone == self.own + 1 {
                return;
            }
            self.member().outside.store(true, Ordering::SeqCst);
            relax(&mut spins);
        }
    }

    /// They are run no more, until [`Seat::enter`].
    pub fn leave(&self) {
        self.member().outside.store(true, Ordering::SeqCst);
    }

    /// Between two instructions: gives the notices that have come, and says that they are seen. Waits while another processor runs alone.
    pub fn pass(&self) -> Vec<Notice> {
        let alone = self.all.alone.load(Ordering::SeqCst);
        if alone != 0 && alone != self.own + 1 {
            self.leave();
            self.enter();
        }
        let request = self.all.requests.load(Ordering::SeqCst);
        let notices = self.take();
        self.member().seen.store(request, Ordering::SeqCst);
        notices
    }

    /// Gives the notices that have come, in the middle of an instruction: who waits for this processor waits on.
    pub fn take(&self) -> Vec<Notice> {
        if !self.member().any.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut notices = lock(&self.member().notices);
        self.member().any.store(false, Ordering::SeqCst);
        std::mem::take(&mut *notices)
    }

    /// Waits until every other processor has been between two instructions since now, or is outside. This one is, and does as one that is outside:
    /// it must look into its inbox before it goes on.
    fn wait_for_others(&self) {
        let request = self.all.requests.fetch_add(1, Ordering::SeqCst) + 1;
        self.leave();
        for member in self.all.others(self.own) {
            let mut spins = 0;
            while !member.outside.load(Ordering::SeqCst) && member.seen.load(Ordering::SeqCst) < request {
                if spins == 0 {
                    member.wake.wake();
                }
                relax(&mut spins);
            }
        }
        self.enter();
    }

    /// This processor watches pages from now on. When this gives true it has waited for others: notices must be taken.
    pub fn watch(&self, watch: &Watch, reason: Reason, frames: &[Page]) -> bool {
        if !self.is_one_of_many() {
            frames.iter().for_each(|(frame, _)| watch.set(*frame, reason, true));
            return false;
        }
        let mut fresh = Vec::new();
        {
            let mut pages = lock(&self.all.pages);
            for &(frame, host) in frames {
                let page = pages.entry(frame).or_default();
                *page.by(reason) |= 1 << self.own;
                watch.set(frame, reason, true);
                if !page.protected {
                    fresh.push((frame, host));
                }
            }
        }
        if fresh.is_empty() {
            return false;
        }
        for member in self.all.others(self.own) {
            fresh
                .iter()
                .filter_map(|page| page.1)
                .for_each(|host| Siblings::tell(member, Notice::Protect(host)));
        }
        self.wait_for_others();
        let mut pages = lock(&self.all.pages);
        for (frame, _) in fresh {
            if let Some(page) = pages.get_mut(&frame) {
                page.protected = true;
            }
        }
        true
    }

    /// This one watches it no more.
    pub fn unwatch(&self, watch: &Watch, reason: Reason, frame: u64) {
        if !self.is_one_of_many() {
            return watch.set(frame, reason, false);
        }
        let mut pages = lock(&self.all.pages);
        let Some(page) = pages.get_mut(&frame) else { return };
        *page.by(reason) &= !(1 << self.own);
        if *page.by(reason) == 0 {
            watch.set(frame, reason, false);
        }
        if page.code | page.tables == 0 {
            pages.remove(&frame);
        }
    }

    /// This processor has written bytes of a page: tells the others that watch it.
    pub fn wrote(&self, physical: u64, count: usize) {
        if !self.is_one_of_many() {
            return;
        }
        let watchers = lock(&self.all.pages).get(&(physical >> 12)).map_or(0, |page| page.code | page.tables);
        let by = watchers & !(1 << self.own);
        for (id, member) in self.all.members.iter().enumerate() {
            if by >> id & 1 != 0 {
                Siblings::tell(member, Notice::Written(physical, count));
            }
        }
    }

    /// All others stand between two instructions until [`Seat::let_run`]. Notices must be taken.
    pub fn run_alone(&mut self) {
        if !self.is_one_of_many() {
            return;
        }
        self.leave();
        let mut spins = 0;
        while self.all.alone.compare_exchange(0, self.own + 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            relax(&mut spins);
        }
        self.alone = true;
        fence(Ordering::SeqCst);
        for member in self.all.others(self.own) {
            let mut spins = 0;
            while !member.outside.load(Ordering::SeqCst) {
                if spins == 0 {
                    member.wake.wake();
                }
                relax(&mut spins);
            }
        }
        self.enter();
    }

    pub fn is_alone(&self) -> bool {
        self.alone || !self.is_one_of_many()
    }

    /// The others go on.
    pub fn let_run(&mut self) {
        if std::mem::take(&mut self.alone) {
            self.all.alone.store(0, Ordering::SeqCst);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.let_run();
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn seats(count: u32) -> Vec<Seat> {
        let all = Siblings::new((0..count).map(|_| Arc::default()));
        (0..count).map(|id| Seat::new(all.clone(), id)).collect()
    }

    fn watch() -> Arc<Watch> {
        ireko_vmcore::Memory::new(&[(0, 0x10_0000)]).unwrap().watch().clone()
    }

    #[test]
    fn who_is_outside_is_not_waited_for_and_finds_the_notice_later() {
        let (seats, watch) = (seats(2), watch());
        seats[0].enter();
        assert!(seats[0].watch(&watch, Reason::Code, &[(3, Some(0x3000))]));
        seats[1].enter();
        assert_eq!(seats[1].pass(), [Notice::Protect(0x3000)]);
        assert!(seats[1].pass().is_empty());
    }

    #[test]
    fn a_page_is_protected_once_for_all_that_watch_it() {
        let (seats, watch) = (seats(3), watch());
        assert!(seats[0].watch(&watch, Reason::Code, &[(3, Some(0x3000))]));
        assert!(!seats[1].watch(&watch, Reason::Tables, &[(3, Some(0x3000))]));
        seats[0].unwatch(&watch, Reason::Code, 3);
        assert!(watch.watched(3));
        seats[1].unwatch(&watch, Reason::Tables, 3);
        assert!(!watch.watched(3));
    }

    #[test]
    fn a_write_is_told_to_those_who_watch_the_page() {
        let (seats, watch) = (seats(3), watch());
        seats[1].watch(&watch, Reason::Code, &[(3, None)]);
        seats[0].wrote(0x3010, 4);
        seats[0].wrote(0x4010, 4);
        assert_eq!(seats[1].pass(), [Notice::Written(0x3010, 4)]);
        assert!(seats[2].pass().is_empty() && seats[0].pass().is_empty());
    }

    #[test]
    fn writes_without_end_do_not_fill_an_inbox() {
        let (seats, watch) = (seats(2), watch());
        seats[1].watch(&watch, Reason::Code, &[(3, None)]);
        (0..100_000).for_each(|n| seats[0].wrote(0x3000 + n % 4096, 1));
        let notices = seats[1].pass();
        assert!(notices.len() < 2 * MOST_NOTICES && notices.contains(&Notice::Written(0x3000, 4096)));
    }

    /// Two that watch pages all the time wait for each other, and neither for ever.
    #[test]
    fn those_who_wait_for_each_other_go_on() {
        let watch = watch();
        std::thread::scope(|scope| {
            for seat in seats(4) {
                let watch = &watch;
                scope.spawn(move || {
                    seat.enter();
                    for n in 0..500 {
                        seat.watch(watch, Reason::Code, &[(n % 7, Some(0x1000))]);
                        seat.pass();
                        seat.unwatch(watch, Reason::Code, n % 7);
                    }
                });
            }
        });
    }

    /// Who runs alone sees a count that no other changes meanwhile.
    #[test]
    fn who_runs_alone_does() {
        let count = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for mut seat in seats(4) {
                let count = &count;
                scope.spawn(move || {
                    seat.enter();
                    for n in 0..300 {
                        seat.pass();
                        count.fetch_add(1, Ordering::SeqCst);
                        if n % 3 == 0 {
                            seat.run_alone();
                            let before = count.load(Ordering::SeqCst);
                            (0..50).for_each(|_| std::hint::spin_loop());
                            assert_eq!(count.load(Ordering::SeqCst), before);
                            seat.let_run();
                        }
                    }
                });
            }
        });
    }
}
