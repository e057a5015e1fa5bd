//! Is this host's KVM worth using? Found out by running a tiny guest, because some hosts have a `/dev/kvm` that opens
//! and then cannot run a stock kernel: it fails at XRSTOR or CMPXCHG16B in ring 0, or emulates every instruction.

use crate::hypervisor::KvmHypervisor;
use crate::ioctl::{self, ImmediateExit};
use crate::kick::Kick;
use crate::state;
use ireko_vmcore::{CpuState, Hypervisor, Memory};
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::regs::{Segment, gpr, seg};
use kvm_bindings::{CpuId, KVM_EXIT_IO};
use kvm_ioctls::VcpuFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

/// Turns of each timed loop, and how often it is timed. The thread's own processor time is what counts, and the best of
/// the runs: the host, and whoever is below it, may be busy.
const LOOP_TURNS: u32 = 500_000;
const LOOP_RUNS: usize = 5;
const CPUIDS: u32 = 20;
/// Below this a stock kernel is no use. Hardware does 500 million and more, a translator 200, emulation one or two.
const LEAST_LOOPS_PER_SECOND: u64 = 20_000_000;
/// Also on a host, or in a guest, whose processor is busy.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the tiny guest showed.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// For people: one sentence.
    pub sentence: String,
    /// Turns of a two-instruction loop in a second.
    pub loops_per_second: u64,
    /// What one CPUID costs the guest.
    pub cpuid_exit_ns: u64,
    /// This KVM can pass virtualization on to its guests.
    pub nested: bool,
}

impl std::fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Tries `/dev/kvm`. The error is a sentence that says what is wrong with it.
pub fn probe() -> Result<ProbeReport, String> {
    let hypervisor = KvmHypervisor::new().map_err(|e| format!("KVM cannot be used: {e}"))?;
    let nested = hypervisor.caps().nested;
    let (send, receive) = mpsc::channel();
    let (send_kick, receive_kick) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("kvm-probe".into())
        .spawn(move || {
            let _ = send.send(Guest::new(&hypervisor).and_then(|mut guest| {
                let _ = send_kick.send(guest.kick.clone());
                guest.run()
            }));
        })
        .map_err(|e| format!("KVM cannot be tried: no thread for it: {e}"))?;
    let times = match receive.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(_) => {
            receive_kick.try_iter().for_each(|kick| kick.kick());
            Err(format!("a tiny guest did not finish in {} s", PATIENCE.as_secs()))
        }
    };
    drop(thread);
    let times = times.map_err(|e| format!("/dev/kvm opens but cannot run a 64-bit kernel: {e}"))?;
    judge(times, nested)
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
struct Times {
    cpuids: Duration,
    fastest_loop: Duration,
}

fn judge(times: Times, nested: bool) -> Result<ProbeReport, String> {
    let loops_per_second = (f64::from(LOOP_TURNS) / times.fastest_loop.as_secs_f64().max(1e-6)) as u64;
    let cpuid_exit_ns = times.cpuids.as_nanos() as u64 / u64::from(CPUIDS);
    if loops_per_second < LEAST_LOOPS_PER_SECOND {
        return Err(format!(
            "/dev/kvm opens but emulates: a loop in a tiny guest ran {} million turns a second, hardware does over {} million",
            loops_per_second / 1_000_000,
            LEAST_LOOPS_PER_SECOND / 1_000_000
        ));
    }
    let sentence = format!(
        "KVM runs a 64-bit guest: {} million loop turns a second, {:.1} µs for a CPUID exit, {} nesting",
        loops_per_second / 1_000_000,
        cpuid_exit_ns as f64 / 1000.0,
        if nested { "with" } else { "without" }
    );
    Ok(ProbeReport { sentence, loops_per_second, cpuid_exit_ns, nested })
}

const CODE: u64 = 0x1000;
const XSAVE_AREA: u64 = 0x2000;
const PAGE_TABLES: u64 = 0x4000;
const STACK: u64 = 0x8000;
const MEMORY: u64 = 0x20_0000;
const PORT: u64 = 0xf1;

/// The guest's steps, announced at [`PORT`] in AL as each begins.
mod step {
    pub const XSAVE: u8 = 1;
    pub const CMPXCHG16B: u8 = 2;
    pub const CPUID: u8 = 3;
    pub const LOOP: u8 = 4;
    pub const DONE: u8 = 5;
    /// Nothing until the next step: what an exit itself costs.
    pub const EMPTY: u8 = 6;
}

/// `mov al, step; out 0xf1, al`.
fn announce(code: &mut Vec<u8>, step: u8) {
    code.extend([0xb0, step, 0xe6, PORT as u8]);
}

fn program(xsave: bool) -> Vec<u8> {
    let mut code = Vec::new();
    announce(&mut code, step::XSAVE);
    if xsave {
        // xor edx,edx; mov eax,3; mov ebx,XSAVE_AREA; xsave [rbx]; xrstor [rbx]
        code.extend([0x31, 0xd2, 0xb8, 3, 0, 0, 0, 0xbb]);
        code.extend((XSAVE_AREA as u32).to_le_bytes());
        code.extend([0x0f, 0xae, 0x23, 0x0f, 0xae, 0x2b]);
    }
    announce(&mut code, step::CMPXCHG16B);
    // mov ebx,XSAVE_AREA-16; mov rsi,rbx; xor eax,eax; xor edx,edx; xor ecx,ecx; lock cmpxchg16b [rsi]
    code.push(0xbb);
    code.extend((XSAVE_AREA as u32 - 16).to_le_bytes());
    code.extend([0x48, 0x89, 0xde, 0x31, 0xc0, 0x31, 0xd2, 0x31, 0xc9, 0xf0, 0x48, 0x0f, 0xc7, 0x0e]);
    announce(&mut code, step::CPUID);
    // mov esi,CPUIDS; again: xor eax,eax; cpuid; dec esi; jnz again
    code.push(0xbe);
    code.extend(CPUIDS.to_le_bytes());
    code.extend([0x31, 0xc0, 0x0f, 0xa2, 0xff, 0xce, 0x75, 0xf8]);
    for _ in 0..LOOP_RUNS {
        announce(&mut code, step::EMPTY);
        announce(&mut code, step::LOOP);
        // mov ecx,LOOP_TURNS; again: dec ecx; jnz again
        code.push(0xb9);
        code.extend(LOOP_TURNS.to_le_bytes());
        code.extend([0xff, 0xc9, 0x75, 0xfc]);
    }
    announce(&mut code, step::DONE);
    code.push(0xf4);
    code
}

/// A VM with 2 MiB of memory, identity-mapped, and no interrupt controllers.
struct Guest {
    fd: VcpuFd,
    kick: Kick,
    run_size: usize,
    _vm: Arc<kvm_ioctls::VmFd>,
    _memory: Memory,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kick.detach();
    }
}

impl Guest {
    fn new(hypervisor: &KvmHypervisor) -> Result<Self, String> {
        let memory = Memory::new(&[(0, MEMORY)]).map_err(|e| format!("no memory for a tiny guest: {e}"))?;
        let xsave = has_xsave(&hypervisor.supported);
        fill(&memory, &program(xsave)).map_err(|e| format!("a tiny guest's memory: {e}"))?;
        let vm = Arc::new(hypervisor.kvm.create_vm().map_err(|e| format!("KVM_CREATE_VM: {e}"))?);
        ioctl::map_memory(&vm, &memory).map_err(|e| format!("KVM_SET_USER_MEMORY_REGION: {e}"))?;
        let mut fd = vm.create_vcpu(0).map_err(|e| format!("KVM_CREATE_VCPU: {e}"))?;
        fd.set_cpuid2(&hypervisor.supported).map_err(|e| format!("KVM_SET_CPUID2: {e}"))?;
        state::write(&fd, &start_state(xsave)).map_err(|e| e.to_string())?;
        let kick = Kick::new(ImmediateExit::of(&mut fd));
        Ok(Self { run_size: vm.run_size(), fd, kick, _vm: vm, _memory: memory })
    }

    fn run(&mut self) -> Result<Times, String> {
        self.kick.enter();
        let mut marks = Vec::new();
        loop {
            self.fd.run().map(drop).map_err(|e| format!("KVM_RUN after {}: {e}", reached(&marks)))?;
            let reason = self.fd.get_kvm_run().exit_reason;
            if reason != KVM_EXIT_IO {
                return Err(format!("exit {reason} ({}) after {}", exit_name(reason), reached(&marks)));
            }
            let access = ioctl::port_access(self.fd.get_kvm_run());
            let step = ioctl::access_data(self.fd.get_kvm_run(), &access, self.run_size).first().copied();
            marks.push(Mark { step: step.unwrap_or(0), wall: Instant::now(), busy: ioctl::thread_time() });
            if step == Some(step::DONE) {
                return times(&marks).ok_or_else(|| "the guest skipped a step".into());
            }
        }
    }
}

/// When a step began, by the clock and by the thread's processor time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    step: u8,
    wall: Instant,
    busy: Duration,
}

fn times(marks: &[Mark]) -> Option<Times> {
    let pairs = |of: u8| marks.windows(2).filter(move |pair| pair[0].step == of);
    let busy = |of: u8| pairs(of).map(|pair| pair[1].busy.saturating_sub(pair[0].busy)).min();
    let cpuids = pairs(step::CPUID).map(|pair| pair[1].wall - pair[0].wall).next()?;
    Some(Times { cpuids, fastest_loop: busy(step::LOOP)?.saturating_sub(busy(step::EMPTY)?) })
}

fn reached(marks: &[Mark]) -> &'static str {
    match marks.last().map(|m| m.step) {
        None => "the start of the guest",
        Some(step::XSAVE) => "starting XSAVE and XRSTOR",
        Some(step::CMPXCHG16B) => "starting CMPXCHG16B",
        Some(step::CPUID) => "starting CPUID",
        _ => "starting a counting loop",
    }
}

fn exit_name(reason: u32) -> &'static str {
    match reason {
        kvm_bindings::KVM_EXIT_SHUTDOWN => "triple fault",
        kvm_bindings::KVM_EXIT_INTERNAL_ERROR => "an instruction that it cannot emulate",
        kvm_bindings::KVM_EXIT_FAIL_ENTRY => "failed entry",
        kvm_bindings::KVM_EXIT_HLT => "halt",
        _ => "unexpected",
    }
}

fn has_xsave(supported: &CpuId) -> bool {
    const XSAVE: u32 = 1 << 26;
    supported.as_slice().iter().any(|e| e.function == 1 && e.ecx & XSAVE != 0)
}

fn fill(memory: &Memory, code: &[u8]) -> Result<(), vm_memory::GuestMemoryError> {
    const TABLE: u64 = 3;
    const LARGE_PAGE: u64 = 0x83;
    let ram = memory.ram();
    ram.write_slice(code, GuestAddress(CODE))?;
    ram.write_obj((PAGE_TABLES + 0x1000) | TABLE, GuestAddress(PAGE_TABLES))?;
    ram.write_obj((PAGE_TABLES + 0x2000) | TABLE, GuestAddress(PAGE_TABLES + 0x1000))?;
    ram.write_obj(LARGE_PAGE, GuestAddress(PAGE_TABLES + 0x2000))
}

/// 64-bit mode at privilege level 0, interrupts off.
fn start_state(xsave: bool) -> CpuState {
    let mut state = CpuState::reset();
    let regs = &mut state.regs;
    let data = Segment { base: 0, limit: 0xffff_ffff, attr: 0xc93, selector: 0x18 };
    regs.seg = [data; 6];
    regs.seg[seg::CS] = Segment { base: 0, limit: 0xffff_ffff, attr: 0xa9b, selector: 0x10 };
    regs.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::MP | cr0::WP;
    regs.cr3 = PAGE_TABLES;
    regs.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | if xsave { cr4::OSXSAVE } else { 0 };
    regs.efer = efer::LME | efer::LMA;
    regs.rip = CODE;
    regs.rflags = 2;
    regs.gpr[gpr::RSP] = STACK;
    regs.xcr0 = if xsave { 3 } else { 1 };
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(micros: u64) -> Times {
        Times { cpuids: Duration::from_micros(100), fastest_loop: Duration::from_micros(micros) }
    }

    #[test]
    fn a_loop_at_hardware_speed_is_usable() {
        assert!(judge(measured(500), true).unwrap().nested);
    }

    #[test]
    fn an_emulated_loop_is_refused_with_its_speed() {
        assert!(judge(measured(250_000), false).unwrap_err().contains("2 million turns"));
    }

    #[test]
    fn trying_gives_a_sentence_whatever_the_host_has() {
        let sentence = probe().map_or_else(|e| e, |r| r.sentence);
        println!("{sentence}");
        assert!(sentence.contains("KVM") || sentence.contains("/dev/kvm"));
    }
}
