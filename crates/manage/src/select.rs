//! Finding VMs by what users write: names, wildcards, ids.

use crate::guid::Guid;
use crate::operation::Failure;
use crate::store::Config;

/// `*`, `?` and `[a-z]`, in any case; a backtick makes the next character plain.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let fold = |s: &str| s.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    matches(&tokens(&fold(pattern)), &fold(text))
}

pub fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

enum Token {
    Any,
    One,
    Plain(char),
    Set(Vec<(char, char)>),
}

fn tokens(pattern: &[char]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = pattern.get(at) {
        at += 1;
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => match pattern[at..].iter().position(|&c| c == ']') {
                Some(length) => {
                    let set = set(&pattern[at..at + length]);
                    at += length + 1;
                    Token::Set(set)
                }
                None => Token::Plain('['),
            },
            '`' if at < pattern.len() => {
                at += 1;
                Token::Plain(pattern[at - 1])
            }
            c => Token::Plain(c),
        });
    }
    tokens
}

fn set(mut inside: &[char]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    loop {
        match inside {
            [from, '-', to, rest @ ..] => {
                ranges.push((*from, *to));
                inside = rest;
            }
            [one, rest @ ..] => {
                ranges.push((*one, *one));
                inside = rest;
            }
            [] => return ranges,
        }
    }
}

/// Goes back to the last `*` only, so it takes time of the order of pattern times text.
fn matches(pattern: &[Token], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        let one = match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(Token::One) => true,
            Some(Token::Plain(c)) => *c == text[t],
            Some(Token::Set(ranges)) => ranges.iter().any(|&(from, to)| (from..=to).contains(&text[t])),
            None => false,
        };
        if one {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star {
            (p, t) = (at + 1, from + 1);
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|token| matches!(token, Token::Any))
}

/// Every VM that `name` means: by name, by wildcard, or by id. A name that means none is an error, a wildcard is not.
pub fn by_name<'a>(all: &'a [Config], name: &str) -> Result<Vec<&'a Config>, Failure> {
    if has_wildcard(name) {
        return Ok(all.iter().filter(|vm| wildcard(name, &vm.name)).collect());
    }
    let folded = name.to_lowercase();
    let named: Vec<&Config> = all.iter().filter(|vm| vm.name.to_lowercase() == folded).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let id = name.parse::<Guid>().ok();
    let found = all.iter().find(|vm| Some(vm.id) == id);
    found.map(|vm| vec![vm]).ok_or_else(|| not_found(name))
}

pub fn not_found(name: &str) -> Failure {
    Failure::invalid(format!("Hyper-V was unable to find a virtual machine with name \"{name}\"."))
        .about(name)
        .absent()
}

/// As [`by_name`], for what changes something: a plain name must mean one VM.
pub fn one_by_name<'a>(all: &'a [Config], name: &str) -> Result<Vec<&'a Config>, Failure> {
    let found = by_name(all, name)?;
    if found.len() > 1 && !has_wildcard(name) {
        let ids: Vec<String> = found.iter().map(|vm| vm.id.to_string()).collect();
        return Err(Failure::invalid(format!(
            "{} virtual machines have the name \"{name}\"; use one of their ids: {}",
            ids.len(),
            ids.join(", ")
        ))
        .about(name));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_powershell() {
        for (pattern, text) in [
            ("*", ""),
            ("New*", "new vm"),
            ("?b", "AB"),
            ("[a-c]x", "Bx"),
            ("a*b*c", "aXbYbc"),
            ("`*", "*"),
            ("[", "["),
        ] {
            assert!(wildcard(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("New", "new vm"), ("?", ""), ("[a-c]", "d"), ("a*b", "abc"), ("`*", "x")] {
            assert!(!wildcard(pattern, text), "{pattern} {text}");
        }
    }

    fn named(names: &[&str]) -> Vec<Config> {
        names.iter().map(|name| Config::new(Guid::random().unwrap(), name, 0)).collect()
    }

    #[test]
    fn a_name_that_means_none_is_an_error_and_a_wildcard_is_not() {
        let all = named(&["a"]);
        assert!(by_name(&all, "b").unwrap_err().message.contains("name \"b\""));
        assert!(by_name(&all, "b*").unwrap().is_empty());
    }

    #[test]
    fn two_of_a_name_are_ambiguous_with_their_ids() {
        let all = named(&["a", "A"]);
        let error = one_by_name(&all, "a").unwrap_err();
        assert!(all.iter().all(|vm| error.message.contains(&vm.id.to_string())));
        assert_eq!(by_name(&all, "a").unwrap().len(), 2);
    }

    #[test]
    fn an_id_means_its_vm() {
        let all = named(&["a", "a"]);
        assert_eq!(one_by_name(&all, &all[1].id.to_string()).unwrap()[0].id, all[1].id);
    }
}
