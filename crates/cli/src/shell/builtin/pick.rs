//! Properties as Select-Object, Sort-Object and Format-Table name them: names, wildcards, and `@{n='…'; e={…}}`.

use super::super::fault::{Fault, Flow};
use super::super::item::Item;
use super::super::session::Session;
use super::super::syntax::Block;
use ireko_manage::select;
use std::rc::Rc;

pub enum Pick {
    Name(String),
    Made { title: String, from: From, right: Option<bool> },
}

pub enum From {
    Name(String),
    Block(Rc<Block>),
}

pub fn picks(cmdlet: &'static str, items: Vec<Item>) -> Result<Vec<Pick>, Fault> {
    items.into_iter().map(|item| pick(cmdlet, item)).collect()
}

fn pick(cmdlet: &'static str, item: Item) -> Result<Pick, Fault> {
    match &item {
        Item::Block(block) => {
            Ok(Pick::Made { title: block.text.clone(), from: From::Block(block.clone()), right: None })
        }
        Item::Map(pairs) => {
            let key = |long: &str| {
                let begins = |name: &str| !name.is_empty() && long.starts_with(&name.to_lowercase());
                pairs.iter().find(|(name, _)| begins(name)).map(|(_, item)| item)
            };
            let title = key("name").or_else(|| key("label")).map(Item::text);
            let from = match key("expression") {
                Some(Item::Block(block)) => From::Block(block.clone()),
                Some(other) => From::Name(other.text()),
                None => {
                    let message =
                        "A calculated property needs an Expression: @{Name='title'; Expression={ … }}.";
                    return Err(Fault::builtin(cmdlet, "ExpressionMissing", message));
                }
            };
            let right = key("alignment").map(|item| item.text().eq_ignore_ascii_case("right"));
            let title = title.unwrap_or_else(|| match &from {
                From::Name(name) => name.clone(),
                From::Block(block) => block.text.clone(),
            });
            Ok(Pick::Made { title, from, right })
        }
        other => Ok(Pick::Name(other.text())),
    }
}

impl Session<'_> {
    /// What a pick says of one object; a wildcard says as much as fits.
    pub fn picked(&mut self, pick: &Pick, item: &Item) -> Result<Vec<(String, Item)>, Flow> {
        match pick {
            Pick::Name(name) if select::has_wildcard(name) => {
                let names = item.names().into_iter().filter(|own| select::wildcard(name, own));
                Ok(names.map(|own| (own.clone(), item.member(&own))).collect())
            }
            Pick::Name(name) => {
                // As the object writes it.
                let own = item.names().into_iter().find(|own| own.eq_ignore_ascii_case(name));
                Ok(vec![(own.unwrap_or_else(|| name.clone()), item.member(name))])
            }
            Pick::Made { title, from: From::Name(name), .. } => Ok(vec![(title.clone(), item.member(name))]),
            Pick::Made { title, from: From::Block(block), .. } => {
                let made = self.block_for(block, item.clone())?;
                Ok(vec![(title.clone(), Item::of(made))])
            }
        }
    }

    /// The first thing that a pick says.
    pub fn key(&mut self, pick: &Pick, item: &Item) -> Result<Item, Flow> {
        let found = self.picked(pick, item)?;
        Ok(found.into_iter().next().map_or(super::super::item::NULL, |(_, item)| item))
    }
}
