//! Tables and lists as text.

use super::Shape;
use crate::characters::{pad, printable};
use crate::error::Outcome;
use crate::interpret::Interpreter;
use crate::types::cell;
use crate::value::Value;

/// A table of cells under titles. `right` says which columns stand on the right.
pub fn table(titles: &[String], rows: &[Vec<String>], right: &[bool]) -> String {
    let widths = widths(titles, rows);
    let rules: Vec<String> = titles.iter().map(|title| "-".repeat(title.chars().count())).collect();
    [titles.to_vec(), rules].iter().chain(rows).map(|cells| line(cells, &widths, right)).collect()
}

/// Without titles.
pub fn bare_table(titles: &[String], rows: &[Vec<String>], right: &[bool]) -> String {
    let widths = widths(titles, rows);
    rows.iter().map(|cells| line(cells, &widths, right)).collect()
}

fn widths(titles: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| printable(cell).chars().count());
        cells.chain([titles[at].chars().count()]).max().unwrap_or(0)
    };
    (0..titles.len()).map(width).collect()
}

fn line(cells: &[String], widths: &[usize], right: &[bool]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths.iter().zip(right))
        .map(|(cell, (&width, &right))| pad(&printable(cell), width, right))
        .collect();
    padded.join(" ").trim_end().to_owned() + "\n"
}

/// A table whose first rows were shown.
#[derive(Debug)]
pub struct Begun {
    widths: Vec<usize>,
    right: Vec<bool>,
    pub(super) shape: Shape,
}

impl Begun {
    pub(super) fn new(titles: &[String], rows: &[Vec<String>], right: &[bool], shape: Shape) -> Self {
        Self { widths: widths(titles, rows), right: right.to_vec(), shape }
    }

    pub(super) fn line(&self, cells: &[String]) -> String {
        line(cells, &self.widths, &self.right)
    }
}

/// Between empty lines.
pub fn table_of(titles: &[String], rows: &[Vec<String>], right: &[bool]) -> String {
    if titles.is_empty() || rows.is_empty() {
        return String::new();
    }
    format!("\n{}\n", table(titles, rows, right))
}

/// `Name : value`, a line a property.
pub fn list(interpreter: &mut Interpreter<'_>, item: &Value, names: &[String]) -> Outcome<String> {
    let mut pairs = Vec::new();
    for name in names {
        let value = interpreter.member(item, name)?;
        pairs.push((name.clone(), cell(&value)));
    }
    Ok(list_of(&pairs))
}

pub fn list_of(pairs: &[(String, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    pairs
        .iter()
        .map(|(name, value)| {
            let mut lines = value.split('\n').map(|line| printable(line.trim_end_matches('\r')));
            let first = format!("{} : {}", pad(name, width, false), lines.next().unwrap_or_default());
            let rest: String = lines.map(|line| format!("\n{}{line}", " ".repeat(width + 3))).collect();
            (first + &rest).trim_end().to_owned() + "\n"
        })
        .collect()
}
