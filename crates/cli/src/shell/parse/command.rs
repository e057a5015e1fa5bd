//! Pipelines, commands and their arguments.

use super::characters::{ends_word, is_dash, is_double_quote, is_single_quote};
use super::{Parsed, Parser};
use crate::shell::syntax::{Argument, Command, Element, Expression, Name, Pipeline, Redirection, Stream};
use ireko_manage::Value;

impl Parser {
    /// What stands from here to the end of the statement; `first` has been read already.
    pub fn pipeline(&mut self, first: Option<Expression>) -> Parsed<Pipeline> {
        let mut elements = Vec::new();
        match first {
            Some(expression) => {
                let redirections = self.redirections()?;
                elements.push(Element::Expression(expression, redirections));
            }
            None => elements.push(self.element()?),
        }
        while self.pipe()? {
            self.lines()?;
            if self.peek().is_none() {
                return Err(self.incomplete("An empty pipe element is not allowed."));
            }
            if self.starts_expression() {
                return Err(
                    self.error("Expressions are only allowed as the first element of a pipeline.".into())
                );
            }
            elements.push(self.element()?);
        }
        Ok(Pipeline { elements })
    }

    /// Takes a `|`, also at the beginning of the next line.
    fn pipe(&mut self) -> Parsed<bool> {
        self.blanks()?;
        let before = self.at;
        if self.peek() == Some('\n') {
            self.lines()?;
            if self.peek() != Some('|') {
                self.at = before;
                return Ok(false);
            }
        }
        let two = |a, b| self.peek() == Some(a) && self.ahead(1) == Some(b);
        for (a, b) in [('|', '|'), ('&', '&')] {
            if two(a, b) {
                return Err(
                    self.error(format!("The token '{a}{b}' is not a valid statement separator here."))
                );
            }
        }
        Ok(self.eat('|'))
    }

    fn element(&mut self) -> Parsed<Element> {
        if self.starts_expression() {
            let expression = self.expression()?;
            return Ok(Element::Expression(expression, self.redirections()?));
        }
        self.command().map(Element::Command)
    }

    pub fn starts_expression(&self) -> bool {
        match self.peek() {
            Some('$' | '(' | '@' | '[' | '{' | '!' | ',' | '+') => true,
            Some('.') => self.ahead(1).is_some_and(|c| c.is_ascii_digit()),
            Some(c) => c.is_ascii_digit() || is_dash(c) || is_double_quote(c) || is_single_quote(c),
            None => false,
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let from = self.at;
        let name = self.command_name()?;
        let (mut arguments, mut redirections) = (Vec::new(), Vec::new());
        let mut end = self.at;
        loop {
            self.blanks()?;
            redirections.extend(self.redirections()?);
            match self.peek() {
                None | Some('\n' | ';' | '|' | ')' | '}') => break,
                Some('&') if self.ahead(1) == Some('&') => break,
                Some('&') => {
                    return Err(self.error(
                        "The ampersand (&) character is not allowed here; wrap it in double quotation marks."
                            .into(),
                    ));
                }
                Some(_) => arguments.push(self.argument()?),
            }
            end = self.at;
        }
        Ok(Command { name, arguments, redirections, place: self.place(from, end) })
    }

    fn command_name(&mut self) -> Parsed<Name> {
        let called = self.peek() == Some('&')
            || (self.peek() == Some('.') && self.ahead(1).is_some_and(char::is_whitespace));
        if called {
            self.at += 1;
            self.blanks()?;
            return match self.peek() {
                None => Err(self.incomplete("Something to call is missing after '&'.")),
                Some(_) => self.value().map(Name::Called),
            };
        }
        match self.word(None)? {
            Expression::Literal(Value::Text(word)) if !word.is_empty() => Ok(Name::Word(word)),
            Expression::Written(_, word) => Ok(Name::Word(word.to_string())),
            _ => Err(self.unexpected()),
        }
    }

    fn argument(&mut self) -> Parsed<Argument> {
        if let Some(named) = self.named()? {
            return Ok(named);
        }
        let splat = self.peek() == Some('@') && self.ahead(1).is_some_and(super::characters::is_name);
        if splat {
            self.at += 1;
            return Ok(Argument::Splat(self.take(super::characters::is_name)));
        }
        self.values().map(Argument::Value)
    }

    /// `-Name`, `-Name:value`.
    fn named(&mut self) -> Parsed<Option<Argument>> {
        let begins = self.peek().is_some_and(is_dash)
            && self.ahead(1).is_some_and(|c| c.is_alphabetic() || matches!(c, '_' | '?'));
        if !begins {
            return Ok(None);
        }
        let from = self.at;
        self.at += 1;
        let name = self.take(|c| !ends_word(c) && c != ':' && !is_double_quote(c) && !is_single_quote(c));
        let typed = self.slice(from);
        let value = if self.eat(':') {
            self.blanks()?;
            Some(self.values()?)
        } else {
            None
        };
        Ok(Some(Argument::Named { name, value, typed }))
    }

    /// One value or several with commas.
    fn values(&mut self) -> Parsed<Expression> {
        self.with_commas(Self::value)
    }

    fn value(&mut self) -> Parsed<Expression> {
        match self.peek() {
            None => Err(self.incomplete("A value is missing at the end.")),
            Some('$') if self.starts_variable() => {
                let expression = self.postfixed()?;
                match self.peek() {
                    Some(c) if !ends_word(c) => self.word(Some(expression)),
                    _ => Ok(expression),
                }
            }
            Some('(' | '{') => self.postfixed(),
            Some('@') if self.starts_at_literal() => self.postfixed(),
            Some(c) if is_single_quote(c) || is_double_quote(c) => self.postfixed(),
            Some(c) if ends_word(c) => Err(self.unexpected()),
            Some(_) => {
                let from = self.at;
                let word = self.word(None)?;
                // Nothing may be a value without taking something.
                if self.at == from { Err(self.unexpected()) } else { Ok(word) }
            }
        }
    }

    pub fn redirections(&mut self) -> Parsed<Vec<Redirection>> {
        let mut found = Vec::new();
        loop {
            self.blanks()?;
            let stream = match (self.peek(), self.ahead(1)) {
                (Some('>'), _) => Stream::Output,
                (Some('1'), Some('>')) => Stream::Output,
                (Some('2'), Some('>')) => Stream::Error,
                (Some('3'), Some('>')) => Stream::Warning,
                (Some('4'..='6'), Some('>')) => Stream::Other,
                (Some('*'), Some('>')) => Stream::All,
                (Some('<'), Some(c)) if c != '#' => {
                    return Err(self.error("The '<' operator is reserved for future use.".into()));
                }
                _ => return Ok(found),
            };
            self.take(|c| c != '>');
            self.at += 1;
            found.push(self.redirection(stream)?);
        }
    }

    fn redirection(&mut self, stream: Stream) -> Parsed<Redirection> {
        let append = self.eat('>');
        self.blanks()?;
        let target = if self.peek() == Some('&') && self.ahead(1) == Some('1') {
            self.at += 2;
            None
        } else {
            Some(self.value()?)
        };
        Ok(Redirection { stream, append, target })
    }
}
