//! Capabilities, of the calling thread: none in any set, and no way to get any.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use std::io;

/// No program that is executed ever has more rights than this thread.
pub fn no_new_privileges() -> io::Result<()> {
    set_no_new_privs(true).map_err(Into::into)
}

/// Drops all. The bounding set can be emptied only by who has CAP_SETPCAP: whether it is empty is the result.
pub fn drop_all() -> io::Result<bool> {
    let bounded = empty_bounding_set();
    // Old kernels have no ambient set.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(bounded)
}

pub fn empty_bounding_set() -> bool {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if remove_capability_from_bounding_set(one).is_err() => return false,
            // Behind the last one that this kernel knows.
            Err(Errno::INVAL) => return true,
            _ => (),
        }
    }
    true
}

/// Whether this thread has none.
pub fn none_left() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.is_empty() && sets.permitted.is_empty())
}
