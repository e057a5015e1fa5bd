//! Add-Member and Get-Member.

use super::Cmdlet;
use super::stages::{all, each};
use crate::error::Outcome;
use crate::interpret::{Interpreter, property_names, wildcard};
use crate::syntax::Case;
use crate::types::{short_type_name, text, type_name};
use crate::value::{Closure, Object, Property, Value};
use std::rc::Rc;

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Add-Member",
        aliases: &[],
        synopsis: "Adds a property or a method to an object.",
        parameters: "\
MemberType/Type:string@0 NoteProperty, ScriptProperty, AliasProperty or ScriptMethod.
Name:string@1 Its name.
Value:any@2 Its value, or the script block.
SecondValue:any@3 The script block that sets a ScriptProperty.
NotePropertyName:string The name of a NoteProperty.
NotePropertyValue:any Its value.
NotePropertyMembers:hash Several, as a hashtable.
TypeName:string Accepted.
Force:switch Also if it has one of that name.
PassThru:switch Gives the object.
InputObject:any< The object; usually it comes through the pipeline.",
        make: |_, bound| {
            each(bound, "InputObject", |interpreter, bound, item, out| {
                let mut added = Vec::new();
                let members = bound
                    .item("NotePropertyMembers")
                    .or_else(|| bound.item("MemberType").filter(|value| matches!(value, Value::Map(_))));
                if let Some(Value::Map(map)) = members {
                    added.extend(
                        map.pairs().into_iter().map(|(name, value)| (text(&name), Property::Note(value))),
                    );
                } else if let Some(name) = bound.text("NotePropertyName") {
                    added.push((
                        name,
                        Property::Note(bound.item("NotePropertyValue").cloned().unwrap_or_default()),
                    ));
                } else {
                    added.extend(member(bound)?);
                }
                for (name, property) in added {
                    add(interpreter, bound, &item, &name, property)?;
                }
                if bound.switch("PassThru") { out.put(interpreter, item) } else { Ok(()) }
            })
        },
    },
    Cmdlet {
        name: "Get-Member",
        aliases: &["gm"],
        synopsis: "Lists the properties of objects.",
        parameters: "\
Name:string[]@0 Names; wildcards count.
MemberType/Type:string[] Only of these kinds.
Force:switch Accepted.
Static:switch Accepted.
InputObject:any< The objects.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let mut seen = Vec::new();
                for item in items {
                    let kind = type_name(&item);
                    if seen.contains(&kind) && !matches!(item, Value::Object(_)) {
                        continue;
                    }
                    let repeated = seen.contains(&kind);
                    seen.push(kind.clone());
                    if repeated && kind != crate::value::CUSTOM {
                        continue;
                    }
                    for found in members(interpreter, bound, &item, &kind)? {
                        out.put(interpreter, found)?;
                    }
                }
                Ok(())
            })
        },
    },
];

fn block(value: Option<&Value>) -> Option<Rc<Closure>> {
    if let Some(Value::Block(closure)) = value { Some(closure.clone()) } else { None }
}

fn member(bound: &crate::bind::Bound) -> Outcome<Option<(String, Property)>> {
    let kind = bound.text("MemberType").unwrap_or_else(|| "NoteProperty".into()).to_ascii_lowercase();
    // Without a kind the first two words are a name and a value.
    let known = ["noteproperty", "scriptproperty", "aliasproperty", "scriptmethod"];
    if !known.contains(&kind.as_str()) && bound.has("Name") && !bound.has("Value") {
        let name = bound.text("MemberType").unwrap_or_default();
        return Ok(Some((name, Property::Note(bound.item("Name").cloned().unwrap_or_default()))));
    }
    let Some(name) = bound.text("Name") else {
        return Err(bound
            .refuse("MissingMandatoryParameter", "Say which member: -Name NAME -Value VALUE.")
            .into());
    };
    let value = bound.item("Value");
    let property = match kind.as_str() {
        "noteproperty" => Property::Note(value.cloned().unwrap_or_default()),
        "aliasproperty" => Property::Alias(value.map(text).unwrap_or_default().into()),
        "scriptproperty" | "scriptmethod" => match (block(value), kind.as_str()) {
            (Some(closure), "scriptproperty") => Property::Script(closure, block(bound.item("SecondValue"))),
            (Some(closure), _) => Property::Method(closure),
            (None, _) => {
                return Err(bound.refuse("InvalidValue", "A script block is wanted as the value.").into());
            }
        },
        _ => {
            let message = format!(
                "Members of the kind '{kind}' cannot be added: NoteProperty, ScriptProperty, AliasProperty and ScriptMethod can."
            );
            return Err(bound.refuse("InvalidMemberType", message).into());
        }
    };
    Ok(Some((name, property)))
}

fn add(
    interpreter: &mut Interpreter<'_>,
    bound: &crate::bind::Bound,
    item: &Value,
    name: &str,
    property: Property,
) -> Outcome {
    match item {
        Value::Object(object) => {
            if object.property(name).is_some() && !bound.switch("Force") {
                let message = format!(
                    "Cannot add a member with the name \"{name}\" because a member with that name already exists. To overwrite the member anyway, add the Force parameter to your command."
                );
                let record = bound
                    .refuse("MemberAlreadyExists", message)
                    .in_category("InvalidOperation")
                    .about(item.clone());
                return interpreter.report(record.of_type("System.InvalidOperationException"));
            }
            object.set(name, property);
            Ok(())
        }
        Value::Map(map) => {
            if let Property::Note(value) = property {
                map.set(Value::text(name), value);
            }
            Ok(())
        }
        other => {
            let message = format!(
                "Members can be added to objects with properties, and a value of the type {} has no room for them.",
                type_name(other)
            );
            interpreter.report(bound.refuse("CannotAddMember", message))
        }
    }
}

fn members(
    interpreter: &mut Interpreter<'_>,
    bound: &crate::bind::Bound,
    item: &Value,
    kind: &str,
) -> Outcome<Vec<Value>> {
    let patterns = bound.texts("Name");
    let kinds = bound.texts("MemberType");
    let fits = |name: &str| {
        patterns.is_empty() || patterns.iter().any(|pattern| wildcard(pattern, name, Case::Ignored))
    };
    let mut rows: Vec<(String, &str, String)> = Vec::new();
    for name in property_names(item) {
        let value = interpreter.member(item, &name)?;
        let custom = matches!(item, Value::Object(object) if object.is_custom());
        let (member_type, definition) = match item {
            Value::Object(object) => match object.property(&name) {
                Some(Property::Script(get, _)) => {
                    ("ScriptProperty", format!("System.Object {name} {{get={};}}", get.block.text()))
                }
                Some(Property::Alias(to)) => ("AliasProperty", format!("{name} = {to}")),
                _ if custom => (
                    "NoteProperty",
                    format!("{} {name}={}", short_type_name(&type_name(&value)), text(&value)),
                ),
                _ => ("Property", format!("{} {name} {{get;set;}}", short_type_name(&type_name(&value)))),
            },
            _ => ("Property", format!("{} {name} {{get;}}", short_type_name(&type_name(&value)))),
        };
        rows.push((name, member_type, definition));
    }
    if let Value::Object(object) = item {
        for (name, property) in object.all() {
            if let Property::Method(_) = property {
                rows.push((name.to_string(), "ScriptMethod", format!("System.Object {name}();")));
            }
        }
    }
    rows.sort_by_key(|row| row.0.to_lowercase());
    let wanted = |member_type: &str| {
        kinds.is_empty()
            || kinds.iter().flat_map(|kind| kind.split(',')).any(|kind| {
                let kind = kind.trim().to_ascii_lowercase();
                kind == "all"
                    || kind == "properties" && member_type.ends_with("Property")
                    || kind == "methods" && member_type.ends_with("Method")
                    || kind == member_type.to_ascii_lowercase()
            })
    };
    let row = |(name, member_type, definition): (String, &str, String)| {
        Object::new("Microsoft.PowerShell.Commands.MemberDefinition")
            .with("TypeName", kind)
            .with("Name", name)
            .with("MemberType", member_type)
            .with("Definition", definition)
            .into_value()
    };
    Ok(rows.into_iter().filter(|(name, member_type, _)| fits(name) && wanted(member_type)).map(row).collect())
}
