//! What expressions are worth.

use super::{Interpreter, operator};
use crate::error::{ErrorRecord, Outcome};
use crate::syntax::{
    Binary, Case, Comparison, Expression, ExpressionKind, Operator, Part, Postfix, PostfixKind, Statement,
    Unary,
};
use crate::types::{Pattern, Type, convert, is_instance, text, type_name};
use crate::value::{Array, ArrayKind, Closure, IntegerKind, Map, MapKind, Number, Reference, Value};
use std::rc::Rc;

impl Interpreter<'_> {
    pub fn evaluate(&mut self, expression: &Expression) -> Outcome<Value> {
        match &expression.kind {
            ExpressionKind::Literal(value) => Ok(value.clone()),
            ExpressionKind::Variable(variable) => self.variable(variable),
            _ => self
                .nested(|interpreter| interpreter.evaluate_inside(expression))
                .map_err(|flow| self.placed(flow, expression)),
        }
    }

    fn placed(&self, flow: crate::error::Flow, expression: &Expression) -> crate::error::Flow {
        match flow {
            crate::error::Flow::Error(record) => record.at(self.position(expression.extent)).into(),
            other => other,
        }
    }

    fn evaluate_inside(&mut self, expression: &Expression) -> Outcome<Value> {
        match &expression.kind {
            ExpressionKind::Literal(value) => Ok(value.clone()),
            ExpressionKind::Variable(variable) => self.variable(variable),
            ExpressionKind::Text(parts) => self.text_of(parts),
            ExpressionKind::Chain(first, rest) => self.chain_of(first, rest),
            ExpressionKind::Ternary(three) => {
                let [condition, yes, no] = &**three;
                if self.evaluate(condition)?.is_true() { self.evaluate(yes) } else { self.evaluate(no) }
            }
            ExpressionKind::Unary(operator, operand) => self.unary(*operator, operand),
            ExpressionKind::Step { target, by, after } => self.step(target, *by, *after),
            ExpressionKind::Cast(kind, operand) => self.cast(kind, operand),
            ExpressionKind::Attributed(_, operand) => self.evaluate(operand),
            ExpressionKind::List(all) => {
                let items = all.iter().map(|one| self.evaluate(one)).collect::<Outcome<Vec<_>>>()?;
                Ok(Value::array(items))
            }
            ExpressionKind::Parentheses(statement) => self.value_of(statement),
            ExpressionKind::Sub(block) => {
                let items = self.collect(|interpreter, out| interpreter.statements_as_one(block, out))?;
                Ok(Value::of(items))
            }
            ExpressionKind::Array(block) => {
                // An array of a language's own literal is taken as it is.
                let items = self.collect(|interpreter, out| interpreter.statements_as_one(block, out))?;
                Ok(Value::array(items))
            }
            ExpressionKind::Hash(pairs) => self.hash(pairs, MapKind::Hashtable),
            ExpressionKind::Block(block) => {
                Ok(Value::Block(Rc::new(Closure { block: block.clone(), scope: None })))
            }
            ExpressionKind::Type(kind) => Ok(Value::Type(Rc::new(self.find_type(kind)?))),
            ExpressionKind::Postfix(first, chain) => {
                let target = self.evaluate(first)?;
                self.postfix(target, chain)
            }
        }
    }

    pub(super) fn postfix(&mut self, mut value: Value, chain: &[Postfix]) -> Outcome<Value> {
        for step in chain {
            if step.conditional && value.is_null() {
                return Ok(Value::Null);
            }
            value = self.postfix_step(&value, step).map_err(|flow| match flow {
                crate::error::Flow::Error(record) => record.at(self.position(step.extent)).into(),
                other => other,
            })?;
        }
        Ok(value)
    }

    fn postfix_step(&mut self, value: &Value, step: &Postfix) -> Outcome<Value> {
        match &step.kind {
            PostfixKind::Member { name, is_static } => {
                let name = self.member_name(name)?;
                if *is_static { self.static_use(value, &name, None) } else { self.member(value, &name) }
            }
            PostfixKind::Invoke { name, is_static, arguments } => {
                let name = self.member_name(name)?;
                let arguments =
                    arguments.iter().map(|argument| self.evaluate(argument)).collect::<Outcome<Vec<_>>>()?;
                if *is_static {
                    self.static_use(value, &name, Some(&arguments))
                } else {
                    self.invoke(value, &name, &arguments)
                }
            }
            PostfixKind::Index(index) => {
                let index = self.evaluate(index)?;
                Ok(indexed(value, &index)?)
            }
        }
    }

    pub(super) fn member_name(&mut self, name: &Expression) -> Outcome<String> {
        match &name.kind {
            ExpressionKind::Literal(Value::Text(name)) => Ok(name.to_string()),
            _ => {
                let value = self.evaluate(name)?;
                Ok(text(&value))
            }
        }
    }

    fn text_of(&mut self, parts: &[Part]) -> Outcome<Value> {
        let mut made = String::new();
        for part in parts {
            match part {
                Part::Plain(plain) => made += plain,
                Part::Put(expression) => {
                    let value = self.evaluate(expression)?;
                    made += &self.text_in_string(&value);
                }
            }
        }
        Ok(made.into())
    }

    /// `$OFS` stands between the elements of an array.
    fn text_in_string(&mut self, value: &Value) -> String {
        if let Value::Array(_) = value
            && let Some(between) = self.context.scope.find("ofs")
        {
            return operator::join(value, &text(&between));
        }
        text(value)
    }

    fn chain_of(&mut self, first: &Expression, rest: &[(Operator, Expression)]) -> Outcome<Value> {
        let mut left = self.evaluate(first)?;
        for (operator, expression) in rest {
            left = match operator {
                Operator::And => (left.is_true() && self.evaluate(expression)?.is_true()).into(),
                Operator::Or => (left.is_true() || self.evaluate(expression)?.is_true()).into(),
                Operator::Xor => (left.is_true() != self.evaluate(expression)?.is_true()).into(),
                Operator::Coalesce if left.is_null() => self.evaluate(expression)?,
                Operator::Coalesce => left,
                Operator::Binary(binary) => {
                    let right = self.evaluate(expression)?;
                    self.binary(*binary, &left, &right)?
                }
            };
        }
        Ok(left)
    }

    pub(super) fn binary(&mut self, operator: Binary, left: &Value, right: &Value) -> Outcome<Value> {
        match operator {
            Binary::Is | Binary::IsNot => {
                let kind = self.type_of_operand(right)?;
                Ok((is_instance(left, &kind) == (operator == Binary::Is)).into())
            }
            Binary::As => {
                let kind = self.type_of_operand(right)?;
                Ok(self.converted(left, &kind).unwrap_or_default())
            }
            Binary::Replace(case) => self.replace(left, right, case),
            Binary::Split(case) => match right {
                Value::Block(closure) => self.split_by_block(left, closure),
                _ => Ok(operator::operate(Binary::Split(case), left, right)?),
            },
            Binary::Compare(Comparison::Match | Comparison::NotMatch, case)
                if !matches!(left, Value::Array(_)) =>
            {
                let pattern = match right {
                    Value::Regex(pattern) => pattern.clone(),
                    other => Pattern::new(&text(other), case)?,
                };
                let said = text(left);
                let found = pattern.find_at(&said, 0)?;
                if let Some(found) = &found {
                    self.note_matches(&pattern, &said, found);
                }
                Ok((found.is_some() == matches!(operator, Binary::Compare(Comparison::Match, _))).into())
            }
            _ => Ok(operator::operate(operator, left, right)?),
        }
    }

    fn type_of_operand(&self, value: &Value) -> Result<Rc<Type>, ErrorRecord> {
        match value {
            Value::Type(kind) => Ok(kind.clone()),
            other => {
                let name = text(other);
                let unknown =
                    || ErrorRecord::runtime("TypeNotFound", format!("Unable to find type [{name}]."));
                self.type_by_text(&name).map(Rc::new).ok_or_else(unknown)
            }
        }
    }

    /// `$Matches`
    pub(super) fn note_matches(&mut self, pattern: &Pattern, said: &str, found: &crate::types::Found) {
        let map = Map::new(MapKind::Hashtable);
        for (at, (group, name)) in found.groups.iter().zip(pattern.names()).enumerate() {
            if let Some((start, end)) = group {
                let key = if name == at.to_string() { Value::from(at) } else { Value::from(name) };
                map.set(key, said[*start..*end].into());
            }
        }
        self.context.scope.note("matches", Value::Map(Rc::new(map)));
    }

    fn replace(&mut self, left: &Value, right: &Value, case: Case) -> Outcome<Value> {
        let mut words = right.some_elements().into_iter();
        let pattern = match words.next() {
            Some(Value::Regex(pattern)) => pattern,
            other => Pattern::new(&other.as_ref().map(text).unwrap_or_default(), case)?,
        };
        let with = words.next().unwrap_or_default();
        let mut one = |value: &Value| -> Outcome<Value> {
            let said = text(value);
            if let Value::Block(closure) = &with {
                let made = pattern.replace_by(&said, 0, |found, made| -> Outcome {
                    let object = pattern.match_object(&said, Some(found));
                    let items = self.block_for(closure, object)?;
                    *made += &text(&Value::of(items));
                    Ok(())
                })?;
                return Ok(made.into());
            }
            Ok(pattern.replace(&said, &text(&with), 0)?.into())
        };
        match left {
            Value::Array(array) => {
                let items = array.items().clone();
                Ok(Value::array(items.iter().map(one).collect::<Outcome<_>>()?))
            }
            left => one(left),
        }
    }

    fn split_by_block(&mut self, left: &Value, closure: &Rc<Closure>) -> Outcome<Value> {
        let mut parts = vec![String::new()];
        for c in text(left).chars() {
            if Value::of(self.block_for(closure, c.to_string().into())?).is_true() {
                parts.push(String::new());
            } else if let Some(last) = parts.last_mut() {
                last.push(c);
            }
        }
        Ok(Value::array(parts.into_iter().map(Value::from).collect()))
    }

    fn unary(&mut self, operator: Unary, operand: &Expression) -> Outcome<Value> {
        let value = self.evaluate(operand)?;
        let zero = Value::int(0);
        Ok(match operator {
            Unary::Not => (!value.is_true()).into(),
            Unary::BitNot => operator::bit_not(&value)?,
            Unary::Minus => match value {
                Value::Span(span) => Value::Span(crate::types::TimeSpan { ticks: -span.ticks }),
                value => operator::operate(Binary::Subtract, &zero, &value)?,
            },
            Unary::Plus => operator::operate(Binary::Add, &zero, &value)?,
            Unary::Comma => Value::array(vec![value]),
            Unary::Join => operator::join(&value, "").into(),
            Unary::Split | Unary::SplitExact => operator::split_words(&value),
        })
    }

    fn cast(&mut self, kind: &crate::syntax::TypeName, operand: &Expression) -> Outcome<Value> {
        if let ExpressionKind::Hash(pairs) = &operand.kind {
            let lower = kind.name.to_ascii_lowercase();
            match lower.as_str() {
                "ordered" => return self.hash(pairs, MapKind::Ordered),
                "pscustomobject"
                | "psobject"
                | "management.automation.pscustomobject"
                | "system.management.automation.pscustomobject" => {
                    // The properties stand in the order in which they are written.
                    let map = self.hash(pairs, MapKind::Ordered)?;
                    return Ok(convert(&map, &Type::Custom)?);
                }
                _ => {}
            }
        }
        if kind.name.eq_ignore_ascii_case("ref")
            && let ExpressionKind::Variable(variable) = &operand.kind
        {
            let scope =
                self.context.scope.holder(&variable.name).unwrap_or_else(|| self.context.scope.clone());
            return Ok(Value::Reference(Rc::new(Reference { scope, name: variable.name.clone() })));
        }
        let wanted = self.find_type(kind)?;
        let value = self.evaluate(operand)?;
        match (self.converted(&value, &wanted), &wanted) {
            // What a constructor takes alone can be cast (about_Type_Conversion).
            (Err(error), Type::Class(class)) if !value.is_null() => {
                self.instance(class, &[value]).map_err(|_| error.into())
            }
            (converted, _) => Ok(converted?),
        }
    }

    fn hash(&mut self, pairs: &[(Expression, Statement)], kind: MapKind) -> Outcome<Value> {
        let map = Map::new(kind);
        for (key, value) in pairs {
            let at = key.extent;
            let key = self.evaluate(key)?;
            if key.is_null() {
                let message = "A null key is not allowed in a hash literal.";
                return Err(ErrorRecord::runtime("InvalidNullKey", message).into());
            }
            if map.contains(&key) {
                let message = format!("Duplicate keys '{}' are not allowed in hash literals.", text(&key));
                return Err(ErrorRecord::runtime("DuplicateKeyInHashLiteral", message)
                    .at(self.position(at))
                    .into());
            }
            let value = self.value_of(value)?;
            map.set(key, value);
        }
        Ok(Value::Map(Rc::new(map)))
    }

    /// `++` and `--`: null counts as 0.
    fn step(&mut self, target: &Expression, by: i8, after: bool) -> Outcome<Value> {
        let before = self.evaluate(target)?;
        let number = match &before {
            Value::Null => Value::int(0),
            Value::Number(_) => before.clone(),
            other => {
                let message = format!(
                    "The '{}' operator works only on numbers. The operand is a '{}'.",
                    if by > 0 { "++" } else { "--" },
                    type_name(other)
                );
                return Err(ErrorRecord::runtime("OperatorRequiresNumber", message).into());
            }
        };
        let changed = operator::operate(
            Binary::Add,
            &number,
            &Value::Number(Number::Integer(by.into(), IntegerKind::Int32)),
        )?;
        self.assign(target, changed.clone())?;
        Ok(if after { number } else { changed })
    }
}

/// `$value[index]`
pub fn indexed(value: &Value, index: &Value) -> Result<Value, ErrorRecord> {
    if let Value::Map(map) = value {
        if let (Value::Array(keys), true) = (index, !map.contains(index)) {
            return Ok(Value::array(
                keys.items().iter().map(|key| map.value(key).unwrap_or_default()).collect(),
            ));
        }
        let by_place =
            map.kind == MapKind::Ordered && matches!(index, Value::Number(_)) && !map.contains(index);
        if by_place {
            let pairs = map.pairs();
            return Ok(place(index, pairs.len()).map_or(Value::Null, |at| pairs[at].1.clone()));
        }
        return Ok(map.value(index).unwrap_or_default());
    }
    if value.is_null() {
        return Err(ErrorRecord::runtime("NullArray", "Cannot index into a null array."));
    }
    if let Value::Array(indexes) = index {
        let all = indexes.items().iter().map(|index| indexed(value, index)).collect::<Result<Vec<_>, _>>()?;
        return Ok(Value::array(all.into_iter().filter(|item| !item.is_null()).collect()));
    }
    let wrong = || {
        let message = format!("Array assignment failed because index '{}' was out of range.", text(index));
        ErrorRecord::runtime("InvalidArrayIndex", message)
    };
    match value {
        Value::Array(array) => {
            if crate::types::number(index).is_none() {
                return Err(crate::types::convert(index, &Type::Integer(IntegerKind::Int32))
                    .err()
                    .unwrap_or_else(wrong));
            }
            let items = array.items();
            Ok(place(index, items.len()).map_or(Value::Null, |at| items[at].clone()))
        }
        Value::Text(said) => {
            let count = said.chars().count();
            Ok(place(index, count).and_then(|at| said.chars().nth(at)).map_or(Value::Null, Value::Char))
        }
        Value::Object(object)
            if object.note(&text(index)).is_some() && !matches!(index, Value::Number(_)) =>
        {
            Ok(object.note(&text(index)).unwrap_or_default())
        }
        one => match place(index, 1) {
            Some(_) => Ok(one.clone()),
            None if matches!(index, Value::Number(_)) => Ok(Value::Null),
            None => {
                let message = format!("Unable to index into an object of type {}.", type_name(one));
                Err(ErrorRecord::runtime("CannotIndex", message))
            }
        },
    }
}

/// From the end if it is negative.
pub fn place(index: &Value, count: usize) -> Option<usize> {
    let at = crate::types::number(index)?.as_integer()?;
    let at = if at < 0 { at + count as i128 } else { at };
    usize::try_from(at).ok().filter(|at| *at < count)
}

/// An array whose elements are texts.
pub fn texts(all: impl IntoIterator<Item = String>) -> Value {
    let items = all.into_iter().map(Value::from).collect();
    Value::Array(Rc::new(Array::new(items, ArrayKind::Typed(Rc::new(Type::String)))))
}
