//! The published command lines, as typed.

use super::World;
use ireko_script::parse;

const ALL: [(&str, &str); 5] = [
    ("enable-nesting", include_str!("../../../tests/scripts/enable-nesting.ps1")),
    ("disable-nesting", include_str!("../../../tests/scripts/disable-nesting.ps1")),
    ("memory-rules", include_str!("../../../tests/scripts/memory-rules.ps1")),
    ("nat-in-the-middle-vm", include_str!("../../../tests/scripts/nat-in-the-middle-vm.ps1")),
    ("address-in-the-nested-vm", include_str!("../../../tests/scripts/address-in-the-nested-vm.ps1")),
];

fn script(name: &str) -> &'static str {
    ALL.iter().find(|(own, _)| *own == name).map_or("", |(_, text)| text)
}

#[test]
fn all_are_understood() {
    for (name, text) in ALL {
        assert!(parse::script(text, "").is_ok(), "{name}: {:?}", parse::script(text, "").err());
    }
}

#[test]
fn line_ends_may_be_windows_own() {
    let world = World::new(&["TestVM"]);
    let windows = "\u{feff}".to_owned() + &script("enable-nesting").replace('\n', "\r\n");
    world.ok(&windows);
    assert_eq!(world.ok("Write-Output a `\r\n  b |\r\n  Select-Object -First 1\r\n"), "a\n");
}

#[test]
fn nesting_is_enabled_and_disabled() {
    let world = World::new(&["TestVM"]);
    let out = world.ok(script("enable-nesting"));
    assert!(out.contains("\nExposeVirtualizationExtensions               : True\n"), "{out}");
    assert_eq!(world.ok("(Get-VMNetworkAdapter TestVM).MacAddressSpoofing"), "On\n");
    // It is Off already, since no worker runs here; that is a warning.
    let said = world.run(script("disable-nesting"));
    assert_eq!(
        (said.err.as_str(), said.code),
        ("WARNING: The virtual machine is already in the specified state.\n", 0)
    );
    assert_eq!(world.ok("(Get-VMProcessor TestVM).ExposeVirtualizationExtensions"), "False\n");
}

#[test]
fn memory_is_set() {
    let world = World::new(&["TestVM"]);
    world.ok(script("memory-rules"));
    assert_eq!(
        world.ok("(Get-VMMemory TestVM).Startup; (Get-VM TestVM).MemoryStartup -eq 4GB"),
        "4294967296\nTrue\n"
    );
}

#[test]
fn netsh_is_understood_and_names_the_adapter_that_is_missing() {
    let world = World::new(&[]);
    let line = script("address-in-the-nested-vm").lines().nth(1).unwrap_or_default();
    let error = world.error(line);
    assert!(error.contains("property 'Name' equal to 'Ethernet'"), "{error}");
    assert!(world.error("netsh wlan show").contains("[name=]NAME [address=]ADDRESS"));
}
