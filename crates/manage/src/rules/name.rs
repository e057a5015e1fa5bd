//! Names of what people make: virtual machines, switches, adapters, networks, disks.

const LONGEST: usize = 100;

/// A name is shown and compared, never a path; it must be visible on one line.
pub fn check(name: &str) -> Result<(), String> {
    if name.chars().all(|c| c.is_whitespace() || is_invisible(c) && !c.is_control()) {
        return Err(format!("The name \"{}\" is blank; give one that can be seen.", name.escape_default()));
    }
    check_characters("name", name)?;
    if name.trim() != name {
        return Err(format!(
            "The name \"{name}\" begins or ends with a space, which nobody sees; leave it out."
        ));
    }
    let length = name.chars().count();
    if length > LONGEST {
        return Err(format!("The name has {length} characters; {LONGEST} are the most, so shorten it."));
    }
    Ok(())
}

/// Of something that may be longer than a name, like the path of a file that is to be made.
pub fn check_characters(what: &str, text: &str) -> Result<(), String> {
    match text.chars().find(|&c| is_invisible(c)) {
        Some(c) => {
            let kind = if c.is_control() { "control" } else { "invisible or direction-changing" };
            let (shown, code) = (text.escape_default(), u32::from(c));
            Err(format!("The {what} \"{shown}\" has the {kind} character U+{code:04X}; leave it out."))
        }
        None => Ok(()),
    }
}

/// Shows nothing of its own: two names that look the same could differ in it.
pub fn is_invisible(c: char) -> bool {
    let after = INVISIBLE.partition_point(|&(first, _)| first <= c);
    c.is_control() || after > 0 && c <= INVISIBLE[after - 1].1
}

/// What must not be in anything that is shown. Of the invisible characters those may stay that shape what is beside them, in
/// words of many scripts and in pictures: joiners and variation selectors.
pub fn is_hidden(c: char) -> bool {
    let shapes = matches!(c, '\u{34f}' | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{200c}' | '\u{200d}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}');
    is_invisible(c) && !shapes
}

/// Unicode's DerivedCoreProperties.txt, Default_Ignorable_Code_Point, and its categories Cf, Zl and Zp; and the braille pattern
/// without dots. In order.
const INVISIBLE: [(char, char); 26] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_visible_line() {
        for name in ["../x y", "größe", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}", "\u{1f40c}"] {
            assert!(check(name).is_ok(), "{name:?}");
        }
        for name in ["", " ", "\u{a0}", "a\nb", "a\x1b[2J", "a\u{9b}b", " a", "a ", &"x".repeat(101)] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_name_reads_in_one_direction_and_shows_all_that_it_has() {
        let marks =
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        let nothing = "\u{ad}\u{34f}\u{180e}\u{200b}\u{200c}\u{200d}\u{2028}\u{2060}\u{2064}\u{2800}\u{3164}\
                       \u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{e0001}\u{e007f}\u{e0100}\u{e0fff}";
        for mark in marks.chars().chain(nothing.chars()) {
            let why = check(&format!("a{mark}b")).unwrap_err();
            assert!(why.contains(&format!("U+{:04X}", u32::from(mark))) && !why.contains(mark), "{why}");
        }
    }

    #[test]
    fn what_shows_nothing_at_all_is_blank() {
        assert!(check(" \u{200b}\u{2800}").unwrap_err().contains("blank"));
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(INVISIBLE.iter().all(|(first, last)| first <= last));
        assert!(INVISIBLE.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn what_shapes_its_neighbours_is_shown() {
        assert!(!is_hidden('\u{200d}') && !is_hidden('\u{fe0f}') && is_hidden('\u{200b}'));
    }
}
