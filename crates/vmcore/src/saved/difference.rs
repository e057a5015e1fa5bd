//! For tests of whoever has saved state: in what two records differ.

use super::Record;
use ciborium::Value;

/// The first value in which they do, by the names of what it is in, with what both have; records within them are opened.
pub fn difference(one: &Record, other: &Record) -> Option<String> {
    let value = |record: &Record| ciborium::from_reader::<Value, _>(&record.to_bytes()[..]).ok();
    of_values(value(one)?, value(other)?)
}

fn of_values(one: Value, other: Value) -> Option<String> {
    let within = |name: String, one, other| Some(format!("{name}: {}", of_values(one, other)?));
    match (one, other) {
        (Value::Map(one), Value::Map(other)) if one.len() == other.len() => {
            let mut pairs = one.into_iter().zip(other);
            pairs.find_map(|((name, one), (_, other))| match (name.as_text(), one, other) {
                (Some("body"), Value::Bytes(one), Value::Bytes(other)) => of_bodies(&one, &other),
                (name, one, other) => within(name.unwrap_or("?").into(), one, other),
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.into_iter().zip(other).enumerate();
            pairs.find_map(|(number, (one, other))| within(number.to_string(), one, other))
        }
        (Value::Bytes(one), Value::Bytes(other)) if one.len() == other.len() => {
            let at = one.iter().zip(&other).position(|(one, other)| one != other)?;
            Some(format!("byte {at:#x} is {:#x} and {:#x}", one[at], other[at]))
        }
        (one, other) => (one != other).then(|| format!("{} and {}", short(&one), short(&other))),
    }
}

fn of_bodies(one: &[u8], other: &[u8]) -> Option<String> {
    let value = |bytes: &[u8]| ciborium::from_reader::<Value, _>(bytes).ok();
    of_values(value(one)?, value(other)?)
}

fn short(value: &Value) -> String {
    match value {
        Value::Integer(number) => format!("{:#x}", i128::from(*number)),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Array(values) => format!("a list of {}", values.len()),
        other => format!("{other:?}").chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saved::Saved;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Part {
        count: u8,
        words: Vec<u64>,
    }
    impl Saved for Part {
        const NAME: &'static str = "part";
        const VERSION: u32 = 1;
    }

    #[test]
    fn the_first_difference_is_told_with_its_place() {
        let of = |last| Record::of(&Part { count: 1, words: vec![5, last] });
        assert_eq!(difference(&of(7), &of(7)), None);
        assert_eq!(difference(&of(7), &of(16)), Some("words: 1: 0x7 and 0x10".into()));
    }
}
