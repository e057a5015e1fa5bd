//! The calls and shared structures of KVM that need `unsafe`.

// UNSAFETY: memory slots hand host addresses to the kernel, `kvm_run` is a page that the kernel shares with us and
// whose unions only the exit reason explains, and a thread is woken by a raw signal.
#![allow(unsafe_code)]

use ireko_vmcore::Memory;
use ireko_vmcore::memory::{BLOCK, Region, Slots};
use kvm_bindings::{kvm_run, kvm_userspace_memory_region, kvm_xsave};
use kvm_ioctls::{VcpuFd, VmFd};
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};

/// Gives `memory` (which must outlive the VM) to the VM as its slots: one for what is there from the start on, and one for
/// each block that comes. (A slot that changes is away for a moment, so that none may hold what others use.)
pub fn map_memory(vm: &Arc<VmFd>, memory: &Memory) -> io::Result<()> {
    let mut slots = 0;
    for region in memory.regions().iter().filter(|region| !region.later) {
        set_slot(vm, slots, region, region.size)?;
        slots += 1;
    }
    if memory.blocks().is_some() || memory.aperture().is_some() {
        let start = memory.blocks().map_or(0, |blocks| blocks.range().start);
        memory.tell(Box::new(BlockSlots {
            vm: Arc::downgrade(vm),
            aperture: slots,
            first: slots + 1,
            start,
        }));
    }
    Ok(())
}

/// A slot for `size` bytes; 0: the slot goes, and with it all that leads there.
fn set_slot(vm: &VmFd, slot: u32, region: &Region, size: u64) -> io::Result<()> {
    let region = kvm_userspace_memory_region {
        slot,
        flags: 0,
        guest_phys_addr: region.guest,
        memory_size: size,
        userspace_addr: region.host as u64,
    };
    // SAFETY: the region is a live mapping of that size, and every user of the VM holds the `Memory` that owns it.
    unsafe { vm.set_user_memory_region(region) }.map_err(|e| io::Error::from_raw_os_error(e.errno()))
}

/// The slots of the aperture and of blocks, which come and go.
struct BlockSlots {
    vm: Weak<VmFd>,
    aperture: u32,
    first: u32,
    start: u64,
}

impl BlockSlots {
    fn set(&self, block: &Region, size: u64) -> io::Result<()> {
        let number = u32::try_from((block.guest - self.start) / BLOCK).ok();
        let slot = number.and_then(|number| number.checked_add(self.first));
        let slot = slot.ok_or(io::ErrorKind::OutOfMemory)?;
        self.vm.upgrade().map_or(Ok(()), |vm| set_slot(&vm, slot, block, size))
    }
}

impl Slots for BlockSlots {
    fn add(&self, block: Region) -> io::Result<()> {
        self.set(&block, block.size)
    }
    fn remove(&self, block: Region) {
        // If the kernel lacks memory for it, the mapping is closed all the same: the guest ends where it touches the block.
        let _ = self.set(&block, 0);
    }
    fn aperture(&self, aperture: Region, there: bool) -> io::Result<()> {
        let size = if there { aperture.size } else { 0 };
        self.vm.upgrade().map_or(Ok(()), |vm| set_slot(&vm, self.aperture, &aperture, size))
    }
}

/// Loads the standard-format XSAVE area, of which the first 4096 bytes are given.
pub fn set_xsave(vcpu: &VcpuFd, region: &[u8; 4096]) -> io::Result<()> {
    let mut xsave = kvm_xsave::default();
    for (word, bytes) in xsave.region.iter_mut().zip(region.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    // SAFETY: the kernel reads 4096 bytes unless the process has asked for dynamic features (AMX), which we never do.
    unsafe { vcpu.set_xsave(&xsave) }.map_err(|e| io::Error::from_raw_os_error(e.errno()))
}

/// An access that the guest made, as the exit page tells it.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub address: u64,
    pub write: bool,
    /// Bytes per item.
    pub size: usize,
    /// Items (REP INS and REP OUTS give many).
    pub count: usize,
    offset: usize,
}

/// The port access of a KVM_EXIT_IO.
pub fn port_access(run: &kvm_run) -> Access {
    // SAFETY: any bit pattern is a valid `io`; the caller has seen KVM_EXIT_IO.
    let io = unsafe { run.__bindgen_anon_1.io };
    Access {
        address: u64::from(io.port),
        write: u32::from(io.direction) == kvm_bindings::KVM_EXIT_IO_OUT,
        size: usize::from(io.size),
        count: io.count as usize,
        offset: io.data_offset as usize,
    }
}

/// The memory access of a KVM_EXIT_MMIO.
pub fn mmio_access(run: &kvm_run) -> Access {
    // SAFETY: any bit pattern is a valid `mmio`; the caller has seen KVM_EXIT_MMIO.
    let mmio = unsafe { run.__bindgen_anon_1.mmio };
    // SAFETY: as above; only the place of the field is asked for.
    let offset =
        unsafe { run.__bindgen_anon_1.mmio.data.as_ptr() } as usize - std::ptr::from_ref(run) as usize;
    Access {
        address: mmio.phys_addr,
        write: mmio.is_write != 0,
        size: (mmio.len as usize).min(8),
        count: 1,
        offset,
    }
}

/// The bytes of an access, to be read (write access) or filled in (read access). `size` is that of the mapping.
pub fn access_data<'a>(run: &'a mut kvm_run, access: &Access, run_size: usize) -> &'a mut [u8] {
    let length = access.size * access.count;
    if access.offset.checked_add(length).is_none_or(|end| end > run_size) {
        return &mut [];
    }
    let base = std::ptr::from_mut(run).cast::<u8>();
    // SAFETY: the range lies in the mapping that `run` is the start of (checked above), which lives as long as the
    // vCPU that `run` is borrowed from, and nothing else refers to it during the borrow.
    unsafe { std::slice::from_raw_parts_mut(base.add(access.offset), length) }
}

/// The exit reason's own numbers: (hardware reason, processor) of FAIL_ENTRY or (suberror, first datum) of an
/// internal error.
pub fn failure_numbers(run: &kvm_run) -> (u64, u64) {
    match run.exit_reason {
        kvm_bindings::KVM_EXIT_FAIL_ENTRY => {
            // SAFETY: the exit reason says that this member is the one.
            let fail = unsafe { run.__bindgen_anon_1.fail_entry };
            (fail.hardware_entry_failure_reason, u64::from(fail.cpu))
        }
        _ => {
            // SAFETY: any bit pattern is valid, and internal errors fill it.
            let internal = unsafe { run.__bindgen_anon_1.internal };
            (u64::from(internal.suberror), internal.data[0])
        }
    }
}

/// The `immediate_exit` byte of a vCPU's exit page, which another thread may set.
pub struct ImmediateExit(*mut u8);

// SAFETY: the byte is only accessed atomically, and `Kick` forgets it before the vCPU and its mapping go.
unsafe impl Send for ImmediateExit {}

impl ImmediateExit {
    pub fn of(vcpu: &mut VcpuFd) -> Self {
        Self(&raw mut vcpu.get_kvm_run().immediate_exit)
    }
    pub fn set(&self, on: bool) {
        // SAFETY: see `Send`: the mapping is there, and the byte is only accessed atomically by us.
        unsafe { AtomicU8::from_ptr(self.0) }.store(u8::from(on), Ordering::SeqCst);
    }
}

/// The calling thread's kernel id.
pub fn thread_id() -> i32 {
    // SAFETY: gettid has no arguments and no effects.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// The processor time that the calling thread has used, guest time included.
pub fn thread_time() -> std::time::Duration {
    // SAFETY: the kernel fills the structure that it is given; a failure leaves it zero.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        time
    };
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The signal that makes KVM_RUN return.
fn kick_signal() -> i32 {
    libc::SIGRTMIN()
}

/// Makes the kick signal harmless: an empty handler, so that it interrupts and does nothing else.
pub fn install_kick_handler() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler touches nothing; the structure is zeroed, which is a valid empty mask and no flags.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(kick_signal(), &action, std::ptr::null_mut());
    }
}

/// Sends the kick signal to a thread of this process; a thread that has ended is no error.
pub fn kick_thread(thread: i32) {
    // SAFETY: tgkill with our own process id; the worst is ESRCH.
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, kick_signal());
    }
}
