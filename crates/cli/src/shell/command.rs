//! Finding what a command's name means, and running it: functions, cmdlets of ours, operations, script files.

use super::bind::{Bound, Given, Signature, typed_value};
use super::builtin::{self, Builtin};
use super::fault::{Fault, Flow};
use super::item::{Item, NULL};
use super::session::{ErrorAction, Output, Preferences, Session};
use super::surface::Asking;
use super::syntax::{Argument, Block, Command, Name, Position};
use ireko_manage::{Answer, Arguments, Impact, Operation, Parameter, find, invoke};
use std::rc::Rc;

type Items = Result<Vec<Item>, Flow>;

impl Session<'_> {
    /// `quiet`: errors and warnings that go nowhere.
    pub fn command(&mut self, command: &Command, input: Option<Vec<Item>>, quiet: (bool, bool)) -> Items {
        let given = self.given(&command.arguments)?;
        // Of a pipeline all count, and `$?` in the arguments is still about the one before.
        self.fine |= input.is_none();
        let preference = Preferences {
            errors: quiet.0.then_some(ErrorAction::SilentlyContinue),
            silent_warnings: quiet.1,
            ..Preferences::default()
        };
        self.preferences.push(preference);
        let result = self.named(command, given, input);
        self.preferences.pop();
        result.map_err(|flow| at(flow, &command.place))
    }

    fn named(&mut self, command: &Command, given: Vec<Given>, input: Option<Vec<Item>>) -> Items {
        let name = match &command.name {
            Name::Word(word) => word.clone(),
            Name::Called(expression) => match self.evaluate(expression)? {
                Item::Block(block) => return self.call(&block, given, input),
                item => item.text(),
            },
        };
        if let Some(function) = self.functions.get(&name.to_lowercase()).cloned() {
            return self.call(&function, given, input);
        }
        if let Some(builtin) = builtin::find(&name) {
            return self.builtin(builtin, given, input, &command.place);
        }
        if let Some(operation) = find(&name) {
            return self.operation(operation, &name, given, input, &command.place);
        }
        if name.contains('/') || name.to_lowercase().ends_with(".ps1") {
            return self.file(&name, given, input);
        }
        Err(Fault::not_found(&name).into())
    }

    fn given(&mut self, arguments: &[Argument]) -> Result<Vec<Given>, Flow> {
        let mut given = Vec::new();
        for argument in arguments {
            match argument {
                Argument::Named { name, value, typed } => {
                    let value = value.as_ref().map(|value| self.evaluate(value)).transpose()?;
                    given.push(Given::Named { name: name.clone(), value, typed: typed.clone() });
                }
                Argument::Value(expression) => given.push(Given::Value(self.evaluate(expression)?)),
                Argument::Splat(name) => {
                    match self.variable(name) {
                        Item::Map(pairs) => given.extend(pairs.into_iter().map(|(name, item)| {
                            Given::Named { typed: format!("-{name}"), name, value: Some(item) }
                        })),
                        other if other.is_null() => {}
                        other => given.extend(other.elements().into_iter().map(Given::Value)),
                    }
                }
            }
        }
        Ok(given)
    }

    /// A function, a script block after `&`, or a script.
    fn call(&mut self, block: &Rc<Block>, given: Vec<Given>, input: Option<Vec<Item>>) -> Items {
        let mut out = Output::Collect(Vec::new());
        self.in_call(block, given, input, &mut out)?;
        Ok(if let Output::Collect(items) = out { items } else { Vec::new() })
    }

    fn in_call(
        &mut self,
        block: &Rc<Block>,
        given: Vec<Given>,
        input: Option<Vec<Item>>,
        out: &mut Output,
    ) -> Result<(), Flow> {
        let arguments = formal_arguments(block, given)?;
        self.nested(|session| {
            session.note_variable("input", Item::List(input.unwrap_or_default()));
            for (formal, item) in block.parameters.iter().zip(arguments.named) {
                let item = match (item, &formal.default) {
                    (Some(item), _) => item,
                    (None, Some(default)) => session.evaluate(default)?,
                    (None, None) if formal.switch => false.into(),
                    (None, None) => NULL,
                };
                session.note_variable(&formal.name, item);
            }
            session.note_variable("args", Item::List(arguments.rest));
            session.statements(&block.body, out)
        })
    }

    /// A script whose arguments are words of a command line.
    pub fn take_arguments(&mut self, script: &Rc<Block>, words: &[String]) -> Result<(), Flow> {
        let given = words.iter().map(|word| {
            match word.strip_prefix('-').filter(|name| name.starts_with(char::is_alphabetic)) {
                Some(name) => {
                    let (name, value) =
                        name.split_once(':').map_or((name, None), |(name, value)| (name, Some(value)));
                    Given::Named { name: name.into(), value: value.map(constant), typed: word.clone() }
                }
                None => Given::Value(word.as_str().into()),
            }
        });
        let given: Vec<Given> = given.collect();
        self.in_call(script, given, None, &mut Output::Print)
    }

    fn file(&mut self, path: &str, given: Vec<Given>, input: Option<Vec<Item>>) -> Items {
        let text = std::fs::File::open(path).and_then(super::script).map_err(|_| Fault::not_found(path))?;
        let script = super::parse::script(&text).map_err(|error| Fault::parsing(&error))?;
        let before = std::mem::replace(&mut self.source, path.to_owned());
        let result = self.call(&Rc::new(script), given, input);
        self.source = before;
        result
    }

    fn builtin(
        &mut self,
        builtin: &'static Builtin,
        given: Vec<Given>,
        input: Option<Vec<Item>>,
        place: &Position,
    ) -> Items {
        if builtin.words == builtin::Words::Program {
            let bound = Bound { values: Vec::new(), help: false };
            return (builtin.run)(self, &builtin::Call { builtin, bound, given, input });
        }
        let mut bound = builtin.signature().bind(given)?;
        if bound.help {
            return builtin::about::help(self, builtin.name);
        }
        self.behave(&mut bound);
        let variables = variables(&bound);
        let call = builtin::Call { builtin, bound, given: Vec::new(), input };
        let result = (builtin.run)(self, &call).map_err(|flow| at(flow, place));
        self.leave(variables, result)
    }

    fn operation(
        &mut self,
        operation: &'static Operation,
        name: &str,
        given: Vec<Given>,
        input: Option<Vec<Item>>,
        place: &Position,
    ) -> Items {
        let signature = Signature::called(operation, name);
        let mut bound = signature.bind(given)?;
        if bound.help {
            return builtin::about::help(self, signature.cmdlet);
        }
        self.behave(&mut bound);
        let variables = variables(&bound);
        self.remote(&signature, &mut bound)?;
        let result = self.each_object(operation, &signature, &bound, input, place);
        self.leave(variables, result)
    }

    /// Once, or once for each object of the pipeline.
    fn each_object(
        &mut self,
        operation: &'static Operation,
        signature: &Signature,
        bound: &Bound,
        input: Option<Vec<Item>>,
        place: &Position,
    ) -> Items {
        let mut arguments = Arguments::default();
        for (parameter, item) in &bound.values {
            convert(signature, &mut arguments, parameter, item)?;
        }
        self.preferences(operation, &mut arguments);
        let mut asking = Asking::default();
        let Some(input) = input else {
            self.prompt(operation, signature, &mut arguments)?;
            return self.once(operation, signature, &arguments, &mut asking, place);
        };
        let mut found = Vec::new();
        for item in input {
            match from_pipeline(operation, signature, bound, &arguments, &item) {
                Ok(arguments) => {
                    found.extend(self.once(operation, signature, &arguments, &mut asking, place)?)
                }
                Err(fault) => self.report(Fault { place: Some(Box::new(place.clone())), ..fault })?,
            }
        }
        Ok(found)
    }

    fn once(
        &mut self,
        operation: &'static Operation,
        signature: &Signature,
        arguments: &Arguments,
        asking: &mut Asking,
        place: &Position,
    ) -> Items {
        let Answer { records, warnings, errors } =
            invoke(self.host, operation, arguments, &mut asking.on(self.terminal.as_mut()));
        for warning in &warnings {
            self.warn(warning);
        }
        let unasked = asking.unasked.take().map(|question| Fault {
            category: "InvalidOperation".into(),
            exception: "PSInvalidOperationException",
            ..signature.refuse(
                "InvalidOperation",
                format!(
                    "{question} There is nobody to ask; use -Confirm:$false or, where there is one, -Force."
                ),
            )
        });
        for fault in errors.iter().map(|failure| Fault::of(failure, signature.cmdlet)).chain(unasked) {
            self.report(Fault { place: Some(Box::new(place.clone())), ..fault })?;
        }
        Ok(records.into_iter().map(Item::from).collect())
    }

    /// `$WhatIfPreference` and `$ConfirmPreference`.
    fn preferences(&self, operation: &'static Operation, arguments: &mut Arguments) {
        if operation.impact == Impact::None {
            return;
        }
        if !arguments.has("WhatIf") && self.variable("WhatIfPreference").is_true() {
            let _ = arguments.set(operation, "WhatIf", true);
        }
        let never = self.variable("ConfirmPreference").text().eq_ignore_ascii_case("None");
        if !arguments.has("Confirm") && never {
            let _ = arguments.set(operation, "Confirm", false);
        }
    }

    /// Asks for what must be given, where there is somebody.
    fn prompt(
        &mut self,
        operation: &'static Operation,
        signature: &Signature,
        arguments: &mut Arguments,
    ) -> Result<(), Flow> {
        let mut said = false;
        while let Some(parameter) = arguments.missing(operation) {
            if !self.interactive {
                return Err(missing(signature, operation, arguments).into());
            }
            if !said {
                let cmdlet = signature.cmdlet;
                self.print(&format!("\ncmdlet {cmdlet} at command pipeline position 1\nSupply values for the following parameters:\n"))?;
                said = true;
            }
            let prompt = if parameter.many {
                format!("{}[0]: ", parameter.name)
            } else {
                format!("{}: ", parameter.name)
            };
            let Some(line) = self.terminal.ask(&prompt).filter(|line| !line.is_empty()) else {
                return Err(missing(signature, operation, arguments).into());
            };
            convert(signature, arguments, parameter, &line.into())?;
        }
        Ok(())
    }

    /// Takes what every cmdlet has out of the arguments.
    fn behave(&mut self, bound: &mut Bound) {
        let action = |name: &str| bound.text(name).and_then(|word| ErrorAction::word(&word));
        let errors = action("ErrorAction");
        let warnings = action("WarningAction");
        if bound.item("PipelineVariable").is_some() {
            self.warn("-PipelineVariable has no effect here; use $_ in ForEach-Object.");
        }
        if let Some(preference) = self.preferences.last_mut() {
            preference.errors = errors.or(preference.errors);
            preference.silent_warnings |=
                matches!(warnings, Some(ErrorAction::SilentlyContinue | ErrorAction::Ignore));
        }
    }

    /// This host is the only one, and nothing runs behind the prompt.
    fn remote(&mut self, signature: &Signature, bound: &mut Bound) -> Result<(), Flow> {
        let ours = |item: &Item| {
            let name = item.text();
            let host = self.variable("env:HOSTNAME").text();
            ["localhost", ".", "127.0.0.1", "::1", host.as_str()]
                .iter()
                .any(|own| own.eq_ignore_ascii_case(&name))
        };
        if let Some(other) = bound.items("ComputerName").iter().find(|item| !ours(item)) {
            let message = format!(
                "Other hosts cannot be managed from here: log in to '{}' and use its own ireko shell.",
                other.text()
            );
            return Err(signature.refuse("RemoteNotSupported", message).into());
        }
        for name in ["CimSession", "Credential"] {
            if bound.item(name).is_some() {
                let message =
                    format!("-{name} is for other hosts, which cannot be managed from here; leave it out.");
                return Err(signature.refuse("RemoteNotSupported", message).into());
            }
        }
        if bound.switch("AsJob") {
            self.warn("There are no jobs here: the cmdlet runs to its end before the next one.");
        }
        let here = |name: &str| {
            signature
                .own
                .iter()
                .any(|p| p.name == name && super::bind::REMOTE.iter().any(|r| std::ptr::eq(*p, r)))
        };
        bound.values.retain(|(parameter, _)| {
            !here(parameter.name)
                && !super::bind::AMBIENT.iter().any(|ambient| ambient.name == parameter.name)
        });
        Ok(())
    }

    /// Fills the variables that the arguments name.
    fn leave(&mut self, variables: Variables, result: Items) -> Items {
        let (noted, warned) = match self.preferences.last_mut() {
            Some(preference) => {
                (std::mem::take(&mut preference.noted), std::mem::take(&mut preference.warned))
            }
            None => (Vec::new(), Vec::new()),
        };
        let found = result.as_ref().map_or(Vec::new(), Clone::clone);
        for (name, items) in variables.into_iter().zip([noted, warned, found]) {
            let Some(name) = name else { continue };
            // `-ErrorVariable +e` adds.
            let (name, mut all) = match name.strip_prefix('+') {
                Some(name) => (
                    name.to_owned(),
                    self.variable(name).elements().into_iter().filter(|i| !i.is_null()).collect(),
                ),
                None => (name, Vec::new()),
            };
            all.extend(items);
            self.set_variable(&name, Item::List(all))?;
        }
        result
    }
}

type Variables = [Option<String>; 3];

fn variables(bound: &Bound) -> Variables {
    ["ErrorVariable", "WarningVariable", "OutVariable"].map(|name| bound.text(name))
}

/// Says where it was, unless somebody knows better.
fn at(flow: Flow, place: &Position) -> Flow {
    match flow {
        Flow::Error(mut fault) => {
            fault.place.get_or_insert_with(|| Box::new(place.clone()));
            Flow::Error(fault)
        }
        other => other,
    }
}

fn missing(signature: &Signature, operation: &'static Operation, arguments: &Arguments) -> Fault {
    let mut filled = arguments.clone();
    let mut names = Vec::new();
    while let Some(parameter) = filled.missing(operation) {
        names.push(parameter.name);
        if filled.bind(parameter, ireko_manage::Value::Null).is_err() {
            break;
        }
    }
    signature.refuse(
        "MissingMandatoryParameter",
        format!(
            "Cannot process command because of one or more missing mandatory parameters: {}.",
            names.join(" ")
        ),
    )
}

fn convert(
    signature: &Signature,
    arguments: &mut Arguments,
    parameter: &'static Parameter,
    item: &Item,
) -> Result<(), Fault> {
    if item.is_null() && parameter.required {
        let message = format!("Cannot bind argument to parameter '{}' because it is null.", parameter.name);
        return Err(invalid(signature, "ParameterArgumentValidationErrorNullNotAllowed", message));
    }
    arguments
        .bind(parameter, typed_value(parameter, item))
        .map_err(|failure| invalid(signature, failure.id, failure.message))
}

fn invalid(signature: &Signature, id: &str, message: String) -> Fault {
    Fault {
        category: "InvalidData".into(),
        exception: "ParameterBindingValidationException",
        ..signature.refuse(id, message)
    }
}

fn from_pipeline(
    operation: &'static Operation,
    signature: &Signature,
    bound: &Bound,
    arguments: &Arguments,
    item: &Item,
) -> Result<Arguments, Fault> {
    let mut arguments = arguments.clone();
    for (parameter, item) in signature.bind_object(bound, item)? {
        convert(signature, &mut arguments, parameter, &item)?;
    }
    match arguments.missing(operation) {
        None => Ok(arguments),
        Some(parameter) => Err(signature.refuse(
            "InputObjectMissingMandatory",
            format!(
                "The input object cannot be bound because it did not contain the information required to bind all \
                 mandatory parameters: {}",
                parameter.name
            ),
        )),
    }
}

/// `-Flag:$false` on a command line.
fn constant(word: &str) -> Item {
    match word.to_ascii_lowercase().as_str() {
        "$true" => true.into(),
        "$false" => false.into(),
        _ => word.into(),
    }
}

struct Formals {
    named: Vec<Option<Item>>,
    rest: Vec<Item>,
}

/// The arguments of a function or script: by name or its beginning, then by position.
fn formal_arguments(block: &Block, given: Vec<Given>) -> Result<Formals, Fault> {
    let formals = &block.parameters;
    let mut named: Vec<Option<Item>> = formals.iter().map(|_| None).collect();
    let mut rest = Vec::new();
    let mut given = given.into_iter().peekable();
    while let Some(one) = given.next() {
        let (name, value, typed) = match one {
            Given::Value(item) => {
                rest.push(item);
                continue;
            }
            Given::Named { name, value, typed } => (name, value, typed),
        };
        let begins = |own: &str| own.to_lowercase().starts_with(&name.to_lowercase());
        let exact = formals.iter().position(|formal| formal.name.eq_ignore_ascii_case(&name));
        let Some(at) = exact.or_else(|| formals.iter().position(|formal| begins(&formal.name))) else {
            if formals.is_empty() {
                rest.push(typed.into());
                rest.extend(value);
                continue;
            }
            let message = format!("A parameter cannot be found that matches parameter name '{name}'.");
            return Err(Fault::runtime("NamedParameterNotFound", message));
        };
        named[at] = Some(match value {
            Some(value) => value,
            None if formals[at].switch => true.into(),
            None => match given.next_if(|next| matches!(next, Given::Value(_))) {
                Some(Given::Value(item)) => item,
                _ => {
                    let message = format!("Missing an argument for parameter '{}'.", formals[at].name);
                    return Err(Fault::runtime("MissingArgument", message));
                }
            },
        });
    }
    let mut values = rest.into_iter();
    for (slot, formal) in named.iter_mut().zip(formals) {
        if slot.is_none() && !formal.switch {
            *slot = values.next();
        }
    }
    Ok(Formals { named, rest: values.collect() })
}
