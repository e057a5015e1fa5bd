//! The switch statement (about_Switch).

use super::{Interpreter, Sink, operator};
use crate::error::{Flow, Outcome};
use crate::syntax::{Case, Expression, ExpressionKind, Matching, Switch};
use crate::types::{Pattern, text};
use crate::value::Value;
use std::rc::Rc;

impl Interpreter<'_> {
    pub(super) fn switch(&mut self, parts: &Switch, out: &mut dyn Sink) -> Outcome {
        let over = self.value_of(&parts.over)?;
        let items = if parts.file {
            let path = text(&over);
            let content = std::fs::read_to_string(super::files::native(&path))
                .map_err(|error| Flow::from(super::files::failed("switch", &path, &error)))?;
            content.lines().map(Value::from).collect()
        } else {
            match &over {
                Value::Array(array) => array.items().clone(),
                other => vec![other.clone()],
            }
        };
        let before = self.context.scope.own("_");
        let result = self.switch_items(parts, items, out);
        match before {
            Some(slot) => self.context.scope.put("_", slot),
            None => {
                self.context.scope.forget("_");
            }
        }
        match result {
            Err(Flow::Break(label)) if label.is_none() || label == parts.label => Ok(()),
            other => other,
        }
    }

    fn switch_items(&mut self, parts: &Switch, items: Vec<Value>, out: &mut dyn Sink) -> Outcome {
        for item in items {
            match self.switch_item(parts, item, out) {
                Err(Flow::Continue(label)) if label.is_none() || label == parts.label => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn switch_item(&mut self, parts: &Switch, item: Value, out: &mut dyn Sink) -> Outcome {
        self.heed()?;
        let mut matched = false;
        for (case, body) in &parts.cases {
            self.context.scope.note("_", item.clone());
            if self.case_fits(parts, case, &item)? {
                matched = true;
                self.context.scope.note("_", item.clone());
                self.statements(body, out)?;
            }
        }
        if let (false, Some(default)) = (matched, &parts.default) {
            self.context.scope.note("_", item);
            self.statements(default, out)?;
        }
        Ok(())
    }

    fn case_fits(&mut self, parts: &Switch, case: &Expression, item: &Value) -> Outcome<bool> {
        if let ExpressionKind::Block(block) = &case.kind {
            let closure = Rc::new(crate::value::Closure { block: block.clone(), scope: None });
            return Ok(Value::of(self.block_for(&closure, item.clone())?).is_true());
        }
        let wanted = self.evaluate(case)?;
        if let Value::Block(closure) = &wanted {
            return Ok(Value::of(self.block_for(closure, item.clone())?).is_true());
        }
        let exactness = if parts.exact_case { Case::Exact } else { Case::Ignored };
        Ok(match parts.matching {
            Matching::Exact => super::equal(item, &wanted, exactness),
            Matching::Wildcard => operator::wildcard(&text(&wanted), &text(item), exactness),
            Matching::Regex => {
                let pattern = Pattern::new(&text(&wanted), exactness)?;
                let said = text(item);
                let found = pattern.find_at(&said, 0)?;
                if let Some(found) = &found {
                    self.note_matches(&pattern, &said, found);
                }
                found.is_some()
            }
        })
    }
}
