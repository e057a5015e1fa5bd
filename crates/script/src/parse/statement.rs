//! Statements that are no keyword's: pipelines, chains of them, and assignments (language specification 8.1 and 8.2).

use super::{Parsed, Parser, Wrong};
use crate::characters::{is_dash, is_double_quote, is_single_quote};
use crate::source::Extent;
use crate::syntax::{
    Binary, Block, Element, Expression, ExpressionKind, Statement, StatementKind, Statements,
};
use std::rc::Rc;

impl Parser<'_> {
    /// Up to the closing bracket, which is taken.
    pub(super) fn statements_until(&mut self, close: &str, id: &'static str) -> Parsed<Block> {
        let start = self.at;
        let mut statements = Statements::default();
        loop {
            self.separators()?;
            if self.eat(close) {
                statements.extent = self.extent_from(start);
                return Ok(Rc::new(statements));
            }
            if self.rest().is_empty() {
                return Err(self.incomplete(format!("Missing closing '{close}' in statement block."), id));
            }
            self.statement_into(&mut statements)?;
        }
    }

    /// One statement, and that it has an end.
    pub(super) fn statement_into(&mut self, statements: &mut Statements) -> Parsed<()> {
        if let Some(trap) = self.trap()? {
            statements.traps.push(trap);
            return Ok(());
        }
        let statement = self.statement_without_separator()?;
        let needs_separator = !matches!(
            statement.kind,
            StatementKind::If { .. }
                | StatementKind::Loop(_)
                | StatementKind::Switch(_)
                | StatementKind::Try { .. }
                | StatementKind::Function { .. }
                | StatementKind::Enum { .. }
                | StatementKind::Block(_)
        );
        statements.all.push(statement);
        if needs_separator { self.end_of_statement() } else { Ok(()) }
    }

    fn end_of_statement(&mut self) -> Parsed<()> {
        self.spaces()?;
        match self.peek() {
            None | Some('\n' | '\r' | ';' | '}' | ')') => Ok(()),
            Some('&') if !self.rest().starts_with("&&") => self.wrong(
                "Running a pipeline in the background by '&' is not supported; Start-Job runs a script block as a job.",
                "BackgroundNotSupported",
            ),
            _ => {
                let token = self.token_here();
                if token == "&&" || token == "||" {
                    let message = format!("The token '{token}' is not a valid statement separator here.");
                    return self.wrong(message, "InvalidEndOfLine");
                }
                self.wrong(format!("Unexpected token '{token}' in expression or statement."), "UnexpectedToken")
            }
        }
    }

    pub(super) fn statement_without_separator(&mut self) -> Parsed<Statement> {
        self.nested(|parser| match parser.keyword_statement()? {
            Some(statement) => Ok(statement),
            None => parser.chain(),
        })
    }

    /// In parentheses: a pipeline or an assignment, and nothing with a keyword.
    pub(super) fn parenthesized_statement(&mut self) -> Parsed<Statement> {
        self.nested(Parser::chain)
    }

    /// `a && b || c`
    fn chain(&mut self) -> Parsed<Statement> {
        let start = self.at;
        let first = self.pipeline_or_assignment()?;
        let mut rest = Vec::new();
        loop {
            let before = self.at;
            self.lines()?;
            let and = self.eat("&&");
            if !and && !self.eat("||") {
                self.at = before;
                break;
            }
            self.lines()?;
            if self.rest().is_empty() {
                return Err(self.unfinished("EmptyPipelineChainElement"));
            }
            rest.push((and, self.pipeline_or_assignment()?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Statement { kind: StatementKind::Chain(Box::new(first), rest), extent: self.extent_from(start) })
    }

    fn pipeline_or_assignment(&mut self) -> Parsed<Statement> {
        let start = self.at;
        if !self.at_expression() {
            return self.pipeline(start, None);
        }
        let expression = self.expression()?;
        self.spaces()?;
        let Some((operator, coalesce)) = self.assignment_operator() else {
            return self.pipeline(start, Some(expression));
        };
        check_target(&expression)?;
        self.lines()?;
        if self.rest().is_empty() {
            return Err(self.unfinished("ExpectedValueExpression"));
        }
        let value = Box::new(self.statement_without_separator()?);
        let kind = StatementKind::Assign { target: expression, operator, coalesce, value };
        Ok(Statement { kind, extent: self.extent_from(start) })
    }

    fn assignment_operator(&mut self) -> Option<(Option<Binary>, bool)> {
        let signs = [
            ("+=", Some(Binary::Add)),
            ("-=", Some(Binary::Subtract)),
            ("*=", Some(Binary::Multiply)),
            ("/=", Some(Binary::Divide)),
            ("%=", Some(Binary::Remainder)),
        ];
        if self.eat("??=") {
            return Some((None, true));
        }
        if let Some((_, operator)) = signs.into_iter().find(|(sign, _)| self.rest().starts_with(sign)) {
            self.at += 2;
            return Some((operator, false));
        }
        if let Some(c) = self.peek().filter(|c| is_dash(*c) && self.peek_second() == Some('=')) {
            self.at += c.len_utf8() + 1;
            return Some((Some(Binary::Subtract), false));
        }
        self.eat("=").then_some((None, false))
    }

    /// Whether an expression stands here, and no command.
    pub(super) fn at_expression(&self) -> bool {
        let Some(c) = self.peek() else { return false };
        let second = self.peek_second();
        match c {
            '$' | '(' | '[' | '{' | '!' | ',' => true,
            '@' => second.is_some_and(|c| {
                c == '('
                    || c == '{'
                    || crate::characters::is_name(c)
                    || is_single_quote(c)
                    || is_double_quote(c)
            }),
            '+' => true,
            '.' => second.is_some_and(|c| c.is_ascii_digit()),
            c if is_single_quote(c) || is_double_quote(c) => true,
            c if is_dash(c) => {
                let word: String = self.rest().chars().skip(1).take_while(|c| c.is_alphanumeric()).collect();
                let operator = matches!(
                    word.to_ascii_lowercase().as_str(),
                    "not" | "bnot" | "join" | "split" | "isplit" | "csplit"
                );
                word.is_empty() || operator || word.starts_with(|c: char| c.is_ascii_digit())
            }
            c if c.is_ascii_digit() => self.at_number(),
            _ => false,
        }
    }

    /// `7` and `7+1` are expressions; `7z` is a program.
    fn at_number(&self) -> bool {
        let text = self.number_text();
        let behind = self.rest()[text.len()..].chars().next();
        super::number(text).is_some()
            && !behind.is_some_and(|c| c.is_alphanumeric() || matches!(c, '\\' | '_'))
    }

    /// The rest of a pipeline whose first element may be known.
    fn pipeline(&mut self, start: usize, first: Option<Expression>) -> Parsed<Statement> {
        let mut elements = Vec::new();
        elements.push(match first {
            Some(expression) => {
                let redirections = self.redirections()?;
                Element::Expression(expression, redirections)
            }
            None => Element::Command(self.command()?),
        });
        loop {
            let before = self.at;
            self.lines()?;
            if !self.rest().starts_with('|') || self.rest().starts_with("||") {
                self.at = before;
                break;
            }
            self.at += 1;
            self.lines()?;
            if self.rest().is_empty() {
                return Err(self.incomplete("An empty pipe element is not allowed.", "EmptyPipeElement"));
            }
            if self.at_expression() && !matches!(self.peek(), Some('&')) {
                return self.wrong(
                    "Expressions are only allowed as the first element of a pipeline.",
                    "ExpressionsMustBeFirstInPipeline",
                );
            }
            elements.push(Element::Command(self.command()?));
        }
        Ok(Statement { kind: StatementKind::Pipeline(elements), extent: self.extent_from(start) })
    }
}

/// Whether something can be assigned to it.
fn check_target(target: &Expression) -> Parsed<()> {
    let refuse = |extent: Extent| {
        let message = "The assignment expression is not valid. The input to an assignment operator must be an object that is able to accept \
                       assignments, such as a variable or a property.";
        Err(Box::new(Wrong { message: message.into(), id: "InvalidLeftHandSide", extent, incomplete: false }))
    };
    match &target.kind {
        ExpressionKind::Variable(_) => Ok(()),
        ExpressionKind::Postfix(_, chain) => match chain.last().map(|last| &last.kind) {
            Some(crate::syntax::PostfixKind::Invoke { .. }) | None => refuse(target.extent),
            Some(_) => Ok(()),
        },
        ExpressionKind::Cast(_, inner) | ExpressionKind::Attributed(_, inner) => check_target(inner),
        ExpressionKind::List(all) => all.iter().try_for_each(check_target),
        _ => refuse(target.extent),
    }
}
