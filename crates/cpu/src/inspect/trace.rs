//! The trace of exits, entries, exceptions and interrupts, and the ring of the last ones.

use super::options::{Kinds, Options};
use ireko_nested::vendor::ExitRecord;
use ireko_nested::{Event, Vendor};
use ireko_x86::{Exception, exception};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    Exit {
        record: ExitRecord,
        in_flight: Option<Event>,
    },
    Entry {
        asid: u32,
        root: Option<u64>,
        inject: Option<Event>,
    },
    /// An entry that a check refused, by the check's name.
    Refused(&'static str),
    Exception(Exception),
    /// An event is delivered between two instructions.
    Deliver(Event),
}

impl What {
    fn wanted(&self, kinds: Kinds) -> bool {
        match self {
            Self::Exit { .. } => kinds.exits,
            Self::Entry { .. } | Self::Refused(_) => kinds.entries,
            Self::Exception(_) => kinds.exceptions,
            Self::Deliver(_) => kinds.interrupts,
        }
    }
}

/// One event, where and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceEntry {
    pub ticks: u64,
    /// Control structure of the guest world, `None`: host world.
    pub world: Option<u64>,
    pub asid: u32,
    pub rip: u64,
    pub cpl: u8,
    pub what: What,
}

impl TraceEntry {
    /// One line: milliseconds, world, RIP, what. `symbol` names an address of a world, or gives nothing.
    pub fn line(&self, khz: u64, vendor: &dyn Vendor, symbol: impl Fn(Option<u64>, u64) -> String) -> String {
        let ms = self.ticks as f64 / khz.max(1) as f64;
        let mut line = format!("{ms:>12.4} ");
        let _ = match self.world {
            None => write!(line, "host       "),
            Some(_) => write!(line, "guest {:<4} ", self.asid),
        };
        let _ = write!(line, "{:#x} cpl {}{}: ", self.rip, self.cpl, symbol(self.world, self.rip));
        self.tell(&mut line, vendor);
        line
    }

    fn tell(&self, line: &mut String, vendor: &dyn Vendor) {
        let words = vendor.words();
        let _ = match &self.what {
            What::Exit { record, in_flight } => {
                let [first, second] = words.information;
                let [one, two] = record.information;
                let _ = write!(line, "{} {first}={one:#x} {second}={two:#x}", vendor.exit_name(record.code));
                optional(line, words.in_flight, in_flight.as_ref())
            }
            What::Entry { asid, root, inject } => {
                let at = self.world.unwrap_or(0);
                let _ = write!(line, "{} {}={at:#x} {}={asid}", words.entry, words.structure, words.tag);
                if let Some(root) = root {
                    let _ = write!(line, " {}={root:#x}", words.stage2_root);
                }
                optional(line, words.injected, inject.as_ref())
            }
            What::Refused(check) => write!(line, "{} refused: {check}", words.entry),
            What::Exception(exception) => {
                let _ = write!(line, "{}", exception::name(exception.vector));
                if let Some(error) = exception.error {
                    let _ = write!(line, " error {error:#x}");
                }
                if exception.payload != 0 {
                    let _ = write!(line, " at {:#x}", exception.payload);
                }
                Ok(())
            }
            What::Deliver(event) => write!(line, "takes {event}"),
        };
    }
}

fn optional(line: &mut String, name: &str, event: Option<&Event>) -> std::fmt::Result {
    match event {
        Some(event) => write!(line, " {name}={event}"),
        None => Ok(()),
    }
}

/// Where the trace goes, and the last events.
pub struct Trace {
    kinds: Kinds,
    sink: Option<Box<dyn Write + Send>>,
    ring: VecDeque<TraceEntry>,
    most: usize,
}

impl Trace {
    /// `None` if neither a trace nor a ring is asked for.
    pub fn new(options: &Options) -> Result<Option<Self>, String> {
        let kinds =
            if options.trace_file.is_some() && !options.trace.any() { Kinds::ALL } else { options.trace };
        if !kinds.any() && options.ring == 0 {
            return Ok(None);
        }
        let sink: Option<Box<dyn Write + Send>> = match &options.trace_file {
            None if kinds.any() => Some(Box::new(std::io::stderr())),
            None => None,
            Some(path) => {
                let file = File::create(path)
                    .map_err(|error| format!("the trace cannot be written to {}: {error}", path.display()))?;
                Some(Box::new(BufWriter::with_capacity(1 << 20, file)))
            }
        };
        Ok(Some(Self { kinds, sink, ring: VecDeque::with_capacity(options.ring), most: options.ring }))
    }

    /// Whether a line of this is to be written now.
    pub fn writes(&self, what: &What) -> bool {
        self.sink.is_some() && what.wanted(self.kinds)
    }

    pub fn keep(&mut self, entry: TraceEntry) {
        if self.most == 0 {
            return;
        }
        if self.ring.len() == self.most {
            self.ring.pop_front();
        }
        self.ring.push_back(entry);
    }

    /// A sink that cannot be written any more is given up.
    pub fn write(&mut self, line: &str) {
        let failed = self.sink.as_mut().and_then(|sink| writeln!(sink, "{line}").err());
        if let Some(error) = failed {
            // If not even that can be said, the run matters more.
            let _ = writeln!(std::io::stderr(), "the trace ends here: {error}");
            self.sink = None;
        }
    }

    pub fn flush(&mut self) {
        if let Some(sink) = &mut self.sink {
            // What cannot be written is lost; the run matters more.
            let _ = sink.flush();
        }
    }

    pub fn last(&self) -> impl Iterator<Item = &TraceEntry> {
        self.ring.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ireko_nested::EventKind;

    fn entry(what: What) -> TraceEntry {
        TraceEntry { ticks: 2_500_000, world: Some(0x5000), asid: 3, rip: 0x1234, cpl: 0, what }
    }

    fn text(what: What) -> String {
        let svm = ireko_nested::svm::State::default();
        entry(what).line(1_000_000, &svm, |_, _| " <f+0x1>".to_owned())
    }

    #[test]
    fn an_exit_is_told_by_the_manuals_names() {
        let in_flight = Some(Event { kind: EventKind::Exception, vector: 14, error: Some(2) });
        let line = text(What::Exit {
            record: ExitRecord { code: 0x400, information: [0x100000006, 0xfee00000] },
            in_flight,
        });
        let told = "VMEXIT_NPF EXITINFO1=0x100000006 EXITINFO2=0xfee00000 EXITINTINFO=#PF error 0x2";
        assert!(line.ends_with(told), "{line}");
    }

    #[test]
    fn a_line_has_time_world_and_place() {
        let line = text(What::Refused("EFER.SVME"));
        assert!(
            line.trim_start().starts_with("2.5000 guest 3    0x1234 cpl 0 <f+0x1>: VMRUN refused"),
            "{line}"
        );
    }

    #[test]
    fn the_ring_keeps_the_last() {
        let options = Options { ring: 2, ..Options::default() };
        let mut trace = Trace::new(&options).unwrap().unwrap();
        for name in ["a", "b", "c"] {
            trace.keep(entry(What::Refused(name)));
        }
        let kept: Vec<_> = trace.last().map(|h| h.what).collect();
        assert_eq!(kept, [What::Refused("b"), What::Refused("c")]);
    }

    #[test]
    fn a_ring_alone_writes_nothing() {
        let trace = Trace::new(&Options { ring: 2, ..Options::default() }).unwrap().unwrap();
        assert!(!trace.writes(&What::Refused("a")));
    }
}
