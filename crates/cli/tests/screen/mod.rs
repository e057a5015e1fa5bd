//! A machine's screen and keyboard: GRUB's menu as text, as pixels, and by keys; with both kinds of firmware.

use super::home::Home;
use super::medium::{Label, Medium};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Nothing that is waited for takes a minute on an idle machine.
const PATIENCE: Duration = Duration::from_secs(150);

struct Machine {
    home: Home,
}

impl Machine {
    fn start(name: &str, label: Label) -> Self {
        Self::with(name, label, "vga")
    }

    fn with(name: &str, label: Label, adapter: &str) -> Self {
        let home = Home::new(name);
        let medium = Medium::menu(&home, label);
        let disk = medium.disk.to_str().unwrap();
        let generation = if label == Label::Mbr { "1" } else { "2" };
        let machine = Self { home };
        let common =
            ["vm", "create", "pc", "--memory", "256M", "--engine", "soft", "--start-with", "firmware"];
        machine.ok(&[&common[..], &["--disk", disk, "--generation", generation]].concat());
        machine.ok(&["vm", "screen-set", "pc", "--adapter", adapter]);
        machine.ok(&["vm", "start", "pc"]);
        machine
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.home.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn type_keys(&self, keys: &str) {
        self.ok(&["vm", "type", "pc", keys]);
    }

    /// Nothing, if the worker does not answer at once on a busy machine.
    fn text(&self) -> Option<String> {
        let output = self.home.run(&["vm", "screenshot", "pc"]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn picture(&self) -> Picture {
        let path = self.home.0.join("screen.png");
        let saved = |machine: &Self| {
            machine.home.run(&["vm", "screenshot", "pc", path.to_str().unwrap()]).status.success()
        };
        self.until("a picture", |machine| saved(machine).then(|| Picture::read(&path)))
    }

    /// What `look` gives once it gives something.
    fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(since.elapsed() < PATIENCE, "{what} does not come; the screen has:\n{:?}", self.text());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn until_text(&self, text: &str) -> String {
        self.until(text, |machine| machine.text().filter(|shown| shown.contains(text)))
    }

    fn socket(&self) -> UnixStream {
        let shown = self.ok(&["vm", "screen", "pc"]);
        let line = shown.lines().find(|line| line.starts_with("Socket")).unwrap();
        UnixStream::connect(line.split_once(": ").unwrap().1).unwrap()
    }
}

struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn read(path: &PathBuf) -> Self {
        let decoder = png::Decoder::new(BufReader::new(File::open(path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        Self { width: info.width as usize, height: info.height as usize, pixels }
    }

    fn bright(&self, x: usize, y: usize) -> bool {
        self.pixels[(y * self.width + x) * 3] > 0x60
    }

    /// The dots of a character of 9 by 16.
    fn cell(&self, column: usize, row: usize) -> Vec<bool> {
        let dots = (0..16).flat_map(|y| (0..9).map(move |x| (column * 9 + x, row * 16 + y)));
        dots.map(|(x, y)| self.bright(x, y)).collect()
    }

    /// The line in the middle of a bar that is as long as most of the screen is wide.
    fn bar(&self) -> Option<usize> {
        let long = |y: &usize| (0..self.width).filter(|&x| self.bright(x, *y)).count() > self.width / 2;
        let lines: Vec<usize> = (0..self.height).filter(long).collect();
        // Frames have a line or two, the bar all lines of a character but those with letters.
        lines.windows(4).find(|lines| lines[3] - lines[0] < 8).map(|lines| lines[0])
    }
}

/// Where a text begins: column and row.
fn place(screen: &str, text: &str) -> (usize, usize) {
    let (row, line) = screen.lines().enumerate().find(|(_, line)| line.contains(text)).unwrap();
    (line[..line.find(text).unwrap()].chars().count(), row)
}

#[test]
fn grubs_menu_is_on_the_screen_and_follows_keys() {
    let machine = Machine::start("bios", Label::Mbr);
    menu_is_text_and_picture(&machine);
    a_viewer_sees_it_and_types(&machine);
    a_command_is_typed(&machine);
}

fn menu_is_text_and_picture(machine: &Machine) {
    let screen = machine.until_text("*First of all");
    let picture = machine.picture();
    assert_eq!((picture.width, picture.height), (720, 400));
    // The characters of "GNU GRUB": a G is a G, and neither an N nor a blank.
    let (column, row) = place(&screen, "GNU GRUB");
    let cell = |n: usize| picture.cell(column + n, row);
    assert_eq!(cell(0), cell(4));
    assert!(cell(0) != cell(1) && cell(0) != cell(3) && cell(3).iter().all(|dot| !dot));
    // A screen is drawn while it is looked at.
    let bar_comes_to = |row: usize| {
        machine.until("the bar on its row", |machine| machine.picture().bar().filter(|bar| bar / 16 == row))
    };
    let first = place(&screen, "*First").1;
    bar_comes_to(first);
    machine.type_keys("{down}");
    machine.until_text("*Second");
    bar_comes_to(first + 1);
}

#[test]
fn grubs_menu_is_seen_with_uefi_and_follows_keys() {
    let machine = Machine::start("uefi", Label::Gpt);
    let first = machine.until("a bar in a menu", |machine| machine.picture().bar());
    machine.type_keys("{down}");
    let next = |machine: &Machine| machine.picture().bar().filter(|bar| *bar > first);
    machine.until("the bar at the second entry", next);
}

/// A GPU that nobody drives.
#[test]
fn grubs_menu_is_on_the_vga_that_virtios_gpu_is_before_it_has_a_driver() {
    let machine = Machine::with("gpu", Label::Mbr, "virtio");
    menu_is_text_and_picture(&machine);
    let machine = Machine::with("gpu-uefi", Label::Gpt, "virtio");
    machine.until("a bar in a menu", |machine| machine.picture().bar());
}

fn a_viewer_sees_it_and_types(machine: &Machine) {
    let mut viewer = machine.socket();
    let read = |viewer: &mut UnixStream, count: usize| {
        let mut bytes = vec![0; count];
        viewer.read_exact(&mut bytes).map(|()| bytes).unwrap()
    };
    assert_eq!(read(&mut viewer, 12), b"RFB 003.008\n");
    viewer.write_all(b"RFB 003.008\n").unwrap();
    assert_eq!(read(&mut viewer, 2), [1, 1]);
    viewer.write_all(&[1]).unwrap();
    assert_eq!(read(&mut viewer, 4), [0; 4]);
    viewer.write_all(&[1]).unwrap();
    assert_eq!(read(&mut viewer, 24 + 5)[..4], [720u16.to_be_bytes(), 400u16.to_be_bytes()].concat());
    viewer.write_all(&[3, 0, 0, 0, 0, 0, 720u16.to_be_bytes()[0], 0xd0, 1, 0x90]).unwrap();
    let update = read(&mut viewer, 16 + 720 * 400 * 4);
    assert_eq!(update[..16], [0, 0, 0, 1, 0, 0, 0, 0, 2, 0xd0, 1, 0x90, 0, 0, 0, 0]);
    assert!(update[16..].contains(&0xaa));
    // The key "down" goes down and up.
    for down in [1, 0] {
        viewer.write_all(&[4, down, 0, 0, 0, 0, 0xff, 0x54]).unwrap();
    }
    machine.until_text("*Third");
}

fn a_command_is_typed(machine: &Machine) {
    machine.type_keys("c");
    machine.until_text("grub>");
    machine.type_keys("echo 'Typed: {{}[]|\\~'{enter}");
    machine.until_text("\nTyped: {}[]|\\~");
}

#[test]
fn a_key_that_there_is_not_is_named_and_a_machine_without_a_screen_says_so() {
    let home = Home::new("refused");
    let said = |arguments: &[&str]| {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(home.run(&["vm", "create", "plain", "--memory", "256M", "--engine", "soft"]).status.success());
    assert!(said(&["vm", "type", "plain", "{foo}"]).contains("There is no key '{foo}'"));
    assert!(said(&["vm", "type", "plain", "x"]).contains("use ireko vm start first"));
    assert!(said(&["vm", "screenshot", "plain"]).contains("use ireko vm start first"));
    assert!(home.run(&["vm", "start", "plain"]).status.success());
    for arguments in
        [&["vm", "type", "plain", "x"][..], &["vm", "screenshot", "plain"], &["vm", "screen", "plain"]]
    {
        let said = said(arguments);
        assert!(said.contains("no display and no keyboard"), "{arguments:?}: {said}");
    }
}
