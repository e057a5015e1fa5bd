//! Double and triple faults, and error codes (APM vol. 2, 8.2.9 and 8.4).

use ireko_nested::{Event, EventKind};
use ireko_x86::Exception;
use ireko_x86::descriptor::ERROR_EXT;
use ireko_x86::exception::vector;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

/// What two exceptions in a row make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The second is handled, and the first comes again if it was a fault.
    Serial,
    DoubleFault,
    Shutdown,
}

const fn class(vector: u8) -> Class {
    match vector {
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP => Class::Contributory,
        vector::PF => Class::PageFault,
        vector::DF => Class::DoubleFault,
        _ => Class::Benign,
    }
}

/// APM vol. 2, table 8-3: which pairs make a double fault.
pub fn combine(first: Event, second: u8) -> Outcome {
    use Class::{Benign, Contributory, DoubleFault, PageFault};
    let first = if first.is_exception() { class(first.vector) } else { Benign };
    match (first, class(second)) {
        (DoubleFault, Contributory | PageFault) => Outcome::Shutdown,
        (Contributory, Contributory) | (PageFault, Contributory | PageFault) => Outcome::DoubleFault,
        _ => Outcome::Serial,
    }
}

/// The exception with EXT set in a selector error code, if an event from outside the program led to it.
pub fn with_ext(first: Event, mut second: Exception) -> Exception {
    let selector_error = matches!(second.vector, vector::TS | vector::NP | vector::SS | vector::GP);
    if selector_error && !first.is_software() {
        second.error = second.error.map(|error| error | ERROR_EXT);
    }
    second
}

/// Faults push RF = 1 so that the instruction breakpoint is not met again on return (APM vol. 2, 3.1.6).
pub fn pushes_resume(event: Event) -> bool {
    const NOT_FAULTS: [u8; 5] = [vector::DB, vector::BP, vector::OF, vector::DF, vector::MC];
    event.kind == EventKind::Exception && !NOT_FAULTS.contains(&event.vector)
}
