//! Expressions: operators by rank, and what stands between them.

use super::characters::{is_dash, is_double_quote, is_name, is_single_quote};
use super::{Parsed, Parser};
use crate::shell::syntax::{Expression, Operator, Postfix, Unary};
use ireko_manage::Value;
use std::rc::Rc;

const HIGHEST: u8 = 5;

impl Parser {
    pub fn expression(&mut self) -> Parsed<Expression> {
        self.ranked(0)
    }

    fn ranked(&mut self, rank: u8) -> Parsed<Expression> {
        if rank > HIGHEST {
            return self.list();
        }
        let first = self.ranked(rank + 1)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.operator(rank)? {
            self.lines()?;
            rest.push((operator, self.ranked(rank + 1)?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Chain(Box::new(first), rest) })
    }

    /// Takes an operator of this rank.
    fn operator(&mut self, rank: u8) -> Parsed<Option<Operator>> {
        let before = self.at;
        self.blanks()?;
        let found = self.any_operator().filter(|operator| operator.rank() == rank);
        if found.is_none() {
            self.at = before;
        }
        Ok(found)
    }

    fn any_operator(&mut self) -> Option<Operator> {
        let c = self.next()?;
        let following = self.peek();
        match c {
            c if is_dash(c) && following.is_some_and(char::is_alphabetic) => {
                Operator::word(&self.take(char::is_alphabetic))
            }
            // `+=` and `++` are the statement's.
            _ if following == Some('=') => None,
            '+' if following != Some('+') => Some(Operator::Add),
            c if is_dash(c) && !following.is_some_and(is_dash) => Some(Operator::Subtract),
            '*' if following != Some('>') => Some(Operator::Multiply),
            '/' => Some(Operator::Divide),
            '%' => Some(Operator::Remainder),
            '.' if following == Some('.') => {
                self.at += 1;
                Some(Operator::Range)
            }
            _ => None,
        }
    }

    fn list(&mut self) -> Parsed<Expression> {
        if self.commas { self.with_commas(Self::unary) } else { self.unary() }
    }

    /// One element, or a list of several with commas between them.
    pub(super) fn with_commas(&mut self, element: fn(&mut Self) -> Parsed<Expression>) -> Parsed<Expression> {
        let mut all = vec![element(self)?];
        loop {
            let before = self.at;
            self.blanks()?;
            if !self.eat(',') {
                self.at = before;
                break;
            }
            self.lines()?;
            all.push(element(self)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expression::List(all) })
    }

    fn unary(&mut self) -> Parsed<Expression> {
        self.blanks()?;
        let Some(c) = self.peek() else {
            return Err(self.incomplete("A value is missing at the end."));
        };
        let operator = match c {
            '!' => Some((Unary::Not, 1)),
            ',' if self.commas => Some((Unary::Comma, 1)),
            '+' => Some((Unary::Plus, 1)),
            c if is_dash(c) => self.dashed_unary(),
            _ => None,
        };
        let Some((operator, length)) = operator else { return self.cast_or_value() };
        self.at += length;
        self.deeper(|parser| {
            parser.blanks()?;
            parser.unary()
        })
        .map(|operand| Expression::Unary(operator, Box::new(operand)))
    }

    fn dashed_unary(&self) -> Option<(Unary, usize)> {
        let letters = self.text[self.at + 1..].iter().take_while(|c| c.is_alphabetic());
        let word: String = letters.collect::<String>().to_lowercase();
        match word.as_str() {
            "" => Some((Unary::Minus, 1)),
            "not" => Some((Unary::Not, 4)),
            "join" => Some((Unary::Join, 5)),
            "split" => Some((Unary::Split, 6)),
            _ => None,
        }
    }

    /// `[int]"5"`, `[math]::Round(…)`, or a value.
    fn cast_or_value(&mut self) -> Parsed<Expression> {
        if self.peek() != Some('[') {
            return self.postfixed();
        }
        let name = self.type_name()?;
        if self.peek() == Some(':') && self.ahead(1) == Some(':') {
            self.at += 2;
            let member = self.take(is_name);
            let arguments = if self.eat('(') { self.method_arguments()? } else { Vec::new() };
            return self.postfixes(Expression::Static(name, member, arguments));
        }
        self.blanks()?;
        if self.peek().is_none_or(|c| matches!(c, '\n' | ')' | ';' | '|' | '}' | ',')) {
            return Ok(Expression::Literal(Value::Text(name)));
        }
        let operand = self.deeper(Self::unary)?;
        Ok(Expression::Cast(name, Box::new(operand)))
    }

    /// `[name]`
    pub fn type_name(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut name = self.take(|c| is_name(c) || matches!(c, '.' | ' '));
        if self.peek() == Some('[') && self.ahead(1) == Some(']') {
            self.at += 2;
            name += "[]";
        }
        match self.eat(']') {
            true => Ok(name.trim().to_owned()),
            false if self.peek().is_none() => Err(self.incomplete("Missing ] at the end of a type's name.")),
            false => Err(self.unexpected()),
        }
    }

    /// A value with `.member`, `[index]` and the like behind it.
    pub fn postfixed(&mut self) -> Parsed<Expression> {
        let primary = self.primary()?;
        self.postfixes(primary)
    }

    fn postfixes(&mut self, primary: Expression) -> Parsed<Expression> {
        let mut chain = Vec::new();
        loop {
            let member = |c: char| is_name(c) || c == '$' || is_double_quote(c) || is_single_quote(c);
            match (self.peek(), self.ahead(1)) {
                (Some('.'), Some(c)) if member(c) => {
                    self.at += 1;
                    chain.push(self.member()?);
                }
                (Some('['), _) => {
                    self.at += 1;
                    let index = self.deeper(|parser| {
                        parser.lines()?;
                        let index = parser.expression()?;
                        parser.expect(']')?;
                        Ok(index)
                    })?;
                    chain.push(Postfix::Index(index));
                }
                _ => break,
            }
        }
        Ok(if chain.is_empty() { primary } else { Expression::Postfix(Box::new(primary), chain) })
    }

    fn member(&mut self) -> Parsed<Postfix> {
        let name = match self.peek() {
            Some('$') if self.starts_variable() => return self.variable().map(Postfix::Member),
            Some('$') => return Err(self.unexpected()),
            Some(c) if is_name(c) => self.take(is_name),
            _ => return self.string().map(Postfix::Member),
        };
        if self.eat('(') {
            return Ok(Postfix::Method(name, self.method_arguments()?));
        }
        Ok(Postfix::Member(Expression::Literal(Value::Text(name))))
    }

    /// After `(`.
    fn method_arguments(&mut self) -> Parsed<Vec<Expression>> {
        self.deeper(|parser| {
            parser.commas = false;
            let mut all = Vec::new();
            parser.lines()?;
            while parser.peek() != Some(')') {
                all.push(parser.expression()?);
                parser.lines()?;
                if !parser.eat(',') {
                    break;
                }
                parser.lines()?;
            }
            parser.expect(')')?;
            Ok(all)
        })
    }

    pub fn starts_at_literal(&self) -> bool {
        self.ahead(1).is_some_and(|c| matches!(c, '(' | '{') || is_double_quote(c) || is_single_quote(c))
    }

    fn primary(&mut self) -> Parsed<Expression> {
        match self.peek() {
            Some('$') if self.starts_variable() => self.variable(),
            Some('(') => self.parentheses(),
            Some('{') => self.block_literal().map(Expression::Block),
            Some('@') if self.starts_at_literal() => self.at_literal(),
            Some(c) if is_double_quote(c) || is_single_quote(c) => self.string(),
            Some(c) if c.is_ascii_digit() || c == '.' => self.numeral(),
            _ => Err(self.unexpected()),
        }
    }

    fn parentheses(&mut self) -> Parsed<Expression> {
        self.at += 1;
        self.deeper(|parser| {
            parser.lines()?;
            let inside = parser.statement()?;
            parser.expect(')')?;
            Ok(Expression::Parentheses(Rc::new(inside)))
        })
    }

    /// `@( … )`, `@{ … }`, here-strings.
    fn at_literal(&mut self) -> Parsed<Expression> {
        match self.ahead(1) {
            Some('(') => {
                self.at += 2;
                let block = self.deeper(|parser| parser.block(Some(')')))?;
                Ok(Expression::Array(Rc::new(block)))
            }
            Some('{') => {
                self.at += 2;
                self.deeper(Self::map)
            }
            _ => self.here_string(),
        }
    }

    /// After `@{`.
    fn map(&mut self) -> Parsed<Expression> {
        let mut pairs = Vec::new();
        loop {
            self.lines()?;
            while self.eat(';') {
                self.lines()?;
            }
            match self.peek() {
                None => return Err(self.incomplete("The hash literal was incomplete.")),
                Some('}') => {
                    self.at += 1;
                    return Ok(Expression::Map(pairs));
                }
                Some(_) => {}
            }
            let key = match self.peek() {
                Some(c) if c.is_alphabetic() || c == '_' => {
                    Expression::Literal(Value::Text(self.take(is_name)))
                }
                _ => self.postfixed()?,
            };
            self.blanks()?;
            if !self.eat('=') {
                return Err(match self.peek() {
                    None => self.incomplete("Missing '=' operator after key in hash literal."),
                    Some(_) => self.error("Missing '=' operator after key in hash literal.".into()),
                });
            }
            self.lines()?;
            pairs.push((key, Rc::new(self.statement()?)));
            self.blanks()?;
            if !matches!(self.peek(), None | Some('\n' | ';' | '}')) {
                return Err(self.unexpected());
            }
        }
    }

    fn numeral(&mut self) -> Parsed<Expression> {
        let from = self.at;
        if self.peek() == Some('0') && matches!(self.ahead(1), Some('x' | 'X')) {
            self.take(|c| c.is_ascii_alphanumeric());
        } else {
            self.take(|c| c.is_ascii_digit());
            if self.peek() == Some('.') && self.ahead(1).is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1;
                self.take(|c| c.is_ascii_digit());
            }
            if matches!(self.peek(), Some('e' | 'E'))
                && self.ahead(1).is_some_and(|c| c.is_ascii_digit() || c == '-' || c == '+')
            {
                self.at += 2;
                self.take(|c| c.is_ascii_digit());
            }
            self.take(|c| c.is_ascii_alphabetic());
        }
        match super::number(&self.slice(from)) {
            Some(value) => Ok(Expression::Literal(value)),
            None => {
                self.at = from;
                Err(self.unexpected())
            }
        }
    }
}
