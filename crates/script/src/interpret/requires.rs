//! `#Requires` (about_Requires).

use super::Interpreter;
use crate::error::{ErrorRecord, Outcome};
use crate::source::Position;
use crate::syntax::ScriptBlock;
use crate::types::Version;

impl Interpreter<'_> {
    /// Whether what a script requires is there; nothing of it runs otherwise.
    pub fn require(&mut self, script: &ScriptBlock) -> Outcome {
        for requirement in &script.requires {
            let words: Vec<&str> = requirement.words.iter().map(String::as_str).collect();
            let refusal = match words.as_slice() {
                [word, rest @ ..] => {
                    let name = word.trim_start_matches(crate::characters::is_dash).to_ascii_lowercase();
                    self.refused(&name, rest)
                }
                [] => None,
            };
            if let Some(why) = refusal {
                let name = if script.source.path.is_empty() { "script" } else { &script.source.path };
                let message = format!("The script '{name}' cannot be run because {why}");
                let position = Position { source: script.source.clone(), extent: requirement.extent };
                let record =
                    ErrorRecord::runtime("ScriptRequiresUnmatched", message).in_category("PermissionDenied");
                return Err(ErrorRecord { ends_script: true, ..record }
                    .of_type("System.Management.Automation.ScriptRequiresException")
                    .at(Some(position))
                    .into());
            }
        }
        Ok(())
    }

    fn refused(&mut self, name: &str, rest: &[&str]) -> Option<String> {
        let is = |long: &str| !name.is_empty() && long.starts_with(name);
        if is("runasadministrator") {
            let administrator = self.modules.iter().any(|module| module.is_administrator());
            return (!administrator).then(|| {
                "it contains a \"#requires\" statement for running as Administrator: the user is not the owner of the store.".into()
            });
        }
        if is("version") {
            let wanted = rest.first().copied().unwrap_or_default();
            let wanted = if wanted.contains('.') { wanted.to_owned() } else { format!("{wanted}.0") };
            let version = Version::parse(&wanted);
            return (version.is_none_or(|version| version > Version::of(&[7, 5]))).then(|| {
                format!("it contained a \"#requires\" statement for PowerShell {wanted}, and the language here goes as far as 7.")
            });
        }
        if is("modules") {
            let named = rest.join(" ");
            let names: Vec<String> = named
                .split(',')
                .map(|name| name.trim().trim_matches(['\'', '"']).to_owned())
                .filter(|name| !name.is_empty() && !name.starts_with('@'))
                .collect();
            let missing = names.into_iter().find(|name| !self.has_module(name));
            return missing.map(|name| format!("the following modules that are specified by its \"#requires\" statements are missing: {name}."));
        }
        if is("psedition") {
            return None;
        }
        if is("pssnapin") || is("assembly") {
            return Some(format!("snap-ins and assemblies cannot be loaded here (-{name})."));
        }
        None
    }

    pub fn has_module(&self, name: &str) -> bool {
        let own = [
            "Microsoft.PowerShell.Utility",
            "Microsoft.PowerShell.Management",
            "Microsoft.PowerShell.Core",
            "Microsoft.PowerShell.Security",
        ];
        own.iter().any(|own| own.eq_ignore_ascii_case(name))
            || self.modules.iter().any(|module| module.is_called(name))
    }
}
