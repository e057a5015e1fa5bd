//! A tiny guest board: long mode with page tables, descriptor tables and a stub for every exception, on the software
//! engine behind vmcore's traits.

use anyhow::{Context, Result};
use ireko_cpu::SoftHypervisor;
use ireko_vmcore::{
    Bus, Clock, CpuModel, CpuState, Halt, Hypervisor, Memory, PartitionSpec, Space, Stop, Timers, Vcpu,
};
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::{Registers, Segment, regs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};

/// Where the board's own first 64 KiB of memory are in linear space, for supervisors only.
pub const KERNEL: u64 = 0xffff_8000_0000_0000;
const GDT: u64 = 0x8000;
const IDT: u64 = 0x9000;
const TSS: u64 = 0xa000;
const STUBS: u64 = 0xb000;
/// Top of the stack that every exception uses.
const STACK_TOP: u64 = 0xe000;
const TABLES: u64 = 0x10000;
const TABLES_END: u64 = 0x40000;
/// Bytes of memory.
pub const MEMORY: u64 = 0x40_0000;
/// Physical address of the device page.
pub const DEVICE: u64 = 0xd000_0000;
/// Exception `v` ends with a write to port `PORT + v`.
const PORT: u64 = 0x40;

/// Page-table entry bits.
pub const PRESENT: u64 = 1;
pub const WRITE: u64 = 2;
pub const USER: u64 = 4;

pub const KERNEL_CS: u16 = 0x10;
const DESCRIPTORS: [u64; 7] = [
    0,
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
];

/// Ports that note which exception stub ran, and a device page that is plain memory.
#[derive(Default)]
pub struct LabBus {
    vector: AtomicU64,
    device: Mutex<Vec<u8>>,
    stop: Mutex<Stop>,
    x87_error: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

const NONE: u64 = u64::MAX;

impl LabBus {
    /// The state of FERR#.
    pub fn has_x87_error(&self) -> bool {
        self.x87_error.load(Ordering::SeqCst)
    }
    /// The device page's contents.
    pub fn device(&self) -> MutexGuard<'_, Vec<u8>> {
        lock(&self.device)
    }
    fn range(address: u64, size: usize) -> Option<std::ops::Range<usize>> {
        let start = address.wrapping_sub(DEVICE);
        (start < 4096 && start as usize + size <= 4096).then(|| start as usize..start as usize + size)
    }
}

impl Bus for LabBus {
    fn read(&self, space: Space, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (Space::Mmio, Some(range)) = (space, Self::range(address, data.len())) {
            data.copy_from_slice(&self.device()[range]);
        }
    }
    fn write(&self, space: Space, address: u64, data: &[u8]) {
        match space {
            Space::Mmio => {
                if let Some(range) = Self::range(address, data.len()) {
                    self.device()[range].copy_from_slice(data);
                }
            }
            Space::Port if (PORT..PORT + 32).contains(&address) => {
                self.vector.store(address - PORT, Ordering::SeqCst);
                lock(&self.stop).ask();
            }
            Space::Port => {}
        }
    }
    fn x87_error(&self, on: bool) {
        self.x87_error.store(on, Ordering::SeqCst);
    }
}

/// An exception that a stub caught.
#[derive(Clone, Copy, Debug)]
pub struct Caught {
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub rflags: u64,
    pub rsp: u64,
}

/// Asks a run to stop when it has taken too long.
struct Watchdog {
    watched: Arc<Watched>,
}

#[derive(Default)]
struct Watched {
    /// Milliseconds that are left to the run; 0 is nobody to watch.
    left: AtomicU64,
    stop: Mutex<Stop>,
}

const TICK: u64 = 10;

impl Watchdog {
    fn new() -> Self {
        let watched = Arc::new(Watched::default());
        let seen = Arc::downgrade(&watched);
        std::thread::spawn(move || {
            while let Some(watched) = seen.upgrade() {
                let left = watched.left.load(Ordering::SeqCst);
                let next = left.saturating_sub(TICK);
                let counted =
                    watched.left.compare_exchange(left, next, Ordering::SeqCst, Ordering::SeqCst).is_ok();
                if left != 0 && next == 0 && counted {
                    lock(&watched.stop).ask();
                }
                drop(watched);
                std::thread::sleep(Duration::from_millis(TICK));
            }
        });
        Self { watched }
    }
    fn watch(&self, stop: &Stop, milliseconds: u64) {
        *lock(&self.watched.stop) = stop.clone();
        self.watched.left.store(milliseconds, Ordering::SeqCst);
    }
    fn rest(&self) {
        self.watched.left.store(0, Ordering::SeqCst);
    }
}

pub struct Board {
    pub memory: Arc<Memory>,
    pub bus: Arc<LabBus>,
    vcpu: Box<dyn Vcpu>,
    watchdog: Watchdog,
    next_table: u64,
    /// Milliseconds after which a run is stopped.
    pub budget: u64,
}

impl Board {
    /// A board whose engine has these options.
    pub fn new(options: &[&str]) -> Result<Self> {
        Self::of(CpuModel::Amd, options)
    }

    /// The same with another processor.
    pub fn of(cpu: CpuModel, options: &[&str]) -> Result<Self> {
        let memory = Arc::new(Memory::new(&[(0, MEMORY)]).context("guest memory")?);
        let clock = Clock::new();
        let spec = PartitionSpec {
            memory: memory.clone(),
            vcpus: 1,
            cpu,
            nested: true,
            clock: clock.clone(),
            timers: Timers::new(clock),
            options: options.iter().map(|o| o.to_string()).collect(),
        };
        let partition = SoftHypervisor::new().create(&spec)?;
        let vcpu = partition.vcpu(0)?;
        let bus = Arc::new(LabBus { device: Mutex::new(vec![0; 4096]), ..LabBus::default() });
        let mut board =
            Self { memory, bus, vcpu, watchdog: Watchdog::new(), next_table: TABLES + 4096, budget: 2000 };
        board.lay_out();
        Ok(board)
    }

    fn lay_out(&mut self) {
        for (n, raw) in DESCRIPTORS.iter().enumerate() {
            self.poke(GDT + 8 * n as u64, *raw);
        }
        for vector in 0..32 {
            self.gate(vector, KERNEL + STUBS + 16 * vector);
            self.note_exception(vector);
        }
        // #DB goes back, so that a string can be stepped through.
        self.write(STUBS + 16, &[0x48, 0xcf]);
        // IST1, and no I/O map.
        self.write(TSS + 0x24, &(KERNEL + STACK_TOP).to_le_bytes());
        self.write(TSS + 0x66, &0x68u16.to_le_bytes());
        for page in 0..16 {
            self.map(KERNEL + page * 4096, page * 4096, PRESENT | WRITE);
        }
    }

    /// A stub that says which exception came.
    fn note_exception(&mut self, vector: u64) {
        let stub = [0xe6, (PORT + vector) as u8, 0x0f, 0x06, 0xeb, 0xfc];
        self.write(STUBS + 16 * vector, &stub);
    }

    /// #DB ends a run like any other exception.
    pub fn catch_debug(&mut self) {
        self.note_exception(1);
    }

    /// A gate for `vector` on the exception stack. As in Linux, user code may use those of INT3 and INTO.
    fn gate(&mut self, vector: u64, to: u64) {
        let attributes = if matches!(vector, 3 | 4) { 0xee00 } else { 0x8e00 };
        let low =
            to & 0xffff | u64::from(KERNEL_CS) << 16 | 1 << 32 | attributes << 32 | (to & 0xffff_0000) << 32;
        self.poke(IDT + 16 * vector, low);
        self.poke(IDT + 16 * vector + 8, to >> 32);
    }

    pub fn write(&self, physical: u64, bytes: &[u8]) {
        self.memory.ram().write_slice(bytes, GuestAddress(physical)).expect("within the board's memory");
    }
    pub fn read(&self, physical: u64, bytes: &mut [u8]) {
        self.memory.ram().read_slice(bytes, GuestAddress(physical)).expect("within the board's memory");
    }
    pub fn poke(&self, physical: u64, value: u64) {
        self.write(physical, &value.to_le_bytes());
    }
    pub fn peek(&self, physical: u64) -> u64 {
        let mut bytes = [0; 8];
        self.read(physical, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Maps one page of linear space.
    pub fn map(&mut self, linear: u64, physical: u64, flags: u64) {
        let mut table = TABLES;
        for level in [39, 30, 21] {
            let entry = table + 8 * (linear >> level & 511);
            if self.peek(entry) & PRESENT == 0 {
                assert!(self.next_table < TABLES_END, "room for page tables");
                self.poke(entry, self.next_table | PRESENT | WRITE | USER);
                self.next_table += 4096;
            }
            table = self.peek(entry) & !0xfff;
        }
        self.poke(table + 8 * (linear >> 12 & 511), physical | flags);
    }

    /// Registers in 64-bit mode at this privilege level, everything flat.
    pub fn registers(&self, cpl: u8) -> Registers {
        let mut regs = Registers::reset();
        let dpl = u16::from(cpl) << 5;
        let data = Segment {
            base: 0,
            limit: u32::MAX,
            attr: 0xc93 | dpl,
            selector: if cpl == 3 { 0x2b } else { 0x18 },
        };
        regs.seg = [data; 6];
        let selector = if cpl == 3 { 0x33 } else { KERNEL_CS };
        regs.seg[regs::seg::CS] = Segment { base: 0, limit: u32::MAX, attr: 0xa9b | dpl, selector };
        regs.seg[regs::seg::FS].selector = 0;
        regs.seg[regs::seg::GS].selector = 0;
        regs.cpl = cpl;
        regs.cr0 = cr0::PE | cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::PG;
        regs.cr3 = TABLES;
        regs.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::FSGSBASE | cr4::PGE;
        regs.efer = efer::LME | efer::LMA | efer::NXE | efer::SCE;
        regs.xcr0 = if ireko_cpu::cpuid::host::Host::native().avx512() { 0xe7 } else { 7 };
        regs.gdtr = regs::Table { base: KERNEL + GDT, limit: (8 * DESCRIPTORS.len() - 1) as u16 };
        regs.idtr = regs::Table { base: KERNEL + IDT, limit: 32 * 16 - 1 };
        regs.ldtr = Segment::default();
        regs.tr = Segment { base: KERNEL + TSS, limit: 0x67, attr: 0x8b, selector: 0x38 };
        regs
    }

    /// Runs from `state` until a stub catches an exception or the engine stops for another reason.
    pub fn run(&mut self, state: &CpuState) -> Result<(Halt, Option<Caught>, CpuState)> {
        let stop = Stop::default();
        *lock(&self.bus.stop) = stop.clone();
        self.bus.vector.store(NONE, Ordering::SeqCst);
        self.vcpu.set_state(state)?;
        self.watchdog.watch(&stop, self.budget);
        let bus = self.bus.clone();
        let halt = self.vcpu.run(&*bus, &stop);
        self.watchdog.rest();
        let after = self.vcpu.state()?;
        Ok((halt, self.caught(), after))
    }

    fn caught(&self) -> Option<Caught> {
        let vector = self.bus.vector.load(Ordering::SeqCst);
        if vector == NONE {
            return None;
        }
        let with_error = matches!(vector, 8 | 10..=14 | 17 | 21);
        let frame = STACK_TOP - 40;
        let error = if with_error { self.peek(frame - 8) } else { 0 };
        let at = |n: u64| self.peek(frame + 8 * n);
        Some(Caught { vector, error, rip: at(0), rflags: at(2), rsp: at(3) })
    }
}
