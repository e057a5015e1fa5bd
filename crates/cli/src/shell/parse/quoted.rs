//! Strings, variables, and what stands in strings.

use super::characters::{ends_word, is_double_quote, is_name, is_single_quote};
use super::{ParseError, Parsed, Parser};
use crate::shell::syntax::{Block, Expression, Part};
use ireko_manage::Value;
use std::rc::Rc;

/// Text that grows, with expressions in between.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn push(&mut self, c: char) {
        match self.0.last_mut() {
            Some(Part::Plain(text)) => text.push(c),
            _ => self.0.push(Part::Plain(c.to_string())),
        }
    }
    fn put(&mut self, expression: Expression) {
        self.0.push(Part::Put(expression));
    }
    fn extend(&mut self, parts: Vec<Part>) {
        self.0.extend(parts);
    }
    fn expression(self) -> Expression {
        match self.0.as_slice() {
            [] => Expression::Literal(Value::text("")),
            [Part::Plain(text)] => Expression::Literal(Value::text(text.as_str())),
            _ => Expression::Text(self.0),
        }
    }
}

impl Parser {
    /// At an opening quote.
    pub fn string(&mut self) -> Parsed<Expression> {
        match self.next() {
            Some(c) if is_single_quote(c) => self.verbatim(),
            _ => self.expandable(),
        }
    }

    fn verbatim(&mut self) -> Parsed<Expression> {
        let mut text = String::new();
        while let Some(c) = self.next() {
            if !is_single_quote(c) {
                text.push(c);
            } else if self.peek().is_some_and(is_single_quote) {
                self.at += 1;
                text.push(c);
            } else {
                return Ok(Expression::Literal(Value::Text(text)));
            }
        }
        Err(self.unterminated('\''))
    }

    fn expandable(&mut self) -> Parsed<Expression> {
        let mut parts = Parts::default();
        while let Some(c) = self.peek() {
            if !is_double_quote(c) {
                self.part(&mut parts)?;
                continue;
            }
            self.at += 1;
            if !self.peek().is_some_and(is_double_quote) {
                return Ok(parts.expression());
            }
            self.at += 1;
            parts.push(c);
        }
        Err(self.unterminated('"'))
    }

    fn unterminated(&self, quote: char) -> ParseError {
        self.incomplete(&format!("The string is missing the terminator: {quote}."))
    }

    /// One character, escape or expression of a text.
    fn part(&mut self, parts: &mut Parts) -> Parsed<()> {
        if self.starts_variable() {
            let expression = self.variable()?;
            parts.put(expression);
            return Ok(());
        }
        match self.next() {
            Some('`') => match self.escape()? {
                Some(c) => parts.push(c),
                None => return Err(self.incomplete("The text ends with a backtick.")),
            },
            Some(c) => parts.push(c),
            None => {}
        }
        Ok(())
    }

    /// After a backtick.
    fn escape(&mut self) -> Parsed<Option<char>> {
        let Some(c) = self.next() else { return Ok(None) };
        Ok(Some(match c {
            '0' => '\0',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'e' => '\u{1b}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'u' if self.peek() == Some('{') => {
                self.at += 1;
                let digits = self.take(|c| c.is_ascii_hexdigit());
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                match code.filter(|_| self.eat('}')) {
                    Some(c) => c,
                    None => return Err(self.error("The Unicode escape sequence is not valid.".into())),
                }
            }
            other => other,
        }))
    }

    /// `@"` or `@'` up to a line that begins with the same kind of quote and `@`.
    pub fn here_string(&mut self) -> Parsed<Expression> {
        let single = self.ahead(1).is_some_and(is_single_quote);
        let ends = |c: char| if single { is_single_quote(c) } else { is_double_quote(c) };
        self.at += 2;
        self.take(|c| c != '\n' && c.is_whitespace());
        if self.peek().is_some_and(|c| c != '\n') {
            return Err(self
                .error("No characters are allowed after a here-string header before the line ends.".into()));
        }
        self.next();
        let mut parts = Parts::default();
        loop {
            let line_start = self.at == 0 || self.text.get(self.at - 1) == Some(&'\n');
            if line_start && self.peek().is_some_and(ends) && self.ahead(1) == Some('@') {
                self.at += 2;
                return Ok(without_last_line_end(parts).expression());
            }
            match self.peek() {
                None => return Err(self.unterminated(if single { '\'' } else { '"' })),
                Some(c) if single || c == '\n' => {
                    self.at += 1;
                    parts.push(c);
                }
                Some(_) => self.part(&mut parts)?,
            }
        }
    }

    /// Whether a variable or `$(` stands here; a lone `$` is text.
    pub fn starts_variable(&self) -> bool {
        self.peek() == Some('$')
            && self.ahead(1).is_some_and(|c| is_name(c) || matches!(c, '{' | '(' | '?' | '$' | '^'))
    }

    /// `$name`, `${any name}`, `$env:NAME`, `$( … )`.
    pub fn variable(&mut self) -> Parsed<Expression> {
        self.at += 1;
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let block = self.deeper(|parser| parser.block(Some(')')))?;
                Ok(Expression::Sub(Rc::new(block)))
            }
            Some('{') => {
                self.at += 1;
                let name = self.take(|c| c != '}');
                if self.eat('}') {
                    return Ok(Expression::Variable(name));
                }
                Err(self.incomplete("The closing brace of the variable's name is missing."))
            }
            Some(c @ ('?' | '$' | '^')) => {
                self.at += 1;
                Ok(Expression::Variable(c.to_string()))
            }
            _ => {
                let mut name = self.take(is_name);
                if self.peek() == Some(':') && self.ahead(1).is_some_and(is_name) {
                    self.at += 1;
                    name = name + ":" + &self.take(is_name);
                }
                Ok(Expression::Variable(name))
            }
        }
    }

    /// A bare argument; `first` is what stands before it without a blank.
    pub fn word(&mut self, first: Option<Expression>) -> Parsed<Expression> {
        let (from, mut parts, mut plain) = (self.at, Parts::default(), first.is_none());
        if let Some(first) = first {
            parts.put(first);
        }
        while let Some(c) = self.peek().filter(|&c| !ends_word(c)) {
            if is_single_quote(c) || is_double_quote(c) {
                plain = false;
                match self.string()? {
                    Expression::Literal(Value::Text(text)) => parts.extend(vec![Part::Plain(text)]),
                    Expression::Text(inner) => parts.extend(inner),
                    other => parts.put(other),
                }
                continue;
            }
            plain &= c != '`' && c != '$';
            if c == '`' && matches!(self.ahead(1), Some('\n' | '\r')) {
                break;
            }
            self.part(&mut parts)?;
        }
        let typed = self.slice(from);
        match super::number(&typed).filter(|_| plain) {
            Some(value) => Ok(Expression::Written(value, typed.into())),
            None => Ok(parts.joined().expression()),
        }
    }

    pub fn block_literal(&mut self) -> Parsed<Rc<Block>> {
        self.at += 1;
        Ok(Rc::new(self.deeper(|parser| parser.block(Some('}')))?))
    }
}

impl Parts {
    /// Neighbouring plain parts become one.
    fn joined(self) -> Self {
        let mut joined = Self::default();
        for part in self.0 {
            match part {
                Part::Plain(text) if text.is_empty() => {}
                Part::Plain(text) => text.chars().for_each(|c| joined.push(c)),
                put => joined.0.push(put),
            }
        }
        joined
    }
}

fn without_last_line_end(mut parts: Parts) -> Parts {
    if let Some(Part::Plain(text)) = parts.0.last_mut() {
        if text.ends_with('\n') {
            text.pop();
        }
        if text.ends_with('\r') {
            text.pop();
        }
    }
    parts
}
