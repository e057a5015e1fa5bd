//! Scripts, functions' bodies and script blocks: parameters and named blocks (language specification 8.10).

use super::type_name::Bracketed;
use super::{Parsed, Parser};
use crate::source::Extent;
use crate::syntax::{Attribute, Block, Parameter, Requirement, ScriptBlock, Statements, TypeName};
use std::rc::Rc;

/// What a body is made of while it is read.
#[derive(Default)]
struct Body {
    attributes: Vec<Attribute>,
    parameters: Vec<Parameter>,
    has_param: bool,
    begin: Option<Block>,
    process: Option<Block>,
    end: Option<Block>,
}

impl Parser<'_> {
    pub(super) fn whole_script(&mut self) -> Parsed<ScriptBlock> {
        let requires = self.requirements();
        let body = self.body(None)?;
        let extent = Extent { start: 0, end: self.text.len() as u32 };
        Ok(ScriptBlock { requires, ..self.script_block_of(body, extent) })
    }

    /// `#Requires` lines, wherever they stand.
    fn requirements(&self) -> Vec<Requirement> {
        let mut found = Vec::new();
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            let trimmed = line.trim_start();
            let start = at + line.len() - trimmed.len();
            let is_one = trimmed.get(..9).is_some_and(|word| word.eq_ignore_ascii_case("#requires"));
            if is_one && trimmed[9..].starts_with([' ', '\t']) {
                let text = trimmed.trim_end();
                let words = text[9..].split_whitespace().map(str::to_owned).collect();
                let extent = Extent { start: start as u32, end: (start + text.len()) as u32 };
                found.push(Requirement { words, extent });
            }
            at += line.len();
        }
        found
    }

    /// At an opening brace.
    pub(super) fn script_block(&mut self) -> Parsed<Rc<ScriptBlock>> {
        let start = self.at;
        if !self.eat("{") {
            return self.unexpected("'{'");
        }
        let body = self.nested(|parser| parser.body(Some("}")))?;
        Ok(Rc::new(self.script_block_of(body, self.extent_from(start))))
    }

    fn script_block_of(&self, body: Body, extent: Extent) -> ScriptBlock {
        let Body { attributes, parameters, has_param, begin, process, end } = body;
        let source = self.source.clone();
        ScriptBlock {
            source,
            extent,
            attributes,
            parameters,
            has_param,
            begin,
            process,
            end,
            requires: Vec::new(),
        }
    }

    /// The body of `function name (parameters) { … }`.
    pub(super) fn function_body(
        &mut self,
        parameters: Option<Vec<Parameter>>,
        is_filter: bool,
    ) -> Parsed<Rc<ScriptBlock>> {
        let start = self.at;
        if !self.eat("{") {
            return self.unexpected("'{'");
        }
        let mut body = self.nested(|parser| parser.body(Some("}")))?;
        if let Some(parameters) = parameters {
            body.parameters = parameters;
            body.has_param = true;
        }
        if is_filter && body.process.is_none() {
            body.process = body.end.take();
        }
        Ok(Rc::new(self.script_block_of(body, self.extent_from(start))))
    }

    /// Up to the closing brace, or the end of the text.
    fn body(&mut self, close: Option<&str>) -> Parsed<Body> {
        let mut body = Body::default();
        self.separators()?;
        while self.using()? {
            self.separators()?;
        }
        self.param_block(&mut body)?;
        self.separators()?;
        if self.named_block_word().is_some() {
            self.named_blocks(&mut body, close)?;
            return Ok(body);
        }
        let start = self.at;
        let mut statements = Statements::default();
        loop {
            self.separators()?;
            match close {
                Some(close) if self.eat(close) => break,
                None if self.rest().is_empty() => break,
                Some(close) if self.rest().is_empty() => {
                    let message = format!("Missing closing '{close}' in statement block or type definition.");
                    return Err(self.incomplete(message, "MissingEndCurlyBrace"));
                }
                _ => {}
            }
            if close.is_none() && self.rest().starts_with(['}', ')']) {
                let token = self.token_here();
                return self.wrong(
                    format!("Unexpected token '{token}' in expression or statement."),
                    "UnexpectedToken",
                );
            }
            self.statement_into(&mut statements)?;
        }
        statements.extent = self.extent_from(start);
        body.end = Some(Rc::new(statements));
        Ok(body)
    }

    /// `using namespace …` is taken; the names of types are found without it.
    fn using(&mut self) -> Parsed<bool> {
        if !self.eat_word("using") {
            return Ok(false);
        }
        self.spaces()?;
        if self.eat_word("namespace") {
            self.take_while(|c| c != '\n' && c != ';');
            return Ok(true);
        }
        self.wrong(
            "Only 'using namespace' is supported; Import-Module takes a module in.",
            "UsingNotSupported",
        )
    }

    /// Whether an attribute stands here that only a `param` may follow; another one is a variable's.
    fn at_block_attribute(&self) -> bool {
        const NAMES: [&str; 4] =
            ["CmdletBinding", "OutputType", "Diagnostics.CodeAnalysis.SuppressMessage", "Alias"];
        let Some(behind) = self.rest().strip_prefix('[') else { return false };
        let name = behind.trim_start();
        let name =
            name.get(..7).filter(|start| start.eq_ignore_ascii_case("system.")).map_or(name, |_| &name[7..]);
        NAMES.iter().any(|own| {
            let fits = name.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own));
            let rest = name.get(own.len()..).unwrap_or_default();
            let rest = rest
                .get(..9)
                .filter(|end| end.eq_ignore_ascii_case("attribute"))
                .map_or(rest, |_| &rest[9..]);
            fits && rest.trim_start().starts_with('(')
        })
    }

    fn param_block(&mut self, body: &mut Body) -> Parsed<()> {
        let mut attributes = Vec::new();
        while self.at_block_attribute() {
            if let Bracketed::Attribute(attribute) = self.bracketed()? {
                attributes.push(attribute);
            }
            self.lines()?;
        }
        if !self.eat_word("param") {
            return match attributes.last() {
                None => Ok(()),
                Some(attribute) => self.wrong(
                    format!("Unexpected attribute '{}': a param block must follow it.", attribute.name),
                    "UnexpectedAttribute",
                ),
            };
        }
        self.lines()?;
        body.attributes = attributes;
        body.has_param = true;
        body.parameters = self.parameters()?;
        Ok(())
    }

    /// At the parenthesis.
    pub(super) fn parameters(&mut self) -> Parsed<Vec<Parameter>> {
        self.expect("(", "MissingOpenParenthesisInParameterList")?;
        let mut all = Vec::new();
        loop {
            self.lines()?;
            if self.eat(")") {
                return Ok(all);
            }
            all.push(self.nested(Parser::parameter)?);
            self.lines()?;
            if !self.eat(",") {
                self.expect(")", "MissingEndParenthesisInFunctionParameterList")?;
                return Ok(all);
            }
        }
    }

    fn parameter(&mut self) -> Parsed<Parameter> {
        let start = self.at;
        let mut kind: Option<TypeName> = None;
        let mut attributes = Vec::new();
        while self.peek() == Some('[') {
            match self.bracketed()? {
                Bracketed::Attribute(attribute) => attributes.push(attribute),
                Bracketed::Type(name) => kind = Some(name),
            }
            self.lines()?;
        }
        if !self.eat("$") {
            return self.unexpected("a parameter's name, like $Name");
        }
        let Some(variable) = self.variable_name(false)? else { return self.unexpected("a parameter's name") };
        let extent = self.extent_from(start);
        self.lines()?;
        let mut default = None;
        if self.eat("=") {
            self.lines()?;
            default = Some(self.binary_expression_without_list()?);
        }
        Ok(Parameter { name: variable.written, kind, attributes, default, extent })
    }

    fn named_block_word(&self) -> Option<&'static str> {
        let words = ["begin", "process", "end", "dynamicparam", "clean"];
        let word = words.into_iter().find(|word| self.at_word(word))?;
        let behind = self.rest()[word.len()..].trim_start();
        behind.starts_with('{').then_some(word)
    }

    fn named_blocks(&mut self, body: &mut Body, close: Option<&str>) -> Parsed<()> {
        loop {
            self.separators()?;
            match close {
                Some(close) if self.eat(close) => return Ok(()),
                None if self.rest().is_empty() => return Ok(()),
                _ => {}
            }
            let Some(word) = self.named_block_word() else {
                return self.unexpected("'begin', 'process', 'end', or the end of the block");
            };
            let slot = match word {
                "begin" => &mut body.begin,
                "process" => &mut body.process,
                "end" => &mut body.end,
                _ => {
                    let message = format!("A '{word}' block is not supported; begin, process and end are.");
                    return self.wrong(message, "NamedBlockNotSupported");
                }
            };
            if slot.is_some() {
                return self.wrong(
                    format!("Script block already has a '{word}' block."),
                    "DuplicateScriptCommandClause",
                );
            }
            self.at += word.len();
            self.lines()?;
            self.at += 1;
            *slot = Some(self.nested(|parser| parser.statements_until("}", "MissingEndCurlyBrace"))?);
        }
    }
}
