//! Commands with their arguments, where a word needs no quotes (language specification 8.2 and 2.3.5.2; about_Parsing).

use super::literal::Literal;
use super::quoted::text_expression;
use super::{Parsed, Parser, number};
use crate::characters::{is_dash, is_double_quote, is_name, is_single_quote};
use crate::syntax::{
    Argument, Command, Expression, ExpressionKind, Invocation, Part, Redirection, Stream, Target, Word,
};
use crate::value::Value;
use std::rc::Rc;

/// What ends a word.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, ';' | '|' | '&' | '(' | ')' | '{' | '}' | ',' | '<' | '>')
}

impl Parser<'_> {
    pub(super) fn command(&mut self) -> Parsed<Command> {
        let start = self.at;
        let invocation = match (self.peek(), self.peek_second()) {
            (Some('&'), second) if second != Some('&') => Invocation::Call,
            (Some('.'), None | Some(' ' | '\t' | '(' | '$' | '{' | '"' | '\'')) => Invocation::Dot,
            _ => Invocation::Plain,
        };
        if invocation != Invocation::Plain {
            self.at += 1;
            self.spaces()?;
        }
        let name = self.command_name(invocation)?;
        let mut arguments = Vec::new();
        let mut redirections = Vec::new();
        let mut end = self.at;
        loop {
            self.spaces()?;
            if let Some(redirection) = self.redirection()? {
                redirections.push(redirection);
            } else {
                match self.peek() {
                    None | Some('\n' | '\r' | ';' | '|' | '&' | ')' | '}') => break,
                    Some('<') => {
                        return self.wrong(
                            "The '<' operator is reserved for future use.",
                            "RedirectionNotSupported",
                        );
                    }
                    _ if self.rest().starts_with("--%") => self.verbatim_arguments(&mut arguments),
                    _ => {
                        let argument = self.argument()?;
                        arguments.push(argument);
                    }
                }
            }
            end = self.at;
        }
        self.at = end;
        Ok(Command { invocation, name, arguments, redirections, extent: self.extent_from(start) })
    }

    fn command_name(&mut self, invocation: Invocation) -> Parsed<Expression> {
        let start = self.at;
        if invocation != Invocation::Plain {
            if let Some('$' | '(' | '{' | '@' | '"' | '\'') = self.peek() {
                return match self.literal()? {
                    Literal::Found(expression) => self.postfix(start, expression),
                    Literal::None => self.unexpected("a command"),
                };
            }
            if self.peek().is_some_and(|c| is_single_quote(c) || is_double_quote(c)) {
                return self.quoted();
            }
        }
        let (parts, _) = self.word_parts()?;
        if parts.is_empty() {
            return self.unexpected("a command");
        }
        Ok(self.joined(start, parts))
    }

    /// After `--%` everything up to the line's end or a pipe stands as it is.
    fn verbatim_arguments(&mut self, arguments: &mut Vec<Argument>) {
        self.at += 3;
        let start = self.at;
        let text = self.take_while(|c| !matches!(c, '\n' | '\r' | '|')).to_owned();
        for word in text.split_whitespace() {
            let expression = text_expression(word, self.extent_from(start));
            arguments.push(Argument::Value(Word { expression, written: None }));
        }
    }

    fn argument(&mut self) -> Parsed<Argument> {
        let start = self.at;
        let second = self.peek_second();
        match self.peek() {
            Some(c) if is_dash(c) && second.is_some_and(|c| c.is_alphabetic() || c == '_' || c == '?') => {
                self.named_argument()
            }
            Some('@') if second.is_some_and(is_name) => {
                self.at += 1;
                match self.variable_name(false)? {
                    Some(variable) => Ok(Argument::Splat(variable)),
                    None => self.unexpected("a variable's name"),
                }
            }
            _ => {
                let word = self.argument_list()?;
                debug_assert!(self.at > start);
                Ok(Argument::Value(word))
            }
        }
    }

    fn named_argument(&mut self) -> Parsed<Argument> {
        let start = self.at;
        self.next();
        let name: Rc<str> = self.take_while(|c| is_name(c) || is_dash(c) || c == '?').into();
        if self.eat(":") {
            let typed = self.text[start..self.at].into();
            self.spaces()?;
            if matches!(self.peek(), None | Some('\n' | '\r')) {
                return Err(self.incomplete(
                    format!("Parameter -{name} requires an argument."),
                    "ParameterRequiresArgument",
                ));
            }
            let value = Some(self.argument_list()?);
            return Ok(Argument::Named { name, value, typed });
        }
        if self.peek().is_none_or(|c| ends_word(c) || is_single_quote(c) || is_double_quote(c) || c == '$') {
            let typed = self.text[start..self.at].into();
            return Ok(Argument::Named { name, value: None, typed });
        }
        // `-a=b` and the like are words for programs.
        self.at = start;
        self.argument_list().map(Argument::Value)
    }

    /// One value, or several with commas between.
    fn argument_list(&mut self) -> Parsed<Word> {
        let start = self.at;
        let first = self.nested(Parser::argument_value)?;
        let mut all = vec![first];
        loop {
            let before = self.at;
            self.spaces()?;
            if !self.eat(",") {
                self.at = before;
                break;
            }
            self.lines()?;
            if self.rest().is_empty() {
                return Err(self.incomplete("Missing argument in parameter list.", "MissingArgument"));
            }
            all.push(self.nested(Parser::argument_value)?);
        }
        if all.len() == 1 {
            return Ok(all.remove(0));
        }
        let written = all.iter().any(|word| word.written.is_some());
        let texts: Vec<&str> = all.iter().map(|word| word.written.as_deref().unwrap_or_default()).collect();
        // Of a list each element's own writing, with a separator that no script has.
        let written = written.then(|| Rc::from(texts.join("\0")));
        let list = all.into_iter().map(|word| word.expression).collect();
        Ok(Word { expression: self.made(start, ExpressionKind::List(list)), written })
    }

    fn argument_value(&mut self) -> Parsed<Word> {
        let start = self.at;
        let plain = |expression| Ok(Word { expression, written: None });
        match self.peek() {
            Some('(' | '{') => self.bracketed_argument(start).and_then(plain),
            Some('@') if matches!(self.peek_second(), Some('(' | '{')) => {
                self.bracketed_argument(start).and_then(plain)
            }
            Some('@') if self.peek_second().is_some_and(|c| is_single_quote(c) || is_double_quote(c)) => {
                self.here_string().and_then(plain)
            }
            Some(c) if is_single_quote(c) || is_double_quote(c) => {
                let text = self.quoted()?;
                self.postfix_of_argument(start, text).and_then(plain)
            }
            Some('$')
                if self
                    .peek_second()
                    .is_some_and(|c| is_name(c) || matches!(c, '(' | '{' | '?' | '$' | '^')) =>
            {
                self.variable_argument(start).and_then(plain)
            }
            Some(c) if ends_word(c) => self.unexpected("an argument"),
            None => self.unexpected("an argument"),
            _ => self.word(),
        }
    }

    fn bracketed_argument(&mut self, start: usize) -> Parsed<Expression> {
        match self.literal()? {
            Literal::Found(expression) => self.postfix_of_argument(start, expression),
            Literal::None => self.unexpected("an argument"),
        }
    }

    /// A dot with no name behind it belongs to a further word.
    fn postfix_of_argument(&mut self, start: usize, expression: Expression) -> Parsed<Expression> {
        let name_follows =
            self.peek_second().is_some_and(|c| is_name(c) || matches!(c, '$' | '(' | '"' | '\''));
        match self.peek() {
            Some('.') if name_follows => self.postfix(start, expression),
            Some('[') => self.postfix(start, expression),
            Some(':') if self.rest().starts_with("::") => self.postfix(start, expression),
            Some('?') if self.rest().starts_with("?.") || self.rest().starts_with("?[") => {
                self.postfix(start, expression)
            }
            _ => Ok(expression),
        }
    }

    /// A variable or sub-expression as a whole argument, or as the beginning of a longer word.
    fn variable_argument(&mut self, start: usize) -> Parsed<Expression> {
        let Literal::Found(expression) = self.literal()? else { return self.unexpected("an argument") };
        let expression = self.postfix_of_argument(start, expression)?;
        if self.peek().is_none_or(|c| ends_word(c) || is_single_quote(c) || is_double_quote(c)) {
            return Ok(expression);
        }
        let (rest, _) = self.word_parts()?;
        let mut parts = vec![Part::Put(expression)];
        parts.extend(rest);
        Ok(self.joined(start, parts))
    }

    /// Letters without quotes; what is a number is one.
    fn word(&mut self) -> Parsed<Word> {
        let start = self.at;
        let (parts, bare) = self.word_parts()?;
        let text = &self.text[start..self.at];
        if let Some(number) = number(text).filter(|_| bare) {
            let expression = self.made(start, ExpressionKind::Literal(Value::Number(number)));
            return Ok(Word { expression, written: Some(text.into()) });
        }
        Ok(Word { expression: self.joined(start, parts), written: None })
    }

    fn joined(&self, start: usize, mut parts: Vec<Part>) -> Expression {
        if let [Part::Plain(text)] = parts.as_slice() {
            return text_expression(&text.clone(), self.extent_from(start));
        }
        if parts.is_empty() {
            parts.push(Part::Plain("".into()));
        }
        self.made(start, ExpressionKind::Text(parts))
    }

    /// And whether there were neither quotes nor backticks nor variables in it.
    fn word_parts(&mut self) -> Parsed<(Vec<Part>, bool)> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut bare = true;
        while let Some(c) = self.peek() {
            if ends_word(c) {
                break;
            }
            let start = self.at;
            self.at += c.len_utf8();
            let put = match c {
                '`' => {
                    bare = false;
                    if matches!(self.peek(), Some('\n' | '\r')) {
                        self.at = start;
                        break;
                    }
                    if self.peek().is_none() {
                        return Err(self.unfinished("IncompleteString"));
                    }
                    self.escape(&mut text)?;
                    None
                }
                '$' => {
                    bare = false;
                    self.expansion_in_word(start, &mut text)?
                }
                c if is_single_quote(c) || is_double_quote(c) => {
                    bare = false;
                    self.at = start;
                    Some(self.quoted()?)
                }
                c => {
                    text.push(c);
                    None
                }
            };
            if let Some(expression) = put {
                if !text.is_empty() {
                    parts.push(Part::Plain(std::mem::take(&mut text).into()));
                }
                parts.push(Part::Put(expression));
            }
        }
        if !text.is_empty() {
            parts.push(Part::Plain(text.into()));
        }
        Ok((parts, bare))
    }

    fn expansion_in_word(&mut self, start: usize, text: &mut String) -> Parsed<Option<Expression>> {
        match self.peek() {
            Some('(') => {
                self.at = start;
                self.sub_expression().map(Some)
            }
            Some(c) if is_name(c) || matches!(c, '{' | '?' | '$' | '^') => {
                let variable = self.variable_name(false)?;
                Ok(variable.map(|variable| self.made(start, ExpressionKind::Variable(variable))))
            }
            _ => {
                text.push('$');
                Ok(None)
            }
        }
    }

    pub(super) fn redirections(&mut self) -> Parsed<Vec<Redirection>> {
        let mut all = Vec::new();
        loop {
            self.spaces()?;
            match self.redirection()? {
                Some(redirection) => all.push(redirection),
                None => return Ok(all),
            }
        }
    }

    fn redirection(&mut self) -> Parsed<Option<Redirection>> {
        let rest = self.rest();
        let (from, behind) = match rest.chars().next() {
            Some('>') => (Stream::Output, rest),
            Some(c @ ('*' | '1'..='6')) if rest[1..].starts_with('>') => (stream(c), &rest[1..]),
            _ => return Ok(None),
        };
        self.at += rest.len() - behind.len();
        let append = behind.starts_with(">>");
        self.at += if append { 2 } else { 1 };
        if self.eat("&") {
            return match self.next() {
                Some(c @ ('1' | '2')) => Ok(Some(Redirection { from, to: Target::Merge(stream(c)) })),
                _ => self.unexpected("the number of a stream"),
            };
        }
        self.spaces()?;
        if matches!(self.peek(), None | Some('\n' | '\r' | ';' | '|' | ')' | '}')) {
            return if self.rest().is_empty() {
                Err(self.incomplete(
                    "Missing file specification after redirection operator.",
                    "MissingFileSpecification",
                ))
            } else {
                self.wrong(
                    "Missing file specification after redirection operator.",
                    "MissingFileSpecification",
                )
            };
        }
        let word = self.nested(Parser::argument_value)?;
        let file = match (&word.expression.kind, word.written) {
            (ExpressionKind::Literal(Value::Number(_)), Some(written)) => {
                text_expression(&written, word.expression.extent)
            }
            _ => word.expression,
        };
        Ok(Some(Redirection { from, to: Target::File(file, append) }))
    }
}

fn stream(c: char) -> Stream {
    match c {
        '*' => Stream::All,
        '2' => Stream::Error,
        '3' => Stream::Warning,
        '4' => Stream::Verbose,
        '5' => Stream::Debug,
        '6' => Stream::Information,
        _ => Stream::Output,
    }
}
