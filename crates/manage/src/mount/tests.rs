use super::wire::Served;
use ireko_storage::create::{Plan, create};
use ireko_storage::{Format, Link, Store, chain};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const SIZE: u64 = 1 << 20;

fn served() -> Served {
    let scratch = crate::scratch::Scratch::new();
    let path = scratch.path().join("image");
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    let store: Arc<dyn Store> = Arc::new(file);
    create(store.as_ref(), &Plan::new(Format::Qcow2, SIZE)).unwrap();
    let image = chain::open(&[Link { store, format: Format::Qcow2 }], true).unwrap();
    Served { image, owner: (7, 8) }
}

/// A request with these words behind its header: the error, and what is behind the answer's header.
fn ask(served: &Served, operation: u32, body: &[u8]) -> (i32, Vec<u8>) {
    let mut request = vec![0; 40];
    request[4..8].copy_from_slice(&operation.to_ne_bytes());
    request[8..16].copy_from_slice(&77u64.to_ne_bytes());
    request.extend(body);
    let answer = served.answer(&request).unwrap();
    assert_eq!(u32::from_ne_bytes(answer[..4].try_into().unwrap()) as usize, answer.len());
    assert_eq!(answer[8..16], 77u64.to_ne_bytes());
    (i32::from_ne_bytes(answer[4..8].try_into().unwrap()), answer[16..].to_vec())
}

fn moving(offset: u64, len: u32) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend(offset.to_ne_bytes());
    body.extend(len.to_ne_bytes());
    body.resize(40, 0);
    body
}

fn read(served: &Served, offset: u64, len: u32) -> Vec<u8> {
    ask(served, 15, &moving(offset, len)).1
}

fn write(served: &Served, offset: u64, data: &[u8]) -> i32 {
    ask(served, 16, &[moving(offset, data.len() as u32).as_slice(), data].concat()).0
}

#[test]
fn the_file_is_as_large_as_the_disk() {
    let attributes = ask(&served(), 3, &[0; 16]).1;
    assert_eq!((attributes.len(), &attributes[24..32]), (104, SIZE.to_ne_bytes().as_slice()));
}

#[test]
fn what_is_written_anywhere_is_read_again() {
    let served = served();
    for (offset, data) in [(0, vec![1; 512]), (700, vec![2; 3]), (4000, vec![3; 9000]), (SIZE - 1, vec![4])] {
        assert_eq!(write(&served, offset, &data), 0);
        assert_eq!(read(&served, offset, data.len() as u32), data);
    }
    assert_eq!(read(&served, 699, 5), [0, 2, 2, 2, 0]);
}

#[test]
fn nothing_is_behind_the_disks_end() {
    let served = served();
    assert_eq!((read(&served, SIZE - 2, 100).len(), read(&served, u64::MAX, 1).len()), (2, 0));
    assert_eq!((write(&served, SIZE - 1, &[1, 2]), write(&served, u64::MAX, &[1])), (-28, -28));
}

#[test]
fn a_hole_reads_as_zeros_and_takes_nothing_beside_it() {
    let served = served();
    write(&served, 0, &[9; 4096]);
    let mut body = vec![0; 8];
    body.extend(100u64.to_ne_bytes());
    body.extend(2000u64.to_ne_bytes());
    body.extend(3u32.to_ne_bytes());
    assert_eq!(ask(&served, 43, &body).0, 0);
    let mut expected = vec![9; 4096];
    expected[100..2100].fill(0);
    assert_eq!(read(&served, 0, 4096), expected);
}

#[test]
fn what_a_file_system_of_one_file_has_not_is_refused() {
    // A name looked for in it.
    assert_eq!(ask(&served(), 1, b"name\0").0, -38);
}

/// The kernel is trusted, but a request that was cut is none of ours to fall over.
#[test]
fn fuzz_mount_requests() {
    let served = std::panic::AssertUnwindSafe(served());
    bolero::check!().with_test_time(std::time::Duration::from_secs(2)).for_each(|input: &[u8]| {
        let mut request = input.to_vec();
        if let Some(operation) = request.get_mut(4..8) {
            operation.copy_from_slice(&u32::from(operation[0] % 48).to_ne_bytes());
        }
        let _ = served.answer(&request);
    });
}

/// Skipped where nobody may mount.
#[test]
fn what_is_written_to_the_file_is_in_the_image_once_it_is_taken_off() {
    let scratch = crate::scratch::Scratch::new();
    let store = crate::store::Store::open(scratch.path().join("home")).unwrap();
    let (path, point) = (scratch.path().join("image"), scratch.path().join("disk"));
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
    create(&open(), &Plan::new(Format::Vhdx, SIZE)).unwrap();
    std::fs::write(&point, "").unwrap();
    let layers = vec![crate::store::Layer { path: path.clone(), format: Format::Vhdx }];
    let mount = super::Mount { layers, read_only: false, point: point.clone(), made: true };
    let id = mount.keep(&store).unwrap();
    let (said, hear) = std::sync::mpsc::channel();
    let own = store.clone();
    let serving =
        std::thread::spawn(move || super::run(&own, id, move |started| said.send(started).unwrap()));
    if let crate::worker::protocol::Started::Error(why) = hear.recv().unwrap() {
        eprintln!("skipped: {why}");
        return;
    }
    assert_eq!(super::of(&store, &path).map(|(of, _)| of), Some(id));
    let file = File::options().read(true).write(true).open(&point).unwrap();
    file.write_all_at(b"some words", 5000).unwrap();
    drop(file);
    super::unmount(&point).unwrap();
    serving.join().unwrap();
    assert!(!point.exists() && super::of(&store, &path).is_none());
    let image = chain::open(&[Link { store: Arc::new(open()), format: Format::Vhdx }], false).unwrap();
    let mut bytes = [0; 10];
    image.read_at(5000, &mut bytes).unwrap();
    assert_eq!(&bytes, b"some words");
}
