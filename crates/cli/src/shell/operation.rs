//! Operations as commands of the language: once, or once for each object of the pipeline.

use super::reference;
use super::signature::{Parameters, is_remote, signature};
use super::surface::Asking;
use super::value::{from_record, typed};
use ireko_manage::{Answer, Arguments, Failure, Host, Impact, Operation, Parameter, invoke};
use ireko_script::bind::{Bound, Signature};
use ireko_script::error::{ErrorRecord, Exception};
use ireko_script::host::Command;
use ireko_script::interpret::{Interpreter, Sink, Stage, host_name};
use ireko_script::{Outcome, Value};
use std::rc::Rc;

pub struct OperationCommand<'h> {
    pub host: &'h Host,
    pub operation: &'static Operation,
    /// The one of its names that was typed.
    pub name: String,
}

impl<'h> Command<'h> for OperationCommand<'h> {
    fn signature(&self) -> Rc<Signature> {
        signature(self.operation, &self.name)
    }

    fn start(&self, interpreter: &mut Interpreter<'_>, bound: Bound) -> Outcome<Box<dyn Stage + 'h>> {
        let parameters = Parameters::of(self.operation);
        let mut stage = OperationStage {
            host: self.host,
            operation: self.operation,
            signature: bound.signature.clone(),
            parameters,
            bound,
            arguments: Arguments::default(),
            asking: Asking::default(),
            kept: None,
        };
        stage.prepare(interpreter)?;
        Ok(Box::new(stage))
    }
}

struct OperationStage<'h> {
    host: &'h Host,
    operation: &'static Operation,
    signature: Rc<Signature>,
    parameters: Parameters,
    bound: Bound,
    arguments: Arguments,
    asking: Asking,
    /// What was given, of a cmdlet that is to be a job.
    kept: Option<Vec<Value>>,
}

impl OperationStage<'_> {
    /// What is given on the line, and what preference variables say.
    fn prepare(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        for (index, value, written) in self.bound.values.clone() {
            let Some(parameter) = self.parameters.at(index).filter(|parameter| !is_remote(parameter)) else {
                continue;
            };
            if reference::is_absent(self.operation, parameter) {
                return Err(self.absent(parameter).into());
            }
            convert(&self.signature, &mut self.arguments, parameter, &value, written.as_deref())?;
        }
        if self.operation.impact == Impact::None {
            return Ok(());
        }
        if !self.arguments.has("WhatIf") && interpreter.named("whatifpreference").is_true() {
            let _ = self.arguments.set(self.operation, "WhatIf", true);
        }
        let never =
            ireko_script::types::text(&interpreter.named("confirmpreference")).eq_ignore_ascii_case("None");
        if !self.arguments.has("Confirm") && never {
            let _ = self.arguments.set(self.operation, "Confirm", false);
        }
        Ok(())
    }

    /// What Hyper-V's cmdlet takes and this one does not.
    fn absent(&self, parameter: &Parameter) -> ErrorRecord {
        let message = reference::instead_of_parameter(self.operation.cmdlet, parameter.name);
        let record = self.signature.refuse("NotSupported", message).in_category("NotImplemented");
        record.of_type("System.Management.Automation.PSNotSupportedException")
    }

    /// This host is the only one; what is to be a job is one when it is done.
    fn remote(&mut self) -> Outcome {
        let own = host_name();
        let ours = |name: &String| {
            ["localhost", ".", "127.0.0.1", "::1", own.as_str()]
                .iter()
                .any(|own| own.eq_ignore_ascii_case(name))
        };
        let given = |name: &str| {
            self.bound
                .values
                .iter()
                .any(|(at, ..)| self.parameters.at(*at).is_some_and(|own| own.name == name && is_remote(own)))
        };
        if given("ComputerName")
            && let Some(other) = self.bound.texts("ComputerName").into_iter().find(|name| !ours(name))
        {
            let message = format!(
                "Other hosts cannot be managed from here: log in to '{other}' and use its own ireko shell."
            );
            return Err(self.signature.refuse("RemoteNotSupported", message).into());
        }
        for name in ["CimSession", "Credential"] {
            if given(name) {
                let message =
                    format!("-{name} is for other hosts, which cannot be managed from here; leave it out.");
                return Err(self.signature.refuse("RemoteNotSupported", message).into());
            }
        }
        if given("AsJob") && self.bound.switch("AsJob") {
            self.kept = Some(Vec::new());
        }
        Ok(())
    }

    fn once(
        &mut self,
        interpreter: &mut Interpreter<'_>,
        arguments: &Arguments,
        out: &mut dyn Sink,
    ) -> Outcome {
        let Answer { records, warnings, errors } =
            invoke(self.host, self.operation, arguments, &mut self.asking.on(interpreter));
        interpreter.heed()?;
        for warning in &warnings {
            interpreter.warn(warning)?;
        }
        let unasked = self.asking.unasked.take().map(|question| {
            let message = format!(
                "{question} There is nobody to ask; use -Confirm:$false or, where there is one, -Force."
            );
            let record = self.signature.refuse("InvalidOperation", message).in_category("InvalidOperation");
            record.of_type("System.Management.Automation.PSInvalidOperationException")
        });
        let told: Vec<ErrorRecord> =
            errors.iter().map(|failure| of_failure(failure, &self.signature.name)).chain(unasked).collect();
        if let Some(kept) = &mut self.kept {
            kept.extend(records.into_iter().map(from_record));
            kept.extend(told.into_iter().map(|record| Value::Error(Rc::new(record))));
            return Ok(());
        }
        for record in told {
            interpreter.report(record)?;
        }
        records.into_iter().try_for_each(|record| out.put(interpreter, from_record(record)))
    }

    /// Asks for what must be given, where there is somebody.
    fn prompt(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        let mut said = false;
        while let Some(parameter) = self.arguments.missing(self.operation) {
            if !interpreter.interactive {
                return Err(self.missing().into());
            }
            if !said {
                let cmdlet = &self.signature.name;
                interpreter.print(&format!(
                    "\ncmdlet {cmdlet} at command pipeline position 1\nSupply values for the following parameters:\n"
                ))?;
                said = true;
            }
            let prompt = if parameter.many {
                format!("{}[0]: ", parameter.name)
            } else {
                format!("{}: ", parameter.name)
            };
            let Some(line) = interpreter.terminal.ask(&prompt).filter(|line| !line.is_empty()) else {
                return Err(self.missing().into());
            };
            convert(&self.signature, &mut self.arguments, parameter, &line.into(), None)?;
        }
        Ok(())
    }

    fn missing(&self) -> ErrorRecord {
        let mut filled = self.arguments.clone();
        let mut names = Vec::new();
        while let Some(parameter) = filled.missing(self.operation) {
            names.push(parameter.name);
            if filled.bind(parameter, ireko_manage::Value::Null).is_err() {
                break;
            }
        }
        let message = format!(
            "Cannot process command because of one or more missing mandatory parameters: {}.",
            names.join(" ")
        );
        self.signature.refuse("MissingMandatoryParameter", message)
    }

    /// The arguments of one object of the pipeline.
    fn of_object(&self, interpreter: &mut Interpreter<'_>, item: &Value) -> Outcome<Arguments> {
        let mut arguments = self.arguments.clone();
        for (index, value) in self.signature.bind_object(interpreter, &self.bound, item)? {
            if let Some(parameter) = self.parameters.at(index) {
                convert(&self.signature, &mut arguments, parameter, &value, None)?;
            }
        }
        match arguments.missing(self.operation) {
            None => Ok(arguments),
            Some(parameter) => {
                let message = format!(
                    "The input object cannot be bound because it did not contain the information required to bind all mandatory parameters: {}",
                    parameter.name
                );
                Err(self.signature.refuse("InputObjectMissingMandatory", message).into())
            }
        }
    }
}

impl Stage for OperationStage<'_> {
    fn begin(&mut self, _: &mut Interpreter<'_>, _: &mut dyn Sink) -> Outcome {
        self.remote()
    }

    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        match self.of_object(interpreter, &item) {
            Ok(arguments) => self.once(interpreter, &arguments, out),
            Err(ireko_script::Flow::Error(record)) => interpreter.report(*record),
            Err(other) => Err(other),
        }
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        self.prompt(interpreter)?;
        let arguments = self.arguments.clone();
        self.once(interpreter, &arguments, out)
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let Some(kept) = self.kept.take() else { return Ok(()) };
        let job = ireko_script::cmdlet::job::of_cmdlet(interpreter, &self.signature.name, kept);
        out.put(interpreter, job)
    }
}

fn convert(
    signature: &Signature,
    arguments: &mut Arguments,
    parameter: &'static Parameter,
    value: &Value,
    written: Option<&str>,
) -> Result<(), ErrorRecord> {
    let invalid = |id: &str, message: String| {
        signature
            .refuse(id, message)
            .in_category("InvalidData")
            .of_type("System.Management.Automation.ParameterBindingValidationException")
    };
    if value.is_null() && parameter.required {
        let message = format!("Cannot bind argument to parameter '{}' because it is null.", parameter.name);
        return Err(invalid("ParameterArgumentValidationErrorNullNotAllowed", message));
    }
    arguments
        .bind(parameter, typed(parameter, value, written))
        .map_err(|failure| invalid(failure.id, failure.message))
}

/// What Invoke-Command -VMName does: what a command writes in a guest are lines, and what it complains of is an error.
pub fn run_in(
    host: &Host,
    interpreter: &mut Interpreter<'_>,
    machine: &str,
    (command, words): (&str, &[String]),
    out: &mut dyn Sink,
) -> Outcome {
    const CMDLET: &str = "Invoke-Command";
    let failed = |failure: Failure| of_failure(&failure, CMDLET);
    let operation = ireko_manage::find("Invoke-VMCommand")
        .ok_or_else(|| failed(Failure::later("Commands cannot be run in guests.")))?;
    let mut arguments = Arguments::default();
    arguments.set(operation, "VMName", machine).map_err(failed)?;
    arguments.set(operation, "Command", command).map_err(failed)?;
    let list = words.iter().map(|word| ireko_manage::Value::text(word.as_str())).collect();
    arguments.set(operation, "ArgumentList", ireko_manage::Value::List(list)).map_err(failed)?;
    let mut asking = Asking::default();
    let answer = invoke(host, operation, &arguments, &mut asking.on(interpreter));
    interpreter.heed()?;
    for warning in &answer.warnings {
        interpreter.warn(warning)?;
    }
    for failure in answer.errors {
        interpreter.report(failed(failure))?;
    }
    for record in answer.records {
        for line in record.property("Output").into_iter().flat_map(ireko_manage::Value::items) {
            out.put(interpreter, super::value::from_managed(line.clone()))?;
        }
        for line in record.property("ErrorOutput").into_iter().flat_map(ireko_manage::Value::items) {
            interpreter.report(ErrorRecord::cmdlet(CMDLET, "NativeCommandError", line.to_string()))?;
        }
        let code = record.property("ExitCode").and_then(ireko_manage::Value::as_int).unwrap_or(0);
        interpreter.last_exit_code = code as _;
    }
    Ok(())
}

/// What an operation has to say of one object.
pub fn of_failure(failure: &Failure, cmdlet: &str) -> ErrorRecord {
    let exception = format!("Microsoft.HyperV.PowerShell.{}", failure.exception());
    ErrorRecord {
        category: format!("{:?}", failure.category).into(),
        target: failure.target.as_deref().map(|target| Box::new(Value::text(target))),
        activity: cmdlet.into(),
        exception: Exception::new(&exception, &failure.message),
        ..ErrorRecord::runtime(&failure.qualified_id(cmdlet), "")
    }
}
