//! Properties as Select-Object, Sort-Object and Format-Table name them: names, wildcards, and `@{n='…'; e={…}}`.

use crate::error::{ErrorRecord, Outcome};
use crate::interpret::{Interpreter, shown_names, wildcard};
use crate::syntax::Case;
use crate::types::text;
use crate::value::{Closure, Value};
use std::rc::Rc;

#[derive(Clone)]
pub enum Pick {
    Name(String),
    Made { title: String, from: From, right: Option<bool>, descending: Option<bool>, pattern: Option<String> },
}

#[derive(Clone)]
pub enum From {
    Name(String),
    Block(Rc<Closure>),
}

pub fn picks(cmdlet: &str, items: Vec<Value>) -> Result<Vec<Pick>, ErrorRecord> {
    items.into_iter().map(|item| pick(cmdlet, item)).collect()
}

fn made(title: String, from: From) -> Pick {
    Pick::Made { title, from, right: None, descending: None, pattern: None }
}

fn pick(cmdlet: &str, item: Value) -> Result<Pick, ErrorRecord> {
    match &item {
        Value::Block(closure) => Ok(made(closure.block.text().to_owned(), From::Block(closure.clone()))),
        Value::Map(map) => {
            let pairs = map.pairs();
            let key = |long: &str| {
                let begins = |name: &str| !name.is_empty() && long.starts_with(&name.to_lowercase());
                pairs.iter().find(|(name, _)| begins(&text(name))).map(|(_, item)| item)
            };
            let title = key("name").or_else(|| key("label")).map(text);
            let from = match key("expression") {
                Some(Value::Block(closure)) => From::Block(closure.clone()),
                Some(other) => From::Name(text(other)),
                None if title.is_some() && key("name").is_some() => {
                    From::Name(title.clone().unwrap_or_default())
                }
                None => {
                    let message =
                        "A calculated property needs an Expression: @{Name='title'; Expression={ … }}.";
                    return Err(ErrorRecord::cmdlet(cmdlet, "ExpressionMissing", message));
                }
            };
            let right = key("alignment").map(|item| text(item).eq_ignore_ascii_case("right"));
            let descending = key("descending")
                .map(Value::is_true)
                .or_else(|| key("ascending").map(|item| !item.is_true()));
            let pattern = key("formatstring").map(text);
            let title = title.unwrap_or_else(|| match &from {
                From::Name(name) => name.clone(),
                From::Block(closure) => closure.block.text().to_owned(),
            });
            Ok(Pick::Made { title, from, right, descending, pattern })
        }
        other => Ok(Pick::Name(text(other))),
    }
}

pub fn has_wildcard(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

impl Interpreter<'_> {
    /// What a pick says of one object; a wildcard says as much as fits.
    pub(super) fn picked(&mut self, pick: &Pick, item: &Value) -> Outcome<Vec<(String, Value)>> {
        match pick {
            Pick::Name(name) if has_wildcard(name) => {
                let names = shown_names(item).into_iter().filter(|own| wildcard(name, own, Case::Ignored));
                let mut found = Vec::new();
                for own in names {
                    let value = self.member(item, &own)?;
                    found.push((own, value));
                }
                Ok(found)
            }
            Pick::Name(name) => {
                // As the object writes it.
                let own = shown_names(item).into_iter().find(|own| own.eq_ignore_ascii_case(name));
                let value = self.member(item, name)?;
                Ok(vec![(own.unwrap_or_else(|| name.clone()), value)])
            }
            Pick::Made { title, from: From::Name(name), .. } => {
                Ok(vec![(title.clone(), self.member(item, name)?)])
            }
            Pick::Made { title, from: From::Block(closure), .. } => {
                let found = self.block_for(closure, item.clone())?;
                Ok(vec![(title.clone(), Value::of(found))])
            }
        }
    }

    /// The first thing that a pick says.
    pub(super) fn key(&mut self, pick: &Pick, item: &Value) -> Outcome<Value> {
        let found = self.picked(pick, item)?;
        Ok(found.into_iter().next().map(|(_, value)| value).unwrap_or_default())
    }

    pub(super) fn keys(&mut self, picks: &[Pick], item: &Value) -> Outcome<Vec<Value>> {
        if picks.is_empty() {
            return Ok(vec![item.clone()]);
        }
        picks.iter().map(|pick| self.key(pick, item)).collect()
    }
}
