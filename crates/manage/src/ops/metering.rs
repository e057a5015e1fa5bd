//! Enable-, Disable-, Reset-VMResourceMetering and Measure-VM: true processor time and memory of the worker.

use super::targets::{Ambiguity, STD, VSTD, change, vms, whole_vm};
use crate::host::{HostFacts, Vm, now};
use crate::operation::{Call, Failure, Impact, Method, Operation, Prints, Rest, Verb, View};
use crate::state::State;
use crate::store::config::MIB;
use crate::store::run::Kept;
use crate::store::{Config, Meter};
use crate::value::{Kind, Record, Value};
use crate::worker::protocol::Request;
use std::time::Duration;

const fn verb(name: &'static str, doc: &'static str) -> Verb {
    Verb { name, doc, view: View::Table, needs_name: true }
}

const METERING: Operation = Operation {
    cmdlet: "",
    aliases: &[],
    verbs: &[],
    rest: Rest { method: Method::Post, route: "" },
    doc: "",
    parameters: &[&VSTD],
    prints: Prints::Never,
    result: None,
    impact: Impact::Change,
    run: |_| Ok(()),
};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Enable-VMResourceMetering",
        verbs: &[verb("meter", "Begin to meter virtual machines.")],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/meter" },
        doc: "Begins to add up what virtual machines use.",
        run: |call| switch(call, "meter", Some(true)),
        ..METERING
    },
    Operation {
        cmdlet: "Disable-VMResourceMetering",
        verbs: &[verb("unmeter", "End metering and forget what was added up.")],
        rest: Rest { method: Method::Delete, route: "/vms/{VMName}/meter" },
        doc: "Ends metering and forgets what was added up.",
        run: |call| switch(call, "end metering of", Some(false)),
        ..METERING
    },
    Operation {
        cmdlet: "Reset-VMResourceMetering",
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/meter/reset" },
        doc: "Begins metering anew.",
        run: |call| switch(call, "meter anew", None),
        ..METERING
    },
    Operation {
        cmdlet: "Measure-VM",
        verbs: &[verb("measure", "Say what metered virtual machines used.")],
        rest: Rest { method: Method::Get, route: "/vms/{Name}/meter" },
        doc: "Says what virtual machines used since metering was enabled.",
        parameters: &[&STD],
        prints: Prints::Always,
        result: Some(Kind::VMMeteringReport),
        impact: Impact::None,
        run: measure,
        ..METERING
    },
];

/// On, off, or None: on anew if it is on.
fn switch(call: &mut Call<'_>, words: &str, on: Option<bool>) -> Result<(), Failure> {
    let body = move |call: &mut Call<'_>, config: &mut Config, state: State| {
        if on == Some(true) && config.metering {
            return Ok(());
        }
        config.metering = on.unwrap_or(config.metering);
        if state != State::Off {
            return call.host.ask(config, &Request::Meter { on: config.metering });
        }
        let directory = call.host.store.directory(config.id);
        let kept = if config.metering {
            Meter { since: now(), ..Meter::default() }.write(&directory)
        } else {
            Meter::remove(&directory)
        };
        kept.map_err(|error| Failure::failed(format!("The meter cannot be written: {error}.")))
    };
    change(call, words, body, whole_vm)
}

fn measure(call: &mut Call<'_>) -> Result<(), Failure> {
    let (configs, facts) = (vms(call, Ambiguity::Allowed)?, call.host.system.host());
    call.each(configs, |call, config| {
        if !config.metering {
            return Err(Failure::refused(format!(
                "Resource metering is not enabled for '{}'; use Enable-VMResourceMetering first.",
                config.name
            ))
            .about(&config.name));
        }
        let vm = call.host.vm(config);
        // What runs knows more than what is written now and then.
        let meter = vm.status.as_ref().and_then(|status| status.meter.clone());
        let meter =
            meter.or_else(|| Meter::read(&call.host.store.directory(vm.config.id))).unwrap_or_default();
        let record = report(&vm, &meter, &facts);
        call.give(record);
        Ok(())
    });
    Ok(())
}

/// By direction: who is at the other end is not counted apart.
fn traffic(meter: &Meter) -> Value {
    let mib = |bytes: u64| i64::try_from(bytes.div_ceil(MIB)).unwrap_or(i64::MAX);
    let one = |direction: &str, bytes: u64| {
        let record = Record::new(Kind::Custom).with("LocalAddress", "").with("RemoteAddress", "*");
        Value::from(record.with("Direction", direction).with("TotalTraffic", mib(bytes)))
    };
    Value::List(vec![one("Inbound", meter.received_bytes), one("Outbound", meter.sent_bytes)])
}

/// Averages are over the time for which it ran. Megabytes, as Hyper-V's properties have them.
fn report(vm: &Vm, meter: &Meter, host: &HostFacts) -> Record {
    let seconds = if meter.seconds > 0.0 { meter.seconds } else { 1.0 };
    let mib = |bytes: f64| Value::Int((bytes / MIB as f64).round() as i64);
    let disk = |disk: &crate::store::Disk| std::fs::metadata(&disk.path).map_or(0, |meta| meta.len());
    let disks: u64 = vm.config.disks.iter().map(disk).sum();
    let megahertz = meter.cpu_seconds / seconds * f64::from(host.megahertz);
    Record::new(Kind::VMMeteringReport)
        .with("VMId", vm.config.id)
        .with("VMName", vm.config.name.as_str())
        .with("MeteringDuration", Duration::from_secs(now().saturating_sub(meter.since)))
        .with("AverageProcessorUsage", megahertz.round() as i64)
        .with("AverageMemoryUsage", mib(meter.byte_seconds / seconds))
        .with("MaximumMemoryUsage", mib(meter.most_bytes as f64))
        .with("MinimumMemoryUsage", mib(meter.least_bytes as f64))
        .with("TotalDiskAllocation", mib(disks as f64))
        .with("NetworkInbound", mib(meter.received_bytes as f64))
        .with("NetworkOutbound", mib(meter.sent_bytes as f64))
        .with("NetworkMeteredTrafficReport", traffic(meter))
        .with("AggregatedAverageNormalizedIOPS", (meter.disk_operations as f64 / seconds).round() as i64)
        .with("AggregatedDiskDataRead", mib(meter.read_bytes as f64))
        .with("AggregatedDiskDataWritten", mib(meter.written_bytes as f64))
        .with("AggregatedNormalizedIOCount", meter.disk_operations)
        .with("ProcessorTime", Duration::from_millis((meter.cpu_seconds * 1000.0) as u64))
        .with("RunningTime", Duration::from_millis((meter.seconds * 1000.0) as u64))
        .with("ComputerName", host.name.as_str())
}
