//! Parameters written down as lines: `Name/alias:type@position!<< What it is for.`
//!
//! `!` must be given, `<` takes the pipeline's objects, `+` takes all that is left over; types are `any`, `switch`, and those of
//! the language, with `[]` for many.

use super::{Accepts, Membership, Parameter};
use crate::types::Type;
use crate::value::IntegerKind;
use std::rc::Rc;

pub fn parameters(text: &str) -> Vec<Parameter> {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| parameter(line.trim())).collect()
}

fn parameter(line: &str) -> Parameter {
    let (specification, doc) = line.split_once(' ').unwrap_or((line, ""));
    let (names, rest) = specification.split_once(':').unwrap_or((specification, "any"));
    let length = rest.find(['@', '!', '<', '+']).unwrap_or(rest.len());
    let (kind, marks) = rest.split_at(length);
    let mut names = names.split('/');
    let digits: String =
        marks.split('@').nth(1).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    let membership = Membership {
        set: "".into(),
        position: digits.parse().ok(),
        mandatory: marks.contains('!'),
        by_value: marks.contains('<'),
        by_name: false,
        remaining: marks.contains('+'),
    };
    Parameter {
        name: names.next().unwrap_or_default().into(),
        aliases: names.map(Rc::from).collect(),
        accepts: accepts(kind),
        doc: doc.into(),
        sets: vec![membership],
        common: false,
    }
}

fn accepts(kind: &str) -> Accepts {
    let (element, many) = kind.strip_suffix("[]").map_or((kind, false), |element| (element, true));
    let found = match element {
        "switch" => return Accepts::Switch,
        "any" => return Accepts::Anything,
        "int" => Type::Integer(IntegerKind::Int64),
        "bool" => Type::Bool,
        "block" => Type::ScriptBlock,
        "hash" => Type::Hashtable,
        "double" => Type::Double,
        "date" => Type::DateTime,
        _ => Type::String,
    };
    Accepts::Type(if many { Type::Array(Rc::new(found)) } else { found })
}
