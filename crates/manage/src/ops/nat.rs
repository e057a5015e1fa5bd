//! New-, Get- and Remove-NetNat: this host translates the addresses of a network behind it.

use crate::operation::parameter::{object, text};
use crate::operation::{
    Call, Category, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest,
};
use crate::select;
use crate::store::atomic;
use crate::value::{Kind, Record, Value};
use ireko_net::nat::Prefix;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::PathBuf;

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "New-NetNat",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Post, route: "/host/nats" },
        doc: "Makes this host forward packets and translate the addresses of a network that is behind it.",
        parameters: &[NEW],
        prints: Prints::Always,
        result: Some(Kind::NetNat),
        impact: Impact::Change,
        run: new,
    },
    Operation {
        cmdlet: "Get-NetNat",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Get, route: "/host/nats" },
        doc: "Gives the networks whose addresses this host translates.",
        parameters: &[NAME],
        prints: Prints::Always,
        result: Some(Kind::NetNat),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Remove-NetNat",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Delete, route: "/host/nats" },
        doc: "Translates the addresses of a network no more; without a name, of all.",
        parameters: &[NAME, OBJECT],
        prints: Prints::Passthru,
        result: Some(Kind::NetNat),
        impact: Impact::Danger,
        run: remove,
    },
];

const NEW: &[Parameter] = &[
    text("Name", "The name.").required().at(0).positional(),
    text("InternalIPInterfaceAddressPrefix", "The network, like 192.168.100.0/24.").required(),
    text("ExternalIPInterfaceAddressPrefix", "Not here: the outgoing adapter's address is taken."),
];
const NAME: &[Parameter] =
    &[text("Name", "Names; wildcards count.").many().at(0).pipe(Pipeline::ByPropertyName).positional()];
const OBJECT: &[Parameter] = &[object("InputObject", Kind::NetNat, "What the pipeline gives.").many()];

/// What is kept, in `nat.json` of the home directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nat {
    name: String,
    prefix: String,
}

fn path(call: &Call<'_>) -> PathBuf {
    call.host.store.home().join("nat.json")
}

/// The kernel's table is this home's own (FNV-1a of its path).
fn table(call: &Call<'_>) -> String {
    let home = call.host.store.home().as_os_str().as_encoded_bytes();
    let hash =
        home.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("ireko-{hash:08x}")
}

fn all(call: &Call<'_>) -> Result<Vec<Nat>, Failure> {
    let path = path(call);
    let damaged = |why: String| Failure::failed(format!("{} cannot be read: {why}", path.display()));
    match atomic::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| damaged(error.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// Into the kernel first: what it refuses is not kept.
fn keep(call: &Call<'_>, nats: &[Nat]) -> Result<(), Failure> {
    let prefixes: Vec<Prefix> = nats.iter().filter_map(|nat| Prefix::parse(&nat.prefix)).collect();
    call.host.system.network().set_nat(&table(call), &prefixes).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(
            Category::PermissionDenied,
            "OperationFailed",
            "Access is denied: NAT takes the capability CAP_NET_ADMIN; run this as root.",
        ),
        ErrorKind::NotFound | ErrorKind::Unsupported => Failure::failed(format!(
            "The kernel does not translate addresses ({error}); load its modules nft_chain_nat and nft_masq."
        )),
        _ => Failure::failed(format!("The kernel does not take the NAT: {error}.")),
    })?;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("{} cannot be written: {error}", path(call).display()))
    };
    let text = serde_json::to_vec_pretty(nats).map_err(|error| failed(&error))?;
    atomic::write(&path(call), &text).map_err(|error| failed(&error))
}

fn record(call: &Call<'_>, nat: &Nat) -> Record {
    let active = call.host.system.network().nat_active(&table(call)).map_or(Value::Null, Value::Bool);
    Record::new(Kind::NetNat)
        .with("Name", nat.name.as_str())
        .with("ExternalIPInterfaceAddressPrefix", "")
        .with("InternalIPInterfaceAddressPrefix", nat.prefix.as_str())
        .with("IcmpQueryTimeout", 30)
        .with("TcpEstablishedConnectionTimeout", 1800)
        .with("TcpTransientConnectionTimeout", 120)
        .with("TcpFilteringBehavior", "AddressDependentFiltering")
        .with("UdpFilteringBehavior", "AddressDependentFiltering")
        .with("UdpIdleSessionTimeout", 120)
        .with("UdpInboundRefresh", false)
        .with("Store", "Local")
        .with("Active", active)
}

fn new(call: &mut Call<'_>) -> Result<(), Failure> {
    let arguments = call.arguments;
    let name = arguments.text("Name").unwrap_or_default().to_owned();
    crate::rules::name::check(&name).map_err(Failure::invalid)?;
    let text = arguments.text("InternalIPInterfaceAddressPrefix").unwrap_or_default();
    let prefix = Prefix::parse(text).ok_or_else(|| {
        Failure::invalid(format!(
            "The parameter is incorrect: '{text}' is no IPv4 network; write one like 192.168.100.0/24."
        ))
    })?;
    if arguments.has("ExternalIPInterfaceAddressPrefix") {
        return Err(Failure::later("-ExternalIPInterfaceAddressPrefix is not there yet; leave it out."));
    }
    let mut nats = all(call)?;
    if nats.iter().any(|nat| nat.name.eq_ignore_ascii_case(&name)) {
        return Err(Failure::invalid("Instance MSFT_NetNat already exists").about(name));
    }
    // Windows has one NAT a host; ours may have several, as long as it is clear whose an address is.
    let overlaps = |nat: &&Nat| Prefix::parse(&nat.prefix).is_some_and(|other| other.overlaps(prefix));
    if let Some(other) = nats.iter().find(overlaps) {
        return Err(Failure::invalid(format!(
            "The parameter is incorrect: {prefix} overlaps {} of the NAT '{}'; use another prefix, or Remove-NetNat \
             first.",
            other.prefix, other.name
        ))
        .about(name));
    }
    if !call.should("create the NAT", &name) {
        return Ok(());
    }
    let nat = Nat { name, prefix: prefix.to_string() };
    nats.push(nat.clone());
    keep(call, &nats)?;
    call.give(record(call, &nat));
    Ok(())
}

/// The names that are asked for; none means all.
fn wanted(call: &mut Call<'_>) -> Result<Vec<Nat>, Failure> {
    let mut names: Vec<String> = call.arguments.items("Name").iter().map(Value::to_string).collect();
    let objects = call.arguments.items("InputObject").iter();
    names.extend(objects.filter_map(|value| match value {
        Value::Record(record) => record.property("Name").map(ToString::to_string),
        _ => None,
    }));
    let mut nats = all(call)?;
    for name in &names {
        if !select::has_wildcard(name) && !nats.iter().any(|nat| select::wildcard(name, &nat.name)) {
            let text = format!("No MSFT_NetNat objects found with property 'Name' equal to '{name}'.");
            call.answer.errors.push(Failure::invalid(text).about(name));
        }
    }
    nats.retain(|nat| names.is_empty() || names.iter().any(|name| select::wildcard(name, &nat.name)));
    Ok(nats)
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    wanted(call)?.iter().for_each(|nat| call.give(record(call, nat)));
    Ok(())
}

fn remove(call: &mut Call<'_>) -> Result<(), Failure> {
    let found = wanted(call)?;
    call.each(found, |call, nat| {
        if call.should("remove the NAT", &nat.name) {
            let mut left = all(call)?;
            left.retain(|one| *one != nat);
            keep(call, &left)?;
            call.give(record(call, &nat));
        }
        Ok(())
    });
    Ok(())
}
