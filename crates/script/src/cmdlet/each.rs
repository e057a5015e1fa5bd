//! ForEach-Object.

use super::Cmdlet;
use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, Sink, Stage};
use crate::types::text;
use crate::value::{Closure, Value};
use std::rc::Rc;

pub static CMDLETS: &[Cmdlet] = &[Cmdlet {
    name: "ForEach-Object",
    aliases: &["foreach", "%"],
    synopsis: "Runs a script block for each object, or gives one member of each.",
    parameters: "\
Process/MemberName:any[]@0+ The script block, with $_ for the object; or a member's name, and a method's arguments.
Begin:block Runs before the first.
End:block Runs after the last.
RemainingScripts:any[] Further script blocks.
ArgumentList/Args:any[] The arguments of a method.
Parallel:block Runs as -Process does, one after the other.
ThrottleLimit:int Accepted: one runs at a time.
InputObject:any< The objects; usually they come through the pipeline.",
    make: |_, bound| Ok(Box::new(ForEach { bound })),
}];

/// For the begin, for each object, for the end.
type Blocks = (Option<Rc<Closure>>, Vec<Rc<Closure>>, Option<Rc<Closure>>);

struct ForEach {
    bound: Bound,
}

fn block(value: &Value) -> Option<Rc<Closure>> {
    if let Value::Block(closure) = value { Some(closure.clone()) } else { None }
}

impl ForEach {
    /// Of several blocks in a row the first is for the begin and the last for the end.
    fn blocks(&self) -> Blocks {
        let named = |name: &str| self.bound.item(name).and_then(block);
        let (mut begin, mut end) = (named("Begin"), named("End"));
        let mut process: Vec<Rc<Closure>> = self.bound.items("Process").iter().filter_map(block).collect();
        process.extend(named("Parallel"));
        if process.len() > 1 && begin.is_none() {
            begin = Some(process.remove(0));
        }
        if process.len() > 1 && end.is_none() {
            end = process.pop();
        }
        (begin, process, end)
    }

    fn run(
        interpreter: &mut Interpreter<'_>,
        closure: Option<Rc<Closure>>,
        item: Value,
        out: &mut dyn Sink,
    ) -> Outcome {
        match closure {
            Some(closure) => interpreter.block_for_into(&closure, item, out),
            None => Ok(()),
        }
    }
}

impl Stage for ForEach {
    fn begin(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let (begin, process, end) = self.blocks();
        if process.is_empty() && begin.is_none() && end.is_none() && self.bound.items("Process").is_empty() {
            let message =
                "Say what to do with each object: a script block like { $_.Name }, or a property's name.";
            return Err(self.bound.refuse("MissingMandatoryParameter", message).into());
        }
        Self::run(interpreter, begin, Value::Null, out)
    }

    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        let (_, process, _) = self.blocks();
        if !process.is_empty() {
            return process
                .into_iter()
                .try_for_each(|closure| interpreter.block_for_into(&closure, item.clone(), out));
        }
        let words = self.bound.items("Process");
        let Some(name) = words.first() else { return Ok(()) };
        let name = text(name);
        let mut arguments = self.bound.items("ArgumentList");
        arguments.extend(words[1..].iter().cloned());
        let found = match interpreter.own_member(&item, &name)? {
            Some(found) if arguments.is_empty() => found,
            _ if crate::types::invoke_plain(&item, &name, &arguments).is_ok_and(|found| found.is_some())
                || !arguments.is_empty() =>
            {
                interpreter.invoke(&item, &name, &arguments)?
            }
            _ => interpreter.member(&item, &name)?,
        };
        interpreter.put_each(&found, out)
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        match self.bound.item("InputObject").cloned() {
            Some(item) => self.process(interpreter, item, out),
            None => Ok(()),
        }
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let (.., end) = self.blocks();
        Self::run(interpreter, end, Value::Null, out)
    }
}
