//! Requests of KVM that `kvm-ioctls` has no words for, or only such as hand out unions.

// UNSAFETY: each is an ioctl on a descriptor of KVM's, with a structure of the size that the kernel's header says; and unions are read that
// KVM fills.
#![allow(unsafe_code)]

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, kvm_device_attr, kvm_ioapic_state,
    kvm_irqchip, kvm_nested_state, kvm_pic_state, kvm_sregs2, kvm_xsave,
};
use kvm_ioctls::{VcpuFd, VmFd};
use std::io;
use std::os::fd::AsRawFd;

/// The type of KVM's requests (linux/kvm.h), and who copies the structure from or to user space (asm-generic/ioctl.h).
const KVMIO: u64 = 0xae;
const TO_KERNEL: u64 = 1 << 30;
const FROM_KERNEL: u64 = 2 << 30;

/// A request by its number, whose structure is `T`.
const fn request<T>(direction: u64, number: u64) -> u64 {
    direction | (size_of::<T>() as u64) << 16 | KVMIO << 8 | number
}

const GET_SREGS2: u64 = request::<kvm_sregs2>(FROM_KERNEL, 0xcc);
const SET_SREGS2: u64 = request::<kvm_sregs2>(TO_KERNEL, 0xcd);
const GET_XSAVE2: u64 = request::<kvm_xsave>(FROM_KERNEL, 0xcf);
const SET_XSAVE: u64 = request::<kvm_xsave>(TO_KERNEL, 0xa5);
const GET_NESTED_STATE: u64 = request::<kvm_nested_state>(FROM_KERNEL | TO_KERNEL, 0xbe);
const SET_NESTED_STATE: u64 = request::<kvm_nested_state>(TO_KERNEL, 0xbf);
const SET_DEVICE_ATTR: u64 = request::<kvm_device_attr>(TO_KERNEL, 0xe1);
const GET_DEVICE_ATTR: u64 = request::<kvm_device_attr>(TO_KERNEL, 0xe2);

/// # Safety
///
/// `structure` leads to as many bytes as the kernel reads or writes for this request.
unsafe fn call<T>(fd: &impl AsRawFd, request: u64, structure: *mut T) -> io::Result<()> {
    // SAFETY: the caller's.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request, structure) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub fn system_registers(vcpu: &VcpuFd) -> io::Result<kvm_sregs2> {
    let mut registers = kvm_sregs2::default();
    // SAFETY: the structure is this request's.
    unsafe { call(vcpu, GET_SREGS2, &raw mut registers) }.map(|()| registers)
}

pub fn set_system_registers(vcpu: &VcpuFd, mut registers: kvm_sregs2) -> io::Result<()> {
    // SAFETY: the structure is this request's.
    unsafe { call(vcpu, SET_SREGS2, &raw mut registers) }
}

/// What is added to the host's TSC, once that is scaled to the guest's rate.
pub fn tsc_offset(vcpu: &VcpuFd) -> io::Result<u64> {
    let mut offset = 0u64;
    let mut attribute = tsc_attribute(&raw mut offset);
    // SAFETY: the structure is this request's, and the attribute is eight bytes that it leads to.
    unsafe { call(vcpu, GET_DEVICE_ATTR, &raw mut attribute) }.map(|()| offset)
}

pub fn set_tsc_offset(vcpu: &VcpuFd, mut offset: u64) -> io::Result<()> {
    let mut attribute = tsc_attribute(&raw mut offset);
    // SAFETY: as above.
    unsafe { call(vcpu, SET_DEVICE_ATTR, &raw mut attribute) }
}

fn tsc_attribute(value: *mut u64) -> kvm_device_attr {
    kvm_device_attr {
        flags: 0,
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: value as u64,
    }
}

/// Words of 8 bytes that hold `size` bytes.
fn words(size: usize) -> Vec<u64> {
    vec![0; size.div_ceil(8)]
}

fn to_bytes(words: &[u64], size: usize) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).take(size).collect()
}

fn from_bytes(bytes: &[u8], size: usize) -> Vec<u64> {
    let mut words = words(size);
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

/// The XSAVE area in standard form, which has `size` bytes (KVM_CAP_XSAVE2).
pub fn xsave(vcpu: &VcpuFd, size: usize) -> io::Result<Vec<u8>> {
    let mut area = words(size);
    // SAFETY: KVM has said that it writes so many bytes; that changes when the process asks for dynamic features, which we never do.
    unsafe { call(vcpu, GET_XSAVE2, area.as_mut_ptr()) }.map(|()| to_bytes(&area, size))
}

/// What `area` lacks to `size` is zeros.
pub fn set_xsave(vcpu: &VcpuFd, area: &[u8], size: usize) -> io::Result<()> {
    let mut area = from_bytes(area, size);
    // SAFETY: as above, of what it reads.
    unsafe { call(vcpu, SET_XSAVE, area.as_mut_ptr()) }
}

/// Where a nested state has its size, and the bytes in front of what is the vendor's (struct kvm_nested_state).
const NESTED_SIZE: std::ops::Range<usize> = 4..8;
pub const NESTED_HEADER: usize = size_of::<kvm_nested_state>();

/// A nested state as the kernel has it, which takes at most `size` bytes (KVM_CAP_NESTED_STATE).
pub fn nested_state(vcpu: &VcpuFd, size: usize) -> io::Result<Vec<u8>> {
    let mut state = words(size.max(NESTED_HEADER));
    let room = state.len() * 8;
    // Flags and format are in front of it.
    state[0] = (room as u64) << 32;
    // SAFETY: the structure's own size says how much the kernel may write.
    unsafe { call(vcpu, GET_NESTED_STATE, state.as_mut_ptr()) }?;
    let size = (state[0] >> 32) as usize;
    Ok(to_bytes(&state, size.min(room)))
}

/// Of bytes from anywhere: the size that they name is not believed.
pub fn set_nested_state(vcpu: &VcpuFd, state: &[u8]) -> io::Result<()> {
    let size = state.len().max(NESTED_HEADER);
    let mut state = state.to_vec();
    state.resize(size, 0);
    state[NESTED_SIZE].copy_from_slice(&(size as u32).to_le_bytes());
    let mut state = from_bytes(&state, size);
    // SAFETY: the kernel reads as many bytes as the structure says, which are there.
    unsafe { call(vcpu, SET_NESTED_STATE, state.as_mut_ptr()) }
}

/// PIC 0 is the master.
pub fn pic(vm: &VmFd, number: u32) -> Result<kvm_pic_state, kvm_ioctls::Error> {
    let mut chip = kvm_irqchip { chip_id: number, ..Default::default() };
    vm.get_irqchip(&mut chip)?;
    // SAFETY: any bytes are a state; and this chip is one.
    Ok(unsafe { chip.chip.pic })
}

pub fn set_pic(vm: &VmFd, number: u32, state: kvm_pic_state) -> Result<(), kvm_ioctls::Error> {
    let mut chip = kvm_irqchip { chip_id: number, ..Default::default() };
    chip.chip.pic = state;
    vm.set_irqchip(&chip)
}

/// The IOAPIC, and its redirection table.
pub fn ioapic(vm: &VmFd) -> Result<(kvm_ioapic_state, [u64; 24]), kvm_ioctls::Error> {
    let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
    vm.get_irqchip(&mut chip)?;
    // SAFETY: any bytes are a state; and this chip is one.
    let state = unsafe { chip.chip.ioapic };
    // SAFETY: any eight bytes are an entry.
    Ok((state, state.redirtbl.map(|entry| unsafe { entry.bits })))
}

pub fn set_ioapic(
    vm: &VmFd,
    mut state: kvm_ioapic_state,
    entries: [u64; 24],
) -> Result<(), kvm_ioctls::Error> {
    for (entry, bits) in state.redirtbl.iter_mut().zip(entries) {
        entry.bits = bits;
    }
    let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
    chip.chip.ioapic = state;
    vm.set_irqchip(&chip)
}

/// Another descriptor of a vCPU, for what is done to it while it does not run.
pub fn second(vm: &VmFd, vcpu: &VcpuFd) -> io::Result<VcpuFd> {
    // SAFETY: the descriptor is open as long as `vcpu` is borrowed.
    let own = unsafe { std::os::fd::BorrowedFd::borrow_raw(vcpu.as_raw_fd()) }.try_clone_to_owned()?;
    // SAFETY: it is that of a vCPU of this VM, and nobody else's.
    unsafe { vm.create_vcpu_from_rawfd(std::os::fd::IntoRawFd::into_raw_fd(own)) }
        .map_err(|e| io::Error::from_raw_os_error(e.errno()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_numbers() {
        assert_eq!((GET_SREGS2, SET_SREGS2), (0x8140_aecc, 0x4140_aecd));
        assert_eq!((GET_XSAVE2, SET_XSAVE), (0x9000_aecf, 0x5000_aea5));
        assert_eq!((GET_NESTED_STATE, SET_NESTED_STATE), (0xc080_aebe, 0x4080_aebf));
        assert_eq!((SET_DEVICE_ATTR, GET_DEVICE_ATTR), (0x4018_aee1, 0x4018_aee2));
    }

    #[test]
    fn bytes_survive_the_way_to_words_and_back() {
        let bytes: Vec<u8> = (0..21).collect();
        assert_eq!(to_bytes(&from_bytes(&bytes, 21), 21), bytes);
        assert_eq!(to_bytes(&from_bytes(&bytes, 30), 24)[21..], [0; 3]);
    }
}
