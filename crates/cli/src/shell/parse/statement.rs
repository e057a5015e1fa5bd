//! Statements and blocks of them.

use super::characters::{is_dash, is_name};
use super::{Parsed, Parser};
use crate::shell::syntax::{
    Block, Element, Expression, Formal, Loop, Operator, Pipeline, Postfix, Statement,
};
use ireko_manage::Value;
use std::rc::Rc;

impl Parser {
    /// Statements up to the closing bracket, which is taken too, or to the end.
    pub fn block(&mut self, end: Option<char>) -> Parsed<Block> {
        let from = self.at;
        let mut block = Block { parameters: self.formals()?, ..Block::default() };
        loop {
            self.lines()?;
            if self.eat(';') {
                continue;
            }
            match (self.peek(), end) {
                (None, None) => break,
                (None, Some(end)) => {
                    return Err(self.incomplete(&format!("Missing closing '{end}' in statement block.")));
                }
                (Some(c), Some(end)) if c == end => break,
                _ => {}
            }
            block.body.push(self.statement()?);
            self.blanks()?;
            match self.peek() {
                None | Some('\n' | ';') => {}
                Some(c) if Some(c) == end => {}
                // After a block nothing has to part statements.
                Some(_) if self.text[..self.at].iter().rev().find(|c| !c.is_whitespace()) == Some(&'}') => {}
                Some(_) => return Err(self.unexpected()),
            }
        }
        block.text = self.slice(from).trim().to_owned();
        self.at += usize::from(end.is_some());
        Ok(block)
    }

    /// `param(…)` at the beginning of a block.
    fn formals(&mut self) -> Parsed<Vec<Formal>> {
        let before = self.at;
        self.lines()?;
        if !self.keyword("param") {
            self.at = before;
            return Ok(Vec::new());
        }
        self.expect('(')?;
        self.deeper(|parser| {
            parser.commas = false;
            let mut all = Vec::new();
            loop {
                parser.lines()?;
                if parser.peek() == Some(')') {
                    break;
                }
                all.push(parser.formal()?);
                parser.lines()?;
                if !parser.eat(',') {
                    break;
                }
            }
            parser.expect(')')?;
            Ok(all)
        })
    }

    fn formal(&mut self) -> Parsed<Formal> {
        let mut switch = false;
        while self.peek() == Some('[') {
            switch |= self.attribute()?.eq_ignore_ascii_case("switch");
            self.lines()?;
        }
        if !self.starts_variable() {
            return Err(self.unexpected());
        }
        let Expression::Variable(name) = self.variable()? else { return Err(self.unexpected()) };
        self.blanks()?;
        let default = if self.eat('=') {
            self.blanks()?;
            Some(self.expression()?)
        } else {
            None
        };
        Ok(Formal { name, switch, default })
    }

    /// `[string]`, `[Parameter(Mandatory=$true)]`: only a type's name means something here.
    fn attribute(&mut self) -> Parsed<String> {
        let from = self.at;
        let mut open = 0usize;
        while let Some(c) = self.next() {
            open += usize::from(matches!(c, '[' | '('));
            open -= usize::from(matches!(c, ']' | ')')).min(open);
            if open == 0 {
                let text = self.slice(from);
                return Ok(text.trim_matches(['[', ']']).to_owned());
            }
        }
        Err(self.incomplete("The closing ']' is missing."))
    }

    /// Takes the word if it stands here as a whole.
    fn keyword(&mut self, word: &str) -> bool {
        let mut letters = self.text[self.at..].iter();
        let same = word.chars().all(|c| letters.next().is_some_and(|own| own.eq_ignore_ascii_case(&c)));
        let whole =
            same && letters.next().is_none_or(|&c| !is_name(c) && !is_dash(c) && c != '.' && c != '=');
        if whole {
            self.at += word.len();
        }
        whole
    }

    pub fn statement(&mut self) -> Parsed<Statement> {
        self.deeper(Self::any_statement)
    }

    fn any_statement(&mut self) -> Parsed<Statement> {
        if self.keyword("if") {
            return self.if_statement();
        }
        if self.keyword("while") {
            return self.while_loop();
        }
        if self.keyword("for") {
            return self.for_loop();
        }
        if self.keyword("do") {
            return self.do_loop();
        }
        if self.keyword("try") {
            return self.try_statement();
        }
        if self.keyword("function") || self.keyword("filter") {
            return self.function();
        }
        for (word, make) in [
            ("return", Statement::Return as fn(_) -> _),
            ("throw", Statement::Throw),
            ("exit", Statement::Exit),
        ] {
            if self.keyword(word) {
                return Ok(make(self.rest_of_statement()?));
            }
        }
        if self.keyword("break") {
            return Ok(Statement::Break);
        }
        if self.keyword("continue") {
            return Ok(Statement::Continue);
        }
        let before = self.at;
        if self.keyword("foreach") {
            self.blanks()?;
            if self.peek() == Some('(') {
                return self.foreach();
            }
            self.at = before;
        }
        for word in
            ["switch", "class", "begin", "process", "end", "using", "enum", "workflow", "trap", "data"]
        {
            let taken = self.keyword(word);
            if taken && matches!(self.text.get(self.at), Some(' ' | '(' | '{')) {
                return Err(self.error(format!("The keyword '{word}' is not there yet.")));
            }
            self.at = before;
        }
        self.assignment_or_pipeline()
    }

    fn rest_of_statement(&mut self) -> Parsed<Option<Box<Statement>>> {
        self.blanks()?;
        match self.peek() {
            None | Some('\n' | ';' | '}' | ')') => Ok(None),
            Some(_) => Ok(Some(Box::new(self.statement()?))),
        }
    }

    fn assignment_or_pipeline(&mut self) -> Parsed<Statement> {
        if !self.starts_expression() {
            return self.pipeline(None).map(Statement::Pipeline);
        }
        let target = self.expression()?;
        self.blanks()?;
        let Some((operator, length, value)) = self.assignment_operator() else {
            return self.pipeline(Some(target)).map(Statement::Pipeline);
        };
        if !assignable(&target) {
            return Err(self.error(
                "The assignment expression is not valid. Only a variable or a member of one can be assigned to.".into(),
            ));
        }
        self.at += length;
        if let Some(by) = value {
            let element = Element::Expression(Expression::Literal(Value::Int(by)), Vec::new());
            let value = Box::new(Statement::Pipeline(Pipeline { elements: vec![element] }));
            return Ok(Statement::Assign { target, operator, value });
        }
        self.lines()?;
        let value = Box::new(self.statement()?);
        Ok(Statement::Assign { target, operator, value })
    }

    /// The operator, its length, and for `++` and `--` the value.
    fn assignment_operator(&self) -> Option<(Option<Operator>, usize, Option<i64>)> {
        let (one, two) = (self.peek()?, self.ahead(1));
        let operator = match one {
            '=' => return Some((None, 1, None)),
            '+' => Operator::Add,
            c if is_dash(c) => Operator::Subtract,
            '*' => Operator::Multiply,
            '/' => Operator::Divide,
            '%' => Operator::Remainder,
            _ => return None,
        };
        match two {
            Some('=') => Some((Some(operator), 2, None)),
            Some('+') if one == '+' => Some((Some(operator), 2, Some(1))),
            Some(c) if is_dash(one) && is_dash(c) => Some((Some(operator), 2, Some(1))),
            _ => None,
        }
    }

    /// `( … )`
    fn condition(&mut self) -> Parsed<Statement> {
        self.expect('(')?;
        self.lines()?;
        let condition = self.statement()?;
        self.expect(')')?;
        Ok(condition)
    }

    fn body(&mut self) -> Parsed<Block> {
        self.expect('{')?;
        self.deeper(|parser| parser.block(Some('}')))
    }

    /// Takes a word that may stand on the next line.
    fn following(&mut self, word: &str) -> Parsed<bool> {
        let before = self.at;
        self.lines()?;
        let found = self.keyword(word);
        if !found {
            self.at = before;
        }
        Ok(found)
    }

    fn if_statement(&mut self) -> Parsed<Statement> {
        let mut arms = vec![(self.condition()?, self.body()?)];
        while self.following("elseif")? {
            arms.push((self.condition()?, self.body()?));
        }
        let otherwise = if self.following("else")? { Some(self.body()?) } else { None };
        Ok(Statement::If { arms, otherwise })
    }

    fn foreach(&mut self) -> Parsed<Statement> {
        self.expect('(')?;
        self.lines()?;
        if !self.starts_variable() {
            return Err(self.unexpected());
        }
        let Expression::Variable(variable) = self.variable()? else { return Err(self.unexpected()) };
        self.lines()?;
        if !self.keyword("in") {
            return Err(self.unexpected());
        }
        self.lines()?;
        let over = Box::new(self.statement()?);
        self.expect(')')?;
        Ok(Statement::ForEach { variable, over, body: self.body()? })
    }

    fn while_loop(&mut self) -> Parsed<Statement> {
        let condition = Some(self.condition()?);
        Ok(Statement::Loop(Box::new(Loop {
            first: None,
            asks_after: false,
            condition,
            until: false,
            next: None,
            body: self.body()?,
        })))
    }

    fn do_loop(&mut self) -> Parsed<Statement> {
        let body = self.body()?;
        let until = self.following("until")?;
        if !until && !self.following("while")? {
            return Err(self.unexpected());
        }
        let condition = Some(self.condition()?);
        Ok(Statement::Loop(Box::new(Loop {
            first: None,
            asks_after: true,
            condition,
            until,
            next: None,
            body,
        })))
    }

    fn for_loop(&mut self) -> Parsed<Statement> {
        self.expect('(')?;
        let first = self.clause(';')?;
        self.expect(';')?;
        let condition = self.clause(';')?;
        self.expect(';')?;
        let next = self.clause(')')?;
        self.expect(')')?;
        Ok(Statement::Loop(Box::new(Loop {
            first,
            asks_after: false,
            condition,
            until: false,
            next,
            body: self.body()?,
        })))
    }

    fn clause(&mut self, end: char) -> Parsed<Option<Statement>> {
        self.lines()?;
        if self.peek() == Some(end) { Ok(None) } else { self.statement().map(Some) }
    }

    fn try_statement(&mut self) -> Parsed<Statement> {
        let body = self.body()?;
        let catch = if self.following("catch")? {
            self.lines()?;
            while self.peek() == Some('[') {
                self.type_name()?;
                self.lines()?;
                self.eat(',');
                self.lines()?;
            }
            Some(self.body()?)
        } else {
            None
        };
        let finally = if self.following("finally")? { Some(self.body()?) } else { None };
        if catch.is_none() && finally.is_none() {
            return Err(match self.peek() {
                None => self.incomplete("The Try statement is missing its Catch or Finally block."),
                Some(_) => self.error("The Try statement is missing its Catch or Finally block.".into()),
            });
        }
        Ok(Statement::Try { body, catch, finally })
    }

    fn function(&mut self) -> Parsed<Statement> {
        self.blanks()?;
        let name = self.take(|c| is_name(c) || is_dash(c));
        if name.is_empty() {
            return Err(self.unexpected());
        }
        Ok(Statement::Function { name, body: Rc::new(self.body()?) })
    }
}

fn assignable(target: &Expression) -> bool {
    match target {
        Expression::Variable(_) => true,
        Expression::Cast(_, inner) => assignable(inner),
        Expression::Postfix(inner, chain) => {
            matches!(**inner, Expression::Variable(_))
                && chain.len() == 1
                && matches!(chain[0], Postfix::Member(_) | Postfix::Index(_))
        }
        Expression::List(all) => all.iter().all(assignable),
        _ => false,
    }
}
