//! What a parameter or a variable may hold (about_Functions_Advanced_Parameters: validation attributes), and who is asked for what
//! is missing.

use super::Interpreter;
use super::function::is_called;
use crate::bind::{Bound, Signature};
use crate::error::{ErrorRecord, Outcome};
use crate::scope::Validated;
use crate::syntax::{Attribute, Case, Parameter};
use crate::types::{Pattern, Type, convert_or_none, number, text};
use crate::value::{Number, Value};

impl Interpreter<'_> {
    /// An argument against its parameter's attributes.
    pub(super) fn check_argument(
        &mut self,
        signature: &Signature,
        at: usize,
        parameter: &Parameter,
        value: &Value,
    ) -> Outcome {
        let has = |name: &str| parameter.attributes.iter().any(|attribute| is_called(attribute, name));
        let mandatory = signature.parameters[at].sets.iter().any(|own| own.mandatory);
        let is_text = |value: &Value| value.as_text().is_some_and(str::is_empty);
        let refuse = |what: &str, id: &str| {
            let message =
                format!("Cannot bind argument to parameter '{}' because it is {what}.", parameter.name);
            ErrorRecord { category: "InvalidData".into(), ..signature.refuse(id, message) }
                .of_type("System.Management.Automation.ParameterBindingValidationException")
        };
        if mandatory && !has("AllowNull") && value.is_null() {
            return Err(refuse("null", "ParameterArgumentValidationErrorNullNotAllowed").into());
        }
        if mandatory && !has("AllowEmptyString") && is_text(value) {
            return Err(
                refuse("an empty string", "ParameterArgumentValidationErrorEmptyStringNotAllowed").into()
            );
        }
        if let (true, false, Value::Array(array)) = (mandatory, has("AllowEmptyCollection"), value)
            && array.items().is_empty()
        {
            return Err(
                refuse("an empty array", "ParameterArgumentValidationErrorEmptyArrayNotAllowed").into()
            );
        }
        for attribute in &parameter.attributes {
            if let Some(why) = self.objection(attribute, value)? {
                return Err(invalid(signature, &parameter.name, &why).into());
            }
        }
        Ok(())
    }

    /// A variable's new value.
    pub(super) fn validate_variable(&mut self, validated: &Validated, value: &Value) -> Outcome {
        let name = validated.name().to_owned();
        for attribute in validated.attributes() {
            self.validate(attribute, &name, value)?;
        }
        Ok(())
    }

    pub(super) fn validate(&mut self, attribute: &Attribute, name: &str, value: &Value) -> Outcome {
        match self.objection(attribute, value)? {
            None => Ok(()),
            Some(_) => {
                let message = format!(
                    "The variable cannot be validated because the value {} is not a valid value for the {name} variable.",
                    text(value)
                );
                let record = ErrorRecord::runtime("ValidateSetFailure", message).in_category("MetadataError");
                Err(record.of_type("System.Management.Automation.ValidationMetadataException").into())
            }
        }
    }

    /// Why an attribute does not take a value; of an array each element counts.
    fn objection(&mut self, attribute: &Attribute, value: &Value) -> Outcome<Option<String>> {
        let is = |name: &str| is_called(attribute, name);
        let arguments =
            attribute.positional.iter().map(|argument| self.evaluate(argument)).collect::<Outcome<Vec<_>>>();
        let whole = is("ValidateCount")
            || is("ValidateNotNull")
            || is("ValidateNotNullOrEmpty")
            || is("ValidateNotNullOrWhiteSpace");
        if !attribute.name.to_ascii_lowercase().contains("validate") {
            return Ok(None);
        }
        let arguments = arguments?;
        if whole {
            return Ok(about_whole(attribute, &arguments, value));
        }
        for item in value.elements() {
            let why = if is("ValidateSet") {
                self.not_in_set(attribute, &arguments, &item)?
            } else if is("ValidateRange") {
                not_in_range(&arguments, &item)
            } else if is("ValidateLength") {
                not_as_long(&arguments, &item)
            } else if is("ValidatePattern") {
                let pattern = arguments.first().map(text).unwrap_or_default();
                let fits = Pattern::new(&pattern, Case::Ignored)?.is_match(&text(&item))?;
                (!fits).then(|| {
                    format!(
                        "The argument \"{}\" does not match the \"{pattern}\" pattern. Supply an argument that matches \"{pattern}\" and try the command again.",
                        text(&item)
                    )
                })
            } else if is("ValidateScript") {
                self.not_by_script(attribute, &arguments, &item)?
            } else {
                None
            };
            if why.is_some() {
                return Ok(why);
            }
        }
        Ok(None)
    }

    fn not_in_set(
        &mut self,
        attribute: &Attribute,
        allowed: &[Value],
        item: &Value,
    ) -> Outcome<Option<String>> {
        let mut exact = Case::Ignored;
        if let Some((_, Some(value))) =
            attribute.named.iter().find(|(name, _)| name.eq_ignore_ascii_case("IgnoreCase"))
            && !self.evaluate(value)?.is_true()
        {
            exact = Case::Exact;
        }
        let words: Vec<String> =
            allowed.iter().flat_map(|value| value.elements()).map(|value| text(&value)).collect();
        let said = text(item);
        let fits = words
            .iter()
            .any(|word| if exact == Case::Exact { *word == said } else { word.eq_ignore_ascii_case(&said) });
        Ok((!fits).then(|| {
            let set = words.join(",");
            format!(
                "The argument \"{said}\" does not belong to the set \"{set}\" specified by the ValidateSet attribute. Supply an argument that is in the set and then try the command again."
            )
        }))
    }

    fn not_by_script(
        &mut self,
        attribute: &Attribute,
        arguments: &[Value],
        item: &Value,
    ) -> Outcome<Option<String>> {
        let Some(Value::Block(closure)) = arguments.first() else { return Ok(None) };
        let found = self.block_for(closure, item.clone())?;
        if Value::of(found).is_true() {
            return Ok(None);
        }
        if let Some((_, Some(value))) =
            attribute.named.iter().find(|(name, _)| name.eq_ignore_ascii_case("ErrorMessage"))
        {
            let pattern = text(&self.evaluate(value)?);
            return Ok(Some(crate::types::composite(&pattern, std::slice::from_ref(item))?));
        }
        Ok(Some(format!(
            "The \"{}\" validation script for the argument with value \"{}\" did not return a result of True. Determine why the validation script failed, and then try the command again.",
            closure.block.text(),
            text(item)
        )))
    }

    /// Asks for what must be given, where there is somebody.
    pub fn prompt_for(&mut self, signature: &Signature, missing: &[usize], bound: &mut Bound) -> Outcome {
        if !self.interactive {
            return Err(signature.missing_mandatory(missing).into());
        }
        let head = format!(
            "\ncmdlet {} at command pipeline position 1\nSupply values for the following parameters:\n",
            signature.name
        );
        self.print(&head)?;
        for at in missing {
            let parameter = &signature.parameters[*at];
            let many = parameter.type_name().ends_with("[]");
            let prompt =
                if many { format!("{}[0]: ", parameter.name) } else { format!("{}: ", parameter.name) };
            let Some(line) = self.terminal.ask(&prompt).filter(|line| !line.is_empty()) else {
                return Err(signature.missing_mandatory(missing).into());
            };
            bound.values.push((*at, line.into(), None));
        }
        Ok(())
    }
}

pub fn invalid(signature: &Signature, parameter: &str, why: &str) -> ErrorRecord {
    let message = format!("Cannot validate argument on parameter '{parameter}'. {why}");
    ErrorRecord {
        category: "InvalidData".into(),
        ..signature.refuse("ParameterArgumentValidationError", message)
    }
    .of_type("System.Management.Automation.ParameterBindingValidationException")
}

fn about_whole(attribute: &Attribute, arguments: &[Value], value: &Value) -> Option<String> {
    if is_called(attribute, "ValidateCount") {
        let bound = |at: usize| arguments.get(at).and_then(number).and_then(Number::as_integer).unwrap_or(0);
        let count = value.some_elements().len() as i128;
        let fits = (bound(0)..=bound(1)).contains(&count);
        return (!fits).then(|| {
            format!(
                "The parameter requires at least {} value(s) and no more than {} value(s) - {count} value(s) were provided.",
                bound(0),
                bound(1)
            )
        });
    }
    let or_empty = !is_called(attribute, "ValidateNotNull");
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Text(text) if is_called(attribute, "ValidateNotNullOrWhiteSpace") => text.trim().is_empty(),
        Value::Text(text) => or_empty && text.is_empty(),
        Value::Array(array) => or_empty && array.items().is_empty(),
        Value::Map(map) => or_empty && map.is_empty(),
        _ => false,
    };
    let nothing =
        is_nothing(value) || matches!(value, Value::Array(array) if array.items().iter().any(is_nothing));
    nothing.then(|| {
        if or_empty {
            "The argument is null or empty. Provide an argument that is not null or empty, and then try the command again.".into()
        } else {
            "The argument is null. Provide a valid value for the argument, and then try running the command again.".into()
        }
    })
}

fn not_in_range(arguments: &[Value], item: &Value) -> Option<String> {
    if let [kind] = arguments {
        let said = text(kind).to_ascii_lowercase();
        let value = number(item)?.as_f64();
        let fits = match said.as_str() {
            "positive" => value > 0.0,
            "nonnegative" => value >= 0.0,
            "negative" => value < 0.0,
            "nonpositive" => value <= 0.0,
            _ => true,
        };
        return (!fits).then(|| {
            format!("The argument \"{}\" cannot be validated because its value is not {said}.", text(item))
        });
    }
    let (least, most) = (arguments.first()?, arguments.get(1)?);
    let above = super::order(item, most, Case::Ignored).is_none_or(std::cmp::Ordering::is_gt);
    let below = super::order(item, least, Case::Ignored).is_none_or(std::cmp::Ordering::is_lt);
    let (said, least, most) = (text(item), text(least), text(most));
    if above {
        return Some(format!(
            "The {said} argument is greater than the maximum allowed range of {most}. Supply an argument that is less than or equal to {most} and then try the command again."
        ));
    }
    below.then(|| {
        format!(
            "The {said} argument is less than the minimum allowed range of {least}. Supply an argument that is greater than or equal to {least} and then try the command again."
        )
    })
}

fn not_as_long(arguments: &[Value], item: &Value) -> Option<String> {
    let Some(Value::Text(said)) = convert_or_none(item, &Type::String) else { return None };
    let bound = |at: usize| arguments.get(at).and_then(number).and_then(Number::as_integer).unwrap_or(0);
    let length = said.chars().count() as i128;
    if length < bound(0) {
        return Some(format!(
            "The character length ({length}) of the argument is too short. Specify an argument with a length that is greater than or equal to \"{}\", and then try the command again.",
            bound(0)
        ));
    }
    (length > bound(1)).then(|| {
        format!(
            "The character length of the {length} argument is too long. Shorten the character length of the argument so it is fewer than or equal to \"{}\" characters, and then try the command again.",
            bound(1)
        )
    })
}
