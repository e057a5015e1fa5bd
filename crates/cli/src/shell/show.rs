//! How results look when nobody says how: tables for few properties, lists for many.

use super::item::{Item, record};
use ireko_manage::{Kind, Record, Value, render, view};

/// Records with more properties than this are lists, unless their kind has a table.
const COLUMNS: usize = 4;

/// Objects of the same shape stand together.
pub fn default_view(items: &[Item]) -> String {
    items.chunk_by(|one, other| shape(one) == shape(other)).map(run).collect()
}

/// What looks the same: a record's kind, and of made records the properties.
fn shape(item: &Item) -> Option<(Kind, Vec<String>)> {
    let record = item.record()?;
    let names = if record.kind == Kind::Custom { item.names() } else { Vec::new() };
    Some((record.kind, names))
}

fn run(items: &[Item]) -> String {
    let records: Vec<&Record> = items.iter().filter_map(Item::record).collect();
    match records.first() {
        None => items.iter().map(plain).collect(),
        Some(first) => match columns(first) {
            Some(columns) => table(&columns, items),
            None => lists(records.into_iter().map(render::list)),
        },
    }
}

fn plain(item: &Item) -> String {
    match item {
        Item::Formatted(text) => text.clone(),
        Item::Map(pairs) => {
            let rows: Vec<Item> = pairs
                .iter()
                .map(|(name, item)| {
                    record(&[("Name".into(), name.as_str().into()), ("Value".into(), item.cell().into())])
                        .into()
                })
                .collect();
            default_view(&rows)
        }
        item if item.is_null() => String::new(),
        item => item
            .text()
            .split('\n')
            .map(|line| render::printable(line.trim_end_matches('\r')) + "\n")
            .collect(),
    }
}

/// A column: its title, and where its cells come from.
pub struct Column {
    pub title: String,
    pub source: Source,
    pub right: Option<bool>,
}

pub enum Source {
    /// Of the kind's own table.
    View(&'static view::Column),
    Property(String),
    /// Worked out before, one for each object.
    Cells(Vec<Item>),
}

impl Column {
    pub fn property(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { title: name.clone(), source: Source::Property(name), right: None }
    }

    fn cell(&self, at: usize, item: &Item) -> (String, bool) {
        let of = |item: Item| {
            let number = matches!(item.value(), Value::Int(_) | Value::Float(_));
            (item.cell(), number)
        };
        match (&self.source, item.record()) {
            (Source::View(column), Some(record)) => (column.cell(record), column.is_number(record)),
            (Source::View(_), None) => (String::new(), false),
            (Source::Property(name), _) => of(item.member(name)),
            (Source::Cells(cells), _) => cells.get(at).cloned().map_or((String::new(), false), of),
        }
    }
}

/// The columns that a record shows by itself, if it is shown as a table.
pub fn columns(record: &Record) -> Option<Vec<Column>> {
    let own = view::columns(record);
    if !own.is_empty() {
        let column = |column: &'static view::Column| Column {
            title: column.title.into(),
            source: Source::View(column),
            right: None,
        };
        return Some(own.iter().map(column).collect());
    }
    let few = record.kind == Kind::Custom && record.properties.len() <= COLUMNS;
    few.then(|| record.properties.iter().map(|(name, _)| Column::property(name.as_ref())).collect())
}

/// A table between empty lines.
pub fn table(columns: &[Column], items: &[Item]) -> String {
    if items.is_empty() || columns.is_empty() {
        return String::new();
    }
    format!("\n{}\n", bare_table(columns, items))
}

pub fn bare_table(columns: &[Column], items: &[Item]) -> String {
    let titles: Vec<String> = columns.iter().map(|column| column.title.clone()).collect();
    let mut numbers = vec![false; columns.len()];
    let mut rows = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let cells = columns.iter().map(|column| column.cell(at, item));
        rows.push(
            cells
                .zip(&mut numbers)
                .map(|((cell, number), any)| {
                    *any |= number;
                    cell
                })
                .collect(),
        );
    }
    let right: Vec<bool> =
        columns.iter().zip(numbers).map(|(column, number)| column.right.unwrap_or(number)).collect();
    render::table(&titles, &rows, &right)
}

/// Lists with empty lines between and around.
pub fn lists(lists: impl Iterator<Item = String>) -> String {
    let all: String = lists.map(|list| list + "\n").collect();
    if all.is_empty() { all } else { format!("\n{all}") }
}
