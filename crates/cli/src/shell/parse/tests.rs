//! What the parser makes of PowerShell's quirks, and of nonsense.

use super::{number, script};
use crate::shell::syntax::{Argument, Element, Expression, Name, Statement};
use ireko_manage::Value;

#[test]
fn numbers_have_suffixes() {
    for (text, value) in [
        ("4GB", Some(Value::Int(4 << 30))),
        ("4gb", Some(Value::Int(4 << 30))),
        ("0x10Gb", Some(Value::Int(16 << 30))),
        ("1pb", Some(Value::Int(1 << 50))),
        ("7lkb", Some(Value::Int(7 << 10))),
        ("\u{2013}3", Some(Value::Int(-3))),
        ("1.5", Some(Value::Float(1.5))),
        (".5mb", Some(Value::Float(524_288.0))),
        ("9999999999999999999", Some(Value::Float(1e19))),
        ("9223372036854775807", Some(Value::Int(i64::MAX))),
        ("1.2.3", None),
        ("12x", None),
        ("0x", None),
        ("", None),
        ("-", None),
        ("1.", None),
        ("GB", None),
        ("inf", None),
        ("1e999999999", Some(Value::Float(f64::INFINITY))),
    ] {
        assert_eq!(number(text), value, "{text}");
    }
}

fn first_command(text: &str) -> (String, Vec<Argument>) {
    let mut block = script(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    match block.body.remove(0) {
        Statement::Pipeline(mut pipeline) => match pipeline.elements.remove(0) {
            Element::Command(command) => match command.name {
                Name::Word(name) => (name, command.arguments),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Argument {
    Argument::Value(Expression::Literal(Value::text(text)))
}

#[test]
fn dashes_of_all_kinds_begin_parameters() {
    for dash in ['-', '\u{2013}', '\u{2014}', '\u{2015}'] {
        let (name, arguments) = first_command(&format!("New{dash}VM {dash}Name x"));
        assert_eq!(name, format!("New{dash}VM"));
        let typed = format!("{dash}Name");
        assert_eq!(arguments, [Argument::Named { name: "Name".into(), value: None, typed }, text("x")]);
    }
}

#[test]
fn quotes_of_all_kinds_enclose_and_may_differ() {
    let double = ['"', '\u{201c}', '\u{201d}', '\u{201e}'];
    let single = ['\'', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201b}'];
    for kinds in [&double[..], &single[..]] {
        for (open, close) in kinds.iter().flat_map(|open| kinds.iter().map(move |close| (open, close))) {
            assert_eq!(first_command(&format!("x {open}a b{close}")).1, [text("a b")]);
        }
    }
}

#[test]
fn a_word_keeps_what_means_nothing_in_it() {
    for word in ["[a-z]*", "a?b", "c:\\x", "192.168.0.0/24", "a=b", "x#y", "-", "*", "%x", "a.b"] {
        assert_eq!(first_command(&format!("x {word}")).1, [text(word)], "{word}");
    }
    assert_eq!(first_command("x a` b").1, [text("a b")]);
    assert_eq!(first_command("x a#b # c").1, [text("a#b")]);
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
    for text in
        [")", "}", "1 2", "Get-VM | 5", "5 = 6", "a && b", "$x[1 2]", "@{ a b }", "if x", "a & b", "1foo"]
    {
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
    let block = script("Get-VM `\r-Name x").unwrap();
    let [Statement::Pipeline(pipeline)] = &block.body[..] else { panic!("one statement: {block:?}") };
    let [Element::Command(command)] = &pipeline.elements[..] else { panic!("one command: {pipeline:?}") };
    assert_eq!(command.arguments.len(), 2);
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
                    assert!(
                        error.place.column >= 1 && error.place.line <= text.lines().count() + 1,
                        "{text:?}"
                    );
                }
            }
        },
    );
}
