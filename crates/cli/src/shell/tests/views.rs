//! What is shown when nobody says how.

use super::World;

#[test]
fn default_tables_have_the_columns_of_hyper_v() {
    let world = World::new(&["lab"]);
    for (script, titles) in [
        ("Get-VM", "Name State CPUUsage(%) MemoryAssigned(M) Uptime Status Version"),
        (
            "Get-VMProcessor lab",
            "VMName Count CompatibilityForMigrationEnabled CompatibilityForOlderOperatingSystemsEnabled",
        ),
        ("Get-VMMemory lab", "VMName DynamicMemoryEnabled Minimum(M) Startup(M) Maximum(M)"),
        ("Get-VMNetworkAdapter lab", "Name IsManagementOs VMName SwitchName MacAddress Status IPAddresses"),
        ("Get-VMHost", "Name LogicalProcessorCount MemoryCapacity(M) VirtualMachineMigrationEnabled"),
        ("Get-VMHostSupportedVersion", "Name Version IsDefault"),
    ] {
        let out = world.ok(script);
        let line = out.lines().nth(1).unwrap_or_default();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), titles, "{script}");
    }
}

#[test]
fn a_row_says_what_is() {
    let out = World::new(&["lab"]).ok("Get-VM");
    let row: Vec<&str> = out.lines().nth(3).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..7], ["lab", "Off", "0", "0", "00:00:00", "Operating", "normally"]);
}

#[test]
fn all_properties_are_a_list() {
    let world = World::new(&["lab"]);
    let out = world.ok("Get-VMProcessor lab | Select *");
    assert!(out.contains("\nExposeVirtualizationExtensions               : False\n"), "{out}");
    assert!(out.contains("\nResourcePoolName                             : Primordial\n"), "{out}");
    assert_eq!(world.ok("Get-VMProcessor lab | fl"), out);
}

#[test]
fn names_cannot_move_the_cursor() {
    let world = World::new(&["a"]);
    let said = world.run("Write-Error \"`e[31mred\"; Get-VM \"`e[2J\"; \"`e[1m\"");
    assert!(!said.err.contains('\u{1b}') && !said.out.contains('\u{1b}'), "{said:?}");
}
