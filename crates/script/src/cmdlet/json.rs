//! JSON (RFC 8259) of values, and values of JSON, in the order of the text.

use crate::error::Outcome;
use crate::interpret::{Interpreter, property_names};
use crate::types::{format_date, text};
use crate::value::{Map, MapKind, Number, Object, Property, Value};
use std::rc::Rc;

const DEEPEST: usize = 200;

/// `depth` levels of objects; what is deeper is its text.
pub fn write(
    interpreter: &mut Interpreter<'_>,
    value: &Value,
    depth: usize,
    compress: bool,
    enums: bool,
) -> Outcome<String> {
    let mut made = String::new();
    put(interpreter, value, depth, if compress { None } else { Some(0) }, enums, &mut made)?;
    Ok(made)
}

fn put(
    interpreter: &mut Interpreter<'_>,
    value: &Value,
    depth: usize,
    indent: Option<usize>,
    enums: bool,
    made: &mut String,
) -> Outcome {
    match value {
        Value::Null => *made += "null",
        Value::Bool(value) => *made += if *value { "true" } else { "false" },
        Value::Number(Number::Double(number)) if !number.is_finite() => *made += &quoted(&text(value)),
        Value::Number(Number::Double(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
            *made += &format!("{number:.1}")
        }
        Value::Number(_) => *made += &text(value),
        Value::Enum(own) if !enums => *made += &own.value.to_string(),
        Value::Date(date) => {
            *made += &quoted(&format_date(*date, "yyyy-MM-ddTHH:mm:ss.FFFFFFFK").unwrap_or_default())
        }
        Value::Array(array) => {
            let items = array.items().clone();
            if depth == 0 && !items.is_empty() {
                *made += &quoted(&text(value));
                return Ok(());
            }
            let all: Vec<(Option<String>, Value)> = items.into_iter().map(|item| (None, item)).collect();
            return members(interpreter, ('[', ']'), all, depth, indent, enums, made);
        }
        Value::Map(_) | Value::Object(_) if depth == 0 => *made += &quoted(&text(value)),
        Value::Map(map) => {
            let all = map.pairs().into_iter().map(|(key, value)| (Some(text(&key)), value)).collect();
            return members(interpreter, ('{', '}'), all, depth, indent, enums, made);
        }
        Value::Object(_) | Value::Error(_) | Value::Exception(_) => {
            let mut all = Vec::new();
            for name in property_names(value) {
                let own = interpreter.member(value, &name)?;
                all.push((Some(name), own));
            }
            return members(interpreter, ('{', '}'), all, depth, indent, enums, made);
        }
        other => *made += &quoted(&text(other)),
    }
    Ok(())
}

fn members(
    interpreter: &mut Interpreter<'_>,
    (open, close): (char, char),
    all: Vec<(Option<String>, Value)>,
    depth: usize,
    indent: Option<usize>,
    enums: bool,
    made: &mut String,
) -> Outcome {
    made.push(open);
    let inner = indent.map(|indent| indent + 2);
    let count = all.len();
    for (at, (name, value)) in all.into_iter().enumerate() {
        if let Some(inner) = inner {
            *made += &format!("\n{}", " ".repeat(inner));
        }
        if let Some(name) = name {
            *made += &quoted(&name);
            *made += if inner.is_some() { ": " } else { ":" };
        }
        put(interpreter, &value, depth.saturating_sub(1), inner, enums, made)?;
        if at + 1 < count {
            made.push(',');
        }
    }
    if let Some(indent) = indent.filter(|_| count > 0) {
        *made += &format!("\n{}", " ".repeat(indent));
    }
    made.push(close);
    Ok(())
}

fn quoted(text: &str) -> String {
    let mut made = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => made += "\\\"",
            '\\' => made += "\\\\",
            '\n' => made += "\\n",
            '\r' => made += "\\r",
            '\t' => made += "\\t",
            '\u{8}' => made += "\\b",
            '\u{c}' => made += "\\f",
            c if (c as u32) < 0x20 => made += &format!("\\u{:04x}", c as u32),
            c => made.push(c),
        }
    }
    made.push('"');
    made
}

pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    hash: bool,
}

type Read<T> = Result<T, String>;

/// With hashtables instead of objects if that is wanted.
pub fn read(text: &str, hash: bool) -> Read<Value> {
    let mut reader = Reader { text, at: 0, hash };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < text.len() { Err(reader.wrong("unexpected text behind the value")) } else { Ok(value) }
}

impl Reader<'_> {
    fn wrong(&self, why: &str) -> String {
        let line = self.text[..self.at].matches('\n').count() + 1;
        format!("Invalid JSON: {why} at line {line}.")
    }

    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, text: &str) -> bool {
        let there = self.text[self.at..].starts_with(text);
        self.at += if there { text.len() } else { 0 };
        there
    }

    fn value(&mut self, depth: usize) -> Read<Value> {
        if depth > DEEPEST {
            return Err(self.wrong("it nests too deeply"));
        }
        self.space();
        if self.eat("null") {
            return Ok(Value::Null);
        }
        if self.eat("true") {
            return Ok(true.into());
        }
        if self.eat("false") {
            return Ok(false.into());
        }
        match self.text[self.at..].chars().next() {
            Some('"') => self.string().map(Value::from),
            Some('[') => self.array(depth),
            Some('{') => self.object(depth),
            Some(c) if c == '-' || c.is_ascii_digit() => self.number(),
            Some(_) => Err(self.wrong("unexpected character")),
            None => Err(self.wrong("it ends too early")),
        }
    }

    fn number(&mut self) -> Read<Value> {
        let rest = &self.text[self.at..];
        let length = rest
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')))
            .unwrap_or(rest.len());
        let said = &rest[..length];
        self.at += length;
        if let Ok(whole) = said.parse::<i64>() {
            return Ok(Value::Number(Number::Integer(whole.into(), crate::value::IntegerKind::Int64)));
        }
        said.parse().map(Value::double).map_err(|_| self.wrong("a number that is none"))
    }

    fn string(&mut self) -> Read<String> {
        self.at += 1;
        let mut made = String::new();
        loop {
            let Some(c) = self.text[self.at..].chars().next() else {
                return Err(self.wrong("a string without an end"));
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(made),
                '\\' => self.escape(&mut made)?,
                c => made.push(c),
            }
        }
    }

    fn escape(&mut self, made: &mut String) -> Read<()> {
        let Some(c) = self.text[self.at..].chars().next() else {
            return Err(self.wrong("a string without an end"));
        };
        self.at += c.len_utf8();
        made.push(match c {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let high = self.unit()?;
                let paired = (0xd800..0xdc00).contains(&high) && self.eat("\\u");
                let code = if paired {
                    0x10000 + ((high - 0xd800) << 10) + (self.unit()?.wrapping_sub(0xdc00) & 0x3ff)
                } else {
                    high
                };
                char::from_u32(code).unwrap_or('\u{fffd}')
            }
            c => c,
        });
        Ok(())
    }

    fn unit(&mut self) -> Read<u32> {
        let digits =
            self.text.get(self.at..self.at + 4).ok_or_else(|| self.wrong("an escape that is none"))?;
        let code = u32::from_str_radix(digits, 16).map_err(|_| self.wrong("an escape that is none"))?;
        self.at += 4;
        Ok(code)
    }

    fn array(&mut self, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.space();
            if self.eat("]") {
                return Ok(Value::array(items));
            }
            items.push(self.value(depth + 1)?);
            self.space();
            if !self.eat(",") && !self.text[self.at..].starts_with(']') {
                return Err(self.wrong("a comma or a bracket is missing"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Read<Value> {
        self.at += 1;
        let (object, map) = (Object::custom(), Map::new(MapKind::Ordered));
        loop {
            self.space();
            if self.eat("}") {
                return Ok(if self.hash { Value::Map(Rc::new(map)) } else { object.into_value() });
            }
            if !self.text[self.at..].starts_with('"') {
                return Err(self.wrong("a name in quotes is missing"));
            }
            let name = self.string()?;
            self.space();
            if !self.eat(":") {
                return Err(self.wrong("a colon is missing"));
            }
            let value = self.value(depth + 1)?;
            if self.hash {
                map.set(Value::from(name), value);
            } else {
                object.set(&name, Property::Note(value));
            }
            self.space();
            if !self.eat(",") && !self.text[self.at..].starts_with('}') {
                return Err(self.wrong("a comma or a brace is missing"));
            }
        }
    }
}
