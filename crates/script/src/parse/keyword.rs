//! Statements that begin with a keyword (language specification 8.3 to 8.9).

use super::{Parsed, Parser, number};
use crate::characters::{is_dash, is_double_quote, is_name, is_single_quote};
use crate::syntax::{
    Block, Catch, Expression, ExpressionKind, Loop, LoopKind, Matching, Statement, StatementKind, Switch,
    Trap,
};
use crate::value::Value;
use std::rc::Rc;

impl Parser<'_> {
    /// Whether this word is next, as a whole.
    pub(super) fn at_word(&self, word: &str) -> bool {
        let rest = self.rest();
        let there = rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        there
            && !rest[word.len()..]
                .starts_with(|c: char| is_name(c) || is_dash(c) || matches!(c, '.' | '\\' | '/' | ':'))
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let there = self.at_word(word);
        if there {
            self.at += word.len();
        }
        there
    }

    fn word_here(&self) -> String {
        let word: String = self.rest().chars().take_while(|c| c.is_alphabetic()).take(16).collect();
        let lower = word.to_ascii_lowercase();
        if self.at_word(&lower) { lower } else { String::new() }
    }

    pub(super) fn keyword_statement(&mut self) -> Parsed<Option<Statement>> {
        let start = self.at;
        let label = self.label();
        let word = self.word_here();
        let kind = match word.as_str() {
            "while" | "do" | "for" | "foreach" => self.looped(&word, label)?,
            "switch" => self.switch(label)?,
            _ if label.is_some() => return self.unexpected("a loop or a switch behind the label"),
            "if" => self.conditional()?,
            "try" => self.attempt()?,
            "function" | "filter" => self.function(&word)?,
            "enum" => self.enumeration()?,
            "data" => self.data()?,
            "return" | "throw" | "exit" => self.leaving(&word)?,
            "break" | "continue" => {
                self.at += word.len();
                let label = self.jump_label()?;
                if word == "break" { StatementKind::Break(label) } else { StatementKind::Continue(label) }
            }
            "class" | "workflow" | "configuration" | "inlinescript" | "parallel" | "sequence"
                if self.names_a_construct(&word) =>
            {
                let instead =
                    if word == "class" { "; functions and [pscustomobject] do without" } else { "" };
                let message = format!("The keyword '{word}' is not supported here{instead}.");
                return self.wrong(message, "KeywordNotSupported");
            }
            "param" => {
                return self.wrong(
                    "Unexpected token 'param': it must be the first of a script or block.",
                    "UnexpectedToken",
                );
            }
            "else" | "elseif" | "catch" | "finally" | "until"
                if self.rest()[word.len()..].trim_start().starts_with(['{', '(', '[']) =>
            {
                return self.wrong(
                    format!("Unexpected token '{word}' in expression or statement."),
                    "UnexpectedToken",
                );
            }
            _ => return Ok(None),
        };
        Ok(Some(Statement { kind, extent: self.extent_from(start) }))
    }

    /// `class Name …{`: a command of that name would have other arguments.
    fn names_a_construct(&self, word: &str) -> bool {
        let behind = self.rest()[word.len()..].trim_start();
        behind.starts_with('{')
            || behind.starts_with(char::is_alphabetic) && behind.chars().take(200).any(|c| c == '{')
    }

    /// `:name`
    fn label(&mut self) -> Option<Rc<str>> {
        let before = self.at;
        if self.eat(":") && self.peek().is_some_and(is_name) {
            let name = self.take_while(is_name).to_lowercase();
            self.take_while(char::is_whitespace);
            return Some(name.into());
        }
        self.at = before;
        None
    }

    fn jump_label(&mut self) -> Parsed<Option<Expression>> {
        self.spaces()?;
        let start = self.at;
        match self.peek() {
            Some(c) if is_name(c) => {
                let name = self.take_while(is_name).to_owned();
                Ok(Some(super::quoted::text_expression(&name, self.extent_from(start))))
            }
            Some('$') => self.expression().map(Some),
            _ => Ok(None),
        }
    }

    fn leaving(&mut self, word: &str) -> Parsed<StatementKind> {
        self.at += word.len();
        self.spaces()?;
        let value = match self.peek() {
            None | Some('\n' | '\r' | ';' | '}' | ')') => None,
            _ => Some(Box::new(self.nested(Parser::parenthesized_statement)?)),
        };
        Ok(match word {
            "return" => StatementKind::Return(value),
            "throw" => StatementKind::Throw(value),
            _ => StatementKind::Exit(value),
        })
    }

    /// `{ … }`
    fn statement_block(&mut self) -> Parsed<Block> {
        self.lines()?;
        if self.rest().is_empty() {
            return Err(self.incomplete("Missing statement block.", "MissingStatementBlock"));
        }
        if !self.eat("{") {
            let token = self.token_here();
            return self.wrong(
                format!("Missing statement block: unexpected token '{token}'."),
                "MissingStatementBlock",
            );
        }
        self.nested(|parser| parser.statements_until("}", "MissingEndCurlyBrace"))
    }

    /// `( pipeline )`
    fn condition(&mut self) -> Parsed<Statement> {
        self.lines()?;
        self.expect("(", "MissingOpenParenthesisInIfStatement")?;
        self.lines()?;
        if self.peek() == Some(')') {
            return self.wrong("An expression was expected after '('.", "ExpectedExpression");
        }
        let statement = self.nested(Parser::parenthesized_statement)?;
        self.lines()?;
        self.expect(")", "MissingEndParenthesisAfterStatement")?;
        Ok(statement)
    }

    fn conditional(&mut self) -> Parsed<StatementKind> {
        self.at += 2;
        let mut arms = vec![(self.condition()?, self.statement_block()?)];
        let mut otherwise = None;
        loop {
            let before = self.at;
            self.lines()?;
            if self.eat_word("elseif") {
                arms.push((self.condition()?, self.statement_block()?));
            } else if self.eat_word("else") {
                otherwise = Some(self.statement_block()?);
                break;
            } else {
                self.at = before;
                break;
            }
        }
        Ok(StatementKind::If { arms, otherwise })
    }

    fn looped(&mut self, word: &str, label: Option<Rc<str>>) -> Parsed<StatementKind> {
        self.at += word.len();
        let (kind, body) = match word {
            "while" => (LoopKind::While(Box::new(self.condition()?)), self.statement_block()?),
            "for" => (self.for_head()?, self.statement_block()?),
            "foreach" => (self.foreach_head()?, self.statement_block()?),
            _ => {
                let body = self.statement_block()?;
                self.lines()?;
                let until = self.eat_word("until");
                if !until && !self.eat_word("while") {
                    return self.unexpected("'while' or 'until' behind the loop's block");
                }
                let condition = Box::new(self.condition()?);
                (if until { LoopKind::DoUntil(condition) } else { LoopKind::DoWhile(condition) }, body)
            }
        };
        Ok(StatementKind::Loop(Loop { label, kind, body }))
    }

    fn for_head(&mut self) -> Parsed<LoopKind> {
        self.lines()?;
        self.expect("(", "MissingOpenParenthesisAfterKeyword")?;
        let mut parts = [None, None, None];
        for (at, part) in parts.iter_mut().enumerate() {
            self.lines()?;
            if !matches!(self.peek(), Some(';' | ')')) {
                *part = Some(Box::new(self.nested(Parser::parenthesized_statement)?));
            }
            self.spaces()?;
            if at < 2 && !self.eat(";") && !matches!(self.peek(), Some('\n' | '\r')) {
                break;
            }
        }
        self.lines()?;
        self.expect(")", "MissingEndParenthesisAfterStatement")?;
        let [start, condition, step] = parts;
        Ok(LoopKind::For { start, condition, step })
    }

    fn foreach_head(&mut self) -> Parsed<LoopKind> {
        self.lines()?;
        if self.peek().is_some_and(is_dash) {
            let message = "foreach -parallel belongs to workflows, which are not supported; foreach runs one after the other.";
            return self.wrong(message, "KeywordParameterNotSupported");
        }
        self.expect("(", "MissingOpenParenthesisAfterKeyword")?;
        self.lines()?;
        if !self.eat("$") {
            return self.unexpected("a variable's name after foreach");
        }
        let Some(variable) = self.variable_name(false)? else {
            return self.unexpected("a variable's name after foreach");
        };
        self.lines()?;
        if !self.eat_word("in") {
            return self.unexpected("'in' after variable in foreach loop");
        }
        self.lines()?;
        if self.rest().is_empty() {
            return Err(self.unfinished("MissingForeachExpression"));
        }
        let over = Box::new(self.nested(Parser::parenthesized_statement)?);
        self.lines()?;
        self.expect(")", "MissingEndParenthesisAfterForeach")?;
        Ok(LoopKind::ForEach { variable, over })
    }

    fn switch(&mut self, label: Option<Rc<str>>) -> Parsed<StatementKind> {
        self.at += "switch".len();
        let mut switch = Switch {
            label,
            matching: Matching::Exact,
            exact_case: false,
            file: false,
            over: Box::new(Statement {
                kind: StatementKind::Pipeline(Vec::new()),
                extent: self.extent_from(self.at),
            }),
            cases: Vec::new(),
            default: None,
        };
        loop {
            self.lines()?;
            let Some(dash) = self.peek().filter(|c| is_dash(*c)) else { break };
            self.at += dash.len_utf8();
            let option = self.take_while(char::is_alphabetic).to_ascii_lowercase();
            let begins = |word: &str| !option.is_empty() && word.starts_with(&option);
            match () {
                () if begins("regex") => switch.matching = Matching::Regex,
                () if begins("wildcard") => switch.matching = Matching::Wildcard,
                () if begins("exact") => switch.matching = Matching::Exact,
                () if begins("casesensitive") => switch.exact_case = true,
                () if begins("file") => {
                    self.lines()?;
                    switch.file = true;
                    let start = self.at;
                    let word = self.switch_word()?;
                    let kind =
                        StatementKind::Pipeline(vec![crate::syntax::Element::Expression(word, Vec::new())]);
                    switch.over = Box::new(Statement { kind, extent: self.extent_from(start) });
                }
                () => {
                    let message = format!("The parameter -{option} is not valid for the switch statement.");
                    return self.wrong(message, "InvalidSwitchFlag");
                }
            }
        }
        if !switch.file {
            switch.over = Box::new(self.condition()?);
        }
        self.lines()?;
        self.expect("{", "MissingCurlyBraceInSwitchStatement")?;
        self.nested(|parser| parser.switch_cases(&mut switch))?;
        Ok(StatementKind::Switch(switch))
    }

    fn switch_cases(&mut self, switch: &mut Switch) -> Parsed<()> {
        loop {
            self.separators()?;
            if self.eat("}") {
                return Ok(());
            }
            if self.rest().is_empty() {
                return Err(self.unfinished("MissingEndCurlyBrace"));
            }
            if self.eat_word("default") {
                if switch.default.is_some() {
                    return self.wrong(
                        "A switch statement must have only one default clause.",
                        "MultipleSwitchDefaultClauses",
                    );
                }
                switch.default = Some(self.statement_block()?);
                continue;
            }
            let case = self.switch_word()?;
            let body = self.statement_block()?;
            switch.cases.push((case, body));
        }
    }

    /// A condition of a switch: any expression, or a word without quotes.
    fn switch_word(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let quote = self.peek().is_some_and(|c| is_single_quote(c) || is_double_quote(c));
        if quote || matches!(self.peek(), Some('$' | '(' | '{' | '[' | '@')) {
            return self.binary_expression_without_list();
        }
        let word =
            self.take_while(|c| !c.is_whitespace() && !matches!(c, '{' | '}' | '(' | ')' | ';')).to_owned();
        if word.is_empty() {
            return self.unexpected("a condition of the switch");
        }
        let value = number(&word).map_or_else(|| Value::text(&word), Value::Number);
        Ok(self.made(start, ExpressionKind::Literal(value)))
    }

    fn attempt(&mut self) -> Parsed<StatementKind> {
        self.at += 3;
        let body = self.statement_block()?;
        let (mut catches, mut finally) = (Vec::new(), None);
        loop {
            let before = self.at;
            self.lines()?;
            if self.eat_word("catch") {
                let mut kinds = Vec::new();
                self.lines()?;
                while self.peek() == Some('[') {
                    match self.bracketed()? {
                        super::type_name::Bracketed::Type(kind) => kinds.push(kind),
                        super::type_name::Bracketed::Attribute(_) => {
                            return self.unexpected("a type to catch");
                        }
                    }
                    self.lines()?;
                    if self.eat(",") {
                        self.lines()?;
                    }
                }
                catches.push(Catch { kinds, body: self.statement_block()? });
            } else if self.eat_word("finally") {
                finally = Some(self.statement_block()?);
                break;
            } else {
                if catches.is_empty() && self.rest().is_empty() {
                    return Err(self.incomplete(
                        "The Try statement is missing its Catch or Finally block.",
                        "MissingCatchOrFinally",
                    ));
                }
                self.at = before;
                break;
            }
        }
        if catches.is_empty() && finally.is_none() {
            return self
                .wrong("The Try statement is missing its Catch or Finally block.", "MissingCatchOrFinally");
        }
        Ok(StatementKind::Try { body, catches, finally })
    }

    pub(super) fn trap(&mut self) -> Parsed<Option<Trap>> {
        if !self.at_word("trap") || !self.rest()[4..].trim_start().starts_with(['{', '[']) {
            return Ok(None);
        }
        self.at += 4;
        self.lines()?;
        let kind = match self.peek() {
            Some('[') => match self.bracketed()? {
                super::type_name::Bracketed::Type(kind) => Some(kind),
                super::type_name::Bracketed::Attribute(_) => return self.unexpected("a type to trap"),
            },
            _ => None,
        };
        Ok(Some(Trap { kind, body: self.statement_block()? }))
    }

    fn function(&mut self, word: &str) -> Parsed<StatementKind> {
        self.at += word.len();
        self.lines()?;
        let name: Rc<str> = self
            .take_while(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '{' | '}' | ';' | '|' | '&'))
            .into();
        if name.is_empty() {
            return self.unexpected(&format!("a name after the {word} keyword"));
        }
        self.lines()?;
        let parameters = if self.peek() == Some('(') { Some(self.parameters()?) } else { None };
        self.lines()?;
        let body = self.function_body(parameters, word == "filter")?;
        Ok(StatementKind::Function { name, body })
    }

    fn enumeration(&mut self) -> Parsed<StatementKind> {
        self.at += 4;
        self.lines()?;
        let name = self.take_while(is_name).to_owned();
        self.lines()?;
        if self.eat(":") {
            self.lines()?;
            self.take_while(|c| is_name(c) || c == '.');
            self.lines()?;
        }
        self.expect("{", "MissingTypeBody")?;
        let mut members = Vec::new();
        loop {
            self.separators()?;
            if self.eat("}") {
                return Ok(StatementKind::Enum { name, flags: false, members });
            }
            let member = self.take_while(is_name).to_owned();
            if member.is_empty() {
                return self.unexpected("a name of the enumeration");
            }
            self.spaces()?;
            let mut value = None;
            if self.eat("=") {
                self.lines()?;
                value = Some(self.binary_expression_without_list()?);
            }
            members.push((member, value));
        }
    }

    /// `data name { … }`
    fn data(&mut self) -> Parsed<StatementKind> {
        self.at += 4;
        self.lines()?;
        self.take_while(is_name);
        Ok(StatementKind::Block(self.statement_block()?))
    }
}
