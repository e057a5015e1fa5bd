//! What connects the local APICs: each has an inbox that any thread may put messages in, without a lock.

use crate::apic::message::{Delivery, Destination, Message};
use crate::processor::vectors::Vectors;
use ireko_vmcore::{EoiSink, ExtInt, Msi};
use ireko_x86::apic::base;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// What waits in an inbox.
pub mod event {
    /// A vector in `requests`.
    pub const REQUEST: u32 = 1 << 0;
    pub const TIMER: u32 = 1 << 1;
    pub const NMI: u32 = 1 << 2;
    pub const INIT: u32 = 1 << 3;
    pub const EXTINT: u32 = 1 << 4;
    /// With the vector in bits 15:8.
    pub const STARTUP: u32 = 1 << 5;
    pub const SMI: u32 = 1 << 6;
}

type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where other threads reach one local APIC.
pub struct Inbox {
    id: u32,
    requests: [AtomicU64; 4],
    /// Which vectors were requested level-triggered.
    levels: [AtomicU64; 4],
    events: AtomicU32,
    /// NMIs that came since they were last taken out.
    nmis: AtomicU32,
    /// LDR in the low half, [`Mode`] above: what routing needs to know.
    identity: AtomicU64,
    wake: OnceLock<Wake>,
}

/// How an APIC takes destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Off,
    Flat,
    Cluster,
    X2,
}

impl Inbox {
    fn new(id: u32) -> Self {
        Self {
            id,
            requests: Default::default(),
            levels: Default::default(),
            events: AtomicU32::new(0),
            nmis: AtomicU32::new(0),
            identity: AtomicU64::new(0),
            wake: OnceLock::new(),
        }
    }

    /// Tells senders how this APIC takes destinations.
    pub(super) fn publish(&self, mode: Mode, ldr: u32) {
        self.identity.store((mode as u64) << 32 | u64::from(ldr), Ordering::Release);
    }

    fn request(&self, vector: u8, level: bool) {
        let (n, bit) = (usize::from(vector >> 6), 1u64 << (vector & 63));
        if level {
            self.levels[n].fetch_or(bit, Ordering::Relaxed);
        } else {
            self.levels[n].fetch_and(!bit, Ordering::Relaxed);
        }
        self.requests[n].fetch_or(bit, Ordering::Release);
        self.post(event::REQUEST);
    }

    /// Leaves events and wakes the processor.
    pub(super) fn post(&self, events: u32) {
        self.events.fetch_or(events, Ordering::Release);
        self.poke();
    }

    fn poke(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// A STARTUP that came before it is for nobody.
    fn init(&self) {
        let change = |old: u32| Some(old & !(0xff00 | event::STARTUP) | event::INIT);
        let _ = self.events.fetch_update(Ordering::Release, Ordering::Relaxed, change);
        self.poke();
    }

    fn startup(&self, vector: u8) {
        let change = |old: u32| Some(old & !0xff00 | u32::from(vector) << 8 | event::STARTUP);
        let _ = self.events.fetch_update(Ordering::Release, Ordering::Relaxed, change);
        self.poke();
    }

    /// Takes the events out; cheap when there are none.
    #[inline]
    pub(super) fn take(&self) -> u32 {
        if self.events.load(Ordering::Relaxed) == 0 { 0 } else { self.events.swap(0, Ordering::Acquire) }
    }

    /// Takes the requested vectors out, and tells which of them are level-triggered.
    pub(super) fn take_requests(&self) -> (Vectors, Vectors) {
        let requests = Vectors(std::array::from_fn(|n| self.requests[n].swap(0, Ordering::Acquire)));
        let levels = Vectors(std::array::from_fn(|n| self.levels[n].load(Ordering::Relaxed)));
        (requests, levels)
    }

    pub(super) fn take_nmis(&self) -> u32 {
        self.nmis.swap(0, Ordering::Relaxed)
    }

    fn matches(&self, to: Destination) -> bool {
        let identity = self.identity.load(Ordering::Acquire);
        let (mode, ldr) = (identity >> 32, identity as u32);
        if mode == Mode::Off as u64 {
            return false;
        }
        match to {
            Destination::All => true,
            Destination::AllBut(id) => id != self.id,
            Destination::Physical(id) | Destination::Only(id) => id == self.id,
            Destination::Logical(target) => logical(mode, ldr, target),
        }
    }

    fn accept(&self, message: &Message) {
        match message.delivery {
            Delivery::Fixed | Delivery::Lowest if message.vector >= 16 => {
                self.request(message.vector, message.level);
            }
            Delivery::Nmi => {
                self.nmis.fetch_add(1, Ordering::Relaxed);
                self.post(event::NMI);
            }
            Delivery::Smi => self.post(event::SMI),
            Delivery::Init => self.init(),
            Delivery::Startup => self.startup(message.vector),
            Delivery::ExtInt => self.post(event::EXTINT),
            _ => {}
        }
    }
}

/// Logical destinations: flat, cluster (APM vol. 2, 16.6.1) and x2APIC (16.12).
fn logical(mode: u64, ldr: u32, target: u32) -> bool {
    if mode == Mode::X2 as u64 {
        return target == u32::MAX || target >> 16 == ldr >> 16 && target & ldr & 0xffff != 0;
    }
    let own = ldr >> 24;
    if mode == Mode::Flat as u64 {
        return target & own & 0xff != 0;
    }
    let same = target >> 4 & 0xf == 0xf || target >> 4 & 0xf == own >> 4;
    same && target & own & 0xf != 0
}

/// All local APICs of a machine, and what they are wired to.
pub struct Apics {
    inboxes: Vec<Arc<Inbox>>,
    pic: OnceLock<Arc<dyn ExtInt>>,
    eoi: OnceLock<EoiSink>,
    /// Whose turn it is to take a lowest-priority interrupt.
    pub(super) turn: AtomicUsize,
}

impl Apics {
    /// One for each vCPU; the APIC ID is the vCPU's number.
    pub fn new(vcpus: u32) -> Arc<Self> {
        let inboxes: Vec<_> = (0..vcpus).map(|id| Arc::new(Inbox::new(id))).collect();
        for inbox in &inboxes {
            inbox.publish(Mode::Flat, 0);
        }
        Arc::new(Self { inboxes, pic: OnceLock::new(), eoi: OnceLock::new(), turn: AtomicUsize::new(0) })
    }

    /// Connects the 8259 pair at LINT0 of vCPU 0, and who hears of each EOI.
    pub fn connect(&self, pic: Arc<dyn ExtInt>, eoi: EoiSink) {
        let _ = (self.pic.set(pic), self.eoi.set(eoi));
    }

    /// Sets what is called, on any thread, when vCPU `id` must look at its APIC. The first one stays.
    pub fn on_wake(&self, id: u32, wake: Wake) {
        if let Some(inbox) = self.inboxes.get(id as usize) {
            let _ = inbox.wake.set(wake);
        }
    }

    /// A message-signalled interrupt, from any thread.
    pub fn msi(&self, msi: Msi) {
        if msi.address & !0xf_ffff == base::DEFAULT {
            self.deliver(&Message::from_msi(msi));
        }
    }

    /// The 8259's INTR output changed.
    pub fn extint_changed(&self) {
        if let Some(inbox) = self.inboxes.first() {
            inbox.poke();
        }
    }

    pub fn deliver(&self, message: &Message) {
        let mut matching = self.inboxes.iter().filter(|inbox| inbox.matches(message.to));
        if message.delivery != Delivery::Lowest {
            return matching.for_each(|inbox| inbox.accept(message));
        }
        let count = matching.clone().count().max(1);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        if let Some(inbox) = matching.nth(turn) {
            inbox.accept(message);
        }
    }

    pub(super) fn inbox(&self, id: u32) -> Arc<Inbox> {
        self.inboxes[id as usize].clone()
    }
    pub(super) fn pic(&self) -> Option<&Arc<dyn ExtInt>> {
        self.pic.get()
    }
    pub(super) fn end_of_interrupt(&self, vector: u8, level: bool) {
        if let Some(eoi) = self.eoi.get() {
            eoi(vector, level);
        }
    }
}
