//! Cmdlets that work on any objects.

use super::{World, says};

#[test]
fn objects_are_chosen_sorted_and_counted() {
    for (script, out) in [
        ("1..5 | Select-Object -First 2", "1\n2\n"),
        ("1..5 | select -Last 1", "5\n"),
        ("1..5 | select -Skip 3", "4\n5\n"),
        ("1,1,2 | Select-Object -Unique", "1\n2\n"),
        ("1..5 | Where-Object { $_ -gt 3 }", "4\n5\n"),
        ("1..5 | ? { $_ % 2 }", "1\n3\n5\n"),
        ("3,1,2 | Sort-Object", "1\n2\n3\n"),
        ("3,1,2 | sort -Descending", "3\n2\n1\n"),
        ("'b','A' | sort", "A\nb\n"),
        ("(1..4 | Measure-Object -Sum -Average).Sum", "10\n"),
        ("(1..4 | Measure-Object -Average).Average", "2.5\n"),
        ("(1..4 | measure -Maximum -Minimum).Maximum", "4\n"),
        ("(@() | Measure-Object).Count", "0\n"),
        ("'a','b','a' | Group-Object | % { \"$($_.Name) $($_.Count)\" }", "a 2\nb 1\n"),
        ("@{ a = 1 } | ConvertTo-Json -Compress", "{\"a\":1}\n"),
        ("1,2 | ConvertTo-Json -Compress", "[1,2]\n"),
        ("'x' | Out-Null", ""),
        ("echo a b", "a\nb\n"),
        ("Write-Host a b", "a b\n"),
        ("$x = Write-Host shown; $x.Count", "shown\n0\n"),
        ("'a' | % Length", "1\n"),
        ("1..3 | % -Begin { 'b' } -Process { $_ } -End { 'e' }", "b\n1\n2\n3\ne\n"),
        ("(Get-Alias ft).Definition", "Format-Table\n"),
    ] {
        assert_eq!(says(script), out, "{script}");
    }
}

#[test]
fn properties_are_named_by_wildcards_and_worked_out() {
    let world = World::new(&["lab"]);
    for (script, out) in [
        ("Get-VM | Select-Object Name, State", "\nName State\n---- -----\nlab  Off\n\n"),
        ("Get-VM | select Mem*up", "\nMemoryStartup\n-------------\n    536870912\n\n"),
        ("Get-VM | select @{n='MB';e={$_.MemoryStartup / 1MB}}", "\n MB\n --\n512\n\n"),
        ("Get-VM | select -ExpandProperty Name", "lab\n"),
        (
            "Get-VM | ft Name, @{Label='G'; Expression={$_.Generation}; Alignment='Left'}",
            "\nName G\n---- -\nlab  2\n\n",
        ),
        ("Get-VM | ft Name -HideTableHeaders", "lab\n"),
        ("Get-VM | fl Name, State", "\nName  : lab\nState : Off\n\n"),
        ("Get-VM | ? State -eq off | % Name", "lab\n"),
        ("Get-VM | where Name -like 'x*' | % Name", ""),
        ("Get-VM | where { $_.Name -match '^l' -and -not ($_.State -eq 'Running') } | % Name", "lab\n"),
        ("(Get-VM | select Name | ConvertTo-Csv) -join '|'", "\"Name\"|\"lab\"\n"),
    ] {
        assert_eq!(world.ok(script), out, "{script}");
    }
}

#[test]
fn every_cmdlet_explains_itself() {
    let world = World::new(&[]);
    for operation in ireko_manage::operations() {
        let help = world.ok(&format!("Get-Help {}", operation.cmdlet));
        for parameter in operation.all_parameters() {
            assert!(
                help.contains(&format!("-{}", parameter.name)),
                "{} {}",
                operation.cmdlet,
                parameter.name
            );
        }
    }
    assert!(world.ok("Start-VM -?").contains("SYNOPSIS\n    Starts virtual machines"));
    assert!(world.ok("Get-Help *disk*").contains("Add-VMHardDiskDrive"));
}

#[test]
fn commands_are_listed() {
    let listed =
        says("(Get-Command -Verb Get -Noun VM).Name; (Get-Command *-VMFirmware | Measure-Object).Count");
    assert_eq!(listed, "Get-VM\n2\n");
}

#[test]
fn a_console_is_the_terminals() {
    let world = World::new(&[]);
    assert_eq!(
        world.ok("vmconnect lab; vmconnect.exe localhost 'my vm'"),
        "console of lab\nconsole of my vm\n"
    );
    assert!(world.error("vmconnect far lab").contains("'far'"));
}

#[test]
fn output_goes_to_files() {
    let world = World::new(&[]);
    let path = world.home.join("out.txt");
    let shown = path.display();
    world.ok(&format!("'a' > {shown}; 'b' >> {shown}; 'c' | Out-File {shown} -Append"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\nc\n");
}

#[test]
fn a_cmdlet_with_two_names_goes_by_the_one_that_was_said() {
    let world = World::new(&["lab"]);
    let said = world.run("Set-VMBios lab -FirstBootDevice CD");
    assert!(said.err.contains("Set-VMBios : ") && !said.err.contains("Set-VMFirmware :"), "{}", said.err);
    let wrong = world.run("Set-VMBios lab -Nonsense 1");
    assert!(wrong.err.contains("Set-VMBios : ") && !wrong.err.contains("Set-VMFirmware"), "{}", wrong.err);
    let help = world.ok("Get-Help Set-VMBios");
    assert!(
        help.contains("NAME\n    Set-VMBios\n") && help.contains("ALIASES\n    Set-VMFirmware\n"),
        "{help}"
    );
}

#[test]
fn a_bios_shows_its_order() {
    let world = World::new(&[]);
    let shown = world.ok("New-VM old -Generation 1 | Out-Null; Get-VMBios old | Out-String -Width 300");
    assert!(
        shown.contains("StartupOrder") && shown.contains("{CD, IDE, LegacyNetworkAdapter, Floppy}"),
        "{shown}"
    );
}
