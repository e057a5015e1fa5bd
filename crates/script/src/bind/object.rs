//! What an object from the pipeline gives to the parameters that are still free.

use super::{Bound, Signature};
use crate::error::{ErrorRecord, Outcome};
use crate::interpret::Interpreter;
use crate::types::{cell, text};
use crate::value::Value;

impl Signature {
    /// Nothing found is an error.
    pub fn bind_object(
        &self,
        interpreter: &mut Interpreter<'_>,
        bound: &Bound,
        item: &Value,
    ) -> Outcome<Vec<(usize, Value)>> {
        let mut more = bound.clone();
        let from = more.values.len();
        let all = 0..self.parameters.len();
        let by_value = |at: usize| self.parameters[at].any(|own| own.by_value);
        let by_name = |at: usize| self.parameters[at].any(|own| own.by_name);
        let object = all
            .clone()
            .find(|at| by_value(*at) && more.allows(*at) && self.parameters[*at].takes_object(item));
        if let Some(index) = object {
            more.values.push((index, item.clone(), None));
        }
        let has_properties = matches!(item, Value::Map(_) | Value::Object(_));
        if has_properties {
            // Names of VMs come by name as well as by value: what has no VM's name has no other use.
            for index in all
                .clone()
                .filter(|at| by_name(*at) || (by_value(*at) && self.parameters[*at].is_called("VMName")))
            {
                if !more.allows(index) {
                    continue;
                }
                if let Some(value) = self.property(interpreter, index, item)? {
                    more.values.push((index, value, None));
                }
            }
        }
        if more.values.len() == from && (!has_properties || self.takes_anything()) && !item.is_null() {
            let value = all.clone().find(|at| {
                by_value(*at)
                    && more.allows(*at)
                    && !self.parameters[*at].is_object()
                    && self.parameters[*at].fits(item)
            });
            let value = value.or_else(|| {
                all.clone().find(|at| by_value(*at) && more.allows(*at) && !self.parameters[*at].is_object())
            });
            more.values.extend(value.map(|index| (index, item.clone(), None)));
        }
        if item.is_null()
            && let Some(index) = all.clone().find(|at| by_value(*at) && more.allows(*at))
        {
            more.values.push((index, Value::Null, None));
        }
        let found: Vec<(usize, Value)> =
            more.values.split_off(from).into_iter().map(|(index, value, _)| (index, value)).collect();
        if found.is_empty() { Err(self.not_bound(item).into()) } else { Ok(found) }
    }

    /// Whether a parameter takes objects of any kind by value.
    fn takes_anything(&self) -> bool {
        self.parameters.iter().any(|parameter| {
            !parameter.is_object()
                && parameter.any(|own| own.by_value)
                && !matches!(parameter.accepts, super::Accepts::Host(_))
        })
    }

    /// A part of a VM has the VM's name in VMName and its own in Name, so VMName comes first where both are meant.
    fn property(
        &self,
        interpreter: &mut Interpreter<'_>,
        index: usize,
        item: &Value,
    ) -> Outcome<Option<Value>> {
        let parameter = &self.parameters[index];
        let own = crate::interpret::shown_names(item);
        let mut names: Vec<&str> = parameter.names().map(|name| &**name).collect();
        names.sort_by_key(|name| !name.eq_ignore_ascii_case("VMName"));
        let Some(name) =
            names.into_iter().find(|name| own.iter().any(|known| known.eq_ignore_ascii_case(name)))
        else {
            return Ok(None);
        };
        let value = interpreter.member(item, name)?;
        Ok(Some(value).filter(|value| !value.is_null() && parameter.fits(value)))
    }

    pub fn not_bound(&self, item: &Value) -> ErrorRecord {
        let said = match item {
            Value::Object(_) => text(item),
            other => cell(other),
        };
        let target =
            if matches!(item, Value::Text(_)) || said.is_empty() { item.clone() } else { Value::from(said) };
        self.refuse(
            "InputObjectNotBound",
            "The input object cannot be bound to any parameters for the command either because the command does not take pipeline \
             input or the input and its properties do not match any of the parameters that take pipeline input.",
        )
        .about(target)
    }
}
