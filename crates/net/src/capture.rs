//! What goes over a switch, as a file in the format pcapng (draft-ietf-opsawg-pcapng): a port that hears all there is.

use crate::frame::{Frame, is_group};
use crate::learned::Learned;
use crate::peers::Id;
use crate::role::{self, Role};
use crate::switch::Socket;
use ireko_vmcore::port::LONGEST_FRAME;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Blocks are written whole, numbers in this machine's order: the first block says which.
const SECTION: u32 = 0x0a0d_0d0a;
const ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const ETHERNET: u16 = 1;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const COMMENT: u16 = 1;
const NANOSECONDS: u8 = 9;

/// A file of packets.
#[derive(Debug)]
pub struct Writer<W: Write>(W);

fn option(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    to.extend(kind.to_ne_bytes());
    to.extend((value.len() as u16).to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

impl<W: Write> Writer<W> {
    /// Begins a file of one interface of this name.
    pub fn begin(to: W, name: &str) -> io::Result<Self> {
        let mut own = Self(to);
        let mut section = ORDER.to_ne_bytes().to_vec();
        section.extend(1u16.to_ne_bytes());
        section.extend(0u16.to_ne_bytes());
        // Nobody knows how long it will be.
        section.extend(u64::MAX.to_ne_bytes());
        own.block(SECTION, &section)?;
        let mut interface = ETHERNET.to_ne_bytes().to_vec();
        interface.extend(0u16.to_ne_bytes());
        interface.extend(0u32.to_ne_bytes());
        option(&mut interface, NAME, name.as_bytes());
        option(&mut interface, RESOLUTION, &[NANOSECONDS]);
        option(&mut interface, 0, &[]);
        own.block(INTERFACE, &interface)?;
        own.0.flush()?;
        Ok(own)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = (body.len().next_multiple_of(4) + 12) as u32;
        let mut block = kind.to_ne_bytes().to_vec();
        block.extend(len.to_ne_bytes());
        block.extend(body);
        block.resize(len as usize - 4, 0);
        block.extend(len.to_ne_bytes());
        self.0.write_all(&block)
    }

    /// A packet with what is to be said of it.
    pub fn packet(&mut self, at: SystemTime, bytes: &[u8], comment: &str) -> io::Result<()> {
        let nanoseconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let mut body = 0u32.to_ne_bytes().to_vec();
        body.extend(((nanoseconds >> 32) as u32).to_ne_bytes());
        body.extend((nanoseconds as u32).to_ne_bytes());
        (0..2).for_each(|_| body.extend((bytes.len() as u32).to_ne_bytes()));
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        if !comment.is_empty() {
            option(&mut body, COMMENT, comment.as_bytes());
            option(&mut body, 0, &[]);
        }
        self.block(PACKET, &body)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A port that hears all there is on a switch.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    /// The only ports that count, by their labels.
    labels: Option<Vec<String>>,
    learned: Learned,
    ports: Vec<(Id, String, Role)>,
    looked: Option<Instant>,
}

/// A frame that was heard.
pub struct Heard<'a> {
    pub bytes: &'a [u8],
    /// The label of the port that sent it.
    pub from: &'a str,
}

/// How often it is looked who is there.
const LOOK: Duration = Duration::from_millis(500);

impl Capture {
    /// Of all ports, or of those with these labels alone.
    pub fn open(ports: &Path, labels: Option<&[String]>) -> io::Result<Self> {
        let socket = Socket::open(ports, "capture", Role::CAPTURE)?;
        let labels = labels.map(|labels| labels.iter().map(|label| role::short(label)).collect());
        Ok(Self { socket, labels, learned: Learned::default(), ports: Vec::new(), looked: None })
    }

    /// Whether the switch is still there.
    pub fn stands(&self) -> bool {
        self.socket.stands()
    }

    fn look(&mut self, now: Instant) {
        if self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK) {
            self.looked = Some(now);
            self.ports = self.socket.others();
            self.learned.give(self.ports.iter().filter_map(|(id, _, role)| Some((role.mac?, *id))));
        }
    }

    fn label(&self, id: Id) -> Option<&str> {
        self.ports.iter().find(|(own, ..)| *own == id).map(|(_, label, _)| label.as_str())
    }

    /// The next frame, if one comes in this time.
    pub fn next<'a>(
        &'a mut self,
        room: &'a mut [u8; LONGEST_FRAME + 1],
        patience: Duration,
    ) -> Option<Heard<'a>> {
        let (from, len) = self.socket.overhear(room, patience)?;
        let now = Instant::now();
        if self.label(from).is_none() {
            // One that came a moment ago.
            self.looked = None;
        }
        self.look(now);
        let frame = Frame::new(&room[..len])?;
        if !is_group(&frame.source()) {
            self.learned.see(frame.vlan(), frame.source(), from, now);
        }
        if !self.counts(from, frame, now) {
            return None;
        }
        Some(Heard { bytes: &room[..len], from: self.label(from).unwrap_or_default() })
    }

    /// Whether one of the ports that count sends or hears it.
    fn counts(&self, from: Id, frame: Frame<'_>, now: Instant) -> bool {
        let Some(labels) = &self.labels else { return true };
        let is_meant = |id| self.label(id).is_some_and(|label| labels.iter().any(|own| own == label));
        let to = frame.destination();
        // What nobody has been seen for goes to all.
        is_meant(from) || is_group(&to) || self.learned.place(frame.vlan(), &to, now).is_none_or(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths stand at both ends of each block, so the file is walked both ways.
    #[test]
    fn blocks_hang_together() {
        let mut file = Vec::new();
        let mut writer = Writer::begin(&mut file, "Wire").unwrap();
        let at = UNIX_EPOCH + Duration::from_nanos(0x1234_5678_9abc);
        writer.packet(at, &[7; 61], "from a").unwrap();
        writer.packet(at, &[7; 60], "").unwrap();
        let (mut rest, mut kinds) = (file.as_slice(), Vec::new());
        while !rest.is_empty() {
            let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
            let len = word(4) as usize;
            assert_eq!((len % 4, word(len - 4) as usize), (0, len));
            kinds.push(word(0));
            rest = &rest[len..];
        }
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, PACKET]);
    }
}
