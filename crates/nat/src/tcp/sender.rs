//! A connection's way to the guest: what it has not acknowledged yet, and how much more may be sent. Plain data: no
//! socket, no frame.

use super::sequence::{before, distance};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes that wait for the guest at most.
pub const LIMIT: usize = 256 * 1024;

/// RFC 6298, 2: before anything was measured, and the least and most that is waited.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
const LEAST_TIMEOUT: Duration = Duration::from_millis(200);
const MOST_TIMEOUT: Duration = Duration::from_secs(60);
/// So often it is sent again before the connection is given up (RFC 1122, 4.2.3.5: more than 100 seconds).
const TRIES: u32 = 9;
/// RFC 6928: segments at the start.
const FIRST_WINDOW: usize = 10;

/// A piece to send: it begins so far behind what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub sequence: u32,
    pub start: usize,
    pub len: usize,
    /// With it the stream ends.
    pub end: bool,
    /// Nothing is behind it for now.
    pub push: bool,
}

/// What the passing of time comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    NotYet,
    /// Something is to be sent again.
    Again,
    /// The guest's window was closed: it is asked.
    Probe,
    GiveUp,
}

#[derive(Debug)]
pub struct Sender {
    /// The first number that is not acknowledged, the next that is sent, and the one behind the last that was.
    first: u32,
    next: u32,
    last: u32,
    /// What the guest takes, from `first` on, and how its windows are shifted.
    window: usize,
    pub scale: u8,
    pub segment: usize,
    data: VecDeque<u8>,
    ended: bool,
    end_acknowledged: bool,
    /// RFC 5681: the congestion window, and where it begins to grow slowly.
    congestion: usize,
    threshold: usize,
    duplicates: u8,
    /// Loss is mended up to there (RFC 6582).
    recover: Option<u32>,
    /// RFC 6298.
    smoothed: Option<(Duration, Duration)>,
    timed: Option<(u32, Instant)>,
    timeout: Duration,
    tries: u32,
    pub deadline: Option<Instant>,
}

impl Sender {
    /// From this number on: that of the SYN.
    pub fn new(sequence: u32) -> Self {
        Self {
            first: sequence,
            next: sequence,
            last: sequence,
            window: 0,
            scale: 0,
            segment: 536,
            data: VecDeque::new(),
            ended: false,
            end_acknowledged: false,
            congestion: 0,
            threshold: usize::MAX,
            duplicates: 0,
            recover: None,
            smoothed: None,
            timed: None,
            timeout: FIRST_TIMEOUT,
            tries: 0,
            deadline: None,
        }
    }

    pub fn first(&self) -> u32 {
        self.first
    }
    /// The number behind all that was ever sent.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// The SYN was sent, and is sent again until it is acknowledged.
    pub fn syn_sent(&mut self, now: Instant) {
        self.deadline = Some(now + self.timeout);
    }

    /// The SYN was acknowledged.
    pub fn established(&mut self, window: u16, scaled: bool) {
        self.first = self.first.wrapping_add(1);
        (self.next, self.last) = (self.first, self.first);
        self.window = if scaled { self.shifted(window) } else { usize::from(window) };
        self.congestion = FIRST_WINDOW * self.segment;
        (self.tries, self.timeout, self.deadline) = (0, FIRST_TIMEOUT, None);
    }

    fn shifted(&self, window: u16) -> usize {
        usize::from(window) << self.scale
    }

    /// Bytes that wait here.
    pub fn held(&self) -> usize {
        self.data.len()
    }

    /// How many more bytes are worth having.
    pub fn room(&self) -> usize {
        let useful = (2 * self.window).clamp(16 * 1024, LIMIT);
        if self.ended { 0 } else { useful.saturating_sub(self.data.len()) }
    }

    pub fn give(&mut self, bytes: &[u8]) {
        self.data.extend(bytes);
    }

    /// The host's end of the stream.
    pub fn end(&mut self) {
        self.ended = true;
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Everything and the end was acknowledged.
    pub fn is_done(&self) -> bool {
        self.end_acknowledged
    }

    /// Numbers that were sent since the last loss and are not acknowledged.
    fn flight(&self) -> usize {
        self.next.wrapping_sub(self.first) as usize
    }

    fn allowed(&self) -> usize {
        self.window.min(self.congestion)
    }

    /// What is to be sent next. RFC 9293, 3.8.6.2.1: no small pieces while others are under way.
    pub fn piece(&self) -> Option<Piece> {
        let start = self.flight();
        let unsent = self.data.len().saturating_sub(start);
        let end_waits = self.ended && !self.end_acknowledged && start <= self.data.len();
        let len = unsent.min(self.segment).min(self.allowed().saturating_sub(start));
        let small = len < self.segment && len < unsent && start > 0;
        if unsent == 0 && !end_waits || unsent > 0 && len == 0 || small {
            return None;
        }
        let push = start + len == self.data.len();
        Some(Piece { sequence: self.next, start, len, end: end_waits && push, push })
    }

    /// What is missing at the other end.
    pub fn first_piece(&self) -> Piece {
        let len = self.data.len().min(self.segment);
        let push = len == self.data.len();
        let end = self.ended && push && !self.end_acknowledged;
        Piece { sequence: self.first, start: 0, len, end, push }
    }

    /// Its bytes, in two pieces.
    pub fn bytes(&self, piece: &Piece) -> [&[u8]; 2] {
        let (a, b) = self.data.as_slices();
        let (from, to) = (piece.start, piece.start + piece.len);
        let part = |slice: &[u8], base: usize| {
            let clamp = |at: usize| at.saturating_sub(base).min(slice.len());
            clamp(from)..clamp(to)
        };
        [&a[part(a, 0)], &b[part(b, a.len())]]
    }

    pub fn sent(&mut self, piece: &Piece, now: Instant) {
        let end = piece.sequence.wrapping_add(piece.len as u32 + u32::from(piece.end));
        if before(self.next, end) {
            self.next = end;
        }
        match before(self.last, end) {
            true => {
                self.last = end;
                self.timed.get_or_insert((end, now));
            }
            // RFC 6298, 3: what was sent twice is not measured.
            false => self.timed = None,
        }
        self.deadline.get_or_insert(now + self.timeout);
    }

    /// Nothing more can be sent now. A closed window is asked about after a while.
    pub fn rests(&mut self, now: Instant) {
        if self.window == 0 && !self.data.is_empty() {
            self.deadline.get_or_insert(now + self.timeout);
        }
    }

    /// An acknowledgment. True: the first piece is to be sent again at once.
    pub fn acknowledged(&mut self, number: u32, window: u16, bare: bool, now: Instant) -> bool {
        let news = distance(self.first, number);
        if news < 0 || before(self.last, number) {
            return false;
        }
        let window = self.shifted(window);
        let again = match news {
            0 => self.duplicate(bare && window == self.window),
            news => self.progress(number, news as usize, now),
        };
        if self.flight() == 0 {
            self.tries = 0;
        }
        if self.window == 0 && window > 0 && self.first == self.last {
            (self.deadline, self.timeout) = (None, FIRST_TIMEOUT);
        }
        self.window = window;
        again
    }

    /// RFC 5681, 3.2.
    fn duplicate(&mut self, counts: bool) -> bool {
        if !counts || self.first == self.last {
            return false;
        }
        if self.recover.is_some() {
            self.congestion += self.segment;
            return false;
        }
        self.duplicates = self.duplicates.saturating_add(1);
        if self.duplicates != 3 {
            return false;
        }
        self.threshold = (self.flight() / 2).max(2 * self.segment);
        self.congestion = self.threshold + 3 * self.segment;
        self.recover = Some(self.last);
        true
    }

    fn progress(&mut self, number: u32, news: usize, now: Instant) -> bool {
        let bytes = news.min(self.data.len());
        self.data.drain(..bytes);
        self.end_acknowledged |= news > bytes;
        self.first = number;
        if before(self.next, number) {
            self.next = number;
        }
        if let Some((_, sent)) = self.timed.take_if(|(end, _)| !before(number, *end)) {
            self.measured(now.saturating_duration_since(sent));
        }
        if self.tries > 0 {
            self.tries = 0;
            self.timeout = self.timeout_now();
        }
        self.duplicates = 0;
        self.deadline = (self.first != self.last).then(|| now + self.timeout);
        match self.recover {
            Some(recover) if before(number, recover) => return true,
            Some(_) => {
                self.recover = None;
                self.congestion = self.threshold;
            }
            None if self.congestion < self.threshold => self.congestion += news.min(2 * self.segment),
            None => self.congestion += (self.segment * self.segment / self.congestion.max(1)).max(1),
        }
        self.congestion = self.congestion.min(2 * LIMIT);
        false
    }

    /// RFC 6298, 2.
    fn measured(&mut self, time: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (time, time / 2),
            Some((smoothed, varied)) => {
                (smoothed * 7 / 8 + time / 8, varied * 3 / 4 + smoothed.abs_diff(time) / 4)
            }
        });
        self.timeout = self.timeout_now();
    }

    fn timeout_now(&self) -> Duration {
        let measured = self.smoothed.map_or(FIRST_TIMEOUT, |(smoothed, varied)| smoothed + 4 * varied);
        measured.clamp(LEAST_TIMEOUT, MOST_TIMEOUT)
    }

    pub fn timeout(&mut self, now: Instant) -> Timeout {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Timeout::NotYet;
        }
        if self.tries >= TRIES {
            return Timeout::GiveUp;
        }
        self.tries += 1;
        self.timeout = (self.timeout * 2).min(MOST_TIMEOUT);
        self.deadline = Some(now + self.timeout);
        self.timed = None;
        if self.first == self.last && self.window == 0 && !self.data.is_empty() {
            return Timeout::Probe;
        }
        self.threshold = (self.flight() / 2).max(2 * self.segment);
        self.congestion = self.segment;
        (self.next, self.recover, self.duplicates) = (self.first, None, 0);
        Timeout::Again
    }

    /// Memory that an idle connection does not need.
    pub fn shrink(&mut self) {
        if self.data.is_empty() {
            self.data = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(window: u16) -> (Sender, Instant) {
        let mut sender = Sender::new(100);
        sender.segment = 1000;
        sender.established(window, false);
        (sender, Instant::now())
    }

    fn send_all(sender: &mut Sender, now: Instant) -> usize {
        let mut count = 0;
        while let Some(piece) = sender.piece() {
            sender.sent(&piece, now);
            count += 1;
        }
        count
    }

    #[test]
    fn no_more_is_sent_than_the_guest_takes() {
        let (mut sender, now) = open(2500);
        sender.give(&[1; 10_000]);
        send_all(&mut sender, now);
        assert_eq!(sender.flight(), 2000);
    }

    #[test]
    fn what_is_acknowledged_makes_room() {
        let (mut sender, now) = open(2000);
        sender.give(&[1; 5000]);
        send_all(&mut sender, now);
        sender.acknowledged(sender.first().wrapping_add(1000), 2000, true, now);
        assert_eq!(sender.piece().map(|piece| (piece.start, piece.len)), Some((1000, 1000)));
    }

    #[test]
    fn an_acknowledgment_of_what_was_never_sent_is_none() {
        let (mut sender, now) = open(2000);
        sender.give(&[1; 1000]);
        let first = sender.first();
        sender.acknowledged(first.wrapping_add(500), 2000, true, now);
        assert_eq!(sender.first(), first);
    }

    #[test]
    fn three_duplicates_send_again_at_once() {
        let (mut sender, now) = open(9000);
        sender.give(&[1; 8000]);
        send_all(&mut sender, now);
        let first = sender.first();
        let asked: Vec<bool> = (0..4).map(|_| sender.acknowledged(first, 9000, true, now)).collect();
        assert_eq!(asked, [false, false, true, false]);
        assert_eq!(sender.first_piece().sequence, first);
    }

    #[test]
    fn time_sends_again_from_the_start_and_gives_up_at_last() {
        let (mut sender, mut now) = open(9000);
        sender.give(&[1; 3000]);
        send_all(&mut sender, now);
        for _ in 0..TRIES {
            now = sender.deadline.unwrap();
            assert_eq!(sender.timeout(now), Timeout::Again);
            assert_eq!(sender.piece().map(|piece| piece.start), Some(0));
        }
        assert_eq!(sender.timeout(sender.deadline.unwrap()), Timeout::GiveUp);
    }

    #[test]
    fn the_end_is_behind_the_last_byte() {
        let (mut sender, now) = open(9000);
        sender.give(&[1; 1500]);
        sender.end();
        let first = sender.piece().unwrap();
        sender.sent(&first, now);
        let second = sender.piece().unwrap();
        sender.sent(&second, now);
        assert_eq!((first.end, second.end, second.len), (false, true, 500));
        assert_eq!(sender.piece(), None);
        sender.acknowledged(sender.first().wrapping_add(1500), 9000, true, now);
        assert!(!sender.is_done());
        sender.acknowledged(sender.first().wrapping_add(1), 9000, true, now);
        assert!(sender.is_done());
    }

    #[test]
    fn an_end_that_was_lost_is_sent_again() {
        let (mut sender, now) = open(9000);
        sender.end();
        send_all(&mut sender, now);
        assert_eq!(sender.timeout(sender.deadline.unwrap()), Timeout::Again);
        assert_eq!(sender.piece().map(|piece| (piece.len, piece.end)), Some((0, true)));
    }

    #[test]
    fn a_closed_window_is_asked_about() {
        let (mut sender, now) = open(0);
        sender.give(&[1; 10]);
        assert_eq!(sender.piece(), None);
        sender.rests(now);
        assert_eq!(sender.timeout(sender.deadline.unwrap()), Timeout::Probe);
    }

    #[test]
    fn bytes_come_as_they_were_given() {
        let (mut sender, now) = open(9000);
        let bytes: Vec<u8> = (0..2500u32).map(|n| n as u8).collect();
        sender.give(&bytes[..1500]);
        send_all(&mut sender, now);
        sender.acknowledged(sender.first().wrapping_add(1500), 9000, true, now);
        sender.give(&bytes[1500..]);
        let piece = sender.piece().unwrap();
        assert_eq!(sender.bytes(&piece).concat(), &bytes[1500..]);
    }
}
