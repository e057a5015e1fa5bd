//! Expressions, by precedence (about_Operator_Precedence; language specification 7).

use super::literal::Literal;
use super::type_name::Bracketed;
use super::{Parsed, Parser};
use crate::characters::{is_dash, is_double_quote, is_name, is_single_quote};
use crate::syntax::{
    Binary, COMPARISONS, Case, Expression, ExpressionKind, Operator, Postfix, PostfixKind, Unary,
};

/// From weak to strong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    Logical,
    Bitwise,
    Comparison,
    Coalesce,
    Additive,
    Multiplicative,
    Format,
    Range,
}

const WORDS: [(&str, Operator, Precedence); 15] = [
    ("and", Operator::And, Precedence::Logical),
    ("or", Operator::Or, Precedence::Logical),
    ("xor", Operator::Xor, Precedence::Logical),
    ("band", Operator::Binary(Binary::BitAnd), Precedence::Bitwise),
    ("bor", Operator::Binary(Binary::BitOr), Precedence::Bitwise),
    ("bxor", Operator::Binary(Binary::BitXor), Precedence::Bitwise),
    ("is", Operator::Binary(Binary::Is), Precedence::Comparison),
    ("isnot", Operator::Binary(Binary::IsNot), Precedence::Comparison),
    ("as", Operator::Binary(Binary::As), Precedence::Comparison),
    ("join", Operator::Binary(Binary::Join), Precedence::Comparison),
    ("split", Operator::Binary(Binary::Split(Case::Ignored)), Precedence::Comparison),
    ("replace", Operator::Binary(Binary::Replace(Case::Ignored)), Precedence::Comparison),
    ("shl", Operator::Binary(Binary::ShiftLeft), Precedence::Comparison),
    ("shr", Operator::Binary(Binary::ShiftRight), Precedence::Comparison),
    ("f", Operator::Binary(Binary::Format), Precedence::Format),
];

/// `-ieq`, `-ceq`: with the case ignored or not.
fn word_operator(word: &str) -> Option<(Operator, Precedence)> {
    let lower = word.to_ascii_lowercase();
    if let Some((_, operator, precedence)) = WORDS.iter().find(|(own, ..)| *own == lower) {
        return Some((*operator, *precedence));
    }
    let cased = |word: &str, case: Case| {
        let binary = match word {
            "split" => Binary::Split(case),
            "replace" => Binary::Replace(case),
            _ => Binary::Compare(COMPARISONS.iter().find(|(own, _)| *own == word)?.1, case),
        };
        Some((Operator::Binary(binary), Precedence::Comparison))
    };
    cased(&lower, Case::Ignored)
        .or_else(|| cased(lower.strip_prefix('c')?, Case::Exact))
        .or_else(|| cased(lower.strip_prefix('i')?, Case::Ignored))
}

const SIGNS: [(&str, Binary, Precedence); 6] = [
    ("..", Binary::Range, Precedence::Range),
    ("+", Binary::Add, Precedence::Additive),
    ("-", Binary::Subtract, Precedence::Additive),
    ("*", Binary::Multiply, Precedence::Multiplicative),
    ("/", Binary::Divide, Precedence::Multiplicative),
    ("%", Binary::Remainder, Precedence::Multiplicative),
];

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.full_expression(true)
    }

    /// Where a comma separates.
    pub(super) fn binary_expression_without_list(&mut self) -> Parsed<Expression> {
        self.full_expression(false)
    }

    fn full_expression(&mut self, list: bool) -> Parsed<Expression> {
        self.nested(|parser| {
            let condition = parser.binary(Precedence::Logical, list)?;
            parser.spaces()?;
            if parser.peek() != Some('?') || parser.rest().starts_with("??") {
                return Ok(condition);
            }
            parser.at += 1;
            parser.lines()?;
            let yes = parser.full_expression(list)?;
            parser.lines()?;
            parser.expect(":", "MissingColonInTernaryExpression")?;
            parser.lines()?;
            let no = parser.full_expression(list)?;
            let extent = condition.extent.to(no.extent);
            Ok(Expression { kind: ExpressionKind::Ternary(Box::new([condition, yes, no])), extent })
        })
    }

    fn binary(&mut self, least: Precedence, list: bool) -> Parsed<Expression> {
        let first = self.operand(least, list)?;
        let mut rest = Vec::new();
        loop {
            let before = self.at;
            self.spaces()?;
            let written: String = self.rest().chars().take(16).collect();
            let length = self.rest().len();
            match self.operator()? {
                Some((operator, precedence)) if precedence == least => {
                    let token = written.get(..length - self.rest().len()).unwrap_or(&written);
                    self.lines()?;
                    self.value_follows(token)?;
                    rest.push((operator, self.operand(least, list)?));
                }
                _ => {
                    self.at = before;
                    break;
                }
            }
        }
        let Some((_, last)) = rest.last() else { return Ok(first) };
        let extent = first.extent.to(last.extent);
        Ok(Expression { kind: ExpressionKind::Chain(Box::new(first), rest), extent })
    }

    /// Behind an operator there is something to work on.
    fn value_follows(&self, operator: &str) -> Parsed<()> {
        if self.peek().is_some_and(|next| !matches!(next, ')' | '}' | ']' | ';' | '|')) {
            return Ok(());
        }
        const ID: &str = "ExpectedValueExpression";
        let message = format!("You must provide a value expression following the '{operator}' operator.");
        if self.rest().is_empty() { Err(self.incomplete(message, ID)) } else { self.wrong(message, ID) }
    }

    fn operand(&mut self, precedence: Precedence, list: bool) -> Parsed<Expression> {
        use Precedence::{Additive, Bitwise, Coalesce, Comparison, Format, Logical, Multiplicative, Range};
        let stronger = match precedence {
            Logical => Bitwise,
            Bitwise => Comparison,
            Comparison => Coalesce,
            Coalesce => Additive,
            Additive => Multiplicative,
            Multiplicative => Format,
            Format => Range,
            Range if list => return self.list(),
            Range => return self.unary(),
        };
        self.binary(stronger, list)
    }

    /// Behind an operand; takes the operator.
    fn operator(&mut self) -> Parsed<Option<(Operator, Precedence)>> {
        let Some(c) = self.peek() else { return Ok(None) };
        let rest = self.rest();
        if rest.starts_with("??") && !rest.starts_with("??=") {
            self.at += 2;
            return Ok(Some((Operator::Coalesce, Precedence::Coalesce)));
        }
        if is_dash(c) {
            let behind = &rest[c.len_utf8()..];
            let word: String = behind.chars().take_while(|c| c.is_alphanumeric()).collect();
            if word.is_empty() {
                if behind.starts_with('=') || behind.starts_with(is_dash) {
                    return Ok(None);
                }
                self.at += c.len_utf8();
                return Ok(Some((Operator::Binary(Binary::Subtract), Precedence::Additive)));
            }
            if let Some(found) = word_operator(&word) {
                self.at += c.len_utf8() + word.len();
                return Ok(Some(found));
            }
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                self.at += c.len_utf8();
                return Ok(Some((Operator::Binary(Binary::Subtract), Precedence::Additive)));
            }
            let token = format!("-{word}");
            return self
                .wrong(format!("Unexpected token '{token}' in expression or statement."), "UnexpectedToken");
        }
        for (sign, operator, precedence) in SIGNS {
            if let Some(behind) = rest.strip_prefix(sign) {
                if behind.starts_with('=') || (sign == "+" && behind.starts_with('+')) {
                    return Ok(None);
                }
                self.at += sign.len();
                return Ok(Some((Operator::Binary(operator), precedence)));
            }
        }
        Ok(None)
    }

    /// `a, b`
    fn list(&mut self) -> Parsed<Expression> {
        let first = self.unary()?;
        let mut all = Vec::new();
        loop {
            let before = self.at;
            self.spaces()?;
            if !self.eat(",") {
                self.at = before;
                break;
            }
            self.lines()?;
            all.push(self.unary()?);
        }
        let Some(last) = all.last() else { return Ok(first) };
        let extent = first.extent.to(last.extent);
        all.insert(0, first);
        Ok(Expression { kind: ExpressionKind::List(all), extent })
    }

    fn unary(&mut self) -> Parsed<Expression> {
        self.nested(Parser::unary_inside)
    }

    fn unary_inside(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let Some(c) = self.peek() else { return self.unexpected("an expression") };
        if c == '[' {
            return self.bracket_expression();
        }
        if self.eat("++") || (is_dash(c) && self.peek_second().is_some_and(is_dash) && self.eat_dashes()) {
            let by = if c == '+' { 1 } else { -1 };
            self.lines()?;
            let target = Box::new(self.unary()?);
            return Ok(self.made(start, ExpressionKind::Step { target, by, after: false }));
        }
        let Some(operator) = self.unary_operator(c)? else {
            let primary = self.primary()?;
            return self.stepped(start, primary);
        };
        self.lines()?;
        let operand = Box::new(self.unary()?);
        Ok(self.made(start, ExpressionKind::Unary(operator, operand)))
    }

    fn eat_dashes(&mut self) -> bool {
        self.next();
        self.next();
        true
    }

    fn unary_operator(&mut self, c: char) -> Parsed<Option<Unary>> {
        let unary = match c {
            '!' => Unary::Not,
            ',' => Unary::Comma,
            '+' => Unary::Plus,
            c if is_dash(c) => {
                let behind = &self.rest()[c.len_utf8()..];
                if behind.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                    return Ok(None);
                }
                let word: String = behind.chars().take_while(|c| c.is_alphanumeric()).collect();
                let unary = match word.to_ascii_lowercase().as_str() {
                    "" => Unary::Minus,
                    "not" => Unary::Not,
                    "bnot" => Unary::BitNot,
                    "join" => Unary::Join,
                    "split" | "isplit" => Unary::Split,
                    "csplit" => Unary::SplitExact,
                    _ => return self.unexpected("an expression"),
                };
                self.at += word.len();
                unary
            }
            _ => return Ok(None),
        };
        self.at += c.len_utf8();
        Ok(Some(unary))
    }

    /// `++` and `--` behind.
    fn stepped(&mut self, start: usize, primary: Expression) -> Parsed<Expression> {
        let mut rest = self.rest().chars();
        let by = match (rest.next(), rest.next()) {
            (Some('+'), Some('+')) => 1,
            (Some(one), Some(other)) if is_dash(one) && is_dash(other) => -1,
            _ => return Ok(primary),
        };
        self.eat_dashes();
        let kind = ExpressionKind::Step { target: Box::new(primary), by, after: true };
        Ok(self.made(start, kind))
    }

    /// A cast, an attribute of a variable, or a type with its static members.
    fn bracket_expression(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let kind = match self.bracketed()? {
            Bracketed::Attribute(attribute) => {
                self.lines()?;
                let operand = self.unary()?;
                return Ok(
                    self.made(start, ExpressionKind::Attributed(Box::new(attribute), Box::new(operand)))
                );
            }
            Bracketed::Type(kind) => kind,
        };
        let end = self.at;
        self.spaces()?;
        let operand_follows = match self.peek() {
            Some('$' | '@' | '(' | '[' | '{' | '+' | '!') => true,
            Some(c) if is_single_quote(c) || is_double_quote(c) || c.is_ascii_digit() => true,
            Some(c) if is_dash(c) => {
                let behind: String =
                    self.rest().chars().skip(1).take_while(|c| c.is_alphanumeric()).collect();
                behind.is_empty()
                    || behind.starts_with(|c: char| c.is_ascii_digit())
                    || matches!(behind.as_str(), "join" | "split" | "not" | "bnot")
            }
            Some('.') => self.peek_second().is_some_and(|c| c.is_ascii_digit()),
            _ => false,
        };
        if operand_follows {
            let operand = self.unary()?;
            return Ok(self.made(start, ExpressionKind::Cast(kind, Box::new(operand))));
        }
        self.at = end;
        let primary = self.made(start, ExpressionKind::Type(kind));
        let primary = self.postfix(start, primary)?;
        self.stepped(start, primary)
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let primary = match self.literal()? {
            Literal::Found(expression) => expression,
            Literal::None => return self.unexpected("an expression"),
        };
        self.postfix(start, primary)
    }

    /// Members, calls and indexes, without space before them.
    pub(super) fn postfix(&mut self, start: usize, first: Expression) -> Parsed<Expression> {
        let mut chain = Vec::new();
        let braced =
            matches!(&first.kind, ExpressionKind::Variable(_)) && self.text[start..].starts_with("${");
        loop {
            let conditional = (braced || !chain.is_empty())
                && (self.rest().starts_with("?.") || self.rest().starts_with("?["))
                && !self.rest().starts_with("?..");
            if conditional {
                self.at += 1;
            }
            let is_static = self.rest().starts_with("::");
            let kind = match self.peek() {
                Some('.') if !self.rest().starts_with("..") => self.member(false)?,
                Some(':') if is_static => self.member(true)?,
                Some('[') => {
                    self.at += 1;
                    self.lines()?;
                    let index = self.nested(Parser::expression)?;
                    self.lines()?;
                    self.expect("]", "MissingEndSquareBracket")?;
                    Some(PostfixKind::Index(index))
                }
                _ => None,
            };
            match kind {
                Some(kind) => chain.push(Postfix { kind, conditional, extent: self.extent_from(start) }),
                None => break,
            }
        }
        if chain.is_empty() {
            return Ok(first);
        }
        Ok(self.made(start, ExpressionKind::Postfix(Box::new(first), chain)))
    }

    /// At the dot or the colons; nothing if no name follows, so that a dot may be a text's.
    fn member(&mut self, is_static: bool) -> Parsed<Option<PostfixKind>> {
        let before = self.at;
        self.at += if is_static { 2 } else { 1 };
        self.take_while(|c| c == ' ' || c == '\t' || c == '\n' || c == '\r');
        let start = self.at;
        let name = match self.peek() {
            Some(c) if is_name(c) => {
                let name = self.take_while(is_name).to_owned();
                super::quoted::text_expression(&name, self.extent_from(start))
            }
            Some(c) if is_single_quote(c) || is_double_quote(c) => self.quoted()?,
            Some('$' | '(' | '@') => match self.literal()? {
                Literal::Found(expression) => expression,
                Literal::None => return self.unexpected("a member's name"),
            },
            None => {
                return Err(
                    self.incomplete("Missing property name after reference operator.", "MissingPropertyName")
                );
            }
            _ => {
                self.at = before;
                let message = "Missing property name after reference operator.";
                return self.wrong(message, "MissingPropertyName");
            }
        };
        if self.peek() == Some('(') {
            let arguments = self.arguments()?;
            return Ok(Some(PostfixKind::Invoke { name, is_static, arguments }));
        }
        if self.peek() == Some('{') && !is_static {
            // `.Where{ … }`, `.ForEach{ … }`
            let block = self.block_expression()?;
            return Ok(Some(PostfixKind::Invoke { name, is_static, arguments: vec![block] }));
        }
        Ok(Some(PostfixKind::Member { name, is_static }))
    }

    /// At the parenthesis of a call.
    fn arguments(&mut self) -> Parsed<Vec<Expression>> {
        self.at += 1;
        let mut all = Vec::new();
        loop {
            self.lines()?;
            if self.eat(")") {
                return Ok(all);
            }
            all.push(self.nested(Parser::binary_expression_without_list)?);
            self.lines()?;
            if !self.eat(",") {
                self.expect(")", "MissingEndParenthesisInMethodCall")?;
                return Ok(all);
            }
        }
    }

    pub(super) fn made(&self, start: usize, kind: ExpressionKind) -> Expression {
        Expression { kind, extent: self.extent_from(start) }
    }
}
