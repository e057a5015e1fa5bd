//! The chart: bars on a logarithmic scale, as SVG that is legible on light and dark pages.

use super::kernels::{self, Group, KERNELS, Kernel};
use super::results::{Column, Results};
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 70.0;
const BAR: f64 = 9.0;
const GAP: f64 = 9.0;
const TITLE: f64 = 46.0;
/// Colours of our levels, from level 1, and of the peer's.
const OURS: [&str; 4] = ["#0f766e", "#14b8a6", "#5eead4", "#99f6e4"];
const PEERS: [&str; 2] = ["#c2410c", "#fb923c"];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2937}.t{font-size:15px;font-weight:600}\
    .s{font-size:10.5px;fill:#6b7280}.b{font-weight:600}.g{stroke:#d1d5db;stroke-width:1}.one{stroke:#1f2937;stroke-width:1.5}\
    .p{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.s{fill:#9ca3af}.g{stroke:#374151}\
    .one{stroke:#e5e7eb}.p{fill:#111827}}";

/// A logarithmic axis from `least` to `most`.
struct Axis {
    least: f64,
    most: f64,
}

impl Axis {
    /// Whole powers of ten around all values, but no more to the left than is needed.
    fn around(values: impl Iterator<Item = f64>, floor: f64) -> Self {
        let (mut least, mut most) = (floor, floor * 10.0);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            (least, most) = (least.min(value * 0.9), most.max(value));
        }
        Self { least, most: most * 1.15 }
    }

    fn x(&self, value: f64) -> f64 {
        let part = (value.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }

    /// 1, 2 and 5 times the powers of ten within; powers alone where there are many.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.most / self.least > 2e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = (self.least.log10().floor() as i32)..=(self.most.log10().ceil() as i32);
        powers
            .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
            .filter(|tick| (self.least..=self.most).contains(tick))
            .collect()
    }
}

/// The SVG document being written, and how far down it is.
struct Drawing {
    body: String,
    y: f64,
}

/// Draws all groups that were measured.
pub fn svg(results: &Results) -> String {
    let mut drawing = Drawing { body: String::new(), y: 12.0 };
    drawing.legend(results);
    drawing.ratios(results, Group::Compute, "Compute kernels: time against native");
    drawing.ratios(results, Group::System, "System work: time against native");
    drawing.ratios(results, Group::Cold, "Programs, the first time after the start");
    drawing.ratios(results, Group::Warm, "Programs, again: time against native");
    drawing.exits(results);
    let height = drawing.y + 8.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"Ireko's benchmarks\">\n<style>{STYLE}</style>\n\
         <rect class=\"p\" width=\"100%\" height=\"100%\" rx=\"8\"/>\n{}</svg>\n",
        drawing.body
    )
}

fn colour(results: &Results, column: &Column) -> &'static str {
    let peer = column.name.starts_with("TCG");
    let place = results.columns[1..]
        .iter()
        .filter(|other| other.name.starts_with("TCG") == peer)
        .position(|other| other.name == column.name);
    let colours: &[&str] = if peer { &PEERS } else { &OURS };
    colours[place.unwrap_or(0).min(colours.len() - 1)]
}

impl Drawing {
    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    fn line(&mut self, x: f64, top: f64, bottom: f64, class: &str) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\" class=\"{class}\"/>"
        );
    }

    fn bar(&mut self, from: f64, to: f64, colour: &str) {
        let (x, width) = (from.min(to), (to - from).abs().max(1.0));
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>",
            self.y
        );
    }

    fn legend(&mut self, results: &Results) {
        let mut x = LEFT;
        self.y += 6.0;
        for column in results.columns[1..].iter().filter(|column| !column.rounds.is_empty()) {
            self.bar(x, x + 14.0, colour(results, column));
            let text = format!("{} ({})", column.name, column.what);
            self.text(x + 19.0, self.y + BAR, "", "start", &text);
            x += 36.0 + 6.3 * text.len() as f64;
            if x > WIDTH - 200.0 {
                (x, self.y) = (LEFT, self.y + 18.0);
            }
        }
        self.y += 14.0;
    }

    fn ratios(&mut self, results: &Results, group: Group, title: &str) {
        let native = results.native();
        let kernels: Vec<&Kernel> =
            kernels::all().filter(|k| k.group == group && native.ns_per_op(k).is_some()).collect();
        let has = |c: &&Column| kernels.iter().any(|kernel| c.ns_per_op(kernel).is_some());
        let columns: Vec<&Column> = results.columns[1..].iter().filter(has).collect();
        if columns.is_empty() {
            return;
        }
        let values = kernels.iter().flat_map(|kernel| columns.iter().filter_map(|c| c.ratio(native, kernel)));
        let axis = Axis::around(values, 0.9);
        let rows: Vec<(&str, Vec<Option<f64>>)> = kernels
            .iter()
            .map(|kernel| (kernel.name, columns.iter().map(|c| c.ratio(native, kernel)).collect()))
            .chain(std::iter::once((
                "mean",
                columns.iter().map(|c| c.means(native, group).map(|means| means.geometric)).collect(),
            )))
            .collect();
        let height = rows.len() as f64 * (columns.len() as f64 * (BAR + 2.0) + GAP);
        self.head(title, "native = 1, logarithmic, less is better", &axis, height, |tick| format!("{tick}"));
        self.line(axis.x(1.0), self.y - 4.0, self.y + height, "one");
        for (name, ratios) in rows {
            let class = if name == "mean" { "b" } else { "" };
            let middle = self.y + columns.len() as f64 * (BAR + 2.0) / 2.0 + 4.0;
            self.text(LEFT - 10.0, middle, class, "end", name);
            for (column, ratio) in columns.iter().zip(ratios) {
                if let Some(ratio) = ratio {
                    let end = axis.x(ratio);
                    self.bar(axis.x(1.0), end, colour(results, column));
                    let beside = end.max(axis.x(1.0)) + 4.0;
                    self.text(beside, self.y + BAR - 0.5, "s", "start", &format!("{ratio:.2}"));
                }
                self.y += BAR + 2.0;
            }
            self.y += GAP;
        }
    }

    fn exits(&mut self, results: &Results) {
        let Some(kernel) = KERNELS.iter().find(|kernel| kernel.group == Group::Nesting) else { return };
        let times: Vec<(&Column, f64)> = results.columns[1..]
            .iter()
            .filter_map(|column| Some((column, column.ns_per_op(kernel)? / 1e3)))
            .collect();
        if times.is_empty() {
            return;
        }
        let axis = Axis::around(times.iter().map(|(_, us)| *us), 0.1);
        let height = times.len() as f64 * (BAR + GAP);
        let tick = |tick: f64| if tick < 1e3 { format!("{tick} us") } else { format!("{} ms", tick / 1e3) };
        self.head("A CPUID exit, by level", "logarithmic, less is better", &axis, height, tick);
        for (column, us) in times {
            self.text(LEFT - 10.0, self.y + BAR, "", "end", &column.name);
            self.bar(LEFT, axis.x(us), colour(results, column));
            self.text(axis.x(us) + 4.0, self.y + BAR - 0.5, "s", "start", &crate::table::time(us * 1e3));
            self.y += BAR + GAP;
        }
    }

    /// A panel's title and its grid below.
    fn head(&mut self, title: &str, remark: &str, axis: &Axis, height: f64, label: impl Fn(f64) -> String) {
        self.y += 24.0;
        self.text(LEFT, self.y, "t", "start", title);
        self.text(WIDTH - RIGHT, self.y, "s", "end", remark);
        self.y += TITLE - 24.0;
        for tick in axis.ticks() {
            self.line(axis.x(tick), self.y - 4.0, self.y + height, "g");
            self.text(axis.x(tick), self.y - 8.0, "s", "middle", &label(tick));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::*;

    #[test]
    fn a_ten_times_longer_time_is_one_decade_along() {
        let axis = Axis { least: 1.0, most: 100.0 };
        assert!((axis.x(10.0) - (axis.x(1.0) + axis.x(100.0)) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn every_value_has_a_bar() {
        let svg = svg(&results());
        let kernels = KERNELS.len() - 1;
        // Two engines: each kernel, two means, two exits, two legends; and the background.
        assert_eq!(svg.matches("<rect").count(), 2 * kernels + 4 + 2 + 2 + 1);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn names_cannot_break_the_document() {
        let mut results = results();
        results.columns[1].what = "<script>".into();
        assert!(!svg(&results).contains("<script>"));
    }
}
