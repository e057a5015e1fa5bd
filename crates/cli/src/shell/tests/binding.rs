//! Which argument goes where, and what is said when it cannot.

use super::World;

fn lab() -> World {
    World::new(&["lab", "other"])
}

#[test]
fn names_may_be_short_and_dashes_of_any_kind() {
    let world = lab();
    for dash in ["-", "\u{2013}", "\u{2014}", "\u{2015}"] {
        assert_eq!(world.ok(&format!("(Get-VM {dash}Na lab).Name")), "lab\n");
        assert_eq!(world.ok(&format!("(get-vm {dash}VMN:lab).Name")), "lab\n");
    }
}

#[test]
fn errors_of_binding_have_powershells_words() {
    let world = lab();
    for (script, text) in [
        (
            "Set-VMProcessor -M 5",
            "Set-VMProcessor : Parameter cannot be processed because the parameter name 'M' is ambiguous. Possible matches include: -Maximum -MaximumCountPerNumaNode -MaximumCountPerNumaSocket.",
        ),
        (
            "Set-VMProcessor -Name lab",
            "Set-VMProcessor : A parameter cannot be found that matches parameter name 'Name'.",
        ),
        (
            "Stop-VM -VMName",
            "Stop-VM : Missing an argument for parameter 'Name'. Specify a parameter of type 'System.String[]' and try again.",
        ),
        (
            "Set-VMProcessor lab -Count 1 -Count 2",
            "Set-VMProcessor : Cannot bind parameter because parameter 'Count' is specified more than once. To provide multiple values to parameters that can accept multiple values, use the array syntax. For example, \"-parameter value1,value2,value3\".",
        ),
        (
            "Get-VM lab extra",
            "Get-VM : A positional parameter cannot be found that accepts argument 'extra'.",
        ),
        (
            "Remove-VM",
            "Remove-VM : Cannot process command because of one or more missing mandatory parameters: Name.",
        ),
        (
            "Rename-VM",
            "Rename-VM : Cannot process command because of one or more missing mandatory parameters: Name NewName.",
        ),
        (
            "Start-VM -Name lab -VM (Get-VM lab)",
            "Start-VM : Parameter set cannot be resolved using the specified named parameters.",
        ),
        ("Start-VM $null", "Start-VM : Cannot bind argument to parameter 'Name' because it is null."),
        (
            "'lab' | Get-VMHost",
            "Get-VMHost : The input object cannot be bound to any parameters for the command either because the command does not take pipeline input or the input and its properties do not match any of the parameters that take pipeline input.",
        ),
        (
            "Nope-VM",
            "Nope-VM : The term 'Nope-VM' is not recognized as the name of a cmdlet, function, script file, or operable program. Check the spelling of the name, or if a path was included, verify that the path is correct and try again.",
        ),
    ] {
        assert_eq!(world.error(script), text, "{script}");
    }
}

#[test]
fn an_error_record_is_printed_whole() {
    let said = lab().run("  Get-VM nope");
    assert_eq!(
        said.err,
        "Get-VM : Hyper-V was unable to find a virtual machine with name \"nope\".\n\
         At line:1 char:3\n\
         +   Get-VM nope\n\
         +   ~~~~~~~~~~~\n    \
             + CategoryInfo          : InvalidArgument: (nope:String) [Get-VM], VirtualizationException\n    \
             + FullyQualifiedErrorId : InvalidParameter,Microsoft.HyperV.PowerShell.Commands.GetVM\n"
    );
}

#[test]
fn booleans_need_values_and_switches_do_not() {
    let world = lab();
    let exposed = |script: &str| {
        world.ok(script);
        world.ok("(Get-VMProcessor lab).ExposeVirtualizationExtensions")
    };
    assert_eq!(exposed("Set-VMProcessor lab -Expose $true"), "True\n");
    assert_eq!(exposed("Set-VMProcessor lab -Expose 0"), "False\n");
    assert_eq!(exposed("Set-VMProcessor lab -Expose:1 -Passthru:$false"), "True\n");
    assert!(world.error("Set-VMProcessor lab -Expose 'true'").contains("Cannot validate argument"));
    assert!(world.error("Set-VMProcessor lab -Expose").contains("Missing an argument"));
}

#[test]
fn one_of_several_names_that_fails_does_not_stop_the_rest() {
    let said = lab().run("(Get-VM lab, nope, other).Name");
    assert_eq!((said.out.as_str(), said.code), ("lab\nother\n", 1));
}

#[test]
fn objects_and_text_from_the_pipeline_find_their_parameters() {
    let world = lab();
    for (script, out) in [
        ("'lab','other' | Get-VM | % Name", "lab\nother\n"),
        ("Get-VM lab | Get-VMProcessor | % VMName", "lab\n"),
        ("Get-VMProcessor lab | Get-VM | % Name", "lab\n"),
        ("Get-VM | Select-Object VMName | Get-VMMemory | % VMName", "lab\nother\n"),
        ("@{ VMName = 'lab' } | Get-VM | % Name", "lab\n"),
        ("[pscustomobject]@{ Name = 'lab' } | Get-VM | % Name", "lab\n"),
        ("Get-VMProcessor (Get-VM lab) | % VMName", "lab\n"),
        ("$p = @{ VMName = 'lab'; Count = 2 }; Set-VMProcessor @p; (Get-VMProcessor lab).Count", "2\n"),
        ("Get-VM none* | Remove-VM", ""),
        (
            "Get-VMNetworkAdapter lab | Set-VMNetworkAdapter -MacAddressSpoofing on -Passthru | % MacAddressSpoofing",
            "On\n",
        ),
    ] {
        assert_eq!(world.ok(script), out, "{script}");
    }
}

#[test]
fn a_name_that_looks_like_a_number_is_a_name() {
    let world = World::new(&["007", "1GB"]);
    assert_eq!(world.ok("(Get-VM 007).Name; (Get-VM 1GB).Name"), "007\n1GB\n");
}

#[test]
fn other_hosts_are_refused_and_this_one_is_not() {
    let world = lab();
    assert_eq!(
        world.ok("(Get-VM lab -ComputerName localhost).Name; (Get-VM lab -Comp .).Name"),
        "lab\nlab\n"
    );
    assert!(world.error("Get-VM -ComputerName far").contains("'far'"));
    assert!(world.error("Get-VM -Credential me").contains("-Credential is for other hosts"));
}

#[test]
fn what_a_cmdlet_gives_as_a_job_is_received_from_it() {
    let script =
        "$job = Set-VM lab -Notes x -Passthru -AsJob; $job.State; ($job | Wait-Job | Receive-Job).Notes";
    assert_eq!(lab().ok(script), "Completed\nx\n");
}

#[test]
fn what_goes_wrong_in_a_job_is_told_where_it_is_received() {
    let world = lab();
    assert_eq!(world.ok("(Start-VM gone -AsJob).State"), "Failed\n");
    assert!(world.error("Start-VM gone -AsJob | Receive-Job").contains("\"gone\""));
}

#[test]
fn what_if_says_and_does_nothing() {
    let world = lab();
    let said = world.ok("Remove-VM lab -WhatIf; (Get-VM lab).Name");
    assert_eq!(said, "What if: Remove-VM will remove virtual machine \"lab\".\nlab\n");
    assert!(world.ok("$WhatIfPreference = $true; Remove-VM lab").starts_with("What if:"));
}

#[test]
fn danger_asks_and_one_answer_may_be_for_all() {
    let world = lab();
    let said = world.asked(true, &["?", "N"], "Remove-VM lab", &[]);
    assert!(said.out.contains(
        "Confirm\nAre you sure you want to remove virtual machine \"lab\"?\n[Y] Yes  [A] Yes to All"
    ));
    assert!(said.out.contains("A - Do this one and all that follow."));
    assert_eq!(world.ok("(Get-VM).Count"), "2\n");
    assert_eq!(world.asked(true, &["A"], "Get-VM | Remove-VM", &[]).code, 0);
    assert_eq!(world.ok("@(Get-VM).Count"), "0\n");
}

#[test]
fn danger_without_a_person_is_refused() {
    let world = lab();
    assert!(world.error("Remove-VM lab").ends_with("use -Confirm:$false or, where there is one, -Force."));
    assert_eq!(world.ok("Remove-VM lab -Confirm:$false; Remove-VM other -Force; @(Get-VM).Count"), "0\n");
}

#[test]
fn what_must_be_given_is_asked_for() {
    let said = lab().asked(true, &["lab"], "Get-VMProcessor | % VMName", &[]);
    assert_eq!(
        said.out,
        "\ncmdlet Get-VMProcessor at command pipeline position 1\nSupply values for the following parameters:\nVMName[0]: lab\n"
    );
}
