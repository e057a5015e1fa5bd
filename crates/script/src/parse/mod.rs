//! Text into statements. One pass over the characters: what a character means depends on whether a command's arguments or an
//! expression stand there (language specification 2.3 and 8.2), so there is no tokenizer of its own.

mod command;
mod expression;
mod keyword;
mod literal;
mod number;
mod quoted;
mod script_block;
mod statement;
#[cfg(test)]
mod tests;
mod type_name;

pub use number::number;

use crate::characters::is_space;
use crate::source::{Extent, Position, Source};
use crate::syntax::ScriptBlock;
use std::rc::Rc;

/// Brackets within brackets. Each is several frames of our own stack.
const DEEPEST: usize = 300;

/// What is wrong with a text, and where.
#[derive(Clone, Debug)]
pub struct ParseError {
    pub message: String,
    pub id: &'static str,
    pub position: Position,
    /// More text may put it right.
    pub incomplete: bool,
}

/// A script, named for messages.
pub fn script(text: &str, path: &str) -> Result<Rc<ScriptBlock>, ParseError> {
    let source = Source::new(path, text);
    let mut parser = Parser::new(&source);
    let parsed = match source.text.find('\0') {
        Some(at) => {
            Err(Wrong::new("The script has a NUL character, which no script has.", "NulCharacter", at))
        }
        None => parser.whole_script(),
    };
    parsed.map(Rc::new).map_err(|wrong| (*wrong).into_error(&source))
}

/// A type's name between brackets, and nothing else.
pub fn type_name(source: &Rc<Source>) -> Option<crate::syntax::TypeName> {
    let mut parser = Parser::new(source);
    match parser.bracketed() {
        Ok(type_name::Bracketed::Type(name)) if parser.rest().is_empty() => Some(name),
        _ => None,
    }
}

/// An error while it is on its way.
#[derive(Debug)]
pub struct Wrong {
    message: String,
    id: &'static str,
    extent: Extent,
    incomplete: bool,
}

impl Wrong {
    fn new(message: impl Into<String>, id: &'static str, at: usize) -> Box<Self> {
        let extent = Extent { start: at as u32, end: at as u32 + 1 };
        Box::new(Self { message: message.into(), id, extent, incomplete: false })
    }

    fn into_error(self, source: &Rc<Source>) -> ParseError {
        let end = source.text.len() as u32;
        let mut extent = Extent { start: self.extent.start.min(end), end: self.extent.end.min(end) };
        // Underlined on the last line that there is.
        while extent.start > 0 && extent.start as usize == source.text.len() && source.text.ends_with('\n') {
            let cut = source.text[..extent.start as usize].trim_end_matches(['\n', '\r']).len() as u32;
            extent = Extent { start: cut, end: cut };
            if cut == 0 || !source.text[..cut as usize].ends_with('\n') {
                break;
            }
        }
        ParseError {
            message: self.message,
            id: self.id,
            position: Position { source: source.clone(), extent },
            incomplete: self.incomplete,
        }
    }
}

pub type Parsed<T> = Result<T, Box<Wrong>>;

pub struct Parser<'a> {
    source: &'a Rc<Source>,
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub fn new(source: &'a Rc<Source>) -> Self {
        Self { source, text: &source.text, at: 0, depth: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Takes the text if it is next.
    fn eat(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn extent_from(&self, start: usize) -> Extent {
        Extent { start: start as u32, end: self.at as u32 }
    }

    /// Spaces, comments and continued lines; with `lines`, ends of lines as well.
    fn skip(&mut self, lines: bool) -> Parsed<()> {
        loop {
            match self.peek() {
                Some(c) if is_space(c) => self.at += c.len_utf8(),
                Some('\n' | '\r') if lines => self.at += 1,
                Some('`') => {
                    let rest = &self.rest()[1..];
                    let length =
                        ["\r\n", "\n", "\r"].into_iter().find(|end| rest.starts_with(end)).map(str::len);
                    match length {
                        Some(length) => self.at += 1 + length,
                        None if rest.is_empty() => return Err(self.unfinished("IncompleteString")),
                        None => return Ok(()),
                    }
                }
                Some('#') => {
                    self.take_while(|c| c != '\n' && c != '\r');
                }
                Some('<') if self.rest().starts_with("<#") => match self.rest()[2..].find("#>") {
                    Some(length) => self.at += length + 4,
                    None => {
                        let message = "The terminator '#>' is missing from the multiline comment.";
                        return Err(self.incomplete(message, "TerminatorExpectedAtEndOfMultilineComment"));
                    }
                },
                _ => return Ok(()),
            }
        }
    }

    fn spaces(&mut self) -> Parsed<()> {
        self.skip(false)
    }

    fn lines(&mut self) -> Parsed<()> {
        self.skip(true)
    }

    /// Ends of lines and semicolons.
    fn separators(&mut self) -> Parsed<()> {
        loop {
            self.lines()?;
            if !self.eat(";") {
                return Ok(());
            }
        }
    }

    fn wrong<T>(&self, message: impl Into<String>, id: &'static str) -> Parsed<T> {
        Err(self.error(message, id))
    }

    fn error(&self, message: impl Into<String>, id: &'static str) -> Box<Wrong> {
        Wrong::new(message, id, self.at)
    }

    fn incomplete(&self, message: impl Into<String>, id: &'static str) -> Box<Wrong> {
        let mut wrong = Wrong::new(message, id, self.text.len());
        wrong.incomplete = true;
        wrong
    }

    fn unfinished(&self, id: &'static str) -> Box<Wrong> {
        self.incomplete("The text ends before what it begins is finished.", id)
    }

    /// What is not expected here; at the end of the text, more may come.
    fn unexpected<T>(&self, wanted: &str) -> Parsed<T> {
        if self.rest().is_empty() {
            return Err(self.incomplete(format!("Missing {wanted} at the end of the text."), "MissingToken"));
        }
        let token = self.token_here();
        self.wrong(format!("Unexpected token '{token}': expected {wanted}."), "UnexpectedToken")
    }

    /// What stands here, for a message.
    fn token_here(&self) -> String {
        let rest = self.rest();
        let word: String =
            rest.chars().take_while(|c| c.is_alphanumeric() || "-_.$'\"".contains(*c)).take(40).collect();
        if !word.is_empty() {
            return word;
        }
        match rest.chars().next() {
            Some('\n' | '\r') => "end of line".into(),
            Some(c) if rest.starts_with(&format!("{c}{c}")) && "&|:+-".contains(c) => format!("{c}{c}"),
            Some(c) => c.to_string(),
            None => "end of text".into(),
        }
    }

    fn expect(&mut self, text: &str, id: &'static str) -> Parsed<()> {
        if self.eat(text) {
            return Ok(());
        }
        if self.rest().is_empty() {
            return Err(self.incomplete(format!("Missing closing '{text}'."), id));
        }
        let token = self.token_here();
        self.wrong(format!("Unexpected token '{token}' in expression or statement: missing '{text}'."), id)
    }

    /// One bracket deeper.
    fn nested<T>(&mut self, body: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEEPEST {
            return self.wrong(
                format!("The script nests too deeply here: more than {DEEPEST} brackets or operators stand within each other."),
                "ScriptTooComplicated",
            );
        }
        self.depth += 1;
        let result = body(self);
        self.depth -= 1;
        result
    }
}
