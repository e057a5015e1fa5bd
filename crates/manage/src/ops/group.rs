//! New-, Get-, Rename- and Remove-VMGroup, Add- and Remove-VMGroupMember.

use crate::guid::Guid;
use crate::host::Host;
use crate::operation::parameter::{guid, object, one_of, switch, text};
use crate::operation::{
    Call, Category, Failure, Impact, Method, Operation, Parameter, Pipeline, Prints, Rest,
};
use crate::ops::records;
use crate::rules;
use crate::select;
use crate::store::{Group, GroupType, HostSettings};
use crate::value::{Kind, Record, Value};

const GROUP: Operation = Operation {
    cmdlet: "",
    aliases: &[],
    verbs: &[],
    rest: Rest { method: Method::Post, route: "" },
    doc: "",
    parameters: &[],
    prints: Prints::Passthru,
    result: Some(Kind::VMGroup),
    impact: Impact::Change,
    run: |_| Ok(()),
};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "New-VMGroup",
        rest: Rest { method: Method::Post, route: "/groups" },
        doc: "Makes a group of virtual machines, or of such groups.",
        parameters: &[NEW],
        prints: Prints::Always,
        run: new,
        ..GROUP
    },
    Operation {
        cmdlet: "Get-VMGroup",
        rest: Rest { method: Method::Get, route: "/groups" },
        doc: "Gives groups: all, or those of the given names.",
        parameters: &[GET],
        prints: Prints::Always,
        impact: Impact::None,
        run: get,
        ..GROUP
    },
    Operation {
        cmdlet: "Rename-VMGroup",
        rest: Rest { method: Method::Post, route: "/groups/{Name}/rename" },
        doc: "Gives groups another name.",
        parameters: &[WHICH, &[text("NewName", "The new name.").required().at(1)]],
        run: rename,
        ..GROUP
    },
    Operation {
        cmdlet: "Remove-VMGroup",
        rest: Rest { method: Method::Delete, route: "/groups/{Name}" },
        doc: "Removes groups. Their members stay.",
        parameters: &[WHICH, &[switch("Force", "Do not ask.")]],
        prints: Prints::Never,
        result: None,
        impact: Impact::Danger,
        run: remove,
        ..GROUP
    },
    Operation {
        cmdlet: "Add-VMGroupMember",
        rest: Rest { method: Method::Post, route: "/groups/{Name}/members" },
        doc: "Puts virtual machines, or groups, into a group.",
        parameters: &[WHICH, MEMBERS],
        run: |call| members(call, "put members into", true),
        ..GROUP
    },
    Operation {
        cmdlet: "Remove-VMGroupMember",
        rest: Rest { method: Method::Post, route: "/groups/{Name}/members/remove" },
        doc: "Takes virtual machines, or groups, out of a group.",
        parameters: &[WHICH, MEMBERS],
        run: |call| members(call, "take members out of", false),
        ..GROUP
    },
];

const NEW: &[Parameter] = &[
    text("Name", "The name; it need not be unique.").required().at(0).pipe(Pipeline::ByValue),
    one_of(
        "GroupType",
        &["VMCollectionType", "ManagementCollectionType"],
        "Of virtual machines, or of groups.",
    )
    .required()
    .at(1),
    guid("Id", "The id; without this one is made up."),
];

const GET: &[Parameter] = &[
    text("Name", "Names; wildcards count.").many().at(0).pipe(Pipeline::ByValue).set("Name"),
    guid("Id", "The id.").set("Id"),
];

const WHICH: &[Parameter] = &[
    text("Name", "Names; wildcards count.").many().required().at(0).pipe(Pipeline::ByValue).set("Name"),
    guid("Id", "The id.").required().set("Id"),
    object("VMGroup", Kind::VMGroup, "Groups.").many().required().at(0).set("VMGroup"),
];

const MEMBERS: &[Parameter] = &[
    object("VM", Kind::VirtualMachine, "Virtual machines.").many().at(1).pipe(Pipeline::No),
    object("VMGroupMember", Kind::VMGroup, "Groups.").many().at(1).pipe(Pipeline::No),
];

/// The groups that a virtual machine is in.
pub fn of_vm(groups: &[Group], vm: Guid) -> impl Iterator<Item = &Group> {
    let holds =
        move |group: &&Group| group.kind == GroupType::VMCollectionType && group.members.contains(&vm);
    groups.iter().filter(holds)
}

fn record(host: &Host, settings: &HostSettings, group: &Group) -> Record {
    let (facts, of_vms) = (host.system.host(), group.kind == GroupType::VMCollectionType);
    let (mut vms, mut groups) = (Vec::new(), Vec::new());
    for id in &group.members {
        if of_vms && let Ok(config) = host.store.load(*id) {
            vms.push(records::vm(&host.vm(config), &facts));
        } else if let Some(other) = settings.groups.iter().find(|other| !of_vms && other.id == *id) {
            groups.push(other.name.clone());
        }
    }
    Record::new(Kind::VMGroup)
        .with("Name", group.name.as_str())
        .with("InstanceId", group.id)
        .with("Id", group.id)
        .with("GroupType", format!("{:?}", group.kind))
        .with("VMMembers", Value::list(vms))
        .with("VMGroupMembers", Value::list(groups))
        .with("ComputerName", facts.name.as_str())
        .with("IsDeleted", false)
}

fn not_found(name: &str) -> Failure {
    Failure::invalid(format!("Hyper-V was unable to find a virtual machine group with name \"{name}\"."))
        .about(name)
        .absent()
}

/// The ids of those that the arguments mean; what means none is noted as an error of its own.
fn meant(call: &mut Call<'_>, settings: &HostSettings) -> Vec<Guid> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in call.arguments.items("Name").iter().map(Value::to_string) {
        let before = found.len();
        let fits = |group: &&Group| select::wildcard(&name, &group.name);
        found.extend(settings.groups.iter().filter(fits).map(|group| group.id));
        if found.len() == before && !select::has_wildcard(&name) {
            errors.push(not_found(&name));
        }
    }
    let by_object = call.arguments.items("VMGroup").iter().filter_map(id_of);
    let by_id =
        call.arguments.value("Id").and_then(|id| if let Value::Guid(id) = id { Some(*id) } else { None });
    for id in by_object.chain(by_id) {
        match settings.groups.iter().any(|group| group.id == id) {
            true => found.push(id),
            false => errors.push(not_found(&id.to_string())),
        }
    }
    found.dedup();
    call.answer.errors.extend(errors);
    found
}

fn id_of(value: &Value) -> Option<Guid> {
    let Value::Record(record) = value else { return None };
    record.guid("VMId").or_else(|| record.guid("InstanceId"))
}

fn new(call: &mut Call<'_>) -> Result<(), Failure> {
    let name = call.arguments.text("Name").unwrap_or_default().to_owned();
    rules::name::check(&name).map_err(Failure::invalid)?;
    let kind = match call.arguments.text("GroupType") {
        Some("ManagementCollectionType") => GroupType::ManagementCollectionType,
        _ => GroupType::VMCollectionType,
    };
    let id = match call.arguments.value("Id") {
        Some(Value::Guid(id)) => *id,
        _ => Guid::random().map_err(|error| Failure::failed(format!("No random id: {error}")))?,
    };
    if !call.should("create the group", &name) {
        return Ok(());
    }
    let group = Group { id, name, kind, members: Vec::new() };
    call.host.store.change_host_settings(|settings| {
        if settings.groups.iter().any(|other| other.id == id) {
            return Err(Failure::new(
                Category::InvalidArgument,
                "InvalidParameter",
                format!("A group has the id {id} already; give another, or none, and one is made up."),
            ));
        }
        settings.groups.push(group.clone());
        Ok(())
    })?;
    let record = record(call.host, &HostSettings::default(), &group);
    call.give(record);
    Ok(())
}

fn get(call: &mut Call<'_>) -> Result<(), Failure> {
    let settings = call.host.store.host_settings()?;
    let wanted = if call.arguments.has("Name") || call.arguments.has("Id") {
        meant(call, &settings)
    } else {
        settings.groups.iter().map(|group| group.id).collect()
    };
    give(call, &settings, &wanted);
    Ok(())
}

fn give(call: &mut Call<'_>, settings: &HostSettings, wanted: &[Guid]) {
    for group in settings.groups.iter().filter(|group| wanted.contains(&group.id)) {
        let record = record(call.host, settings, group);
        call.give(record);
    }
}

/// Changes each meant group that is to be changed.
fn change(
    call: &mut Call<'_>,
    action: &str,
    body: impl Fn(&mut HostSettings, Guid) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let settings = call.host.store.host_settings()?;
    let wanted = meant(call, &settings);
    let mut changed = Vec::new();
    let done = &mut changed;
    call.each(wanted, |call, id| {
        let name =
            settings.groups.iter().find(|group| group.id == id).map_or("", |group| group.name.as_str());
        if call.should(action, name) {
            call.host.store.change_host_settings(|settings| body(settings, id))?;
            done.push(id);
        }
        Ok(())
    });
    let settings = call.host.store.host_settings()?;
    give(call, &settings, &changed);
    Ok(())
}

fn rename(call: &mut Call<'_>) -> Result<(), Failure> {
    let name = call.arguments.text("NewName").unwrap_or_default().to_owned();
    rules::name::check(&name).map_err(Failure::invalid)?;
    change(call, "rename the group", |settings, id| {
        settings.groups.iter_mut().filter(|group| group.id == id).for_each(|group| group.name = name.clone());
        Ok(())
    })
}

fn remove(call: &mut Call<'_>) -> Result<(), Failure> {
    change(call, "remove the group", |settings, id| {
        settings.groups.retain(|group| group.id != id);
        settings.groups.iter_mut().for_each(|group| group.members.retain(|member| *member != id));
        Ok(())
    })
}

fn members(call: &mut Call<'_>, action: &str, add: bool) -> Result<(), Failure> {
    let vms: Vec<Guid> = call.arguments.items("VM").iter().filter_map(id_of).collect();
    let groups: Vec<Guid> = call.arguments.items("VMGroupMember").iter().filter_map(id_of).collect();
    let (given, kind) = match (vms.is_empty(), groups.is_empty()) {
        (false, true) => (vms, GroupType::VMCollectionType),
        (true, false) => (groups, GroupType::ManagementCollectionType),
        _ => {
            return Err(Failure::invalid(
                "Say which virtual machines, or which groups: their objects, as Get-VM and Get-VMGroup give them.",
            ));
        }
    };
    change(call, action, move |settings, id| {
        let Some(group) = settings.groups.iter_mut().find(|group| group.id == id) else { return Ok(()) };
        if group.kind != kind {
            let holds = if group.kind == GroupType::VMCollectionType { "virtual machines" } else { "groups" };
            return Err(
                Failure::refused(format!("The group '{}' is one of {holds}.", group.name)).about(&group.name)
            );
        }
        if given.contains(&id) {
            return Err(Failure::refused(format!("The group '{}' cannot hold itself.", group.name))
                .about(&group.name));
        }
        group.members.retain(|member| !given.contains(member));
        if add {
            group.members.extend(&given);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::ops::tests::World;
    use crate::value::{Record, Value};

    fn vm(world: &World, name: &str) -> Value {
        world.ok("Get-VM", &[("Name", name.into())]).records.remove(0).into()
    }

    fn group(world: &World, name: &str) -> Record {
        world.ok("Get-VMGroup", &[("Name", name.into())]).records.remove(0)
    }

    fn with_group(vms: &[&str]) -> World {
        let world = World::with(vms);
        world.ok("New-VMGroup", &[("Name", "lab".into()), ("GroupType", "VMCollectionType".into())]);
        world
    }

    #[test]
    fn members_come_and_go_and_a_machine_tells_its_groups() {
        let world = with_group(&["vm"]);
        world.ok("Add-VMGroupMember", &[("Name", "lab".into()), ("VM", vm(&world, "vm"))]);
        assert_eq!(group(&world, "lab").property("VMMembers").unwrap().items().len(), 1);
        assert_eq!(world.property("Get-VM", "Groups"), "{lab}");
        world.ok("Remove-VMGroupMember", &[("Name", "lab".into()), ("VM", vm(&world, "vm"))]);
        assert!(group(&world, "lab").property("VMMembers").unwrap().items().is_empty());
    }

    #[test]
    fn a_group_of_machines_holds_no_groups() {
        let world = with_group(&[]);
        let own: Value = group(&world, "lab").into();
        let said = world.error("Add-VMGroupMember", &[("Name", "lab".into()), ("VMGroupMember", own)]);
        assert_eq!(said, "The group 'lab' is one of virtual machines.");
    }

    #[test]
    fn a_machine_that_is_gone_is_no_member() {
        let world = with_group(&["vm"]);
        world.ok("Add-VMGroupMember", &[("Name", "lab".into()), ("VM", vm(&world, "vm"))]);
        world.ok("Remove-VM", &[("Name", "vm".into()), ("Force", true.into())]);
        assert!(group(&world, "lab").property("VMMembers").unwrap().items().is_empty());
    }

    #[test]
    fn a_group_is_renamed_and_removed() {
        let world = with_group(&[]);
        world.ok("Rename-VMGroup", &[("Name", "lab".into()), ("NewName", "test".into())]);
        assert!(world.error("Get-VMGroup", &[("Name", "lab".into())]).contains("\"lab\""));
        world.ok("Remove-VMGroup", &[("Name", "test".into()), ("Force", true.into())]);
        assert!(world.ok("Get-VMGroup", &[]).records.is_empty());
    }
}
