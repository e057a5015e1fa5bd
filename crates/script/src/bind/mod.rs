//! Which value goes to which parameter: names, prefixes, positions, sets, and what the pipeline gives (about_Parameters,
//! about_Functions_Advanced_Parameters).

mod common;
mod object;
mod signature;
mod specification;

pub use common::{Behaviour, common_parameters, risk_parameters};
pub use signature::{Accepts, HostType, Membership, Parameter, Signature, Words};
pub use specification::parameters;

use crate::error::ErrorRecord;
use crate::types::text;
use crate::value::Value;
use std::rc::Rc;

/// How a number was written, where it may be meant as text; of a list each one's, with NULs between.
pub type Written = Option<Rc<str>>;

/// One argument, evaluated.
#[derive(Clone, Debug)]
pub enum Argument {
    Named { name: Rc<str>, value: Option<(Value, Written)>, typed: Rc<str> },
    Value { value: Value, written: Written },
}

/// What the arguments are.
#[derive(Clone, Debug)]
pub struct Bound {
    pub signature: Rc<Signature>,
    pub values: Vec<(usize, Value, Written)>,
    /// What found no parameter, where that is allowed.
    pub rest: Vec<Value>,
    /// `-?`
    pub help: bool,
    /// As they came, for those that are programs.
    pub arguments: Vec<Argument>,
}

impl Bound {
    pub fn new(signature: Rc<Signature>) -> Self {
        Self { signature, values: Vec::new(), rest: Vec::new(), help: false, arguments: Vec::new() }
    }

    pub fn has_index(&self, index: usize) -> bool {
        self.values.iter().any(|(own, ..)| *own == index)
    }

    pub fn item(&self, name: &str) -> Option<&Value> {
        self.values
            .iter()
            .find(|(at, ..)| self.signature.parameters[*at].name.eq_ignore_ascii_case(name))
            .map(|(_, value, _)| value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.item(name).is_some()
    }

    /// As it was written, if it was a number that may be meant as text.
    pub fn text(&self, name: &str) -> Option<String> {
        let found = self
            .values
            .iter()
            .find(|(at, ..)| self.signature.parameters[*at].name.eq_ignore_ascii_case(name))?;
        match found {
            (_, Value::Null, _) => None,
            (_, Value::Number(_), Some(written)) => Some(written.to_string()),
            (_, value, _) => Some(text(value)),
        }
    }

    pub fn switch(&self, name: &str) -> bool {
        self.item(name).is_some_and(Value::is_true)
    }

    pub fn items(&self, name: &str) -> Vec<Value> {
        self.item(name).map(Value::some_elements).unwrap_or_default()
    }

    pub fn texts(&self, name: &str) -> Vec<String> {
        let found = self
            .values
            .iter()
            .find(|(at, ..)| self.signature.parameters[*at].name.eq_ignore_ascii_case(name));
        let Some((_, value, written)) = found else { return Vec::new() };
        let written: Vec<&str> =
            written.as_deref().map(|written| written.split('\0').collect()).unwrap_or_default();
        let one = |(at, value): (usize, &Value)| match written.get(at) {
            Some(written) if !written.is_empty() && matches!(value, Value::Number(_)) => {
                (*written).to_owned()
            }
            _ => text(value),
        };
        value.some_elements().iter().enumerate().map(one).collect()
    }

    /// A whole number that is not negative.
    pub fn count(&self, name: &str) -> Result<Option<usize>, ErrorRecord> {
        let Some(value) = self.item(name) else { return Ok(None) };
        let number = crate::types::number(value)
            .and_then(crate::value::Number::as_integer)
            .and_then(|number| usize::try_from(number).ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.refuse(
                "ParameterArgumentValidationError",
                format!("Cannot validate argument on parameter '{name}'. It takes a whole number that is not negative."),
            )),
        }
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        let number = crate::types::number(self.item(name)?)?.as_integer()?;
        i64::try_from(number).ok()
    }

    pub fn refuse(&self, id: &str, message: impl AsRef<str>) -> ErrorRecord {
        ErrorRecord::cmdlet(&self.signature.name, id, message)
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        let at = self
            .values
            .iter()
            .position(|(at, ..)| self.signature.parameters[*at].name.eq_ignore_ascii_case(name))?;
        Some(self.values.remove(at).1)
    }

    /// The names of the sets that what is bound leaves.
    fn possible(&self) -> Vec<Rc<str>> {
        let mut sets = self.signature.sets();
        for (index, ..) in &self.values {
            let parameter = &self.signature.parameters[*index];
            if !parameter.in_all_sets() {
                sets.retain(|set| parameter.membership(set).is_some());
            }
        }
        sets
    }

    /// Whether it is free and one of its sets goes with what is bound.
    fn allows(&self, index: usize) -> bool {
        let parameter = &self.signature.parameters[index];
        !self.has_index(index)
            && (parameter.in_all_sets()
                || self.possible().iter().any(|set| parameter.membership(set).is_some()))
    }
}

impl Signature {
    /// What is given on the line.
    pub fn bind(self: &Rc<Self>, given: Vec<Argument>) -> Result<Bound, ErrorRecord> {
        let mut bound = Bound::new(self.clone());
        if self.words == Words::Program {
            bound.arguments = given;
            return Ok(bound);
        }
        let mut positional = Vec::new();
        let mut given = given.into_iter().peekable();
        while let Some(one) = given.next() {
            let (name, value, typed) = match one {
                Argument::Value { value, written } => {
                    positional.push((value, written));
                    continue;
                }
                Argument::Named { name, .. } if &*name == "?" => {
                    bound.help = true;
                    continue;
                }
                Argument::Named { name, value, typed } => (name, value, typed),
            };
            let Some(index) = self.find(&name)? else {
                positional.push((Value::Text(typed), None));
                positional.extend(value);
                continue;
            };
            let parameter = &self.parameters[index];
            let (value, written) = match value {
                Some(value) => value,
                None if parameter.is_switch() => (true.into(), None),
                None => match given.next_if(|next| matches!(next, Argument::Value { .. })) {
                    Some(Argument::Value { value, written }) => (value, written),
                    _ => return Err(self.missing_argument(parameter)),
                },
            };
            if bound.has_index(index) {
                return Err(self.refuse(
                    "ParameterAlreadyBound",
                    format!(
                        "Cannot bind parameter because parameter '{}' is specified more than once. To provide multiple values to \
                         parameters that can accept multiple values, use the array syntax. For example, \"-parameter \
                         value1,value2,value3\".",
                        parameter.name
                    ),
                ));
            }
            bound.values.push((index, value, written));
        }
        if !self.sets().is_empty() && bound.possible().is_empty() {
            return Err(self.ambiguous_set());
        }
        for (value, written) in positional {
            self.bind_position(&mut bound, value, written)?;
        }
        Ok(bound)
    }

    fn ambiguous_set(&self) -> ErrorRecord {
        self.refuse(
            "AmbiguousParameterSet",
            "Parameter set cannot be resolved using the specified named parameters.",
        )
    }

    /// The parameter that a name or the beginning of one means; nothing where that may be a word for `$args`.
    fn find(&self, name: &str) -> Result<Option<usize>, ErrorRecord> {
        if let Some(exact) = self.parameters.iter().position(|parameter| parameter.is_called(name)) {
            return Ok(Some(exact));
        }
        let fits = |parameter: &Parameter| parameter.starts_with(name);
        let found: Vec<usize> = (0..self.parameters.len()).filter(|at| fits(&self.parameters[*at])).collect();
        let own: Vec<usize> = found.iter().copied().filter(|at| !self.parameters[*at].common).collect();
        match (found.as_slice(), own.as_slice()) {
            ([], _) if self.loose => Ok(None),
            ([], _) => Err(self.refuse(
                "NamedParameterNotFound",
                format!("A parameter cannot be found that matches parameter name '{name}'."),
            )),
            ([one], _) | (_, [one]) => Ok(Some(*one)),
            (several, _) => {
                let names: String =
                    several.iter().map(|at| format!(" -{}", self.parameters[*at].name)).collect();
                Err(self.refuse(
                    "AmbiguousParameter",
                    format!(
                        "Parameter cannot be processed because the parameter name '{name}' is ambiguous. Possible matches \
                         include:{names}."
                    ),
                ))
            }
        }
    }

    /// An error about the arguments.
    pub fn refuse(&self, id: &str, message: impl AsRef<str>) -> ErrorRecord {
        let exception = "System.Management.Automation.ParameterBindingException";
        ErrorRecord {
            category: "InvalidArgument".into(),
            activity: self.name.clone(),
            id: if self.class.is_empty() { id.into() } else { format!("{id},{}", self.class).into() },
            ..ErrorRecord::runtime(id, message)
        }
        .of_type(exception)
    }

    fn missing_argument(&self, parameter: &Parameter) -> ErrorRecord {
        self.refuse(
            "MissingArgument",
            format!(
                "Missing an argument for parameter '{}'. Specify a parameter of type '{}' and try again.",
                parameter.name,
                parameter.type_name()
            ),
        )
    }

    /// To the free parameter with the lowest position, of a set that is still possible, that takes such a thing.
    fn bind_position(&self, bound: &mut Bound, value: Value, written: Written) -> Result<(), ErrorRecord> {
        let possible = bound.possible();
        let position = |index: usize| self.parameters[index].position(&possible);
        let mut free: Vec<usize> = (0..self.parameters.len())
            .filter(|at| !self.parameters[*at].common && position(*at).is_some() && bound.allows(*at))
            .collect();
        free.sort_by_key(|at| position(*at));
        let lowest = free.first().and_then(|at| position(*at));
        let candidates: Vec<usize> = free.into_iter().filter(|at| position(*at) == lowest).collect();
        let object = candidates.iter().find(|at| self.parameters[**at].takes_object(&value));
        let chosen = object.or_else(|| candidates.iter().find(|at| !self.parameters[**at].is_object()));
        if let Some(index) = chosen {
            bound.values.push((*index, value, written));
            return Ok(());
        }
        if let Some(rest) = self.remaining(&possible) {
            match bound.values.iter_mut().find(|(at, ..)| *at == rest) {
                Some((_, all, own)) => {
                    let texts = |written: &Written, value: &Value| {
                        written.as_deref().map_or_else(
                            || if matches!(value, Value::Number(_)) { String::new() } else { text(value) },
                            str::to_owned,
                        )
                    };
                    let joined = format!("{}\0{}", texts(own, all), texts(&written, &value));
                    let mut items = all.some_elements();
                    items.extend(value.elements());
                    *own = Some(joined.into());
                    *all = Value::array(items);
                }
                None => bound.values.push((rest, value, written)),
            }
            return Ok(());
        }
        if self.loose {
            bound.rest.push(value);
            return Ok(());
        }
        let said = written.map_or_else(|| text(&value), |written| written.to_string());
        Err(self.refuse(
            "PositionalParameterNotFound",
            format!("A positional parameter cannot be found that accepts argument '{said}'."),
        ))
    }

    /// The set in use: the one that is left, or the default one, or the only one that lacks nothing.
    pub fn chosen_set(&self, bound: &Bound) -> Result<Rc<str>, ErrorRecord> {
        let possible = bound.possible();
        match possible.as_slice() {
            [] => return Ok("".into()),
            [only] => return Ok(only.clone()),
            _ => {}
        }
        let complete: Vec<&Rc<str>> =
            possible.iter().filter(|set| self.missing(bound, set).is_empty()).collect();
        let named = self.default_set.as_ref();
        let default = named.and_then(|named| possible.iter().find(|set| set.eq_ignore_ascii_case(named)));
        match (default, complete.as_slice()) {
            (Some(default), []) => Ok(default.clone()),
            (Some(default), complete) if complete.contains(&default) => Ok(default.clone()),
            (_, [only]) => Ok((*only).clone()),
            _ => Err(self.ambiguous_set()),
        }
    }

    /// Those of a set that must be given and are not.
    pub fn missing(&self, bound: &Bound, set: &str) -> Vec<usize> {
        let must = |index: &usize| {
            self.parameters[*index].membership(set).is_some_and(|membership| membership.mandatory)
        };
        (0..self.parameters.len()).filter(must).filter(|index| !bound.has_index(*index)).collect()
    }

    pub fn missing_mandatory(&self, missing: &[usize]) -> ErrorRecord {
        let names: Vec<&str> = missing.iter().map(|at| &*self.parameters[*at].name).collect();
        self.refuse(
            "MissingMandatoryParameter",
            format!(
                "Cannot process command because of one or more missing mandatory parameters: {}.",
                names.join(" ")
            ),
        )
    }
}
