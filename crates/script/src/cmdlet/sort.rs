//! Sort-Object and Get-Unique.

use super::Cmdlet;
use super::pick::{Pick, picks};
use super::stages::all;
use crate::interpret::{equal, merge_sorted, order};
use crate::syntax::Case;
use crate::types::text;
use crate::value::Value;
use std::cmp::Ordering;

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Sort-Object",
        aliases: &["sort"],
        synopsis: "Puts objects in order.",
        parameters: "\
Property:any[]@0 What counts: names, script blocks, or @{Expression='Name'; Descending=$true}.
Descending:switch The greatest first.
Unique:switch Equal ones only once.
CaseSensitive:switch Letters in their own case.
Stable:switch Accepted: equal ones always stay in their order.
Top:int Only so many from the beginning.
Bottom:int Only so many from the end.
InputObject:any< The objects; usually they come through the pipeline.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let picks = picks("Sort-Object", bound.items("Property"))?;
                let descending = bound.switch("Descending");
                let case = if bound.switch("CaseSensitive") { Case::Exact } else { Case::Ignored };
                let directions: Vec<bool> = match picks.as_slice() {
                    [] => vec![descending],
                    picks => picks
                        .iter()
                        .map(|pick| {
                            matches!(pick, Pick::Made { descending: Some(own), .. } if *own)
                                || (descending && !matches!(pick, Pick::Made { descending: Some(_), .. }))
                        })
                        .collect(),
                };
                let mut keyed = Vec::new();
                for item in items {
                    keyed.push((interpreter.keys(&picks, &item)?, item));
                }
                let compare = |one: &(Vec<Value>, Value), other: &(Vec<Value>, Value)| {
                    keys_order(&one.0, &other.0, &directions, case)
                };
                let mut sorted = merge_sorted(keyed, &compare);
                if bound.switch("Unique") {
                    sorted.dedup_by(|one, other| keys_order(&one.0, &other.0, &directions, case).is_eq());
                }
                let count = sorted.len();
                let skip = bound.count("Bottom")?.map_or(0, |bottom| count.saturating_sub(bottom));
                let most = bound.count("Top")?.unwrap_or(count);
                sorted.into_iter().skip(skip).take(most).try_for_each(|(_, item)| out.put(interpreter, item))
            })
        },
    },
    Cmdlet {
        name: "Get-Unique",
        aliases: &["gu"],
        synopsis: "Gives sorted objects without those that are like the one before.",
        parameters: "\
AsString:switch By their text.
OnType:switch By their type.
InputObject:any< The objects; usually they come through the pipeline.",
        make: |_, bound| {
            all(bound, "InputObject", |interpreter, bound, items, out| {
                let by_type = bound.switch("OnType");
                let same = |one: &Value, other: &Value| {
                    if by_type {
                        crate::types::type_name(one) == crate::types::type_name(other)
                    } else {
                        text(one) == text(other)
                    }
                };
                let mut before: Option<Value> = None;
                for item in items {
                    if before.as_ref().is_some_and(|before| same(before, &item)) {
                        continue;
                    }
                    before = Some(item.clone());
                    out.put(interpreter, item)?;
                }
                Ok(())
            })
        },
    },
];

fn keys_order(one: &[Value], other: &[Value], descending: &[bool], case: Case) -> Ordering {
    for (at, (one, other)) in one.iter().zip(other).enumerate() {
        let order = order(one, other, case).unwrap_or_else(|| {
            if equal(one, other, case) {
                Ordering::Equal
            } else {
                text(one).to_lowercase().cmp(&text(other).to_lowercase())
            }
        });
        let order = if descending.get(at).copied().unwrap_or(false) { order.reverse() } else { order };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}
