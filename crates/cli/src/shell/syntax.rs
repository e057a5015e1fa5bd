//! What a script is made of.
//!
//! Chains of operators, of members and of `elseif` are lists, so that only brackets nest; how deep is limited by the
//! parser.

use ireko_manage::Value;
use std::rc::Rc;

/// Where something stands, for messages: its line and column from 1, that line, and how much of it is meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
    pub text: Rc<str>,
    pub length: usize,
}

/// `{ … }`, a script, or the body of a function.
#[derive(Debug, Default, PartialEq)]
pub struct Block {
    pub parameters: Vec<Formal>,
    pub body: Vec<Statement>,
    /// As it was written, without the braces.
    pub text: String,
}

/// One of `param($Name = default)`.
#[derive(Debug, PartialEq)]
pub struct Formal {
    pub name: String,
    pub switch: bool,
    pub default: Option<Expression>,
}

#[derive(Debug, PartialEq)]
pub enum Statement {
    Pipeline(Pipeline),
    Assign {
        target: Expression,
        operator: Option<Operator>,
        value: Box<Statement>,
    },
    If {
        arms: Vec<(Statement, Block)>,
        otherwise: Option<Block>,
    },
    ForEach {
        variable: String,
        over: Box<Statement>,
        body: Block,
    },
    /// `for`, `while`, `do … while`, `do … until`.
    Loop(Box<Loop>),
    Try {
        body: Block,
        catch: Option<Block>,
        finally: Option<Block>,
    },
    Function {
        name: String,
        body: Rc<Block>,
    },
    Break,
    Continue,
    Return(Option<Box<Statement>>),
    Throw(Option<Box<Statement>>),
    Exit(Option<Box<Statement>>),
}

#[derive(Debug, PartialEq)]
pub struct Loop {
    pub first: Option<Statement>,
    /// The body runs once before this is asked.
    pub asks_after: bool,
    pub condition: Option<Statement>,
    /// It ends when the condition holds.
    pub until: bool,
    pub next: Option<Statement>,
    pub body: Block,
}

#[derive(Debug, PartialEq)]
pub struct Pipeline {
    /// Only the first may be an expression.
    pub elements: Vec<Element>,
}

#[derive(Debug, PartialEq)]
pub enum Element {
    Expression(Expression, Vec<Redirection>),
    Command(Command),
}

#[derive(Debug, PartialEq)]
pub struct Command {
    pub name: Name,
    pub arguments: Vec<Argument>,
    pub redirections: Vec<Redirection>,
    pub place: Position,
}

#[derive(Debug, PartialEq)]
pub enum Name {
    Word(String),
    /// After `&`: a name or a script block.
    Called(Expression),
}

#[derive(Debug, PartialEq)]
pub enum Argument {
    /// `-Name` or `-Name:value`; as typed, with its dash.
    Named {
        name: String,
        value: Option<Expression>,
        typed: String,
    },
    Value(Expression),
    /// `@name`
    Splat(String),
}

/// `2>$null`, `> file`, `>> file`.
#[derive(Debug, PartialEq)]
pub struct Redirection {
    pub stream: Stream,
    pub append: bool,
    /// None is `&1`.
    pub target: Option<Expression>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Output,
    Error,
    Warning,
    /// Of verbose, debug and information messages, which nothing here writes.
    Other,
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Literal(Value),
    /// A number as an argument: it may be meant as text.
    Written(Value, Rc<str>),
    /// Text with what is put into it.
    Text(Vec<Part>),
    Variable(String),
    /// Operators of one rank, from the left.
    Chain(Box<Expression>, Vec<(Operator, Expression)>),
    Unary(Unary, Box<Expression>),
    /// `a, b`
    List(Vec<Expression>),
    /// `.x`, `[x]` and `.x()` after something.
    Postfix(Box<Expression>, Vec<Postfix>),
    /// `( … )`
    Parentheses(Rc<Statement>),
    /// `$( … )`
    Sub(Rc<Block>),
    /// `@( … )`
    Array(Rc<Block>),
    /// `@{ … }`
    Map(Vec<(Expression, Rc<Statement>)>),
    Block(Rc<Block>),
    Cast(String, Box<Expression>),
    /// `[type]::name` or `[type]::name(…)`
    Static(String, String, Vec<Expression>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Plain(String),
    Put(Expression),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Postfix {
    Member(Expression),
    Method(String, Vec<Expression>),
    Index(Expression),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Not,
    Minus,
    Plus,
    Comma,
    Join,
    Split,
}

/// Whether a comparison of text looks at case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Ignored,
    Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    And,
    Or,
    Xor,
    Compare(Comparison, Case),
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Format,
    Range,
    Join,
    Split,
    Replace(Case),
    Is,
    As,
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

/// The words of comparisons, as operators and as switches of Where-Object.
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

impl Operator {
    /// `-eq`, `-ceq`, `-ieq`, `-and` … without the dash.
    pub fn word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let plain = match word.as_str() {
            "and" => Some(Self::And),
            "or" => Some(Self::Or),
            "xor" => Some(Self::Xor),
            "f" => Some(Self::Format),
            "join" => Some(Self::Join),
            "split" | "isplit" => Some(Self::Split),
            "replace" | "ireplace" => Some(Self::Replace(Case::Ignored)),
            "creplace" => Some(Self::Replace(Case::Seen)),
            "is" => Some(Self::Is),
            "as" => Some(Self::As),
            _ => None,
        };
        plain.or_else(|| comparison(&word))
    }

    /// Higher binds tighter.
    pub fn rank(self) -> u8 {
        match self {
            Self::And | Self::Or | Self::Xor => 0,
            Self::Compare(..) | Self::Join | Self::Split | Self::Replace(_) | Self::Is | Self::As => 1,
            Self::Add | Self::Subtract => 2,
            Self::Multiply | Self::Divide | Self::Remainder => 3,
            Self::Format => 4,
            Self::Range => 5,
        }
    }
}

fn comparison(word: &str) -> Option<Operator> {
    let find = |word: &str| COMPARISONS.iter().find(|(own, _)| *own == word).map(|(_, which)| *which);
    if let Some(which) = find(word) {
        return Some(Operator::Compare(which, Case::Ignored));
    }
    let case = if word.starts_with('c') { Case::Seen } else { Case::Ignored };
    let rest = word.strip_prefix(['c', 'i'])?;
    find(rest).map(|which| Operator::Compare(which, case))
}
