//! A connection's way from the guest: what comes next, what came too early, and what the host has not taken yet. Plain
//! data: no socket, no frame.

use super::sequence::{before, distance};
use std::collections::VecDeque;

/// Bytes that wait for the host at most; so large is the window.
pub const LIMIT: usize = 256 * 1024;
/// How far our windows are shifted, if the guest knows that.
pub const SCALE: u8 = 7;
/// Bytes, and pieces, that came too early and are kept.
const EARLY: usize = 128 * 1024;
const PIECES: usize = 128;

#[derive(Debug)]
pub struct Receiver {
    next: u32,
    /// Behind the last number that the guest may send.
    edge: u32,
    shift: u8,
    waiting: VecDeque<u8>,
    early: Vec<(u32, Vec<u8>)>,
    early_bytes: usize,
    /// Where the stream ends, once the guest said so.
    end: Option<u32>,
    ended: bool,
}

impl Receiver {
    /// Behind the guest's SYN.
    pub fn new(next: u32, scaled: bool) -> Self {
        let shift = if scaled { SCALE } else { 0 };
        let (waiting, early) = Default::default();
        Self { next, edge: next, shift, waiting, early, early_bytes: 0, end: None, ended: false }
    }

    pub fn next(&self) -> u32 {
        self.next
    }

    pub fn held(&self) -> usize {
        self.waiting.len() + self.early_bytes
    }

    /// The whole stream has come.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn room(&self) -> usize {
        LIMIT - self.waiting.len().min(LIMIT)
    }

    /// The window as it is told now: what was told once is not taken back.
    pub fn window(&mut self) -> u16 {
        let told = distance(self.next, self.edge).max(0) as usize;
        let shifted = (self.room().max(told) >> self.shift).min(usize::from(u16::MAX));
        self.edge = self.next.wrapping_add((shifted << self.shift) as u32);
        shifted as u16
    }

    /// Whether the guest should hear that there is more room than it knows of.
    pub fn window_grew(&self) -> bool {
        let told = distance(self.next, self.edge).max(0) as usize;
        let most = self.room().min(usize::from(u16::MAX) << self.shift);
        told < LIMIT / 4 && most >= told + LIMIT / 4
    }

    /// Whether a segment is of this connection at all (RFC 9293, 3.10.7.4).
    pub fn is_near(&self, sequence: u32, len: usize) -> bool {
        let end = sequence.wrapping_add(len as u32);
        !before(end, self.next) && distance(self.next, sequence) <= LIMIT as i32
    }

    /// The part of a payload that comes next.
    pub fn fresh<'p>(&self, sequence: u32, payload: &'p [u8]) -> Option<&'p [u8]> {
        let known = usize::try_from(-i64::from(distance(self.next, sequence))).ok()?;
        payload.get(known..).filter(|fresh| !fresh.is_empty())
    }

    /// The next bytes. What there is no room for did not come.
    pub fn came(&mut self, fresh: &[u8]) {
        let kept = fresh.len().min(self.room());
        self.waiting.extend(&fresh[..kept]);
        self.next = self.next.wrapping_add(kept as u32);
    }

    /// What came too early: kept as long as there is room for it.
    pub fn keep_early(&mut self, sequence: u32, payload: &[u8]) {
        let ahead = distance(self.next, sequence);
        let fits = self.early_bytes + payload.len() <= EARLY && self.early.len() < PIECES;
        let known = self.early.iter().any(|(at, piece)| *at == sequence && piece.len() >= payload.len());
        if ahead > 0 && ahead as usize + payload.len() <= LIMIT && fits && !known && !payload.is_empty() {
            self.early_bytes += payload.len();
            self.early.push((sequence, payload.to_vec()));
        }
    }

    /// A piece that came early and whose time is now.
    pub fn due(&mut self) -> Option<(u32, Vec<u8>)> {
        let at = self.early.iter().position(|(sequence, _)| distance(self.next, *sequence) <= 0)?;
        let (sequence, piece) = self.early.swap_remove(at);
        self.early_bytes -= piece.len();
        Some((sequence, piece))
    }

    /// The guest says that the stream ends there.
    pub fn ends(&mut self, sequence: u32) {
        self.end.get_or_insert(sequence);
    }

    /// Whether the end has come just now; its number counts as received.
    pub fn arrive_at_end(&mut self) -> bool {
        let here = !self.ended && self.end == Some(self.next);
        if here {
            self.ended = true;
            self.next = self.next.wrapping_add(1);
        }
        here
    }

    pub fn waiting(&self) -> &[u8] {
        self.waiting.as_slices().0
    }

    pub fn nothing_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn taken(&mut self, count: usize) {
        self.waiting.drain(..count.min(self.waiting.len()));
    }

    /// Memory that an idle connection does not need.
    pub fn shrink(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_is_left_out() {
        let receiver = Receiver::new(10, true);
        assert_eq!(receiver.fresh(8, b"abcd"), Some(&b"cd"[..]));
        assert_eq!(receiver.fresh(8, b"ab"), None);
        assert_eq!(receiver.fresh(11, b"ab"), None);
    }

    #[test]
    fn what_comes_early_is_given_when_its_time_has_come() {
        let mut receiver = Receiver::new(0, true);
        receiver.keep_early(4, b"efgh");
        assert_eq!(receiver.due(), None);
        receiver.came(b"abcd");
        assert_eq!(receiver.due(), Some((4, b"efgh".to_vec())));
    }

    #[test]
    fn what_comes_early_has_a_bound() {
        let mut receiver = Receiver::new(0, true);
        (0..100_000u32).for_each(|n| receiver.keep_early(1 + n * 2, &[0; 1460]));
        assert!(receiver.held() <= EARLY && receiver.early.len() <= PIECES);
        (0..100_000u32).for_each(|n| receiver.keep_early(1 + n * 2, &[0]));
        assert!(receiver.early.len() <= PIECES);
    }

    #[test]
    fn a_window_that_was_told_is_not_taken_back() {
        let mut receiver = Receiver::new(0, true);
        let before = receiver.window();
        receiver.came(&[0; 1000]);
        let told = (usize::from(before) << SCALE) - 1000;
        assert!(usize::from(receiver.window()) << SCALE >= told - (1 << SCALE));
    }

    #[test]
    fn more_than_the_window_does_not_wait() {
        let mut receiver = Receiver::new(0, true);
        receiver.came(&vec![0; LIMIT + 1000]);
        assert_eq!((receiver.held(), receiver.next()), (LIMIT, LIMIT as u32));
        receiver.window();
        assert_eq!(receiver.window(), 0);
    }

    #[test]
    fn the_end_comes_behind_all_else() {
        let mut receiver = Receiver::new(0, true);
        receiver.ends(4);
        assert!(!receiver.arrive_at_end());
        receiver.came(b"abcd");
        assert!(receiver.arrive_at_end() && !receiver.arrive_at_end());
        assert_eq!(receiver.next(), 5);
    }
}
