//! What an expression begins with: numbers, strings, variables, and everything in brackets.

use super::{Parsed, Parser, number};
use crate::characters::{is_dash, is_double_quote, is_name, is_single_quote};
use crate::syntax::{Expression, ExpressionKind};
use crate::value::Value;

pub enum Literal {
    Found(Expression),
    None,
}

impl Parser<'_> {
    pub(super) fn literal(&mut self) -> Parsed<Literal> {
        let start = self.at;
        let found = match self.peek() {
            Some('$') => match self.peek_second() {
                Some('(') => self.sub_expression()?,
                _ => self.variable()?,
            },
            Some('@') => match self.peek_second() {
                Some('(') => self.array_expression()?,
                Some('{') => self.hash()?,
                Some(c) if is_single_quote(c) || is_double_quote(c) => self.here_string()?,
                Some(c) if is_name(c) => {
                    let name = self.rest()[1..].split(|c| !is_name(c)).next().unwrap_or_default().to_owned();
                    let message = format!(
                        "The splatting operator '@' cannot be used to reference variables in an expression. '@{name}' can be used only as \
                         an argument to a command. To reference variables in an expression use '${name}'."
                    );
                    return self.wrong(message, "SplattingNotPermitted");
                }
                _ => return self.unexpected("an expression"),
            },
            Some('(') => self.parentheses()?,
            Some('{') => self.block_expression()?,
            Some(c) if is_single_quote(c) || is_double_quote(c) => self.quoted()?,
            Some(c) if c.is_ascii_digit() || c == '.' || is_dash(c) => match self.number_here()? {
                Some(value) => self.made(start, ExpressionKind::Literal(value)),
                None => return Ok(Literal::None),
            },
            _ => return Ok(Literal::None),
        };
        Ok(Literal::Found(found))
    }

    fn variable(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.at += 1;
        match self.variable_name(false)? {
            Some(variable) => Ok(self.made(start, ExpressionKind::Variable(variable))),
            None if self.rest().is_empty() => {
                Err(self.incomplete("A variable's name must follow '$'.", "MissingVariableName"))
            }
            None => self.wrong(
                "Unexpected token '$' in expression or statement: a variable's name must follow it.",
                "UnexpectedToken",
            ),
        }
    }

    /// A number, as far as it goes.
    pub(super) fn number_here(&mut self) -> Parsed<Option<Value>> {
        let text = self.number_text();
        match number(text) {
            Some(number) => {
                self.at += text.len();
                Ok(Some(Value::Number(number)))
            }
            None if text.starts_with(|c: char| c.is_ascii_digit()) => {
                self.wrong(format!("The numeric constant {text} is not valid."), "BadNumericConstant")
            }
            None => Ok(None),
        }
    }

    /// The characters that may be a number; `1..3` and `1.ToString()` end theirs at the dot.
    pub(super) fn number_text(&self) -> &'_ str {
        let rest = self.rest();
        let mut length = 0;
        let mut chars = rest.char_indices().peekable();
        if let Some((_, c)) = chars.peek()
            && is_dash(*c)
        {
            length = c.len_utf8();
            chars.next();
        }
        let mut before = ' ';
        let is_hex = rest[length..].to_ascii_lowercase_prefix("0x");
        while let Some((at, c)) = chars.next() {
            let behind = chars.peek().map(|(_, c)| *c);
            let belongs = match c {
                '.' => !is_hex && behind.is_some_and(|c| c.is_ascii_digit()),
                '+' => !is_hex && matches!(before, 'e' | 'E') && behind.is_some_and(|c| c.is_ascii_digit()),
                c if is_dash(c) => {
                    !is_hex && matches!(before, 'e' | 'E') && behind.is_some_and(|c| c.is_ascii_digit())
                }
                c => c.is_ascii_alphanumeric(),
            };
            if !belongs {
                break;
            }
            before = c;
            length = at + c.len_utf8();
        }
        &rest[..length]
    }

    /// `(…)`: a pipeline or an assignment.
    fn parentheses(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.at += 1;
        self.nested(|parser| {
            parser.lines()?;
            if parser.peek() == Some(')') {
                return parser.wrong("An expression was expected after '('.", "ExpectedExpression");
            }
            let statement = parser.parenthesized_statement()?;
            parser.lines()?;
            parser.expect(")", "MissingEndParenthesisInExpression")?;
            Ok(parser.made(start, ExpressionKind::Parentheses(Box::new(statement))))
        })
    }

    /// At `$(`.
    pub(super) fn sub_expression(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.at += 2;
        let block =
            self.nested(|parser| parser.statements_until(")", "MissingEndParenthesisInSubexpression"))?;
        Ok(self.made(start, ExpressionKind::Sub(block)))
    }

    fn array_expression(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.at += 2;
        let block =
            self.nested(|parser| parser.statements_until(")", "MissingEndParenthesisInExpression"))?;
        Ok(self.made(start, ExpressionKind::Array(block)))
    }

    fn hash(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.at += 2;
        self.nested(|parser| {
            let mut pairs = Vec::new();
            loop {
                parser.separators()?;
                if parser.eat("}") {
                    return Ok(parser.made(start, ExpressionKind::Hash(pairs)));
                }
                let key = parser.hash_key()?;
                parser.lines()?;
                if parser.rest().is_empty() {
                    return Err(parser.incomplete(
                        "Missing '=' operator after key in hash literal.",
                        "MissingEqualsInHashLiteral",
                    ));
                }
                if !parser.eat("=") {
                    return parser.wrong(
                        "Missing '=' operator after key in hash literal.",
                        "MissingEqualsInHashLiteral",
                    );
                }
                parser.lines()?;
                pairs.push((key, parser.statement_without_separator()?));
                parser.spaces()?;
                if !matches!(parser.peek(), Some('}' | ';' | '\n' | '\r')) {
                    return parser.unexpected("'}' or the next key of the hash literal");
                }
            }
        })
    }

    fn hash_key(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let word = self.take_while(|c| is_name(c) || is_dash(c)).to_owned();
        if word.is_empty() {
            return self.binary_expression_without_list();
        }
        if let Some(value) = number(&word) {
            return Ok(self.made(start, ExpressionKind::Literal(Value::Number(value))));
        }
        Ok(self.made(start, ExpressionKind::Literal(Value::text(&word))))
    }

    pub(super) fn block_expression(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let block = self.script_block()?;
        Ok(self.made(start, ExpressionKind::Block(block)))
    }
}

trait Prefixed {
    fn to_ascii_lowercase_prefix(&self, prefix: &str) -> bool;
}

impl Prefixed for str {
    fn to_ascii_lowercase_prefix(&self, prefix: &str) -> bool {
        self.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }
}
