//! The end of values that hold values that hold values: a list of a million links must not take a million frames.

use super::Value;
use std::rc::Rc;

/// Takes the values apart, those first that nobody else has.
pub fn release(values: &mut Vec<Value>) {
    let holds = |value: &Value| matches!(value, Value::Array(_) | Value::Map(_) | Value::Object(_));
    if !values.iter().any(holds) {
        return;
    }
    let mut waiting = std::mem::take(values);
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(array) => {
                if let Ok(array) = Rc::try_unwrap(array) {
                    waiting.append(&mut array.items_mut());
                }
            }
            Value::Map(map) => {
                if let Ok(map) = Rc::try_unwrap(map) {
                    waiting.extend(map.take());
                }
            }
            Value::Object(object) => {
                if let Ok(object) = Rc::try_unwrap(object) {
                    waiting.extend(object.take());
                }
            }
            _ => {}
        }
    }
}
