//! What images say of themselves, said anew.

use super::memory::MemoryStore;
use super::{KINDS, Random, behind, plan};
use crate::chain::{self, Link};
use crate::create::{self, Parent};
use crate::{Format, Store, set};
use std::sync::Arc;

const SIZE: u64 = 2 << 20;

fn named(name: &str, facts: &crate::Facts) -> Parent {
    Parent { absolute: format!("/{name}"), relative: format!("../{name}"), facts: facts.clone() }
}

/// Of each format that can have one behind it.
const FORMATS: [Format; 3] = [Format::Qcow2, Format::Vhd, Format::Vhdx];

fn link(store: &Arc<MemoryStore>, format: Format) -> Link {
    Link { store: store.clone() as Arc<dyn Store>, format }
}

#[test]
fn a_layer_names_its_parent_anew_and_holds_what_it_held() {
    for kind in KINDS {
        let (store, parent) = (Arc::new(MemoryStore::new()), behind(kind, SIZE, &mut Random(31)));
        (kind.make)(store.as_ref(), SIZE, Some(&parent.facts));
        (kind.open)(store.clone(), Some(parent.image.clone())).write_at(512, &[5; 512]).unwrap();
        let link = link(&store, Format::of(store.as_ref()).unwrap());
        let long = format!("a rather long way/{}/parent", "to it ".repeat(20));
        for name in [long.as_str(), "short"] {
            set::parent(&link, &named(name, &parent.facts), false).unwrap();
            let names = chain::facts(&link).unwrap().behind.unwrap().names;
            assert!(names.iter().any(|own| own == &format!("/{name}")), "{} {names:?}", kind.name);
            assert!((kind.check)(&link.store).clean(), "{}", kind.name);
            let image = (kind.open)(store.clone(), Some(parent.image.clone()));
            let mut bytes = [0; 1536];
            image.read_at(0, &mut bytes).unwrap();
            assert!(bytes[..512] == parent.bytes[..512] && bytes[512..1024] == [5; 512], "{}", kind.name);
            assert!(bytes[1024..] == parent.bytes[1024..1536], "{}", kind.name);
        }
    }
}

#[test]
fn another_parent_is_one_only_if_that_is_said() {
    for format in [Format::Vhd, Format::Vhdx] {
        let kind = KINDS.iter().find(|kind| kind.behind == format).unwrap();
        let one = behind(kind, SIZE, &mut Random(32));
        let other = behind(kind, SIZE, &mut Random(33));
        let store = Arc::new(MemoryStore::new());
        create::create(store.as_ref(), &plan(format, SIZE, Some(&one.facts), 1 << 20)).unwrap();
        let link = link(&store, format);
        let refused = set::parent(&link, &named("other", &other.facts), false).unwrap_err().to_string();
        assert!(refused.contains("-IgnoreIdMismatch"), "{refused}");
        set::parent(&link, &named("other", &other.facts), true).unwrap();
        (kind.open)(store, Some(other.image.clone()));
    }
}

#[test]
fn what_has_nothing_behind_it_is_not_put_over_anything() {
    for format in FORMATS {
        let store = Arc::new(MemoryStore::new());
        create::create(store.as_ref(), &plan(format, SIZE, None, 1 << 20)).unwrap();
        let link = link(&store, format);
        let facts = chain::facts(&link).unwrap();
        let refused = set::parent(&link, &named("parent", &facts), true).unwrap_err().to_string();
        assert!(refused.starts_with("it has no image behind it"), "{refused}");
    }
}

#[test]
fn an_identifier_that_was_reset_is_another() {
    for format in [Format::Vhd, Format::Vhdx] {
        for fixed in [false, true] {
            let store = Arc::new(MemoryStore::new());
            let plan = create::Plan { fixed, ..plan(format, SIZE, None, 1 << 20) };
            create::create(store.as_ref(), &plan).unwrap();
            let link = link(&store, format);
            let before = chain::facts(&link).unwrap().identifier;
            set::identifier(&link).unwrap();
            assert_ne!(chain::facts(&link).unwrap().identifier, before, "{format}");
            assert!(chain::check(&link, false).unwrap().clean(), "{format}");
        }
    }
}

#[test]
fn sectors_of_a_vhdx_are_as_large_as_it_is_told() {
    let store = Arc::new(MemoryStore::new());
    create::create(store.as_ref(), &plan(Format::Vhdx, SIZE, None, 1 << 20)).unwrap();
    let link = link(&store, Format::Vhdx);
    for bytes in [512, 4096] {
        set::physical_sector(&link, bytes).unwrap();
        assert_eq!(chain::facts(&link).unwrap().physical_sector, bytes);
    }
    assert!(set::physical_sector(&link, 1000).is_err());
}
