//! Taking chains of buffers from a virtqueue, each validated before a device sees it.

use super::VirtioDevice;
use super::regs::*;
use crate::service::Permit;
use ireko_vmcore::Memory;
use ireko_vmcore::memory::{GuestRam, WatchBitmap};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::{Bytes, GuestAddress};

/// The driver broke the rules of virtqueues: what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the driver broke a virtqueue: {}", self.0)
    }
}

impl std::error::Error for Broken {}

impl From<virtio_queue::Error> for Broken {
    fn from(error: virtio_queue::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The most that is copied at a time.
const PIECE: usize = 1 << 17;

/// What the device may read of a chain. A read waits out a pause, and fails once the device was reset.
pub struct Input<'a> {
    reader: Reader<'a, WatchBitmap>,
    permit: Permit<'a>,
}

impl Input<'_> {
    pub fn available_bytes(&self) -> usize {
        self.reader.available_bytes()
    }
}

impl Read for Input<'_> {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        let _pass = self.permit.pass()?;
        let piece = data.len().min(PIECE);
        self.reader.read(&mut data[..piece])
    }
}

/// Where the device may write of a chain. A write waits out a pause, and fails once the device was reset.
pub struct Output<'a> {
    writer: Writer<'a, WatchBitmap>,
    permit: Permit<'a>,
}

impl Output<'_> {
    pub fn available_bytes(&self) -> usize {
        self.writer.available_bytes()
    }
    pub fn bytes_written(&self) -> usize {
        self.writer.bytes_written()
    }
    /// Takes what is behind the first `offset` bytes away.
    pub fn split_at(&mut self, offset: usize) -> Result<Self, Broken> {
        Ok(Self { writer: self.writer.split_at(offset)?, permit: self.permit })
    }
}

impl Write for Output<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let _pass = self.permit.pass()?;
        self.writer.write(&data[..data.len().min(PIECE)])
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Guest memory for who outlives the look at a queue.
#[derive(Clone)]
pub(super) struct Held(Arc<Memory>);

impl Deref for Held {
    type Target = GuestRam;
    fn deref(&self) -> &GuestRam {
        self.0.ram()
    }
}

/// A chain to be looked at later.
pub(super) type Chain = DescriptorChain<Held>;

/// One chain: what the device may read and where it may write.
pub struct Buffers<'a> {
    pub reader: Input<'a>,
    pub writer: Output<'a>,
    pub permit: Permit<'a>,
}

/// Checks a queue that the driver enabled: it lies in memory, and its parts do not overlap. (What the device writes
/// to the used ring could otherwise make ever more chains available.)
pub(super) fn check(queue: &Queue, ram: &GuestRam) -> Result<(), Broken> {
    if !queue.is_valid(ram) {
        return Err(Broken("a queue does not lie in memory".into()));
    }
    let size = u64::from(queue.size());
    let mut parts = [
        (queue.desc_table(), 16 * size),
        (queue.avail_ring(), 6 + 2 * size),
        (queue.used_ring(), 6 + 8 * size),
    ];
    parts.sort_unstable();
    if parts.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
        return Err(Broken("the parts of a queue overlap".into()));
    }
    Ok(())
}

/// Serves what is available in a queue, and calls `interrupt` as often as the driver wants it.
pub(super) fn process(
    device: &mut dyn VirtioDevice,
    (index, mut queue): (usize, Queue),
    ram: &GuestRam,
    permit: Permit<'_>,
    interrupt: impl Fn(),
) -> Result<Queue, Broken> {
    loop {
        write(permit, || queue.disable_notification(ram))?;
        while device.wants(index) && available(&queue, ram)? > 0 {
            // The rest comes after the pause.
            if permit.held() {
                return Ok(queue);
            }
            serve_one(device, index, &mut queue, ram, permit)?;
            if wants_interrupt(&mut queue, ram)? {
                interrupt();
            }
        }
        // Buffers that the device does not want yet are asked for again when it does.
        if !write(permit, || queue.enable_notification(ram))? || !device.wants(index) {
            return Ok(queue);
        }
    }
}

/// The most chains that are attempted at a time: it is a virtual processor's.
const ATTEMPTS: usize = 16;

/// Serves chains as long as that takes no time. Whether there is more, and whether the driver wants an interrupt.
pub(super) fn attempt(
    device: &mut dyn VirtioDevice,
    (index, queue): (usize, &mut Queue),
    ram: &GuestRam,
    permit: Permit<'_>,
) -> Result<(bool, bool), Broken> {
    let (mut more, mut served) = (true, false);
    for _ in 0..ATTEMPTS {
        more = available(queue, ram)? > 0;
        if !more || !attempt_one(device, index, queue, ram, permit)? {
            break;
        }
        served = true;
    }
    // For the driver to ring again.
    more = more || write(permit, || queue.enable_notification(ram))?;
    Ok((more, served && wants_interrupt(queue, ram)?))
}

/// What was not served is as if it had not been looked at.
fn attempt_one(
    device: &mut dyn VirtioDevice,
    index: usize,
    queue: &mut Queue,
    ram: &GuestRam,
    permit: Permit<'_>,
) -> Result<bool, Broken> {
    let chain = next(queue, ram)?;
    let head = chain.head_index();
    match device.attempt(index, buffers(chain, ram, permit)?)? {
        Some(written) => write(permit, || queue.add_used(ram, head, written)).map(|()| true),
        None => {
            queue.go_to_previous_position();
            Ok(false)
        }
    }
}

fn next<M>(queue: &mut Queue, ram: M) -> Result<DescriptorChain<M>, Broken>
where
    M: Deref<Target = GuestRam> + Clone,
{
    queue.iter(ram)?.next().ok_or_else(|| Broken("the available ring is not in memory".into()))
}

/// The next chain of those that are available, to be served whenever.
pub(super) fn next_held(queue: &mut Queue, memory: &Arc<Memory>) -> Result<Chain, Broken> {
    next(queue, Held(memory.clone()))
}

/// What a queue itself has to write.
fn write<T>(permit: Permit<'_>, step: impl FnOnce() -> Result<T, virtio_queue::Error>) -> Result<T, Broken> {
    let _pass = permit.pass()?;
    Ok(step()?)
}

/// How many chains wait.
pub(super) fn available(queue: &Queue, ram: &GuestRam) -> Result<u16, Broken> {
    let waiting = queue.avail_idx(ram, Ordering::Acquire)?.0.wrapping_sub(queue.next_avail());
    if waiting > queue.size() {
        return Err(Broken(format!("{waiting} chains available in a queue of {}", queue.size())));
    }
    Ok(waiting)
}

fn serve_one(
    device: &mut dyn VirtioDevice,
    index: usize,
    queue: &mut Queue,
    ram: &GuestRam,
    permit: Permit<'_>,
) -> Result<(), Broken> {
    let chain = next(queue, ram)?;
    let head = chain.head_index();
    let written = device.serve(index, buffers(chain, ram, permit)?)?;
    write(permit, || queue.add_used(ram, head, written))
}

/// Checks the chain (2.7.4.2, 2.7.5.3): it ends, it is not empty, and what is written comes after what is read.
pub(super) fn buffers<'a, M>(
    chain: DescriptorChain<M>,
    ram: &'a GuestRam,
    permit: Permit<'a>,
) -> Result<Buffers<'a>, Broken>
where
    M: Deref<Target = GuestRam> + Clone,
{
    let mut last = None;
    let mut writing = false;
    for descriptor in chain.clone() {
        if writing && !descriptor.is_write_only() {
            return Err(Broken("a readable descriptor follows a writable one".into()));
        }
        writing = descriptor.is_write_only();
        last = Some(descriptor);
    }
    match last {
        None => Err(Broken(format!("chain {} has no descriptor that can be read", chain.head_index()))),
        Some(end) if end.has_next() => Err(Broken(format!("chain {} does not end", chain.head_index()))),
        Some(_) => Ok(Buffers {
            reader: Input { reader: Reader::new(ram, chain.clone())?, permit },
            writer: Output { writer: Writer::new(ram, chain)?, permit },
            permit,
        }),
    }
}

pub(super) fn wants_interrupt(queue: &mut Queue, ram: &GuestRam) -> Result<bool, Broken> {
    if !queue.event_idx_enabled() {
        // The driver clears its flag and then looks at the used ring; we do it the other way round.
        fence(Ordering::SeqCst);
        let flags: u16 = ram
            .load(GuestAddress(queue.avail_ring()), Ordering::Acquire)
            .map_err(|error| Broken(error.to_string()))?;
        if u16::from_le(flags) & AVAIL_NO_INTERRUPT != 0 {
            return Ok(false);
        }
    }
    Ok(queue.needs_notification(ram)?)
}
