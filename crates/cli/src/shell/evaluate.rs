//! What expressions are worth.

use super::fault::{Fault, Flow};
use super::item::{Item, NULL};
use super::operate::{self, operate};
use super::session::{Output, Session};
use super::syntax::{Block, Case, Expression, Operator, Part, Postfix, Statement, Unary};
use ireko_manage::Value;
use std::rc::Rc;

type Evaluated = Result<Item, Flow>;

impl Session<'_> {
    pub fn evaluate(&mut self, expression: &Expression) -> Evaluated {
        match expression {
            Expression::Literal(value) => Ok(value.clone().into()),
            Expression::Written(value, typed) => Ok(Item::Written(value.clone(), typed.clone())),
            Expression::Text(parts) => self.text(parts),
            Expression::Variable(name) => Ok(self.variable(name)),
            Expression::Chain(first, rest) => self.chain(first, rest),
            Expression::Unary(operator, operand) => self.unary(*operator, operand),
            Expression::List(all) => {
                Ok(Item::List(all.iter().map(|one| self.evaluate(one)).collect::<Result<_, _>>()?))
            }
            Expression::Postfix(first, chain) => self.postfix(first, chain),
            Expression::Parentheses(statement) => self.value_of(statement),
            Expression::Sub(block) => Ok(Item::of(self.collect(block)?)),
            Expression::Array(block) => Ok(Item::List(self.collect(block)?)),
            Expression::Map(pairs) => self.map(pairs),
            Expression::Block(block) => Ok(Item::Block(block.clone())),
            Expression::Cast(name, operand) => {
                let item = self.evaluate(operand)?;
                Ok(operate::cast(name, item)?)
            }
            Expression::Static(name, member, arguments) => {
                let arguments = self.evaluate_all(arguments)?;
                Ok(statics(name, member, &arguments)?)
            }
        }
    }

    fn evaluate_all(&mut self, all: &[Expression]) -> Result<Vec<Item>, Flow> {
        all.iter().map(|one| self.evaluate(one)).collect()
    }

    fn collect(&mut self, block: &Rc<Block>) -> Result<Vec<Item>, Flow> {
        let mut out = Output::Collect(Vec::new());
        self.statements(&block.body, &mut out)?;
        Ok(if let Output::Collect(items) = out { items } else { Vec::new() })
    }

    /// What a statement gives, as an assignment or parentheses take it.
    pub fn value_of(&mut self, statement: &Statement) -> Evaluated {
        // So that `@()` of nothing stays a list and `,1` one of one.
        if let Some(expression) = only_expression(statement) {
            return self.evaluate(expression);
        }
        let mut out = Output::Collect(Vec::new());
        self.statement(statement, &mut out)?;
        Ok(if let Output::Collect(items) = out { Item::of(items) } else { NULL })
    }

    fn text(&mut self, parts: &[Part]) -> Evaluated {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Plain(plain) => text += plain,
                Part::Put(expression) => text += &self.evaluate(expression)?.text(),
            }
        }
        Ok(text.into())
    }

    fn chain(&mut self, first: &Expression, rest: &[(Operator, Expression)]) -> Evaluated {
        let mut left = self.evaluate(first)?;
        for (operator, expression) in rest {
            let decided = match operator {
                Operator::And => !left.is_true(),
                Operator::Or => left.is_true(),
                _ => false,
            };
            if decided {
                left = left.is_true().into();
                continue;
            }
            let right = self.evaluate(expression)?;
            self.note_matches(*operator, &left, &right);
            left = operate(*operator, left, right)?;
        }
        Ok(left)
    }

    /// `$Matches` after `-match` on one text.
    fn note_matches(&mut self, operator: Operator, left: &Item, right: &Item) {
        use super::syntax::Comparison;
        let Operator::Compare(Comparison::Match, case) = operator else { return };
        let pattern =
            regex_lite::RegexBuilder::new(&right.text()).case_insensitive(case == Case::Ignored).build();
        let text = left.text();
        let Some((pattern, found)) =
            pattern.ok().and_then(|p| p.captures(&text).map(|found| (p.clone(), found)))
        else {
            return;
        };
        let groups = found.iter().enumerate().zip(pattern.capture_names());
        let pairs = groups.filter_map(|((index, group), name)| {
            let name = name.map_or_else(|| index.to_string(), ToOwned::to_owned);
            Some((name, Item::from(group?.as_str())))
        });
        let matches = Item::Map(pairs.collect());
        self.note_variable("Matches", matches);
    }

    fn unary(&mut self, operator: Unary, operand: &Expression) -> Evaluated {
        let item = self.evaluate(operand)?;
        let zero = Item::Value(Value::Int(0));
        Ok(match operator {
            Unary::Not => (!item.is_true()).into(),
            Unary::Minus => operate(Operator::Subtract, zero, item)?,
            Unary::Plus => operate(Operator::Add, zero, item)?,
            Unary::Comma => Item::List(vec![item]),
            Unary::Join => operate::join(item, "").into(),
            Unary::Split => Item::List(item.text().split_whitespace().map(Item::from).collect()),
        })
    }

    fn map(&mut self, pairs: &[(Expression, Rc<Statement>)]) -> Evaluated {
        let mut made: Vec<(String, Item)> = Vec::new();
        for (key, value) in pairs {
            let key = self.evaluate(key)?.text();
            if made.iter().any(|(own, _)| own.eq_ignore_ascii_case(&key)) {
                let message = format!("Duplicate keys '{key}' are not allowed in hash literals.");
                return Err(Fault::runtime("DuplicateKeyInHashLiteral", message).into());
            }
            let value = self.value_of(value)?;
            made.push((key, value));
        }
        Ok(Item::Map(made))
    }

    fn postfix(&mut self, first: &Expression, chain: &[Postfix]) -> Evaluated {
        let mut item = self.evaluate(first)?;
        for step in chain {
            item = match step {
                Postfix::Member(name) => {
                    let name = self.evaluate(name)?.text();
                    item.member(&name)
                }
                Postfix::Index(index) => {
                    let index = self.evaluate(index)?;
                    indexed(&item, &index)?
                }
                Postfix::Method(name, arguments) => {
                    let arguments = self.evaluate_all(arguments)?;
                    self.method(&item, name, &arguments)?
                }
            };
        }
        Ok(item)
    }

    fn method(&mut self, item: &Item, name: &str, arguments: &[Item]) -> Evaluated {
        if let (Item::Block(block), true) = (item, name.eq_ignore_ascii_case("Invoke")) {
            return self.invoke_block(block, arguments.to_vec()).map(Item::of);
        }
        let of_the_list = name.eq_ignore_ascii_case("Contains") || name.eq_ignore_ascii_case("IndexOf");
        if let (Item::List(items), false) = (item, of_the_list) {
            let all: Result<Vec<Item>, Flow> =
                items.iter().map(|one| self.method(one, name, arguments)).collect();
            return all.map(Item::of);
        }
        Ok(method(item, name, arguments)?)
    }
}

/// The expression that is all of a statement.
pub fn only_expression(statement: &Statement) -> Option<&Expression> {
    use super::syntax::Element;
    match statement {
        Statement::Pipeline(pipeline) => match pipeline.elements.as_slice() {
            [Element::Expression(expression, redirections)] if redirections.is_empty() => Some(expression),
            _ => None,
        },
        _ => None,
    }
}

pub fn indexed(item: &Item, index: &Item) -> Result<Item, Fault> {
    if let Item::List(indexes) = index {
        let all: Result<Vec<Item>, Fault> = indexes.iter().map(|index| indexed(item, index)).collect();
        return all.map(Item::List);
    }
    match item {
        Item::Map(_) => Ok(item.member(&index.text())),
        item if item.is_null() => Err(Fault::runtime("NullArray", "Cannot index into a null array.")),
        _ => {
            let Some(at) = index.value().as_int().or_else(|| super::parse::number(&index.text())?.as_int())
            else {
                return Ok(item.member(&index.text()));
            };
            let pick = |count: usize| {
                let at = if at < 0 { at.checked_add(i64::try_from(count).ok()?)? } else { at };
                usize::try_from(at).ok().filter(|at| *at < count)
            };
            Ok(match item {
                Item::List(items) => pick(items.len()).map_or(NULL, |at| items[at].clone()),
                Item::Value(Value::Text(text)) => {
                    let at = pick(text.chars().count());
                    at.and_then(|at| text.chars().nth(at)).map_or(NULL, |c| c.to_string().into())
                }
                one => pick(1).map_or(NULL, |_| one.clone()),
            })
        }
    }
}

fn method(item: &Item, name: &str, arguments: &[Item]) -> Result<Item, Fault> {
    let unknown = || {
        let message = format!(
            "Method invocation failed because [{}] does not contain a method named '{name}'.",
            item.type_name()
        );
        Err(Fault::runtime("MethodNotFound", message))
    };
    let text = item.text();
    let argument = |at: usize| arguments.get(at).map(Item::text).unwrap_or_default();
    let number = |at: usize| arguments.get(at).and_then(|item| item.value().as_int());
    let trimmed: Vec<char> = argument(0).chars().collect();
    let cut = |c: char| if trimmed.is_empty() { c.is_whitespace() } else { trimmed.contains(&c) };
    let lower = name.to_ascii_lowercase();
    if let Item::List(items) = item {
        let wanted = arguments.first().cloned().unwrap_or(NULL);
        let found = items
            .iter()
            .position(|own| operate::order(own, &wanted, Case::Seen) == Some(std::cmp::Ordering::Equal));
        return match lower.as_str() {
            "contains" => Ok(found.is_some().into()),
            _ => Ok(found.map_or(-1, |at| at as i64).into()),
        };
    }
    if let (Item::Map(_), "containskey" | "contains") = (item, lower.as_str()) {
        return Ok(item.names().iter().any(|own| own.eq_ignore_ascii_case(&argument(0))).into());
    }
    Ok(match lower.as_str() {
        "tostring" if arguments.is_empty() => text.into(),
        "tostring" => {
            let format = Item::from(format!("{{0:{}}}", argument(0)));
            operate(Operator::Format, format, item.clone())?
        }
        "gettype" => Item::Map(vec![("Name".into(), item.type_name().into())]),
        "equals" => (text == argument(0)).into(),
        "toupper" => text.to_uppercase().into(),
        "tolower" => text.to_lowercase().into(),
        "trim" => text.trim_matches(cut).into(),
        "trimstart" => text.trim_start_matches(cut).into(),
        "trimend" => text.trim_end_matches(cut).into(),
        "contains" => text.contains(&argument(0)).into(),
        "startswith" => text.starts_with(&argument(0)).into(),
        "endswith" => text.ends_with(&argument(0)).into(),
        "indexof" => text.find(&argument(0)).map_or(-1, |at| text[..at].chars().count() as i64).into(),
        "replace" if !argument(0).is_empty() => text.replace(&argument(0), &argument(1)).into(),
        "split" => {
            let marks: Vec<char> = argument(0).chars().collect();
            let parts =
                text.split(|c: char| if marks.is_empty() { c.is_whitespace() } else { marks.contains(&c) });
            Item::List(parts.map(Item::from).collect())
        }
        "substring" => {
            let length = text.chars().count() as i64;
            let from = number(0).filter(|from| (0..=length).contains(from));
            let count = from.and_then(|from| {
                let count = number(1).unwrap_or(length - from);
                (0..=length - from).contains(&count).then_some(count)
            });
            let (Some(from), Some(count)) = (from, count) else {
                let message = "Index and length must refer to a location within the string.";
                return Err(Fault::runtime("ArgumentOutOfRangeException", message));
            };
            text.chars().skip(from as usize).take(count as usize).collect::<String>().into()
        }
        "padleft" | "padright" => {
            let width = number(0).and_then(|n| usize::try_from(n).ok()).unwrap_or(0).min(4096);
            if lower == "padleft" { format!("{text:>width$}") } else { format!("{text:<width$}") }.into()
        }
        _ => return unknown(),
    })
}

/// `[math]::Round(…)` and the few others that one-liners use.
fn statics(name: &str, member: &str, arguments: &[Item]) -> Result<Item, Fault> {
    let unknown = || {
        let message = format!("There is no [{name}]::{member} here.");
        Fault::runtime("MethodNotFound", message)
    };
    let number = |at: usize| {
        let item = arguments.get(at).cloned().ok_or_else(unknown)?;
        let number = operate::cast("double", item)?;
        Ok(if let Item::Value(Value::Float(number)) = number { number } else { 0.0 })
    };
    let short = name.to_ascii_lowercase();
    match (short.trim_start_matches("system."), member.to_ascii_lowercase().as_str()) {
        ("math", "round") => {
            let digits = if arguments.len() > 1 { number(1)?.clamp(0.0, 15.0) as i32 } else { 0 };
            let scale = 10f64.powi(digits);
            Ok(Item::Value(Value::Float((number(0)? * scale).round_ties_even() / scale)))
        }
        ("math", "floor") => Ok(Item::Value(Value::Float(number(0)?.floor()))),
        ("math", "ceiling") => Ok(Item::Value(Value::Float(number(0)?.ceil()))),
        ("math", "truncate") => Ok(Item::Value(Value::Float(number(0)?.trunc()))),
        ("math", "abs") => Ok(Item::Value(Value::Float(number(0)?.abs()))),
        ("math", "max") => Ok(Item::Value(Value::Float(number(0)?.max(number(1)?)))),
        ("math", "min") => Ok(Item::Value(Value::Float(number(0)?.min(number(1)?)))),
        ("guid", "newguid") => match ireko_manage::Guid::random() {
            Ok(guid) => Ok(Item::Value(guid.into())),
            Err(error) => Err(Fault::runtime("NotSpecified", error.to_string())),
        },
        ("guid", "empty") => Ok(Item::Value(ireko_manage::Guid::NIL.into())),
        ("string", "isnullorempty") => Ok(arguments.first().is_none_or(|item| item.text().is_empty()).into()),
        ("string", "isnullorwhitespace") => {
            Ok(arguments.first().is_none_or(|item| item.text().trim().is_empty()).into())
        }
        ("environment", "newline") => Ok("\n".into()),
        ("int" | "int32", "maxvalue") => Ok(i64::from(i32::MAX).into()),
        ("long" | "int64", "maxvalue") => Ok(i64::MAX.into()),
        _ => Err(unknown()),
    }
}
