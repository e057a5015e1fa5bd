//! For tests of whoever has saved state: a record in which one value is another.

use super::Record;
use ciborium::Value;

/// Changes one value of a record, at any depth; records within it are opened. `below` gives a random number below its argument.
/// `None`: what comes of it is no record any more.
pub fn mutated(record: &Record, below: &mut dyn FnMut(u64) -> u64) -> Option<Record> {
    let mut value: Value = ciborium::from_reader(&record.to_bytes()[..]).ok()?;
    let mut count = 0;
    leaves(&mut value, &mut |_| count += 1);
    let chosen = below(count);
    let mut number = 0;
    leaves(&mut value, &mut |leaf| {
        if number == chosen {
            change(leaf, below);
        }
        number += 1;
    });
    let mut bytes = Vec::new();
    ciborium::into_writer(&value, &mut bytes).ok()?;
    Record::from_bytes(&bytes).ok()
}

/// Every value that holds no others.
fn leaves(value: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Map(entries) => entries.iter_mut().for_each(|(key, value)| match (key.as_text(), value) {
            (Some("body"), Value::Bytes(bytes)) => inside(bytes, visit),
            (_, value) => leaves(value, visit),
        }),
        Value::Array(values) => values.iter_mut().for_each(|value| leaves(value, visit)),
        leaf => visit(leaf),
    }
}

fn inside(bytes: &mut Vec<u8>, visit: &mut dyn FnMut(&mut Value)) {
    let Ok(mut inner) = ciborium::from_reader::<Value, _>(&bytes[..]) else { return };
    leaves(&mut inner, visit);
    bytes.clear();
    let _ = ciborium::into_writer(&inner, bytes);
}

fn change(leaf: &mut Value, below: &mut dyn FnMut(u64) -> u64) {
    match leaf {
        Value::Integer(old) => {
            let old = i128::from(*old) as u64;
            let new = match below(5) {
                0 => old.wrapping_add(1),
                1 => old ^ 1 << below(64),
                2 => below(16),
                3 => 1 << below(64),
                _ => below(u64::MAX),
            };
            *leaf = Value::Integer(new.into());
        }
        Value::Bool(old) => *old = !*old,
        Value::Null => *leaf = Value::Integer(below(1 << 16).into()),
        Value::Bytes(bytes) if below(2) == 0 => bytes.push(0),
        Value::Bytes(bytes) => {
            let at = below(bytes.len().max(1) as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = below(256) as u8;
            }
        }
        _ => {}
    }
}
