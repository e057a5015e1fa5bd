//! The KVM_RUN loop.

mod msrs;
mod nested;
mod registers;
pub mod saved;

use crate::ioctl::{self, Access, ImmediateExit};
use crate::kick::Kick;
use crate::shared::Shared;
use crate::{state, text};
use ireko_vmcore::{Bus, CpuState, Halt, HvError, Nesting, Record, Space, Stop, Vcpu, Window};
use ireko_x86::bits::{cr4, efer};
use kvm_bindings::*;
use kvm_ioctls::VcpuFd;
use std::sync::Arc;

pub struct KvmVcpu {
    // Field order is drop order: the vCPU goes before its VM.
    fd: VcpuFd,
    id: u32,
    /// Its CPUID.
    leaves: Vec<(u32, u32, [u32; 4])>,
    kick: Kick,
    kick_registered: bool,
    exits: Exits,
    window: Window,
    /// The kernel waits for the next entry with the end of an access.
    unfinished: bool,
    shared: Arc<Shared>,
}

/// Exits that came to user space, by kind.
#[derive(Clone, Copy, Debug, Default)]
struct Exits {
    port: u64,
    mmio: u64,
    interrupted: u64,
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        self.kick.detach();
    }
}

impl KvmVcpu {
    pub(crate) fn new(mut fd: VcpuFd, id: u32, cpuid: &CpuId, shared: Arc<Shared>) -> Self {
        let kick = Kick::new(ImmediateExit::of(&mut fd));
        let asked = kick.clone();
        let window = Window::new(move || asked.kick());
        Self {
            fd,
            id,
            leaves: saved::leaves(cpuid),
            kick,
            kick_registered: false,
            exits: Exits::default(),
            window,
            unfinished: false,
            shared,
        }
    }

    /// A vCPU is run with one `Stop` all its life, so one registration does.
    fn register(&mut self, stop: &Stop) {
        if !self.kick_registered {
            let kick = self.kick.clone();
            stop.on_stop(Box::new(move || kick.kick()));
            self.kick_registered = true;
        }
    }

    fn run_until_halt(&mut self, bus: &dyn Bus, stop: &Stop) -> Halt {
        loop {
            if self.window.wanted() {
                self.show();
            }
            let stops = stop.asked();
            if stops && !self.unfinished {
                return Halt::Stopped;
            }
            if stops {
                // The instruction of an access is done when it is entered again (KVM's api.rst, 5: KVM_EXIT_IO); it is no further than that.
                self.kick.exit_at_once();
            }
            self.unfinished = false;
            // The exit borrows the exit page; what it says is read from the page afterwards.
            let entered = self.fd.run().map(drop);
            let halt = match entered {
                Ok(()) => self.exit(bus),
                Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => {
                    self.exits.interrupted += 1;
                    // Who kicks says before why; that is looked at next.
                    self.kick.over();
                    None
                }
                Err(e) => {
                    Some(self.failure(&format!("KVM_RUN: {}", std::io::Error::from_raw_os_error(e.errno()))))
                }
            };
            if let Some(halt) = halt {
                return halt;
            }
        }
    }

    /// Whether a hypervisor runs inside; what it runs, only the kernel knows. While its guest runs, these are the
    /// guest's registers, and in them the bits must be set, too (APM vol. 2, 15.5.1; SDM vol. 3, 24.8).
    fn show(&mut self) {
        let on = self.fd.get_sregs().ok();
        let on = on.map(|sregs| sregs.efer & efer::SVME != 0 || sregs.cr4 & cr4::VMXE != 0);
        self.window.show(Nesting { hypervisor: on, ..Nesting::default() });
    }

    fn exit(&mut self, bus: &dyn Bus) -> Option<Halt> {
        let reason = self.fd.get_kvm_run().exit_reason;
        match reason {
            KVM_EXIT_IO => {
                self.exits.port += 1;
                let access = ioctl::port_access(self.fd.get_kvm_run());
                self.serve(bus, Space::Port, access);
                None
            }
            KVM_EXIT_MMIO => {
                self.exits.mmio += 1;
                let access = ioctl::mmio_access(self.fd.get_kvm_run());
                self.serve(bus, Space::Mmio, access);
                None
            }
            KVM_EXIT_INTR | KVM_EXIT_IRQ_WINDOW_OPEN => None,
            KVM_EXIT_SHUTDOWN => Some(Halt::Shutdown(self.describe(SHUTDOWN))),
            // With KVM's own interrupt controllers HLT waits in the kernel.
            KVM_EXIT_HLT => Some(Halt::Idle),
            KVM_EXIT_FAIL_ENTRY => {
                let (hardware, cpu) = ioctl::failure_numbers(self.fd.get_kvm_run());
                Some(self.failure(&format!(
                    "KVM could not enter the guest: reason {hardware:#x} on processor {cpu}"
                )))
            }
            KVM_EXIT_INTERNAL_ERROR => {
                let (suberror, datum) = ioctl::failure_numbers(self.fd.get_kvm_run());
                let what = internal_error(suberror);
                Some(self.failure(&format!("KVM internal error {suberror} ({what}, {datum:#x})")))
            }
            other => Some(self.failure(&format!("KVM exit {other}, which this backend does not expect"))),
        }
    }

    fn serve(&mut self, bus: &dyn Bus, space: Space, access: Access) {
        self.unfinished = true;
        let run_size = self.shared.vm.run_size();
        let data = ioctl::access_data(self.fd.get_kvm_run(), &access, run_size);
        // A string instruction repeats at one port; the bus takes one item at a time.
        for item in data.chunks_mut(access.size.max(1)) {
            match item.len() {
                1 | 2 | 4 | 8 => one(bus, space, access.address, access.write, item),
                _ => by_bytes(bus, space, &access, item),
            }
        }
    }

    fn describe(&mut self, what: &str) -> String {
        match state::read(&self.fd) {
            Ok(state) => format!("{what}\n{}", text::registers(&state.regs)),
            Err(e) => format!("{what}\n(no registers: {e})"),
        }
    }

    fn failure(&mut self, what: &str) -> Halt {
        Halt::Failed(self.describe(what))
    }
}

/// On AMD the registers are gone by then: the VMCB is undefined after a shutdown, so KVM resets the vCPU.
const SHUTDOWN: &str = "registers (on AMD, KVM has reset them by now):";

fn one(bus: &dyn Bus, space: Space, address: u64, write: bool, item: &mut [u8]) {
    if write {
        bus.write(space, address, item);
    } else {
        bus.read(space, address, item);
    }
}

/// Odd sizes come from accesses that cross a page.
fn by_bytes(bus: &dyn Bus, space: Space, access: &Access, item: &mut [u8]) {
    for (n, byte) in item.iter_mut().enumerate() {
        one(bus, space, access.address.wrapping_add(n as u64), access.write, std::slice::from_mut(byte));
    }
}

/// KVM_INTERNAL_ERROR_* of the kernel's `kvm.h`.
fn internal_error(suberror: u64) -> &'static str {
    match suberror {
        1 => "an instruction that it cannot emulate",
        2 => "simultaneous exceptions",
        3 => "an exit while delivering an event",
        4 => "an unexpected exit reason",
        _ => "unknown",
    }
}

impl Vcpu for KvmVcpu {
    fn save(&mut self) -> Result<Record, HvError> {
        Ok(Record::of(&self.saved()?))
    }
    fn restore(&mut self, record: &Record) -> Result<(), HvError> {
        self.put(&record.get()?)
    }
    fn run(&mut self, bus: &dyn Bus, stop: &Stop) -> Halt {
        self.register(stop);
        self.kick.enter();
        let halt = self.run_until_halt(bus, stop);
        self.show();
        self.kick.leave();
        halt
    }

    fn state(&mut self) -> Result<CpuState, HvError> {
        state::read(&self.fd)
    }

    fn set_state(&mut self, state: &CpuState) -> Result<(), HvError> {
        state::write(&self.fd, state)
    }

    fn window(&self) -> Option<Window> {
        Some(self.window.clone())
    }

    fn dump(&mut self) -> String {
        let Exits { port, mmio, interrupted } = self.exits;
        self.describe(&format!(
            "kvm, exits to user space: {port} port, {mmio} MMIO, {interrupted} interrupted"
        ))
    }
}
