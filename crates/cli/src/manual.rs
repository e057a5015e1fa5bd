//! `ireko completions` and `ireko man`: what shells and man(1) want, made from the command line's definition.

use anyhow::{Context, Result, bail};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct ManArgs {
    /// Write ireko.1, ireko-vm.1, ireko-vm-start.1 and so on.
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

pub fn completions(command: Command, shell: Shell) -> Result<ExitCode> {
    if !matches!(shell, Shell::Bash | Shell::Zsh | Shell::Fish) {
        bail!("there are completions for bash, zsh and fish, and not for {shell}");
    }
    print(&script(command, shell))
}

/// Where a virtual machine is wanted, its name. A name is data: it is compared and quoted, and never expanded, as the
/// word list of compgen would be.
const BASH_NAMES: &str = r#"
_ireko_with_names() {
    _ireko "$@"
    local word="${COMP_WORDS[COMP_CWORD]}" name quoted
    [[ $word == -* || ${COMP_WORDS[COMP_CWORD-1]} == --* ]] && return
    case "${COMP_WORDS[1]}" in
        vm) [[ $COMP_CWORD -ge 3 && ${COMP_WORDS[2]} != create ]] || return ;;
        tree) [[ $COMP_CWORD -ge 2 ]] || return ;;
        *) return ;;
    esac
    COMPREPLY=()
    while IFS= read -r name; do
        printf -v quoted %q "$name"
        [[ $name == "$word"* || $quoted == "$word"* ]] && COMPREPLY+=("$quoted")
    done < <(ireko vm list --json 2>/dev/null | sed -n 's/^    "VMName": "\([^"\\]*\)",\{0,1\}$/\1/p')
}
complete -F _ireko_with_names -o bashdefault -o default ireko
"#;

fn script(mut command: Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "ireko", &mut script);
    if shell == Shell::Bash {
        script.extend(BASH_NAMES.as_bytes());
    }
    script
}

pub fn man(mut command: Command, args: &ManArgs) -> Result<ExitCode> {
    command.build();
    let Some(directory) = &args.directory else { return print(&page(&command)?) };
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    write_pages(&command, directory)?;
    Ok(ExitCode::SUCCESS)
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let source = concat!("ireko ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).render(&mut page)?;
    Ok(page)
}

/// Its own page, and those of the commands below it.
fn write_pages(command: &Command, directory: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = directory.join(format!("{name}.1"));
    let page = page(command)?;
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    shown(command).try_for_each(|below| write_pages(below, directory))
}

/// The commands that are for people.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help")
}

fn print(text: &[u8]) -> Result<ExitCode> {
    crate::output::out(text)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use clap::CommandFactory;
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::process::{Command as Process, Stdio};

    fn names(command: &Command) -> BTreeSet<String> {
        let own = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        shown(command).flat_map(names).chain([own]).collect()
    }

    #[test]
    fn every_command_has_a_page() {
        let directory = std::env::temp_dir().join(format!("ireko-man-{}", std::process::id()));
        man(Arguments::command(), &ManArgs { directory: Some(directory.clone()) }).unwrap();
        let mut command = Arguments::command();
        command.build();
        let wanted: BTreeSet<String> = names(&command).into_iter().map(|name| name + ".1").collect();
        let files = std::fs::read_dir(&directory).unwrap().flatten();
        let written: BTreeSet<String> =
            files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(wanted.contains("ireko-vm-start.1") && wanted.contains("ireko-serve.1"));
        assert_eq!(written, wanted);
    }

    #[test]
    fn the_page_names_every_command() {
        let mut command = Arguments::command();
        command.build();
        let text = String::from_utf8(page(&command).unwrap()).unwrap().replace("\\-", "-");
        for below in shown(&command) {
            assert!(text.contains(&format!("ireko-{}(1)", below.get_name())), "{}", below.get_name());
        }
    }

    /// Bash with the script, a list of VMs, and then these lines.
    fn bash(lines: &str) -> String {
        let mut bash = Process::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let vms = r#"ireko() { printf '    "VMName": "%s",\n' lab 'my vm' '$(touch pwned)' 'q\"x'; }"#;
        let mut input = script(Arguments::command(), Shell::Bash);
        input.extend(format!("{vms}\n{lines}\n").as_bytes());
        bash.stdin.take().unwrap().write_all(&input).unwrap();
        String::from_utf8(bash.wait_with_output().unwrap().stdout).unwrap()
    }

    fn completed(words: &str) -> String {
        bash(&format!(
            "COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _ireko_with_names ireko \"${{COMP_WORDS[-1]}}\" ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        ))
    }

    #[test]
    fn bash_completes_names_and_takes_them_as_data() {
        assert_eq!(completed("ireko vm start l"), "lab\n");
        assert_eq!(completed("ireko vm start m"), "my\\ vm\n");
        assert_eq!(completed("ireko vm start ''"), "lab\nmy\\ vm\n\\$\\(touch\\ pwned\\)\n");
    }

    #[test]
    fn bash_completes_verbs_and_options() {
        assert!(completed("ireko vm st").lines().any(|line| line == "start"));
        assert!(completed("ireko vm start --w").contains("--what-if"));
    }

    #[test]
    fn bash_takes_the_script() {
        let mut bash = Process::new("bash").args(["-n", "/dev/stdin"]).stdin(Stdio::piped()).spawn().unwrap();
        bash.stdin.take().unwrap().write_all(&script(Arguments::command(), Shell::Bash)).unwrap();
        assert!(bash.wait().unwrap().success());
    }

    #[test]
    fn every_verb_is_in_every_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(script(Arguments::command(), shell)).unwrap();
            for verb in ireko_manage::operations().flat_map(|operation| operation.verbs) {
                assert!(text.contains(verb.name), "{shell}: {}", verb.name);
            }
        }
    }
}
