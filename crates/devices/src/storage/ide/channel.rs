//! A channel's registers, and the data that moves through them (ACS-3; ATA/ATAPI-6, 9).

use super::regs::*;
use crate::access::{fill, value};
use crate::service::{Mailbox, Permit};
use crate::storage::SECTOR;
use crate::storage::ata::{self, Action, MULTIPLE, Taskfile, Way};
use ireko_vmcore::Line;

/// What a drive's registers hold: the byte written last above the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Registers {
    pub(super) features: u16,
    pub(super) count: u16,
    pub(super) low: u16,
    pub(super) middle: u16,
    pub(super) high: u16,
}

/// What the thread is to do.
#[derive(Debug)]
pub enum Job {
    /// A command without data from the host, or one whose data moves by bus master.
    Command(Taskfile, Option<Master>),
    /// A part of what is read.
    Fetch {
        start: u64,
        len: u64,
    },
    /// What the host has sent.
    Store {
        start: u64,
        data: Vec<u8>,
        last: bool,
        fua: bool,
    },
    Packet {
        cdb: [u8; 16],
        master: Option<Master>,
    },
}

/// What a bus master was told.
#[derive(Clone, Copy, Debug)]
pub struct Master {
    pub table: u64,
}

/// What a job came to.
pub enum Outcome {
    Done,
    /// The host is to read this.
    Data(Vec<u8>),
    /// The host is to read a packet command's data, this and then what follows it.
    PacketData(Vec<u8>, Option<(u64, u64)>),
    PacketDone,
    PacketFailed(u8),
    Signature,
    Awake,
    Failed(u8),
}

/// What the data register is for now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    None,
    /// The host reads; then so much more of the medium is fetched.
    In {
        packet: bool,
    },
    Out {
        fua: bool,
    },
    Packet {
        dma: bool,
    },
}

pub struct ChannelState {
    /// What the drives show after a reset.
    pub(super) drives: [Option<[u8; 4]>; 2],
    pub(super) registers: [Registers; 2],
    pub(super) multiple: [u8; 2],
    pub(super) device: u8,
    pub(super) status: [u8; 2],
    pub(super) error: [u8; 2],
    pub(super) control: u8,
    pub(super) phase: Phase,
    pub(super) buffer: Vec<u8>,
    /// How far the buffer is, and where the block ends that DRQ is set for.
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) block: usize,
    /// Where on the medium what follows is.
    pub(super) rest: (u64, u64),
    /// For the thread; and which drive it is for.
    pub(super) job: Option<(usize, Job)>,
    /// Begins once the bus master is started.
    pub(super) waits: Option<Job>,
    pub(super) master_command: u8,
    pub(super) master_status: u8,
    pub(super) table: u32,
    pub(super) interrupting: bool,
    pub(super) line: Line,
}

/// What is fetched or stored at a time by programmed I/O.
pub(super) const PART: u64 = 1 << 16;

impl ChannelState {
    pub fn new(drives: [Option<[u8; 4]>; 2], line: Line) -> Self {
        let mut state = Self {
            drives,
            registers: Default::default(),
            multiple: [0; 2],
            device: 0,
            status: [0; 2],
            error: [0; 2],
            control: 0,
            phase: Phase::None,
            buffer: Vec::new(),
            at: 0,
            end: 0,
            block: 0,
            rest: (0, 0),
            job: None,
            waits: None,
            master_command: 0,
            master_status: 0,
            table: 0,
            interrupting: false,
            line,
        };
        state.show_signatures();
        state
    }

    pub fn take(&mut self) -> Option<(usize, Job)> {
        self.job.take()
    }

    pub fn reset(&mut self, mailbox: &Mailbox) {
        mailbox.renew();
        self.line.set(false);
        *self = Self::new(self.drives, self.line.clone());
    }

    fn stop(&mut self, mailbox: &Mailbox) {
        mailbox.renew();
        (self.job, self.waits, self.phase, self.rest) = (None, None, Phase::None, (0, 0));
        self.buffer.clear();
    }

    fn show_signatures(&mut self) {
        for drive in 0..2 {
            let Some(signature) = self.drives[drive] else { continue };
            self.put_signature(drive, signature);
            // A CD is ready only after its first command.
            self.status[drive] = if signature == ata::DISK_SIGNATURE { ata::READY } else { 0 };
        }
    }

    fn put_signature(&mut self, drive: usize, [count, low, middle, high]: [u8; 4]) {
        let [count, low, middle, high] = [count, low, middle, high].map(u16::from);
        self.registers[drive] = Registers { features: 0, count, low, middle, high };
        self.error[drive] = 1;
        self.device &= DEVICE_SECOND;
    }

    fn selected(&self) -> usize {
        usize::from(self.device & DEVICE_SECOND != 0)
    }

    fn present(&self) -> bool {
        self.drives[self.selected()].is_some()
    }

    /// What is read of a channel without the drive: nobody drives its lines, and the host pulls down the one that would say busy, so
    /// that nobody waits for who is not there (ATA/ATAPI-6, the pull-down of DD7); beside another drive, that one answers (9.16.1).
    fn floating(&self) -> u8 {
        if self.drives.iter().all(Option::is_none) { !ata::BUSY } else { 0 }
    }

    fn interrupt(&mut self) {
        self.interrupting = true;
        self.master_status |= MASTER_INTERRUPT;
        self.set_line();
    }

    pub(super) fn set_line(&mut self) {
        self.line.set(self.interrupting && self.control & CONTROL_NO_INTERRUPT == 0);
    }

    pub fn read(&mut self, register: u64, data: &mut [u8], mailbox: &Mailbox) {
        if register == DATA {
            return self.read_data(data, mailbox);
        }
        let value = self.register(register);
        if register == STATUS {
            self.interrupting = false;
            self.set_line();
        }
        fill(data, value.into());
    }

    pub fn read_control(&self) -> u8 {
        if self.present() { self.status[self.selected()] } else { self.floating() }
    }

    fn register(&self, register: u64) -> u8 {
        if !self.present() {
            return self.floating();
        }
        let drive = self.selected();
        let registers = &self.registers[drive];
        let word = match register {
            ERROR => return self.error[drive],
            COUNT => registers.count,
            LOW => registers.low,
            MIDDLE => registers.middle,
            HIGH => registers.high,
            DEVICE => return self.device | 0xa0,
            _ => return self.status[drive],
        };
        if self.control & CONTROL_PREVIOUS != 0 { (word >> 8) as u8 } else { word as u8 }
    }

    pub fn write(&mut self, register: u64, data: &[u8], mailbox: &Mailbox) {
        if register == DATA {
            return self.write_data(data, mailbox);
        }
        let byte = value(&data[..1]) as u8;
        // A busy drive takes nothing but a reset (ATA/ATAPI-6, 6.2).
        if self.status.iter().any(|status| status & ata::BUSY != 0) && !(register == STATUS && byte == 0x08) {
            return;
        }
        self.control &= !CONTROL_PREVIOUS;
        for registers in &mut self.registers {
            let word = match register {
                ERROR => &mut registers.features,
                COUNT => &mut registers.count,
                LOW => &mut registers.low,
                MIDDLE => &mut registers.middle,
                HIGH => &mut registers.high,
                _ => break,
            };
            *word = *word << 8 | u16::from(byte);
        }
        match register {
            DEVICE => self.device = byte,
            STATUS if self.present() => self.command(byte, mailbox),
            _ => {}
        }
    }

    pub fn write_control(&mut self, byte: u8, mailbox: &Mailbox) {
        let ends = self.control & !byte & CONTROL_RESET != 0;
        if byte & !self.control & CONTROL_RESET != 0 {
            self.stop(mailbox);
            self.interrupting = false;
            for drive in (0..2).filter(|&drive| self.drives[drive].is_some()) {
                self.status[drive] = ata::BUSY;
            }
        }
        self.control = byte;
        if ends {
            self.device = 0;
            self.show_signatures();
        }
        self.set_line();
    }

    fn taskfile(&self, command: u8) -> Taskfile {
        let registers = self.registers[self.selected()];
        let low = |word: u16| u64::from(word & 0xff);
        let high = |word: u16| u64::from(word >> 8);
        let lba = low(registers.low) | low(registers.middle) << 8 | low(registers.high) << 16;
        let previous = high(registers.low) | high(registers.middle) << 8 | high(registers.high) << 16;
        let (features, count) = (registers.features, registers.count);
        Taskfile { features, count, lba: lba | previous << 24, device: self.device, command }
    }

    fn command(&mut self, command: u8, mailbox: &Mailbox) {
        let drive = self.selected();
        self.interrupting = false;
        self.set_line();
        (self.error[drive], self.status[drive]) = (0, ata::READY);
        self.stop(mailbox);
        let taskfile = self.taskfile(command);
        let cd = self.drives[drive] == Some(ata::PACKET_SIGNATURE);
        let action = if cd { taskfile.packet_device() } else { taskfile.disk() };
        match action {
            Action::Read { start, len, way: way @ (Way::Pio | Way::Multiple) } => {
                self.rest = (start, len);
                match self.block_of(way) {
                    Some(block) => {
                        (self.block, self.phase) = (block, Phase::In { packet: false });
                        self.fetch(mailbox);
                    }
                    None => self.end(ata::ABORT),
                }
            }
            Action::Write { start, len, way: way @ (Way::Pio | Way::Multiple), fua } => {
                self.rest = (start, len);
                match self.block_of(way) {
                    Some(block) => {
                        (self.block, self.phase) = (block, Phase::Out { fua });
                        self.want_block();
                    }
                    None => self.end(ata::ABORT),
                }
            }
            Action::Read { way: Way::Dma, .. }
            | Action::Write { way: Way::Dma, .. }
            | Action::Trim { .. } => {
                self.wait_for_master(Job::Command(taskfile, None), mailbox);
            }
            Action::Read { .. } | Action::Write { .. } | Action::QueuedError | Action::Abort => {
                self.end(ata::ABORT)
            }
            Action::Packet => {
                self.phase = Phase::Packet { dma: taskfile.features & 1 != 0 };
                self.registers[drive].count = 1;
                (self.at, self.end) = (0, 12);
                self.status[drive] = ata::READY | ata::DRQ;
            }
            Action::Done if command == 0xc6 => {
                self.multiple[drive] = taskfile.count as u8;
                self.end(0);
            }
            Action::Signature if cd && command != 0x90 => {
                self.put_signature(drive, ata::PACKET_SIGNATURE);
                // DEVICE RESET interrupts nobody.
                (self.status[drive], self.error[drive]) = (0, 1);
            }
            Action::Identify => {
                self.block = SECTOR as usize;
                self.phase = Phase::In { packet: false };
                self.give(Job::Command(taskfile, None), mailbox);
            }
            _ => self.give(Job::Command(taskfile, None), mailbox),
        }
        if cd && command == 0xec {
            self.put_signature(drive, ata::PACKET_SIGNATURE);
            self.error[drive] = ata::ABORT;
        }
    }

    fn block_of(&self, way: Way) -> Option<usize> {
        let sectors = match way {
            Way::Multiple => self.multiple[self.selected()].min(MULTIPLE),
            _ => 1,
        };
        (sectors > 0).then_some(usize::from(sectors) * SECTOR as usize)
    }

    fn give(&mut self, job: Job, mailbox: &Mailbox) {
        let drive = self.selected();
        self.status[drive] = ata::BUSY;
        self.job = Some((drive, job));
        mailbox.notify(0);
    }

    fn wait_for_master(&mut self, job: Job, mailbox: &Mailbox) {
        let drive = self.selected();
        self.status[drive] = ata::READY | ata::DRQ;
        self.waits = Some(job);
        self.begin_master(mailbox);
    }

    /// Once a command waits and the bus master is started.
    fn begin_master(&mut self, mailbox: &Mailbox) {
        if self.master_command & MASTER_START == 0 {
            return;
        }
        let master = Some(Master { table: self.table.into() });
        match self.waits.take() {
            Some(Job::Command(taskfile, _)) => self.give(Job::Command(taskfile, master), mailbox),
            Some(Job::Packet { cdb, .. }) => self.give(Job::Packet { cdb, master }, mailbox),
            _ => {}
        }
    }

    fn fetch(&mut self, mailbox: &Mailbox) {
        let (start, len) = self.rest;
        // Whole blocks, so that none is shown in two parts.
        let part = len.min(PART / self.block as u64 * self.block as u64).max(len.min(self.block as u64));
        self.rest = (start + part, len - part);
        self.give(Job::Fetch { start, len: part }, mailbox);
    }

    fn want_block(&mut self) {
        let drive = self.selected();
        (self.at, self.end) = (0, (self.rest.1 as usize).min(self.block));
        self.status[drive] = ata::READY | ata::DRQ;
    }

    fn end(&mut self, error: u8) {
        let drive = self.selected();
        self.end_of(drive, error);
    }

    fn end_of(&mut self, drive: usize, error: u8) {
        self.phase = Phase::None;
        self.error[drive] = error;
        self.status[drive] = ata::READY | if error != 0 { ata::ERR } else { 0 };
        self.interrupt();
    }

    /// Shows the next block of the buffer.
    fn show_block(&mut self, drive: usize, packet: bool) {
        self.end = (self.at + self.block).min(self.buffer.len());
        if packet {
            let len = (self.end - self.at) as u16;
            let registers = &mut self.registers[drive];
            // The interrupt reason: data, to the host.
            (registers.count, registers.middle, registers.high) = (2, len & 0xff, len >> 8);
        }
        self.status[drive] = ata::READY | ata::DRQ;
        self.interrupt();
    }

    fn packet_ended(&mut self, drive: usize, error: u8) {
        self.registers[drive].count = 3;
        self.end_of(drive, error);
    }

    /// A job has ended, unless the channel was reset since. `by_master`: its data has moved.
    pub fn finish(&mut self, drive: usize, outcome: Outcome, by_master: bool, permit: Permit<'_>) {
        if permit.over() {
            return;
        }
        if by_master {
            self.master_status &= !MASTER_ACTIVE;
        }
        let packet = self.phase == Phase::In { packet: true };
        match outcome {
            Outcome::Data(data) => {
                (self.buffer, self.at) = (data, 0);
                self.show_block(drive, packet);
            }
            Outcome::PacketData(data, rest) => {
                (self.buffer, self.at, self.rest) = (data, 0, rest.unwrap_or_default());
                self.phase = Phase::In { packet: true };
                self.show_block(drive, true);
            }
            Outcome::Done if matches!(self.phase, Phase::Out { .. }) && self.rest.1 > 0 => {
                self.want_block();
                self.interrupt();
            }
            Outcome::Done => self.end_of(drive, 0),
            Outcome::PacketDone => self.packet_ended(drive, 0),
            Outcome::PacketFailed(error) => self.packet_ended(drive, error),
            Outcome::Signature => {
                if let Some(signature) = self.drives[drive] {
                    self.end_of(drive, 0);
                    self.put_signature(drive, signature);
                }
            }
            Outcome::Awake => {
                self.registers[drive].count = 0xff;
                self.end_of(drive, 0);
            }
            Outcome::Failed(error) if packet => self.packet_ended(drive, error),
            Outcome::Failed(error) => self.end_of(drive, error),
        }
    }

    fn read_data(&mut self, data: &mut [u8], mailbox: &Mailbox) {
        data.fill(0xff);
        let drive = self.selected();
        let Phase::In { packet } = self.phase else { return };
        if self.status[drive] & ata::DRQ == 0 {
            return;
        }
        let len = data.len().min(self.end - self.at);
        data[..len].copy_from_slice(&self.buffer[self.at..self.at + len]);
        self.at += len;
        if self.at < self.end {
            return;
        }
        match (self.at < self.buffer.len(), self.rest.1 > 0) {
            (true, _) => self.show_block(drive, packet),
            (false, true) => {
                self.buffer.clear();
                self.at = 0;
                self.fetch(mailbox);
            }
            (false, false) if packet => self.packet_ended(drive, 0),
            (false, false) => {
                self.phase = Phase::None;
                self.status[drive] = ata::READY;
            }
        }
    }

    fn write_data(&mut self, data: &[u8], mailbox: &Mailbox) {
        let drive = self.selected();
        let fua = match self.phase {
            Phase::Out { fua } => fua,
            Phase::Packet { .. } => false,
            _ => return,
        };
        if self.status[drive] & ata::DRQ == 0 {
            return;
        }
        let len = data.len().min(self.end - self.at);
        self.buffer.extend_from_slice(&data[..len]);
        self.at += len;
        if self.at < self.end {
            return;
        }
        if let Phase::Packet { dma } = self.phase {
            return self.packet(dma, mailbox);
        }
        self.rest.1 -= self.end as u64;
        let (last, full) = (self.rest.1 == 0, self.buffer.len() as u64 >= PART);
        if !last && !full {
            self.want_block();
            return self.interrupt();
        }
        let start = self.rest.0;
        self.rest.0 += self.buffer.len() as u64;
        let data = std::mem::take(&mut self.buffer);
        self.give(Job::Store { start, data, last, fua }, mailbox);
    }

    fn packet(&mut self, dma: bool, mailbox: &Mailbox) {
        let cdb = crate::access::array(&std::mem::take(&mut self.buffer));
        let registers = self.registers[self.selected()];
        let most = usize::from(registers.middle & 0xff | registers.high << 8);
        // No count stands for the most, and blocks are of whole words.
        self.block = if most < 2 { 0xfffe } else { most & 0xfffe };
        self.phase = Phase::None;
        let job = Job::Packet { cdb, master: None };
        if dma { self.wait_for_master(job, mailbox) } else { self.give(job, mailbox) }
    }

    pub fn read_master(&self, offset: u64) -> u8 {
        match offset {
            0 => self.master_command,
            2 => self.master_status,
            4..8 => self.table.to_le_bytes()[offset as usize - 4],
            _ => 0,
        }
    }

    pub fn write_master(&mut self, offset: u64, byte: u8, mailbox: &Mailbox) {
        match offset {
            0 => {
                let starts = byte & !self.master_command & MASTER_START != 0;
                self.master_command = byte & (MASTER_START | MASTER_TO_MEMORY);
                if starts {
                    self.master_status |= MASTER_ACTIVE;
                    self.begin_master(mailbox);
                }
                if byte & MASTER_START == 0 {
                    self.master_status &= !MASTER_ACTIVE;
                }
            }
            2 => {
                let cleared = self.master_status & !(byte & (MASTER_ERROR | MASTER_INTERRUPT));
                self.master_status = cleared & !MASTER_WRITABLE | byte & MASTER_WRITABLE;
            }
            4..8 => {
                let mut table = self.table.to_le_bytes();
                table[offset as usize - 4] = byte;
                self.table = u32::from_le_bytes(table) & !3;
            }
            _ => {}
        }
    }
}
