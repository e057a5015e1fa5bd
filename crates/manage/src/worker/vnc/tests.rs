use super::*;
use crate::worker::screen::Shown;
use pixels::Rectangle;

fn shown(width: u32, height: u32, colour: u8) -> Shown {
    Shown { width, height, pixels: vec![colour; (width * height * 3) as usize], text: None }
}

fn message(bytes: &[u8]) -> io::Result<Message> {
    Message::read(&mut &*bytes)
}

#[test]
fn keys_and_pointers_are_read() {
    let key = message(&[4, 1, 0, 0, 0, 0, 0xff, 0x0d]).unwrap();
    assert_eq!(key, Message::Key { keysym: 0xff0d, down: true });
    let pointer = message(&[5, 1, 1, 0, 0, 2]).unwrap();
    assert_eq!(pointer, Message::Pointer { buttons: 1, x: 256, y: 2 });
}

#[test]
fn who_follows_sizes_says_so_among_encodings() {
    let encodings = |list: &[i32]| {
        let mut bytes = vec![2, 0, 0, list.len() as u8];
        list.iter().for_each(|one| bytes.extend(one.to_be_bytes()));
        message(&bytes).unwrap()
    };
    assert_eq!(encodings(&[0, 16, -223]), Message::Encodings { resizes: true });
    assert_eq!(encodings(&[0]), Message::Encodings { resizes: false });
}

#[test]
fn a_tablet_is_told_the_ends_of_the_screen_as_its_own() {
    assert_eq!([0, 639, 1000, -1].map(|at| along(at, 640)), [0, FARTHEST, FARTHEST, 0]);
    assert_eq!(
        [along(0, 0), along(5, 0), along(5, 1), along(320, 641)],
        [0, FARTHEST, FARTHEST, FARTHEST / 2]
    );
}

#[test]
fn a_clipboard_is_skipped_and_one_without_end_refused() {
    assert_eq!(message(&[6, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']).unwrap(), Message::Nothing);
    assert!(message(&[6, 0, 0, 0, 0, 0x10, 0, 1]).is_err());
    assert!(message(&[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
}

#[test]
fn formats_that_there_are_not_are_refused() {
    let mut format = Format::default().bytes();
    assert_eq!(Format::of(format), Some(Format::default()));
    format[10] = 32;
    assert_eq!(Format::of(format), None);
    for (at, value) in [(0, 24), (0, 0), (3, 0)] {
        let mut format = Format::default().bytes();
        format[at] = value;
        assert_eq!(Format::of(format), None, "{at}");
    }
}

#[test]
fn only_what_has_changed_is_sent() {
    let (before, mut now) = (shown(64, 40, 0), shown(64, 40, 0));
    assert!(pixels::changed(Some(&before), &now, (64, 40)).is_empty());
    now.pixels[(20 * 64 + 10) * 3] = 1;
    now.pixels[(21 * 64 + 12) * 3] = 1;
    let changed = pixels::changed(Some(&before), &now, (64, 40));
    assert_eq!(changed, [Rectangle { columns: 10..13, lines: 16..32 }]);
}

#[test]
fn a_smaller_picture_is_black_around() {
    let mut bytes = Vec::new();
    let all = pixels::changed(None, &shown(1, 1, 255), (2, 1));
    pixels::write(&mut bytes, &shown(1, 1, 255), &all, Format::default()).unwrap();
    assert_eq!(bytes[4..], [0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0]);
}

#[test]
fn pixels_come_in_the_format_that_was_asked_for() {
    let mut format = Format::default().bytes();
    // RGB 565, the high byte first.
    (format[0], format[2], format[5], format[7], format[9]) = (16, 1, 31, 63, 31);
    (format[10], format[11], format[12]) = (11, 5, 0);
    let (mut bytes, mut red) = (Vec::new(), shown(1, 1, 0));
    red.pixels[0] = 255;
    let all = pixels::changed(None, &red, (1, 1));
    pixels::write(&mut bytes, &red, &all, Format::of(format).unwrap()).unwrap();
    assert_eq!(bytes[16..], [0xf8, 0]);
}

#[test]
fn keysyms_are_keys() {
    let code = |keysym| keysym::key(keysym).map(|key| (key.code, key.extended));
    assert_eq!(code(u32::from(b'a')), Some((0x1e, false)));
    assert_eq!(code(u32::from(b'A')), Some((0x1e, false)));
    assert_eq!(code(0xff52), Some((0x48, true)));
    assert_eq!((code(0xffbe), code(0xffc9)), (Some((0x3b, false)), Some((0x58, false))));
    assert_eq!((code(0), code(0x1_0000), code(u32::MAX)), (None, None, None));
}

#[test]
fn every_known_version_is_greeted_and_no_other() {
    for (version, security, size) in
        [("003.003", &b""[..], 12 + 4), ("003.007", b"\x01", 12 + 2), ("003.008", b"\x01", 12 + 2 + 4)]
    {
        let said = [format!("RFB {version}\n").as_bytes(), security, b"\x01"].concat();
        let mut answer = Vec::new();
        greet(&mut said.as_slice(), &mut answer, (640, 480), None).unwrap();
        assert_eq!(answer[size..size + 4], [2, 0x80, 1, 0xe0], "{version}");
    }
    for said in [&b"GET / HTTP/1.1\r\n"[..], b"RFB 003.889\n", b"RFB"] {
        assert!(greet(&mut &*said, &mut Vec::new(), (640, 480), None).is_err());
    }
}

/// Whatever a viewer sends, it is a message or the end, and no more of it is kept than a few bytes.
#[test]
fn fuzz_viewer_messages() {
    bolero::check!().with_test_time(Duration::from_secs(2)).for_each(|input: &[u8]| {
        let mut rest = input;
        while let Ok(message) = Message::read(&mut rest) {
            match message {
                Message::Key { keysym, .. } => drop(keysym::key(keysym)),
                Message::Format(format) => {
                    let (picture, mut bytes) = (shown(3, 2, 200), Vec::new());
                    let all = pixels::changed(None, &picture, (4, 3));
                    pixels::write(&mut bytes, &picture, &all, format).unwrap();
                    assert!(bytes.len() <= 16 + 4 * 3 * 4);
                }
                _ => {}
            }
        }
        let _ = greet(&mut &*input, &mut Vec::new(), (1, 1), None);
    });
}
