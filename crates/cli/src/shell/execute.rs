//! What statements and pipelines do.

use super::evaluate::only_expression;
use super::fault::{Fault, Flow};
use super::item::{Item, NULL};
use super::operate::operate;
use super::parse;
use super::session::{ErrorAction, Output, Session};
use super::syntax::{
    Block, Element, Expression, Loop, Operator, Pipeline, Postfix, Redirection, Statement, Stream,
};
use std::rc::Rc;

type Done = Result<(), Flow>;

/// Calls within calls; each is some frames of our own stack.
const DEEPEST: usize = 100;

impl Session<'_> {
    /// A script with its arguments; gives the exit code, which tells of any error that was printed.
    pub fn script(&mut self, text: &str, arguments: &[String]) -> u8 {
        let ended = self.top(|session| {
            let script = parse::script(text).map_err(|error| Fault::parsing(&error))?;
            session.take_arguments(&Rc::new(script), arguments)
        });
        ended.unwrap_or(u8::from(self.printed > 0))
    }

    /// What was typed at the prompt; an exit code ends the session.
    pub fn line(&mut self, text: &str) -> Option<u8> {
        self.top(|session| {
            let script = parse::script(text).map_err(|error| Fault::parsing(&error))?;
            session.statements(&script.body, &mut Output::Print)
        })
    }

    /// Shows what nothing further in has caught.
    fn top(&mut self, body: impl FnOnce(&mut Self) -> Done) -> Option<u8> {
        match body(self) {
            Err(Flow::Exit(code)) => Some(code),
            Err(Flow::Unheard) => Some(0),
            Err(Flow::Error(fault)) => {
                self.remember(&fault);
                self.show(&fault);
                None
            }
            Ok(()) | Err(Flow::Break | Flow::Continue | Flow::Return | Flow::Interrupted) => None,
        }
    }

    /// One after the other. An error that ends a statement does not end the next one, unless in `try`.
    pub fn statements(&mut self, all: &[Statement], out: &mut Output) -> Done {
        for statement in all {
            self.heed()?;
            match self.statement(statement, out) {
                Err(Flow::Error(fault)) if !fault.ends_script && self.trying == 0 => self.ended(*fault)?,
                other => other?,
            }
        }
        Ok(())
    }

    fn ended(&mut self, fault: Fault) -> Done {
        match self.preference() {
            ErrorAction::Stop => Err(Fault { ends_script: true, ..fault }.into()),
            ErrorAction::Continue => {
                self.remember(&fault);
                self.show(&fault);
                Ok(())
            }
            ErrorAction::SilentlyContinue | ErrorAction::Ignore => {
                self.remember(&fault);
                Ok(())
            }
        }
    }

    pub fn statement(&mut self, statement: &Statement, out: &mut Output) -> Done {
        match statement {
            Statement::Pipeline(pipeline) => self.pipeline(pipeline, out),
            Statement::Assign { target, operator, value } => {
                let item = self.value_of(value)?;
                self.fine |= only_expression(value).is_some();
                self.assign(target, *operator, untyped(item))
            }
            Statement::If { arms, otherwise } => {
                for (condition, body) in arms {
                    if self.value_of(condition)?.is_true() {
                        return self.statements(&body.body, out);
                    }
                }
                otherwise.as_ref().map_or(Ok(()), |body| self.statements(&body.body, out))
            }
            Statement::ForEach { variable, over, body } => {
                let over = self.value_of(over)?;
                for item in over.elements() {
                    self.set_variable(variable, item)?;
                    if self.turn(body, out)? {
                        break;
                    }
                }
                Ok(())
            }
            Statement::Loop(parts) => self.repeat(parts, out),
            Statement::Try { body, catch, finally } => {
                self.attempt(body, catch.as_ref(), finally.as_ref(), out)
            }
            Statement::Function { name, body } => {
                self.functions.insert(name.to_lowercase(), body.clone());
                Ok(())
            }
            Statement::Break => Err(Flow::Break),
            Statement::Continue => Err(Flow::Continue),
            Statement::Return(value) => {
                if let Some(value) = value {
                    self.statement(value, out)?;
                }
                Err(Flow::Return)
            }
            Statement::Throw(value) => {
                let message = match value {
                    Some(value) => self.value_of(value)?.text(),
                    None => "ScriptHalted".into(),
                };
                Err(thrown(&message).into())
            }
            Statement::Exit(value) => {
                let code = match value {
                    Some(value) => self.value_of(value)?.value().as_int().unwrap_or(1),
                    None if self.interactive => i64::from(!self.fine),
                    None => i64::from(self.printed > 0),
                };
                // As the system has it: the low eight bits.
                Err(Flow::Exit((code & 0xff) as u8))
            }
        }
    }

    /// One turn of a loop; true is the last.
    fn turn(&mut self, body: &Block, out: &mut Output) -> Result<bool, Flow> {
        self.heed()?;
        match self.statements(&body.body, out) {
            Err(Flow::Break) => Ok(true),
            Ok(()) | Err(Flow::Continue) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn repeat(&mut self, parts: &Loop, out: &mut Output) -> Done {
        if let Some(first) = &parts.first {
            self.value_of(first)?;
        }
        let mut ask = !parts.asks_after;
        loop {
            let condition = parts.condition.as_ref().filter(|_| ask);
            if let Some(condition) = condition
                && self.value_of(condition)?.is_true() == parts.until
            {
                return Ok(());
            }
            ask = true;
            if self.turn(&parts.body, out)? {
                return Ok(());
            }
            if let Some(next) = &parts.next {
                self.value_of(next)?;
            }
        }
    }

    fn attempt(
        &mut self,
        body: &Block,
        catch: Option<&Block>,
        finally: Option<&Block>,
        out: &mut Output,
    ) -> Done {
        self.trying += 1;
        let mut result = self.statements(&body.body, out);
        self.trying -= 1;
        if let (Err(Flow::Error(fault)), Some(catch)) = (&result, catch) {
            self.remember(fault);
            let before = self.variable("_");
            self.note_variable("_", fault.record().into());
            result = self.statements(&catch.body, out);
            self.note_variable("_", before);
        }
        if let Some(finally) = finally {
            self.statements(&finally.body, out)?;
        }
        result
    }

    fn assign(&mut self, target: &Expression, operator: Option<Operator>, value: Item) -> Done {
        if let Expression::List(targets) = target {
            let mut items = value.elements().into_iter();
            for (at, target) in targets.iter().enumerate() {
                let rest = at + 1 == targets.len();
                let item =
                    if rest { Item::of(items.by_ref().collect()) } else { items.next().unwrap_or(NULL) };
                self.assign(target, operator, item)?;
            }
            return Ok(());
        }
        let value = match operator {
            Some(operator) => {
                let before = self.evaluate(target)?;
                operate(operator, before, value)?
            }
            None => value,
        };
        match target {
            Expression::Variable(name) => self.set_variable(name, value),
            Expression::Cast(name, inner) => {
                let value = super::operate::cast(name, value)?;
                self.assign(inner, None, value)
            }
            Expression::Postfix(inner, chain) => self.assign_part(inner, chain, value),
            _ => Ok(()),
        }
    }

    /// `$x.Name = …`, `$x[…] = …`
    fn assign_part(&mut self, whole: &Expression, chain: &[Postfix], value: Item) -> Done {
        let Expression::Variable(name) = whole else { return Ok(()) };
        let key = match chain {
            [Postfix::Member(key) | Postfix::Index(key)] => self.evaluate(key)?,
            _ => return Ok(()),
        };
        let wrong = |key: &Item| {
            let message = format!(
                "The property '{}' cannot be found on this object. Verify that the property exists and can be set.",
                key.text()
            );
            Flow::from(Fault::runtime("PropertyAssignmentException", message))
        };
        let mut item = self.variable(name);
        match &mut item {
            Item::Map(pairs) => {
                let key = key.text();
                match pairs.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(&key)) {
                    Some((_, old)) => *old = value,
                    None => pairs.push((key, value)),
                }
            }
            Item::List(items) => {
                let at = key.value().as_int().and_then(|at| usize::try_from(at).ok());
                *at.and_then(|at| items.get_mut(at)).ok_or_else(|| wrong(&key))? = value;
            }
            _ => return Err(wrong(&key)),
        }
        self.set_variable(name, item)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, out: &mut Output) -> Done {
        let mut items: Option<Vec<Item>> = None;
        for element in &pipeline.elements {
            items = Some(match element {
                Element::Expression(expression, redirections) => {
                    let found = self.evaluate(expression)?.elements();
                    self.fine = true;
                    self.redirect(redirections, found)?
                }
                Element::Command(command) => {
                    let quiet = self.streams(&command.redirections)?;
                    let found = self.command(command, items, quiet)?;
                    self.redirect(&command.redirections, found)?
                }
            });
        }
        self.put(out, items.unwrap_or_default())
    }

    /// Which messages go nowhere: errors, warnings.
    fn streams(&mut self, redirections: &[Redirection]) -> Result<(bool, bool), Flow> {
        let (mut errors, mut warnings) = (false, false);
        for Redirection { stream, target, .. } in redirections {
            let Some(target) = target else { continue };
            if *stream == Stream::Output || *stream == Stream::Other {
                continue;
            }
            let target = self.evaluate(target)?;
            if !target.is_null() && *stream != Stream::All {
                let message =
                    "Errors and warnings can only be redirected to $null; use -ErrorVariable to keep them.";
                return Err(Fault::runtime("RedirectionNotSupported", message).into());
            }
            errors |= matches!(stream, Stream::Error | Stream::All);
            warnings |= matches!(stream, Stream::Warning | Stream::All);
        }
        Ok((errors, warnings))
    }

    fn redirect(&mut self, redirections: &[Redirection], items: Vec<Item>) -> Result<Vec<Item>, Flow> {
        let to_file = redirections.iter().find(|r| matches!(r.stream, Stream::Output | Stream::All));
        let Some(Redirection { append, target: Some(target), .. }) = to_file else { return Ok(items) };
        let target = self.evaluate(target)?;
        if !target.is_null() {
            super::builtin::output::write_file(
                "Out-File",
                &target.text(),
                &super::show::default_view(&items),
                *append,
            )?;
        }
        Ok(Vec::new())
    }

    /// A script block with `$args`, or its parameters.
    pub fn invoke_block(&mut self, block: &Rc<Block>, arguments: Vec<Item>) -> Result<Vec<Item>, Flow> {
        let mut out = Output::Collect(Vec::new());
        self.nested(|session| {
            session.positional(block, arguments)?;
            session.statements(&block.body, &mut out)
        })?;
        Ok(if let Output::Collect(items) = out { items } else { Vec::new() })
    }

    /// A script block for one object of a pipeline, in the scope around it.
    pub fn block_for(&mut self, block: &Rc<Block>, item: Item) -> Result<Vec<Item>, Flow> {
        self.enter()?;
        let before = self.variable("_");
        self.note_variable("_", item);
        let mut out = Output::Collect(Vec::new());
        let result = self.statements(&block.body, &mut out);
        self.note_variable("_", before);
        self.depth -= 1;
        match result {
            Ok(()) | Err(Flow::Return) => {}
            Err(other) => return Err(other),
        }
        Ok(if let Output::Collect(items) = out { items } else { Vec::new() })
    }

    fn enter(&mut self) -> Done {
        if self.depth >= DEEPEST {
            let message = "The script failed due to call depth overflow.";
            return Err(Fault::runtime("CallDepthOverflow", message).into());
        }
        self.depth += 1;
        Ok(())
    }

    /// In a scope of its own.
    pub fn nested(&mut self, body: impl FnOnce(&mut Self) -> Done) -> Done {
        self.enter()?;
        self.scopes.push(Default::default());
        let result = body(self);
        self.scopes.pop();
        self.depth -= 1;
        match result {
            Err(Flow::Return) => Ok(()),
            other => other,
        }
    }

    fn positional(&mut self, block: &Rc<Block>, arguments: Vec<Item>) -> Done {
        let mut rest = arguments.into_iter();
        for formal in &block.parameters {
            let item = match (rest.next(), &formal.default) {
                (Some(item), _) => item,
                (None, Some(default)) => self.evaluate(default)?,
                (None, None) => NULL,
            };
            self.note_variable(&formal.name, item);
        }
        self.note_variable("args", Item::List(rest.collect()));
        Ok(())
    }
}

/// How a number was typed does not matter once it is in a variable.
fn untyped(item: Item) -> Item {
    match item {
        Item::Written(value, _) => Item::Value(value),
        other => other,
    }
}

fn thrown(message: &str) -> Fault {
    Fault {
        category: "OperationStopped".into(),
        target: Some(Box::new((message.to_owned(), "String".into()))),
        ends_script: true,
        ..Fault::runtime(message, message)
    }
}
