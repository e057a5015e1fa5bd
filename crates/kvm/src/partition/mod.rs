//! A KVM VM: slots, interrupt controllers and lines.

mod saved;

use crate::cpuid::{self, Choice};
use crate::hypervisor::KvmHypervisor;
use crate::shared::{self, Layout, Shared};
use crate::state::{failed, refused, write_msr};
use crate::vcpu::KvmVcpu;
use crate::{ioctl, request};
use ireko_vmcore::{EoiSink, ExtInt, HvError, Line, LineSink, Msi, Partition, PartitionSpec, Record, Vcpu};
use kvm_bindings::{
    CpuId, KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KVM_PIT_SPEAKER_DUMMY, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_irqchip, kvm_msi,
    kvm_pit_config,
};
use kvm_ioctls::{Cap, VmFd};
use saved::SavedPartition;
use std::sync::Arc;

/// Where KVM puts what old Intel processors need for real mode: in the 4 GiB hole, away from RAM.
const IDENTITY_MAP: u64 = 0xfeff_c000;
const TSS: usize = 0xfeff_d000;
/// Pins of the IOAPIC.
const GSIS: u32 = 24;

pub struct KvmPartition {
    shared: Arc<Shared>,
    supported: CpuId,
    vcpus: u32,
    nested: bool,
    tsc_deadline: bool,
}

impl KvmPartition {
    pub(crate) fn new(hypervisor: &KvmHypervisor, spec: &PartitionSpec) -> Result<Self, HvError> {
        let vm = hypervisor.kvm.create_vm().map_err(failed("KVM_CREATE_VM"))?;
        vm.set_identity_map_address(IDENTITY_MAP).map_err(failed("KVM_SET_IDENTITY_MAP_ADDR"))?;
        vm.set_tss_address(TSS).map_err(failed("KVM_SET_TSS_ADDR"))?;
        vm.create_irq_chip().map_err(failed("KVM_CREATE_IRQCHIP"))?;
        vm.set_gsi_routing(&routing()?).map_err(failed("KVM_SET_GSI_ROUTING"))?;
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        vm.create_pit2(pit).map_err(failed("KVM_CREATE_PIT2"))?;
        shared::tell_events(&vm);
        let layout = Layout::of(&hypervisor.kvm, &vm)?;
        let vm = Arc::new(vm);
        ioctl::map_memory(&vm, &spec.memory)
            .map_err(|why| HvError::System { what: "KVM_SET_USER_MEMORY_REGION".into(), why })?;
        Ok(Self {
            tsc_deadline: vm.check_extension(Cap::TscDeadlineTimer),
            shared: Arc::new(Shared::new(layout, vm, spec.memory.clone())),
            supported: hypervisor.supported.clone(),
            vcpus: spec.vcpus,
            nested: spec.nested,
        })
    }

    /// Each can be taken once.
    fn check(&self, id: u32) -> Result<(), HvError> {
        if id >= self.vcpus || self.shared.vcpus().contains_key(&id) {
            return Err(HvError::Unsupported(format!("vCPU {id} does not exist or was taken already")));
        }
        Ok(())
    }
}

/// ISA interrupts go to the PIC pair and the IOAPIC, IRQ 0 to the IOAPIC's pin 2 as on every PC; the rest of the
/// IOAPIC's pins are the GSIs of their number.
fn routes() -> Vec<(u32, u32, u32)> {
    let pic = (0..16).filter(|gsi| *gsi != 2).map(|gsi| match gsi {
        0..8 => (gsi, KVM_IRQCHIP_PIC_MASTER, gsi),
        _ => (gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8),
    });
    let ioapic = (0..GSIS)
        .filter(|gsi| *gsi != 2)
        .map(|gsi| (gsi, KVM_IRQCHIP_IOAPIC, if gsi == 0 { 2 } else { gsi }));
    pic.chain(ioapic).collect()
}

fn routing() -> Result<KvmIrqRouting, HvError> {
    let entry = |(gsi, irqchip, pin)| {
        let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
        entry.u.irqchip = kvm_irq_routing_irqchip { irqchip, pin };
        entry
    };
    let entries: Vec<_> = routes().into_iter().map(entry).collect();
    KvmIrqRouting::from_entries(&entries)
        .map_err(|e| HvError::Unsupported(format!("interrupt routing: {e:?}")))
}

/// KVM_IRQ_LINE as the end of a wire.
struct Pins(Arc<VmFd>);

impl LineSink for Pins {
    fn set(&self, pin: u32, level: bool) {
        // The only error is a pin that the routing does not know: a wire that ends nowhere.
        let _ = self.0.set_irq_line(pin, level);
    }
}

impl Partition for KvmPartition {
    fn save(&self) -> Result<Record, HvError> {
        Ok(Record::of(&SavedPartition::of(&self.shared)?))
    }
    fn restore(&self, record: &Record) -> Result<(), HvError> {
        let saved: SavedPartition = record.get()?;
        saved.restore(&self.shared)
    }
    fn rest(&self) {
        self.shared.stop();
    }
    fn go_on(&self) {
        self.shared.go_on();
    }
    fn vcpu(&self, id: u32) -> Result<Box<dyn Vcpu>, HvError> {
        self.check(id)?;
        let fd = self.shared.vm.create_vcpu(u64::from(id)).map_err(failed("KVM_CREATE_VCPU"))?;
        let choice =
            Choice { apic_id: id, vcpus: self.vcpus, nested: self.nested, tsc_deadline: self.tsc_deadline };
        let entries = CpuId::from_entries(&cpuid::entries(&self.supported, choice))
            .map_err(|e| HvError::Unsupported(format!("CPUID for vCPU {id}: {e:?}")))?;
        fd.set_cpuid2(&entries).map_err(failed("KVM_SET_CPUID2"))?;
        write_firmware_msrs(&fd);
        let second = request::second(&self.shared.vm, &fd).map_err(refused("a vCPU's second descriptor"))?;
        self.shared.vcpus().insert(id, second);
        Ok(Box::new(KvmVcpu::new(fd, id, &entries, self.shared.clone())))
    }

    fn line(&self, gsi: u32) -> Option<Line> {
        Some(Line::new(Arc::new(Pins(self.shared.vm.clone())), gsi))
    }

    fn msi(&self, msi: Msi) {
        let message = kvm_msi {
            address_lo: msi.address as u32,
            address_hi: (msi.address >> 32) as u32,
            data: msi.data,
            ..Default::default()
        };
        // An interrupt that no local APIC takes is lost, as on hardware.
        let _ = self.shared.vm.signal_msi(message);
    }

    fn connect(&self, _: Arc<dyn ExtInt>, _: EoiSink) {}
    fn extint_changed(&self) {}
}

/// What firmware would have set before the kernel starts: all memory write-back, fast strings on. Older KVMs may not
/// know them, which is harmless.
fn write_firmware_msrs(fd: &kvm_ioctls::VcpuFd) {
    const MTRR_DEF_TYPE: u32 = 0x2ff;
    const MTRR_ENABLE_WRITE_BACK: u64 = 1 << 11 | 6;
    const MISC_ENABLE: u32 = 0x1a0;
    write_msr(fd, MTRR_DEF_TYPE, MTRR_ENABLE_WRITE_BACK);
    write_msr(fd, MISC_ENABLE, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_interrupt_goes_to_ioapic_pin_2() {
        assert!(routes().contains(&(0, KVM_IRQCHIP_IOAPIC, 2)));
    }

    #[test]
    fn no_ioapic_pin_has_two_gsis() {
        let mut pins: Vec<_> = routes().iter().filter(|r| r.1 == KVM_IRQCHIP_IOAPIC).map(|r| r.2).collect();
        let count = pins.len();
        pins.sort_unstable();
        pins.dedup();
        assert_eq!(pins.len(), count);
    }
}
