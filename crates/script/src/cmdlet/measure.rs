//! Measure-Object.

use super::Cmdlet;
use super::stages::all;
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, order};
use crate::syntax::Case;
use crate::types::{number, text};
use crate::value::{Number, Object, Value};
use std::cmp::Ordering;

pub static CMDLETS: &[Cmdlet] = &[Cmdlet {
    name: "Measure-Object",
    aliases: &["measure"],
    synopsis: "Counts objects, and adds up a property of them.",
    parameters: "\
Property:string[]@0 The property with the numbers.
Sum:switch All together.
Average:switch Their mean.
Maximum:switch The greatest.
Minimum:switch The smallest.
StandardDeviation:switch Their standard deviation.
AllStats:switch All of these.
Line:switch Counts lines of text.
Word:switch Counts words.
Character:switch Counts characters.
IgnoreWhiteSpace:switch Without spaces.
InputObject:any< The objects; usually they come through the pipeline.",
    make: |_, bound| {
        all(bound, "InputObject", |interpreter, bound, items, out| {
            if bound.switch("Line") || bound.switch("Word") || bound.switch("Character") {
                return out.put(interpreter, of_text(bound, &items));
            }
            let properties = bound.texts("Property");
            if properties.is_empty() {
                let items = items.into_iter().filter(|item| !item.is_null()).collect();
                let told = measured(interpreter, bound, None, items)?;
                return out.put(interpreter, told);
            }
            for name in properties {
                let mut values = Vec::new();
                for item in &items {
                    let value = interpreter.member(item, &name)?;
                    if !value.is_null() {
                        values.push(value);
                    }
                }
                let told = measured(interpreter, bound, Some(&name), values)?;
                out.put(interpreter, told)?;
            }
            Ok(())
        })
    },
}];

fn of_text(bound: &Bound, items: &[Value]) -> Value {
    let all: Vec<String> = items.iter().map(text).collect();
    let shown = |name: &str, count: usize| if bound.switch(name) { Value::from(count) } else { Value::Null };
    let count_characters = |text: &String| {
        if bound.switch("IgnoreWhiteSpace") {
            text.chars().filter(|c| !c.is_whitespace()).count()
        } else {
            text.chars().count()
        }
    };
    Object::new("Microsoft.PowerShell.Commands.TextMeasureInfo")
        .with("Lines", shown("Line", all.iter().map(|text| text.lines().count().max(1)).sum()))
        .with("Words", shown("Word", all.iter().map(|text| text.split_whitespace().count()).sum()))
        .with("Characters", shown("Character", all.iter().map(count_characters).sum()))
        .with("Property", Value::Null)
        .into_value()
}

fn measured(
    interpreter: &mut Interpreter<'_>,
    bound: &Bound,
    property: Option<&str>,
    values: Vec<Value>,
) -> Outcome<Value> {
    let wants = |name: &str| bound.switch(name) || bound.switch("AllStats");
    let needs_numbers = wants("Sum") || wants("Average") || wants("StandardDeviation");
    let mut numbers = Vec::new();
    if needs_numbers {
        for value in &values {
            match number(value) {
                Some(number) => numbers.push(number.as_f64()),
                None => {
                    let message = format!("Input object \"{}\" is not numeric.", text(value));
                    interpreter
                        .report(bound.refuse("NonNumericInputObject", message).in_category("InvalidType"))?;
                }
            }
        }
    }
    let count = numbers.len() as f64;
    let sum: f64 = numbers.iter().sum();
    let extreme = |wanted: Ordering| {
        let better = |best: &Value, item: &Value| order(item, best, Case::Ignored) == Some(wanted);
        let found = values.iter().fold(None, |best: Option<&Value>, item| match best {
            Some(best) if !better(best, item) => Some(best),
            _ => Some(item),
        });
        found.cloned().unwrap_or_default()
    };
    // The greatest and the smallest of numbers come as Double, and are written as whole numbers where they are.
    let as_double = |value: Value| match number(&value) {
        Some(number) if matches!(value, Value::Number(_)) => Value::double(number.as_f64()),
        _ => value,
    };
    let shown = |name: &str, value: Value| if wants(name) { value } else { Value::Null };
    let mean = sum / count;
    let deviation = if count > 1.0 {
        (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
    } else {
        0.0
    };
    let mut told = Object::new("Microsoft.PowerShell.Commands.GenericMeasureInfo")
        .with("Count", values.len())
        .with("Average", shown("Average", if count > 0.0 { Value::double(mean) } else { Value::Null }))
        .with("Sum", shown("Sum", Value::Number(Number::Double(sum))))
        .with("Maximum", shown("Maximum", as_double(extreme(Ordering::Greater))))
        .with("Minimum", shown("Minimum", as_double(extreme(Ordering::Less))));
    if wants("StandardDeviation") {
        told = told.with("StandardDeviation", Value::double(deviation));
    }
    Ok(told.with("Property", property.map_or(Value::Null, Value::from)).into_value())
}
