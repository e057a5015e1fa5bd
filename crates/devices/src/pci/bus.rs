//! Slots, and where their BARs are now.

use super::host::HostBridge;
use super::regs::*;
use super::{Bar, Function};
use crate::bus::{Count, Counter};
use crate::irq::SharedLine;
use crate::{lock, shared};
use ireko_vmcore::{Bus, Line, Record, RestoreError, Space};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

type SharedFunction = Arc<Mutex<dyn Function>>;

/// Address ranges that the bus's BARs may use.
#[derive(Clone, Debug)]
pub struct Windows {
    pub ports: Range<u64>,
    pub mmio32: Range<u64>,
    pub mmio64: Range<u64>,
}

/// Why a function could not be added or placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PciError {
    /// No such slot, or it is taken.
    Slot(u8),
    /// No room for a BAR of this size.
    Room { name: &'static str, bar: usize, size: u64 },
}

impl std::fmt::Display for PciError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slot(slot) => write!(f, "PCI slot {slot} is taken or not one of 1 to 31: use another"),
            Self::Room { name, bar, size } => {
                write!(f, "no room for BAR {bar} of {name} with size {size:#x}: make the PCI window larger")
            }
        }
    }
}

impl std::error::Error for PciError {}

/// A function in its slot.
#[derive(Clone)]
struct Slot {
    function: SharedFunction,
    count: Arc<Count>,
}

/// A decoded BAR.
struct Route {
    space: Space,
    start: u64,
    end: u64,
    bar: usize,
    slot: Slot,
}

/// Bus 0 with 32 slots of up to eight functions; slot 0 is the host bridge.
///
/// Locks: routes, then a function. A function never calls back into the bus.
pub struct PciBus {
    slots: RwLock<Vec<Option<Slot>>>,
    routes: RwLock<Vec<Route>>,
    intx: Vec<Arc<SharedLine>>,
}

impl PciBus {
    /// With a host bridge of no chipset. `intx` are the wires that INTA# of the slots share: slot n has wire n modulo
    /// their number.
    pub fn new(intx: Vec<Line>) -> Arc<Self> {
        Self::behind(shared(HostBridge::new()), intx)
    }

    /// As [`PciBus::new`], with a chipset's host bridge.
    pub fn behind(bridge: SharedFunction, intx: Vec<Line>) -> Arc<Self> {
        let mut slots: Vec<Option<Slot>> = (0..FUNCTIONS).map(|_| None).collect();
        slots[0] = Some(Slot { function: bridge, count: Arc::default() });
        Arc::new(Self {
            slots: RwLock::new(slots),
            routes: RwLock::default(),
            intx: intx.into_iter().map(SharedLine::new).collect(),
        })
    }

    /// The wire for INTA# of the function in `slot`.
    pub fn intx(&self, slot: u8) -> Line {
        match self.intx.len() {
            0 => Line::unconnected(),
            wires => self.intx[usize::from(slot) % wires].input(),
        }
    }

    /// Puts a function into a free slot, as its only one.
    pub fn add(&self, slot: u8, function: SharedFunction) -> Result<(), PciError> {
        self.add_function(slot, 0, function)
    }

    /// Puts a function beside others into a slot; function 0 says in its header that there are more.
    pub fn add_function(&self, slot: u8, number: u8, function: SharedFunction) -> Result<(), PciError> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        match slots.get_mut(usize::from(slot) << 3 | usize::from(number & 7)) {
            Some(free) if free.is_none() => *free = Some(Slot { function, count: Arc::default() }),
            _ => return Err(PciError::Slot(slot)),
        }
        let of_slot = slots.iter().skip(usize::from(slot) << 3).take(8);
        let mut functions = of_slot.flatten();
        if let (Some(first), Some(_)) = (functions.next(), functions.next()) {
            lock(&first.function).config_mut().put(HEADER_TYPE, &[MULTIPLE_FUNCTIONS]);
        }
        drop(slots);
        self.route();
        Ok(())
    }

    /// Whether nothing is in a slot.
    pub fn is_free(&self, slot: u8) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let place = usize::from(slot) << 3;
        slots.get(place..place + 8).is_some_and(|functions| functions.iter().all(Option::is_none))
    }

    /// Takes what is in a slot off the bus: its interrupts end, its BARs decode nothing, and what it has begun writes to guest
    /// memory no more. Whether there was something.
    pub fn remove(&self, slot: u8) -> bool {
        let place = usize::from(slot) << 3;
        let taken: Vec<Slot> = {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            slots.iter_mut().skip(place).take(8).filter_map(Option::take).collect()
        };
        taken.iter().for_each(|slot| lock(&slot.function).reset());
        self.route();
        !taken.is_empty()
    }

    fn occupied(&self) -> Vec<Slot> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).iter().flatten().cloned().collect()
    }

    fn functions(&self) -> impl Iterator<Item = SharedFunction> {
        self.occupied().into_iter().map(|slot| slot.function)
    }

    /// How often each function's BARs were accessed, in the order of slots.
    pub fn counters(&self) -> Vec<Counter> {
        self.occupied().iter().map(|slot| slot.count.counter(lock(&slot.function).name())).collect()
    }

    /// Places all BARs in the windows and turns decoding and bus mastering on, as firmware does.
    pub fn assign(&self, windows: &Windows) -> Result<(), PciError> {
        let mut free = windows.clone();
        let placed = self.functions().try_for_each(|function| {
            let mut function = lock(&function);
            let bars: Vec<(usize, Bar)> = function.config().bars().collect();
            for &(index, bar) in &bars {
                let window = match bar {
                    Bar::Io(_) => &mut free.ports,
                    Bar::Memory32(_) => &mut free.mmio32,
                    Bar::Memory64(_) if free.mmio64.is_empty() => &mut free.mmio32,
                    Bar::Memory64(_) => &mut free.mmio64,
                };
                let room = PciError::Room { name: function.name(), bar: index, size: bar.size() };
                let address = carve(window, bar.size()).ok_or(room)?;
                function.config_mut().set_bar_address(index, address);
            }
            if !bars.is_empty() {
                let command = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER;
                function.config_mut().write(COMMAND as u16, &command.to_le_bytes());
            }
            Ok(())
        });
        self.route();
        placed
    }

    /// Tells every function that has an interrupt which one it is, by slot, as firmware does for systems that ask nobody else.
    pub fn set_interrupt_lines(&self, irq: impl Fn(u8) -> u8) {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        for (place, slot) in slots.iter().enumerate() {
            let Some(slot) = slot else { continue };
            let mut function = lock(&slot.function);
            let config = function.config_mut();
            if config.word(INTERRUPT_PIN) as u8 != 0 {
                config.write(INTERRUPT_LINE as u16, &[irq((place >> 3) as u8)]);
            }
        }
    }

    /// Resets every function and its configuration space, so that no BAR is decoded.
    pub fn reset(&self) {
        for function in self.functions() {
            let mut function = lock(&function);
            function.config_mut().reset();
            function.reset();
        }
        self.route();
    }

    /// What is saved of every function, by its place (slot and function) and name.
    pub fn records(&self) -> Vec<(String, Record)> {
        self.placed().map(|(name, function)| (name, lock(&function).saved().record())).collect()
    }

    /// Restores the function of a name, if it is there; whether it is. [`PciBus::restored`] follows.
    pub fn restore(&self, name: &str, record: &Record) -> Result<bool, RestoreError> {
        let Some((_, function)) = self.placed().find(|(other, _)| other == name) else { return Ok(false) };
        lock(&function).saved().restore_record(record).map(|()| true)
    }

    /// All functions have been restored.
    pub fn restored(&self) {
        self.route();
    }

    fn placed(&self) -> impl Iterator<Item = (String, SharedFunction)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner).clone();
        slots.into_iter().enumerate().filter_map(|(place, slot)| {
            let function = slot?.function;
            let name = format!("{:02x}.{} {}", place >> 3, place & 7, lock(&function).name());
            Some((name, function))
        })
    }

    /// Works out anew what is decoded where.
    fn route(&self) {
        let occupied = self.occupied();
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.clear();
        for slot in occupied {
            let mut function = lock(&slot.function);
            function.placed();
            for (bar, what, start) in function.config().decoded() {
                let end = start.saturating_add(what.size());
                routes.push(Route { space: what.space(), start, end, bar, slot: slot.clone() });
            }
        }
    }

    /// Whose the whole access is: the slot, the BAR, and the offset in it.
    fn find(&self, space: Space, address: u64, len: usize) -> Option<(Slot, usize, u64)> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let route = routes.iter().find(|r| r.space == space && (r.start..r.end).contains(&address))?;
        let inside = route.end - address >= len as u64;
        inside.then(|| (route.slot.clone(), route.bar, address - route.start))
    }

    /// Configuration read at bus 0: `function` is slot << 3 | function.
    pub fn read_config(&self, function: u8, offset: u16, data: &mut [u8]) {
        data.fill(0xff);
        if let Some(function) = self.single(function) {
            lock(&function).read_config(offset, data);
        }
    }

    pub fn write_config(&self, function: u8, offset: u16, data: &[u8]) {
        let Some(function) = self.single(function) else { return };
        lock(&function).write_config(offset, data);
        let (start, end) = (usize::from(offset), usize::from(offset) + data.len());
        if start < BAR0 + 4 * BARS && end > COMMAND {
            self.route();
        }
    }

    fn single(&self, function: u8) -> Option<SharedFunction> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        Some(slots.get(usize::from(function))?.as_ref()?.function.clone())
    }
}

/// Takes `size` aligned bytes from the front of `window`.
fn carve(window: &mut Range<u64>, size: u64) -> Option<u64> {
    // Address zero means "not placed".
    let start = window.start.max(1).checked_next_multiple_of(size)?;
    let end = start.checked_add(size).filter(|&end| end <= window.end)?;
    window.start = end;
    Some(start)
}

impl Bus for PciBus {
    fn read(&self, space: Space, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((slot, bar, offset)) = self.find(space, address, data.len()) {
            slot.count.read();
            lock(&slot.function).read_bar(bar, offset, data);
        }
    }

    fn write(&self, space: Space, address: u64, data: &[u8]) {
        if let Some((slot, bar, offset)) = self.find(space, address, data.len()) {
            slot.count.wrote();
            lock(&slot.function).write_bar(bar, offset, data);
        }
    }
}
