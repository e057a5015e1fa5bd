//! Lists of MSRs in memory that an entry loads, and that an exit stores and loads (SDM vol. 3, 25.7.2, 25.8.2, 27.4, 28.4 and 28.6).
//! AMD-V has none.

use crate::Core;
use ireko_x86::msr;

/// Where a list is, and how many entries it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsrList {
    pub address: u64,
    pub count: u32,
}

/// The three of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsrLists {
    pub entry_load: MsrList,
    pub exit_store: MsrList,
    pub exit_load: MsrList,
}

/// Bytes of an entry: number, reserved, value.
const ENTRY: usize = 16;
/// So many entries a list may have (IA32_VMX_MISC, bits 27:25 clear); what comes behind them is refused.
pub const MOST: u32 = 512;

/// An entry that cannot be loaded or stored, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub u32);

/// Address, number and value. An MSR of x2APIC mode is in no list.
fn entry<C: Core>(core: &mut C, list: &MsrList, n: u32) -> Option<(u64, u32, u64)> {
    let at = list.address.wrapping_add(u64::from(n) * ENTRY as u64);
    let mut bytes = [0; ENTRY];
    // An entry lies in one page: the list is aligned (SDM vol. 3, 27.2.1.1).
    if n >= MOST || !at.is_multiple_of(ENTRY as u64) || !core.read_physical(at, &mut bytes) {
        return None;
    }
    let [number, value] =
        [0, 8].map(|from| (0..8).rev().fold(0, |sum, n| sum << 8 | u64::from(bytes[from + n])));
    let number = u32::try_from(number).ok()?;
    (number >> 8 != 8).then_some((at, number, value))
}

/// Loads each MSR of a list, up to the first that cannot be.
pub fn load<C: Core>(core: &mut C, list: &MsrList) -> Result<(), Refused> {
    for n in 0..list.count {
        let loaded = entry(core, list, n)
            // Those two have fields of their own in the control structure.
            .filter(|(_, number, _)| !matches!(*number, msr::FS_BASE | msr::GS_BASE))
            .is_some_and(|(_, number, value)| core.write_msr(number, value));
        if !loaded {
            return Err(Refused(n + 1));
        }
    }
    Ok(())
}

/// Stores each MSR of a list beside its number.
pub fn store<C: Core>(core: &mut C, list: &MsrList) -> Result<(), Refused> {
    for n in 0..list.count {
        let stored = entry(core, list, n).is_some_and(|(at, number, _)| {
            core.read_msr(number).is_some_and(|value| core.write_physical(at + 8, &value.to_le_bytes()))
        });
        if !stored {
            return Err(Refused(n + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svm::testing::Mock;

    const AT: u64 = 0x1000;
    const VALUE: u64 = 0x0007_0406_0007_0406;
    const PAT: (u64, u64) = (msr::PAT as u64, VALUE);

    /// With memory that has a list, and one MSR.
    fn mock(entries: &[(u64, u64)]) -> (Mock, MsrList) {
        let mut mock = Mock::new();
        mock.msrs.insert(msr::PAT, 0);
        for (n, (number, value)) in (0..).zip(entries) {
            mock.write_physical(AT + 16 * n, &number.to_le_bytes());
            mock.write_physical(AT + 16 * n + 8, &value.to_le_bytes());
        }
        (mock, MsrList { address: AT, count: entries.len() as u32 })
    }

    #[test]
    fn a_load_gives_each_msr_its_value() {
        let (mut mock, list) = mock(&[PAT]);
        assert_eq!((load(&mut mock, &list), mock.msrs[&msr::PAT]), (Ok(()), VALUE));
    }

    #[test]
    fn a_store_writes_each_value_beside_its_number() {
        let (mut mock, list) = mock(&[(msr::PAT.into(), 1)]);
        mock.msrs.insert(msr::PAT, VALUE);
        assert_eq!(store(&mut mock, &list), Ok(()));
        assert_eq!(mock.memory[AT as usize..][..16], [PAT.0.to_le_bytes(), VALUE.to_le_bytes()].concat());
    }

    /// SDM vol. 3, 27.4: the number of the entry is told.
    #[test]
    fn an_entry_that_cannot_be_loaded_is_named() {
        for wrong in [msr::FS_BASE.into(), 0x830, 1 << 32 | PAT.0, 0xdead_beef] {
            let (mut mock, list) = mock(&[PAT, (wrong, 0), PAT]);
            mock.msrs.extend([(msr::FS_BASE, 0), (0x830, 0)]);
            assert_eq!(load(&mut mock, &list), Err(Refused(2)), "{wrong:#x}");
        }
    }

    #[test]
    fn a_list_without_end_ends() {
        let (mut mock, list) = mock(&[PAT; MOST as usize]);
        assert_eq!(load(&mut mock, &MsrList { count: u32::MAX, ..list }), Err(Refused(MOST + 1)));
    }

    #[test]
    fn a_list_that_is_not_aligned_is_refused() {
        let (mut mock, list) = mock(&[PAT, PAT]);
        let moved = MsrList { address: list.address + 8, count: 1 };
        assert_eq!((load(&mut mock, &moved), store(&mut mock, &moved)), (Err(Refused(1)), Err(Refused(1))));
    }

    #[test]
    fn a_list_where_there_is_no_memory_is_refused_at_its_first_entry() {
        let (mut mock, _) = mock(&[]);
        let nowhere = MsrList { address: u64::MAX - 15, count: 1 };
        assert_eq!(
            (load(&mut mock, &nowhere), store(&mut mock, &nowhere)),
            (Err(Refused(1)), Err(Refused(1)))
        );
    }
}
