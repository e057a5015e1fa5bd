//! Ports of the host that lead to a virtual machine: `-Publish` of New-VM and Set-VM, and Add-, Get- and
//! Remove-NetNatStaticMapping.

use super::switch;
use crate::operation::parameter::{int, one_of, text};
use crate::operation::{Call, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest};
use crate::store::switch::{DEFAULT, DEFAULT_NAME, Mapping, Published};
use crate::store::{Config, Switch};
use crate::value::{Kind, Record, Value};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Add-NetNatStaticMapping",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Post, route: "/host/nat-mappings" },
        doc: "Makes a port of this host lead to an address of a virtual machine on a switch with a router.",
        parameters: &[ADD],
        prints: Prints::Always,
        result: Some(Kind::NetNatStaticMapping),
        impact: Impact::Change,
        run: add,
    },
    Operation {
        cmdlet: "Get-NetNatStaticMapping",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Get, route: "/host/nat-mappings" },
        doc: "Gives the ports of this host that lead to addresses of virtual machines.",
        parameters: &[WHICH],
        prints: Prints::Always,
        result: Some(Kind::NetNatStaticMapping),
        impact: Impact::None,
        run: get,
    },
    Operation {
        cmdlet: "Remove-NetNatStaticMapping",
        aliases: &[],
        verbs: &[],
        rest: Rest { method: Method::Delete, route: "/host/nat-mappings" },
        doc: "Makes ports of this host lead to virtual machines no more; without a name or an id, all of them.",
        parameters: &[WHICH],
        prints: Prints::Passthru,
        result: Some(Kind::NetNatStaticMapping),
        impact: Impact::Danger,
        run: remove,
    },
];

pub const PUBLISH: Parameter = text(
    "Publish",
    "A port of this host that leads to one of its: [ADDRESS:]HOSTPORT:GUESTPORT[/udp], of 127.0.0.1 if no address is said; again for more. Empty: none any more (Ireko's own).",
)
.many()
.flag("publish");

const ADD: &[Parameter] = &[
    text("NatName", "Whose: 'Default Switch' is the NAT of that switch.").required().at(0),
    one_of("Protocol", &["TCP", "UDP"], "Streams or datagrams.").required(),
    text("ExternalIPAddress", "The address of this host; 0.0.0.0 is all.").required(),
    int("ExternalPort", 1, 65535, "The port of this host.").required(),
    text("InternalIPAddress", "The virtual machine's address.").required(),
    int("InternalPort", 1, 65535, "Its port; without this it is the same."),
    text("RemoteExternalIPAddressPrefix", "Only 0.0.0.0/0: whoever comes."),
];
const WHICH: &[Parameter] = &[
    text("NatName", "Names of NATs; wildcards count.").many().at(0).pipe(Pipeline::ByPropertyName),
    int("StaticMappingID", 0, i64::MAX, "The mapping's number.").many().pipe(Pipeline::ByPropertyName),
];

/// `[ADDRESS:]HOSTPORT:GUESTPORT[/udp]`; an IPv6 address is in brackets.
pub fn parse(text: &str) -> Result<Published, String> {
    let wrong = || {
        format!(
            "'{text}' publishes nothing; write HOSTPORT:GUESTPORT like 2222:22, 0.0.0.0:8080:80 or [::1]:5353:53/udp."
        )
    };
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let udp = match protocol {
        "tcp" => false,
        "udp" => true,
        _ => return Err(wrong()),
    };
    let (rest, guest) = ports.rsplit_once(':').ok_or_else(wrong)?;
    let (address, host) = rest.rsplit_once(':').map_or((None, rest), |(address, host)| (Some(address), host));
    let address = match address {
        None => Ipv4Addr::LOCALHOST.into(),
        Some(six) if six.starts_with('[') => {
            let six = six.strip_prefix('[').and_then(|six| six.strip_suffix(']')).ok_or_else(wrong)?;
            IpAddr::V6(six.parse().map_err(|_| wrong())?)
        }
        Some(four) => IpAddr::V4(four.parse().map_err(|_| wrong())?),
    };
    let port = |word: &str| word.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
    Ok(Published { udp, address, host_port: port(host)?, guest_port: port(guest)? })
}

/// As it is written.
pub fn shown(one: &Published) -> String {
    let at = SocketAddr::new(one.address, one.host_port);
    format!("{at}:{}{}", one.guest_port, if one.udp { "/udp" } else { "" })
}

/// What New-VM and Set-VM were given.
pub fn apply(call: &Call<'_>, config: &mut Config) -> Result<(), Failure> {
    if !call.arguments.has("Publish") {
        return Ok(());
    }
    let texts = call.arguments.items("Publish").iter().map(ToString::to_string);
    let wanted: Vec<Published> = texts
        .filter(|text| !text.is_empty())
        .map(|text| parse(&text))
        .collect::<Result<_, _>>()
        .map_err(Failure::invalid)?;
    let before: Vec<Published> = config.adapters.iter().flat_map(|a| a.published.clone()).collect();
    config.adapters.iter_mut().for_each(|adapter| adapter.published.clear());
    if wanted.is_empty() {
        return Ok(());
    }
    let name = config.name.clone();
    let Some(adapter) = config.adapters.iter_mut().find(|adapter| adapter.switch == Some(DEFAULT)) else {
        return Err(Failure::invalid(format!(
            "'{name}' has no adapter on a switch with a router, so no port can lead to it; plug it into \
             '{DEFAULT_NAME}' with Connect-VMNetworkAdapter first."
        ))
        .about(name));
    };
    for (number, one) in wanted.iter().enumerate() {
        let twice = wanted[..number].iter().any(|other| {
            (other.udp, other.address, other.host_port) == (one.udp, one.address, one.host_port)
        });
        if twice {
            return Err(Failure::invalid(format!("'{}' is published twice; leave one out.", shown(one))));
        }
        if !before.contains(one) {
            unclaimed(call, one.udp, one.address, one.host_port, Some(config.id))?;
            // Its own router may listen there now.
            if !before.iter().any(|own| (own.udp, own.host_port) == (one.udp, one.host_port)) {
                free(one.udp, one.address, one.host_port)?;
            }
        }
    }
    adapter.published = wanted;
    Ok(())
}

/// A port of this host, in words.
fn port_named(udp: bool, at: SocketAddr) -> String {
    format!("Port {} {at} of this host", if udp { "UDP" } else { "TCP" })
}

fn taken(udp: bool, at: SocketAddr, who: &str) -> Failure {
    Failure::invalid(format!("{} is taken by {who}; choose another.", port_named(udp, at)))
        .about(at.to_string())
}

/// Whether no other machine and no static mapping has the port.
fn unclaimed(
    call: &Call<'_>,
    udp: bool,
    address: IpAddr,
    port: u16,
    own: Option<crate::guid::Guid>,
) -> Result<(), Failure> {
    let at = SocketAddr::new(address, port);
    let mut configs = call.host.configs()?;
    configs.retain(|config| Some(config.id) != own);
    if let Some(name) = call.host.store.publishers(&configs, udp, address, port).first() {
        return Err(taken(udp, at, &format!("the virtual machine '{name}'")));
    }
    let switch = call.host.store.switch(DEFAULT)?;
    let both = |one: &Mapping| {
        one.external_address == address || one.external_address.is_unspecified() || address.is_unspecified()
    };
    if let Some(one) =
        switch.mappings.iter().find(|one| one.udp == udp && one.external_port == port && both(one))
    {
        return Err(taken(udp, at, &format!("the static mapping {}", one.id)));
    }
    Ok(())
}

/// Whether no program of this host has the port.
fn free(udp: bool, address: IpAddr, port: u16) -> Result<(), Failure> {
    let at = SocketAddr::new(address, port);
    let named = port_named(udp, at);
    let tried = if udp { UdpSocket::bind(at).map(drop) } else { TcpListener::bind(at).map(drop) };
    match tried {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(taken(udp, at, "another program")),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Err(Failure::invalid(format!(
            "This host has no address {address}; see Get-NetIPAddress for those that it has."
        ))),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(Failure::invalid(format!("{named} is for root alone; choose one from 1024 on.")))
        }
        Err(error) => Err(Failure::failed(format!("{named} cannot be had: {error}."))),
    }
}

fn address(call: &Call<'_>, name: &str) -> Result<IpAddr, Failure> {
    let text = call.arguments.text(name).unwrap_or_default();
    // As the documentation writes "any": with a prefix of no length.
    let text = text.strip_suffix("/0").unwrap_or(text);
    text.parse()
        .map_err(|_| Failure::invalid(format!("'{text}' is no IP address; write one like 172.20.16.5.")))
}

fn add(call: &mut Call<'_>) -> Result<(), Failure> {
    let arguments = call.arguments;
    let nat = arguments.text("NatName").unwrap_or_default();
    if !nat.eq_ignore_ascii_case(DEFAULT_NAME) {
        return Err(Failure::invalid(format!(
            "No NAT '{nat}' has static mappings here; name '{DEFAULT_NAME}', whose router forwards ports."
        ))
        .about(nat));
    }
    if arguments.text("RemoteExternalIPAddressPrefix").is_some_and(|prefix| prefix != "0.0.0.0/0") {
        return Err(Failure::later("Whoever comes is let in (0.0.0.0/0); other prefixes are not there yet."));
    }
    let (external, internal) = (address(call, "ExternalIPAddress")?, address(call, "InternalIPAddress")?);
    let udp = arguments.text("Protocol").is_some_and(|word| word.eq_ignore_ascii_case("UDP"));
    let external_port = arguments.int("ExternalPort").unwrap_or(0) as u16;
    let internal_port = arguments.int("InternalPort").map_or(external_port, |port| port as u16);
    let switch = switch::router(call, DEFAULT)?;
    if let Some(network) = switch.network
        && (!network.overlaps(internal) || internal == IpAddr::V4(network.router))
    {
        return Err(Failure::invalid(format!(
            "The address {internal} is not one of '{DEFAULT_NAME}', which has {}/{}; see Get-VMNetworkAdapter for those \
             of its virtual machines.",
            network.router, network.length
        ))
        .about(internal.to_string()));
    }
    if !call.should("add a static mapping to", nat) {
        return Ok(());
    }
    unclaimed(call, udp, external, external_port, None)?;
    free(udp, external, external_port)?;
    let (lock, mut switch) = call.host.store.lock_switch(DEFAULT)?;
    let id = switch.mappings.iter().map(|one| one.id + 1).max().unwrap_or(0);
    let mapping = Mapping {
        id,
        udp,
        external_address: external,
        external_port,
        internal_address: internal,
        internal_port,
    };
    switch.mappings.push(mapping);
    call.host.store.save_switch(&lock, &switch)?;
    call.give(record(&mapping));
    Ok(())
}

fn record(one: &Mapping) -> Record {
    Record::new(Kind::NetNatStaticMapping)
        .with("StaticMappingID", one.id)
        .with("NatName", DEFAULT_NAME)
        .with("Protocol", if one.udp { "UDP" } else { "TCP" })
        .with("RemoteExternalIPAddressPrefix", "0.0.0.0/0")
        .with("ExternalIPAddress", one.external_address.to_string())
        .with("ExternalPort", u32::from(one.external_port))
        .with("InternalIPAddress", one.internal_address.to_string())
        .with("InternalPort", u32::from(one.internal_port))
        .with("Active", true)
}

/// The mappings that the arguments mean.
fn wanted(call: &mut Call<'_>) -> Result<(Switch, Vec<Mapping>), Failure> {
    let switch = call.host.store.switch(DEFAULT)?;
    let names: Vec<String> = call.arguments.items("NatName").iter().map(ToString::to_string).collect();
    let ids: Vec<u32> = call
        .arguments
        .items("StaticMappingID")
        .iter()
        .filter_map(|value| match value {
            Value::Int(id) => u32::try_from(*id).ok(),
            other => other.to_string().parse().ok(),
        })
        .collect();
    let named = names.is_empty() || names.iter().any(|name| crate::select::wildcard(name, DEFAULT_NAME));
    let found: Vec<Mapping> = (switch.mappings.iter().copied())
        .filter(|one| named && (ids.is_empty() || ids.contains(&one.id)))
        .collect();
    for id in ids.iter().filter(|id| !switch.mappings.iter().any(|one| one.id == **id)) {
        let text = format!(
            "No MSFT_NetNatStaticMapping objects found with property 'StaticMappingID' equal to '{id}'."
        );
        call.answer.errors.push(Failure::invalid(text).about(id.to_string()));
    }
    Ok((switch, found))
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    wanted(call)?.1.iter().for_each(|one| call.give(record(one)));
    Ok(())
}

fn remove(call: &mut Call<'_>) -> Result<(), Failure> {
    let (_, found) = wanted(call)?;
    call.each(found, |call, one| {
        if call.should("remove the static mapping", &one.id.to_string()) {
            let (lock, mut switch) = call.host.store.lock_switch(DEFAULT)?;
            switch.mappings.retain(|other| other.id != one.id);
            call.host.store.save_switch(&lock, &switch)?;
            call.give(record(&one));
        }
        Ok(())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_reads_as_it_is_shown() {
        for (text, shows) in [
            ("2222:22", "127.0.0.1:2222:22"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80"),
            ("[::1]:5353:53/udp", "[::1]:5353:53/udp"),
            ("53:53/tcp", "127.0.0.1:53:53"),
        ] {
            assert_eq!(parse(text).map(|one| shown(&one)), Ok(shows.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_publishes_nothing_says_how_it_is_written() {
        for text in
            ["22", "x:22", "0:22", "22:0", "1:2:3", "70000:22", "::1:80:80", "[::1:80:80", "80:80/sctp", ":"]
        {
            assert!(parse(text).unwrap_err().contains("HOSTPORT:GUESTPORT"), "{text}");
        }
    }
}
