//! From text to statements: PowerShell's grammar as far as administrators use it at a prompt (reference: 2.0).
//!
//! There is no separate list of tokens: what a character means depends on whether an argument or an expression stands
//! there. Start reading at [`script`].

mod characters;
mod command;
mod expression;
mod quoted;
mod statement;
#[cfg(test)]
mod tests;

pub use characters::{is_dash, is_double_quote, is_single_quote, number};

use super::syntax::{Block, Position};
use std::rc::Rc;

/// Why text is no script.
#[derive(Clone, Debug, PartialEq)]
pub struct ParseError {
    pub message: String,
    pub place: Position,
    /// More text could make it one.
    pub incomplete: bool,
}

type Parsed<T> = Result<T, ParseError>;

/// How deep brackets nest at most.
const DEEPEST: usize = 100;

/// A whole script.
pub fn script(text: &str) -> Parsed<Block> {
    let mut parser = Parser { text: text.chars().collect(), at: 0, depth: 0, commas: true };
    let block = parser.block(None)?;
    match parser.peek() {
        None => Ok(block),
        Some(_) => Err(parser.unexpected()),
    }
}

struct Parser {
    text: Vec<char>,
    at: usize,
    depth: usize,
    /// Whether a comma makes a list; in a method's arguments it parts them.
    commas: bool,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }
    fn ahead(&self, by: usize) -> Option<char> {
        self.text.get(self.at + by).copied()
    }
    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }
    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }
    /// Takes characters while they are `fit`.
    fn take(&mut self, fit: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while self.peek().is_some_and(&fit) {
            self.at += 1;
        }
        self.text[from..self.at].iter().collect()
    }
    fn slice(&self, from: usize) -> String {
        self.text[from..self.at].iter().collect()
    }

    /// Goes into a bracket.
    fn deeper<T>(&mut self, body: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEEPEST {
            return Err(self.error(format!("Brackets nest deeper than {DEEPEST} levels; use variables.")));
        }
        let commas = std::mem::replace(&mut self.commas, true);
        self.depth += 1;
        let result = body(self);
        self.depth -= 1;
        self.commas = commas;
        result
    }

    /// Blanks, comments, and line ends after a backtick.
    fn blanks(&mut self) -> Parsed<()> {
        loop {
            match (self.peek(), self.ahead(1)) {
                (Some('\n'), _) => return Ok(()),
                (Some(c), _) if c.is_whitespace() || c == '\u{feff}' => self.at += 1,
                (Some('`'), Some('\n')) => self.at += 2,
                (Some('`'), Some('\r')) if self.ahead(2) == Some('\n') => self.at += 3,
                // A line may end with a carriage return alone.
                (Some('`'), Some('\r')) => self.at += 2,
                (Some('`'), None) => {
                    return Err(self.incomplete("The line ends with a backtick and nothing follows."));
                }
                (Some('#'), _) => drop(self.take(|c| c != '\n')),
                (Some('<'), Some('#')) => self.long_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn long_comment(&mut self) -> Parsed<()> {
        self.at += 2;
        while let Some(c) = self.next() {
            if c == '#' && self.eat('>') {
                return Ok(());
            }
        }
        Err(self.incomplete("The terminator '#>' is missing from the multiline comment."))
    }

    /// Blanks and line ends.
    fn lines(&mut self) -> Parsed<()> {
        self.blanks()?;
        while self.eat('\n') {
            self.blanks()?;
        }
        Ok(())
    }

    fn expect(&mut self, wanted: char) -> Parsed<()> {
        self.lines()?;
        if self.eat(wanted) {
            return Ok(());
        }
        Err(match self.peek() {
            None => self.incomplete(&format!("Missing closing '{wanted}' in expression.")),
            Some(_) => self.unexpected(),
        })
    }

    fn place(&self, from: usize, to: usize) -> Position {
        let from = from.min(self.text.len());
        let start = self.text[..from].iter().rposition(|&c| c == '\n').map_or(0, |at| at + 1);
        let end = self.text[from..].iter().position(|&c| c == '\n').map_or(self.text.len(), |at| from + at);
        let line: String = self.text[start..end].iter().collect();
        Position {
            line: self.text[..start].iter().filter(|&&c| c == '\n').count() + 1,
            column: from - start + 1,
            text: Rc::from(line.trim_end()),
            length: to.min(end).saturating_sub(from).max(1),
        }
    }

    fn error(&self, message: String) -> ParseError {
        ParseError { message, place: self.place(self.at, self.at + 1), incomplete: false }
    }
    fn incomplete(&self, message: &str) -> ParseError {
        ParseError { incomplete: true, ..self.error(message.to_owned()) }
    }
    fn unexpected(&self) -> ParseError {
        if self.peek().is_none() {
            return self.incomplete("Something is missing at the end.");
        }
        let ends = |c: &char| c.is_whitespace() || matches!(c, ';' | '|' | ')' | '}');
        let rest = &self.text[self.at..];
        let length = rest.iter().position(ends).unwrap_or(rest.len()).clamp(1, 40);
        let token: String = rest[..length].iter().collect();
        self.error(format!("Unexpected token '{token}' in expression or statement."))
    }
}
