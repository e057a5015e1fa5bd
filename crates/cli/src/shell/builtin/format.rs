//! Format-Table, Format-List, ConvertTo-Json, ConvertTo-Csv, Out-String.

use super::pick::{Pick, picks};
use super::{Builtin, Call, Words, any};
use crate::shell::fault::Flow;
use crate::shell::item::{Item, record};
use crate::shell::session::Session;
use crate::shell::show::{self, Column, Source};
use ireko_manage::operation::parameter::{int, switch};
use ireko_manage::{Parameter, Value, render};

type Items = Result<Vec<Item>, Flow>;

const INPUT: Parameter = any("InputObject", "The objects; usually they come through the pipeline.");

pub static BUILTINS: &[Builtin] = &[
    Builtin {
        name: "Format-Table",
        aliases: &["ft"],
        doc: "Shows objects as a table.",
        parameters: &[
            any("Property", "The columns: names, wildcards, or @{Name='title'; Expression={ … }}.")
                .many()
                .at(0),
            switch("AutoSize", "Columns are always as wide as they must be."),
            switch("HideTableHeaders", "Only the rows."),
            switch("Wrap", "Accepted; lines are as long as they are."),
            INPUT,
        ],
        words: Words::Parameters,
        run: table,
    },
    Builtin {
        name: "Format-List",
        aliases: &["fl"],
        doc: "Shows objects as lists of their properties.",
        parameters: &[
            any("Property", "Names, wildcards, or @{Name='title'; Expression={ … }}.").many().at(0),
            INPUT,
        ],
        words: Words::Parameters,
        run: list,
    },
    Builtin {
        name: "ConvertTo-Json",
        aliases: &[],
        doc: "Gives JSON.",
        parameters: &[
            any("InputObject", "The objects; usually they come through the pipeline.").at(0),
            int("Depth", 0, 100, "Accepted; everything is shown."),
            switch("Compress", "On one line."),
            switch("AsArray", "An array also of one object."),
        ],
        words: Words::Parameters,
        run: json,
    },
    Builtin {
        name: "ConvertTo-Csv",
        aliases: &[],
        doc: "Gives lines of comma-separated values.",
        parameters: &[
            any("InputObject", "The objects; usually they come through the pipeline.").at(0),
            switch("NoTypeInformation", "Accepted; there is no line of type information.").alias(&["NTI"]),
        ],
        words: Words::Parameters,
        run: csv,
    },
    Builtin {
        name: "Out-String",
        aliases: &[],
        doc: "Gives what would be shown, as text.",
        parameters: &[
            INPUT,
            int("Width", 2, i64::MAX, "Accepted; lines are as long as they are."),
            switch("Stream", "Line by line."),
        ],
        words: Words::Parameters,
        run: string,
    },
];

fn table(session: &mut Session<'_>, call: &Call) -> Items {
    let items = call.objects("InputObject");
    let wanted = picks("Format-Table", call.bound.items("Property"))?;
    let Some(first) = items.first().filter(|item| !item.names().is_empty()) else {
        return formatted(show::default_view(&items));
    };
    let columns = if wanted.is_empty() { own_columns(first) } else { columns(session, &wanted, &items)? };
    if call.bound.switch("HideTableHeaders") {
        let rows = show::bare_table(&columns, &items);
        return formatted(rows.split_inclusive('\n').skip(2).collect());
    }
    formatted(show::table(&columns, &items))
}

fn own_columns(first: &Item) -> Vec<Column> {
    let own = first.record().and_then(show::columns);
    own.unwrap_or_else(|| first.names().into_iter().map(Column::property).collect())
}

fn columns(session: &mut Session<'_>, wanted: &[Pick], items: &[Item]) -> Result<Vec<Column>, Flow> {
    let mut columns: Vec<Column> = Vec::new();
    for pick in wanted {
        match pick {
            Pick::Made { title, right, .. } => {
                let cells = items.iter().map(|item| session.key(pick, item)).collect::<Result<_, _>>()?;
                columns.push(Column { title: title.clone(), source: Source::Cells(cells), right: *right });
            }
            Pick::Name(_) => {
                let mut names = Vec::new();
                for item in items {
                    names.extend(session.picked(pick, item)?.into_iter().map(|(name, _)| name));
                }
                for name in names {
                    if !columns.iter().any(|column| column.title.eq_ignore_ascii_case(&name)) {
                        columns.push(Column::property(name));
                    }
                }
            }
        }
    }
    Ok(columns)
}

fn list(session: &mut Session<'_>, call: &Call) -> Items {
    let mut wanted = picks("Format-List", call.bound.items("Property"))?;
    if wanted.is_empty() {
        wanted.push(Pick::Name("*".into()));
    }
    let mut lists = Vec::new();
    for item in call.objects("InputObject") {
        if item.names().is_empty() || matches!(item, Item::Value(Value::Text(_))) {
            lists.push(show::default_view(&[item]));
            continue;
        }
        let mut pairs = Vec::new();
        for pick in &wanted {
            pairs.extend(session.picked(pick, &item)?);
        }
        lists.push(render::list(&record(&pairs)));
    }
    formatted(show::lists(lists.into_iter()))
}

fn formatted(text: String) -> Items {
    Ok(if text.is_empty() { Vec::new() } else { vec![Item::Formatted(text)] })
}

fn json(_: &mut Session<'_>, call: &Call) -> Items {
    let items = call.objects("InputObject");
    let value =
        if call.bound.switch("AsArray") { Item::List(items).value() } else { Item::of(items).value() };
    let text = match call.bound.switch("Compress") {
        true => serde_json::to_string(&value),
        false => serde_json::to_string_pretty(&value),
    };
    match text {
        Ok(text) => Ok(vec![text.into()]),
        Err(error) => Err(call.fault("JsonSerialization", error.to_string()).into()),
    }
}

fn csv(_: &mut Session<'_>, call: &Call) -> Items {
    let items = call.objects("InputObject");
    let Some(names) = items.first().map(Item::names) else { return Ok(Vec::new()) };
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let line = |cells: Vec<String>| Item::from(cells.join(","));
    let header = line(names.iter().map(|name| quoted(name)).collect());
    let rows =
        items.iter().map(|item| line(names.iter().map(|name| quoted(&item.member(name).cell())).collect()));
    Ok(std::iter::once(header).chain(rows).collect())
}

fn string(_: &mut Session<'_>, call: &Call) -> Items {
    let text = show::default_view(&call.objects("InputObject"));
    Ok(match call.bound.switch("Stream") {
        true => text.lines().map(Item::from).collect(),
        false => vec![text.into()],
    })
}
