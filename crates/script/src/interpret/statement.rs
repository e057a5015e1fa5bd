//! What statements do.

use super::context::ErrorAction;
use super::pipeline::only_expression;
use super::{Collected, Interpreter, Sink};
use crate::error::{ErrorRecord, Exception, Flow, Outcome};
use crate::scope::Function;
use crate::syntax::{
    Catch, Expression, Loop, LoopKind, Statement, StatementKind, Statements, Trap, TypeName,
};
use crate::types::{Type, exception_is, text};
use crate::value::{Closure, EnumType, Value};
use std::rc::Rc;

impl Interpreter<'_> {
    /// One after the other. An error that ends a statement does not end the next one, unless in `try`.
    pub fn statements(&mut self, block: &Statements, out: &mut dyn Sink) -> Outcome {
        if !block.traps.is_empty() {
            return self.trapped(block, out);
        }
        for statement in &block.all {
            self.heed()?;
            match self.statement(statement, out) {
                Err(Flow::Error(record)) if !record.ends_script && self.trying == 0 => {
                    self.ended(record.at(self.position(statement.extent)))?;
                }
                Err(Flow::Error(record)) => return Err(record.at(self.position(statement.extent)).into()),
                other => other?,
            }
            out.flush(self)?;
        }
        Ok(())
    }

    /// In brackets of an expression the first error ends them all.
    pub(super) fn statements_as_one(&mut self, block: &Statements, out: &mut dyn Sink) -> Outcome {
        for statement in &block.all {
            self.heed()?;
            match self.statement(statement, out) {
                Err(Flow::Error(record))
                    if !record.ends_script && self.trying == 0 && block.all.len() > 1 =>
                {
                    self.ended(record.at(self.position(statement.extent)))?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn ended(&mut self, record: ErrorRecord) -> Outcome {
        for noted in &self.context.preferences.noted_errors {
            noted.borrow_mut().push(Value::Error(Rc::new(record.clone())));
        }
        match self.error_preference() {
            ErrorAction::Stop => Err(ErrorRecord { ends_script: true, ..record }.into()),
            ErrorAction::Continue | ErrorAction::Inquire => {
                self.remember(&record);
                self.show(&record);
                Ok(())
            }
            ErrorAction::SilentlyContinue | ErrorAction::Ignore => {
                self.remember(&record);
                Ok(())
            }
        }
    }

    fn trapped(&mut self, block: &Statements, out: &mut dyn Sink) -> Outcome {
        for statement in &block.all {
            self.heed()?;
            self.trying += 1;
            let result = self.statement(statement, out);
            self.trying -= 1;
            match result {
                Err(Flow::Error(record)) => {
                    let record = record.at(self.position(statement.extent));
                    self.run_trap(&block.traps, record, out)?;
                }
                other => other?,
            }
            out.flush(self)?;
        }
        Ok(())
    }

    /// `continue` goes on behind the statement, `break` leaves, and what does neither prints the error and goes on.
    fn run_trap(&mut self, traps: &[Trap], record: ErrorRecord, out: &mut dyn Sink) -> Outcome {
        let mut chosen = None;
        for trap in traps {
            let fits = match &trap.kind {
                None => chosen.is_none(),
                Some(kind) => self.catches(std::slice::from_ref(kind), &record)?,
            };
            if fits {
                chosen = Some(trap);
                if trap.kind.is_some() {
                    break;
                }
            }
        }
        let Some(trap) = chosen else { return Err(record.into()) };
        self.remember(&record);
        let before = self.context.scope.find("_");
        let scope =
            crate::scope::Scope::within(&self.context.scope, false, self.context.scope.running.clone());
        scope.note("_", Value::Error(Rc::new(record.clone())));
        let context = self.context.in_scope(scope);
        let body = trap.body.clone();
        let result = self.within(context, |interpreter| interpreter.statements(&body, out));
        if let Some(before) = before {
            self.context.scope.note("_", before);
        }
        match result {
            Err(Flow::Continue(None)) => Ok(()),
            Err(Flow::Break(None)) => Err(record.into()),
            Ok(()) => {
                self.show(&record);
                Ok(())
            }
            other => other,
        }
    }

    pub fn statement(&mut self, statement: &Statement, out: &mut dyn Sink) -> Outcome {
        match &statement.kind {
            StatementKind::Pipeline(elements) => self.pipeline(elements, out),
            StatementKind::Chain(first, rest) => self.chain(first, rest, out),
            StatementKind::Assign { target, operator, coalesce, value } => {
                self.assignment(target, *operator, *coalesce, value).map(drop)
            }
            StatementKind::If { arms, otherwise } => {
                for (condition, body) in arms {
                    if self.value_of(condition)?.is_true() {
                        return self.statements(body, out);
                    }
                }
                otherwise.as_ref().map_or(Ok(()), |body| self.statements(body, out))
            }
            StatementKind::Loop(parts) => self.nested(|interpreter| interpreter.repeat(parts, out)),
            StatementKind::Switch(parts) => self.nested(|interpreter| interpreter.switch(parts, out)),
            StatementKind::Try { body, catches, finally } => {
                self.nested(|interpreter| interpreter.attempt(body, catches, finally.as_deref(), out))
            }
            StatementKind::Function { name, body } => self.define(name, body),
            StatementKind::Enum { name, flags, members } => self.define_enum(name, *flags, members),
            StatementKind::Break(label) => Err(Flow::Break(self.label(label.as_ref())?)),
            StatementKind::Continue(label) => Err(Flow::Continue(self.label(label.as_ref())?)),
            StatementKind::Return(value) => {
                if let Some(value) = value {
                    self.statement(value, out)?;
                }
                Err(Flow::Return)
            }
            StatementKind::Throw(value) => {
                let thrown = value.as_ref().map(|value| self.value_of(value)).transpose()?;
                Err(self.thrown(thrown).at(self.position(statement.extent)).into())
            }
            StatementKind::Exit(value) => match value {
                None => Err(Flow::Exit(None)),
                Some(value) => {
                    let code = self.value_of(value)?;
                    let number = crate::types::convert_or_none(
                        &code,
                        &Type::Integer(crate::value::IntegerKind::Int64),
                    );
                    let code = match number {
                        Some(Value::Number(number)) => number.as_integer().unwrap_or(1) as i64,
                        _ => 1,
                    };
                    Err(Flow::Exit(Some(code)))
                }
            },
            StatementKind::Block(block) => self.statements(block, out),
        }
    }

    fn label(&mut self, label: Option<&Expression>) -> Outcome<Option<Rc<str>>> {
        let Some(label) = label else { return Ok(None) };
        let value = self.evaluate(label)?;
        Ok(Some(text(&value).to_lowercase().into()))
    }

    fn chain(&mut self, first: &Statement, rest: &[(bool, Statement)], out: &mut dyn Sink) -> Outcome {
        self.link(first, out)?;
        for (and, statement) in rest {
            if self.fine == *and {
                self.link(statement, out)?;
            }
        }
        Ok(())
    }

    /// An error of one part of a chain is told, and the chain goes on by `$?`.
    fn link(&mut self, statement: &Statement, out: &mut dyn Sink) -> Outcome {
        match self.statement(statement, out) {
            Err(Flow::Error(record)) if !record.ends_script && self.trying == 0 => {
                self.ended(record.at(self.position(statement.extent)))
            }
            other => other,
        }
    }

    /// What a statement gives, as an assignment or a condition takes it.
    pub fn value_of(&mut self, statement: &Statement) -> Outcome<Value> {
        // So that `@()` of nothing stays an array and `,1` one of one.
        if let Some(expression) = only_expression(statement) {
            return self.evaluate(expression);
        }
        if let StatementKind::Assign { target, operator, coalesce, value } = &statement.kind {
            return self.assignment(target, *operator, *coalesce, value);
        }
        let mut out = Collected::default();
        self.statement(statement, &mut out)?;
        Ok(Value::of(out.0))
    }

    /// One turn of a loop; true is the last.
    fn turn(&mut self, parts: &Loop, out: &mut dyn Sink) -> Outcome<bool> {
        let ours = |label: &Option<Rc<str>>| label.is_none() || *label == parts.label;
        self.heed()?;
        match self.statements(&parts.body, out) {
            Ok(()) => Ok(false),
            Err(Flow::Break(label)) if ours(&label) => Ok(true),
            Err(Flow::Continue(label)) if ours(&label) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn repeat(&mut self, parts: &Loop, out: &mut dyn Sink) -> Outcome {
        match &parts.kind {
            LoopKind::While(condition) => {
                while self.value_of(condition)?.is_true() {
                    if self.turn(parts, out)? {
                        break;
                    }
                }
            }
            LoopKind::DoWhile(condition) | LoopKind::DoUntil(condition) => {
                let until = matches!(parts.kind, LoopKind::DoUntil(_));
                loop {
                    if self.turn(parts, out)? || self.value_of(condition)?.is_true() == until {
                        break;
                    }
                }
            }
            LoopKind::For { start, condition, step } => {
                if let Some(start) = start {
                    self.value_of(start)?;
                }
                loop {
                    if let Some(condition) = condition
                        && !self.value_of(condition)?.is_true()
                    {
                        break;
                    }
                    if self.turn(parts, out)? {
                        break;
                    }
                    if let Some(step) = step {
                        self.value_of(step)?;
                    }
                }
            }
            LoopKind::ForEach { variable, over } => {
                if let Some(expression) = only_expression(over)
                    && let Some(ends) = self.range_of(expression)?
                {
                    for number in super::pipeline::numbers(ends) {
                        self.set_variable(variable, Value::int(number))?;
                        if self.turn(parts, out)? {
                            break;
                        }
                    }
                    return Ok(());
                }
                let over = self.value_of(over)?;
                let items = match &over {
                    Value::Map(_) => vec![over],
                    other => other.some_elements(),
                };
                for item in items {
                    self.set_variable(variable, item)?;
                    if self.turn(parts, out)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        body: &Statements,
        catches: &[Catch],
        finally: Option<&Statements>,
        out: &mut dyn Sink,
    ) -> Outcome {
        self.trying += usize::from(!catches.is_empty());
        let result = self.statements(body, out);
        self.trying -= usize::from(!catches.is_empty());
        let result = match result {
            Err(Flow::Error(record)) => self.caught(catches, *record, out),
            other => other,
        };
        let Some(finally) = finally else { return result };
        // It runs to its end even after Ctrl-C.
        let interrupted = self.interrupted.swap(false, std::sync::atomic::Ordering::Relaxed);
        let last = self.statements(finally, out);
        self.interrupted.fetch_or(interrupted, std::sync::atomic::Ordering::Relaxed);
        last.and(result)
    }

    fn caught(&mut self, catches: &[Catch], record: ErrorRecord, out: &mut dyn Sink) -> Outcome {
        let mut chosen = None;
        for catch in catches {
            if catch.kinds.is_empty() || self.catches(&catch.kinds, &record)? {
                chosen = Some(catch);
                break;
            }
        }
        let Some(catch) = chosen else { return Err(record.into()) };
        self.remember(&record);
        let before = self.context.scope.own("_");
        self.context.scope.note("_", Value::Error(Rc::new(ErrorRecord { ends_script: false, ..record })));
        let result = self.statements(&catch.body, out);
        match before {
            Some(slot) => self.context.scope.put("_", slot),
            None => {
                self.context.scope.forget("_");
            }
        }
        result
    }

    fn catches(&mut self, kinds: &[TypeName], record: &ErrorRecord) -> Outcome<bool> {
        for kind in kinds {
            let wanted = match self.find_type(kind)? {
                Type::Exception(name) => name.to_string(),
                other => other.full_name(),
            };
            let mut exception = Some(&record.exception);
            while let Some(own) = exception {
                if exception_is(&own.type_name, &wanted) {
                    return Ok(true);
                }
                exception = own.inner.as_ref();
            }
        }
        Ok(false)
    }

    /// What `throw` makes of a value; of nothing, in `catch`, the error again.
    fn thrown(&mut self, value: Option<Value>) -> ErrorRecord {
        match value {
            Some(Value::Error(record)) => ErrorRecord { ends_script: true, ..(*record).clone() },
            Some(Value::Exception(exception)) => {
                let id: Rc<str> = exception.message.clone();
                let record = ErrorRecord::runtime(&id, "").in_category("OperationStopped");
                ErrorRecord { exception, ends_script: true, ..record }
            }
            Some(value) => {
                let message = text(&value);
                let record = ErrorRecord::runtime(&message, &message)
                    .in_category("OperationStopped")
                    .about(value.clone());
                ErrorRecord { thrown: Some(Box::new(value)), ends_script: true, ..record }
            }
            None => match self.context.scope.find("_") {
                Some(Value::Error(record)) => ErrorRecord { ends_script: true, ..(*record).clone() },
                _ => {
                    let record =
                        ErrorRecord::runtime("ScriptHalted", "ScriptHalted").in_category("OperationStopped");
                    let exception =
                        Exception::new("System.Management.Automation.RuntimeException", "ScriptHalted");
                    ErrorRecord { exception, ends_script: true, ..record }
                }
            },
        }
    }

    fn define(&mut self, name: &Rc<str>, body: &Rc<crate::syntax::ScriptBlock>) -> Outcome {
        let (scope, name) = match name.split_once(':') {
            Some((scope, own)) if scope.eq_ignore_ascii_case("global") => {
                (self.context.scope.outermost(), Rc::from(own))
            }
            Some((scope, own)) if scope.eq_ignore_ascii_case("script") => {
                (self.context.scope.script(), Rc::from(own))
            }
            Some((_, own)) => (self.context.scope.clone(), Rc::from(own)),
            None => (self.context.scope.clone(), name.clone()),
        };
        // A module's functions see its variables from wherever they are called.
        let module = self.context.scope.script();
        let home = module
            .running
            .as_ref()
            .is_some_and(|running| running.name.to_lowercase().ends_with(".psm1"))
            .then_some(module);
        let closure = Rc::new(Closure { block: body.clone(), scope: home });
        scope.define(&name, Function { name: name.clone(), closure });
        self.fine = true;
        Ok(())
    }

    fn define_enum(&mut self, name: &str, flags: bool, members: &[(String, Option<Expression>)]) -> Outcome {
        let mut next = 0;
        let mut made = Vec::new();
        for (member, value) in members {
            if let Some(value) = value {
                let value = self.evaluate(value)?;
                let number = crate::types::convert(&value, &Type::Integer(crate::value::IntegerKind::Int64))?;
                if let Value::Number(number) = number {
                    next = number.as_integer().unwrap_or_default() as i64;
                }
            }
            made.push((Rc::from(member.as_str()), next));
            next += 1;
        }
        let kind = Rc::new(EnumType { name: name.into(), members: made, flags });
        self.enumerations.insert(name.to_lowercase(), kind);
        Ok(())
    }
}
