//! Programs that people run, each started anew by a script in one root file system: which there are, and what they find.

mod content;
mod inside;

use super::kernels::{Group, Kernel, Work};
pub use inside::{Inside, finish};

/// A script of one row, and the files beside it.
#[derive(Debug)]
pub struct Script {
    pub name: &'static str,
    /// For the shell of the root file system; its working directory is empty, and the files are in the one above.
    pub text: &'static str,
    pub files: fn() -> Vec<(String, Vec<u8>)>,
}

macro_rules! table {
    ($($name:literal $files:path, $operation:literal;)*) => {
        /// All of them, each the first time and again, in the order of tables.
        pub const PROGRAMS: &[Kernel] = &[
            $(table!(Cold $name $files, $operation),)*
            $(table!(Warm $name $files, $operation),)*
        ];
    };
    ($group:ident $name:literal $files:path, $operation:literal) => {
        Kernel {
            name: $name,
            group: Group::$group,
            operation: $operation,
            operations: 1,
            work: Work::Script(&Script {
                name: $name,
                text: include_str!(concat!("scripts/", $name, ".sh")),
                files: $files,
            }),
        }
    };
}

table! {
    "gcc" content::small_c, "ten compilations of a small file, gcc -O2";
    "gcc-large" content::large_c, "one compilation of 400 functions, gcc -O2";
    "node" content::node, "node: JSON, regular expressions, promises";
    "java" content::java, "java: a source file by the launcher, JIT and collector";
    "go" content::go, "go build of a file, and what it has built";
    "python" content::python, "python3: json, re, requests through views and templates";
    "python-start" content::nothing, "ten starts of python3 with json";
    "sqlite" content::sqlite, "sqlite3: 300,000 rows, an index, queries";
    "git" content::git, "git: commit, clone, log, status of 400 files";
    "xz" content::text, "xz there and back, 2 MiB of text";
    "openssl" content::noise, "openssl: SHA-2 and AES of 24 MiB, a prime of 2048 bits";
    "shell" content::nothing, "a shell's loop of 2,000 forks";
    "commands" content::nothing, "a shell's loop of 800 small programs";
}

/// The script of that name.
pub fn find(name: &str) -> Option<&'static Script> {
    PROGRAMS.iter().find_map(|kernel| match &kernel.work {
        Work::Script(script) if script.name == name => Some(*script),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::kernels::KERNELS;

    #[test]
    fn no_program_is_called_like_a_kernel() {
        assert!(PROGRAMS.iter().all(|program| KERNELS.iter().all(|kernel| kernel.name != program.name)));
    }

    #[test]
    fn each_is_there_the_first_time_and_again() {
        let of = |group| PROGRAMS.iter().filter(move |program| program.group == group).map(|p| p.name);
        assert!(of(Group::Cold).eq(of(Group::Warm)));
    }

    #[test]
    fn what_a_program_finds_is_the_same_each_time() {
        for program in PROGRAMS.iter().filter(|program| program.group == Group::Warm) {
            let Work::Script(script) = &program.work else { panic!("{} is no script", program.name) };
            assert!((script.files)() == (script.files)(), "{}", program.name);
        }
    }

    #[test]
    fn a_script_reads_only_files_that_are_there() {
        for program in PROGRAMS {
            let Work::Script(script) = &program.work else { panic!("{} is no script", program.name) };
            let files = (script.files)();
            let named = script.text.split_whitespace().filter_map(|word| word.strip_prefix("../"));
            for name in named.filter(|name| !name.is_empty() && !name.contains('$')) {
                let there = |file: &str| file == name || file.starts_with(&format!("{name}/"));
                assert!(files.iter().any(|(file, _)| there(file)), "{}: {name}", program.name);
            }
        }
    }
}
