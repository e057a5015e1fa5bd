//! What `deny.toml` allows, checked without the tool that reads it: licences, sources, and crates that must not be there. Known
//! vulnerabilities want the tool (`cargo deny check`).

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn packages() -> Vec<Value> {
    let arguments = [
        "metadata",
        "--locked",
        "--all-features",
        "--format-version",
        "1",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ];
    let told =
        Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo metadata");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let metadata: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// The strings of one list of `deny.toml`.
fn listed(key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let list = text.split(&format!("\n{key} = [")).nth(1).and_then(|rest| rest.split("]\n").next());
    list.unwrap_or_default().split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with these licences alone. OR binds weaker than AND (SPDX 2.3, annex D.4).
fn met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at, allowed);
    met && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, allowed);
    }
    met
}

fn all(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let met = any(words, at, allowed);
        *at += 1;
        return met;
    }
    // An exception only adds to what its licence grants.
    *at += if words.get(*at) == Some(&"WITH") { 2 } else { 0 };
    allowed.iter().any(|licence| licence == word)
}

#[test]
fn an_expression_is_met_by_one_side_of_or_and_by_both_of_and() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
    for yes in ["MIT", "GPL-3.0/MIT", "MIT OR GPL-3.0", "(GPL-3.0 OR MIT) AND Zlib", "GPL-3.0 AND X OR Zlib"]
    {
        assert!(met(yes, &allowed), "{yes}");
    }
    for no in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND GPL-3.0", "", "MIT MIT"] {
        assert!(!met(no, &allowed), "{no}");
    }
}

#[test]
fn licences_are_those_that_are_allowed() {
    let allowed = listed("allow");
    let wrong: Vec<_> = packages()
        .iter()
        .map(|package| format!("{}: {}", package["name"], package["license"].as_str().unwrap_or("none")))
        .filter(|line| !met(line.split_once(": ").map_or("", |(_, licence)| licence), &allowed))
        .collect();
    assert!(!allowed.is_empty() && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn crates_come_from_the_registry() {
    let elsewhere =
        |package: &&Value| package["source"].as_str().is_some_and(|source| !source.starts_with("registry+"));
    let packages = packages();
    let wrong: Vec<_> = packages.iter().filter(elsewhere).map(|package| &package["name"]).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn crates_that_are_banned_are_not_there() {
    let banned = listed("deny");
    let packages = packages();
    let wrong: Vec<_> = packages
        .iter()
        .filter(|package| banned.iter().any(|banned| package["name"] == banned.as_str()))
        .map(|package| &package["name"])
        .collect();
    assert!(!banned.is_empty() && wrong.is_empty(), "{wrong:?}");
}
