//! A user of its own for each VM, so that what runs one has nothing of another's, and nothing of the host's.
//!
//! ```text
//! 0x70000000 + 27 bits of the VM's id    its user and its group
//! 0x7ffffff0                             the group of all whose VMs are on switches
//! ```
//!
//! systemd's list of ranges (UIDS-GIDS) has nobody there. Where these numbers do not exist (a container that maps only
//! 65536), those from 65000 to 65499 serve, and 65500.

use rustix::fs::{Gid, Uid};
use std::fs;
use std::io;

const FIRST: u32 = 0x7000_0000;
const MANY: u32 = 1 << 27;
const SWITCHES: u32 = 0x7fff_fff0;

const FEW_FIRST: u32 = 65_000;
const FEW: u32 = 500;
const FEW_SWITCHES: u32 = FEW_FIRST + FEW;

/// Who a worker is after it has dropped what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub own: u32,
    /// Its group: for a VM, the same number.
    pub group: u32,
    /// The group that may use switches.
    pub switches: u32,
}

impl Identity {
    /// For the VM with this id, as far as the numbers exist here.
    pub fn of(id: &[u8; 16]) -> io::Result<Self> {
        let maps = [fs::read_to_string("/proc/self/uid_map")?, fs::read_to_string("/proc/self/gid_map")?];
        Self::within(id, |number| maps.iter().all(|map| mapped(map, number)))
            .ok_or_else(|| io::Error::other("no user numbers are free in this user namespace"))
    }

    fn within(id: &[u8; 16], exists: impl Fn(u32) -> bool) -> Option<Self> {
        let number = u32::from_le_bytes([id[0], id[1], id[2], id[3]]);
        let new = |own, switches| Self { own, group: own, switches };
        let many = new(FIRST + number % MANY, SWITCHES);
        let few = new(FEW_FIRST + number % FEW, FEW_SWITCHES);
        [many, few].into_iter().find(|one| exists(one.own) && exists(one.switches))
    }

    /// Whoever owns something, with its group; on no switches.
    pub fn owner(own: u32, group: u32) -> Self {
        Self { own, group, switches: group }
    }

    pub fn uid(&self) -> Uid {
        Uid::from_raw(self.own)
    }
    pub fn gid(&self) -> Gid {
        Gid::from_raw(self.group)
    }
    pub fn switches(&self) -> Gid {
        Gid::from_raw(self.switches)
    }
}

/// Whether a map of user_namespaces(7) has this number inside.
fn mapped(map: &str, number: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
        let (Some(first), Some(_), Some(count)) = (fields.next(), fields.next(), fields.next()) else {
            return false;
        };
        (first..first + count).contains(&u64::from(number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "         0          0 4294967295\n";
    const CONTAINER: &str = "0 100000 65536\n";

    #[test]
    fn each_vm_has_a_user_of_its_own() {
        let one = Identity::within(&[1; 16], |number| mapped(ALL, number)).unwrap();
        let other = Identity::within(&[2; 16], |number| mapped(ALL, number)).unwrap();
        assert_ne!(one.own, other.own);
        assert!((FIRST..FIRST + MANY).contains(&one.own));
    }

    #[test]
    fn a_container_has_fewer_numbers() {
        let one = Identity::within(&[0xff; 16], |number| mapped(CONTAINER, number)).unwrap();
        assert!((FEW_FIRST..FEW_FIRST + FEW).contains(&one.own));
    }

    #[test]
    fn where_only_one_number_exists_there_is_none_to_spare() {
        assert_eq!(Identity::within(&[1; 16], |number| mapped("1000 1000 1\n", number)), None);
    }

    #[test]
    fn a_map_that_is_no_map_has_nothing() {
        assert!(!mapped("0 x\n\n7", 0));
    }
}
