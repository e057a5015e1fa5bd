//! Cloud images that distributions publish: where they are, and by which sum they are known. Users add to the list by a file.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

const BUILT_IN: &str = include_str!("list.json");
const FILE: &str = "systems.json";

/// An image, and whom it lets in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub url: String,
    /// Of the file, in hexadecimal: it is this file and no other.
    #[serde(default)]
    pub sha256: Option<String>,
    #[serde(default)]
    pub sha512: Option<String>,
    /// Or a list of sums that is published beside it.
    #[serde(default)]
    pub sums: Option<String>,
    /// Whom its makers let in.
    #[serde(default)]
    pub user: Option<String>,
}

pub type Entries = BTreeMap<String, Entry>;

/// How a file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    Sha256(String),
    Sha512(String),
}

impl Sum {
    /// By its length.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.len() {
            64 if digits => Some(Self::Sha256(text)),
            128 if digits => Some(Self::Sha512(text)),
            _ => None,
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::Sha512(text) => text,
        }
    }
}

/// Where users' own list is: `ireko/systems.json` in the XDG configuration directory.
pub fn own_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    base.map(|base| base.join("ireko").join(FILE))
}

/// The users' own list; empty if there is none.
pub fn own() -> Result<Entries> {
    let Some(path) = own_file() else { return Ok(Entries::new()) };
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Entries::new()),
        read => read.with_context(|| format!("the list of systems {} cannot be read", path.display()))?,
    };
    parse(&text).with_context(|| format!("the list of systems {} is not right", path.display()))
}

pub fn built_in() -> Entries {
    parse(BUILT_IN).expect("our own list is right")
}

fn parse(text: &str) -> Result<Entries> {
    let entries: Entries = serde_json::from_str(text)?;
    for (name, entry) in &entries {
        check(name, entry).with_context(|| format!("`{}`", name.escape_debug()))?;
    }
    Ok(entries)
}

fn check(name: &str, entry: &Entry) -> Result<()> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(letter),
        "a name begins with a small letter and has small letters, digits, - and . only"
    );
    let known = [&entry.sha256, &entry.sha512, &entry.sums].iter().filter(|one| one.is_some()).count();
    ensure!(known == 1, "give one of sha256, sha512 and sums");
    for (sum, digits) in [(&entry.sha256, 64), (&entry.sha512, 128)] {
        if let Some(sum) = sum {
            ensure!(
                sum.len() == digits && Sum::parse(sum).is_some(),
                "its sum does not have {digits} hexadecimal digits"
            );
        }
    }
    let web = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    ensure!(web(&entry.url), "its url begins with neither https:// nor http://");
    if let Some(sums) = &entry.sums {
        // Whoever is on the way could put a file and its sum into the places of others.
        ensure!(sums.starts_with("https://"), "a list of sums by anything but https:// vouches for nothing");
    }
    Ok(())
}

/// The sum of a file in a list: lines `SUM  FILE` and `SUM *FILE` (sha256sum), or `SHA256 (FILE) = SUM` (BSD).
pub fn sum_in(list: &str, url: &str) -> Result<Sum> {
    let file = url.rsplit('/').next().unwrap_or_default();
    let of_line = |line: &str| {
        if let Some((name, sum)) = line.split_once(") = ") {
            return name.ends_with(&format!(" ({file}")).then(|| Sum::parse(sum.trim()))?;
        }
        let (sum, name) = line.split_once(char::is_whitespace)?;
        let name = name.trim().trim_start_matches('*').trim_start_matches("./");
        (name == file).then(|| Sum::parse(sum))?
    };
    match list.lines().find_map(of_line) {
        Some(sum) => Ok(sum),
        None => bail!("the list of sums does not have {file}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn wrong(entry: &str) -> String {
        let error = parse(&format!("{{\"x\": {entry}}}")).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn the_built_in_list_is_right() {
        assert!(built_in().contains_key("debian-12-cloud"));
    }

    #[test]
    fn an_image_without_a_sum_is_not_taken() {
        assert!(wrong("{\"url\": \"https://x/y\"}").contains("give one of sha256, sha512 and sums"));
        let short = "{\"url\": \"https://x/y\", \"sha256\": \"abc\"}";
        assert!(wrong(short).contains("64 hexadecimal digits"));
    }

    #[test]
    fn a_list_of_sums_comes_by_https() {
        let said = wrong("{\"url\": \"http://x/y\", \"sums\": \"http://x/SUMS\"}");
        assert!(said.contains("vouches for nothing"), "{said}");
    }

    #[test]
    fn sums_are_found_in_both_forms_of_lists() {
        let url = "https://x/disk.qcow2";
        for line in [
            format!("{SUM}  disk.qcow2"),
            format!("{SUM} *disk.qcow2"),
            format!("{SUM}  ./disk.qcow2"),
            format!("SHA256 (disk.qcow2) = {SUM}"),
        ] {
            let list = format!("{}  other\n{line}\n", "0".repeat(64));
            assert_eq!(sum_in(&list, url).unwrap(), Sum::Sha256(SUM.into()), "{line}");
        }
        assert!(sum_in(&format!("{SUM}  my-disk.qcow2\n"), url).is_err());
    }
}
