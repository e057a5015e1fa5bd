//! New-, Get-, Set-, Rename- and Remove-VMSwitch.

use super::host_network::{self, Named};
use super::targets::SWITCH;
use crate::guid::Guid;
use crate::host::now;
use crate::operation::parameter::{boolean, guid, int, one_of, text};
use crate::operation::{
    Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest, Verb, View,
};
use crate::ops::records;
use crate::rules;
use crate::select;
use crate::store::switch::{DEFAULT_NAME, RouterNetwork};
use crate::store::{Config, Switch, SwitchType, VmLock, WorkerLock};
use crate::value::{Kind, Value};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "New-VMSwitch",
        aliases: &[],
        verbs: &[Verb {
            name: "switch-create",
            doc: "Create a virtual switch.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/switches" },
        doc: "Creates a virtual switch: Private for virtual machines only, Internal with an adapter of this host, External \
              (with -NetAdapterName) with a network interface of this host in it.",
        parameters: &[NEW],
        prints: Prints::Always,
        result: Some(Kind::VMSwitch),
        impact: Impact::Change,
        run: new,
    },
    Operation {
        cmdlet: "Get-VMSwitch",
        aliases: &[],
        verbs: &[Verb {
            name: "switches",
            doc: "List virtual switches.",
            view: View::Table,
            needs_name: false,
        }],
        rest: Rest { method: Method::Get, route: "/switches" },
        doc: "Gives virtual switches: all, or those of the given names.",
        parameters: &[GET],
        prints: Prints::Always,
        result: Some(Kind::VMSwitch),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Set-VMSwitch",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Patch, route: "/switches/{Name}" },
        doc: "Changes virtual switches: their type, the interface in them and their notes.",
        parameters: &[&SWITCH, SET],
        prints: Prints::Passthru,
        result: Some(Kind::VMSwitch),
        impact: Impact::Change,
        run: set,
    },
    Operation {
        cmdlet: "Rename-VMSwitch",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Post, route: "/switches/{Name}/rename" },
        doc: "Gives a virtual switch another name.",
        parameters: &[&SWITCH, RENAME],
        prints: Prints::Passthru,
        result: Some(Kind::VMSwitch),
        impact: Impact::Change,
        run: rename,
    },
    Operation {
        cmdlet: "Remove-VMSwitch",
        aliases: &[],
        verbs: &[Verb {
            name: "switch-remove",
            doc: "Remove a virtual switch; adapters in it are then disconnected.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Delete, route: "/switches/{Name}" },
        doc: "Removes virtual switches; adapters in them are then disconnected.",
        parameters: &[&SWITCH, REMOVE],
        prints: Prints::Never,
        result: None,
        impact: Impact::Danger,
        run: remove,
    },
];

const TYPES: &[&str] = &["Internal", "Private"];

const NET_ADAPTER: &str = "The network interface of this host that is in it, which makes it External: a name of Get-NetAdapter, or the kernel's.";
const MANAGEMENT: &str = "Of an External switch: whether this host gets an adapter in it, vEthernet (NAME); without a word, it does.";

const NEW: &[Parameter] = &[
    text("Name", "The name.").alias(&["SwitchName"]).required().at(0).positional(),
    one_of("SwitchType", TYPES, "Private: virtual machines only; Internal: and this host.")
        .set("SwitchType")
        .flag("type"),
    text("NetAdapterName", NET_ADAPTER)
        .alias(&["InterfaceAlias"])
        .many()
        .pipe(Pipeline::ByPropertyName)
        .set("NetAdapterName")
        .flag("interface"),
    text("NetAdapterInterfaceDescription", NET_ADAPTER)
        .alias(&["InterfaceDescription"])
        .many()
        .set("NetAdapterInterfaceDescription"),
    boolean("AllowManagementOS", MANAGEMENT).flag("management-os"),
    text("Notes", "Words for people.").flag("notes"),
];
const GET: &[Parameter] = &[
    text("Name", "Names; wildcards count.").alias(&["SwitchName"]).many().at(0).set("Name").positional(),
    guid("Id", "The id.").alias(&["SwitchId"]).at(0).pipe(Pipeline::ByValueOrPropertyName).set("Id"),
    one_of("SwitchType", &["Internal", "Private", "External"], "Only those of this type.").many(),
];
const SET: &[Parameter] = &[
    one_of("SwitchType", TYPES, "Another type."),
    text("NetAdapterName", NET_ADAPTER).alias(&["InterfaceAlias"]).many(),
    text("NetAdapterInterfaceDescription", NET_ADAPTER).alias(&["InterfaceDescription"]).many(),
    boolean("AllowManagementOS", MANAGEMENT),
    text("Notes", "Words for people."),
    int(
        "HostLoopbackPort",
        0,
        65535,
        "Ports of this host's loopback that guests reach at the router's address; 0 is none (Ireko's own).",
    )
    .many(),
];
const RENAME: &[Parameter] = &[text("NewName", "The new name.").required().at(1).positional()];
const REMOVE: &[Parameter] = &[crate::operation::parameter::switch("Force", "Do not ask.").flag("force")];

/// The interface of this host that the arguments mean, for this switch.
fn uplink(call: &mut Call<'_>, own: Option<Guid>) -> Result<Option<Named>, Failure> {
    let names: Vec<String> = call.arguments.items("NetAdapterName").iter().map(Value::to_string).collect();
    let described = call.arguments.items("NetAdapterInterfaceDescription").iter().map(Value::to_string);
    let described: Vec<String> = described.collect();
    if names.is_empty() && described.is_empty() {
        return Ok(None);
    }
    if names.len() + described.len() > 1 {
        return Err(Failure::invalid(
            "An External switch has one network interface here; embedded teaming is not there yet.",
        ));
    }
    let found = match names.first() {
        Some(name) => host_network::find(call, name)?,
        None => host_network::described(call, described.first().map_or("", String::as_str))?,
    };
    let name = found.name.clone();
    if found.interface.loopback || found.interface.alias.starts_with("vEthernet (") {
        let why =
            if found.interface.loopback { "the loopback adapter" } else { "a virtual switch's own adapter" };
        return Err(
            Failure::invalid(format!("'{name}' is {why}, and cannot be in an External switch.")).about(name)
        );
    }
    let taken = call.host.store.switches()?.into_iter().find(|switch| {
        Some(switch.id) != own && switch.uplink.as_deref() == Some(found.interface.name.as_str())
    });
    if let Some(other) = taken {
        return Err(Failure::refused(format!(
            "The network adapter '{name}' is already in the virtual switch '{}'; remove that, or take another adapter.",
            other.name
        ))
        .about(name));
    }
    if found.interface.wireless {
        call.warn(format!(
            "'{name}' is wireless: most access points take frames of its own address only, so virtual machines on this \
             switch may hear nothing; the Default Switch works over any adapter."
        ));
    }
    Ok(Some(found))
}

impl Switch {
    fn goes_out(&mut self, by: &Named, allow: Option<bool>) {
        self.kind = SwitchType::External;
        self.uplink = Some(by.interface.name.clone());
        self.uplink_description = by.description();
        self.allow_management_os = allow.unwrap_or(true);
    }
    fn stays_inside(&mut self, kind: SwitchType) {
        self.kind = kind;
        self.uplink = None;
        self.uplink_description.clear();
        self.allow_management_os = false;
    }
}

fn not_found(name: &str) -> Failure {
    Failure::invalid(format!("Hyper-V was unable to find a virtual switch with name \"{name}\".")).about(name)
}

/// The one switch that a name (or an id) means.
pub fn by_name(call: &Call<'_>, name: &str) -> Result<Switch, Failure> {
    one_of_host(call.host, name)
}

pub fn one_of_host(host: &crate::Host, name: &str) -> Result<Switch, Failure> {
    let mut found = matching(&host.store.switches()?, name)?;
    match found.len() {
        1 => Ok(found.remove(0)),
        many => Err(Failure::invalid(format!(
            "{many} virtual switches have the name \"{name}\"; use one of their ids: {}",
            found.iter().map(|switch| switch.id.to_string()).collect::<Vec<_>>().join(", ")
        ))
        .about(name)),
    }
}

fn matching(all: &[Switch], name: &str) -> Result<Vec<Switch>, Failure> {
    let id: Option<Guid> = name.parse().ok();
    let fits = |switch: &&Switch| Some(switch.id) == id || select::wildcard(name, &switch.name);
    let found: Vec<Switch> = all.iter().filter(fits).cloned().collect();
    if found.is_empty() && !select::has_wildcard(name) { Err(not_found(name)) } else { Ok(found) }
}

/// The switches that the arguments mean; what means none is noted as an error of its own.
pub(super) fn switches(call: &mut Call<'_>) -> Result<Vec<Switch>, Failure> {
    let all = call.host.store.switches()?;
    let mut found: Vec<Switch> = Vec::new();
    let mut names: Vec<String> = call.arguments.items("Name").iter().map(Value::to_string).collect();
    let ids = call.arguments.items("VMSwitch").iter().filter_map(|value| match value {
        Value::Record(record) => record.guid("Id"),
        _ => None,
    });
    names.extend(ids.map(|id| id.to_string()));
    for name in names {
        match matching(&all, &name) {
            Ok(switches) => found.extend(switches),
            Err(failure) => call.answer.errors.push(failure),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|switch| seen.insert(switch.id));
    Ok(found)
}

fn kind(word: &str) -> SwitchType {
    if word == "Internal" { SwitchType::Internal } else { SwitchType::Private }
}

fn new(call: &mut Call<'_>) -> Result<(), Failure> {
    let arguments = call.arguments;
    let name = arguments.text("Name").unwrap_or_default().to_owned();
    rules::name::check(&name).map_err(Failure::invalid)?;
    let by = uplink(call, None)?;
    let word = arguments.text("SwitchType");
    let allow = arguments.bool("AllowManagementOS");
    if by.is_none() && allow.is_some() {
        return Err(Failure::invalid(
            "-AllowManagementOS is for an External switch; give -NetAdapterName, too, or leave it out.",
        ));
    }
    if by.is_none() && word.is_none() {
        return Err(Failure::invalid(
            "Which type? Give -SwitchType Internal, -SwitchType Private, or -NetAdapterName for an External one.",
        ));
    }
    let id = Guid::random().map_err(|error| Failure::failed(format!("No random id: {error}")))?;
    let mut switch = Switch::new(id, &name, kind(word.unwrap_or_default()), now());
    arguments.text("Notes").unwrap_or_default().clone_into(&mut switch.notes);
    if let Some(by) = &by {
        switch.goes_out(by, allow);
    }
    if !call.should("create the virtual switch", &switch.name) {
        return Ok(());
    }
    call.host.store.create_switch(&switch)?;
    if let Err(failure) = host_side(call, &switch) {
        let (lock, _) = call.host.store.lock_switch(id)?;
        call.host.store.remove_switch(lock)?;
        return Err(failure);
    }
    let record = records::switch(&switch, &call.host.system.host());
    call.give(record);
    Ok(())
}

/// Starts the process of the host's side where there is to be one.
pub fn host_side(call: &Call<'_>, switch: &Switch) -> Result<(), Failure> {
    if switch.has_router() {
        return router(call, switch.id).map(drop);
    }
    if switch.kind == SwitchType::Private {
        return Ok(());
    }
    let started = call.host.launcher.host_side(&call.host.store, switch.id);
    started.map_err(|why| {
        let more = match switch.kind {
            SwitchType::External if switch.allow_management_os && why.contains("CAP_NET_ADMIN") => {
                "; with -AllowManagementOS $false it takes CAP_NET_RAW alone"
            }
            _ => "",
        };
        Failure::refused(format!("The switch '{}' has no adapter of this host: {why}{more}.", switch.name))
            .about(&switch.name)
    })
}

/// Its process ends by itself when it is to be another; a new one is not started before that.
fn wait_for_end(call: &Call<'_>, id: Guid) {
    let (directory, since) = (call.host.store.switch_directory(id), Instant::now());
    while WorkerLock::held(&directory) && since.elapsed() < TO_END {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// For the process of a host's side to see that it is to end.
const TO_END: Duration = Duration::from_secs(5);

/// Starts a switch's router unless it is there. Before that it gets a network that none of the host's own addresses is in.
pub fn router(call: &Call<'_>, id: Guid) -> Result<Switch, Failure> {
    let store = &call.host.store;
    let (lock, mut switch) = store.lock_switch(id)?;
    let addresses = call.host.system.network().addresses().unwrap_or_default();
    let taken: Vec<IpAddr> = addresses.iter().map(|one| one.address).collect();
    let overlaps = |own: RouterNetwork| taken.iter().any(|address| own.overlaps(*address));
    // Under those that run it stays, whatever the host has got since.
    let runs = WorkerLock::held(&store.switch_directory(id));
    let stands = switch.network.is_some_and(|own| runs || !overlaps(own));
    if !stands {
        let home = store.home().as_os_str().as_encoded_bytes();
        let seed = home.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        switch.network = RouterNetwork::choose(seed, &taken);
        if switch.network.is_none() {
            return Err(Failure::refused(format!(
                "The switch '{}' has no network: this host has an address in each part of 172.16.0.0/12.",
                switch.name
            )));
        }
        store.save_switch(&lock, &switch)?;
    }
    drop(lock);
    call.host.share_switches();
    let started = call.host.launcher.router(store, id);
    started.map(|()| switch.clone()).map_err(|why| {
        Failure::refused(format!("The switch '{}' has no router: {why}.", switch.name)).about(&switch.name)
    })
}

/// Those of the switches that a VM's adapters are plugged into: they are gone after the host has restarted.
pub fn host_sides(call: &mut Call<'_>, config: &Config) -> Result<(), Failure> {
    let switches = config.adapters.iter().filter_map(|adapter| adapter.switch);
    // A switch that has been removed is no obstacle.
    let there: Vec<Switch> = switches.filter_map(|id| call.host.store.switch(id).ok()).collect();
    for switch in there {
        match host_side(call, &switch) {
            // Nobody asked for this one.
            Err(failure) if switch.has_router() || switch.kind == SwitchType::External => {
                call.warn(failure.message);
            }
            other => other?,
        }
    }
    Ok(())
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let arguments = call.arguments;
    let found = if let Some(Value::Guid(id)) = arguments.value("Id") {
        vec![call.host.store.switch(*id).map_err(|_| not_found(&id.to_string()))?]
    } else if arguments.has("Name") {
        switches(call)?
    } else {
        call.host.store.switches()?
    };
    let types: Vec<String> = arguments.items("SwitchType").iter().map(Value::to_string).collect();
    let facts = call.host.system.host();
    for switch in found {
        if types.is_empty() || types.contains(&format!("{:?}", switch.kind)) {
            call.give(records::switch(&switch, &facts));
        }
    }
    Ok(())
}

/// Keeps what a switch is to be, and sees to its process; where that cannot be, all is as it was.
fn keep(call: &Call<'_>, lock: VmLock, before: &Switch, after: &Switch) -> Result<(), Failure> {
    let store = &call.host.store;
    if after != before {
        store.save_switch(&lock, after)?;
    }
    drop(lock);
    // Its host's side reads what it is to be when it starts, and ends when it is to be another, or none.
    let another = after.side() != before.side();
    if another && !after.has_router() {
        wait_for_end(call, after.id);
    }
    let started = host_side(call, after);
    if started.is_err() && another {
        let (lock, _) = store.lock_switch(after.id)?;
        store.save_switch(&lock, before)?;
        drop(lock);
        let _ = host_side(call, before);
    }
    started
}

/// Gives this host an adapter in an External switch, or takes it away.
pub fn manage(call: &mut Call<'_>, allow: bool) -> Result<(), Failure> {
    let Some(name) = call.arguments.text("SwitchName") else {
        return Err(Failure::invalid("In which virtual switch? Give -SwitchName."));
    };
    let switch = by_name(call, name)?;
    if switch.kind != SwitchType::External {
        return Err(Failure::refused(format!(
            "The virtual switch '{}' is {:?}: an Internal one has an adapter of this host, a Private one has none; see \
             Set-VMSwitch -SwitchType.",
            switch.name, switch.kind
        ))
        .about(&switch.name));
    }
    let action = if allow { "add this host's adapter to" } else { "remove this host's adapter from" };
    if !call.should(action, &switch.name) {
        return Ok(());
    }
    let (lock, before) = call.host.store.lock_switch(switch.id)?;
    let after = Switch { allow_management_os: allow, ..before.clone() };
    keep(call, lock, &before, &after)?;
    if allow {
        call.give(records::host_adapter(&after, None));
    }
    Ok(())
}

/// Changes each meant switch under its lock.
fn change(
    call: &mut Call<'_>,
    action: &str,
    body: fn(&mut Call<'_>, &mut Switch) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let found = switches(call)?;
    call.each(found, |call, switch| {
        if !call.should(action, &switch.name) {
            return Ok(());
        }
        let (lock, before) = call.host.store.lock_switch(switch.id)?;
        let mut after = before.clone();
        body(call, &mut after)?;
        if after.has_router() && (after.kind, &after.name) != (before.kind, &before.name) {
            return Err(Failure::refused(format!(
                "The virtual switch '{DEFAULT_NAME}' keeps its name and its type; make another with New-VMSwitch."
            )));
        }
        keep(call, lock, &before, &after)?;
        call.give(records::switch(&after, &call.host.system.host()));
        Ok(())
    });
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    change(call, "change the virtual switch", |call, switch| {
        let (by, allow) = (uplink(call, Some(switch.id))?, call.arguments.bool("AllowManagementOS"));
        match (&by, call.arguments.text("SwitchType")) {
            (Some(_), Some(_)) => {
                return Err(Failure::invalid(
                    "-NetAdapterName makes the switch External; give it or -SwitchType, not both.",
                ));
            }
            (Some(by), None) => switch.goes_out(by, allow),
            (None, Some(word)) => switch.stays_inside(kind(word)),
            (None, None) => (),
        }
        if let Some(allow) = allow {
            if switch.kind != SwitchType::External {
                return Err(Failure::invalid(format!(
                    "The virtual switch '{}' is {:?}; -AllowManagementOS is for External ones.",
                    switch.name, switch.kind
                )));
            }
            switch.allow_management_os = allow;
        }
        if let Some(notes) = call.arguments.text("Notes") {
            notes.clone_into(&mut switch.notes);
        }
        if call.arguments.has("HostLoopbackPort") {
            if !switch.has_router() {
                return Err(Failure::invalid(format!(
                    "The virtual switch '{}' has no router; only '{DEFAULT_NAME}' leads to this host's loopback.",
                    switch.name
                )));
            }
            let ports = call.arguments.items("HostLoopbackPort").iter();
            switch.host_loopback = ports.filter_map(|port| port.to_string().parse().ok()).collect();
            switch.host_loopback.retain(|port| *port > 0);
        }
        Ok(())
    })
}

fn rename(call: &mut Call<'_>) -> Result<(), Failure> {
    change(call, "rename the virtual switch", |call, switch| {
        let name = call.arguments.text("NewName").unwrap_or_default();
        rules::name::check(name).map_err(Failure::invalid)?;
        name.clone_into(&mut switch.name);
        Ok(())
    })
}

fn remove(call: &mut Call<'_>) -> Result<(), Failure> {
    let found = switches(call)?;
    call.each(found, |call, switch| {
        let question = format!("Are you sure you want to remove the virtual switch \"{}\"?", switch.name);
        if !call.should_ask("remove the virtual switch", &switch.name, &question) {
            return Ok(());
        }
        if switch.has_router() {
            return Err(Failure::refused(format!(
                "The virtual switch '{DEFAULT_NAME}' is always there and cannot be removed; take a virtual machine off it \
                 with Disconnect-VMNetworkAdapter."
            )));
        }
        let (lock, _) = call.host.store.lock_switch(switch.id)?;
        call.host.store.remove_switch(lock)?;
        Ok(())
    });
    Ok(())
}
