//! Hyper-V's module as the shell knows it.

use super::super::reference;
use super::World;

fn parsed_path() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cmdlets.md")
}

#[test]
fn the_table_of_cmdlets_is_what_the_code_says() {
    let made = reference::markdown();
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(parsed_path(), &made).expect("docs/cmdlets.md");
    }
    let checked_in = std::fs::read_to_string(parsed_path()).unwrap_or_default();
    assert!(
        made == checked_in,
        "docs/cmdlets.md is not what the code says; make it anew with: ireko shell --cmdlets > docs/cmdlets.md"
    );
}

/// Nothing of the module is unknown.
#[test]
fn every_cmdlet_of_the_module_is_there_or_says_in_one_sentence_why_not() {
    let world = World::new(&[]);
    for listed in reference::listed() {
        if ireko_manage::find(listed.cmdlet).is_some() {
            continue;
        }
        let error = world.run(&format!("{} -Anything x", listed.cmdlet)).err;
        let first = error.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("{} : ", listed.cmdlet)), "{error}");
        assert!(first.ends_with('.') && error.contains("NotImplemented"), "{error}");
    }
}

#[test]
fn a_parameter_of_the_module_that_is_not_there_is_one_error_and_nothing_is_done() {
    let world = World::new(&["lab"]);
    let said = world.run("Set-VMNetworkAdapter -VMName lab -MacAddressSpoofing On -IovWeight 100");
    let error = said.err;
    assert_eq!(said.code, 1);
    assert!(error.starts_with("Set-VMNetworkAdapter : -IovWeight is not there: "), "{error}");
    assert!(
        error.contains(
            "FullyQualifiedErrorId : NotSupported,Microsoft.HyperV.PowerShell.Commands.SetVMNetworkAdapter"
        ),
        "{error}"
    );
    assert_eq!(world.ok("(Get-VMNetworkAdapter lab).MacAddressSpoofing"), "Off\n");
}

#[test]
fn sentences_are_for_cmdlets_and_parameters_of_the_module() {
    let known = |name: &str| reference::listed().iter().any(|listed| listed.names.contains(&name));
    for row in reference::PARAMETERS {
        assert!(row.names.iter().all(|name| known(name)), "{:?}", row.names);
    }
}
