//! Assignment: to variables, properties, elements, and several at once (about_Assignment_Operators).

use super::pipeline::only_expression;
use super::{Interpreter, expression};
use crate::error::{ErrorRecord, Outcome};
use crate::scope::Slot;
use crate::syntax::{Binary, Expression, ExpressionKind, PostfixKind, Statement};
use crate::types::{convert, text, type_name};
use crate::value::{Property, Value};

impl Interpreter<'_> {
    /// What was assigned.
    pub(super) fn assignment(
        &mut self,
        target: &Expression,
        operator: Option<Binary>,
        coalesce: bool,
        value: &Statement,
    ) -> Outcome<Value> {
        if coalesce {
            let before = self.evaluate(target)?;
            if !before.is_null() {
                return Ok(before);
            }
        }
        let before = operator.map(|_| self.evaluate(target)).transpose()?;
        let mut made = self.value_of(value)?;
        if only_expression(value).is_some() {
            self.fine = true;
        }
        if let (Some(operator), Some(before)) = (operator, before) {
            // Of nothing, the right side counts as it is.
            made = match (operator, &before) {
                (Binary::Add, Value::Array(array)) if !array.is_fixed() => {
                    self.binary(operator, &Value::array(array.items().clone()), &made)?
                }
                _ => self.binary(operator, &before, &made)?,
            };
        }
        self.assign(target, made.clone())?;
        Ok(made)
    }

    pub(super) fn assign(&mut self, target: &Expression, value: Value) -> Outcome {
        match &target.kind {
            ExpressionKind::Variable(variable) => self.set_variable(variable, value),
            ExpressionKind::Cast(kind, inner) => {
                let kind = self.find_type(kind)?;
                match &inner.kind {
                    ExpressionKind::Variable(variable) => self.declare(variable, kind, value),
                    _ => {
                        let value = self.converted(&value, &kind)?;
                        self.assign(inner, value)
                    }
                }
            }
            ExpressionKind::Attributed(attribute, inner) => {
                let name = match &inner.kind {
                    ExpressionKind::Variable(variable) => variable.written.to_string(),
                    _ => String::new(),
                };
                self.validate(attribute, &name, &value)?;
                self.assign(inner, value)
            }
            ExpressionKind::List(targets) => self.assign_each(targets, value),
            ExpressionKind::Postfix(first, chain) => {
                let Some((last, before)) = chain.split_last() else { return self.assign(first, value) };
                let owner = self.evaluate(first)?;
                let owner = self.postfix(owner, before)?;
                match &last.kind {
                    PostfixKind::Index(index) => {
                        let index = self.evaluate(index)?;
                        self.set_element(&owner, &index, value)
                    }
                    PostfixKind::Member { name, is_static } => {
                        let name = self.member_name(name)?;
                        if *is_static {
                            return self.set_static(&owner, &name, &value);
                        }
                        self.set_member(&owner, &name, value)
                    }
                    PostfixKind::Invoke { .. } => Ok(()),
                }
            }
            _ => {
                Err(ErrorRecord::runtime("InvalidLeftHandSide", "The assignment expression is not valid.")
                    .into())
            }
        }
    }

    /// The last variable gets all that is left.
    fn assign_each(&mut self, targets: &[Expression], value: Value) -> Outcome {
        let mut items = value.some_elements().into_iter();
        for (at, target) in targets.iter().enumerate() {
            let value = if at + 1 == targets.len() {
                Value::of(items.by_ref().collect())
            } else {
                items.next().unwrap_or_default()
            };
            self.assign(target, value)?;
        }
        Ok(())
    }

    fn set_element(&mut self, owner: &Value, index: &Value, value: Value) -> Outcome {
        match owner {
            Value::Map(map) => {
                let by_place = map.kind == crate::value::MapKind::Ordered
                    && matches!(index, Value::Number(_))
                    && !map.contains(index);
                let place = if by_place { expression::place(index, map.len()) } else { None };
                let key = place.map_or_else(|| index.clone(), |at| map.pairs()[at].0.clone());
                map.set(key, value);
                Ok(())
            }
            Value::Array(array) => {
                let value = match array.element() {
                    Some(kind) => convert(&value, kind)?,
                    None => value,
                };
                let count = array.len();
                let Some(at) = expression::place(index, count) else {
                    let message = "Index was outside the bounds of the array.";
                    let record = ErrorRecord::runtime("System.IndexOutOfRangeException", message)
                        .in_category("OperationStopped");
                    return Err(record.of_type("System.IndexOutOfRangeException").into());
                };
                array.items_mut()[at] = value;
                Ok(())
            }
            Value::Null => Err(ErrorRecord::runtime("NullArray", "Cannot index into a null array.").into()),
            other => {
                let message = format!("Unable to index into an object of type {}.", type_name(other));
                Err(ErrorRecord::runtime("CannotIndex", message).into())
            }
        }
    }

    pub fn set_member(&mut self, owner: &Value, name: &str, value: Value) -> Outcome {
        let missing = || {
            let message = format!(
                "The property '{name}' cannot be found on this object. Verify that the property exists and can be set."
            );
            ErrorRecord::runtime("PropertyNotFound", message)
        };
        match owner {
            Value::Map(map) => {
                map.set(Value::text(name), value);
                Ok(())
            }
            Value::Object(object) => match object.property(name) {
                Some(Property::Script(_, Some(set))) => {
                    self.method_block(&set, owner.clone(), vec![value]).map(drop)
                }
                Some(Property::Alias(other)) => {
                    self.nested(|interpreter| interpreter.set_member(owner, &other, value))
                }
                Some(Property::Script(_, None) | Property::Method(_)) => {
                    let message = format!("\"{name}\" is a ReadOnly property.");
                    Err(ErrorRecord::runtime("SetWithoutSetterFromPSProperty", message).into())
                }
                Some(Property::Note(_)) => {
                    if &*object.type_name == super::automatic::RAW_UI
                        && name.eq_ignore_ascii_case("WindowTitle")
                    {
                        self.terminal.set_title(&crate::characters::printable(&text(&value)));
                    }
                    object.set(name, Property::Note(value));
                    Ok(())
                }
                None if object.type_name.starts_with("System.Diagnostics.ProcessStartInfo") => {
                    object.set(name, Property::Note(value));
                    Ok(())
                }
                None => Err(missing().into()),
            },
            Value::Reference(reference) if name.eq_ignore_ascii_case("Value") => {
                let scope = reference.scope.clone();
                self.set_in(&scope, &reference.name, value)
            }
            Value::Array(array) => {
                // As reading does, writing goes to each.
                let items = array.items().clone();
                if items.is_empty() {
                    return Err(missing().into());
                }
                items.iter().try_for_each(|item| {
                    self.nested(|interpreter| interpreter.set_member(item, name, value.clone()))
                })
            }
            _ => Err(missing().into()),
        }
    }

    /// A variable as a parameter makes it.
    pub(super) fn put_slot(&mut self, name: &str, slot: Slot) {
        self.context.scope.put(&name.to_lowercase(), slot);
    }
}
