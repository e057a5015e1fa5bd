//! What the parser makes of PowerShell's quirks, and of nonsense.

use super::{ParseError, number};
use crate::syntax::{Argument, Element, ExpressionKind, ScriptBlock, StatementKind};
use crate::value::{Decimal, IntegerKind, Number, Value};
use std::rc::Rc;

fn script(text: &str) -> Result<Rc<ScriptBlock>, ParseError> {
    super::script(text, "")
}

fn int(value: i128) -> Option<Number> {
    let kind = if IntegerKind::Int32.holds(value) { IntegerKind::Int32 } else { IntegerKind::Int64 };
    Some(Number::Integer(value, kind))
}

#[test]
fn numbers_have_suffixes() {
    for (text, value) in [
        ("4GB", int(4 << 30)),
        ("4gb", int(4 << 30)),
        ("0x10Gb", int(16 << 30)),
        ("1pb", int(1 << 50)),
        ("7lkb", Some(Number::Integer(7 << 10, IntegerKind::Int64))),
        ("\u{2013}3", int(-3)),
        ("1.5", Some(Number::Double(1.5))),
        (".5mb", Some(Number::Double(524_288.0))),
        ("9999999999999999999", Some(Number::Decimal(Decimal::from_integer(9_999_999_999_999_999_999)))),
        ("9223372036854775807", int(i64::MAX.into())),
        ("0xFFFFFFFF", int(-1)),
        ("255uy", Some(Number::Integer(255, IntegerKind::Byte))),
        ("256uy", None),
        ("1.2.3", None),
        ("12x", None),
        ("0x", None),
        ("", None),
        ("-", None),
        ("1.", None),
        ("GB", None),
        ("inf", None),
        ("1e999999999", Some(Number::Double(f64::INFINITY))),
    ] {
        assert_eq!(number(text), value, "{text}");
    }
}

/// A command's name and its arguments: text, or the name of a parameter behind a dash.
fn first_command(text: &str) -> (String, Vec<String>) {
    let block = script(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let body = block.end.as_ref().expect("a body");
    let StatementKind::Pipeline(elements) = &body.all[0].kind else { panic!("{text}: {body:?}") };
    let Element::Command(command) = &elements[0] else { panic!("{text}: {elements:?}") };
    let literal = |kind: &ExpressionKind| match kind {
        ExpressionKind::Literal(Value::Text(text)) => text.to_string(),
        other => format!("{other:?}"),
    };
    let argument = |argument: &Argument| match argument {
        Argument::Named { name, value: None, .. } => format!("-{name}"),
        Argument::Value(word) => literal(&word.expression.kind),
        other => format!("{other:?}"),
    };
    (literal(&command.name.kind), command.arguments.iter().map(argument).collect())
}

#[test]
fn dashes_of_all_kinds_begin_parameters() {
    for dash in ['-', '\u{2013}', '\u{2014}', '\u{2015}'] {
        let (name, arguments) = first_command(&format!("New{dash}VM {dash}Name x"));
        assert_eq!(name, format!("New{dash}VM"));
        assert_eq!(arguments, ["-Name", "x"]);
    }
}

#[test]
fn quotes_of_all_kinds_enclose_and_may_differ() {
    let double = ['"', '\u{201c}', '\u{201d}', '\u{201e}'];
    let single = ['\'', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201b}'];
    for kinds in [&double[..], &single[..]] {
        for (open, close) in kinds.iter().flat_map(|open| kinds.iter().map(move |close| (open, close))) {
            assert_eq!(first_command(&format!("x {open}a b{close}")).1, ["a b"]);
        }
    }
}

#[test]
fn a_word_keeps_what_means_nothing_in_it() {
    for word in ["[a-z]*", "a?b", "c:\\x", "192.168.0.0/24", "a=b", "x#y", "-", "*", "%x", "a.b"] {
        assert_eq!(first_command(&format!("x {word}")).1, [word], "{word}");
    }
    assert_eq!(first_command("x a` b").1, ["a b"]);
    assert_eq!(first_command("x a#b # c").1, ["a#b"]);
}

#[test]
fn what_is_not_finished_asks_for_more() {
    for text in [
        "Get-VM |",
        "{",
        "if ($true) {",
        "\"abc",
        "'abc",
        "@(1,",
        "$(",
        "@{ a",
        "@{ a =",
        "1 +",
        "$x =",
        "Get-VM `",
        "<# x",
        "@\"\nx",
        "try { }",
        "foreach ($i in",
        "(Get-VM",
        "[int",
        "$x[",
        "do { }",
        "Get-VM -Name:",
        "x a,",
    ] {
        let error = script(text).err();
        assert!(error.as_ref().is_some_and(|error| error.incomplete), "{text}: {error:?}");
    }
}

#[test]
fn what_is_wrong_does_not_ask_for_more() {
    for text in [
        ")",
        "}",
        "1 2",
        "Get-VM | 5",
        "5 = 6",
        "a && && b",
        "$x[1 2]",
        "@{ a b }",
        "if x",
        "a & b",
        "1 foo",
        "class A { }",
        "a\0b",
    ] {
        let error = script(text).err();
        assert!(error.as_ref().is_some_and(|error| !error.incomplete), "{text}: {error:?}");
    }
}

#[test]
fn brackets_nest_only_so_deep() {
    for (open, close) in [
        ("(", ")"),
        ("$(", ")"),
        ("@(", ")"),
        ("{", "}"),
        ("\"$(", ")\""),
        ("- ", ""),
        ("!", ""),
        ("[int]", ""),
    ] {
        let text = open.repeat(5000) + "1" + &close.repeat(5000);
        assert!(script(&text).is_err(), "{open}");
    }
    assert!(script(&("(".repeat(20) + "1" + &")".repeat(20))).is_ok());
    assert!(script(&("1".to_owned() + &" + 1".repeat(50_000))).is_ok());
    assert!(script(&("$x".to_owned() + &".a".repeat(50_000))).is_ok());
}

#[test]
fn a_backtick_before_a_lone_carriage_return_continues_the_line() {
    assert_eq!(first_command("Get-VM `\r-Name x").1, ["-Name", "x"]);
}

#[test]
fn a_word_that_begins_with_a_digit_and_is_no_number_is_a_command() {
    assert_eq!(first_command("7z a x.zip").0, "7z");
    assert_eq!(first_command("1foo").0, "1foo");
}

/// What is read twice at every level would be read 2^50 times.
#[test]
fn what_nests_is_read_once() {
    for (open, close) in [
        ("{[CmdletBinding({", "})]"),
        ("{[a({", "})]}"),
        ("echo $(", ")x"),
        ("echo \"$(", ")\""),
        ("@{a=@(", ")}"),
        ("if(1){&{", "}}"),
    ] {
        let _ = script(&(open.repeat(50) + "1" + &close.repeat(50)));
        let _ = script(&(open.repeat(20) + "1" + &close.repeat(20)));
    }
}

/// As long as a script may be, and everything open: an error, and no stack that overflows.
#[test]
fn ten_thousand_brackets_are_one_error() {
    for open in ["(", "{", "@(", "$(", "[", "@{a=", "if(1){", "\"$("] {
        let error = script(&open.repeat(10_000)).expect_err("too deep");
        assert!(error.position.column() >= 1, "{open}");
    }
}

const SOUP: [&str; 64] = [
    "Get-VM", "-Name", "-N:", "$x", "$true", "$(", "@(", "@{", "{", "}", "(", ")", "[", "]", "[int]", "::",
    ".", "..", ",", ";", "|", "&", "&&", "||", "\n", " ", "`", "`\n", "#", "<#", "#>", "\"", "'", "\u{201c}",
    "\u{2019}", "@\"\n", "\n\"@", "=", "+=", "++", "+", "\u{2013}", "*", "/", "%", "!", "-not", "-eq", "-f",
    "-join", "1", "4GB", "0x", "1.5", "if", "else", "foreach", "in", "while", "do", "try", "catch",
    "function", "param",
];

/// Tokens by small bytes, text by the others; an error's place always lies in its line, so that it can be underlined.
#[test]
fn fuzz_script() {
    bolero::check!().with_test_time(std::time::Duration::from_secs(2)).with_max_len(200).for_each(
        |input: &[u8]| {
            let word = |byte: &u8| match SOUP.get(usize::from(*byte)) {
                Some(word) => format!("{word} "),
                None if byte & 1 == 0 => SOUP[usize::from(byte >> 2)].to_owned(),
                None => char::from(*byte).to_string(),
            };
            for text in [input.iter().map(word).collect(), String::from_utf8_lossy(input).into_owned()] {
                if let Err(error) = script(&text) {
                    let (line, column) = (error.position.line(), error.position.column());
                    assert!(column >= 1 && line <= text.lines().count() + 1, "{text:?}");
                    assert!(error.position.width() >= 1, "{text:?}");
                }
            }
        },
    );
}
