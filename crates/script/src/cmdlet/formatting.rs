//! Format-Table, Format-List, Format-Wide, Out-String.

use super::Cmdlet;
use super::pick::{Pick, picks};
use super::stages::all;
use crate::bind::Bound;
use crate::error::Outcome;
use crate::format::{bare_table, list_of, table_of, view};
use crate::interpret::{Interpreter, Sink, property_names};
use crate::types::{cell, formatted, text};
use crate::value::Value;

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Format-Table",
        aliases: &["ft"],
        synopsis: "Shows objects as a table.",
        parameters: "\
Property:any[]@0 The columns: names, wildcards, or @{Name='title'; Expression={ … }}.
AutoSize:switch Columns are always as wide as they must be.
HideTableHeaders:switch Only the rows.
Wrap:switch Accepted; lines are as long as they are.
GroupBy:any One table for each value of a property.
View:string Accepted.
RepeatHeader:switch Accepted.
InputObject:any< The objects; usually they come through the pipeline.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let shown = match bound.item("GroupBy").cloned() {
                    None => table(interpreter, bound, &items)?,
                    Some(by) => grouped(interpreter, bound, by, items)?,
                };
                give(interpreter, shown, out)
            })
        },
    },
    Cmdlet {
        name: "Format-List",
        aliases: &["fl"],
        synopsis: "Shows objects as lists of their properties.",
        parameters: "\
Property:any[]@0 Names, wildcards, or @{Name='title'; Expression={ … }}.
Force:switch Accepted.
View:string Accepted.
InputObject:any< The objects; usually they come through the pipeline.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let mut wanted = picks("Format-List", bound.items("Property"))?;
                if wanted.is_empty() {
                    wanted.push(Pick::Name("*".into()));
                }
                let mut lists = String::new();
                for item in items {
                    if plain(&item) {
                        lists += &view(interpreter, &[item])?;
                        continue;
                    }
                    let mut pairs = Vec::new();
                    for pick in &wanted {
                        for (name, value) in interpreter.picked(pick, &item)? {
                            pairs.push((name, shown(pick, &value)));
                        }
                    }
                    lists += &format!("\n{}", list_of(&pairs));
                }
                if !lists.is_empty() {
                    lists.push('\n');
                }
                give(interpreter, lists, out)
            })
        },
    },
    Cmdlet {
        name: "Format-Wide",
        aliases: &["fw"],
        synopsis: "Shows one property of each object, several in a line.",
        parameters: "\
Property:any@0 The property; otherwise the name.
Column:int How many stand in a line.
AutoSize:switch As many as there is room for.
InputObject:any< The objects; usually they come through the pipeline.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let wanted = picks("Format-Wide", bound.items("Property"))?;
                let mut cells = Vec::new();
                for item in &items {
                    let value = match wanted.first() {
                        Some(pick) => interpreter.key(pick, item)?,
                        None => interpreter.own_member(item, "Name")?.unwrap_or_else(|| item.clone()),
                    };
                    cells.push(crate::characters::printable(&cell(&value)));
                }
                let columns = bound.count("Column")?.unwrap_or(2).max(1);
                let width = (interpreter.terminal.width() / columns).max(2);
                let lines: Vec<String> = cells
                    .chunks(columns)
                    .map(|row| {
                        row.iter()
                            .map(|cell| crate::characters::pad(cell, width, false))
                            .collect::<String>()
                            .trim_end()
                            .to_owned()
                            + "\n"
                    })
                    .collect();
                give(
                    interpreter,
                    if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.concat()) },
                    out,
                )
            })
        },
    },
    Cmdlet {
        name: "Out-String",
        aliases: &["oss"],
        synopsis: "Gives what would be shown, as text.",
        parameters: "\
Width:int Accepted; lines are as long as they are.
Stream:switch Line by line.
NoNewline:switch Without line ends.
InputObject:any[]< The objects.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let shown = view(interpreter, &items)?;
                if bound.switch("Stream") {
                    return shown.lines().try_for_each(|line| out.put(interpreter, line.into()));
                }
                let shown = if bound.switch("NoNewline") { shown.replace('\n', "") } else { shown };
                out.put(interpreter, shown.into())
            })
        },
    },
];

fn give(interpreter: &mut Interpreter<'_>, text: String, out: &mut dyn Sink) -> Outcome {
    if text.is_empty() { Ok(()) } else { out.put(interpreter, Value::Formatted(text.into())) }
}

/// What has no properties to show.
fn plain(item: &Value) -> bool {
    matches!(
        item,
        Value::Text(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Char(_)
            | Value::Formatted(_)
            | Value::Guid(_)
    )
}

fn shown(pick: &Pick, value: &Value) -> String {
    match pick {
        Pick::Made { pattern: Some(pattern), .. } => formatted(value, pattern).unwrap_or_else(|| text(value)),
        _ => cell(value),
    }
}

fn grouped(
    interpreter: &mut Interpreter<'_>,
    bound: &Bound,
    by: Value,
    items: Vec<Value>,
) -> Outcome<String> {
    let wanted = picks("Format-Table", vec![by.clone()])?;
    let mut shown = String::new();
    let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
    for item in items {
        let key = text(&interpreter.key(&wanted[0], &item)?);
        match groups.last_mut() {
            Some((own, members)) if *own == key => members.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    for (key, members) in groups {
        shown += &format!(
            "\n   {}: {}\n{}",
            crate::characters::printable(&text(&by)),
            crate::characters::printable(&key),
            table(interpreter, bound, &members)?
        );
    }
    Ok(shown)
}

fn table(interpreter: &mut Interpreter<'_>, bound: &Bound, items: &[Value]) -> Outcome<String> {
    let wanted = picks("Format-Table", bound.items("Property"))?;
    let Some(first) = items.first() else { return Ok(String::new()) };
    if plain(first) {
        return view(interpreter, items);
    }
    let mut titles: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    let mut right: Vec<Option<bool>> = Vec::new();
    if wanted.is_empty() {
        let own = interpreter.modules.iter().any(|module| module.cells(first).is_some());
        if own || matches!(first, Value::Map(_)) {
            let shown = view(interpreter, items)?;
            return Ok(if bound.switch("HideTableHeaders") {
                shown.split_inclusive('\n').skip(3).collect::<String>().trim_end_matches('\n').to_owned()
                    + "\n"
            } else {
                shown
            });
        }
        titles = property_names(first);
        for item in items {
            let mut row = Vec::new();
            for (at, name) in titles.iter().enumerate() {
                let value = interpreter.member(item, name)?;
                if right.len() <= at {
                    right.push(Some(false));
                }
                right[at] = Some(right[at] == Some(true) || matches!(value, Value::Number(_)));
                row.push(cell(&value));
            }
            rows.push(row);
        }
    } else {
        // First what the columns are, then what they hold.
        let mut columns: Vec<Pick> = Vec::new();
        for pick in &wanted {
            match pick {
                Pick::Made { title, right: own, .. } => {
                    titles.push(title.clone());
                    right.push(*own);
                    columns.push(pick.clone());
                }
                Pick::Name(_) => {
                    for item in items {
                        for (name, _) in interpreter.picked(pick, item)? {
                            if !titles.iter().any(|title| title.eq_ignore_ascii_case(&name)) {
                                titles.push(name.clone());
                                right.push(None);
                                columns.push(Pick::Name(name));
                            }
                        }
                    }
                }
            }
        }
        let mut numbers = vec![false; columns.len()];
        for item in items {
            let mut row = Vec::new();
            for (pick, number) in columns.iter().zip(&mut numbers) {
                let value = interpreter.key(pick, item)?;
                *number |= matches!(value, Value::Number(_));
                row.push(shown(pick, &value));
            }
            rows.push(row);
        }
        for (own, number) in right.iter_mut().zip(numbers) {
            *own = Some(own.unwrap_or(number));
        }
    }
    let right: Vec<bool> = right.into_iter().map(|right| right.unwrap_or(false)).collect();
    Ok(if bound.switch("HideTableHeaders") {
        bare_table(&titles, &rows, &right)
    } else {
        table_of(&titles, &rows, &right)
    })
}
