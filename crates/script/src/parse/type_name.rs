//! Names of types and attributes between brackets (language specification 4.1 and 12).

use super::{Parsed, Parser};
use crate::syntax::{Attribute, Expression, ExpressionKind, TypeName};
use crate::value::Value;

/// `[type]`, or `[Attribute(…)]`.
pub enum Bracketed {
    Type(TypeName),
    Attribute(Attribute),
}

impl Parser<'_> {
    /// At a bracket.
    pub(super) fn bracketed(&mut self) -> Parsed<Bracketed> {
        let start = self.at;
        self.at += 1;
        self.lines()?;
        let kind = self.type_name()?;
        self.lines()?;
        if self.peek() == Some('(') {
            let attribute = self.attribute(kind.name, start)?;
            self.lines()?;
            self.expect("]", "EndSquareBracketExpectedAtEndOfAttribute")?;
            return Ok(Bracketed::Attribute(Attribute { extent: self.extent_from(start), ..attribute }));
        }
        self.expect("]", "EndSquareBracketExpectedAtEndOfType")?;
        Ok(Bracketed::Type(TypeName { extent: self.extent_from(start), ..kind }))
    }

    fn type_name(&mut self) -> Parsed<TypeName> {
        self.nested(|parser| {
            let start = parser.at;
            let name = parser
                .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '`' | '-'))
                .to_owned();
            if name.is_empty() {
                return parser.unexpected("a type's name");
            }
            let mut kind =
                TypeName { name, arguments: Vec::new(), arrays: 0, extent: parser.extent_from(start) };
            loop {
                parser.spaces()?;
                if parser.peek() != Some('[') {
                    return Ok(kind);
                }
                parser.at += 1;
                parser.spaces()?;
                match parser.peek() {
                    Some(']' | ',') => {
                        parser.take_while(|c| c == ',' || c == ' ');
                        parser.expect("]", "EndSquareBracketExpectedAtEndOfType")?;
                        kind.arrays += 1;
                    }
                    _ => parser.type_arguments(&mut kind)?,
                }
            }
        })
    }

    fn type_arguments(&mut self, kind: &mut TypeName) -> Parsed<()> {
        loop {
            self.lines()?;
            let bracket = self.eat("[");
            kind.arguments.push(self.type_name()?);
            if bracket {
                self.expect("]", "EndSquareBracketExpectedAtEndOfType")?;
            }
            self.lines()?;
            if !self.eat(",") {
                return self.expect("]", "EndSquareBracketExpectedAtEndOfType");
            }
        }
    }

    /// At the parenthesis of an attribute.
    fn attribute(&mut self, name: String, start: usize) -> Parsed<Attribute> {
        self.at += 1;
        let mut attribute =
            Attribute { name, positional: Vec::new(), named: Vec::new(), extent: self.extent_from(start) };
        loop {
            self.lines()?;
            if self.eat(")") {
                return Ok(attribute);
            }
            match self.attribute_name()? {
                Some((name, value)) => attribute.named.push((name, value)),
                None => {
                    let expression = self.nested(|parser| parser.attribute_argument())?;
                    attribute.positional.push(expression);
                }
            }
            self.lines()?;
            if !self.eat(",") {
                self.lines()?;
                self.expect(")", "MissingEndParenthesisInAttribute")?;
                return Ok(attribute);
            }
        }
    }

    fn attribute_argument(&mut self) -> Parsed<Expression> {
        if let Some(expression) = self.bare_attribute_word() {
            return Ok(expression);
        }
        self.binary_expression_without_list()
    }

    /// `SupportsShouldProcess` alone, or `Mandatory = $true`.
    fn attribute_name(&mut self) -> Parsed<Option<(String, Option<Expression>)>> {
        let before = self.at;
        let name = self.take_while(|c| c.is_alphanumeric() || c == '_').to_owned();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            self.at = before;
            return Ok(None);
        }
        self.lines()?;
        if self.eat("=") {
            self.lines()?;
            let value = self.nested(|parser| parser.attribute_argument())?;
            return Ok(Some((name, Some(value))));
        }
        if matches!(self.peek(), Some(',' | ')')) {
            return Ok(Some((name, None)));
        }
        self.at = before;
        Ok(None)
    }

    /// A word that is no expression elsewhere: `ConfirmImpact = High`.
    fn bare_attribute_word(&mut self) -> Option<Expression> {
        let before = self.at;
        let word = self.take_while(char::is_alphabetic);
        if word.is_empty() {
            self.at = before;
            return None;
        }
        Some(Expression {
            kind: ExpressionKind::Literal(Value::text(word)),
            extent: self.extent_from(before),
        })
    }
}
