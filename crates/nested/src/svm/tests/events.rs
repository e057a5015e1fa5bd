//! EVENTINJ and EXITINTINFO.

use crate::svm::event::{decode, encode, illegal};
use crate::svm::testing::Mock;
use crate::{Event, EventKind};
use ireko_x86::bits::efer;
use ireko_x86::vmcb::{control, save};

const fn event(kind: EventKind, vector: u8, error: Option<u32>) -> Event {
    Event { kind, vector, error }
}

const FIELDS: [(u64, Event); 5] = [
    (1 << 31 | 0x31, event(EventKind::External, 0x31, None)),
    (1 << 31 | 2 << 8 | 2, event(EventKind::Nmi, 2, None)),
    (1 << 31 | 3 << 8 | 6, event(EventKind::Exception, 6, None)),
    (0xffff_0001 << 32 | 1 << 31 | 1 << 11 | 3 << 8 | 14, event(EventKind::Exception, 14, Some(0xffff_0001))),
    (1 << 31 | 4 << 8 | 0x80, event(EventKind::SoftwareInterrupt, 0x80, None)),
];

#[test]
fn each_kind_has_its_field() {
    for (field, event) in FIELDS {
        assert_eq!(decode(field), Some(event));
        assert_eq!(encode(event), field);
    }
}

#[test]
fn an_nmi_has_vector_2_whatever_the_field_says() {
    assert_eq!(decode(1 << 31 | 2 << 8 | 0x55).map(|e| e.vector), Some(2));
}

#[test]
fn a_field_that_is_not_valid_is_nothing_and_not_illegal() {
    assert_eq!(decode(0x7fff_ffff), None);
    assert!(!illegal(0x7fff_ffff, true));
}

#[test]
fn reserved_types_are_illegal() {
    for kind in [1, 5, 6, 7] {
        assert!(illegal(1 << 31 | kind << 8 | 0x20, false));
    }
    for (field, _) in FIELDS {
        assert!(!illegal(field, true));
    }
}

/// APM vol. 2, table 8-1 and 15.20.
#[test]
fn exceptions_that_there_are_not_are_illegal() {
    let refused = |code64| (0..64).filter(move |vector| illegal(1 << 31 | 3 << 8 | vector, code64));
    let none = [2, 9, 15, 20, 22, 23, 24, 25, 26, 27, 31].into_iter().chain(32..64);
    assert_eq!(refused(false).collect::<Vec<_>>(), none.clone().collect::<Vec<_>>());
    let of_64_bit = refused(true).filter(|vector| !none.clone().any(|n| n == *vector));
    assert_eq!(of_64_bit.collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn events_of_instructions_return_to_nrip() {
    for (event, next) in [
        (event(EventKind::SoftwareInterrupt, 0x80, None), true),
        (event(EventKind::SoftwareException, 3, None), true),
        (event(EventKind::SoftwareException, 4, None), true),
        (event(EventKind::Exception, 14, Some(0)), false),
        (event(EventKind::External, 3, None), false),
    ] {
        assert_eq!(event.is_software(), next);
        // INTO is no instruction of 64-bit mode.
        let mut mock = Mock::new();
        mock.put(save::EFER, efer::SVME);
        mock.put(control::EVENTINJ, encode(event));
        mock.put(control::NRIP, 0x99);
        let made = mock.vmrun().unwrap();
        assert_eq!((made.inject, made.inject_return), (Some(event), next.then_some(0x99)));
    }
}
