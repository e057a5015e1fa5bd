//! Scripts' text, and places in it.

use std::rc::Rc;

/// One script's text.
#[derive(Debug)]
pub struct Source {
    /// The file's path; empty for what was typed.
    pub path: String,
    pub text: String,
    /// Where each line begins.
    starts: Vec<u32>,
}

/// From where to where, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub start: u32,
    pub end: u32,
}

impl Extent {
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end.max(self.start) }
    }
}

/// An extent of a script.
#[derive(Clone, Debug)]
pub struct Position {
    pub source: Rc<Source>,
    pub extent: Extent,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Rc<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Rc::new(Self { path: path.to_owned(), text, starts })
    }

    pub fn slice(&self, extent: Extent) -> &str {
        self.text.get(extent.start as usize..extent.end as usize).unwrap_or_default()
    }

    /// From 1, as PowerShell counts.
    pub fn line(&self, at: u32) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    fn line_text(&self, line: usize) -> &str {
        let start = self.starts.get(line - 1).copied().unwrap_or_default() as usize;
        let rest = &self.text[start.min(self.text.len())..];
        rest.split('\n').next().unwrap_or_default().trim_end_matches('\r')
    }
}

impl Position {
    pub fn line(&self) -> usize {
        self.source.line(self.extent.start)
    }

    /// In characters, from 1.
    pub fn column(&self) -> usize {
        let start = self.source.starts.get(self.line() - 1).copied().unwrap_or_default();
        self.source.slice(Extent { start, end: self.extent.start }).chars().count() + 1
    }

    pub fn line_text(&self) -> &str {
        self.source.line_text(self.line())
    }

    /// How many characters of its first line it has; never none.
    pub fn width(&self) -> usize {
        let first = self.source.slice(self.extent).split('\n').next().unwrap_or_default();
        first.trim_end().chars().count().max(1)
    }

    pub fn text(&self) -> &str {
        self.source.slice(self.extent)
    }
}
