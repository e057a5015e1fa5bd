//! The tree as its tests read it.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

pub fn crates() -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(root().join("crates"))
        .expect("crates/")
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

/// All files below a directory with one of these endings, build output left out.
pub fn files(below: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            let skipped = name == "target" || name == ".git";
            found.extend(if skipped { Vec::new() } else { files(&path, endings) });
        } else if endings.iter().any(|e| name.ends_with(e)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn sources() -> Vec<(String, String)> {
    files(&root().join("crates"), &[".rs"])
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap_or_default())
        })
        .collect()
}

/// Fails with all complaints at once.
pub fn clean(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

/// A source without its comments and what is compiled for tests alone.
pub fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            kept += &format!("{line}\n");
            continue;
        }
        let end = format!("{}}}", " ".repeat(line.len() - line.trim_start().len()));
        let item = lines.by_ref().find(|line| !line.trim_start().starts_with("#["));
        if item.is_some_and(|item| !item.ends_with([';', ',', '}'])) {
            lines.by_ref().find(|line| **line == end);
        }
    }
    kept
}

/// The names right behind each of some words.
pub fn behind<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let free = |at: usize| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "_.".contains(c));
    code.match_indices(word).filter(move |(at, _)| free(*at)).map(move |(at, _)| {
        let rest = &code[at + word.len()..];
        &rest[..rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())]
    })
}
