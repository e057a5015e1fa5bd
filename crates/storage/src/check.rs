//! What a look at an image's tables found.

use crate::Format;
use std::fmt;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// Room that nobody uses.
    Leak,
    /// Numbers that can be counted again.
    Counts,
    /// Something refers to what is not there.
    Broken,
}

/// Sentences that are kept, so that a report is bounded.
const MOST: usize = 32;

#[derive(Clone, Debug)]
pub struct Report {
    pub format: Format,
    pub leaks: u64,
    pub counts: u64,
    pub broken: u64,
    /// Bytes of the disk that this image itself has.
    pub allocated: u64,
    /// The first of what was found.
    pub sentences: Vec<String>,
    pub repaired: bool,
    first_broken: Option<String>,
}

impl Report {
    pub fn new(format: Format) -> Self {
        let sentences = Vec::new();
        Self {
            format,
            leaks: 0,
            counts: 0,
            broken: 0,
            allocated: 0,
            sentences,
            repaired: false,
            first_broken: None,
        }
    }

    pub fn damage(&mut self, damage: Damage, what: String) {
        match damage {
            Damage::Leak => self.leaks += 1,
            Damage::Counts => self.counts += 1,
            Damage::Broken => {
                self.broken += 1;
                self.first_broken.get_or_insert_with(|| what.clone());
            }
        }
        if self.sentences.len() < MOST {
            self.sentences.push(what);
        }
    }

    pub fn broken(&self) -> Option<&str> {
        self.first_broken.as_deref()
    }

    /// Leaks and counts are put right.
    pub fn repaired(&mut self) {
        self.repaired = true;
    }

    /// Nothing is wrong that matters: leaks cost room only.
    pub fn sound(&self) -> bool {
        self.broken == 0 && (self.counts == 0 || self.repaired)
    }

    /// Nothing at all was found.
    pub fn clean(&self) -> bool {
        self.broken == 0 && self.counts == 0 && self.leaks == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.clean() {
            return f.write_str("nothing is wrong");
        }
        let mut parts = Vec::new();
        for (count, what) in
            [(self.broken, "damaged"), (self.counts, "miscounted"), (self.leaks, "unused but kept")]
        {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        write!(f, "{}{}", parts.join(", "), if self.repaired { "; repaired" } else { "" })
    }
}
