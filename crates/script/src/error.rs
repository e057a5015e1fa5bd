//! Errors as PowerShell records and prints them, and the other ways out of a statement.

use crate::characters::printable;
use crate::source::Position;
use crate::value::Value;
use std::cell::RefCell;
use std::rc::Rc;

/// Why a statement ends before its end.
#[derive(Debug)]
pub enum Flow {
    Error(Box<ErrorRecord>),
    Break(Option<Rc<str>>),
    Continue(Option<Rc<str>>),
    Return,
    /// With no code: as it went.
    Exit(Option<i64>),
    /// A stage of a pipeline wants no more: which pipeline, and which of its stages.
    Enough(u64, usize),
    /// Ctrl-C.
    Interrupted,
    /// Who reads our output has gone.
    Unheard,
}

pub type Outcome<T = ()> = Result<T, Flow>;

/// A .NET exception.
#[derive(Clone, Debug)]
pub struct Exception {
    /// The whole name of its type.
    pub type_name: Rc<str>,
    pub message: Rc<str>,
    pub inner: Option<Rc<Exception>>,
}

impl Exception {
    pub fn new(type_name: &str, message: &str) -> Rc<Self> {
        Rc::new(Self { type_name: type_name.into(), message: message.into(), inner: None })
    }

    /// The type of what is inside, if something is.
    pub fn cause(&self) -> &str {
        self.inner.as_ref().map_or(&self.type_name, |inner| &inner.type_name)
    }

    pub fn short_name(&self) -> &str {
        self.type_name.rsplit('.').next().unwrap_or_default()
    }
}

/// An ErrorRecord.
#[derive(Clone, Debug)]
pub struct ErrorRecord {
    pub exception: Rc<Exception>,
    pub category: Rc<str>,
    /// What it was about.
    pub target: Option<Box<Value>>,
    /// The command.
    pub activity: Rc<str>,
    /// Fully qualified.
    pub id: Rc<str>,
    pub position: RefCell<Option<Position>>,
    /// What was thrown, if it was an object of the script's.
    pub thrown: Option<Box<Value>>,
    /// Ends the script, not only the statement.
    pub ends_script: bool,
}

impl From<ErrorRecord> for Flow {
    fn from(record: ErrorRecord) -> Self {
        Self::Error(Box::new(record))
    }
}

const RUNTIME: &str = "System.Management.Automation.RuntimeException";

impl ErrorRecord {
    /// What an operator, a statement or a conversion has against something.
    pub fn runtime(id: &str, message: impl AsRef<str>) -> Self {
        Self {
            exception: Exception::new(RUNTIME, message.as_ref()),
            category: "InvalidOperation".into(),
            target: None,
            activity: "".into(),
            id: id.into(),
            position: RefCell::default(),
            thrown: None,
            ends_script: false,
        }
    }

    /// What a .NET method throws: PowerShell shows it inside its own exception, and catches it by its own type.
    pub fn method(exception: &str, method: &str, count: usize, message: &str) -> Self {
        let inner = Exception::new(exception, message);
        let shown = format!("Exception calling \"{method}\" with \"{count}\" argument(s): \"{message}\"");
        let type_name = "System.Management.Automation.MethodInvocationException".into();
        let exception = Exception { type_name, message: shown.into(), inner: Some(inner.clone()) };
        Self {
            exception: Rc::new(exception),
            category: "NotSpecified".into(),
            id: inner.short_name().into(),
            ..Self::runtime("", "")
        }
    }

    /// What a cmdlet refuses.
    pub fn cmdlet(cmdlet: &str, id: &str, message: impl AsRef<str>) -> Self {
        Self {
            category: "InvalidArgument".into(),
            activity: cmdlet.into(),
            exception: Exception::new("System.Management.Automation.PSArgumentException", message.as_ref()),
            id: qualified(id, cmdlet).into(),
            ..Self::runtime(id, "")
        }
    }

    pub fn not_found(name: &str) -> Self {
        let message = format!(
            "The term '{name}' is not recognized as the name of a cmdlet, function, script file, or operable program. Check the \
             spelling of the name, or if a path was included, verify that the path is correct and try again."
        );
        Self {
            category: "ObjectNotFound".into(),
            target: Some(Box::new(Value::text(name))),
            exception: Exception::new("System.Management.Automation.CommandNotFoundException", &message),
            ..Self::runtime("CommandNotFoundException", "")
        }
    }

    /// Of a parser.
    pub fn parsing(error: &crate::parse::ParseError) -> Self {
        Self {
            category: "ParserError".into(),
            exception: Exception::new(
                "System.Management.Automation.ParentContainsErrorRecordException",
                &error.message,
            ),
            position: RefCell::new(Some(error.position.clone())),
            ends_script: true,
            ..Self::runtime(error.id, "")
        }
    }

    pub fn of_type(self, exception: &str) -> Self {
        let message = self.exception.message.clone();
        Self { exception: Exception::new(exception, &message), ..self }
    }

    /// What the language throws inside its own exception, and catches by both types.
    pub fn of_inner_type(self, exception: &str) -> Self {
        let message = self.exception.message.clone();
        let inner = Some(Exception::new(exception, &message));
        let type_name = self.exception.type_name.clone();
        Self { exception: Rc::new(Exception { type_name, message, inner }), ..self }
    }

    pub fn in_category(self, category: &str) -> Self {
        Self { category: category.into(), ..self }
    }

    pub fn about(self, target: Value) -> Self {
        Self { target: Some(Box::new(target)), ..self }
    }

    /// Says where it was, unless somebody knows better.
    pub fn at(self, position: Option<Position>) -> Self {
        {
            let mut own = self.position.borrow_mut();
            if own.is_none() {
                *own = position;
            }
        }
        self
    }

    pub fn message(&self) -> &str {
        &self.exception.message
    }

    fn target_words(&self) -> (String, String) {
        match &self.target {
            Some(target) if !target.is_null() => (
                crate::types::text(target),
                crate::types::type_name(target).rsplit('.').next().unwrap_or_default().to_owned(),
            ),
            _ => Default::default(),
        }
    }

    /// `InvalidArgument: (nope:String) [Get-VM], VirtualizationException`
    pub fn category_line(&self) -> String {
        let (target, kind) = self.target_words();
        let target = shortened(&target);
        format!("{}: ({target}:{kind}) [{}], {}", self.category, self.activity, self.exception.short_name())
    }

    /// As it is printed.
    pub fn print(&self) -> String {
        let head = match (&self.target, &*self.activity) {
            (Some(target), "") if self.exception.short_name() == "CommandNotFoundException" => {
                format!("{} : ", crate::types::text(target))
            }
            (_, "") => String::new(),
            (_, activity) => format!("{activity} : "),
        };
        let mut text: String = (head + self.message()).lines().map(|line| printable(line) + "\n").collect();
        if let Some(position) = self.position.borrow().as_ref() {
            text += &position_lines(position);
        }
        text + &format!(
            "    + CategoryInfo          : {}\n    + FullyQualifiedErrorId : {}\n",
            printable(&self.category_line()),
            printable(&self.id)
        )
    }
}

/// A long target is cut in the middle.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    let count = text.chars().count();
    if count <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST / 2 - 2).collect();
    let end: String = text.chars().skip(count - (LONGEST / 2 - 1)).collect();
    format!("{start}...{end}")
}

pub fn qualified(id: &str, cmdlet: &str) -> String {
    format!("{id},Microsoft.PowerShell.Commands.{}Command", cmdlet.replace('-', ""))
}

/// `At line:1 char:3` with the line and what of it is meant.
pub fn position_lines(position: &Position) -> String {
    let path = &position.source.path;
    let at = if path.is_empty() { "At line".to_owned() } else { format!("At {}", printable(path)) };
    let (line, column) = (position.line(), position.column());
    let text = position.line_text();
    // Of a very long line, only where it is.
    let (shown, before) = if text.chars().count() > 400 {
        let from = column.saturating_sub(100).max(1);
        (text.chars().skip(from - 1).take(300).collect(), column - from)
    } else {
        (text.to_owned(), column - 1)
    };
    let width = position.width().min(shown.chars().count().saturating_sub(before).max(1));
    format!(
        "{at}:{line} char:{column}\n+ {}\n+ {}{}\n",
        printable(&shown),
        " ".repeat(before),
        "~".repeat(width)
    )
}
