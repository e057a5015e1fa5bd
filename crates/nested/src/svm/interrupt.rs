//! Which interrupts may come when (APM vol. 2, 15.17 and 15.21), and the PAUSE filter (15.14.4).

use super::Pause;
use crate::{Control, Intercept};

/// What masks interrupts besides the controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masks {
    pub gif: bool,
    /// RFLAGS.IF.
    pub interrupt_flag: bool,
    /// Shadow of STI or MOV SS.
    pub shadow: bool,
}

/// Whether a physical interrupt is taken now. With V_INTR_MASKING the guest's IF and shadow mask virtual ones only
/// (15.21.1).
pub fn physical_allowed(control: Option<&Control>, masks: Masks) -> bool {
    let open = match control {
        Some(control) if control.virtual_interrupts => control.host_if,
        _ => masks.interrupt_flag && !masks.shadow,
    };
    masks.gif && open
}

/// Whether a virtual interrupt is pending and neither V_TPR nor IF, the shadow or a virtual GIF holds it off (15.21.4).
pub fn virtual_ready(control: &Control, masks: Masks) -> bool {
    let priority = control.v_ignore_tpr || control.v_intr_priority > control.v_tpr;
    let flag = if control.vgif_enabled { control.vgif } else { masks.gif };
    control.v_irq && priority && flag && masks.interrupt_flag && !masks.shadow
}

/// A PAUSE at time `now`: whether it exits.
pub fn pause_exits(control: &Control, pause: &mut Pause, now: u64) -> bool {
    if !control.has(Intercept::Pause) {
        return false;
    }
    let threshold = u64::from(control.pause_threshold);
    if threshold != 0 && now.wrapping_sub(pause.last) > threshold {
        pause.left = control.pause_count;
    }
    pause.last = now;
    let Some(left) = pause.left.checked_sub(1) else { return true };
    pause.left = left;
    false
}
