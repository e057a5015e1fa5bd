//! Where drives can be, and in which order firmware tries what it can load from.

use crate::store::config::{BootEntry, Config, ControllerType, DriveAddress, Startup};

/// What somebody says of a place; what is left open may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub controller: Option<ControllerType>,
    pub number: Option<u32>,
    pub location: Option<u32>,
}

impl From<DriveAddress> for Wanted {
    fn from(place: DriveAddress) -> Self {
        Self {
            controller: Some(place.controller),
            number: Some(place.number),
            location: Some(place.location),
        }
    }
}

impl Wanted {
    pub fn fits(&self, place: &DriveAddress) -> bool {
        self.controller.is_none_or(|kind| kind == place.controller)
            && self.number.is_none_or(|number| number == place.number)
            && self.location.is_none_or(|location| location == place.location)
    }
}

/// How many controllers of a type a generation has, and places at each.
const fn extent(controller: ControllerType, generation: u8) -> (u32, u32) {
    match (controller, generation) {
        (ControllerType::Ide, 1) => (2, 2),
        (ControllerType::Ide, _) => (0, 0),
        (ControllerType::Scsi, _) => (1, 64),
        (ControllerType::Sata, _) => (1, 6),
        // A controller for each disk.
        (ControllerType::Nvme, _) => (8, 1),
    }
}

/// All places at controllers of a type, in order.
fn all(controller: ControllerType, generation: u8) -> impl Iterator<Item = DriveAddress> {
    let (numbers, locations) = extent(controller, generation);
    (0..numbers).flat_map(move |number| {
        (0..locations).map(move |location| DriveAddress { controller, number, location })
    })
}

/// Whether such a place can be. Without a controller's type nothing is known of it.
pub fn check(wanted: &Wanted, generation: u8) -> Result<(), String> {
    let Some(controller) = wanted.controller else { return Ok(()) };
    let (name, (numbers, locations)) = (controller.name(), extent(controller, generation));
    if numbers == 0 {
        return Err(format!(
            "A virtual machine of generation {generation} has no {name} controllers; use -ControllerType SCSI."
        ));
    }
    if let Some(number) = wanted.number.filter(|number| *number >= numbers) {
        let most = numbers - 1;
        return Err(format!("There is no {name} controller {number}; use -ControllerNumber {}.", upto(most)));
    }
    match wanted.location.filter(|location| *location >= locations) {
        Some(location) => Err(format!(
            "An {name} controller has no location {location}; use -ControllerLocation {}.",
            upto(locations - 1)
        )),
        None => Ok(()),
    }
}

fn upto(most: u32) -> String {
    if most == 0 { "0".into() } else { format!("0 to {most}") }
}

/// A place where nothing is yet, at the first type of controller that has one; if somebody says a type, at that.
pub fn free(config: &Config, wanted: &Wanted, types: &[ControllerType]) -> Result<DriveAddress, String> {
    let named = wanted.controller.map(|kind| [kind]);
    let types = named.as_ref().map_or(types, |one| &one[..]);
    for &controller in types {
        check(&Wanted { controller: Some(controller), ..*wanted }, config.generation)?;
    }
    let taken = |place: &DriveAddress| config.places().any(|other| other == *place);
    let mut fitting = types.iter().flat_map(|kind| all(*kind, config.generation)).filter(|p| wanted.fits(p));
    fitting.find(|place| !taken(place)).ok_or_else(|| {
        let (name, kind) = (&config.name, types.first().map_or("", |kind| kind.name()));
        match wanted.location {
            Some(location) => format!(
                "'{name}' has a drive at {kind} location {location} already; take another -ControllerLocation."
            ),
            None => format!("'{name}' has no free {kind} location; take another -ControllerType."),
        }
    })
}

/// Types of controllers for a disk of which nobody says where it is to be: virtio, whatever the generation.
pub const FOR_DISKS: &[ControllerType] = &[ControllerType::Scsi];

/// The same of a DVD drive. Every installer knows these.
pub const fn for_dvds(generation: u8) -> &'static [ControllerType] {
    match generation {
        1 => &[ControllerType::Ide, ControllerType::Sata],
        _ => &[ControllerType::Sata],
    }
}

/// Everything that firmware can load from, in the order in which it tries.
pub fn boot_order(config: &Config) -> Vec<BootEntry> {
    let named: Vec<BootEntry> = match config.generation {
        1 => startup_order(config).into_iter().flat_map(|kind| of_kind(config, kind)).collect(),
        _ => config.boot.order.clone(),
    };
    let all: Vec<BootEntry> = Startup::BY_NATURE.into_iter().flat_map(|kind| of_kind(config, kind)).collect();
    let there = named.iter().filter(|entry| all.contains(entry));
    let rest = all.iter().filter(|entry| !named.contains(entry));
    there.chain(rest).copied().collect()
}

/// Of generation 1, with kinds that nobody named behind the others.
pub fn startup_order(config: &Config) -> Vec<Startup> {
    let mut order = config.boot.startup.clone();
    order.extend(Startup::ORDER.into_iter().filter(|kind| !config.boot.startup.contains(kind)));
    order
}

impl Startup {
    /// The order of what nobody has put into one.
    const BY_NATURE: [Self; 3] = [Self::IDE, Self::CD, Self::LegacyNetworkAdapter];
}

/// The entries of a kind.
pub fn of_kind(config: &Config, kind: Startup) -> Vec<BootEntry> {
    match kind {
        Startup::CD => config.dvds.iter().map(|dvd| BootEntry::Drive(dvd.place)).collect(),
        Startup::IDE => config.disks.iter().map(|disk| BootEntry::Drive(disk.place)).collect(),
        Startup::LegacyNetworkAdapter => {
            config.adapters.iter().map(|adapter| BootEntry::Network(adapter.id)).collect()
        }
        Startup::Floppy => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid::Guid;
    use crate::store::Disk;
    use crate::store::config::Dvd;

    fn place(controller: ControllerType, number: u32, location: u32) -> DriveAddress {
        DriveAddress { controller, number, location }
    }

    fn config(generation: u8) -> Config {
        let mut config = Config::new(Guid::NIL, "vm", 0);
        config.generation = generation;
        config.disks.push(Disk::new(DriveAddress::scsi(0), "/a", false));
        config.dvds.push(Dvd { place: place(ControllerType::Sata, 0, 0), path: None });
        config
    }

    fn entries(config: &Config) -> [BootEntry; 3] {
        let drive = BootEntry::Drive;
        [drive(config.disks[0].place), drive(config.dvds[0].place), BootEntry::Network(config.adapters[0].id)]
    }

    #[test]
    fn a_bios_tries_kinds_of_devices_and_a_cd_first() {
        let mut config = config(1);
        let [disk, dvd, network] = entries(&config);
        assert_eq!(boot_order(&config), [dvd, disk, network]);
        config.boot.startup = vec![Startup::LegacyNetworkAdapter, Startup::IDE];
        assert_eq!(boot_order(&config), [network, disk, dvd]);
    }

    #[test]
    fn uefi_tries_what_is_named_and_then_the_rest() {
        let mut config = config(2);
        let [disk, dvd, network] = entries(&config);
        assert_eq!(boot_order(&config), [disk, dvd, network]);
        config.boot.order = vec![network, BootEntry::Drive(DriveAddress::scsi(7))];
        assert_eq!(boot_order(&config), [network, disk, dvd]);
    }

    #[test]
    fn a_drive_goes_to_the_first_free_place_of_its_types() {
        let mut config = config(1);
        let dvd = |config: &Config| free(config, &Wanted::default(), for_dvds(1)).unwrap();
        assert_eq!(dvd(&config), place(ControllerType::Ide, 0, 0));
        for place in all(ControllerType::Ide, 1) {
            config.dvds.push(Dvd { place, path: None });
        }
        assert_eq!(dvd(&config), place(ControllerType::Sata, 0, 1));
    }

    #[test]
    fn places_that_cannot_be_are_refused_with_those_that_can() {
        let refused = |controller, number, location, generation| {
            let wanted = Wanted { controller: Some(controller), number, location };
            free(&config(generation), &wanted, FOR_DISKS).unwrap_err()
        };
        assert!(refused(ControllerType::Ide, Some(2), None, 1).contains("0 to 1"));
        assert!(refused(ControllerType::Sata, None, Some(9), 1).contains("0 to 5"));
        assert!(refused(ControllerType::Ide, None, None, 2).contains("no IDE controllers"));
        assert!(refused(ControllerType::Scsi, None, Some(0), 1).contains("already"));
    }
}
