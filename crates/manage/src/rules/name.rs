//! Names of VMs.

const LONGEST: usize = 100;

/// A name is shown and compared, never a path; it must be visible on one line.
pub fn check(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("The name of a virtual machine must not be blank; give it one with -Name.".into());
    }
    if let Some(c) = name.chars().find(|&c| is_hidden(c)) {
        let what = if c.is_control() { "control" } else { "invisible or direction-changing" };
        let (shown, code) = (name.escape_default(), u32::from(c));
        return Err(format!("The name \"{shown}\" has the {what} character U+{code:04X}; leave it out."));
    }
    let length = name.chars().count();
    if length > LONGEST {
        return Err(format!("The name has {length} characters; {LONGEST} are the most, so shorten it."));
    }
    Ok(())
}

/// Moves the cursor, ends the line, or changes the order in which what is around it is shown (Unicode Standard Annex 9, 2).
pub fn is_hidden(c: char) -> bool {
    let changes_direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || changes_direction || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_visible_line() {
        for name in ["../x y", "größe", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}"] {
            assert!(check(name).is_ok(), "{name:?}");
        }
        for name in ["", " ", "a\nb", "a\x1b[2J", "a\u{9b}b", &"x".repeat(101)] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_name_reads_in_one_direction() {
        let marks =
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        for mark in marks.chars() {
            let why = check(&format!("a{mark}b")).unwrap_err();
            assert!(why.contains(&format!("U+{:04X}", u32::from(mark))) && !why.contains(mark), "{why}");
        }
    }
}
