//! How objects look when nobody says how, and when Format-Table and its kin do (about_Format.ps1xml, in short: tables for few
//! properties, lists for many).

mod render;

pub use render::{Begun, bare_table, list, list_of, table_of};

use crate::characters::printable;
use crate::error::Outcome;
use crate::interpret::{Interpreter, property_names};
use crate::types::{cell, long_date, text};
use crate::value::Value;

/// Objects with more properties than this are lists, unless their kind has a table.
const COLUMNS: usize = 4;

/// What looks the same; objects of one shape stand together.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A host's own table, by the type.
    Cells(String),
    Table(String, Vec<String>),
    List(String, Vec<String>),
    Map,
}

/// Objects that are a line by themselves.
const LINES: [&str; 5] = [
    "Microsoft.PowerShell.Commands.MatchInfo",
    "System.Management.Automation.WarningRecord",
    "System.Management.Automation.VerboseRecord",
    "System.Management.Automation.DebugRecord",
    "System.Management.Automation.InformationRecord",
];

/// Nothing for what is text, or is shown as text.
pub fn shape(interpreter: &Interpreter<'_>, value: &Value) -> Option<Shape> {
    match value {
        Value::Map(_) => Some(Shape::Map),
        Value::Span(_) => Some(Shape::List("System.TimeSpan".into(), Vec::new())),
        Value::Object(object) if LINES.contains(&&*object.type_name) => None,
        Value::Object(object) => {
            let kind = object.type_name.to_string();
            if interpreter.modules.iter().any(|module| module.cells(value).is_some()) {
                return Some(Shape::Cells(kind));
            }
            let names: Vec<String> = shown_properties(value);
            if names.is_empty() {
                return None;
            }
            let few = names.len() <= COLUMNS;
            Some(if few && fits_a_table(object) {
                Shape::Table(kind, names)
            } else {
                Shape::List(kind, names)
            })
        }
        _ => None,
    }
}

/// A host's own objects without a table of theirs are lists.
fn fits_a_table(object: &crate::value::Object) -> bool {
    object.payload.is_none()
}

/// The properties that an object shows by itself.
fn shown_properties(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object)
            if matches!(&*object.type_name, "System.IO.FileInfo" | "System.IO.DirectoryInfo") =>
        {
            ["Mode", "LastWriteTime", "Length", "Name"].map(str::to_owned).to_vec()
        }
        other => property_names(other),
    }
}

/// What is shown as text, with its line ends.
pub fn plain(_: &mut Interpreter<'_>, value: &Value) -> Outcome<String> {
    Ok(match value {
        Value::Null => String::new(),
        Value::Formatted(text) => text.to_string(),
        Value::Error(record) => record.print(),
        Value::Exception(exception) => printable(&exception.message) + "\n",
        Value::Date(date) => format!("{}\n", long_date(*date)),
        Value::Array(_) => printable(&cell(value)) + "\n",
        other => text(other).split('\n').map(|line| printable(line.trim_end_matches('\r')) + "\n").collect(),
    })
}

/// Everything, as if nobody said how.
pub fn view(interpreter: &mut Interpreter<'_>, items: &[Value]) -> Outcome<String> {
    let mut made = String::new();
    let mut at = 0;
    while at < items.len() {
        let shape = shape(interpreter, &items[at]);
        let count = items[at..].iter().take_while(|item| self::shape(interpreter, item) == shape).count();
        let run = &items[at..at + count];
        at += count;
        match shape {
            None => {
                for item in run {
                    made += &plain(interpreter, item)?;
                }
            }
            Some(shape) => made += &one_shape(interpreter, &shape, run)?,
        }
    }
    Ok(made)
}

fn one_shape(interpreter: &mut Interpreter<'_>, shape: &Shape, run: &[Value]) -> Outcome<String> {
    match shape {
        Shape::List(..) => {
            let mut lists = String::from("\n");
            for item in run {
                let names = shown_properties(item);
                lists += &list(interpreter, item, &names)?;
                lists.push('\n');
            }
            Ok(lists)
        }
        _ => {
            let (titles, rows, right) = rows(interpreter, shape, run)?;
            Ok(format!("\n{}\n", render::table(&titles, &rows, &right)))
        }
    }
}

type Rows = (Vec<String>, Vec<Vec<String>>, Vec<bool>);

/// Titles, cells, and which columns stand on the right.
fn rows(interpreter: &mut Interpreter<'_>, shape: &Shape, run: &[Value]) -> Outcome<Rows> {
    let mut titles: Vec<String> = Vec::new();
    let mut all = Vec::new();
    let mut right: Vec<bool> = Vec::new();
    let mut add = |row: Vec<(String, String, bool)>| {
        if titles.is_empty() {
            titles = row.iter().map(|(title, ..)| title.clone()).collect();
            right = vec![false; row.len()];
        }
        for (slot, (.., number)) in right.iter_mut().zip(&row) {
            *slot |= number;
        }
        all.push(row.into_iter().map(|(_, text, _)| text).collect());
    };
    for item in run {
        match (shape, item) {
            (Shape::Map, Value::Map(map)) => {
                for (key, value) in map.pairs() {
                    add(vec![("Name".into(), text(&key), false), ("Value".into(), cell(&value), false)]);
                }
            }
            (Shape::Cells(_), item) => {
                let cells =
                    interpreter.modules.iter().find_map(|module| module.cells(item)).unwrap_or_default();
                add(cells.into_iter().map(|cell| (cell.title, cell.text, cell.is_number)).collect());
            }
            (_, item) => {
                let mut row = Vec::new();
                for name in shown_properties(item) {
                    let value = interpreter.member(item, &name)?;
                    row.push((name, cell(&value), matches!(value, Value::Number(_))));
                }
                add(row);
            }
        }
    }
    if titles.is_empty() {
        titles = vec!["Name".into(), "Value".into()];
        right = vec![false; 2];
    }
    Ok((titles, all, right))
}

/// The first part of a table that goes on; nothing to go on with for lists.
pub fn begin(interpreter: &mut Interpreter<'_>, items: &[Value]) -> Outcome<(String, Option<Begun>)> {
    let Some(shape) = items.first().and_then(|item| shape(interpreter, item)) else {
        return Ok((view(interpreter, items)?, None));
    };
    if let Shape::List(..) = shape {
        return Ok((view(interpreter, items)?, None));
    }
    let (titles, all, right) = rows(interpreter, &shape, items)?;
    let begun = Begun::new(&titles, &all, &right, shape);
    Ok((format!("\n{}", render::table(&titles, &all, &right)), Some(begun)))
}

/// Further rows of it, as wide as it was.
pub fn more_rows(interpreter: &mut Interpreter<'_>, begun: &Begun, items: &[Value]) -> Outcome<String> {
    if items.is_empty() {
        return Ok(String::new());
    }
    let (_, all, _) = rows(interpreter, &begun.shape, items)?;
    Ok(all.iter().map(|row| begun.line(row)).collect())
}
