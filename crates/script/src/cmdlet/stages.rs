//! Stages that most cmdlets are: one for each object, one for all of them, one that takes none.

use crate::bind::Bound;
use crate::error::Outcome;
use crate::interpret::{Interpreter, Sink, Stage};
use crate::value::Value;

type EachBody = fn(&mut Interpreter<'_>, &Bound, Value, &mut dyn Sink) -> Outcome;
type AllBody = fn(&mut Interpreter<'_>, &Bound, Vec<Value>, &mut dyn Sink) -> Outcome;
type OnceBody = fn(&mut Interpreter<'_>, &Bound, &mut dyn Sink) -> Outcome;

struct Each(Bound, &'static str, EachBody);

/// For each object of the pipeline, or of the parameter.
pub fn each(bound: Bound, parameter: &'static str, body: EachBody) -> Outcome<Box<dyn Stage>> {
    Ok(Box::new(Each(bound, parameter, body)))
}

impl Stage for Each {
    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        (self.2)(interpreter, &self.0, item, out)
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        for item in self.0.items(self.1) {
            (self.2)(interpreter, &self.0, item, out)?;
        }
        Ok(())
    }
}

struct All(Bound, &'static str, AllBody, Vec<Value>);

/// When all objects are there.
pub fn all(bound: Bound, parameter: &'static str, body: AllBody) -> Outcome<Box<dyn Stage>> {
    Ok(Box::new(All(bound, parameter, body, Vec::new())))
}

impl Stage for All {
    fn process(&mut self, _: &mut Interpreter<'_>, item: Value, _: &mut dyn Sink) -> Outcome {
        self.3.push(item);
        Ok(())
    }

    fn alone(&mut self, _: &mut Interpreter<'_>, _: &mut dyn Sink) -> Outcome {
        self.3 = self.0.items(self.1);
        Ok(())
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let items = std::mem::take(&mut self.3);
        (self.2)(interpreter, &self.0, items, out)
    }
}

struct Once(Bound, OnceBody);

/// Once, whatever the pipeline brings.
pub fn once(bound: Bound, body: OnceBody) -> Outcome<Box<dyn Stage>> {
    Ok(Box::new(Once(bound, body)))
}

impl Stage for Once {
    fn process(&mut self, _: &mut Interpreter<'_>, _: Value, _: &mut dyn Sink) -> Outcome {
        Ok(())
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        (self.1)(interpreter, &self.0, out)
    }
}
