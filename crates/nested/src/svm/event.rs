//! EVENTINJ and EXITINTINFO, which have one format (APM vol. 2, 15.7.2 and 15.20).

use crate::{Event, EventKind};
use ireko_x86::exception::vector;
use ireko_x86::vmcb::event::*;

/// The kinds that have a type of their own; exceptions that a program asks for share that of exceptions.
const KINDS: [(EventKind, u64); 4] = [
    (EventKind::External, TYPE_INTR),
    (EventKind::Nmi, TYPE_NMI),
    (EventKind::Exception, TYPE_EXCEPTION),
    (EventKind::SoftwareInterrupt, TYPE_SOFTWARE),
];

/// The event of a valid field, or `None`: nothing to inject, or nothing that could be ([`illegal`]).
pub fn decode(field: u64) -> Option<Event> {
    if field & VALID == 0 {
        return None;
    }
    let kind = KINDS.iter().find(|row| row.1 == field >> TYPE_SHIFT & 7)?.0;
    let error = (field & ERROR_VALID != 0).then_some((field >> ERROR_SHIFT) as u32);
    let vector = if kind == EventKind::Nmi { vector::NMI } else { field as u8 };
    // Of #BP and #OF nRIP is what is pushed, as for the instructions that raise them (15.20).
    let software = kind == EventKind::Exception && matches!(vector, vector::BP | vector::OF);
    Some(Event { kind: if software { EventKind::SoftwareException } else { kind }, vector, error })
}

pub fn encode(event: Event) -> u64 {
    let kind = KINDS.iter().find(|row| row.0 == event.kind).map_or(TYPE_EXCEPTION, |row| row.1);
    let error = event.error.map_or(0, |code| ERROR_VALID | u64::from(code) << ERROR_SHIFT);
    VALID | kind << TYPE_SHIFT | u64::from(event.vector) | error
}

/// Vectors of exceptions (APM vol. 2, table 8-1): 2 is the NMI's, 9, 0Fh, 14h, 16h to 1Bh and 1Fh are reserved.
const EXCEPTIONS: u32 = !(1 << 2 | 1 << 9 | 1 << 0xf | 1 << 0x14 | 0x3f << 0x16 | 1 << 0x1f);
/// Those of INTO and BOUND, which 64-bit mode does not have.
const NOT_IN_64_BIT: u32 = 1 << 4 | 1 << 5;

/// A valid field with a reserved type, or an exception with a vector that no exception has (15.20). `code64`: the guest is in
/// 64-bit mode.
pub fn illegal(field: u64, code64: bool) -> bool {
    if field & VALID == 0 {
        return false;
    }
    match decode(field) {
        None => true,
        Some(event) => {
            let vectors = if code64 { EXCEPTIONS & !NOT_IN_64_BIT } else { EXCEPTIONS };
            event.is_exception() && vectors.checked_shr(event.vector.into()).is_none_or(|rest| rest & 1 == 0)
        }
    }
}
