//! Records as text: tables and lists as PowerShell prints them.

use crate::rules::name::is_hidden;
use crate::value::Record;
use crate::view;

/// A table of cells under titles. `right` says which columns stand on the right.
pub fn table(titles: &[String], rows: &[Vec<String>], right: &[bool]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| printable(cell).chars().count());
        cells.chain([titles[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths.iter().zip(right))
            .map(|(cell, (&width, &right))| pad(&printable(cell), width, right))
            .collect();
        padded.join(" ").trim_end().to_owned() + "\n"
    };
    let rules: Vec<String> = titles.iter().map(|title| "-".repeat(title.chars().count())).collect();
    [titles.to_vec(), rules].iter().chain(rows).map(|cells| line(cells)).collect()
}

fn pad(text: &str, width: usize, right: bool) -> String {
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

/// Text from users and guests must not move the cursor or start escape sequences.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// `Name : value`, a line a property.
pub fn list(record: &Record) -> String {
    let width = record.properties.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    record
        .properties
        .iter()
        .map(|(name, value)| {
            let line = format!("{name:<width$} : {}", printable(&value.to_string()));
            line.trim_end().to_owned() + "\n"
        })
        .collect()
}

/// The default view of records in the order given: one table a run of the same kind, lists for the others.
pub fn default_view(records: &[Record]) -> String {
    let runs = records.chunk_by(|one, other| one.kind == other.kind);
    runs.map(view_of_one_kind).collect::<Vec<_>>().join("\n")
}

fn view_of_one_kind(records: &[Record]) -> String {
    let columns = records.first().map_or(&[][..], |record| view::columns(record));
    if columns.is_empty() {
        return records.iter().map(list).collect::<Vec<_>>().join("\n");
    }
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let rows: Vec<Vec<String>> =
        records.iter().map(|record| columns.iter().map(|column| column.cell(record)).collect()).collect();
    let right: Vec<bool> =
        columns.iter().map(|column| records.iter().any(|record| column.is_number(record))).collect();
    table(&titles, &rows, &right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Kind, Value};

    #[test]
    fn a_table_has_titles_rules_and_rows() {
        let titles = ["Name".to_owned(), "N".to_owned()];
        let rows = [vec!["a".to_owned(), "10".to_owned()]];
        assert_eq!(table(&titles, &rows, &[false, true]), "Name  N\n----  -\na    10\n");
    }

    #[test]
    fn a_list_lines_up_its_colons() {
        let record = Record::new(Kind::Custom).with("A", 1).with("Long", Value::Null);
        assert_eq!(list(&record), "A    : 1\nLong :\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!printable("a\x1b[31m\n\u{202e}").contains(['\x1b', '\n', '\u{202e}']));
    }
}
