//! Select-, Where-, ForEach-, Sort-, Group- and Measure-Object.

use super::pick::{Pick, picks};
use super::{Builtin, Call, Words, any};
use crate::shell::fault::Flow;
use crate::shell::item::{Item, NULL, record};
use crate::shell::operate::{compare, operate, order};
use crate::shell::session::Session;
use crate::shell::syntax::{COMPARISONS, Case, Operator};
use ireko_manage::operation::parameter::{int, switch, text};
use ireko_manage::{Parameter, Value};
use std::cmp::Ordering;

type Items = Result<Vec<Item>, Flow>;

const INPUT: Parameter = any("InputObject", "The objects; usually they come through the pipeline.");

pub static BUILTINS: &[Builtin] = &[
    Builtin {
        name: "Select-Object",
        aliases: &["select"],
        doc: "Gives some properties of objects, or some of the objects.",
        parameters: &[
            any("Property", "Names, wildcards, or @{Name='title'; Expression={ … }}.").many().at(0),
            text("ExcludeProperty", "Names or wildcards that are left out.").many(),
            text("ExpandProperty", "The property whose values come instead of the objects."),
            int("First", 0, i64::MAX, "So many from the beginning."),
            int("Last", 0, i64::MAX, "So many from the end."),
            int("Skip", 0, i64::MAX, "Without so many from the beginning."),
            int("Index", 0, i64::MAX, "Those at these places, from 0.").many(),
            switch("Unique", "Equal ones only once."),
            INPUT,
        ],
        words: Words::Parameters,
        run: select,
    },
    Builtin {
        name: "Where-Object",
        aliases: &["where", "?"],
        doc: "Gives the objects that fit: { $_.State -eq 'Running' } or State -eq Running.",
        parameters: WHERE,
        words: Words::Parameters,
        run: filter,
    },
    Builtin {
        name: "ForEach-Object",
        aliases: &["foreach", "%"],
        doc: "Runs a script block for each object, or gives one member of each.",
        parameters: &[
            any("Process", "The script block, with $_ for the object; or a member's name.")
                .alias(&["MemberName"])
                .at(0),
            any("Begin", "Runs before the first."),
            any("End", "Runs after the last."),
            INPUT,
        ],
        words: Words::Parameters,
        run: for_each,
    },
    Builtin {
        name: "Sort-Object",
        aliases: &["sort"],
        doc: "Puts objects in order.",
        parameters: &[
            any("Property", "What counts: names, or script blocks.").many().at(0),
            switch("Descending", "The greatest first."),
            switch("Unique", "Equal ones only once."),
            INPUT,
        ],
        words: Words::Parameters,
        run: sort,
    },
    Builtin {
        name: "Group-Object",
        aliases: &["group"],
        doc: "Puts objects together that have the same value.",
        parameters: &[
            any("Property", "What must be the same.").many().at(0),
            switch("NoElement", "Only names and counts."),
            INPUT,
        ],
        words: Words::Parameters,
        run: group,
    },
    Builtin {
        name: "Measure-Object",
        aliases: &["measure"],
        doc: "Counts objects, and adds up a property of them.",
        parameters: &[
            text("Property", "The property with the numbers.").many().at(0),
            switch("Sum", "All together."),
            switch("Average", "Their mean."),
            switch("Maximum", "The greatest."),
            switch("Minimum", "The smallest."),
            INPUT,
        ],
        words: Words::Parameters,
        run: measure,
    },
];

const WHERE: &[Parameter] = &[
    any("FilterScript", "A script block with $_ for the object, or a property's name.")
        .alias(&["Property"])
        .at(0),
    any("Value", "What the property is compared with.").at(1),
    switch("EQ", "Equal."),
    switch("NE", "Not equal."),
    switch("GT", "Greater."),
    switch("GE", "Greater or equal."),
    switch("LT", "Less."),
    switch("LE", "Less or equal."),
    switch("Like", "Like a wildcard."),
    switch("NotLike", "Not like a wildcard."),
    switch("Match", "Fits a regular expression."),
    switch("NotMatch", "Does not fit a regular expression."),
    switch("Contains", "The property has the value as an element."),
    switch("NotContains", "The property does not have it."),
    switch("In", "The property is one of the values."),
    switch("NotIn", "The property is none of the values."),
    switch("Not", "The property is false, empty or not there."),
    INPUT,
];

fn select(session: &mut Session<'_>, call: &Call) -> Items {
    let mut items = call.objects("InputObject");
    let skip = call.count("Skip")?.unwrap_or(0).min(items.len());
    items.drain(..skip);
    items = places(call, items)?;
    if let Some(name) = call.bound.text("ExpandProperty") {
        return expand(session, call, &name, &items);
    }
    let excluded: Vec<String> = call.bound.items("ExcludeProperty").iter().map(Item::text).collect();
    let mut wanted = picks("Select-Object", call.bound.items("Property"))?;
    if wanted.is_empty() && !excluded.is_empty() {
        wanted.push(Pick::Name("*".into()));
    }
    if !wanted.is_empty() {
        for item in &mut items {
            let mut pairs: Vec<(String, Item)> = Vec::new();
            for pick in &wanted {
                for (name, value) in session.picked(pick, item)? {
                    let left_out =
                        excluded.iter().any(|pattern| ireko_manage::select::wildcard(pattern, &name));
                    if !left_out && !pairs.iter().any(|(own, _)| own.eq_ignore_ascii_case(&name)) {
                        pairs.push((name, value));
                    }
                }
            }
            *item = record(&pairs).into();
        }
    }
    Ok(if call.bound.switch("Unique") { unique(items) } else { items })
}

fn places(call: &Call, items: Vec<Item>) -> Items {
    let (first, last) = (call.count("First")?, call.count("Last")?);
    let length = items.len();
    let indexes = call.bound.items("Index");
    let wanted: Vec<usize> =
        indexes.iter().filter_map(|item| usize::try_from(item.value().as_int()?).ok()).collect();
    let keeps = |at: usize| match (first, last) {
        _ if !indexes.is_empty() => wanted.contains(&at),
        (None, None) => true,
        (first, last) => at < first.unwrap_or(0) || at >= length.saturating_sub(last.unwrap_or(0)),
    };
    Ok(items.into_iter().enumerate().filter(|(at, _)| keeps(*at)).map(|(_, item)| item).collect())
}

fn expand(session: &mut Session<'_>, call: &Call, name: &str, items: &[Item]) -> Items {
    let mut found = Vec::new();
    for item in items {
        if !item.names().iter().any(|own| own.eq_ignore_ascii_case(name)) {
            let message = format!("Property \"{name}\" cannot be found.");
            session.report(call.fault("ExpandPropertyNotFound", message))?;
            continue;
        }
        found.extend(item.member(name).elements().into_iter().filter(|item| !item.is_null()));
    }
    Ok(if call.bound.switch("Unique") { unique(found) } else { found })
}

fn unique(items: Vec<Item>) -> Vec<Item> {
    let mut kept: Vec<Item> = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn filter(session: &mut Session<'_>, call: &Call) -> Items {
    let mut kept = Vec::new();
    for item in call.objects("InputObject") {
        if fits(session, call, &item)? {
            kept.push(item);
        }
    }
    Ok(kept)
}

fn fits(session: &mut Session<'_>, call: &Call, item: &Item) -> Result<bool, Flow> {
    let property = match call.bound.item("FilterScript") {
        Some(Item::Block(block)) => return Ok(Item::of(session.block_for(block, item.clone())?).is_true()),
        Some(property) => item.member(&property.text()),
        None => {
            let message =
                "Say which objects: a script block like { $_.State -eq 'Running' }, or State -eq Running.";
            return Err(call.fault("MissingMandatoryParameter", message).into());
        }
    };
    if call.bound.switch("Not") {
        return Ok(!property.is_true());
    }
    let asked = COMPARISONS.iter().find(|(word, _)| {
        call.bound
            .values
            .iter()
            .any(|(parameter, item)| parameter.name.eq_ignore_ascii_case(word) && item.is_true())
    });
    let value = call.bound.item("Value").cloned().unwrap_or(NULL);
    match asked {
        Some((_, which)) => Ok(compare(*which, Case::Ignored, &property, &value)?.is_true()),
        None => Ok(property.is_true()),
    }
}

fn for_each(session: &mut Session<'_>, call: &Call) -> Items {
    let block = |name: &str| match call.bound.item(name) {
        Some(Item::Block(block)) => Some(block.clone()),
        _ => None,
    };
    let mut found = Vec::new();
    if let Some(begin) = block("Begin") {
        found.extend(session.block_for(&begin, NULL)?);
    }
    for item in call.objects("InputObject") {
        match call.bound.item("Process") {
            Some(Item::Block(block)) => found.extend(session.block_for(block, item)?),
            Some(name) => found.extend(item.member(&name.text()).elements()),
            None if block("Begin").is_some() || block("End").is_some() => {}
            None => {
                let message =
                    "Say what to do with each object: a script block like { $_.Name }, or a property's name.";
                return Err(call.fault("MissingMandatoryParameter", message).into());
            }
        }
    }
    if let Some(end) = block("End") {
        found.extend(session.block_for(&end, NULL)?);
    }
    Ok(found)
}

fn keys(session: &mut Session<'_>, picks: &[Pick], item: &Item) -> Items {
    if picks.is_empty() {
        return Ok(vec![item.clone()]);
    }
    picks.iter().map(|pick| session.key(pick, item)).collect()
}

fn keys_order(one: &[Item], other: &[Item]) -> Ordering {
    let each =
        one.iter().zip(other).map(|(one, other)| order(one, other, Case::Ignored).unwrap_or(Ordering::Equal));
    each.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn sort(session: &mut Session<'_>, call: &Call) -> Items {
    let picks = picks("Sort-Object", call.bound.items("Property"))?;
    let mut keyed = Vec::new();
    for item in call.objects("InputObject") {
        keyed.push((keys(session, &picks, &item)?, item));
    }
    let descending = call.bound.switch("Descending");
    keyed = sorted(keyed, descending);
    if call.bound.switch("Unique") {
        keyed.dedup_by(|one, other| keys_order(&one.0, &other.0).is_eq());
    }
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

type Keyed = (Vec<Item>, Item);

/// A merge sort of our own: values of different types have no total order, and the library's sort may refuse that.
fn sorted(mut items: Vec<Keyed>, descending: bool) -> Vec<Keyed> {
    if items.len() < 2 {
        return items;
    }
    let right = sorted(items.split_off(items.len() / 2), descending);
    let left = sorted(items, descending);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let order = keys_order(&other.0, &one.0);
        let right_first = if descending { order.is_gt() } else { order.is_lt() };
        merged.extend(if right_first { right.next() } else { left.next() });
    }
    merged.extend(left.chain(right));
    merged
}

fn group(session: &mut Session<'_>, call: &Call) -> Items {
    let picks = picks("Group-Object", call.bound.items("Property"))?;
    let mut groups: Vec<(Vec<Item>, Vec<Item>)> = Vec::new();
    for item in call.objects("InputObject") {
        let keys = keys(session, &picks, &item)?;
        match groups.iter_mut().find(|(own, _)| keys_order(own, &keys).is_eq()) {
            Some((_, members)) => members.push(item),
            None => groups.push((keys, vec![item])),
        }
    }
    let made = groups.into_iter().map(|(keys, members)| {
        let name = keys.iter().map(Item::text).collect::<Vec<_>>().join(", ");
        let mut pairs =
            vec![("Count".to_owned(), Item::from(members.len() as i64)), ("Name".into(), name.into())];
        if !call.bound.switch("NoElement") {
            pairs.push(("Group".into(), Item::List(members)));
        }
        Item::from(record(&pairs))
    });
    Ok(made.collect())
}

fn measure(_: &mut Session<'_>, call: &Call) -> Items {
    let items = call.objects("InputObject");
    let properties: Vec<String> = call.bound.items("Property").iter().map(Item::text).collect();
    if properties.is_empty() {
        return Ok(vec![measured(call, None, items)?]);
    }
    let one = |name: &String| {
        let values = items.iter().map(|item| item.member(name)).filter(|item| !item.is_null()).collect();
        measured(call, Some(name), values)
    };
    properties.iter().map(one).collect()
}

fn measured(call: &Call, property: Option<&str>, values: Vec<Item>) -> Result<Item, Flow> {
    let wants = |name: &str| call.bound.switch(name);
    let numbers = || values.iter().cloned().map(|item| crate::shell::operate::cast("double", item));
    let (mut sum, mut average) = (NULL, NULL);
    if wants("Sum") || wants("Average") {
        for number in numbers() {
            sum = operate(Operator::Add, sum, number?)?;
        }
    }
    if wants("Average") && !values.is_empty() {
        average = operate(Operator::Divide, sum.clone(), Item::from(values.len() as i64))?;
    }
    let extreme = |wanted: Ordering| {
        let better = |best: &Item, item: &Item| order(item, best, Case::Ignored) == Some(wanted);
        values.iter().fold(None, |best: Option<&Item>, item| match best {
            Some(best) if !better(best, item) => Some(best),
            _ => Some(item),
        })
    };
    let shown = |name: &str, item: Option<Item>| item.filter(|_| wants(name)).unwrap_or(NULL);
    Ok(record(&[
        ("Count".into(), (values.len() as i64).into()),
        ("Average".into(), average),
        ("Sum".into(), shown("Sum", Some(whole_if_possible(sum)))),
        ("Maximum".into(), shown("Maximum", extreme(Ordering::Greater).cloned())),
        ("Minimum".into(), shown("Minimum", extreme(Ordering::Less).cloned())),
        ("Property".into(), property.map_or(NULL, Item::from)),
    ])
    .into())
}

fn whole_if_possible(item: Item) -> Item {
    match item {
        Item::Value(Value::Float(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
            (number as i64).into()
        }
        other => other,
    }
}
