//! Where-Object.

use super::Cmdlet;
use super::stages::each;
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, operate};
use crate::syntax::{Binary, COMPARISONS, Case};
use crate::types::text;
use crate::value::Value;

pub static CMDLETS: &[Cmdlet] = &[Cmdlet {
    name: "Where-Object",
    aliases: &["where", "?"],
    synopsis: "Gives the objects that fit: { $_.State -eq 'Running' } or State -eq Running.",
    parameters: "\
FilterScript/Property:any@0 A script block with $_ for the object, or a property's name.
Value:any@1 What the property is compared with.
EQ:switch Equal.
CEQ:switch Equal, and in the same case.
NE:switch Not equal.
GT:switch Greater.
GE:switch Greater or equal.
LT:switch Less.
LE:switch Less or equal.
Like:switch Like a wildcard.
NotLike:switch Not like a wildcard.
Match:switch Fits a regular expression.
NotMatch:switch Does not fit a regular expression.
Contains:switch The property has the value as an element.
NotContains:switch The property does not have it.
In:switch The property is one of the values.
NotIn:switch The property is none of the values.
Is:switch The property is of a type.
IsNot:switch The property is not of a type.
Not:switch The property is false, empty or not there.
InputObject:any< The objects; usually they come through the pipeline.",
    make: |_, bound| {
        each(bound, "InputObject", |interpreter, bound, item, out| {
            if fits(interpreter, bound, &item)? { out.put(interpreter, item) } else { Ok(()) }
        })
    },
}];

fn fits(interpreter: &mut Interpreter<'_>, bound: &Bound, item: &Value) -> Outcome<bool> {
    let property = match bound.item("FilterScript") {
        Some(Value::Block(closure)) => {
            let closure = closure.clone();
            return Ok(Value::of(interpreter.block_for(&closure, item.clone())?).is_true());
        }
        Some(property) => {
            let name = text(property);
            interpreter.member(item, &name)?
        }
        None => {
            let message =
                "Say which objects: a script block like { $_.State -eq 'Running' }, or State -eq Running.";
            return Err(bound.refuse("MissingMandatoryParameter", message).into());
        }
    };
    if bound.switch("Not") {
        return Ok(!property.is_true());
    }
    let value = bound.item("Value").cloned().unwrap_or_default();
    for (name, wanted) in [("Is", true), ("IsNot", false)] {
        if bound.switch(name) {
            let kind = match &value {
                Value::Type(kind) => Some((**kind).clone()),
                other => interpreter.type_by_text(&text(other)),
            };
            return Ok(kind.is_some_and(|kind| crate::types::is_instance(&property, &kind)) == wanted);
        }
    }
    let exact = bound.switch("CEQ");
    let asked = COMPARISONS.iter().find(|(word, _)| bound.switch(word) || (exact && *word == "eq"));
    match asked {
        Some((_, which)) => {
            let case = if exact { Case::Exact } else { Case::Ignored };
            Ok(operate(Binary::Compare(*which, case), &property, &value)?.is_true())
        }
        None => Ok(property.is_true()),
    }
}
