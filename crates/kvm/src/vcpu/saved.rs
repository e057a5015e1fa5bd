//! What is saved of a vCPU: all that KVM keeps of it.

use super::KvmVcpu;
use super::registers::{SavedEvents, SavedRegisters};
use super::{msrs, nested};
use crate::clocks::{self, Times};
use crate::request;
use crate::state::{failed, refused};
use ireko_vmcore::HvError;
use ireko_vmcore::saved::{Blob, Bytes, RestoreError, Saved, ensure};
use kvm_bindings::{CpuId, kvm_lapic_state, kvm_mp_state, kvm_xcrs};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedVcpu {
    /// The processor's model: leaf, subleaf, EAX to EDX.
    pub cpuid: Vec<(u32, u32, [u32; 4])>,
    pub registers: SavedRegisters,
    pub xcr0: Option<u64>,
    /// The XSAVE area in standard form, up to its last byte that is not zero.
    pub xsave: Blob,
    /// By number, in the order in which KVM lists them and they are written.
    pub msrs: Vec<(u32, u64)>,
    pub tsc: u64,
    pub tsc_khz: u32,
    /// At which TSC the local APIC's timer is due; 0: it is not.
    pub tsc_deadline: u64,
    /// The local APIC's page, with the count at which its timer stands.
    pub lapic: Bytes<1024>,
    pub events: SavedEvents,
    /// Runs, is halted, waits for INIT or SIPI (KVM_GET_MP_STATE).
    pub mp_state: u32,
    /// The guest of this guest: what KVM keeps of it, as that gives it (struct kvm_nested_state). None: this KVM does not nest.
    pub nested: Option<Blob>,
}

impl Saved for SavedVcpu {
    const NAME: &'static str = "KVM's vCPU";
    const VERSION: u32 = 1;
}

fn to_page(bytes: &[u8; 1024]) -> kvm_lapic_state {
    kvm_lapic_state { regs: bytes.map(|byte| byte as _) }
}

/// Without the zeros at its end.
fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
}

pub fn leaves(cpuid: &CpuId) -> Vec<(u32, u32, [u32; 4])> {
    cpuid.as_slice().iter().map(|e| (e.function, e.index, [e.eax, e.ebx, e.ecx, e.edx])).collect()
}

impl KvmVcpu {
    /// In an order: what is asked for first takes in what others have told the vCPU.
    pub(super) fn saved(&mut self) -> Result<SavedVcpu, HvError> {
        let times = self.shared.stopped(|stopped| stopped.vcpus.get(&self.id).copied())?;
        let times = times.unwrap_or_default();
        let (fd, layout) = (&self.fd, &self.shared.layout);
        let mp_state = fd.get_mp_state().map_err(failed("KVM_GET_MP_STATE"))?.mp_state;
        let events = fd.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?;
        let general = fd.get_regs().map_err(failed("KVM_GET_REGS"))?;
        let system = request::system_registers(fd).map_err(refused("KVM_GET_SREGS2"))?;
        let debug = fd.get_debug_regs().map_err(failed("KVM_GET_DEBUGREGS"))?;
        let xcrs = fd.get_xcrs().ok();
        let xcr0 = |xcrs: kvm_xcrs| xcrs.xcrs.iter().find(|xcr| xcr.xcr == 0).map(|xcr| xcr.value);
        let xsave = request::xsave(fd, layout.xsave).map_err(refused("KVM_GET_XSAVE2"))?;
        let mut lapic = fd.get_lapic().map_err(failed("KVM_GET_LAPIC"))?;
        clocks::set_count(&mut lapic, times.count);
        let guest = match layout.nested {
            0 => None,
            size => Some(request::nested_state(fd, size).map_err(refused("KVM_GET_NESTED_STATE"))?),
        };
        Ok(SavedVcpu {
            cpuid: self.leaves.clone(),
            registers: SavedRegisters::of(&general, &system, &debug),
            xcr0: xcrs.and_then(xcr0),
            xsave: Blob(trimmed(xsave)),
            msrs: msrs::read(fd, &layout.msrs)?,
            tsc: times.tsc,
            tsc_khz: fd.get_tsc_khz().map_err(failed("KVM_GET_TSC_KHZ"))?,
            tsc_deadline: times.deadline,
            lapic: Bytes(lapic.regs.map(|byte| byte as u8)),
            events: SavedEvents::of(&events),
            mp_state,
            nested: guest.map(|guest| Blob(nested::taken_back(guest))),
        })
    }

    /// In an order: EFER, CR4 and the local APIC's base say what MSRs, APIC and a nested guest can be; a nested guest's registers are those of its
    /// hypervisor until it is one; general registers drop what is pending, and events bring it back. Times come when the machine goes on.
    pub(super) fn put(&mut self, saved: &SavedVcpu) -> Result<(), HvError> {
        self.check(saved)?;
        let (fd, layout) = (&self.fd, &self.shared.layout);
        self.set_rate(saved.tsc_khz)?;
        request::set_system_registers(fd, saved.registers.system()).map_err(refused("KVM_SET_SREGS2"))?;
        if let Some(value) = saved.xcr0 {
            let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
            xcrs.xcrs[0].value = value;
            fd.set_xcrs(&xcrs).map_err(failed("KVM_SET_XCRS"))?;
        }
        request::set_xsave(fd, &saved.xsave.0, layout.xsave).map_err(refused("KVM_SET_XSAVE"))?;
        let page = to_page(&saved.lapic.0);
        fd.set_lapic(&page).map_err(failed("KVM_SET_LAPIC"))?;
        if let Some(nested) = saved.nested.as_ref().filter(|_| layout.nested != 0) {
            request::set_nested_state(fd, &nested.0).map_err(refused("KVM_SET_NESTED_STATE"))?;
        }
        msrs::write(fd, &layout.msrs, &saved.msrs, &self.shared.memory)?;
        fd.set_debug_regs(&saved.registers.debug()).map_err(failed("KVM_SET_DEBUGREGS"))?;
        fd.set_regs(&saved.registers.general()).map_err(failed("KVM_SET_REGS"))?;
        fd.set_vcpu_events(&saved.events.events()).map_err(failed("KVM_SET_VCPU_EVENTS"))?;
        let mp_state = kvm_mp_state { mp_state: saved.mp_state };
        fd.set_mp_state(mp_state).map_err(failed("KVM_SET_MP_STATE"))?;
        let times = Times { tsc: saved.tsc, deadline: saved.tsc_deadline, count: clocks::count(&page) };
        let id = self.id;
        self.shared.stopped(|stopped| stopped.vcpus.insert(id, times)).map(|_| ())
    }

    /// What KVM does not look at itself.
    fn check(&self, saved: &SavedVcpu) -> Result<(), RestoreError> {
        if let Some((leaf, subleaf, _)) = different(&saved.cpuid, &self.leaves) {
            let what = format!(
                "its processor is another than this host's (CPUID leaf {leaf:x}h, {subleaf}): go on where it was saved"
            );
            return Err(RestoreError::invalid::<SavedVcpu>(what));
        }
        let size = self.shared.layout.xsave;
        let has = saved.xsave.0.len();
        ensure::<SavedVcpu>(
            has <= size,
            format!("its XSAVE area has {has} bytes, and {size} are the most here"),
        )?;
        let most = self.shared.layout.nested.max(request::NESTED_HEADER);
        let has = saved.nested.as_ref().map_or(0, |nested| nested.0.len());
        ensure::<SavedVcpu>(
            has <= most,
            format!("its nested guest takes {has} bytes, and {most} are the most here"),
        )
    }

    /// Every rate is KVM's to keep, the kernel's own as well: a host measures that anew after it started, and a vCPU has what was known when it
    /// was made. KVM scales where the two are further apart than clocks of one kind are; that takes a processor that can.
    fn set_rate(&self, khz: u32) -> Result<(), HvError> {
        let here = self.fd.get_tsc_khz().map_err(failed("KVM_GET_TSC_KHZ"))?;
        if here == khz {
            return Ok(());
        }
        let what = || {
            RestoreError::invalid::<SavedVcpu>(format!(
                "its TSC counts {khz} kHz, and this host's {here} kHz cannot be scaled to that"
            ))
        };
        Ok(self.fd.set_tsc_khz(khz).map_err(|_| what())?)
    }
}

type Leaf = (u32, u32, [u32; 4]);

/// The first leaf that only one has, or that has other values.
fn different<'a>(saved: &'a [Leaf], here: &'a [Leaf]) -> Option<&'a Leaf> {
    let missing = |leaf: &&Leaf, there: &[Leaf]| !there.contains(leaf);
    let only_saved = saved.iter().find(|leaf| missing(leaf, here));
    only_saved.or_else(|| here.iter().find(|leaf| missing(leaf, saved)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_cut_behind_its_last_byte() {
        assert_eq!(trimmed(vec![0, 1, 0, 2, 0, 0]), [0, 1, 0, 2]);
        assert_eq!(trimmed(vec![0; 4]), [0; 0]);
    }

    #[test]
    fn another_processor_is_told_by_its_leaf() {
        let (one, other) = ((1, 0, [7; 4]), (7, 0, [1; 4]));
        assert_eq!(different(&[one, other], &[other, one]), None);
        assert_eq!(different(&[one], &[one, other]), Some(&other));
        assert_eq!(different(&[one], &[(1, 0, [8; 4])]), Some(&one));
    }
}
