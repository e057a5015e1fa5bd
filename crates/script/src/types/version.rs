//! System.Version: two to four numbers.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// What is not given is -1.
    pub parts: [i32; 4],
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = [-1; 4];
        let numbers: Vec<&str> = text.trim().split('.').collect();
        if !(2..=4).contains(&numbers.len()) {
            return None;
        }
        for (part, number) in parts.iter_mut().zip(numbers) {
            *part = number.parse::<i32>().ok().filter(|number| *number >= 0)?;
        }
        Some(Self { parts })
    }

    pub fn of(numbers: &[i32]) -> Self {
        let mut parts = [-1; 4];
        for (part, number) in parts.iter_mut().zip(numbers) {
            *part = *number;
        }
        Self { parts }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given: Vec<String> =
            self.parts.iter().filter(|part| **part >= 0).map(ToString::to_string).collect();
        f.write_str(&given.join("."))
    }
}
