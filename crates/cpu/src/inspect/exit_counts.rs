//! How often a world exited for what: by the vendor's codes, in room that never grows.

/// Codes that are counted one by one. A prime, so that codes that follow each other and those far apart share few places.
const PLACES: usize = 193;

#[derive(Clone)]
pub struct ExitCounts {
    /// The code at each place, and how often; 0: nothing is there.
    places: [(u64, u64); PLACES],
    others: u64,
}

impl ExitCounts {
    pub const fn new() -> Self {
        Self { places: [(0, 0); PLACES], others: 0 }
    }

    pub fn add(&mut self, code: u64) {
        let first = (code % PLACES as u64) as usize;
        let (before, from) = self.places.split_at_mut(first);
        match from.iter_mut().chain(before).find(|(there, times)| *times == 0 || *there == code) {
            Some(place) => *place = (code, place.1 + 1),
            None => self.others += 1,
        }
    }

    /// Most first, by name.
    pub fn named<N: From<&'static str>>(&self, name: impl Fn(u64) -> N) -> Vec<(N, u64)> {
        let some = self.places.iter().filter(|(_, times)| *times > 0);
        let mut rows: Vec<_> = some.map(|&(code, times)| (name(code), times)).collect();
        if self.others > 0 {
            rows.push(("others".into(), self.others));
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.1));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_share_a_place_are_counted_apart() {
        let mut counts = ExitCounts::new();
        [5, 5 + PLACES as u64, 5].into_iter().for_each(|code| counts.add(code));
        let rows = counts.named(|code| if code == 5 { "five" } else { "the other" });
        assert_eq!(rows, [("five", 2), ("the other", 1)]);
    }

    #[test]
    fn codes_without_a_place_are_others() {
        let mut counts = ExitCounts::new();
        (0..200).for_each(|code| counts.add(code));
        assert_eq!(counts.named(|_| "one").iter().find(|row| row.0 == "others"), Some(&("others", 7)));
    }
}
