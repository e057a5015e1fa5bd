//! Wait-VM, and Restart-VM -Wait.

use super::targets::{Ambiguity, STD, vms};
use crate::guid::Guid;
use crate::host::Vm;
use crate::operation::parameter::{int, one_of};
use crate::operation::{
    Call, Category, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::state::State;
use crate::store::Config;
use crate::value::Kind;
use crate::worker::guest::Contact;
use std::time::{Duration, Instant};

pub static OPERATIONS: &[Operation] = &[Operation {
    cmdlet: "Wait-VM",
    aliases: &[],
    verbs: &[Verb {
        name: "wait",
        doc: "Wait until guests answer, or have addresses.",
        view: View::Table,
        needs_name: true,
    }],
    rest: Rest { method: Method::Post, route: "/vms/{Name}/wait" },
    doc: "Waits until the guests of virtual machines answer (their agent's heartbeat), or have IP addresses.",
    parameters: &[&STD, FOR],
    prints: Prints::Passthru,
    result: Some(Kind::VirtualMachine),
    impact: Impact::None,
    run: wait,
}];

/// Of Restart-VM, too.
pub const FOR: &[Parameter] = &[
    one_of("For", &["Heartbeat", "IPAddress"], "For what; without this the heartbeat.").flag("for"),
    int("Delay", 1, u16::MAX as i64, "Seconds between two looks: 1 without this."),
    int(
        "Timeout",
        -1,
        i32::MAX as i64,
        "Seconds until it is an error: 300 without this, -1 never; over HTTP 5 at most.",
    )
    .alias(&["TimeoutSec"])
    .flag("timeout"),
];

/// Until a guest that says nothing is given up, unless the caller says how long.
const PATIENCE: i64 = 300;

/// Whether it is there.
fn reached(vm: &Vm, what: &str) -> bool {
    match what {
        "IPAddress" => !records::addresses_of(vm).is_empty(),
        _ => vm.status.as_ref().is_some_and(|status| status.guest.contact == Contact::There),
    }
}

fn wait(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Allowed)?;
    until_there(call, configs, &[])
}

/// Which machine of a VM's it is: a start has another worker, and a reset another number.
pub type Start = (u32, u64);

pub fn start_of(vm: &Vm) -> Option<Start> {
    vm.status.as_ref().map(|status| (status.pid, status.resets))
}

/// Waits for each, all in the same time. Of who is in `before` what was there then does not count.
pub fn until_there(
    call: &mut Call<'_>,
    configs: Vec<Config>,
    before: &[(Guid, Option<Start>)],
) -> Result<(), Failure> {
    let what = call.arguments.text("For").unwrap_or("Heartbeat").to_owned();
    let asked = call.arguments.int("Timeout").unwrap_or(PATIENCE);
    let asked = u64::try_from(asked).map_or(Duration::MAX, Duration::from_secs);
    let patience = asked.min(call.surface.longest_wait());
    let delay = Duration::from_secs(call.arguments.int("Delay").unwrap_or(1) as u64);
    let began = Instant::now();
    call.each(configs, |call, config| {
        loop {
            let vm = call.host.vm(config.clone());
            let old = before.iter().any(|(id, start)| *id == config.id && *start == start_of(&vm));
            if !old && reached(&vm, &what) {
                let record = records::vm(&vm, &call.host.system.host());
                call.give(record);
                return Ok(());
            }
            never(&vm, &what)?;
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(late(&vm, &what, patience.as_secs()));
            }
            call.pause(delay.min(left)).map_err(|failure| failure.about(&config.name))?;
        }
    });
    Ok(())
}

/// What will not come is not waited for.
fn never(vm: &Vm, what: &str) -> Result<(), Failure> {
    let name = &vm.config.name;
    let refused = |why: String| Err(Failure::refused(why).about(name));
    match vm.state {
        State::Off | State::Saved => {
            refused(format!("'{name}' is {}, so there is nothing to wait for; use Start-VM first.", vm.state))
        }
        State::Paused => refused(format!(
            "'{name}' is Paused, so its guest does nothing that could be waited for; use Resume-VM first."
        )),
        _ if what == "Heartbeat" && !vm.config.integration.heartbeat => refused(format!(
            "The service Heartbeat of '{name}' is off; switch it on with Enable-VMIntegrationService."
        )),
        _ => Ok(()),
    }
}

fn late(vm: &Vm, what: &str, seconds: u64) -> Failure {
    let name = &vm.config.name;
    let missing = match what {
        "IPAddress" => "has no IP address that is known",
        _ => "has not answered: it needs QEMU's guest agent (Debian: package qemu-guest-agent)",
    };
    let told = format!("The guest of '{name}' {missing}; waited for {seconds} seconds.");
    Failure::new(Category::OperationTimeout, "OperationTimeout", told).about(name)
}

#[cfg(test)]
mod tests {
    use crate::ops::tests::World;
    use crate::value::Value;

    fn waiting(world: &World, what: &str) -> String {
        world.error("Wait-VM", &[("Name", "vm".into()), ("For", what.into()), ("Timeout", Value::Int(0))])
    }

    #[test]
    fn what_is_off_is_not_waited_for() {
        let world = World::with(&["vm"]);
        let said = world.error("Wait-VM", &[("Name", "vm".into())]);
        assert_eq!(said, "'vm' is Off, so there is nothing to wait for; use Start-VM first.");
    }

    #[test]
    fn a_guest_that_says_nothing_is_an_error_once_the_time_is_over() {
        let world = World::with(&["vm"]);
        world.ok("Start-VM", &[("Name", "vm".into())]);
        assert!(waiting(&world, "Heartbeat").contains("guest agent"));
        assert!(waiting(&world, "IPAddress").contains("no IP address"));
    }

    #[test]
    fn a_heartbeat_that_is_switched_off_is_not_waited_for() {
        let world = World::with(&["vm"]);
        world.ok("Start-VM", &[("Name", "vm".into())]);
        let services = [("VMName", "vm".into()), ("Name", Value::list(["Heartbeat"]))];
        world.ok("Disable-VMIntegrationService", &services);
        assert!(waiting(&world, "Heartbeat").contains("Enable-VMIntegrationService"));
    }
}
