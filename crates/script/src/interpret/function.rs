//! Functions, script blocks and scripts as commands (about_Functions, about_Functions_Advanced, about_Script_Blocks).

use super::context::{Context, ErrorAction};
use super::{Collected, Interpreter, Sink, Stage};
use crate::bind::{
    Accepts, Argument, Behaviour, Bound, Membership, Parameter, Signature, Words, common_parameters,
    risk_parameters,
};
use crate::error::{ErrorRecord, Flow, Outcome};
use crate::scope::{Running, Scope, Slot, Validated};
use crate::syntax::{Attribute, Expression, ScriptBlock, Statements};
use crate::types::{Type, text};
use crate::value::{Array, ArrayKind, Closure, Map, MapKind, Object, Value};
use std::rc::Rc;

/// How a block is run.
#[derive(Clone, Debug)]
pub struct Called {
    pub name: Rc<str>,
    pub closure: Rc<Closure>,
    pub is_function: bool,
    /// In the scope that is there, by a dot.
    pub dotted: bool,
    /// A file: it has a script's scope, and `exit` ends only it.
    pub is_file: bool,
    pub line: Rc<str>,
}

/// An attribute's argument is true by its name alone.
fn is_set(interpreter: &mut Interpreter<'_>, attribute: &Attribute, name: &str) -> bool {
    let found = attribute.named.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    match found {
        None => false,
        Some((_, None)) => true,
        Some((_, Some(value))) => interpreter.evaluate(value).is_ok_and(|value| value.is_true()),
    }
}

fn named_value<'a>(attribute: &'a Attribute, name: &str) -> Option<&'a Expression> {
    attribute
        .named
        .iter()
        .find(|(own, _)| own.eq_ignore_ascii_case(name))
        .and_then(|(_, value)| value.as_ref())
}

pub fn is_called(attribute: &Attribute, name: &str) -> bool {
    let own = attribute.name.rsplit('.').next().unwrap_or_default();
    own.eq_ignore_ascii_case(name) || own.eq_ignore_ascii_case(&format!("{name}Attribute"))
}

impl<'h> Interpreter<'h> {
    pub(super) fn signature_of(&mut self, name: &str, block: &ScriptBlock) -> Outcome<Rc<Signature>> {
        let binding = block.attributes.iter().find(|attribute| is_called(attribute, "CmdletBinding"));
        let advanced = binding.is_some()
            || block.parameters.iter().any(|parameter| {
                parameter.attributes.iter().any(|attribute| is_called(attribute, "Parameter"))
            });
        let mut parameters = Vec::new();
        let positional = binding.and_then(|binding| named_value(binding, "PositionalBinding"));
        let positional = match positional {
            Some(value) => self.evaluate(value)?.is_true(),
            None => true,
        };
        for parameter in &block.parameters {
            parameters.push(self.parameter(parameter)?);
        }
        let explicit =
            parameters.iter().any(|parameter| parameter.sets.iter().any(|own| own.position.is_some()));
        if positional && !explicit {
            let takers = parameters.iter_mut().filter(|parameter| !parameter.is_switch());
            for (next, parameter) in takers.enumerate() {
                for own in &mut parameter.sets {
                    own.position = i64::try_from(next).ok();
                }
            }
        }
        let mut default_set = None;
        if let Some(value) = binding.and_then(|binding| named_value(binding, "DefaultParameterSetName")) {
            default_set = Some(Rc::from(text(&self.evaluate(value)?)));
        }
        if advanced {
            parameters.extend(common_parameters());
            if binding.is_some_and(|binding| is_set(self, binding, "SupportsShouldProcess")) {
                parameters.extend(risk_parameters());
            }
        }
        Ok(Rc::new(Signature {
            name: name.into(),
            class: name.into(),
            parameters,
            default_set,
            loose: !advanced,
            words: Words::Parameters,
        }))
    }

    fn parameter(&mut self, own: &crate::syntax::Parameter) -> Outcome<Parameter> {
        let accepts = match &own.kind {
            None => Accepts::Anything,
            Some(kind) => match self.find_type(kind)? {
                Type::Switch => Accepts::Switch,
                kind => Accepts::Type(kind),
            },
        };
        let mut parameter = Parameter::new(&own.name, accepts);
        let mut sets = Vec::new();
        for attribute in &own.attributes {
            if is_called(attribute, "Alias") {
                for value in &attribute.positional {
                    parameter
                        .aliases
                        .extend(self.evaluate(value)?.elements().iter().map(|alias| Rc::from(text(alias))));
                }
            }
            if is_called(attribute, "Parameter") {
                let mut membership = Membership {
                    mandatory: is_set(self, attribute, "Mandatory"),
                    by_value: is_set(self, attribute, "ValueFromPipeline"),
                    by_name: is_set(self, attribute, "ValueFromPipelineByPropertyName"),
                    remaining: is_set(self, attribute, "ValueFromRemainingArguments"),
                    ..Membership::default()
                };
                if let Some(value) = named_value(attribute, "Position") {
                    membership.position = crate::types::number(&self.evaluate(value)?)
                        .and_then(crate::value::Number::as_integer)
                        .map(|at| at as i64);
                }
                if let Some(value) = named_value(attribute, "ParameterSetName") {
                    let name = text(&self.evaluate(value)?);
                    if !name.eq_ignore_ascii_case("__AllParameterSets") {
                        membership.set = name.into();
                    }
                }
                if let Some(value) = named_value(attribute, "HelpMessage") {
                    parameter.doc = text(&self.evaluate(value)?).into();
                }
                sets.push(membership);
            }
        }
        if !sets.is_empty() {
            parameter.sets = sets;
        }
        Ok(parameter)
    }

    /// A block as a part of a pipeline.
    pub fn block_stage(
        &mut self,
        called: Called,
        arguments: Vec<Argument>,
        piped: bool,
    ) -> Outcome<(Box<dyn Stage + 'h>, Behaviour)> {
        let block = called.closure.block.clone();
        let signature = self.signature_of(&called.name, &block)?;
        let mut bound = signature.bind(arguments)?;
        let behaviour = Behaviour::of(&mut bound);
        let set =
            signature.chosen_set(&bound).or_else(|record| if piped { Ok("".into()) } else { Err(record) })?;
        let stage = BlockStage {
            called,
            bound,
            scope: None,
            set,
            piped,
            input: Vec::new(),
            behaviour: behaviour.clone(),
            begun: Vec::new(),
        };
        Ok((Box::new(stage), behaviour))
    }

    /// A block run by itself with arguments, its output going to `out`.
    pub fn run_block(&mut self, called: Called, arguments: Vec<Argument>, out: &mut dyn Sink) -> Outcome {
        let (mut stage, _) = self.block_stage(called, arguments, false)?;
        self.nested(|interpreter| {
            stage.begin(interpreter, out)?;
            stage.alone(interpreter, out)?;
            stage.end(interpreter, out)
        })
    }

    pub(super) fn anonymous(closure: &Rc<Closure>) -> Called {
        Called {
            name: "".into(),
            closure: closure.clone(),
            is_function: false,
            dotted: false,
            is_file: false,
            line: "".into(),
        }
    }

    /// A script block with `$args`, or its parameters.
    pub fn invoke_block(&mut self, closure: &Rc<Closure>, arguments: Vec<Value>) -> Outcome<Vec<Value>> {
        let arguments = arguments.into_iter().map(|value| Argument::Value { value, written: None }).collect();
        let mut out = Collected::default();
        self.run_block(Self::anonymous(closure), arguments, &mut out)?;
        Ok(out.0)
    }

    /// A script block for one object of a pipeline, in the scope around it.
    pub fn block_for(&mut self, closure: &Rc<Closure>, item: Value) -> Outcome<Vec<Value>> {
        let mut out = Collected::default();
        self.block_for_into(closure, item, &mut out)?;
        Ok(out.0)
    }

    pub fn block_for_into(&mut self, closure: &Rc<Closure>, item: Value, out: &mut dyn Sink) -> Outcome {
        let scope = match &closure.scope {
            Some(kept) => Scope::within(kept, false, kept.running.clone()),
            None => self.context.scope.clone(),
        };
        let before = scope.own("_");
        scope.note("_", item);
        let context = self.context.in_scope(scope.clone()).of_source(&closure.block.source);
        let body = closure.block.process.clone().or_else(|| closure.block.end.clone());
        let result = self.within(context, |interpreter| {
            interpreter.nested(|interpreter| match &body {
                Some(body) => interpreter.statements(body, out),
                None => Ok(()),
            })
        });
        match before {
            Some(slot) => scope.put("_", slot),
            None => {
                scope.forget("_");
            }
        }
        match result {
            Err(Flow::Return) => Ok(()),
            other => other,
        }
    }

    /// With `$this`.
    pub fn method_block(
        &mut self,
        closure: &Rc<Closure>,
        this: Value,
        arguments: Vec<Value>,
    ) -> Outcome<Vec<Value>> {
        let scope = Scope::within(&self.context.scope, false, self.context.scope.running.clone());
        scope.note("this", this);
        let context = self.context.in_scope(scope);
        self.within(context, |interpreter| interpreter.invoke_block(closure, arguments))
    }

    /// A script with the words of a command line.
    pub fn run_script(&mut self, script: Rc<ScriptBlock>, words: &[String], out: &mut dyn Sink) -> Outcome {
        self.require(&script)?;
        let name: Rc<str> = script.source.path.as_str().into();
        let closure = Rc::new(Closure { block: script, scope: None });
        let arguments = words.iter().map(|word| word_argument(word)).collect();
        let called =
            Called { name, closure, is_function: false, dotted: false, is_file: true, line: "".into() };
        self.run_block(called, arguments, out)
    }
}

/// `-Name`, `-Flag:$false`, or a value, as a command line has it.
fn word_argument(word: &str) -> Argument {
    let constant = |word: &str| match word.to_ascii_lowercase().as_str() {
        "$true" => true.into(),
        "$false" => false.into(),
        _ => Value::text(word),
    };
    match word.strip_prefix('-').filter(|name| name.starts_with(char::is_alphabetic)) {
        Some(name) => {
            let (name, value) =
                name.split_once(':').map_or((name, None), |(name, value)| (name, Some(value)));
            Argument::Named {
                name: name.into(),
                value: value.map(|value| (constant(value), None)),
                typed: word.into(),
            }
        }
        None => Argument::Value { value: word.into(), written: None },
    }
}

/// A block at work.
struct BlockStage {
    called: Called,
    bound: Bound,
    scope: Option<Rc<Scope>>,
    set: Rc<str>,
    piped: bool,
    input: Vec<Value>,
    behaviour: Behaviour,
    /// Parameters that an object of the pipeline gave, to be given by the next one again.
    begun: Vec<usize>,
}

impl BlockStage {
    fn block(&self) -> &ScriptBlock {
        &self.called.closure.block
    }

    fn context(&self, interpreter: &Interpreter<'_>) -> Context {
        let scope = self.scope.clone().unwrap_or_else(|| interpreter.context.scope.clone());
        interpreter.context.in_scope(scope).of_source(&self.block().source)
    }

    fn enter(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        let called = &self.called;
        let running = Running {
            name: called.name.clone(),
            closure: called.closure.clone(),
            line: called.line.clone(),
            is_function: called.is_function,
            invocation: called.name.clone(),
        };
        let scope = if called.dotted {
            // The text is another one, but the variables are those that are there.
            interpreter.context.scope.clone()
        } else {
            let parent = match (&called.closure.scope, called.is_file) {
                (Some(own), _) => own.clone(),
                (None, true) => interpreter.context.scope.outermost(),
                (None, false) => interpreter.context.scope.clone(),
            };
            // A script's own functions and preferences are still seen by what it calls.
            let parent = if called.is_file && interpreter.context.scope.running.is_some() {
                interpreter.context.scope.clone()
            } else {
                parent
            };
            Scope::within(&parent, called.is_file, Some(running))
        };
        self.scope = Some(scope);
        let context = self.context(interpreter);
        interpreter.within(context, |interpreter| self.fill(interpreter))
    }

    /// Parameters become variables: given ones, then those with a default, in order.
    fn fill(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        let scope = interpreter.context.scope.clone();
        let block = self.called.closure.block.clone();
        let signature = self.bound.signature.clone();
        self.preferences(&scope);
        let missing: Vec<usize> = signature.missing(&self.bound, &self.set);
        let own_missing: Vec<usize> = missing
            .into_iter()
            .filter(|at| {
                let from_pipeline =
                    signature.parameters[*at].sets.iter().any(|own| own.by_value || own.by_name);
                !(self.piped && from_pipeline)
            })
            .collect();
        if !own_missing.is_empty() {
            interpreter.prompt_for(&signature, &own_missing, &mut self.bound)?;
        }
        for (at, parameter) in block.parameters.iter().enumerate() {
            let given = self
                .bound
                .values
                .iter()
                .find(|(index, ..)| *index == at)
                .map(|(_, value, written)| (value.clone(), written.clone()));
            let name = parameter.name.to_lowercase();
            match given {
                Some((value, written)) => self.put(interpreter, at, value, written.as_deref())?,
                None => {
                    let kind = parameter_type(interpreter, parameter)?;
                    let value = match &parameter.default {
                        Some(default) => {
                            let value = interpreter.evaluate(default)?;
                            match &kind {
                                Some(kind) => interpreter.converted(&value, kind)?,
                                None => value,
                            }
                        }
                        None => kind.as_ref().map_or(Value::Null, Type::default_value),
                    };
                    scope.put(&name, Slot { value, kind: kind.map(Rc::new), ..Slot::default() });
                }
            }
        }
        if signature.loose || !self.bound.rest.is_empty() || block.parameters.is_empty() {
            scope.note("args", Value::array(self.bound.rest.clone()));
        }
        self.note_bound(interpreter);
        if !signature.loose {
            scope.note("pscmdlet", self.cmdlet_object());
        }
        Ok(())
    }

    /// `-ErrorAction` and its kin are preference variables inside.
    fn preferences(&self, scope: &Rc<Scope>) {
        let word = |action: ErrorAction| match action {
            ErrorAction::Continue => "Continue",
            ErrorAction::Stop => "Stop",
            ErrorAction::SilentlyContinue => "SilentlyContinue",
            ErrorAction::Ignore => "Ignore",
            ErrorAction::Inquire => "Inquire",
        };
        let on = |on: bool| if on { "Continue" } else { "SilentlyContinue" };
        let all = [
            ("erroractionpreference", self.behaviour.errors.map(word)),
            ("warningpreference", self.behaviour.warnings.map(word)),
            ("informationpreference", self.behaviour.information.map(word)),
            ("verbosepreference", self.behaviour.verbose.map(on)),
            ("debugpreference", self.behaviour.debug.map(on)),
        ];
        for (name, said) in all {
            if let Some(said) = said {
                scope.note(name, said.into());
            }
        }
        if self.bound.switch("WhatIf") {
            scope.note("whatifpreference", true.into());
        }
    }

    /// `$PSBoundParameters`
    fn note_bound(&self, interpreter: &Interpreter<'_>) {
        let scope = &interpreter.context.scope;
        let map = Map::new(MapKind::Hashtable);
        for (at, value, _) in &self.bound.values {
            let parameter = &self.bound.signature.parameters[*at];
            let value =
                scope.own(&parameter.name.to_lowercase()).map_or_else(|| value.clone(), |slot| slot.value);
            map.set(Value::Text(parameter.name.clone()), value);
        }
        scope.note("psboundparameters", Value::Map(Rc::new(map)));
    }

    fn cmdlet_object(&self) -> Value {
        Object::new("System.Management.Automation.PSScriptCmdlet")
            .with(
                "ParameterSetName",
                if self.set.is_empty() {
                    Value::text("__AllParameterSets")
                } else {
                    Value::Text(self.set.clone())
                },
            )
            .with("CommandName", Value::Text(self.called.name.clone()))
            .with("WhatIf", self.bound.switch("WhatIf"))
            .with("Confirm", self.bound.item("Confirm").cloned().unwrap_or_default())
            .into_value()
    }

    /// One value into its variable, converted and checked.
    fn put(
        &self,
        interpreter: &mut Interpreter<'_>,
        at: usize,
        value: Value,
        written: Option<&str>,
    ) -> Outcome {
        let block = self.called.closure.block.clone();
        let Some(parameter) = block.parameters.get(at) else { return Ok(()) };
        let signature = &self.bound.signature;
        let kind = parameter_type(interpreter, parameter)?;
        let value = match (&kind, written) {
            // A number that is meant as text is what was typed.
            (Some(Type::String), Some(written)) if matches!(value, Value::Number(_)) => Value::text(written),
            _ => value,
        };
        let refuse = |record: ErrorRecord| signature.transformation(&parameter.name, &record);
        let value = match &kind {
            Some(Type::Bool) if matches!(value, Value::Text(_)) => {
                let message = "Cannot convert value \"System.String\" to type \"System.Boolean\". Boolean parameters accept only Boolean values and numbers, such as $True, $False, 1 or 0.";
                return Err(refuse(ErrorRecord::runtime("", message)).into());
            }
            Some(Type::String) if matches!(value, Value::Array(_)) => {
                return Err(
                    refuse(ErrorRecord::runtime("", "Cannot convert value to type System.String.")).into()
                );
            }
            Some(kind) => interpreter.converted(&value, kind).map_err(refuse)?,
            None => value,
        };
        interpreter.check_argument(signature, at, parameter, &value)?;
        let validated =
            (!parameter.attributes.is_empty()).then(|| Validated { block: block.clone(), parameter: at });
        let slot = Slot { value, kind: kind.map(Rc::new), validated, ..Slot::default() };
        interpreter.put_slot(&parameter.name, slot);
        Ok(())
    }

    fn run(
        &self,
        interpreter: &mut Interpreter<'_>,
        body: Option<&Rc<Statements>>,
        out: &mut dyn Sink,
    ) -> Outcome {
        let Some(body) = body else { return Ok(()) };
        let context = self.context(interpreter);
        let mut out = Around { inner: out, context: interpreter.context.clone() };
        let result = interpreter.within(context, |interpreter| {
            interpreter.called(|interpreter| interpreter.statements(body, &mut out))
        });
        match result {
            Err(Flow::Return) => Ok(()),
            Err(Flow::Exit(code)) if self.called.is_file && self.inside_script(interpreter) => {
                interpreter.last_exit_code = code.unwrap_or(0);
                interpreter.fine = interpreter.last_exit_code == 0;
                Ok(())
            }
            other => other,
        }
    }

    /// Whether another script called this one.
    fn inside_script(&self, interpreter: &Interpreter<'_>) -> bool {
        interpreter.context.scope.running.is_some() || interpreter.interactive
    }
}

/// What a block puts out goes on in the context around it.
struct Around<'a, 'b> {
    inner: &'a mut (dyn Sink + 'b),
    context: Context,
}

impl Sink for Around<'_, '_> {
    fn put(&mut self, interpreter: &mut Interpreter<'_>, value: Value) -> Outcome {
        let before = std::mem::replace(&mut interpreter.context, self.context.clone());
        let result = self.inner.put(interpreter, value);
        interpreter.context = before;
        result
    }

    fn flush(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        self.inner.flush(interpreter)
    }

    fn is_display(&self) -> bool {
        self.inner.is_display()
    }
}

fn parameter_type(
    interpreter: &Interpreter<'_>,
    parameter: &crate::syntax::Parameter,
) -> Outcome<Option<Type>> {
    Ok(parameter.kind.as_ref().map(|kind| interpreter.find_type(kind)).transpose()?)
}

impl Stage for BlockStage {
    fn begin(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        self.enter(interpreter)?;
        let body = self.block().begin.clone();
        self.run(interpreter, body.as_ref(), out)
    }

    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        let context = self.context(interpreter);
        let signature = self.bound.signature.clone();
        let takes = signature
            .parameters
            .iter()
            .any(|parameter| parameter.sets.iter().any(|own| own.by_value || own.by_name));
        if takes {
            let begun = std::mem::take(&mut self.begun);
            self.bound.values.retain(|(at, ..)| !begun.contains(at));
            let found = interpreter
                .within(context, |interpreter| signature.bind_object(interpreter, &self.bound, &item));
            match found {
                Ok(found) => {
                    let context = self.context(interpreter);
                    for (at, value) in found {
                        self.begun.push(at);
                        self.bound.values.push((at, value.clone(), None));
                        let put = interpreter
                            .within(context.clone(), |interpreter| self.put(interpreter, at, value, None));
                        if let Err(Flow::Error(record)) = put {
                            return interpreter.report(*record);
                        }
                        put?;
                    }
                    let missing = signature.missing(&self.bound, &self.set);
                    if !missing.is_empty() {
                        let names: Vec<&str> =
                            missing.iter().map(|at| &*signature.parameters[*at].name).collect();
                        let message = format!(
                            "The input object cannot be bound because it did not contain the information required to bind all mandatory parameters: {}",
                            names.join(" ")
                        );
                        return interpreter.report(signature.refuse("InputObjectMissingMandatory", message));
                    }
                    let context = self.context(interpreter);
                    interpreter.within(context, |interpreter| {
                        self.note_bound(interpreter);
                        Ok(())
                    })?;
                }
                Err(Flow::Error(record)) => return interpreter.report(*record),
                Err(other) => return Err(other),
            }
        } else if !signature.loose && self.block().process.is_none() && self.called.is_function {
            return interpreter.report(signature.not_bound(&item));
        }
        if let Some(scope) = &self.scope {
            scope.note("_", item.clone());
        }
        let body = self.block().process.clone();
        if body.is_none() {
            self.input.push(item);
        }
        self.run(interpreter, body.as_ref(), out)
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let body = self.block().process.clone();
        self.run(interpreter, body.as_ref(), out)
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        if let (Some(scope), false) = (&self.scope, self.called.dotted) {
            let input = Array::new(std::mem::take(&mut self.input), ArrayKind::ArrayList);
            scope.note("input", Value::Array(Rc::new(input)));
        }
        let body = self.block().end.clone();
        self.run(interpreter, body.as_ref(), out)
    }
}

impl Signature {
    /// A value that is not of a parameter's type.
    pub fn transformation(&self, parameter: &str, record: &ErrorRecord) -> ErrorRecord {
        let message = format!(
            "Cannot process argument transformation on parameter '{parameter}'. {}",
            record.message()
        );
        ErrorRecord {
            category: "InvalidData".into(),
            ..self.refuse("ParameterArgumentTransformationError", message)
        }
        .of_type("System.Management.Automation.ParameterBindingArgumentTransformationException")
    }
}

impl Interpreter<'_> {
    /// One call deeper; only so many.
    fn called<T>(&mut self, body: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth >= super::MOST_CALLS {
            let message = "The script failed due to call depth overflow.";
            return Err(ErrorRecord::runtime("CallDepthOverflow", message).into());
        }
        self.depth += 1;
        let result = self.nested(body);
        self.depth -= 1;
        result
    }
}
