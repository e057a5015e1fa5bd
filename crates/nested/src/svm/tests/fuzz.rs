//! VMCBs of anything: VMRUN refuses or enters, an exit comes back to the host, nothing panics.

use crate::exit::{Access, Found};
use crate::svm::testing::{Mock, VMCB};
use crate::{Core, CrAccess, Exit, Stage2Fault};
use ireko_x86::vmcb::control;
use std::time::Duration;

/// Some exits, with what the guest did in them.
fn exit(kind: u8, value: u64) -> Exit {
    let byte = value as u8;
    match kind % 7 {
        0 => Exit::Stage2(Stage2Fault {
            address: value,
            access: [Access::Read, Access::Write, Access::Fetch][usize::from(byte % 3)],
            found: if byte & 8 != 0 { Found::Nothing } else { Found::Malformed },
            table: byte & 4 != 0,
            linear: None,
        }),
        1 => Exit::Invlpg { address: value },
        2 => Exit::Cr {
            number: byte & 15,
            access: if byte & 16 != 0 { CrAccess::To(byte >> 4) } else { CrAccess::From(byte >> 4) },
        },
        3 => Exit::Dr { number: byte & 15, write: byte & 16 != 0, gpr: byte >> 4 },
        4 => Exit::SoftwareInterrupt { vector: byte },
        5 => Exit::TaskSwitch {
            selector: value as u16,
            error: Some(value as u32),
            iret: byte & 1 != 0,
            jump: false,
        },
        _ => Exit::Msr { write: byte & 1 != 0 },
    }
}

#[test]
fn fuzz_vmcb() {
    bolero::check!().with_test_time(Duration::from_secs(2)).for_each(|input: &[u8]| {
        let mut mock = Mock::new();
        let (head, changes) = input.split_at(input.len().min(10));
        let at = |n: usize| head.get(n).copied().unwrap_or(0);
        if at(0) & 15 == 0 {
            // Nothing but noise.
            let noise: Vec<u8> = changes.iter().copied().cycle().take(0x700).collect();
            mock.write_physical(VMCB, &noise);
        }
        for change in changes.chunks_exact(3).take(if at(0) & 15 == 0 { 0 } else { usize::from(at(0)) }) {
            let offset = usize::from(u16::from_le_bytes([change[0], change[1]])) % 0x700;
            mock.put8(offset, change[2]);
        }
        let Ok(entered) = mock.vmrun() else { return };
        let value = u64::from_le_bytes([at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9)]);
        mock.exit(&entered, exit(at(1), value), None);
        assert!(!mock.gif && mock.regs.cpl == 0, "an exit leads to the host");
        assert_ne!(mock.get(control::EXITCODE), u64::MAX, "which is told why");
    });
}
