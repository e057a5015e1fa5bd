//! Strings: verbatim, expandable, and both kinds over several lines (language specification 2.3.5.2).

use super::{Parsed, Parser};
use crate::characters::{is_double_quote, is_name, is_single_quote};
use crate::syntax::{Expression, ExpressionKind, Part, Variable};
use crate::value::Value;
use std::rc::Rc;

/// Where an expandable string ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Quote,
    /// A quote and `@` at the beginning of a line.
    Here,
}

const ESCAPES: [(char, char); 10] = [
    ('0', '\0'),
    ('a', '\u{7}'),
    ('b', '\u{8}'),
    ('e', '\u{1b}'),
    ('f', '\u{c}'),
    ('n', '\n'),
    ('r', '\r'),
    ('t', '\t'),
    ('v', '\u{b}'),
    ('\n', '\n'),
];

impl Parser<'_> {
    /// At an opening quote of any kind.
    pub(super) fn quoted(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let kind = match self.next() {
            Some(c) if is_single_quote(c) => ExpressionKind::Literal(Value::text(&self.verbatim()?)),
            _ => simplified(self.expandable(End::Quote)?),
        };
        Ok(Expression { kind, extent: self.extent_from(start) })
    }

    fn unterminated(&self, mark: &str) -> Box<super::Wrong> {
        self.incomplete(
            format!("The string is missing the terminator: {mark}."),
            "TerminatorExpectedAtEndOfString",
        )
    }

    /// Behind the opening quote.
    fn verbatim(&mut self) -> Parsed<String> {
        let mut text = String::new();
        loop {
            text += self.take_while(|c| !is_single_quote(c));
            if self.next().is_none() {
                return Err(self.unterminated("'"));
            }
            match self.peek() {
                Some(c) if is_single_quote(c) => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
                _ => return Ok(text),
            }
        }
    }

    /// At `@` and a quote.
    pub(super) fn here_string(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.at += 1;
        let single = self.next().is_some_and(is_single_quote);
        self.take_while(|c| c == ' ' || c == '\t');
        if self.rest().is_empty() {
            return Err(self.unterminated(if single { "'@" } else { "\"@" }));
        }
        if !(self.eat("\r\n") || self.eat("\n") || self.eat("\r")) {
            let message =
                "No characters are allowed after a here-string header but before the end of the line.";
            return self.wrong(message, "UnexpectedCharactersAfterHereStringHeader");
        }
        let kind = if single {
            ExpressionKind::Literal(Value::text(&self.verbatim_lines()?))
        } else {
            simplified(self.expandable(End::Here)?)
        };
        Ok(Expression { kind, extent: self.extent_from(start) })
    }

    fn verbatim_lines(&mut self) -> Parsed<String> {
        let start = self.at;
        loop {
            let line_end = self.at;
            if self.at_here_end(is_single_quote) {
                let text = &self.text[start..line_end];
                self.leave_here();
                return Ok(without_last_line_end(text).to_owned());
            }
            self.take_while(|c| c != '\n');
            if self.next().is_none() {
                return Err(self.unterminated("'@"));
            }
        }
    }

    /// At the beginning of a line that closes a here-string.
    fn at_here_end(&self, is_quote: fn(char) -> bool) -> bool {
        let mut rest = self.rest().chars();
        rest.next().is_some_and(is_quote) && rest.next() == Some('@')
    }

    fn leave_here(&mut self) {
        self.next();
        self.at += 1;
    }

    fn expandable(&mut self, end: End) -> Parsed<Vec<Part>> {
        let mut parts = Vec::new();
        let mut text = String::new();
        if end == End::Here && self.at_here_end(is_double_quote) {
            self.leave_here();
            return Ok(parts);
        }
        loop {
            let Some(c) = self.next() else {
                return Err(self.unterminated(if end == End::Here { "\"@" } else { "\"" }));
            };
            match c {
                '`' => self.escape(&mut text)?,
                '$' => match self.expansion()? {
                    Some(expression) => {
                        if !text.is_empty() {
                            parts.push(Part::Plain(std::mem::take(&mut text).into()));
                        }
                        parts.push(Part::Put(expression));
                    }
                    None => text.push('$'),
                },
                '\n' if end == End::Here && self.at_here_end(is_double_quote) => {
                    self.leave_here();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                    break;
                }
                c if end == End::Quote && is_double_quote(c) => match self.peek() {
                    Some(again) if is_double_quote(again) => {
                        text.push(again);
                        self.at += again.len_utf8();
                    }
                    _ => break,
                },
                c => text.push(c),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Plain(text.into()));
        }
        Ok(parts)
    }

    /// Behind a backtick.
    pub(super) fn escape(&mut self, text: &mut String) -> Parsed<()> {
        let Some(c) = self.next() else { return Err(self.unterminated("\"")) };
        if c == 'u' && self.rest().starts_with('{') {
            let code = self.rest()[1..].split_once('}').map(|(code, _)| code).filter(|code| code.len() <= 6);
            let found = code
                .and_then(|code| Some((code.len(), char::from_u32(u32::from_str_radix(code, 16).ok()?)?)));
            let Some((length, c)) = found else {
                return self.wrong(
                    "The Unicode escape sequence is not valid: `u{10FFFF} is the greatest.",
                    "InvalidUnicodeEscapeSequence",
                );
            };
            self.at += length + 2;
            text.push(c);
            return Ok(());
        }
        if c == '\r' {
            self.eat("\n");
            return Ok(());
        }
        text.push(ESCAPES.iter().find(|(from, _)| *from == c).map_or(c, |(_, to)| *to));
        Ok(())
    }

    /// Behind a `$` in a string: a variable or a sub-expression, or nothing of the kind.
    fn expansion(&mut self) -> Parsed<Option<Expression>> {
        let start = self.at - 1;
        if self.peek() == Some('(') {
            self.at = start;
            return self.sub_expression().map(Some);
        }
        match self.variable_name(true)? {
            Some(variable) => Ok(Some(Expression {
                kind: ExpressionKind::Variable(variable),
                extent: self.extent_from(start),
            })),
            None => {
                self.at = start + 1;
                Ok(None)
            }
        }
    }

    /// Behind a `$`: `{anything}`, `scope:name`, `?`, `$`, `^`. `in_text`: a colon with no name behind it is the text's.
    pub(super) fn variable_name(&mut self, in_text: bool) -> Parsed<Option<Variable>> {
        let start = self.at;
        if self.eat("{") {
            let mut name = String::new();
            loop {
                match self.next() {
                    Some('}') => break,
                    Some('`') => self.escape(&mut name)?,
                    Some(c) => name.push(c),
                    None => {
                        return Err(self.incomplete(
                            "The variable's name is missing its '}'.",
                            "IncompleteDollarVariableReference",
                        ));
                    }
                }
            }
            return Ok(Some(variable(&name)));
        }
        if let Some(c @ ('?' | '$' | '^')) = self.peek() {
            self.at += 1;
            return Ok(Some(variable(&c.to_string())));
        }
        let mut name = self.take_while(is_name).to_owned();
        if self.peek() == Some(':')
            && self.peek_second().is_some_and(|c| is_name(c) || (!in_text && c == '\\'))
            && !name.is_empty()
        {
            self.at += 1;
            name.push(':');
            name += self.take_while(is_name);
        } else if self.peek() == Some(':') && self.peek_second() != Some(':') && in_text && !name.is_empty() {
            self.at = start;
            return Err(self.error(
                format!("Variable reference is not valid. ':' was not followed by a valid variable name character. Consider using ${{{name}}} to delimit the name."),
                "InvalidVariableReferenceWithDrive",
            ));
        }
        Ok((!name.is_empty()).then(|| variable(&name)))
    }
}

/// A name with its scope.
pub(super) fn variable(written: &str) -> Variable {
    let lower = written.to_lowercase();
    let (scope, name) = match lower.split_once(':') {
        Some((scope, name)) if !scope.is_empty() && !name.is_empty() => (Some(scope.into()), name.into()),
        _ => (None, lower.as_str().into()),
    };
    Variable { scope, name, written: written.into() }
}

fn without_last_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Without anything to put in it is plain text.
fn simplified(mut parts: Vec<Part>) -> ExpressionKind {
    match parts.as_slice() {
        [] => ExpressionKind::Literal(Value::text("")),
        [Part::Plain(_)] => match parts.remove(0) {
            Part::Plain(text) => ExpressionKind::Literal(Value::Text(text)),
            Part::Put(expression) => ExpressionKind::Text(vec![Part::Put(expression)]),
        },
        _ => ExpressionKind::Text(parts),
    }
}

pub(super) fn text_expression(text: &str, extent: crate::source::Extent) -> Expression {
    Expression { kind: ExpressionKind::Literal(Value::Text(Rc::from(text))), extent }
}
