//! Pipelines: every object goes through all of it before the next one comes.

use super::context::{Context, Destination, Noted};
use super::{Collected, Interpreter, Sink};
use crate::error::{Flow, Outcome};
use crate::source::Position;
use crate::syntax::{
    Binary, Element, Expression, ExpressionKind, Operator, PostfixKind, Redirection, Stream, Target, Unary,
};
use crate::value::Value;
use std::cell::RefCell;
use std::rc::Rc;

/// A command at work in a pipeline.
pub trait Stage {
    fn begin(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let _ = (interpreter, out);
        Ok(())
    }
    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome;
    /// Instead of `process`, where nothing is before it in the pipeline.
    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let _ = (interpreter, out);
        Ok(())
    }
    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let _ = (interpreter, out);
        Ok(())
    }
}

/// A stage with what holds while it runs.
pub struct Running<'h> {
    pub stage: Box<dyn Stage + 'h>,
    pub context: Context,
    /// Errors that are to come out among its output.
    pub merged: Option<Noted>,
    /// Where its output goes instead of down the pipeline.
    pub output: Output,
    /// `-OutVariable`, `-PipelineVariable`
    pub kept: Option<Noted>,
    pub pipeline_variable: Option<Rc<str>>,
    /// Variables that its errors, warnings and output go to at the end.
    pub variables: Vec<(Rc<str>, Noted)>,
}

#[derive(Default)]
pub enum Output {
    #[default]
    Down,
    Nowhere,
    File(Rc<str>),
}

/// The rest of a pipeline as a sink.
struct Rest<'a, 'h> {
    stages: &'a mut [Running<'h>],
    last: &'a mut dyn Sink,
    /// What holds in the statement that the pipeline is.
    around: &'a Context,
}

impl Sink for Rest<'_, '_> {
    fn put(&mut self, interpreter: &mut Interpreter<'_>, value: Value) -> Outcome {
        interpreter.heed()?;
        match self.stages.split_first_mut() {
            None => {
                let before = std::mem::replace(&mut interpreter.context, self.around.clone());
                let result = self.last.put(interpreter, value);
                interpreter.context = before;
                result
            }
            Some((first, rest)) => {
                let mut rest = Rest { stages: rest, last: self.last, around: self.around };
                first.run(interpreter, &mut rest, |stage, interpreter, out| {
                    stage.process(interpreter, value, out)
                })
            }
        }
    }

    fn is_display(&self) -> bool {
        self.stages.is_empty() && self.last.is_display()
    }
}

/// What a stage puts out, with its redirections.
struct Out<'a, 'b> {
    inner: &'a mut (dyn Sink + 'b),
    merged: &'a Option<Noted>,
    output: &'a Output,
    kept: &'a Option<Noted>,
    pipeline_variable: &'a Option<Rc<str>>,
}

impl Sink for Out<'_, '_> {
    fn put(&mut self, interpreter: &mut Interpreter<'_>, value: Value) -> Outcome {
        self.merge(interpreter)?;
        if let Some(kept) = self.kept {
            kept.borrow_mut().push(value.clone());
        }
        if let Some(name) = self.pipeline_variable {
            interpreter.context.scope.note(name, value.clone());
        }
        match self.output {
            Output::Down => self.inner.put(interpreter, value),
            Output::Nowhere => Ok(()),
            Output::File(path) => {
                let text = crate::format::view(interpreter, &[value])?;
                super::files::append(path, &text)
                    .map_err(|error| super::files::failed("Out-File", path, &error).into())
            }
        }
    }

    fn is_display(&self) -> bool {
        matches!(self.output, Output::Down)
            && self.merged.is_none()
            && self.kept.is_none()
            && self.inner.is_display()
    }
}

impl Out<'_, '_> {
    fn merge(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        let Some(merged) = self.merged else { return Ok(()) };
        let waiting = std::mem::take(&mut *merged.borrow_mut());
        for value in waiting {
            match self.output {
                Output::Down => self.inner.put(interpreter, value)?,
                Output::Nowhere => {}
                Output::File(path) => {
                    let text = crate::format::view(interpreter, &[value])?;
                    super::files::append(path, &text)
                        .map_err(|error| Flow::from(super::files::failed("Out-File", path, &error)))?;
                }
            }
        }
        Ok(())
    }
}

impl<'h> Running<'h> {
    fn run(
        &mut self,
        interpreter: &mut Interpreter<'_>,
        rest: &mut dyn Sink,
        body: impl FnOnce(&mut (dyn Stage + 'h), &mut Interpreter<'_>, &mut dyn Sink) -> Outcome,
    ) -> Outcome {
        let before = std::mem::replace(&mut interpreter.context, self.context.clone());
        let mut out = Out {
            inner: rest,
            merged: &self.merged,
            output: &self.output,
            kept: &self.kept,
            pipeline_variable: &self.pipeline_variable,
        };
        let result = body(&mut *self.stage, interpreter, &mut out);
        let merged = out.merge(interpreter);
        interpreter.context = before;
        match result {
            Err(Flow::Error(record)) => Err(record.at(self.context.position.clone()).into()),
            other => other.and(merged),
        }
    }
}

/// The expression that is all of a statement.
pub fn only_expression(statement: &crate::syntax::Statement) -> Option<&Expression> {
    match &statement.kind {
        crate::syntax::StatementKind::Pipeline(elements) => match elements.as_slice() {
            [Element::Expression(expression, redirections)] if redirections.is_empty() => Some(expression),
            _ => None,
        },
        _ => None,
    }
}

/// From one end to the other, upwards or downwards.
pub(super) fn numbers((from, to): (i64, i64)) -> Box<dyn Iterator<Item = i64>> {
    if from <= to { Box::new(from..=to) } else { Box::new((to..=from).rev()) }
}

/// The first stage that still has to come to its end.
fn still_running(result: Outcome, pipeline: u64) -> Outcome<usize> {
    match result {
        Ok(()) => Ok(0),
        Err(Flow::Enough(which, stage)) if which == pipeline => Ok(stage + 1),
        Err(other) => Err(other),
    }
}

impl<'h> Interpreter<'h> {
    pub(super) fn position(&self, extent: crate::source::Extent) -> Option<Position> {
        self.source().map(|source| Position { source, extent })
    }

    pub(super) fn pipeline(&mut self, elements: &[Element], out: &mut dyn Sink) -> Outcome {
        if let [Element::Expression(expression, redirections)] = elements
            && redirections.is_empty()
        {
            // `$?` in it is still about what was before.
            self.emit(expression, out)?;
            self.fine = true;
            return Ok(());
        }
        self.pipelines += 1;
        let number = self.pipelines;
        let around = self.context.clone();
        let piped = matches!(elements.first(), Some(Element::Expression(..)));
        let mut stages = Vec::new();
        for (at, element) in elements.iter().enumerate() {
            if let Element::Command(command) = element {
                let first = at == 0;
                let mut stage = self.command_stage(command, first)?;
                stage.context.stage = (number, stages.len());
                stages.push(stage);
            }
        }
        // Of a pipeline all count, and `$?` in the arguments is still about the one before.
        self.fine = true;
        let result = self.drive(elements, &mut stages, piped, number, &around, out);
        self.context = around;
        self.leave_variables(&stages)?;
        result
    }

    fn drive(
        &mut self,
        elements: &[Element],
        stages: &mut [Running<'h>],
        piped: bool,
        number: u64,
        around: &Context,
        last: &mut dyn Sink,
    ) -> Outcome {
        // What is put out at the beginning waits until all have begun.
        let mut early = Vec::new();
        for stage in stages.iter_mut() {
            let mut collected = Collected::default();
            stage.run(self, &mut collected, |stage, interpreter, out| stage.begin(interpreter, out))?;
            early.push(collected.0);
        }
        let mut fed = Ok(());
        for (at, values) in early.into_iter().enumerate() {
            for value in values {
                let mut rest = Rest { stages: &mut stages[at + 1..], last, around };
                fed = fed.and_then(|()| rest.put(self, value));
            }
        }
        let fed = fed.and_then(|()| match elements.first() {
            Some(Element::Expression(expression, redirections)) if piped => {
                self.feed(expression, redirections, stages, around, last)
            }
            _ => match stages.split_first_mut() {
                Some((first, rest)) => {
                    let mut rest = Rest { stages: rest, last, around };
                    first.run(self, &mut rest, |stage, interpreter, out| stage.alone(interpreter, out))
                }
                None => Ok(()),
            },
        });
        // What comes before a stage that has enough is not brought to its end.
        let mut from = still_running(fed, number)?;
        let mut at = from;
        while at < stages.len() {
            let (first, rest) = stages[at..].split_at_mut(1);
            let mut rest = Rest { stages: rest, last, around };
            let ended = first[0].run(self, &mut rest, |stage, interpreter, out| stage.end(interpreter, out));
            from = from.max(still_running(ended, number)?);
            at = (at + 1).max(from);
        }
        Ok(())
    }

    fn feed(
        &mut self,
        expression: &Expression,
        redirections: &[Redirection],
        stages: &mut [Running<'h>],
        around: &Context,
        last: &mut dyn Sink,
    ) -> Outcome {
        if let Some(Redirection { to: Target::File(file, append), .. }) = redirections.first() {
            let path = self.redirected_file(file, *append)?;
            let mut collected = Collected::default();
            self.emit(expression, &mut collected)?;
            if let Some(path) = path {
                let text = crate::format::view(self, &collected.0)?;
                super::files::append(&path, &text)
                    .map_err(|error| Flow::from(super::files::failed("Out-File", &path, &error)))?;
            }
            return Ok(());
        }
        let mut rest = Rest { stages, last, around };
        self.emit(expression, &mut rest)
    }

    /// What an expression puts out where it is a statement or the beginning of a pipeline.
    pub(super) fn emit(&mut self, expression: &Expression, out: &mut dyn Sink) -> Outcome {
        match &expression.kind {
            ExpressionKind::Step { .. } => return self.evaluate(expression).map(drop),
            ExpressionKind::Cast(kind, _)
                if kind.name.eq_ignore_ascii_case("void")
                    || kind.name.eq_ignore_ascii_case("system.void") =>
            {
                return self.evaluate(expression).map(drop);
            }
            // Statements in brackets put out one by one.
            ExpressionKind::Sub(block) | ExpressionKind::Array(block) => {
                return self.nested(|interpreter| interpreter.statements_as_one(block, out));
            }
            ExpressionKind::Parentheses(statement) if only_expression(statement).is_none() => {
                if let crate::syntax::StatementKind::Pipeline(elements) = &statement.kind {
                    let elements = elements.as_slice();
                    return self.nested(|interpreter| interpreter.pipeline(elements, out));
                }
            }
            _ => {}
        }
        if let Some(ends) = self.range_of(expression)? {
            return numbers(ends).try_for_each(|number| out.put(self, Value::int(number)));
        }
        let value = self.evaluate(expression)?;
        let is_call = |kind: &ExpressionKind| matches!(kind, ExpressionKind::Postfix(_, chain) if matches!(chain.last().map(|last| &last.kind), Some(PostfixKind::Invoke { .. })));
        if value.is_null() && is_call(&expression.kind) {
            return Ok(());
        }
        if let ExpressionKind::Unary(Unary::Comma, _) = &expression.kind
            && let Value::Array(array) = &value
        {
            let only = array.items()[0].clone();
            return out.put(self, only);
        }
        self.put_each(&value, out)
    }

    /// The ends of `from..to`, if the expression is that: its numbers need not all be there at once.
    pub(super) fn range_of(&mut self, expression: &Expression) -> Outcome<Option<(i64, i64)>> {
        let ExpressionKind::Chain(first, rest) = &expression.kind else { return Ok(None) };
        let [(Operator::Binary(Binary::Range), last)] = rest.as_slice() else { return Ok(None) };
        // An end that does something is evaluated once, with the range.
        let plain =
            |end: &Expression| matches!(end.kind, ExpressionKind::Literal(_) | ExpressionKind::Variable(_));
        if !plain(first) || !plain(last) {
            return Ok(None);
        }
        let mut end = |end: &Expression| -> Outcome<Option<i64>> {
            Ok(match self.evaluate(end)? {
                Value::Number(crate::value::Number::Integer(value, _)) => {
                    i32::try_from(value).ok().map(i64::from)
                }
                _ => None,
            })
        };
        Ok(end(first)?.zip(end(last)?))
    }

    /// An array goes element by element, everything else as one.
    pub fn put_each(&mut self, value: &Value, out: &mut dyn Sink) -> Outcome {
        match value {
            Value::Array(array) => {
                let items = array.items().clone();
                items.into_iter().try_for_each(|item| out.put(self, item))
            }
            other => out.put(self, other.clone()),
        }
    }

    /// What statements put out, as a list.
    pub fn collect(&mut self, body: impl FnOnce(&mut Self, &mut dyn Sink) -> Outcome) -> Outcome<Vec<Value>> {
        let mut out = Collected::default();
        body(self, &mut out)?;
        Ok(out.0)
    }

    fn redirected_file(&mut self, file: &Expression, append: bool) -> Outcome<Option<Rc<str>>> {
        let target = self.evaluate(file)?;
        if target.is_null() {
            return Ok(None);
        }
        let path: Rc<str> = super::files::native(&crate::types::text(&target)).into();
        if !append {
            std::fs::write(&*path, "")
                .map_err(|error| Flow::from(super::files::failed("Out-File", &path, &error)))?;
        }
        Ok(Some(path))
    }

    /// Puts a command's redirections into effect.
    pub(super) fn redirect(&mut self, running: &mut Running<'h>, redirections: &[Redirection]) -> Outcome {
        for Redirection { from, to } in redirections {
            let destination = match to {
                Target::Merge(_) => {
                    let merged = running.merged.get_or_insert_with(|| Rc::new(RefCell::default())).clone();
                    Destination::Merged(merged)
                }
                Target::File(file, append) => match self.redirected_file(file, *append)? {
                    None => Destination::Nowhere,
                    Some(path) => Destination::File(path),
                },
            };
            if matches!(from, Stream::Output | Stream::All) {
                match &destination {
                    Destination::Nowhere => running.output = Output::Nowhere,
                    Destination::File(path) => running.output = Output::File(path.clone()),
                    Destination::Host | Destination::Merged(_) => {}
                }
            }
            let mut streams = (*running.context.streams).clone();
            let all = [Stream::Error, Stream::Warning, Stream::Verbose, Stream::Debug, Stream::Information];
            for stream in all.into_iter().filter(|stream| from == stream || *from == Stream::All) {
                if let Some(slot) = streams.slot(stream) {
                    *slot = destination.clone();
                }
            }
            running.context.streams = Rc::new(streams);
        }
        Ok(())
    }

    fn leave_variables(&mut self, stages: &[Running<'h>]) -> Outcome {
        for (name, noted) in stages.iter().flat_map(|stage| &stage.variables) {
            // `-ErrorVariable +e` adds.
            let (name, mut all) = match name.strip_prefix('+') {
                Some(name) => {
                    (name, self.context.scope.find(&name.to_lowercase()).unwrap_or_default().some_elements())
                }
                None => (&**name, Vec::new()),
            };
            all.extend(noted.borrow().iter().cloned());
            self.context.scope.note(
                &name.to_lowercase(),
                Value::Array(Rc::new(crate::value::Array::new(all, crate::value::ArrayKind::ArrayList))),
            );
        }
        Ok(())
    }

    /// Ends what comes before the stage that runs, because it wants no more.
    pub fn enough(&self) -> Flow {
        let (pipeline, stage) = self.context.stage;
        Flow::Enough(pipeline, stage)
    }
}
