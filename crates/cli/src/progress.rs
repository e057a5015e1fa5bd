//! Progress for people, on standard error: bars on a terminal, plain lines elsewhere.

use crate::say;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Where progress is shown.
pub struct Progress {
    bars: Option<MultiProgress>,
}

/// Something under way.
pub struct Step {
    what: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { bars: terminal.then(MultiProgress::new) }
    }

    /// Something whose length is not known.
    pub fn step(&self, what: &str) -> Step {
        self.begin(what, || {
            let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        })
    }

    /// Something that is measured in percent.
    pub fn percent(&self, what: &str) -> Step {
        self.begin(what, || ProgressBar::new(100).with_style(style("{bar:30} {percent:>3}% {msg}")))
    }

    /// A line that stays and can be changed; without a terminal, changes are printed as lines.
    pub fn line(&self) -> Step {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner().with_style(style("{spinner} {wide_msg}")));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Step { what: String::new(), bar }
    }

    fn begin(&self, what: &str, bar: impl FnOnce() -> ProgressBar) -> Step {
        let bar = self.bars.as_ref().map(|bars| bars.add(bar()).with_message(what.to_owned()));
        if bar.is_none() {
            say!("{what} ...");
        }
        Step { what: what.to_owned(), bar }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("our own templates are right")
}

impl Step {
    pub fn percent(&self, percent: f64) {
        if let Some(bar) = &self.bar {
            bar.set_position(percent as u64);
        }
    }

    /// Changes a line: `live` is for a terminal, which can show it again and again; `news` is printed elsewhere,
    /// if it is not the same as before.
    pub fn update(&mut self, live: &str, news: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(live.to_owned()),
            None if news != self.what => say!("{news}"),
            None => (),
        }
        self.what = news.to_owned();
    }

    /// Leaves the line as it is, without its spinner.
    pub fn freeze(self) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("  {wide_msg}"));
            bar.abandon();
        }
    }

    pub fn done(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar must not stay on the screen when an error ends the work.
impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take().filter(|bar| !bar.is_finished()) {
            bar.finish_and_clear();
        }
    }
}
