//! Which interrupts may come when (APM vol. 2, 15.17 and 15.21), and the PAUSE filter (15.14.4).

use crate::control::Shadow;
use crate::{Control, Intercept};

/// What masks interrupts besides the controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masks {
    pub gif: bool,
    /// RFLAGS.IF.
    pub interrupt_flag: bool,
    pub shadow: Shadow,
    /// NMIs wait for IRET.
    pub nmi_blocked: bool,
}

/// Whether a physical interrupt is taken now. With V_INTR_MASKING the guest's IF and shadow mask virtual ones only
/// (15.21.1).
pub fn physical_allowed(control: Option<&Control>, masks: Masks) -> bool {
    let open = match control {
        Some(control) if control.virtual_interrupts => control.host_if,
        _ => masks.interrupt_flag && !masks.shadow.is_on(),
    };
    masks.gif && open
}

/// Whether a virtual interrupt is pending and neither V_TPR nor IF, the shadow or a virtual GIF holds it off (15.21.4).
pub fn virtual_ready(control: &Control, masks: Masks) -> bool {
    let priority = control.v_ignore_tpr || control.v_intr_priority > control.v_tpr;
    let flag = if control.vgif_enabled { control.vgif } else { masks.gif };
    control.v_irq && priority && flag && masks.interrupt_flag && !masks.shadow.is_on()
}

/// Whether a physical NMI is taken now.
pub fn nmi_allowed(control: Option<&Control>, masks: Masks) -> bool {
    masks.gif && (!masks.nmi_blocked || control.is_some_and(|control| control.virtual_nmis))
}

/// The window that the hypervisor waits for is open: the guest could take an interrupt.
pub fn interrupt_window(control: &Control, masks: Masks) -> bool {
    control.interrupt_window && masks.interrupt_flag && !masks.shadow.is_on()
}

/// The same for an NMI, which the shadow of STI does not hold off.
pub fn nmi_window(control: &Control, masks: Masks) -> bool {
    control.nmi_window && !masks.nmi_blocked && masks.shadow != Shadow::MovSs
}

/// A PAUSE at time `now`: whether it exits.
pub fn pause_exits(control: &mut Control, now: u64) -> bool {
    if !control.has(Intercept::Pause) {
        return false;
    }
    let threshold = u64::from(control.pause_threshold);
    if threshold != 0 && now.wrapping_sub(control.pause.last) > threshold {
        control.pause.left = control.pause_count;
    }
    control.pause.last = now;
    let Some(left) = control.pause.left.checked_sub(1) else { return true };
    control.pause.left = left;
    false
}

#[cfg(test)]
#[path = "interrupt_tests.rs"]
mod tests;
