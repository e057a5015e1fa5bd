use super::*;
use crate::guid::Guid;

const FORCED: Options = Options { static_memory: false, spoofing: None, memory: None, forced: true };

fn ready() -> Config {
    let mut config = Config::new(Guid::NIL, "vm", 0);
    config.processor.expose_virtualization_extensions = true;
    config.adapters[0].mac_address_spoofing = true;
    config.memory.startup = ADVISED_MEMORY;
    config
}

#[test]
fn the_order_is_off_then_processor_then_memory_then_network() {
    let mut config = Config::new(Guid::NIL, "vm", 0);
    config.memory.dynamic = true;
    let options = Options { static_memory: true, spoofing: Some(true), memory: Some(6 << 30), forced: false };
    let plan = Plan::new(&config, State::Running, &options);
    let order =
        [Step::Stop(State::Running), Step::Expose, Step::StaticMemory, Step::Memory(6 << 30), Step::Spoofing];
    assert_eq!((plan.steps.as_slice(), plan.optional.as_slice()), (&order[..], &[][..]));
}

#[test]
fn memory_and_spoofing_are_offered_and_not_imposed() {
    let plan = Plan::new(&Config::new(Guid::NIL, "vm", 0), State::Off, &Options::default());
    assert_eq!(plan.steps, [Step::Expose]);
    assert_eq!(plan.optional, [Step::Memory(ADVISED_MEMORY), Step::Spoofing]);
}

#[test]
fn force_does_the_spoofing_and_leaves_the_memory() {
    let plan = Plan::new(&Config::new(Guid::NIL, "vm", 0), State::Off, &FORCED);
    assert_eq!((plan.steps, plan.optional), (vec![Step::Expose, Step::Spoofing], vec![]));
}

#[test]
fn dynamic_memory_stays_unless_that_is_wanted() {
    let mut config = ready();
    config.memory.dynamic = true;
    assert_eq!(Plan::new(&config, State::Running, &FORCED), Plan::default());
}

#[test]
fn what_is_ready_needs_nothing() {
    let options = Options { static_memory: true, ..Options::default() };
    assert_eq!(Plan::new(&ready(), State::Running, &options), Plan::default());
}

#[test]
fn spoofing_alone_stops_nothing() {
    let mut config = ready();
    config.adapters[0].mac_address_spoofing = false;
    assert_eq!(Plan::new(&config, State::Running, &FORCED).steps, [Step::Spoofing]);
}

#[test]
fn the_plan_is_told_in_the_scripts_words() {
    let plan = Plan::new(&Config::new(Guid::NIL, "vm", 0), State::Running, &Options::default());
    let lines = [
        "  Vm State: Running",
        "  vm will be turned off",
        "  Virtualization extensions will be enabled",
        "  Optionally set vm memory to 4GB",
        "  Optionally enable mac address spoofing",
    ];
    assert_eq!(plan.lines("vm"), lines);
}
