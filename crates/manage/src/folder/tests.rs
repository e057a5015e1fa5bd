use super::session::Session;
use super::*;
use crate::fuse::operation::*;
use crate::scratch::Scratch;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const MOST: usize = 1 << 16;
/// EROFS, ENOENT and others, as answers have them.
const READ_ONLY: i32 = -30;
const NO_ENTRY: i32 = -2;
const INVALID: i32 = -22;
const EXISTS: i32 = -17;
const STALE: i32 = -116;
const NOT_PERMITTED: i32 = -1;
const TOO_MANY: i32 = -23;

/// A folder with a file beside it.
struct World {
    session: Session,
    scratch: Scratch,
}

impl World {
    fn new() -> Self {
        Self::with(false, 1000)
    }

    fn with(read_only: bool, most: u64) -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("folder")).unwrap();
        fs::write(scratch.path().join("outside"), "secret").unwrap();
        let folder = openat(CWD, scratch.path().join("folder"), PLACE, Mode::empty()).unwrap();
        let descriptors = openat(CWD, "/proc/self/fd", PLACE, Mode::empty()).unwrap();
        Self { session: Session::new(folder, descriptors, most, read_only).unwrap(), scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("folder").join(name)
    }

    /// The error, and what is behind the answer's header.
    fn ask(&mut self, operation: u32, node: u64, body: &[u8]) -> (i32, Vec<u8>) {
        let mut request = vec![0; 40];
        request[4..8].copy_from_slice(&operation.to_ne_bytes());
        request[8..16].copy_from_slice(&77u64.to_ne_bytes());
        request[16..24].copy_from_slice(&node.to_ne_bytes());
        request.extend(body);
        let answer = self.session.answer(&request, MOST);
        assert_eq!((answer.len(), &answer[8..16]), (u32_of(&answer, 0) as usize, &77u64.to_ne_bytes()[..]));
        (u32_of(&answer, 4) as i32, answer[16..].to_vec())
    }

    fn ok(&mut self, operation: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let (error, answer) = self.ask(operation, node, body);
        assert_eq!(error, 0, "operation {operation}");
        answer
    }

    fn look_up(&mut self, parent: u64, name: &str) -> u64 {
        u64_of(&self.ok(LOOKUP, parent, &text(name)), 0)
    }

    /// A file's node and a handle of it.
    fn create(&mut self, name: &str) -> (u64, u64) {
        let body = [words(&[0o2, 0o644, 0, 0]), text(name)].concat();
        let answer = self.ok(CREATE, 1, &body);
        (u64_of(&answer, 0), u64_of(&answer, 128))
    }

    fn names(&mut self, operation: u32) -> Vec<String> {
        let handle = u64_of(&self.ok(OPENDIR, 1, &[0; 8]), 0);
        let (mut names, mut offset) = (Vec::new(), 0);
        let plus = if operation == READDIRPLUS { 128 } else { 0 };
        loop {
            let body = [longs(&[handle, offset]), words(&[300 + plus as u32, 0]), vec![0; 16]].concat();
            let answer = self.ok(operation, 1, &body);
            let mut rest = &answer[..];
            if rest.is_empty() {
                return names;
            }
            while !rest.is_empty() {
                let entry = &rest[plus..];
                let length = u32_of(entry, 16) as usize;
                offset = u64_of(entry, 8);
                names.push(String::from_utf8(entry[24..24 + length].to_vec()).unwrap());
                rest = &entry[(24 + length).next_multiple_of(8)..];
            }
        }
    }
}

fn u32_of(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}
fn u64_of(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
}
fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
fn writing(handle: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    [longs(&[handle, offset]), words(&[data.len() as u32, 0]), vec![0; 16], data.to_vec()].concat()
}
fn reading(handle: u64, offset: u64, length: u32) -> Vec<u8> {
    [longs(&[handle, offset]), words(&[length, 0]), vec![0; 16]].concat()
}

#[test]
fn what_is_written_is_in_the_hosts_file() {
    let mut world = World::new();
    let (_, handle) = world.create("file");
    assert_eq!(u32_of(&world.ok(WRITE, 0, &writing(handle, 3, b"abc")), 0), 3);
    assert_eq!(fs::read(world.path("file")).unwrap(), b"\0\0\0abc");
}

#[test]
fn what_the_host_has_is_read() {
    let mut world = World::new();
    fs::write(world.path("file"), "0123456789").unwrap();
    let node = world.look_up(1, "file");
    let handle = u64_of(&world.ok(OPEN, node, &[0; 8]), 0);
    assert_eq!(world.ok(READ, node, &reading(handle, 4, 100)), b"456789");
    assert_eq!(world.ok(READ, node, &reading(handle, 10, 100)), b"");
}

#[test]
fn a_name_leads_nowhere_else() {
    let mut world = World::new();
    for name in ["..", ".", "", "../outside", "a/b", "/etc/passwd"] {
        assert_eq!(world.ask(LOOKUP, 1, &text(name)).0, INVALID, "{name}");
    }
    assert_eq!(world.ask(LOOKUP, 1, b"no null").0, INVALID);
}

#[test]
fn a_link_out_of_the_folder_is_a_link_and_nothing_more() {
    let mut world = World::new();
    symlink(world.scratch.path().join("outside"), world.path("link")).unwrap();
    symlink("..", world.path("up")).unwrap();
    let link = world.look_up(1, "link");
    assert!(world.ok(READLINK, link, &[]).ends_with(b"/outside"));
    assert_eq!(world.ask(OPEN, link, &[0; 8]).0, -40);
    let up = world.look_up(1, "up");
    assert_eq!(world.ask(LOOKUP, up, &text("outside")).0, -20);
    let cut = [words(&[1 << 3, 0]), longs(&[0, 0]), vec![0; 64]].concat();
    assert_eq!(world.ask(SETATTR, link, &cut).0, -40);
    assert_eq!(fs::read(world.scratch.path().join("outside")).unwrap(), b"secret");
}

#[test]
fn directories_links_and_names_come_and_go() {
    let mut world = World::new();
    let answer = world.ok(MKDIR, 1, &[words(&[0o755, 0]), text("directory")].concat());
    let directory = u64_of(&answer, 0);
    let (file, _) = world.create("file");
    world.ok(RENAME, 1, &[longs(&[directory]), text("file"), text("other")].concat());
    world.ok(LINK, 1, &[longs(&[file]), text("second")].concat());
    assert_eq!(fs::metadata(world.path("directory/other")).unwrap().nlink(), 2);
    world.ok(SYMLINK, 1, &[text("link"), text("directory/other")].concat());
    assert_eq!(fs::read_link(world.path("link")).unwrap().to_str(), Some("directory/other"));
    world.ok(UNLINK, directory, &text("other"));
    world.ok(RMDIR, 1, &text("directory"));
    world.ok(UNLINK, 1, &text("link"));
    assert_eq!(world.names(READDIR).len(), 3);
}

#[test]
fn a_name_that_is_taken_is_not_renamed_over_where_that_is_not_wanted() {
    let mut world = World::new();
    world.create("one");
    world.create("two");
    let without = |flags: u32| [longs(&[1]), words(&[flags, 0]), text("one"), text("two")].concat();
    assert_eq!(world.ask(RENAME2, 1, &without(1)).0, -17);
    assert_eq!(world.ask(RENAME2, 1, &without(4)).0, INVALID);
    world.ok(RENAME2, 1, &without(2));
    assert_eq!(world.names(READDIR).len(), 4);
}

#[test]
fn a_directory_is_listed_whole_however_small_the_answers_are() {
    let mut world = World::new();
    let expected: Vec<String> = (0..100).map(|n| format!("a-file-with-the-number-{n}")).collect();
    expected.iter().for_each(|name| fs::write(world.path(name), "").unwrap());
    for operation in [READDIR, READDIRPLUS] {
        let mut names = world.names(operation);
        names.retain(|name| !name.starts_with("."));
        names.sort_by_key(|name| name.rsplit('-').next().unwrap().parse::<u32>().unwrap());
        assert_eq!(names, expected);
    }
}

#[test]
fn mode_size_and_times_are_set() {
    let mut world = World::new();
    let (node, _) = world.create("file");
    let valid = 1 | 1 << 3 | 1 << 4 | 1 << 5;
    let body =
        [words(&[valid, 0]), longs(&[0, 5000, 0, 11, 22, 0]), words(&[1, 2, 0, 0o600, 0, 0, 0, 0])].concat();
    let answer = world.ok(SETATTR, node, &body);
    let found = fs::metadata(world.path("file")).unwrap();
    assert_eq!((found.len(), found.mode() & 0o7777), (5000, 0o600));
    assert_eq!((found.atime(), found.mtime(), found.mtime_nsec()), (11, 22, 2));
    assert_eq!(u64_of(&answer, 24), 5000);
}

#[test]
fn only_regular_files_are_made() {
    let mut world = World::new();
    for kind in [0o010_000, 0o020_000, 0o060_000, 0o140_000] {
        let body = [words(&[kind | 0o666, 0x0103, 0, 0]), text("device")].concat();
        assert_eq!(world.ask(MKNOD, 1, &body).0, NOT_PERMITTED, "{kind:o}");
    }
    world.ok(MKNOD, 1, &[words(&[0o100_644, 0, 0, 0]), text("file")].concat());
    assert!(world.path("file").is_file() && !world.path("device").exists());
}

#[test]
fn what_could_keep_one_waiting_is_not_opened() {
    let mut world = World::new();
    rustix::fs::mkfifoat(CWD, world.path("pipe"), Mode::RUSR).unwrap();
    let pipe = world.look_up(1, "pipe");
    assert_eq!(world.ask(OPEN, pipe, &[0; 8]).0, NOT_PERMITTED);
}

/// A host's program waits for the other end of a pipe: making a file of that name must not be it.
#[test]
fn what_could_keep_one_waiting_is_not_opened_by_creating_it() {
    let mut world = World::new();
    rustix::fs::mkfifoat(CWD, world.path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let body = [words(&[0o2, 0o644, 0, 0]), text("pipe")].concat();
    assert_eq!(world.ask(CREATE, 1, &body).0, NOT_PERMITTED);
}

#[test]
fn a_file_that_is_there_is_opened_by_creating_it_and_cut_if_asked() {
    let mut world = World::new();
    fs::write(world.path("file"), "five!").unwrap();
    let create = |flags: u32| [words(&[flags, 0o644, 0, 0]), text("file")].concat();
    world.ok(CREATE, 1, &create(0o2));
    assert_eq!(fs::read(world.path("file")).unwrap(), b"five!");
    world.ok(CREATE, 1, &create(0o1002));
    assert_eq!(fs::read(world.path("file")).unwrap(), b"");
    assert_eq!(world.ask(CREATE, 1, &create(0o202)).0, EXISTS);
}

#[test]
fn no_program_of_the_host_gets_its_owners_rights_from_a_guest() {
    let mut world = World::new();
    let (node, _) = world.create("file");
    let body = [words(&[1, 0]), longs(&[0; 6]), words(&[0, 0, 0, 0o7755, 0, 0, 0, 0])].concat();
    world.ok(SETATTR, node, &body);
    world.ok(CREATE, 1, &[words(&[0o2, 0o6755, 0, 0]), text("other")].concat());
    let modes = ["file", "other"].map(|name| fs::metadata(world.path(name)).unwrap().mode() & 0o6000);
    assert_eq!(modes, [0, 0]);
}

#[test]
fn a_folder_that_a_link_came_to_lead_to_is_not_shared() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("other")).unwrap();
    let share = Share::parse(&format!("x={}/folder", scratch.path().display())).unwrap();
    std::os::unix::fs::symlink("other", scratch.path().join("folder")).unwrap();
    let home = scratch.path().join("home");
    assert!(share.check(&home).unwrap_err().contains("set the share anew"));
}

#[test]
fn a_folder_for_reading_is_not_changed() {
    let mut world = World::with(true, 1000);
    fs::write(world.path("file"), "content").unwrap();
    let node = world.look_up(1, "file");
    for (operation, about, body) in [
        (MKDIR, 1, [words(&[0o755, 0]), text("new")].concat()),
        (CREATE, 1, [words(&[2, 0o644, 0, 0]), text("new")].concat()),
        (UNLINK, 1, text("file")),
        (OPEN, node, words(&[1, 0])),
        (SETATTR, node, vec![0xff; 88]),
    ] {
        assert_eq!(world.ask(operation, about, &body).0, READ_ONLY, "operation {operation}");
    }
    let handle = u64_of(&world.ok(OPEN, node, &[0; 8]), 0);
    assert_eq!(world.ok(READ, node, &reading(handle, 0, 100)), b"content");
}

#[test]
fn what_the_kernel_has_forgotten_it_knows_no_more() {
    let mut world = World::new();
    fs::write(world.path("file"), "").unwrap();
    let node = world.look_up(1, "file");
    assert_eq!(world.look_up(1, "file"), node);
    let forget = |world: &mut World, times: u64| {
        let mut request = vec![0; 40];
        request[4..8].copy_from_slice(&FORGET.to_ne_bytes());
        request[16..24].copy_from_slice(&node.to_ne_bytes());
        request.extend(times.to_ne_bytes());
        assert!(world.session.answer(&request, MOST).is_empty());
    };
    forget(&mut world, 1);
    assert_eq!(world.ask(GETATTR, node, &[0; 16]).0, 0);
    forget(&mut world, 1);
    assert_eq!(world.ask(GETATTR, node, &[0; 16]).0, STALE);
}

#[test]
fn a_guest_has_so_many_descriptors_and_no_more() {
    let mut world = World::with(false, 64 + 10);
    (0..20).for_each(|n| fs::write(world.path(&n.to_string()), "").unwrap());
    let errors: Vec<i32> = (0..20).map(|n| world.ask(LOOKUP, 1, &text(&n.to_string())).0).collect();
    assert_eq!((errors[0], errors[19], world.session.count().0), (0, TOO_MANY, 10));
    // A kernel that begins anew has them all again.
    world.ok(INIT, 0, &words(&[7, 31, 0, 0]));
    assert_eq!(world.session.count(), (1, 0));
}

#[test]
fn a_file_that_another_has_removed_is_read_as_long_as_it_is_open() {
    let mut world = World::new();
    let (node, handle) = world.create("file");
    world.ok(WRITE, node, &writing(handle, 0, b"still"));
    fs::remove_file(world.path("file")).unwrap();
    assert_eq!(world.ask(LOOKUP, 1, &text("file")).0, NO_ENTRY);
    assert_eq!(world.ok(READ, node, &reading(handle, 0, 10)), b"still");
}

#[test]
fn requests_of_any_bytes_change_nothing_outside_and_end_nothing() {
    fuzz(2000);
}

/// Bytes that look like requests, or not.
fn fuzz(rounds: u64) {
    let mut world = World::new();
    world.create("file");
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    for _ in 0..rounds {
        let mut request = vec![0; 40];
        request[4..8].copy_from_slice(&(next() as u32 % 54).to_ne_bytes());
        request[16..24].copy_from_slice(&(next() % 6).to_ne_bytes());
        for _ in 0..next() % 12 {
            match next() % 4 {
                0 => request.extend(text(["file", "..", "x", "a/b", ""][next() as usize % 5])),
                1 => request.extend((next() % 8).to_ne_bytes()),
                2 => request.extend((next() as u32 & 0o7777).to_ne_bytes()),
                _ => request.extend(next().to_ne_bytes()),
            }
        }
        request.truncate(request.len() - (next() % 9) as usize);
        let most = next() as usize % 5000;
        assert!(world.session.answer(&request, most).len() <= most);
    }
    assert_eq!(fs::read(world.scratch.path().join("outside")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(world.scratch.path()).unwrap().count(), 2);
}

#[test]
fn fuzz_folder_requests() {
    bolero::check!().with_type::<Vec<Vec<u8>>>().for_each(|requests| {
        let mut world = World::new();
        for request in requests {
            assert!(world.session.answer(request, MOST).len() <= MOST);
        }
        assert_eq!(fs::read_dir(world.scratch.path()).unwrap().count(), 2);
    });
}

#[test]
fn a_share_is_a_name_and_a_folder() {
    let share = Share::parse("home=/tmp/x,ro").unwrap();
    assert_eq!((share.name.as_str(), share.path.to_str(), share.read_only), ("home", Some("/tmp/x"), true));
    assert_eq!(share.shown(), "home=/tmp/x,ro");
    for text in ["home", "=/tmp", "a b=/tmp", "home=", &format!("{}=/tmp", "x".repeat(37))] {
        assert!(Share::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_decides_on_machines_is_not_shared() {
    let scratch = Scratch::new();
    let home = scratch.path().join("home");
    fs::create_dir_all(home.join("vms")).unwrap();
    fs::create_dir(scratch.path().join("other")).unwrap();
    let check = |path: PathBuf| Share { name: "x".into(), path, read_only: false }.check(&home);
    for path in [scratch.path().to_owned(), home.clone(), home.join("vms")] {
        assert!(check(path).unwrap_err().contains("share another folder"));
    }
    assert_eq!(check(scratch.path().join("other")), Ok(()));
    assert!(check(scratch.path().join("none")).unwrap_err().contains("check the path"));
}
