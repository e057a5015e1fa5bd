//! Select-Object.

use super::Cmdlet;
use super::pick::{Pick, picks};
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, Sink, Stage, equal, shown_names, wildcard};
use crate::syntax::Case;
use crate::types::text;
use crate::value::{Object, Property, Value};
use std::collections::VecDeque;

pub static CMDLETS: &[Cmdlet] = &[Cmdlet {
    name: "Select-Object",
    aliases: &["select"],
    synopsis: "Gives some properties of objects, or some of the objects.",
    parameters: "\
Property:any[]@0 Names, wildcards, or @{Name='title'; Expression={ … }}.
ExcludeProperty:string[] Names or wildcards that are left out.
ExpandProperty:string The property whose values come instead of the objects.
First:int So many from the beginning; then what comes before is stopped.
Last:int So many from the end.
Skip:int Without so many from the beginning.
SkipLast:int Without so many from the end.
Index:any[] Those at these places, from 0.
Unique:switch Equal ones only once.
Wait:switch What comes before runs to its end.
InputObject:any< The objects; usually they come through the pipeline.",
    make: |_, bound| Ok(Box::new(Select::new(bound)?)),
}];

struct Select {
    picks: Vec<Pick>,
    excluded: Vec<String>,
    expand: Option<String>,
    first: Option<usize>,
    last: Option<usize>,
    skip: usize,
    skip_last: usize,
    indexes: Vec<usize>,
    seen: usize,
    given: usize,
    kept: VecDeque<Value>,
    unique: Option<Vec<Value>>,
    bound: Bound,
}

impl Select {
    fn new(bound: Bound) -> Outcome<Self> {
        let excluded = bound.texts("ExcludeProperty");
        let mut picks = picks("Select-Object", bound.items("Property"))?;
        let expand = bound.text("ExpandProperty");
        if picks.is_empty() && !excluded.is_empty() {
            picks.push(Pick::Name("*".into()));
        }
        let indexes = bound
            .items("Index")
            .iter()
            .filter_map(|index| usize::try_from(crate::types::number(index)?.as_integer()?).ok())
            .collect();
        Ok(Self {
            first: bound.count("First")?,
            last: bound.count("Last")?,
            skip: bound.count("Skip")?.unwrap_or(0),
            skip_last: bound.count("SkipLast")?.unwrap_or(0),
            unique: bound.switch("Unique").then(Vec::new),
            picks,
            excluded,
            expand,
            indexes,
            seen: 0,
            given: 0,
            kept: VecDeque::new(),
            bound,
        })
    }

    /// One that was chosen, with the properties that are wanted.
    fn give(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        if let Some(name) = self.expand.clone() {
            return self.expanded(interpreter, &name, &item, out);
        }
        let item = if self.picks.is_empty() { item } else { self.projected(interpreter, &item)? };
        self.put(interpreter, item, out)
    }

    fn put(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        if let Some(known) = &mut self.unique {
            if known.iter().any(|own| alike(own, &item)) {
                return Ok(());
            }
            known.push(item.clone());
        }
        out.put(interpreter, item)
    }

    fn projected(&self, interpreter: &mut Interpreter<'_>, item: &Value) -> Outcome<Value> {
        let object = Object::new(&format!("Selected.{}", crate::types::type_name(item)));
        for pick in &self.picks {
            for (name, value) in interpreter.picked(pick, item)? {
                let left_out = self.excluded.iter().any(|pattern| wildcard(pattern, &name, Case::Ignored));
                if !left_out && object.property(&name).is_none() {
                    object.set(&name, Property::Note(value));
                }
            }
        }
        Ok(object.into_value())
    }

    fn expanded(
        &mut self,
        interpreter: &mut Interpreter<'_>,
        name: &str,
        item: &Value,
        out: &mut dyn Sink,
    ) -> Outcome {
        let known = shown_names(item).iter().any(|own| own.eq_ignore_ascii_case(name));
        if !known && interpreter.own_member(item, name)?.is_none() {
            let message = format!("Property \"{name}\" cannot be found.");
            return interpreter.report(self.bound.refuse("ExpandPropertyNotFound", message));
        }
        let value = interpreter.member(item, name)?;
        for value in value.some_elements() {
            self.put(interpreter, value, out)?;
        }
        Ok(())
    }
}

/// Equal as plain values, or in all of their properties.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.names();
            names.len() == b.names().len()
                && names.iter().all(|name| match (a.note(name), b.note(name)) {
                    (Some(one), Some(other)) => one.same(&other) || equal(&one, &other, Case::Exact),
                    _ => false,
                })
        }
        _ => one.same(other) || equal(one, other, Case::Exact) && text(one) == text(other),
    }
}

impl Stage for Select {
    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        let at = self.seen;
        self.seen += 1;
        if !self.indexes.is_empty() {
            if self.indexes.contains(&at) {
                self.give(interpreter, item, out)?;
            }
            let done = self.indexes.iter().all(|index| *index <= at);
            return if done && !self.bound.switch("Wait") { Err(interpreter.enough()) } else { Ok(()) };
        }
        if self.last.is_some() && self.first.is_none() {
            self.kept.push_back(item);
            // Those that -Skip takes are the last ones.
            if self.kept.len() > self.last.unwrap_or(0) + self.skip {
                self.kept.pop_front();
            }
            return Ok(());
        }
        if at < self.skip {
            return Ok(());
        }
        if self.skip_last > 0 {
            self.kept.push_back(item);
            if self.kept.len() <= self.skip_last {
                return Ok(());
            }
            let item = self.kept.pop_front().unwrap_or_default();
            return self.give(interpreter, item, out);
        }
        let Some(first) = self.first else { return self.give(interpreter, item, out) };
        if self.given < first {
            self.given += 1;
            self.give(interpreter, item, out)?;
        } else if let Some(last) = self.last {
            self.kept.push_back(item);
            if self.kept.len() > last {
                self.kept.pop_front();
            }
            return Ok(());
        }
        let done = self.given >= first && self.last.is_none() && !self.bound.switch("Wait");
        if done { Err(interpreter.enough()) } else { Ok(()) }
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        match self.bound.item("InputObject").cloned() {
            Some(item) => match self.process(interpreter, item, out) {
                Err(crate::error::Flow::Enough(..)) => Ok(()),
                other => other,
            },
            None => Ok(()),
        }
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let Some(last) = self.last else { return Ok(()) };
        let mut kept = std::mem::take(&mut self.kept);
        if self.first.is_none() {
            kept.truncate(kept.len().saturating_sub(self.skip));
        }
        let from = kept.len().saturating_sub(last);
        for item in kept.into_iter().skip(from) {
            self.give(interpreter, item, out)?;
        }
        Ok(())
    }
}
