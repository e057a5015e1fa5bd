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

/// In our words what a script does that prepares a VM for nesting: asks for rights, looks, asks, and sets.
const PREPARE: &str = r#"param([string]$machine)
if ([string]::IsNullOrEmpty($machine)) { Write-Host "no machine"; Exit }
$enough = 4294967296
$me = [System.Security.Principal.WindowsIdentity]::GetCurrent();
$principal = New-Object System.Security.Principal.WindowsPrincipal($me);
if (-not $principal.IsInRole([System.Security.Principal.WindowsBuiltInRole]::Administrator)) { Exit 5 }
$Host.UI.RawUI.WindowTitle = $myInvocation.MyCommand.Definition + "(Elevated)";
Clear-Host
$vm = Get-VM -Name $machine
$facts = New-Object PSObject
Add-Member -InputObject $facts NoteProperty -Name "Exposed" -Value $false
Add-Member -InputObject $facts NoteProperty -Name "State" -Value $vm.State
Add-Member -InputObject $facts NoteProperty -Name "Spoofing" -Value ((Get-VmNetworkAdapter -VmName $machine).MacAddressSpoofing)
Add-Member -InputObject $facts NoteProperty -Name "Memory" -Value (Get-VMMemory -VmName $machine).Startup
$facts.Exposed = (Get-VMProcessor -VM $vm).ExposeVirtualizationExtensions
if ($facts.State -eq 'Saved') { Write-Host "\tsaved" }
if ($facts.State -ne 'Off' -or $facts.State -eq 'Saved') { Write-Host "Vm State:" $facts.State }
Write-Host "Y or N:" -NoNewline
$answer = Read-Host
while (-not ($answer.StartsWith('Y') -or $answer.StartsWith('N'))) {
  Write-Host "again"
  $answer = Read-Host
}
if ($answer.StartsWith('Y')) {
  if ($facts.Exposed -eq $false) { Set-VMProcessor -VMName $machine -ExposeVirtualizationExtensions $true }
  if ($facts.Spoofing -eq 'Off') {
    Write-Host "no network" -ForegroundColor Yellow
    $input = Read-Host
    if ($input -eq 'y' -or 'Y') { Set-VMNetworkAdapter -VMName $machine -MacAddressSpoofing on }
  }
  if ($facts.Memory -lt $enough) { Set-VMMemory -VMName $machine -StartupBytes $enough }
  Exit;
}
Write-Host 'not reached'
"#;

#[test]
fn a_script_that_asks_prepares_a_machine() {
    let world = World::new(&["lab"]);
    let said = world.asked(false, &["what", "Y", "y"], PREPARE, &["-machine", "lab"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("Y or N:again\nno network\n", "", 0));
    let facts = "(Get-VMProcessor lab).ExposeVirtualizationExtensions; (Get-VMNetworkAdapter lab).MacAddressSpoofing; (Get-VMMemory lab).Startup";
    assert_eq!(world.ok(facts), "True\nOn\n4294967296\n");
}

#[test]
fn a_script_that_asks_ends_with_the_answers() {
    let said = World::new(&["lab"]).asked(false, &["x"], PREPARE, &["-machine", "lab"]);
    assert!(
        said.err.starts_with("Read-Host : There is nobody to ask: the input has ended.\n"),
        "{}",
        said.err
    );
    assert_eq!(said.code, 1);
}

#[test]
fn states_are_enumerations_with_hyper_vs_numbers() {
    let world = World::new(&["lab"]);
    assert_eq!(
        world.ok("$s = (Get-VM lab).State; [int]$s; $s -eq 'Off'; $s -ne 'Running'; \"$s\"; $s.GetType().Name; [Microsoft.HyperV.PowerShell.VMState]2; (Get-VM) -is [Microsoft.HyperV.PowerShell.VirtualMachine]"),
        "3\nTrue\nTrue\nOff\nVMState\nRunning\nTrue\n"
    );
}

#[test]
fn machines_are_made_by_splatting_and_passed_on() {
    let world = World::new(&[]);
    let script = "$names = 'a', 'b'; foreach ($name in $names) { $p = @{ Name = $name; MemoryStartupBytes = 2 * 512MB; Generation = 2 }; New-VM @p | Set-VM -ProcessorCount 2 -Passthru | % Name }; @(Get-VM).Count";
    assert_eq!(world.ok(script), "a\nb\n2\n");
}

#[test]
fn what_hyper_v_has_and_is_not_there_is_said_in_a_sentence() {
    let world = World::new(&["lab"]);
    for (script, text) in [
        (
            "Checkpoint-VM -Name lab -SnapshotName \"Pre-$(Get-Date -Format yyyy-MM-dd)\"",
            "Checkpoint-VM : Checkpoints are not there yet",
        ),
        ("Get-VM | Export-VM -Path /tmp/x", "Export-VM : Export is not there yet"),
        ("Enable-VMReplication lab", "Enable-VMReplication : Hyper-V Replica"),
    ] {
        let error = world.error(script);
        assert!(error.starts_with(text), "{script}: {error}");
    }
    world.ok("Import-Module Hyper-V; #Requires -Modules Hyper-V\n'x'");
}

#[test]
fn a_command_in_a_machine_that_does_not_run_is_one_error() {
    let world = World::new(&["lab"]);
    let error = world.error("Invoke-Command -VMName lab { hostname }");
    assert!(error.starts_with("Invoke-Command : ") && error.contains("Start-VM"), "{error}");
}

#[test]
fn a_shell_in_a_machine_has_the_terminal_and_leaves_its_exit_code() {
    let world = World::new(&["lab"]);
    let said = world.asked(false, &[], "Enter-PSSession -VMName lab; $LASTEXITCODE", &[]);
    assert_eq!(said.out, "its user in lab\n7\n");
    let said =
        world.asked(false, &["secret"], "Enter-PSSession -VMName lab -Credential (Get-Credential eve)", &[]);
    assert!(said.out.ends_with("eve in lab\n"), "{}", said.out);
}

#[test]
fn other_computers_are_not_entered() {
    let error = World::new(&[]).error("Enter-PSSession server1");
    assert!(error.contains("'server1'") && error.contains("-VMName"), "{error}");
}

#[test]
fn settings_of_a_machine_are_set_as_administrators_write_it() {
    let world = World::new(&["lab"]);
    // What does nothing yet is a warning.
    let said = world.run("Set-VM -Name lab -AutomaticCheckpointsEnabled $false -CheckpointType Standard -AutomaticStartAction Nothing -AutomaticStopAction ShutDown");
    assert!(said.code == 0 && said.err.starts_with("WARNING: Checkpoints are not there yet"), "{}", said.err);
    assert_eq!(
        world.ok("$v = Get-VM lab; \"$($v.CheckpointType) $($v.AutomaticStopAction)\""),
        "Standard ShutDown\n"
    );
}

#[test]
fn a_machine_is_made_with_a_path_that_its_disk_goes_to() {
    let world = World::new(&[]);
    let place = std::env::temp_dir().join(format!("ireko-path-{}", std::process::id()));
    let script = "$VM = @{ Name = 'lab'; MemoryStartupBytes = 2*512*1024*1024; Generation = 2; NewVHDPath = \"$place/lab.vhdx\"; NewVHDSizeBytes = 1GB; BootDevice = 'VHD'; Path = $place; SwitchName = (Get-VMSwitch).Name }; (New-VM @VM).Name; (Get-VMHardDiskDrive lab).Path -eq \"$place/lab.vhdx\"";
    let said = world.ok(&format!("$place = '{}'; {script}", place.display()));
    let _ = std::fs::remove_dir_all(&place);
    assert_eq!(said, "lab\nTrue\n");
}

#[test]
fn groups_are_made_filled_and_shown() {
    let world = World::new(&["a", "b"]);
    world.ok("New-VMGroup -Name lab -GroupType VMCollectionType | Out-Null; Add-VMGroupMember -Name lab -VM (Get-VM)");
    assert_eq!(world.ok("(Get-VMGroup lab).VMMembers.Name; (Get-VM a).Groups"), "a\nb\nlab\n");
}
