//! Paths and files as scripts name them.

use crate::error::ErrorRecord;
use crate::value::Value;
use std::io::{self, Write};
use std::path::PathBuf;

/// A path of this system: backslashes are slashes, a drive is the root of all files, `~` is the user's home.
pub fn native(path: &str) -> String {
    let path = path
        .strip_prefix("Microsoft.PowerShell.Core\\FileSystem::")
        .or_else(|| path.strip_prefix("FileSystem::"))
        .unwrap_or(path);
    let slashed = path.replace('\\', "/");
    let mut chars = slashed.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':');
    let rest = if drive { &slashed[2..] } else { &slashed };
    if let Some(behind) = rest.strip_prefix('~').filter(|behind| behind.is_empty() || behind.starts_with('/'))
    {
        let home = crate::types::text(&super::variable::environment("home"));
        return format!("{home}{behind}");
    }
    if drive && !rest.starts_with('/') { format!("/{rest}") } else { rest.to_owned() }
}

/// Where the file of a command's or a script's path is: as it stands, or by its last part in the current folder.
pub fn script(path: &str) -> Option<PathBuf> {
    let whole = PathBuf::from(native(path));
    if whole.is_file() {
        return Some(whole);
    }
    let with_ending = PathBuf::from(format!("{}.ps1", native(path)));
    if with_ending.is_file() {
        return Some(with_ending);
    }
    // A drive's path of another system leads to the current folder.
    let is_foreign = path.get(1..2) == Some(":") || path.contains('\\');
    let last = PathBuf::from(whole.file_name()?);
    (is_foreign && last.is_file()).then_some(last)
}

/// A script's text, of what has an end.
pub fn read_script(from: impl io::Read) -> io::Result<String> {
    const LONGEST: u64 = 16 << 20;
    let mut bytes = Vec::new();
    if io::Read::read_to_end(&mut io::Read::take(from, LONGEST + 1), &mut bytes)? as u64 > LONGEST {
        return Err(io::Error::other("it is longer than 16 MiB, which no script is"));
    }
    Ok(decoded(bytes))
}

/// UTF-8, or UTF-16 with its mark.
pub fn decoded(bytes: Vec<u8>) -> String {
    let wide = |of: fn([u8; 2]) -> u16| -> String {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|two| of([two[0], two[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes.as_slice() {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => {
            let text = String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned)
        }
    }
}

pub fn append(path: &str, text: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())
}

/// What could not be done to a file.
pub fn failed(cmdlet: &str, path: &str, error: &io::Error) -> ErrorRecord {
    let (exception, message, id, category) = match error.kind() {
        io::ErrorKind::NotFound => (
            "System.IO.FileNotFoundException",
            format!("Could not find file '{path}'."),
            "FileNotFound",
            "ObjectNotFound",
        ),
        io::ErrorKind::PermissionDenied => (
            "System.UnauthorizedAccessException",
            format!("Access to the path '{path}' is denied."),
            "UnauthorizedAccess",
            "PermissionDenied",
        ),
        _ => (
            "System.IO.IOException",
            format!("Could not use the file '{path}': {error}."),
            "FileOpenFailure",
            "OpenError",
        ),
    };
    ErrorRecord::cmdlet(cmdlet, id, message).of_type(exception).in_category(category).about(Value::text(path))
}
