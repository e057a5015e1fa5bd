//! Text as keys of a keyboard with the US layout: `ls -l{enter}`, `{ctrl+alt+del}`.

use crate::operation::Failure;
use ireko_machine::{Key, KeyEvent};

/// More is not typed at once.
pub const MOST: usize = 1000;

/// What stands in braces, for people.
pub const NAMES: &str = "enter esc tab backspace space del ins home end pgup pgdn up down left right f1 to f12 caps num scroll print pause menu shift ctrl alt altgr win";

const fn plain(code: u8) -> Key {
    Key { code, extended: false }
}
const fn extended(code: u8) -> Key {
    Key { code, extended: true }
}

const SHIFT: Key = plain(0x2a);
const ENTER: Key = plain(0x1c);
const TAB: Key = plain(0x0f);

/// Keys with names. Codes are those of scan code set 1.
const NAMED: [(&str, Key); 54] = [
    ("enter", ENTER),
    ("return", ENTER),
    ("esc", plain(0x01)),
    ("escape", plain(0x01)),
    ("tab", TAB),
    ("backspace", plain(0x0e)),
    ("bs", plain(0x0e)),
    ("space", plain(0x39)),
    ("del", extended(0x53)),
    ("delete", extended(0x53)),
    ("ins", extended(0x52)),
    ("insert", extended(0x52)),
    ("home", extended(0x47)),
    ("end", extended(0x4f)),
    ("pgup", extended(0x49)),
    ("pageup", extended(0x49)),
    ("pgdn", extended(0x51)),
    ("pagedown", extended(0x51)),
    ("up", extended(0x48)),
    ("down", extended(0x50)),
    ("left", extended(0x4b)),
    ("right", extended(0x4d)),
    ("f1", plain(0x3b)),
    ("f2", plain(0x3c)),
    ("f3", plain(0x3d)),
    ("f4", plain(0x3e)),
    ("f5", plain(0x3f)),
    ("f6", plain(0x40)),
    ("f7", plain(0x41)),
    ("f8", plain(0x42)),
    ("f9", plain(0x43)),
    ("f10", plain(0x44)),
    ("f11", plain(0x57)),
    ("f12", plain(0x58)),
    ("caps", plain(0x3a)),
    ("num", plain(0x45)),
    ("scroll", plain(0x46)),
    ("print", extended(0x37)),
    ("pause", extended(0x46)),
    ("menu", extended(0x5d)),
    ("shift", SHIFT),
    ("lshift", SHIFT),
    ("rshift", plain(0x36)),
    ("ctrl", plain(0x1d)),
    ("control", plain(0x1d)),
    ("lctrl", plain(0x1d)),
    ("rctrl", extended(0x1d)),
    ("alt", plain(0x38)),
    ("lalt", plain(0x38)),
    ("altgr", extended(0x38)),
    ("ralt", extended(0x38)),
    ("win", extended(0x5b)),
    ("lwin", extended(0x5b)),
    ("rwin", extended(0x5c)),
];

/// Rows of the keyboard: the first key's code, the characters without and with the shift key.
const ROWS: [(u8, &str, &str); 6] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x39, " ", ""),
    (0x56, "", ""),
];

/// The key of a character, and whether the shift key is held.
pub fn character(wanted: char) -> Option<(Key, bool)> {
    match wanted {
        '\n' | '\r' => return Some((ENTER, false)),
        '\t' => return Some((TAB, false)),
        _ => {}
    }
    let find = |first: u8, row: &str| row.chars().position(|one| one == wanted).map(|at| first + at as u8);
    ROWS.iter().find_map(|&(first, low, high)| {
        let shifted = find(first, high).map(|code| (plain(code), true));
        find(first, low).map(|code| (plain(code), false)).or(shifted)
    })
}

/// The keys of a chord like `ctrl+alt+del`, in the order in which they go down.
fn chord(text: &str) -> Result<Vec<Key>, Failure> {
    let mut keys = Vec::new();
    // A plus at the end is the key itself.
    let (names, plus) = match text.strip_suffix("++") {
        Some(names) => (names, true),
        None if text == "+" => ("", true),
        None => (text, false),
    };
    let named = names.split('+').filter(|name| !(plus && name.is_empty()));
    for name in named.chain(plus.then_some("+")) {
        if name.is_empty() && !text.is_empty() {
            return Err(incomplete(text));
        }
        let known = NAMED.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, key)| *key);
        let mut characters = name.chars();
        match (known, characters.next(), characters.next()) {
            (Some(key), ..) => keys.push(key),
            (None, Some(one), None) => {
                let (key, shifted) = character(one).ok_or_else(|| unknown(name))?;
                if shifted && !keys.contains(&SHIFT) {
                    keys.push(SHIFT);
                }
                keys.push(key);
            }
            _ => return Err(unknown(name)),
        }
    }
    Ok(keys)
}

fn incomplete(chord: &str) -> Failure {
    let chord = crate::render::printable(chord);
    Failure::invalid(format!(
        "The chord '{{{chord}}}' lacks a key beside a plus; write all of them, like {{ctrl+c}}, or {{ctrl++}} for the plus itself."
    ))
}

fn unknown(name: &str) -> Failure {
    let name = crate::render::printable(name);
    Failure::invalid(format!(
        "There is no key '{{{name}}}'; there are {NAMES}, and chords of them with characters like {{ctrl+c}}. A brace itself is {{{{."
    ))
}

/// Presses and releases.
fn strike(keys: &[Key], events: &mut Vec<KeyEvent>) {
    events.extend(keys.iter().map(|&key| KeyEvent { key, down: true }));
    events.extend(keys.iter().rev().map(|&key| KeyEvent { key, down: false }));
}

/// What typing this text comes to.
pub fn parse(text: &str) -> Result<Vec<KeyEvent>, Failure> {
    let (mut events, mut rest, mut count) = (Vec::new(), text, 0);
    while let Some(first) = rest.chars().next() {
        count += 1;
        if count > MOST {
            return Err(Failure::invalid(format!("More than {MOST} keys are not typed at once; type less.")));
        }
        rest = &rest[first.len_utf8()..];
        if let Some(behind) = rest.strip_prefix('{').filter(|_| first == '{') {
            rest = behind;
            strike(&[SHIFT, plain(0x1a)], &mut events);
        } else if first == '{' {
            let end = rest.find('}').ok_or_else(|| {
                Failure::invalid(
                    "A brace is open at the end of the text; close it, or write {{ for a brace itself.",
                )
            })?;
            strike(&chord(&rest[..end])?, &mut events);
            rest = &rest[end + 1..];
        } else {
            let (key, shifted) = character(first).ok_or_else(|| {
                let shown = first.escape_debug();
                Failure::invalid(format!("'{shown}' is on no key of a US keyboard; leave it out."))
            })?;
            let keys = [SHIFT, key];
            strike(if shifted { &keys } else { &keys[1..] }, &mut events);
        }
    }
    Ok(events)
}

/// Keys as they go to a worker: code, prefix, and whether it goes up.
pub fn pack(events: &[KeyEvent]) -> Vec<u16> {
    let one = |event: &KeyEvent| {
        u16::from(event.key.code) | u16::from(event.key.extended) << 8 | u16::from(!event.down) << 9
    };
    events.iter().map(one).collect()
}

pub fn unpack(packed: &[u16]) -> Vec<KeyEvent> {
    let one = |word: &u16| KeyEvent {
        key: Key { code: *word as u8 & 0x7f, extended: word >> 8 & 1 != 0 },
        down: word >> 9 & 1 == 0,
    };
    packed.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<u16> {
        pack(&parse(text).unwrap())
    }

    #[test]
    fn a_letter_goes_down_and_up() {
        assert_eq!(codes("a"), [0x1e, 0x21e]);
    }

    #[test]
    fn a_capital_letter_is_typed_with_the_shift_key() {
        assert_eq!(codes("A"), [0x2a, 0x1e, 0x21e, 0x22a]);
    }

    #[test]
    fn keys_have_names_in_any_case() {
        assert_eq!(codes("{Enter}\n{UP}"), [0x1c, 0x21c, 0x1c, 0x21c, 0x148, 0x348]);
    }

    #[test]
    fn the_keys_of_a_chord_are_held_together() {
        assert_eq!(codes("{ctrl+alt+del}"), [0x1d, 0x38, 0x153, 0x353, 0x238, 0x21d]);
        assert_eq!(codes("{ctrl+c}"), [0x1d, 0x2e, 0x22e, 0x21d]);
        assert_eq!(codes("{alt+?}"), codes("{alt+shift+/}"));
    }

    #[test]
    fn a_brace_and_a_plus_can_be_typed() {
        assert_eq!(codes("{{"), [0x2a, 0x1a, 0x21a, 0x22a]);
        assert_eq!(codes("}"), [0x2a, 0x1b, 0x21b, 0x22a]);
        assert_eq!(codes("{ctrl++}"), codes("{ctrl+shift+=}"));
    }

    #[test]
    fn every_character_of_a_us_keyboard_can_be_typed() {
        (' '..='~').for_each(|one| assert!(character(one).is_some(), "{one}"));
    }

    #[test]
    fn an_unknown_key_is_named_with_those_there_are() {
        let said = parse("{foo}").unwrap_err().message;
        assert!(said.contains("no key '{foo}'") && said.contains("enter esc tab"), "{said}");
    }

    #[test]
    fn a_chord_without_one_of_its_keys_is_shown_as_it_is() {
        for text in ["{ctrl+}", "{+c}", "{ctrl++c}", "{++c}"] {
            let said = parse(text).unwrap_err().message;
            assert!(said.contains(&format!("The chord '{text}' lacks a key")), "{said}");
        }
    }

    #[test]
    fn an_open_brace_and_a_strange_character_are_refused() {
        assert!(parse("a{enter").unwrap_err().message.contains("A brace is open"));
        assert!(parse("ä").unwrap_err().message.contains("'ä' is on no key"));
    }

    #[test]
    fn a_book_is_not_typed_at_once() {
        assert!(parse(&"x".repeat(MOST + 1)).unwrap_err().message.contains("More than 1000 keys"));
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let events = parse("aB{ctrl+alt+del}{left}").unwrap();
        assert_eq!(unpack(&pack(&events)), events);
    }
}
