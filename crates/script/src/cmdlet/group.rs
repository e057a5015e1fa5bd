//! Group-Object and Compare-Object.

use super::Cmdlet;
use super::pick::picks;
use super::stages::{all, once};
use crate::interpret::equal;
use crate::syntax::Case;
use crate::types::text;
use crate::value::{Map, MapKind, Object, Property, Value};
use std::collections::HashMap;
use std::rc::Rc;

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Group-Object",
        aliases: &["group"],
        synopsis: "Puts objects together that have the same value.",
        parameters: "\
Property:any[]@0 What must be the same.
NoElement:switch Only names and counts.
AsHashTable/AHT:switch As a hashtable of lists.
AsString:switch Keys are text.
CaseSensitive:switch Letters in their own case.
InputObject:any< The objects; usually they come through the pipeline.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let picks = picks("Group-Object", bound.items("Property"))?;
                let exact = bound.switch("CaseSensitive");
                let mut groups: Vec<(String, Vec<Value>, Vec<Value>)> = Vec::new();
                let mut places: HashMap<String, usize> = HashMap::new();
                for item in items {
                    let keys = interpreter.keys(&picks, &item)?;
                    let name = keys.iter().map(text).collect::<Vec<_>>().join(", ");
                    let looked_up = if exact { name.clone() } else { name.to_lowercase() };
                    let at = *places.entry(looked_up).or_insert_with(|| {
                        groups.push((name, keys, Vec::new()));
                        groups.len() - 1
                    });
                    groups[at].2.push(item);
                }
                if bound.switch("AsHashTable") {
                    let map = Map::new(MapKind::Hashtable);
                    for (name, mut keys, members) in groups {
                        let key = if bound.switch("AsString") || keys.len() != 1 {
                            Value::from(name)
                        } else {
                            keys.remove(0)
                        };
                        map.set(key, Value::array(members));
                    }
                    return out.put(interpreter, Value::Map(Rc::new(map)));
                }
                for (name, keys, members) in groups {
                    let object = Object::new("Microsoft.PowerShell.Commands.GroupInfo")
                        .with("Count", members.len())
                        .with("Name", name);
                    if !bound.switch("NoElement") {
                        object.set("Group", Property::Note(Value::array(members)));
                    }
                    let _ = keys;
                    out.put(interpreter, object.into_value())?;
                }
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Compare-Object",
        aliases: &["compare", "diff"],
        synopsis: "Tells what two lists do not have in common.",
        parameters: "\
ReferenceObject:any[]@0! What is compared with.
DifferenceObject:any[]@1! What is compared.
Property:any[] What counts.
IncludeEqual:switch Those that both have, too.
ExcludeDifferent:switch Only those that both have.
PassThru:switch The objects themselves.
CaseSensitive:switch Letters in their own case.
SyncWindow:int Accepted.",
        make: |_, bound| {
            once(bound, |interpreter, bound, out| {
                let picks = picks("Compare-Object", bound.items("Property"))?;
                let case = if bound.switch("CaseSensitive") { Case::Exact } else { Case::Ignored };
                let mut keyed = |items: Vec<Value>| -> crate::error::Outcome<Vec<(Vec<Value>, Value)>> {
                    items.into_iter().map(|item| Ok((interpreter.keys(&picks, &item)?, item))).collect()
                };
                let reference = keyed(bound.items("ReferenceObject"))?;
                let mut difference: Vec<Option<(Vec<Value>, Value)>> =
                    keyed(bound.items("DifferenceObject"))?.into_iter().map(Some).collect();
                let same = |one: &[Value], other: &[Value]| {
                    one.iter().zip(other).all(|(one, other)| {
                        one.same(other)
                            || equal(one, other, case)
                            || (matches!(one, Value::Object(_)) && text(one) == text(other))
                    })
                };
                let (mut equal_ones, mut left) = (Vec::new(), Vec::new());
                for (keys, item) in reference {
                    let found = difference
                        .iter_mut()
                        .find(|own| own.as_ref().is_some_and(|(own, _)| same(own, &keys)));
                    match found {
                        Some(slot) => {
                            *slot = None;
                            equal_ones.push((keys, item));
                        }
                        None => left.push((keys, item)),
                    }
                }
                let mut told = Vec::new();
                if bound.switch("IncludeEqual") || bound.switch("ExcludeDifferent") {
                    told.extend(equal_ones.into_iter().map(|pair| (pair, "==")));
                }
                if !bound.switch("ExcludeDifferent") {
                    told.extend(difference.into_iter().flatten().map(|pair| (pair, "=>")));
                    told.extend(left.into_iter().map(|pair| (pair, "<=")));
                }
                for ((keys, item), side) in told {
                    if bound.switch("PassThru") {
                        out.put(interpreter, item)?;
                        continue;
                    }
                    let object = Object::custom();
                    if picks.is_empty() {
                        object.set("InputObject", Property::Note(item));
                    }
                    for (pick, key) in picks.iter().zip(keys) {
                        let name = match pick {
                            super::pick::Pick::Name(name) | super::pick::Pick::Made { title: name, .. } => {
                                name
                            }
                        };
                        object.set(name, Property::Note(key));
                    }
                    object.set("SideIndicator", Property::Note(side.into()));
                    out.put(interpreter, object.into_value())?;
                }
                Ok(())
            })
        },
    },
];
