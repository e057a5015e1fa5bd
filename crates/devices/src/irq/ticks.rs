//! Ticks of the interval timer that came while the one before them was not served yet: the processor's thread waited
//! for the host, or the timer's did. A guest that counts them to know the time (Linux, before it has a better clock,
//! even checks that they come) gets them one after the other, each when the one before it has been served.

/// Ticks that are kept, at most. More than a second of a usual kernel's: what was away for longer has other ways.
pub(super) const MOST: u64 = 1000;

#[derive(Debug, Default)]
pub(super) struct Ticks {
    pub owed: u64,
    /// The vector that the I/O APIC made of the last one, until that is ended.
    pub sent: Option<u8>,
    /// The wire's level between ticks.
    pub level: bool,
}

impl Ticks {
    /// So many are due, of which one is sent now; nothing comes of that if the one before it still waits.
    pub fn owe(&mut self, count: u64, waits: bool) {
        let late = if waits { count } else { count.saturating_sub(1) };
        self.owed = self.owed.saturating_add(late).min(MOST);
    }

    /// Takes one that is owed.
    pub fn pay(&mut self) -> bool {
        let owes = self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        owes
    }

    pub fn forget(&mut self) {
        self.owed = 0;
    }
}
