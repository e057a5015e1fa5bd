//! Regular expressions: .NET's, as far as `fancy-regex` has them (look-around and backreferences among them).

use crate::error::ErrorRecord;
use crate::syntax::Case;
use crate::value::{Object, Value};
use fancy_regex::{Captures, Regex, RegexBuilder};
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Debug)]
pub struct Pattern {
    pub text: Rc<str>,
    regex: Regex,
}

/// One match, with what `$Matches` and `[regex]::Match` say of it.
#[derive(Clone, Debug)]
pub struct Found {
    pub start: usize,
    pub end: usize,
    /// By number; those that took no part are nothing.
    pub groups: Vec<Option<(usize, usize)>>,
}

/// How much is tried before a pattern is given up.
const BACKTRACKS: usize = 2_000_000;
const KEPT: usize = 64;

type Result<T> = std::result::Result<T, ErrorRecord>;

impl Pattern {
    pub fn new(text: &str, case: Case) -> Result<Rc<Self>> {
        Self::with_options(text, if case == Case::Ignored { "(?i)" } else { "" })
    }

    /// `options` is a prefix like `(?im)`.
    pub fn with_options(text: &str, options: &str) -> Result<Rc<Self>> {
        thread_local! {
            static MADE: RefCell<Vec<(String, Rc<Pattern>)>> = const { RefCell::new(Vec::new()) };
        }
        let whole = format!("{options}{}", translated(text));
        let found = MADE
            .with_borrow(|all| all.iter().find(|(own, _)| *own == whole).map(|(_, pattern)| pattern.clone()));
        if let Some(pattern) = found {
            return Ok(pattern);
        }
        let mut builder = RegexBuilder::new(&whole);
        builder.backtrack_limit(BACKTRACKS).delegate_size_limit(10 << 20);
        let regex = builder.build().map_err(|error| invalid(text, &error.to_string()))?;
        let pattern = Rc::new(Self { text: text.into(), regex });
        MADE.with_borrow_mut(|all| {
            if all.len() >= KEPT {
                all.remove(0);
            }
            all.push((whole, pattern.clone()));
        });
        Ok(pattern)
    }

    fn gave_up(&self) -> ErrorRecord {
        let message = format!("The pattern '{}' takes too long on this text; make it simpler.", self.text);
        ErrorRecord::runtime("RegexMatchTimeout", message)
            .of_type("System.Text.RegularExpressions.RegexMatchTimeoutException")
    }

    pub fn is_match(&self, text: &str) -> Result<bool> {
        self.regex.is_match(text).map_err(|_| self.gave_up())
    }

    pub fn find_at(&self, text: &str, at: usize) -> Result<Option<Found>> {
        let captures = self.regex.captures_from_pos(text, at).map_err(|_| self.gave_up())?;
        Ok(captures.map(|captures| Found::of(&captures)))
    }

    pub fn all(&self, text: &str) -> Result<Vec<Found>> {
        self.regex
            .captures_iter(text)
            .map(|captures| captures.map(|c| Found::of(&c)).map_err(|_| self.gave_up()))
            .collect()
    }

    /// Numbers and names of its groups.
    pub fn names(&self) -> Vec<String> {
        self.regex
            .capture_names()
            .enumerate()
            .map(|(at, name)| name.map_or_else(|| at.to_string(), str::to_owned))
            .collect()
    }

    /// With `$1`, `${name}`, `$&`, `$$` in what is put there; `most` 0 is all.
    pub fn replace(&self, text: &str, with: &str, most: usize) -> Result<String> {
        let names = self.names();
        self.replace_by(text, most, |found, made| {
            substitute(with, found, &names, text, made);
            Ok(())
        })
    }

    pub fn replace_by<E: From<ErrorRecord>>(
        &self,
        text: &str,
        most: usize,
        mut put: impl FnMut(&Found, &mut String) -> std::result::Result<(), E>,
    ) -> std::result::Result<String, E> {
        let mut made = String::new();
        let mut from = 0;
        let all = self.all(text)?;
        let count = if most == 0 { all.len() } else { most };
        for found in all.iter().take(count) {
            made += &text[from..found.start];
            put(found, &mut made)?;
            from = found.end;
        }
        made += &text[from..];
        Ok(made)
    }

    /// Groups come too, as .NET has it; `most` 0 is all, and the last part is the rest.
    pub fn split(&self, text: &str, most: usize) -> Result<Vec<String>> {
        let mut parts = Vec::new();
        let mut from = 0;
        let mut count = 1;
        for found in self.all(text)? {
            if most > 0 && count >= most {
                break;
            }
            if found.start == found.end
                && (found.start == 0 || found.end == text.len())
                && self.text.is_empty()
            {
                continue;
            }
            parts.push(text[from..found.start].to_owned());
            parts.extend(
                found.groups.iter().skip(1).flatten().map(|(start, end)| text[*start..*end].to_owned()),
            );
            from = found.end;
            count += 1;
        }
        parts.push(text[from..].to_owned());
        Ok(parts)
    }

    /// System.Text.RegularExpressions.Match.
    pub fn match_object(&self, text: &str, found: Option<&Found>) -> Value {
        let position = |at: usize| Value::from(text[..at].chars().count());
        let capture = |kind: &str, range: Option<(usize, usize)>| {
            let (start, end) = range.unwrap_or((0, 0));
            let value = &text[start..end];
            Object::new(kind)
                .with("Success", range.is_some())
                .with("Index", position(start))
                .with("Length", value.chars().count())
                .with("Value", value)
                .shown_as(value)
        };
        let Some(found) = found else {
            let groups = crate::value::Map::new(crate::value::MapKind::Ordered);
            return capture("System.Text.RegularExpressions.Match", None)
                .with("Groups", Value::Map(Rc::new(groups)))
                .into_value();
        };
        let groups = crate::value::Map::new(crate::value::MapKind::Ordered);
        for (at, (range, name)) in found.groups.iter().zip(self.names()).enumerate() {
            let group = capture("System.Text.RegularExpressions.Group", *range)
                .with("Name", name.as_str())
                .into_value();
            groups.set(Value::from(at), group.clone());
            if name != at.to_string() {
                groups.set(Value::from(name), group);
            }
        }
        let own = capture("System.Text.RegularExpressions.Match", Some((found.start, found.end)));
        own.with("Groups", Value::Map(Rc::new(groups))).into_value()
    }
}

impl Found {
    fn of(captures: &Captures<'_, str>) -> Self {
        let groups: Vec<_> =
            captures.iter().map(|group| group.map(|group| (group.start(), group.end()))).collect();
        let (start, end) = groups.first().copied().flatten().unwrap_or_default();
        Self { start, end, groups }
    }
}

fn invalid(text: &str, why: &str) -> ErrorRecord {
    let why = why.trim_end_matches('.').lines().last().unwrap_or_default();
    // Where it is, is of our own text of it.
    let why = why
        .split_once(": ")
        .filter(|(head, _)| head.starts_with("Parsing error"))
        .map_or(why, |(_, why)| why);
    ErrorRecord::runtime("InvalidRegularExpression", format!("The pattern '{text}' is not valid: {why}."))
}

/// What .NET writes otherwise.
fn translated(text: &str) -> String {
    text.replace("\\Z", "(?=\\n?\\z)")
}

fn substitute(with: &str, found: &Found, names: &[String], text: &str, made: &mut String) {
    let group =
        |at: usize| found.groups.get(at).copied().flatten().map_or("", |(start, end)| &text[start..end]);
    let mut rest = with;
    while let Some(at) = rest.find('$') {
        *made += &rest[..at];
        let behind = &rest[at + 1..];
        let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
        let number = behind[..digits].parse::<usize>().ok().filter(|number| *number < found.groups.len());
        let named =
            behind.strip_prefix('{').and_then(|inside| inside.split_once('}')).and_then(|(name, _)| {
                let index = names.iter().position(|own| own == name)?;
                Some((index, name.len() + 2))
            });
        let (put, length) = match (number, named, behind.chars().next()) {
            (Some(number), ..) => (group(number), digits),
            (None, Some((index, length)), _) => (group(index), length),
            (None, None, Some('$')) => ("$", 1),
            (None, None, Some('&')) => (group(0), 1),
            (None, None, Some('`')) => (&text[..found.start], 1),
            (None, None, Some('\'')) => (&text[found.end..], 1),
            _ => ("$", 0),
        };
        *made += put;
        rest = &behind[length..];
    }
    *made += rest;
}
