//! Evaluation: statements, pipelines, commands and expressions, one object at a time.

mod assign;
mod automatic;
mod command;
mod construct;
mod context;
mod expression;
mod files;
mod function;
mod member;
mod native;
mod operator;
mod order;
mod pipeline;
mod requires;
mod sink;
mod statement;
mod statics;
mod switch;
mod validate;
mod variable;

pub use automatic::{host_name, user_name, whole_environment};
pub use command::Meaning;
pub use construct::{secret, secure, with_properties};
pub use context::{Context, Destination, ErrorAction, Preferences, Streams};
pub use files::{append, decoded, failed, native, read_script, script as script_file};
pub use function::Called;
pub use member::{property_names, shown_names};
pub use operator::{compare, operate, wildcard};
pub use order::{equal, merge_sorted, order, sorted};
pub use pipeline::Stage;
pub use sink::{Collected, Display, Sink};
pub use variable::environment;

use crate::error::{ErrorRecord, Flow, Outcome};
use crate::host::{Module, Terminal};
use crate::scope::Scope;
use crate::value::{Array, ArrayKind, EnumType, Value};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Calls within calls, whatever the stack.
const MOST_CALLS: usize = 2000;
/// How many errors `$Error` keeps.
const KEPT_ERRORS: usize = 256;

/// One session: its scopes, its errors, and who is at the other end.
pub struct Interpreter<'h> {
    pub terminal: Box<dyn Terminal + 'h>,
    pub modules: Vec<Rc<dyn Module<'h> + 'h>>,
    pub context: Context,
    /// The newest first.
    pub errors: Rc<Array>,
    /// `$?`: no error in the last pipeline.
    pub fine: bool,
    /// Errors that were printed.
    pub printed: usize,
    /// Inside `try` or beside a `trap`.
    trying: usize,
    depth: usize,
    /// Where our own stack began, and how much of it may be used.
    stack: (usize, usize),
    pub interactive: bool,
    /// Somebody has pressed Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
    enumerations: HashMap<String, Rc<EnumType>>,
    pub last_exit_code: i64,
    pipelines: u64,
    pub(crate) jobs: Vec<crate::cmdlet::Job>,
    pub(crate) random: u64,
    /// Names of modules that Import-Module took in.
    pub(crate) imported: Vec<String>,
    pub(crate) host_object: Option<Value>,
    pub(crate) previous_folder: Option<std::path::PathBuf>,
    pub(crate) location_stack: Vec<std::path::PathBuf>,
}

/// What of the stack scripts may use, unless a host says more.
const USUAL_STACK: usize = 1 << 20;

fn stack_pointer() -> usize {
    let here = 0u8;
    std::ptr::from_ref(&here) as usize
}

impl<'h> Interpreter<'h> {
    pub fn new(terminal: Box<dyn Terminal + 'h>) -> Self {
        let seed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |since| since.as_nanos() as u64);
        Self {
            terminal,
            modules: Vec::new(),
            context: Context::new(Scope::global()),
            errors: Rc::new(Array::new(Vec::new(), ArrayKind::ArrayList)),
            fine: true,
            printed: 0,
            trying: 0,
            depth: 0,
            stack: (stack_pointer(), USUAL_STACK),
            interactive: false,
            interrupted: Arc::default(),
            enumerations: HashMap::new(),
            last_exit_code: 0,
            pipelines: 0,
            jobs: Vec::new(),
            random: seed | 1,
            imported: Vec::new(),
            host_object: None,
            previous_folder: None,
            location_stack: Vec::new(),
        }
    }

    /// How many bytes of the thread's stack, from here, scripts may use.
    pub fn allow_stack(&mut self, bytes: usize) {
        self.stack = (stack_pointer(), bytes);
    }

    /// Whether to go on.
    pub fn heed(&self) -> Outcome {
        if self.interrupted.load(Ordering::Relaxed) { Err(Flow::Interrupted) } else { Ok(()) }
    }

    /// Some frames deeper.
    fn nested<T>(&mut self, body: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let (base, most) = self.stack;
        if base.abs_diff(stack_pointer()) > most {
            let message = "The script failed due to call depth overflow.";
            return Err(ErrorRecord::runtime("CallDepthOverflow", message).into());
        }
        body(self)
    }

    /// With another context, and then with the one before.
    pub fn within<T>(&mut self, context: Context, body: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let before = std::mem::replace(&mut self.context, context);
        let result = body(self);
        self.context = before;
        result
    }

    /// A script with its arguments; gives the exit code, which tells of any error that was printed.
    pub fn script(&mut self, text: &str, path: &str, arguments: &[String]) -> u8 {
        let ended = self.top(|interpreter, out| {
            let script = crate::parse::script(text, path).map_err(|error| ErrorRecord::parsing(&error))?;
            interpreter.run_script(script, arguments, out)
        });
        ended.unwrap_or(u8::from(self.printed > 0))
    }

    /// What was typed at the prompt, in the outermost scope; an exit code ends the session.
    pub fn line(&mut self, text: &str) -> Option<u8> {
        self.top(|interpreter, out| {
            let script = crate::parse::script(text, "").map_err(|error| ErrorRecord::parsing(&error))?;
            interpreter.require(&script)?;
            let Some(body) = script.end.clone() else { return Ok(()) };
            let context = interpreter.context.clone().of_source(&script.source);
            interpreter.within(context, |interpreter| interpreter.statements(&body, out))
        })
    }

    /// Shows what nothing further in has caught.
    fn top(&mut self, body: impl FnOnce(&mut Self, &mut dyn Sink) -> Outcome) -> Option<u8> {
        let mut display = Display::default();
        let result = body(self, &mut display);
        let shown = display.flush(self);
        self.trying = 0;
        match result.and(shown) {
            Err(Flow::Exit(code)) => {
                let usual =
                    if self.interactive { i64::from(!self.fine) } else { i64::from(self.printed > 0) };
                // As the system has it: the low eight bits.
                Some((code.unwrap_or(usual) & 0xff) as u8)
            }
            Err(Flow::Unheard) => Some(0),
            Err(Flow::Interrupted) if !self.interactive => Some(130),
            Err(Flow::Error(record)) => {
                self.remember(&record);
                self.show(&record);
                None
            }
            Ok(()) | Err(_) => None,
        }
    }

    /// An enumeration that a script made, or that a module has.
    pub fn enumeration(&self, name: &str) -> Option<Rc<EnumType>> {
        let own = self.enumerations.get(&name.to_lowercase()).cloned();
        own.or_else(|| self.modules.iter().find_map(|module| module.enumeration(name)))
    }

    /// A random number (xorshift64*).
    pub fn next_random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
