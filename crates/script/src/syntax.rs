//! What scripts are made of once they are parsed. The shapes follow the grammar of the PowerShell language specification 3.0
//! (appendix B) with what versions 5 and 7 added.

use crate::source::{Extent, Source};
use crate::value::Value;
use std::rc::Rc;

/// A script, or what stands between the braces of a function or a script block.
#[derive(Debug)]
pub struct ScriptBlock {
    pub source: Rc<Source>,
    /// With its braces, where it has some.
    pub extent: Extent,
    /// `[CmdletBinding()]` and the like.
    pub attributes: Vec<Attribute>,
    pub parameters: Vec<Parameter>,
    /// Whether there is a `param(…)`, be it empty.
    pub has_param: bool,
    pub begin: Option<Block>,
    pub process: Option<Block>,
    pub end: Option<Block>,
    pub requires: Vec<Requirement>,
}

impl ScriptBlock {
    /// What stands between the braces.
    pub fn text(&self) -> &str {
        let text = self.source.slice(self.extent);
        text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text)
    }
}

/// `#Requires -Word value`
#[derive(Clone, Debug)]
pub struct Requirement {
    pub words: Vec<String>,
    pub extent: Extent,
}

#[derive(Debug)]
pub struct Parameter {
    pub name: Rc<str>,
    pub kind: Option<TypeName>,
    pub attributes: Vec<Attribute>,
    pub default: Option<Expression>,
    pub extent: Extent,
}

#[derive(Debug)]
pub struct Attribute {
    pub name: String,
    pub positional: Vec<Expression>,
    pub named: Vec<(String, Option<Expression>)>,
    pub extent: Extent,
}

/// `[System.Collections.Generic.List[string]]`, `[int[]]`
#[derive(Clone, Debug)]
pub struct TypeName {
    pub name: String,
    pub arguments: Vec<TypeName>,
    pub arrays: usize,
    pub extent: Extent,
}

#[derive(Debug, Default)]
pub struct Statements {
    pub all: Vec<Statement>,
    pub traps: Vec<Trap>,
    pub extent: Extent,
}

pub type Block = Rc<Statements>;

#[derive(Debug)]
pub struct Trap {
    pub kind: Option<TypeName>,
    pub body: Block,
}

#[derive(Debug)]
pub struct Statement {
    pub kind: StatementKind,
    pub extent: Extent,
}

#[derive(Debug)]
pub enum StatementKind {
    Pipeline(Vec<Element>),
    /// `a && b || c`
    Chain(Box<Statement>, Vec<(bool, Statement)>),
    Assign {
        target: Expression,
        operator: Option<Binary>,
        coalesce: bool,
        value: Box<Statement>,
    },
    If {
        arms: Vec<(Statement, Block)>,
        otherwise: Option<Block>,
    },
    Loop(Loop),
    Switch(Switch),
    Try {
        body: Block,
        catches: Vec<Catch>,
        finally: Option<Block>,
    },
    Function {
        name: Rc<str>,
        body: Rc<ScriptBlock>,
    },
    Enum {
        name: String,
        flags: bool,
        members: Vec<(String, Option<Expression>)>,
    },
    Return(Option<Box<Statement>>),
    Break(Option<Expression>),
    Continue(Option<Expression>),
    Throw(Option<Box<Statement>>),
    Exit(Option<Box<Statement>>),
    /// `data { … }`, and `using namespace`, which needs nothing done.
    Block(Block),
}

#[derive(Debug)]
pub struct Loop {
    pub label: Option<Rc<str>>,
    pub kind: LoopKind,
    pub body: Block,
}

#[derive(Debug)]
pub enum LoopKind {
    While(Box<Statement>),
    DoWhile(Box<Statement>),
    DoUntil(Box<Statement>),
    For { start: Option<Box<Statement>>, condition: Option<Box<Statement>>, step: Option<Box<Statement>> },
    ForEach { variable: Variable, over: Box<Statement> },
}

#[derive(Debug)]
pub struct Switch {
    pub label: Option<Rc<str>>,
    pub matching: Matching,
    pub exact_case: bool,
    /// `-File`: the lines of it.
    pub file: bool,
    pub over: Box<Statement>,
    pub cases: Vec<(Expression, Block)>,
    pub default: Option<Block>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    Exact,
    Wildcard,
    Regex,
}

#[derive(Debug)]
pub struct Catch {
    /// None catches all.
    pub kinds: Vec<TypeName>,
    pub body: Block,
}

/// One part of a pipeline.
#[derive(Debug)]
pub enum Element {
    Expression(Expression, Vec<Redirection>),
    Command(Command),
}

#[derive(Debug)]
pub struct Command {
    pub invocation: Invocation,
    pub name: Expression,
    pub arguments: Vec<Argument>,
    pub redirections: Vec<Redirection>,
    pub extent: Extent,
}

/// What stands before the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invocation {
    Plain,
    /// `&`
    Call,
    /// `.`
    Dot,
}

#[derive(Debug)]
pub enum Argument {
    /// `-Name`, `-Name:value`; `typed` is as it stands there.
    Named {
        name: Rc<str>,
        value: Option<Word>,
        typed: Rc<str>,
    },
    Value(Word),
    /// `@name`
    Splat(Variable),
}

/// An argument, and how a number in it was written: it may be meant as text.
#[derive(Debug)]
pub struct Word {
    pub expression: Expression,
    pub written: Option<Rc<str>>,
}

#[derive(Debug)]
pub struct Redirection {
    pub from: Stream,
    pub to: Target,
}

#[derive(Debug)]
pub enum Target {
    File(Expression, bool),
    Merge(Stream),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    All,
    Output,
    Error,
    Warning,
    Verbose,
    Debug,
    Information,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// `env`, `script`, `global`, …; in lower case.
    pub scope: Option<Rc<str>>,
    /// In lower case.
    pub name: Rc<str>,
    pub written: Rc<str>,
}

#[derive(Debug)]
pub struct Expression {
    pub kind: ExpressionKind,
    pub extent: Extent,
}

#[derive(Debug)]
pub enum ExpressionKind {
    Literal(Value),
    Text(Vec<Part>),
    Variable(Variable),
    /// Operators of one precedence, from the left; flat, because there may be very many.
    Chain(Box<Expression>, Vec<(Operator, Expression)>),
    Ternary(Box<[Expression; 3]>),
    Unary(Unary, Box<Expression>),
    Step {
        target: Box<Expression>,
        by: i8,
        after: bool,
    },
    Cast(TypeName, Box<Expression>),
    Attributed(Box<Attribute>, Box<Expression>),
    List(Vec<Expression>),
    Parentheses(Box<Statement>),
    /// `$(…)`
    Sub(Block),
    /// `@(…)`
    Array(Block),
    Hash(Vec<(Expression, Statement)>),
    Block(Rc<ScriptBlock>),
    Type(TypeName),
    /// Members, calls and indexes, one behind the other.
    Postfix(Box<Expression>, Vec<Postfix>),
}

#[derive(Debug)]
pub struct Postfix {
    pub kind: PostfixKind,
    /// `?.`, `?[`
    pub conditional: bool,
    /// From the beginning of the whole expression.
    pub extent: Extent,
}

#[derive(Debug)]
pub enum PostfixKind {
    Member { name: Expression, is_static: bool },
    Invoke { name: Expression, is_static: bool, arguments: Vec<Expression> },
    Index(Expression),
}

#[derive(Debug)]
pub enum Part {
    Plain(Rc<str>),
    Put(Expression),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Binary(Binary),
    And,
    Or,
    Xor,
    Coalesce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Not,
    BitNot,
    Minus,
    Plus,
    Comma,
    Join,
    Split,
    SplitExact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Format,
    Range,
    Join,
    Split(Case),
    Replace(Case),
    Is,
    IsNot,
    As,
    BitAnd,
    BitOr,
    BitXor,
    ShiftLeft,
    ShiftRight,
    Compare(Comparison, Case),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Ignored,
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Like,
    NotLike,
    Match,
    NotMatch,
    Contains,
    NotContains,
    In,
    NotIn,
}

pub const COMPARISONS: [(&str, Comparison); 14] = [
    ("eq", Comparison::Equal),
    ("ne", Comparison::NotEqual),
    ("gt", Comparison::Greater),
    ("ge", Comparison::GreaterOrEqual),
    ("lt", Comparison::Less),
    ("le", Comparison::LessOrEqual),
    ("like", Comparison::Like),
    ("notlike", Comparison::NotLike),
    ("match", Comparison::Match),
    ("notmatch", Comparison::NotMatch),
    ("contains", Comparison::Contains),
    ("notcontains", Comparison::NotContains),
    ("in", Comparison::In),
    ("notin", Comparison::NotIn),
];
