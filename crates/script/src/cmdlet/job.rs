//! Jobs: a script block that runs at once, to its end, and whose output is kept.

use super::Cmdlet;
use super::stages::once;
use crate::bind::Bound;
use crate::error::{Flow, Outcome};
use crate::interpret::{Interpreter, Sink};
use crate::types::text;
use crate::value::{Object, Property, Value};
use std::rc::Rc;

pub struct Job {
    object: Rc<Object>,
    output: Vec<Value>,
}

const WHICH: &str = "\
Job:any[]@0< The jobs.
Id:any[] Their numbers.
Name:string[] Their names.
Keep:switch The output stays.
Timeout:any Accepted.
Any:switch Accepted.
Wait:switch Accepted.
AutoRemoveJob:switch Accepted.
Force:switch Accepted.";

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Start-Job",
        aliases: &["sajb", "Start-ThreadJob"],
        synopsis: "Runs a script block, at once and to its end, and keeps its output for Receive-Job.",
        parameters: "\
ScriptBlock:block@0! The script block.
ArgumentList/Args:any[] Its arguments.
Name:string The job's name.
InitializationScript:block Accepted.
InputObject:any< Accepted.",
        make: |_, bound| once(bound, start),
    },
    Cmdlet {
        name: "Get-Job",
        aliases: &["gjb"],
        synopsis: "Lists jobs.",
        parameters: WHICH,
        make: |_, bound| once(bound, give),
    },
    Cmdlet {
        name: "Wait-Job",
        aliases: &["wjb"],
        synopsis: "Gives jobs when they are done; they always are.",
        parameters: WHICH,
        make: |_, bound| Ok(Box::new(Jobs { bound, piped: Vec::new(), take: false, remove: false })),
    },
    Cmdlet {
        name: "Receive-Job",
        aliases: &["rcjb"],
        synopsis: "Gives the output of jobs.",
        parameters: WHICH,
        make: |_, bound| Ok(Box::new(Jobs { bound, piped: Vec::new(), take: true, remove: false })),
    },
    Cmdlet {
        name: "Remove-Job",
        aliases: &["rjb", "Stop-Job"],
        synopsis: "Forgets jobs.",
        parameters: WHICH,
        make: |_, bound| Ok(Box::new(Jobs { bound, piped: Vec::new(), take: false, remove: true })),
    },
];

fn start(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let Some(Value::Block(closure)) = bound.item("ScriptBlock").cloned() else {
        return Err(bound.refuse("MissingMandatoryParameter", "Say what to run: Start-Job { … }.").into());
    };
    let id = interpreter.jobs.len() + 1;
    let name = bound.text("Name").unwrap_or_else(|| format!("Job{id}"));
    // A job has the variables of its own alone, as one in another process would.
    let scope = crate::scope::Scope::within(
        &interpreter.context.scope.outermost(),
        false,
        interpreter.context.scope.running.clone(),
    );
    let context = interpreter.context.in_scope(scope);
    let arguments = bound.items("ArgumentList");
    let result = interpreter.within(context, |interpreter| interpreter.invoke_block(&closure, arguments));
    let (shown, output) = match result {
        Ok(output) => ("Completed", output),
        Err(Flow::Error(record)) => {
            interpreter.remember(&record);
            ("Failed", vec![Value::Error(Rc::new(*record))])
        }
        Err(other) => return Err(other),
    };
    let job = keep(interpreter, (&name, "BackgroundJob", closure.block.text()), shown, output);
    out.put(interpreter, job)
}

/// A job that is done, with its name, its kind and what it ran.
fn keep(
    interpreter: &mut Interpreter<'_>,
    (name, kind, command): (&str, &str, &str),
    state: &str,
    output: Vec<Value>,
) -> Value {
    let object = Object::new("System.Management.Automation.PSRemotingJob")
        .with("Id", interpreter.jobs.len() + 1)
        .with("Name", name)
        .with("PSJobTypeName", kind)
        .with("State", state)
        .with("HasMoreData", !output.is_empty())
        .with("Location", "localhost")
        .with("Command", command);
    let object = Rc::new(object);
    interpreter.jobs.push(Job { object: object.clone(), output });
    Value::Object(object)
}

/// The job of a cmdlet that was called with -AsJob and has run: what it gave, errors among it.
pub fn of_cmdlet(interpreter: &mut Interpreter<'_>, name: &str, output: Vec<Value>) -> Value {
    let failed = output.iter().any(|value| matches!(value, Value::Error(_)));
    let title = format!("Job{}", interpreter.jobs.len() + 1);
    keep(interpreter, (&title, name, name), if failed { "Failed" } else { "Completed" }, output)
}

/// The places of the jobs that are meant.
fn wanted(interpreter: &Interpreter<'_>, bound: &Bound, piped: &[Value]) -> Vec<usize> {
    let mut named: Vec<Value> = bound.items("Job");
    named.extend_from_slice(piped);
    let (ids, names) = (bound.texts("Id"), bound.texts("Name"));
    let all = named.is_empty() && ids.is_empty() && names.is_empty();
    let fits = |job: &Job| {
        let own = Value::Object(job.object.clone());
        let note = |name: &str| job.object.note(name).map(|value| text(&value)).unwrap_or_default();
        all || named.iter().any(|value| value.same(&own) || text(value) == note("Id"))
            || ids.contains(&note("Id"))
            || names.iter().any(|name| name.eq_ignore_ascii_case(&note("Name")))
    };
    (0..interpreter.jobs.len()).filter(|at| fits(&interpreter.jobs[*at])).collect()
}

fn give(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    for at in wanted(interpreter, bound, &[]) {
        let object = interpreter.jobs[at].object.clone();
        out.put(interpreter, Value::Object(object))?;
    }
    Ok(())
}

struct Jobs {
    bound: Bound,
    piped: Vec<Value>,
    take: bool,
    remove: bool,
}

impl crate::interpret::Stage for Jobs {
    fn process(&mut self, _: &mut Interpreter<'_>, item: Value, _: &mut dyn Sink) -> Outcome {
        self.piped.push(item);
        Ok(())
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let wanted = wanted(interpreter, &self.bound, &self.piped);
        for at in &wanted {
            let job = &mut interpreter.jobs[*at];
            let object = job.object.clone();
            if !self.take {
                if !self.remove {
                    out.put(interpreter, Value::Object(object))?;
                }
                continue;
            }
            let output =
                if self.bound.switch("Keep") { job.output.clone() } else { std::mem::take(&mut job.output) };
            object.set("HasMoreData", Property::Note((!job.output.is_empty()).into()));
            for value in output {
                match value {
                    Value::Error(record) => interpreter.report((*record).clone())?,
                    other => out.put(interpreter, other)?,
                }
            }
        }
        if self.remove {
            let mut at = 0;
            interpreter.jobs.retain(|_| {
                at += 1;
                !wanted.contains(&(at - 1))
            });
        }
        Ok(())
    }
}
