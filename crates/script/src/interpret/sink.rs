//! Where objects go: into a value, or to whoever reads.

use super::Interpreter;
use crate::error::Outcome;
use crate::format::Shape;
use crate::value::Value;
use std::time::{Duration, Instant};

/// Takes objects one by one.
pub trait Sink {
    fn put(&mut self, interpreter: &mut Interpreter<'_>, value: Value) -> Outcome;
    /// A statement has ended.
    fn flush(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        let _ = interpreter;
        Ok(())
    }
    /// Whether a person reads what comes, and a program may write there itself.
    fn is_display(&self) -> bool {
        false
    }
}

#[derive(Default)]
pub struct Collected(pub Vec<Value>);

impl Sink for Collected {
    fn put(&mut self, interpreter: &mut Interpreter<'_>, value: Value) -> Outcome {
        // A loop that fills it is heeded at its statements; a source without statements here.
        if self.0.len().is_multiple_of(4096) {
            interpreter.heed()?;
        }
        self.0.push(value);
        Ok(())
    }
}

/// As the host shows objects: text at once, objects of one shape together.
#[derive(Default)]
pub struct Display {
    waiting: Vec<Value>,
    shape: Option<Shape>,
    since: Option<Instant>,
    /// Widths of a table that was begun.
    begun: Option<crate::format::Begun>,
}

/// How many rows wait for their table, and how long.
const MOST_ROWS: usize = 1000;
const LONGEST: Duration = Duration::from_millis(500);

impl Sink for Display {
    fn put(&mut self, interpreter: &mut Interpreter<'_>, value: Value) -> Outcome {
        let shape = crate::format::shape(interpreter, &value);
        if self.shape != shape {
            self.flush(interpreter)?;
        }
        if shape.is_none() {
            let text = crate::format::plain(interpreter, &value)?;
            return interpreter.print(&text);
        }
        self.shape = shape;
        self.waiting.push(value);
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.waiting.len() >= MOST_ROWS
            || (self.begun.is_some() && !self.waiting.is_empty())
            || since.elapsed() > LONGEST
        {
            self.begin(interpreter)?;
        }
        Ok(())
    }

    fn flush(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        let waiting = std::mem::take(&mut self.waiting);
        self.shape = None;
        self.since = None;
        if let Some(begun) = self.begun.take() {
            let rest = crate::format::more_rows(interpreter, &begun, &waiting)?;
            return interpreter.print(&(rest + "\n"));
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let text = crate::format::view(interpreter, &waiting)?;
        interpreter.print(&text)
    }

    fn is_display(&self) -> bool {
        true
    }
}

impl Display {
    /// Shows what is there of a table that goes on.
    fn begin(&mut self, interpreter: &mut Interpreter<'_>) -> Outcome {
        let waiting = std::mem::take(&mut self.waiting);
        let text = match &self.begun {
            Some(begun) => crate::format::more_rows(interpreter, begun, &waiting)?,
            None => {
                let (text, begun) = crate::format::begin(interpreter, &waiting)?;
                self.begun = begun;
                text
            }
        };
        interpreter.print(&text)
    }
}
