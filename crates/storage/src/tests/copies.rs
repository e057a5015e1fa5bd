//! Copying, merging and compacting.

use super::memory::MemoryStore;
use super::{KINDS, Random, behind};
use crate::{Content, Image, Store, copy};
use std::sync::Arc;

const SIZE: u64 = 3 << 20;

fn all(image: &dyn Image) -> Vec<u8> {
    let mut bytes = vec![0; image.size() as usize];
    image.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_copy_of_a_chain_is_the_disk_that_it_comes_to() {
    let mut random = Random(31);
    for from in KINDS {
        let parent = behind(from, SIZE / 2, &mut random);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        (from.make)(store.as_ref(), SIZE, Some(&parent.facts));
        let image = (from.open)(store, Some(parent.image));
        image.write_at(700 << 10, &[3; 100_352]).unwrap();
        image.write_zeroes(0, 1 << 20 >> 1).unwrap();
        for to in KINDS {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            (to.make)(store.as_ref(), SIZE, None);
            let copied = (to.open)(store, None);
            let mut heard = 0;
            copy::copy(image.as_ref(), copied.as_ref(), true, &mut |done| heard = done).unwrap();
            assert!(all(copied.as_ref()) == all(image.as_ref()), "{} to {}", from.name, to.name);
            assert_eq!(heard, SIZE);
        }
    }
}

#[test]
fn a_layer_that_was_merged_is_not_missed() {
    let mut random = Random(32);
    for kind in KINDS {
        let parent = behind(kind, SIZE, &mut random);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        (kind.make)(store.as_ref(), SIZE, Some(&parent.facts));
        let layer = (kind.open)(store, Some(parent.image.clone()));
        for _ in 0..20 {
            let at = random.below(SIZE / 512 - 100) * 512;
            layer.write_at(at, &vec![random.next() as u8; 512 * (1 + random.below(90) as usize)]).unwrap();
        }
        layer.write_zeroes(1 << 20, 1 << 20).unwrap();
        let wanted = all(layer.as_ref());
        let into: Arc<dyn Store> = Arc::new(MemoryStore::new());
        (kind.make)(into.as_ref(), SIZE, None);
        let into = (kind.open)(into, None);
        into.write_at(0, &parent.bytes).unwrap();
        copy::merge(layer.as_ref(), into.as_ref(), &mut |_| ()).unwrap();
        assert!(all(into.as_ref()) == wanted, "{}", kind.name);
    }
}

#[test]
fn zeros_take_no_room_once_an_image_is_compacted() {
    for kind in KINDS {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        (kind.make)(store.as_ref(), SIZE, None);
        let image = (kind.open)(store, None);
        image.write_at(0, &vec![0; SIZE as usize]).unwrap();
        image.write_at(SIZE - 512, &[1; 512]).unwrap();
        copy::compact(image.as_ref(), 1 << 20, &mut |_| ()).unwrap();
        assert_ne!(image.extent(0, SIZE).unwrap().content, Content::Data, "{}", kind.name);
        assert_eq!(all(image.as_ref())[SIZE as usize - 1], 1);
    }
}
