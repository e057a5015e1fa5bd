//! What a machine uses, added up from one sample to the next while it is metered.

use super::server::{Control, Inner};
use super::usage::Usage;
use crate::store::Meter;
use crate::store::run::Kept;
use ireko_machine::DiskCounts;
use std::time::Instant;

/// What had been used at some time.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    usage: Usage,
    /// Bytes that all network adapters had received and sent.
    network: (u64, u64),
    disks: DiskCounts,
}

/// A meter that runs.
pub struct Metering {
    pub meter: Meter,
    last: Option<Sample>,
}

impl Metering {
    /// From the first sample on.
    pub fn new(meter: Meter) -> Self {
        Self { meter, last: None }
    }

    fn add(&mut self, now: Sample) {
        let Some(last) = self.last.replace(now) else { return };
        let more = |now: u64, before: u64| now.saturating_sub(before);
        let seconds = now.at.saturating_duration_since(last.at).as_secs_f64();
        let cpu = now.usage.cpu_seconds - last.usage.cpu_seconds;
        let meter = &mut self.meter;
        meter.add(seconds, cpu, now.usage.resident_bytes);
        meter.received_bytes += more(now.network.0, last.network.0);
        meter.sent_bytes += more(now.network.1, last.network.1);
        meter.read_bytes += more(now.disks.read_bytes, last.disks.read_bytes);
        meter.written_bytes += more(now.disks.written_bytes, last.disks.written_bytes);
        meter.disk_operations += more(now.disks.operations, last.disks.operations);
    }
}

impl Control {
    /// Brings the meter up to now, if there is one.
    pub fn measure(&self, inner: &mut Inner) {
        let Some(metering) = &mut inner.metering else { return };
        let reports = self.network.as_ref().map(|network| network.reports()).unwrap_or_default();
        let network = reports.iter().fold((0, 0), |(received, sent), (_, report)| {
            (received + report.received_bytes, sent + report.sent_bytes)
        });
        let (usage, disks) = (self.gauges.usage(), self.files.traffic());
        metering.add(Sample { at: Instant::now(), usage, network, disks });
    }

    /// For whoever comes when this worker is gone.
    pub fn keep_meter(&self) {
        let meter = self.lock().metering.as_ref().map(|metering| metering.meter.clone());
        if let Some(meter) = meter {
            let directory = self.directory.clone();
            self.broker.ask(move || drop(meter.write(&directory)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_used_before_the_first_sample_is_not_counted() {
        let at = Instant::now();
        let sample = |seconds: u64, number: u64| Sample {
            at: at + Duration::from_secs(seconds),
            usage: Usage { cpu_seconds: number as f64, resident_bytes: 7 },
            network: (number, 2 * number),
            disks: DiskCounts { read_bytes: 3 * number, written_bytes: 4 * number, operations: number },
        };
        let mut metering = Metering::new(Meter::default());
        [sample(0, 100), sample(2, 101), sample(4, 103)].into_iter().for_each(|sample| metering.add(sample));
        let meter = metering.meter;
        assert_eq!((meter.seconds, meter.cpu_seconds), (4.0, 3.0));
        assert_eq!((meter.received_bytes, meter.sent_bytes), (3, 6));
        assert_eq!((meter.read_bytes, meter.written_bytes, meter.disk_operations), (9, 12, 3));
    }
}
