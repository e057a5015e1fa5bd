//! The APIC by its registers, one fact each.

use super::*;
use crate::tsc::Counter;
use ireko_vmcore::{ExtInt, Msi};
use ireko_x86::apic::{SVR_ENABLE, base, offset};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Bench {
    fabric: Arc<Apics>,
    apics: Vec<One>,
}

/// One processor's.
struct One {
    regs: LocalApic,
    wires: Wires,
    tsc: Tsc,
    nmi_blocked: bool,
}

impl One {
    fn on(&mut self) -> Apic<'_> {
        Apic { regs: &mut self.regs, wires: &self.wires, tsc: self.tsc, nmi_blocked: self.nmi_blocked }
    }
}

fn bench(count: u32) -> Bench {
    let fabric = Apics::new(count);
    let clock = Clock::new();
    let timers = Timers::new(clock.clone());
    let tsc = Tsc { counter: Counter::measure(), adjust: 0 };
    let one = |id| {
        let wires = Wires::new(&fabric, id, clock.clone(), &timers);
        let mut one = One { regs: LocalApic::new(id), wires, tsc, nmi_blocked: false };
        one.on().write(offset::SVR, SVR_ENABLE | 0xff);
        one
    };
    let apics = (0..count).map(one).collect();
    Bench { fabric, apics }
}

fn one() -> (Arc<Apics>, One) {
    let mut bench = bench(1);
    (bench.fabric, bench.apics.remove(0))
}

fn x2(apic: &mut One) {
    let base = apic.regs.base();
    apic.on().set_base(base | base::EXTD).unwrap();
}

fn msi(vector: u8, level: bool) -> Msi {
    Msi { address: 0xfee0_0000, data: u32::from(vector) | u32::from(level) << 15 }
}

/// Waits, in host time, for a timer's interrupt.
fn wait(apic: &mut One) -> u8 {
    let since = std::time::Instant::now();
    loop {
        assert!(since.elapsed().as_secs() < 60, "no interrupt came");
        if let Some(vector) = apic.on().pending() {
            return vector;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_message_is_requested_then_served_then_ended() {
    let (fabric, mut apic) = one();
    fabric.msi(msi(0x41, false));
    assert_eq!(apic.on().pending(), Some(0x41));
    assert_eq!(apic.on().acknowledge(), Some(0x41));
    assert_eq!((apic.on().read(offset::IRR + 0x20), apic.on().read(offset::ISR + 0x20)), (0, 2));
    apic.on().write(offset::EOI, 0);
    assert_eq!(apic.on().read(offset::ISR + 0x20), 0);
}

#[test]
fn a_class_in_service_holds_back_its_equals() {
    let (fabric, mut apic) = one();
    fabric.msi(msi(0x41, false));
    apic.on().acknowledge();
    fabric.msi(msi(0x4f, false));
    assert_eq!(apic.on().pending(), None);
    fabric.msi(msi(0x51, false));
    assert_eq!(apic.on().pending(), Some(0x51));
}

#[test]
fn the_task_priority_holds_back_its_class() {
    let (fabric, mut apic) = one();
    fabric.msi(msi(0x41, false));
    apic.regs.set_cr8(4);
    assert_eq!(apic.on().pending(), None);
    apic.regs.set_cr8(3);
    assert_eq!(apic.on().pending(), Some(0x41));
}

#[test]
fn ppr_is_the_higher_of_task_and_service() {
    let (fabric, mut apic) = one();
    fabric.msi(msi(0x41, false));
    apic.on().acknowledge();
    apic.regs.set_tpr(0x23);
    assert_eq!(apic.on().read(offset::PPR), 0x40);
    apic.regs.set_tpr(0x47);
    assert_eq!(apic.on().read(offset::PPR), 0x47);
}

#[test]
fn each_eoi_is_told_with_its_trigger_mode() {
    let (fabric, mut apic) = one();
    struct Silent;
    impl ExtInt for Silent {
        fn pending(&self) -> bool {
            false
        }
        fn acknowledge(&self) -> u8 {
            0
        }
    }
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = told.clone();
    fabric
        .connect(Arc::new(Silent), Arc::new(move |vector, level| hear.lock().unwrap().push((vector, level))));
    for (vector, level) in [(0x41, true), (0x42, false)] {
        fabric.msi(msi(vector, level));
        apic.on().acknowledge();
        apic.on().write(offset::EOI, 0);
    }
    assert_eq!(*told.lock().unwrap(), [(0x41, true), (0x42, false)]);
}

#[test]
fn a_message_wakes_its_processor() {
    let bench = bench(2);
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    bench.fabric.on_wake(
        1,
        Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    );
    bench.fabric.msi(Msi { address: 0xfee0_1000, data: 0x30 });
    assert_eq!(woken.load(Ordering::SeqCst), 1);
}

#[test]
fn software_disable_drops_interrupts_and_masks_the_local_table() {
    let (fabric, mut apic) = one();
    apic.on().write(offset::LVT_LINT1, 0x400);
    apic.on().write(offset::SVR, 0xff);
    fabric.msi(msi(0x41, false));
    assert_eq!((apic.on().pending(), apic.on().read(offset::LVT_LINT1)), (None, 0x400 | lvt::MASKED));
}

#[test]
fn vectors_below_sixteen_are_an_error_of_the_sender() {
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_ERROR, 0xfe);
    apic.on().write(offset::ICR, 1 << 18 | 5);
    apic.on().write(offset::ESR, 0);
    assert_eq!((apic.on().read(offset::ESR), apic.on().pending()), (esr::SEND_ILLEGAL_VECTOR, Some(0xfe)));
}

#[test]
fn an_unknown_register_is_an_error_and_reads_zero() {
    let (_, mut apic) = one();
    assert_eq!(apic.on().read(0x40), 0);
    apic.on().write(offset::ESR, 0);
    assert_eq!(apic.on().read(offset::ESR), esr::ILLEGAL_REGISTER);
}

#[test]
fn an_ipi_by_physical_id_reaches_that_processor_only() {
    let mut bench = bench(3);
    bench.apics[0].on().write(offset::ICR_HIGH, 2 << 24);
    bench.apics[0].on().write(offset::ICR, 0x4030);
    let got: Vec<_> = bench.apics.iter_mut().map(|apic| apic.on().pending()).collect();
    assert_eq!(got, [None, None, Some(0x30)]);
}

#[test]
fn all_but_self_leaves_the_sender_out() {
    let mut bench = bench(3);
    bench.apics[1].on().write(offset::ICR, 3 << 18 | 0x30);
    let got: Vec<_> = bench.apics.iter_mut().map(|apic| apic.on().pending().is_some()).collect();
    assert_eq!(got, [true, false, true]);
}

#[test]
fn flat_logical_destinations_are_a_mask() {
    let mut bench = bench(3);
    for (n, apic) in bench.apics.iter_mut().enumerate() {
        apic.on().write(offset::LDR, 1 << (24 + n));
    }
    bench.fabric.msi(Msi { address: 0xfee0_6004, data: 0x30 });
    let got: Vec<_> = bench.apics.iter_mut().map(|apic| apic.on().pending().is_some()).collect();
    assert_eq!(got, [false, true, true]);
}

#[test]
fn lowest_priority_picks_one() {
    let mut bench = bench(3);
    for apic in &mut bench.apics {
        apic.on().write(offset::LDR, 0xff00_0000);
    }
    bench.fabric.msi(Msi { address: 0xfeef_f004, data: 0x130 });
    assert_eq!(bench.apics.iter_mut().filter_map(|apic| apic.on().pending()).count(), 1);
}

#[test]
fn x2apic_logical_ids_are_cluster_and_bit() {
    let mut bench = bench(18);
    bench.apics.iter_mut().for_each(x2);
    assert_eq!(bench.apics[17].on().read_msr(0x80d), Some(1 << 16 | 2));
    bench.apics[0].on().write_msr(0x830, (1 << 16 | 3) << 32 | 1 << 11 | 0x30).unwrap();
    let got: Vec<_> =
        bench.apics.iter_mut().filter_map(|apic| apic.on().pending().map(|_| apic.regs.id())).collect();
    assert_eq!(got, [16, 17]);
}

#[test]
fn init_and_startup_arrive_in_order() {
    let mut bench = bench(2);
    bench.apics[0].on().write(offset::ICR_HIGH, 1 << 24);
    bench.apics[0].on().write(offset::ICR, 0xc500);
    bench.apics[0].on().write(offset::ICR, 0x8500);
    bench.apics[0].on().write(offset::ICR, 0x4699);
    assert!(bench.apics[1].on().init_take());
    bench.apics[1].on().init();
    assert_eq!(bench.apics[1].on().sipi_take(), Some(0x99));
    assert_eq!((bench.apics[1].on().init_take(), bench.apics[1].on().sipi_take()), (false, None));
}

#[test]
fn nmis_are_taken_once() {
    let (_, mut apic) = one();
    apic.on().write(offset::ICR, 1 << 18 | 0x400);
    assert_eq!((apic.on().nmi_take(), apic.on().nmi_take()), (true, false));
}

/// Two of two senders are two; while one is served a single one waits, however many come.
#[test]
fn of_nmis_one_is_served_and_one_waits() {
    let (_, mut apic) = one();
    (0..3).for_each(|_| apic.on().write(offset::ICR, 1 << 18 | 0x400));
    assert!(apic.on().nmi_take());
    apic.nmi_blocked = true;
    (0..10).for_each(|_| apic.on().write(offset::ICR, 1 << 18 | 0x400));
    assert_eq!([(); 3].map(|()| apic.on().nmi_take()), [true, false, false]);
}

struct Pic;
impl ExtInt for Pic {
    fn pending(&self) -> bool {
        true
    }
    fn acknowledge(&self) -> u8 {
        0x38
    }
}

#[test]
fn the_pic_comes_in_through_lint0_until_that_is_masked() {
    let (fabric, mut apic) = one();
    fabric.connect(Arc::new(Pic), Arc::new(|_, _| {}));
    assert_eq!((apic.on().extint_pending(), apic.on().extint_acknowledge()), (true, 0x38));
    apic.on().write(offset::LVT_LINT0, lvt::MASKED | lvt::MODE_EXTINT);
    assert!(!apic.on().extint_pending());
}

#[test]
fn the_pic_passes_an_apic_that_is_off() {
    let (fabric, mut apic) = one();
    fabric.connect(Arc::new(Pic), Arc::new(|_, _| {}));
    apic.on().write(offset::LVT_LINT0, lvt::MASKED);
    apic.on().set_base(base::DEFAULT | base::BSP).unwrap();
    assert!(apic.on().extint_pending());
}

#[test]
fn the_page_follows_the_base_and_goes_away_in_x2apic_mode() {
    let (_, mut apic) = one();
    assert_eq!(apic.regs.decode(0xfee0_0080), Some(0x80));
    apic.on().set_base(0xfed0_0000 | base::EN).unwrap();
    assert_eq!((apic.regs.decode(0xfee0_0080), apic.regs.decode(0xfed0_0080)), (None, Some(0x80)));
    x2(&mut apic);
    assert_eq!(apic.regs.decode(0xfed0_0080), None);
}

#[test]
fn the_base_allows_only_the_manuals_transitions() {
    let (_, mut apic) = one();
    let address = base::DEFAULT;
    assert_eq!(apic.on().set_base(address | base::EXTD), None);
    x2(&mut apic);
    assert_eq!(apic.on().set_base(address | base::EN), None);
    apic.on().set_base(address).unwrap();
    assert_eq!(apic.on().set_base(address | base::EN | base::EXTD), None);
    assert_eq!(apic.on().set_base(address | base::EN), Some(()));
}

#[test]
fn reserved_bits_of_the_base_are_refused() {
    let (_, mut apic) = one();
    assert_eq!([apic.on().set_base(base::DEFAULT | 1), apic.on().set_base(1 << 50)], [None; 2]);
}

#[test]
fn x2apic_registers_need_x2apic_mode() {
    let (_, mut apic) = one();
    assert_eq!((apic.on().read_msr(0x802), apic.on().write_msr(0x80b, 0)), (None, None));
}

#[test]
fn x2apic_refuses_reserved_bits_and_read_only_registers() {
    let (_, mut apic) = one();
    x2(&mut apic);
    let got = [
        apic.on().write_msr(0x80b, 1),
        apic.on().write_msr(0x802, 0),
        apic.on().write_msr(0x808, 0x100),
        apic.on().write_msr(0x80e, 0),
    ];
    assert_eq!((got, apic.on().read_msr(0x80e), apic.on().read_msr(0x831)), ([None; 4], None, None));
}

#[test]
fn a_self_ipi_is_one_write() {
    let (_, mut apic) = one();
    x2(&mut apic);
    apic.on().write_msr(0x83f, 0x44).unwrap();
    assert_eq!(apic.on().pending(), Some(0x44));
}

#[test]
fn a_one_shot_count_ends_in_one_interrupt() {
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_TIMER, 0x50);
    apic.on().write(offset::DIVIDE, 0xb);
    apic.on().write(offset::INITIAL_COUNT, 100_000);
    assert_eq!(wait(&mut apic), 0x50);
    assert_eq!(apic.on().read(offset::CURRENT_COUNT), 0);
}

#[test]
fn a_periodic_count_comes_again() {
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_TIMER, lvt::PERIODIC | 0x50);
    apic.on().write(offset::INITIAL_COUNT, 100_000);
    for _ in 0..3 {
        wait(&mut apic);
        apic.on().acknowledge();
        apic.on().write(offset::EOI, 0);
    }
}

#[test]
fn a_periodic_count_keeps_in_step_when_nobody_looks() {
    const PERIOD: u64 = 1_000_000;
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_TIMER, lvt::PERIODIC | 0x50);
    apic.on().write(offset::INITIAL_COUNT, PERIOD as u32);
    let first = apic.regs.timer.zero_at.unwrap();
    std::thread::sleep(std::time::Duration::from_millis(4));
    wait(&mut apic);
    assert_eq!((apic.regs.timer.zero_at.unwrap() - first) % PERIOD, 0);
}

#[test]
fn a_masked_timer_counts_in_silence() {
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_TIMER, lvt::MASKED | 0x50);
    apic.on().write(offset::INITIAL_COUNT, 1000);
    let begun = std::time::Instant::now();
    while apic.on().read(offset::CURRENT_COUNT) != 0 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it does not count");
    }
    assert_eq!(apic.on().pending(), None);
}

#[test]
fn the_division_stretches_the_count() {
    let (_, mut apic) = one();
    apic.on().write(offset::DIVIDE, 0xa);
    assert_eq!(apic.regs.timer.divide, 0xa);
    apic.on().write(offset::INITIAL_COUNT, u32::MAX);
    let divided = apic.on().read(offset::CURRENT_COUNT);
    assert!(divided > u32::MAX - (1 << 26), "{divided:#x}");
}

#[test]
fn a_deadline_in_the_past_fires_at_once() {
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_TIMER, lvt::TSC_DEADLINE | 0x50);
    apic.on().set_deadline(1);
    assert_eq!((apic.on().pending(), apic.on().deadline()), (Some(0x50), 0));
}

#[test]
fn a_deadline_in_the_future_fires_then() {
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_TIMER, lvt::TSC_DEADLINE | 0x50);
    let at = apic.tsc.read() + 2 * apic.tsc.counter.khz();
    apic.on().set_deadline(at);
    assert_eq!(apic.on().deadline(), at);
    wait(&mut apic);
    assert!(apic.tsc.read() >= at);
}

#[test]
fn the_deadline_is_ignored_in_other_modes() {
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_TIMER, 0x50);
    apic.on().set_deadline(1);
    assert_eq!((apic.on().pending(), apic.on().deadline()), (None, 0));
}

#[test]
fn leaving_deadline_mode_disarms() {
    let (_, mut apic) = one();
    apic.on().write(offset::LVT_TIMER, lvt::TSC_DEADLINE | 0x50);
    apic.on().set_deadline(u64::MAX);
    apic.on().write(offset::LVT_TIMER, 0x50);
    apic.on().write(offset::LVT_TIMER, lvt::TSC_DEADLINE | 0x50);
    assert_eq!(apic.on().deadline(), 0);
}

#[test]
fn odd_stores_to_the_page_do_nothing_and_odd_loads_stay_inside() {
    let (_, mut apic) = one();
    apic.on().write_mmio(offset::TPR + 4, &[0x30, 0, 0, 0]);
    apic.on().write_mmio(offset::TPR, &[0x30]);
    assert_eq!(apic.regs.tpr(), 0);
    let mut bytes = [0xaa; 8];
    apic.on().read_mmio(offset::VERSION + 0xd, &mut bytes);
    assert_eq!(bytes, [0; 8]);
}
