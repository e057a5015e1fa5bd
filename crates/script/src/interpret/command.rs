//! Finding what a command's name means (about_Command_Precedence), and making a stage of a pipeline of it.

use super::context::Preferences;
use super::function::Called;
use super::native::{Native, program};
use super::pipeline::Running;
use super::{Interpreter, Stage};
use crate::bind::{Argument, Behaviour, Bound, Written};
use crate::error::{ErrorRecord, Flow, Outcome};
use crate::host::Command;
use crate::syntax::{self, Invocation};
use crate::types::text;
use crate::value::{Closure, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// What a name means.
pub enum Meaning<'h> {
    Function(crate::scope::Function),
    Cmdlet(Rc<dyn Command<'h> + 'h>),
    Script(std::path::PathBuf),
    Program(std::path::PathBuf),
}

impl<'h> Interpreter<'h> {
    pub(super) fn command_stage(&mut self, command: &syntax::Command, first: bool) -> Outcome<Running<'h>> {
        let position = self.position(command.extent);
        self.make_stage(command, first).map_err(|flow| match flow {
            Flow::Error(record) => record.at(position).into(),
            other => other,
        })
    }

    fn make_stage(&mut self, command: &syntax::Command, first: bool) -> Outcome<Running<'h>> {
        let name = self.evaluate(&command.name)?;
        let arguments = self.arguments(&command.arguments)?;
        let dotted = command.invocation == Invocation::Dot;
        let line: Rc<str> = self.source().map_or("".into(), |source| source.slice(command.extent).into());
        let (stage, behaviour) = match &name {
            Value::Block(closure) => {
                let called = Called {
                    name: "".into(),
                    closure: closure.clone(),
                    is_function: false,
                    dotted,
                    is_file: false,
                    line,
                };
                self.block_stage(called, arguments, !first)?
            }
            name => {
                let said = match name {
                    Value::Object(object) => {
                        object.note("Name").map_or_else(|| text(name), |name| text(&name))
                    }
                    name => text(name),
                };
                self.named_stage(&said, arguments, first, dotted, line)?
            }
        };
        let mut running = self.running(stage, &behaviour);
        running.context.position = self.position(command.extent);
        self.redirect(&mut running, &command.redirections)?;
        Ok(running)
    }

    fn running(&self, stage: Box<dyn Stage + 'h>, behaviour: &Behaviour) -> Running<'h> {
        let mut context = self.context.clone();
        let mut preferences = Preferences::clone(&context.preferences);
        // What is said to one command is not said to those that it calls, except where messages are kept.
        preferences.errors = behaviour.errors;
        preferences.warnings = behaviour.warnings;
        preferences.information = behaviour.information;
        preferences.verbose = behaviour.verbose;
        preferences.debug = behaviour.debug;
        let mut variables = Vec::new();
        let lists = [
            (&behaviour.error_variable, &mut preferences.noted_errors),
            (&behaviour.warning_variable, &mut preferences.noted_warnings),
            (&behaviour.information_variable, &mut preferences.noted_information),
        ];
        for (name, list) in lists {
            if let Some(name) = name {
                let noted: super::context::Noted = Rc::new(RefCell::default());
                list.push(noted.clone());
                variables.push((name.clone(), noted));
            }
        }
        let kept = behaviour.out_variable.as_ref().map(|name| {
            let noted: super::context::Noted = Rc::new(RefCell::default());
            variables.push((name.clone(), noted.clone()));
            noted
        });
        context.preferences = Rc::new(preferences);
        let pipeline_variable =
            behaviour.pipeline_variable.as_ref().map(|name| Rc::from(name.to_lowercase()));
        Running {
            stage,
            context,
            merged: None,
            output: Default::default(),
            kept,
            pipeline_variable,
            variables,
        }
    }

    /// By alias, function, cmdlet, script and program, in this order.
    pub fn meaning(&mut self, name: &str) -> Option<Meaning<'h>> {
        let alias = self.context.scope.alias(name);
        let name = alias.as_deref().unwrap_or(name);
        if let Some(function) = self.context.scope.function(name) {
            return Some(Meaning::Function(function));
        }
        // `Hyper-V\Get-VM`
        let short = name
            .split_once('\\')
            .filter(|(module, own)| {
                own.contains('-') && !module.contains(['/', ':', '.']) || self.has_module(module)
            })
            .map_or(name, |(_, own)| own);
        let own = self.modules.iter().find_map(|module| module.command(short));
        if let Some(command) = own {
            return Some(Meaning::Cmdlet(command));
        }
        if let Some(cmdlet) = crate::cmdlet::find(short) {
            return Some(Meaning::Cmdlet(crate::cmdlet::command(cmdlet)));
        }
        let is_script = |path: &std::path::PathBuf| {
            let ends = |own: &str| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(own));
            ends("ps1") || ends("psm1")
        };
        let names_a_file = name.contains(['/', '\\']) || name.to_lowercase().ends_with(".ps1");
        if let Some(path) = super::files::script(name).filter(|path| names_a_file && is_script(path)) {
            return Some(Meaning::Script(path));
        }
        program(name).map(Meaning::Program)
    }

    fn named_stage(
        &mut self,
        name: &str,
        arguments: Vec<Argument>,
        first: bool,
        dotted: bool,
        line: Rc<str>,
    ) -> Outcome<(Box<dyn Stage + 'h>, Behaviour)> {
        match self.meaning(name) {
            Some(Meaning::Function(function)) => {
                let called = Called {
                    name: function.name,
                    closure: function.closure,
                    is_function: true,
                    dotted,
                    is_file: false,
                    line,
                };
                self.block_stage(called, arguments, !first)
            }
            Some(Meaning::Cmdlet(command)) => {
                let signature = command.signature();
                let mut bound = signature.bind(arguments)?;
                if bound.help {
                    return Ok((crate::cmdlet::help_stage(self, &signature.name)?, Behaviour::default()));
                }
                let behaviour = Behaviour::of(&mut bound);
                bound = self.prepared(bound);
                Ok((command.start(self, bound)?, behaviour))
            }
            Some(Meaning::Script(path)) => {
                let script = self.load(&path)?;
                self.require(&script)?;
                let name = path.display().to_string().into();
                let closure = Rc::new(Closure { block: script, scope: None });
                let called = Called { name, closure, is_function: false, dotted, is_file: true, line };
                self.block_stage(called, arguments, !first)
            }
            Some(Meaning::Program(path)) => {
                Ok((Box::new(Native::new(path, arguments)), Behaviour::default()))
            }
            None => Err(self.unknown(name).into()),
        }
    }

    /// `$PSDefaultParameterValues`
    fn prepared(&mut self, mut bound: Bound) -> Bound {
        let Some(Value::Map(defaults)) = self.context.scope.find("psdefaultparametervalues") else {
            return bound;
        };
        for (key, value) in defaults.pairs() {
            let key = text(&key);
            let Some((command, parameter)) = key.split_once(':') else { continue };
            if !super::wildcard(command, &bound.signature.name, syntax::Case::Ignored) || bound.has(parameter)
            {
                continue;
            }
            if let Some(at) = bound.signature.parameters.iter().position(|own| own.is_called(parameter)) {
                bound.values.push((at, value, None));
            }
        }
        bound
    }

    fn unknown(&self, name: &str) -> ErrorRecord {
        let instead = self
            .modules
            .iter()
            .find_map(|module| module.instead_of(name))
            .or_else(|| crate::cmdlet::instead_of(name));
        match instead {
            None => ErrorRecord::not_found(name),
            Some(sentence) => {
                let record = ErrorRecord::runtime("NotSupported", sentence)
                    .in_category("NotImplemented")
                    .about(Value::text(name));
                ErrorRecord { activity: name.into(), ..record }
                    .of_type("System.Management.Automation.PSNotSupportedException")
            }
        }
    }

    /// A script of a file, parsed.
    pub fn load(&mut self, path: &std::path::Path) -> Outcome<Rc<syntax::ScriptBlock>> {
        let shown = path.display().to_string();
        let read = std::fs::File::open(path).and_then(super::files::read_script);
        let content = read.map_err(|error| Flow::from(super::files::failed(&shown, &shown, &error)))?;
        Ok(crate::parse::script(&content, &shown).map_err(|error| ErrorRecord::parsing(&error))?)
    }

    fn arguments(&mut self, arguments: &[syntax::Argument]) -> Outcome<Vec<Argument>> {
        let mut given = Vec::new();
        for argument in arguments {
            match argument {
                syntax::Argument::Named { name, value, typed } => {
                    let value = value.as_ref().map(|word| self.word(word)).transpose()?;
                    given.push(Argument::Named { name: name.clone(), value, typed: typed.clone() });
                }
                syntax::Argument::Value(word) => {
                    let (value, written) = self.word(word)?;
                    given.push(Argument::Value { value, written });
                }
                syntax::Argument::Splat(variable) => {
                    let value = self.variable(variable)?;
                    self.splat(value, &mut given);
                }
            }
        }
        Ok(given)
    }

    fn word(&mut self, word: &syntax::Word) -> Outcome<(Value, Written)> {
        Ok((self.evaluate(&word.expression)?, word.written.clone()))
    }

    fn splat(&mut self, value: Value, given: &mut Vec<Argument>) {
        match value {
            Value::Map(map) => given.extend(map.pairs().into_iter().map(|(name, value)| {
                let name: Rc<str> = text(&name).into();
                let typed = format!("-{name}").into();
                Argument::Named { name, value: Some((value, None)), typed }
            })),
            Value::Null => {}
            other => given.extend(other.elements().into_iter().map(|value| {
                // What looks like a parameter in an array is one (about_Splatting).
                match value
                    .as_text()
                    .and_then(|text| text.strip_prefix('-'))
                    .filter(|name| name.starts_with(char::is_alphabetic))
                {
                    Some(name) if value.as_text().is_some_and(|text| !text.contains(' ')) => {
                        let typed = value.as_text().unwrap_or_default().into();
                        Argument::Named { name: name.trim_end_matches(':').into(), value: None, typed }
                    }
                    _ => Argument::Value { value, written: None },
                }
            })),
        }
    }
}
