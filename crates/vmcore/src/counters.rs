//! What an engine counts of a vCPU, by the world that it was in: the processor's own, or a guest's.

/// One world's account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorldCounters {
    /// As [`crate::nesting::NestedWorld::id`] and its level.
    pub id: u64,
    pub level: u32,
    /// `host`, or the guest's name.
    pub name: String,
    /// Time in this world, `idle_seconds` of it asleep.
    pub seconds: f64,
    pub idle_seconds: f64,
    /// Entries into this world.
    pub entries: u64,
    /// Everything that the engine always counts, by its names.
    pub counts: Vec<(&'static str, u64)>,
    /// System instructions, most time first.
    pub system: Vec<NamedCount>,
    /// Exits by the manual's names, with the time until the next entry, most time first.
    pub exits: Vec<NamedCount>,
}

/// How often something happened, and how long it took in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedCount {
    pub name: String,
    pub times: u64,
    pub seconds: f64,
}
