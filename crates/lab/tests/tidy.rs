//! What the design says about the tree, checked.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which crates a crate may see (design: dependencies point down the list only). What is not listed may see nothing.
const ALLOWED: [(&str, &[&str]); 14] = [
    ("x86", &[]),
    ("vmcore", &["x86"]),
    ("translate", &["x86"]),
    ("nested", &["x86"]),
    ("cpu", &["x86", "vmcore", "translate", "nested"]),
    ("kvm", &["x86", "vmcore"]),
    ("devices", &["vmcore"]),
    ("storage", &["vmcore"]),
    ("net", &["vmcore"]),
    ("jail", &["vmcore"]),
    ("machine", &["x86", "vmcore", "cpu", "kvm", "devices", "storage"]),
    ("manage", &["x86", "vmcore", "storage", "net", "jail", "machine"]),
    ("cli", &["vmcore", "translate", "cpu", "net", "jail", "machine", "manage"]),
    (
        "lab",
        &[
            "x86",
            "vmcore",
            "translate",
            "nested",
            "cpu",
            "kvm",
            "devices",
            "storage",
            "net",
            "machine",
            "manage",
        ],
    ),
];

/// The layers of `cpu`, lowest first: a module may name modules of lower layers, and no other (design: the core's layers).
const LAYERS: [&[&str]; 21] = [
    &["processor", "host", "hash", "fault", "wake", "boundary"],
    &["tsc", "tuning", "signal", "xstate", "inspect", "pending"],
    &["mmu", "code", "apic"],
    &["platform"],
    &["cpu"],
    &["breakpoints", "routine", "invalidate"],
    &["access", "ports", "intercept", "control_registers"],
    &["operand", "blocks"],
    &["segmentation", "hooks"],
    &["event"],
    &["data", "cpuid", "smm"],
    &["msr", "system"],
    &["world"],
    &["svm"],
    &["routines"],
    &["isa"],
    &["slow", "construct"],
    &["enter"],
    &["ferr", "lockstep", "saved"],
    &["run"],
    &["engine"],
];

/// The parts of the command, lowest first: what all use, the guests' side, the benchmark suite on the nest, managed machines with
/// their shell, and the command line.
const PARTS: [&[&str]; 9] = [
    &["closed", "size", "sys", "user", "table", "agent_config", "facts", "engine_args"],
    &["output", "terminal", "unit", "bench"],
    &["progress", "report", "jail"],
    &["image", "cpus"],
    &["level", "vm", "image_command", "doctor", "run_args", "manual"],
    &["agent", "nest", "run", "shell", "tree", "serve"],
    &["suite", "saved"],
    &["args"],
    &["main"],
];

/// What `lib.rs` gives other names to.
const RENAMED: [(&str, &str); 5] =
    [("Cpu", "cpu"), ("Fault", "fault"), ("Next", "fault"), ("HostFault", "boundary"), ("guard", "signal")];

/// Parts of modules that lie below the module as a whole, and which others of the crate each may name.
const BELOW: [(&str, &[&str]); 6] = [
    ("mmu/format", &[]),
    ("mmu/walk", &["mmu::format"]),
    ("mmu/physical", &["mmu::walk"]),
    ("mmu/bank", &["hash"]),
    ("mmu/shared", &[]),
    ("code/jumps", &[]),
];

const MOST_LINES: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

fn crates() -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(root().join("crates"))
        .expect("crates/")
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

/// All files below a directory with one of these endings, build output left out.
fn files(below: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            let skipped = name == "target" || name == ".git";
            found.extend(if skipped { Vec::new() } else { files(&path, endings) });
        } else if endings.iter().any(|e| name.ends_with(e)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    files(&root().join("crates"), &[".rs"])
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap_or_default())
        })
        .collect()
}

/// Fails with all complaints at once.
fn clean(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn dependencies_point_down_the_list() {
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    let mut complaints = Vec::new();
    for (name, path) in crates() {
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap_or_default();
        let Some(may) = allowed.get(name.as_str()) else {
            complaints.push(format!("crates/{name} has no row in the table of allowed dependencies"));
            continue;
        };
        for line in manifest.lines().filter_map(|l| l.trim().strip_prefix("ireko-")) {
            let seen: String = line.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            if !may.contains(&seen.as_str()) {
                complaints.push(format!("crates/{name} must not depend on {seen}"));
            }
        }
    }
    clean(complaints);
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

/// The workspace depends on what its sources name: the other way than `cargo build`, which says nothing of what is not used.
#[test]
fn every_dependency_is_used() {
    let sources = sources();
    let mut complaints = Vec::new();
    for (name, path) in crates() {
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap_or_default();
        let inside = format!("crates/{name}/");
        let own: Vec<_> = sources.iter().filter(|(file, _)| file.starts_with(&inside)).collect();
        let depends = |line: &str| line.split_once(" = { workspace = true").map(|(name, _)| name.to_string());
        for dependency in manifest.lines().filter_map(depends) {
            let module = dependency.replace('-', "_");
            let uses = |line: &str| {
                line.contains(&module)
                    && !line.trim_start().starts_with("//")
                    && words(line).any(|word| word == module)
            };
            if !own.iter().any(|(_, text)| text.lines().any(uses)) {
                complaints.push(format!("crates/{name} depends on {dependency} and does not name it"));
            }
        }
    }
    clean(complaints);
}

/// A source without its comments and what is compiled for tests alone.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            kept += &format!("{line}\n");
            continue;
        }
        let end = format!("{}}}", " ".repeat(line.len() - line.trim_start().len()));
        let item = lines.by_ref().find(|line| !line.trim_start().starts_with("#["));
        if item.is_some_and(|item| !item.ends_with([';', ',', '}'])) {
            lines.by_ref().find(|line| **line == end);
        }
    }
    kept
}

/// The paths that a `use` tree stands for: `a::{b, c::{d, e}}` is three.
fn spread(tree: &str) -> Vec<String> {
    let path: String =
        tree.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')).collect();
    let Some(list) = tree[path.len()..].strip_prefix('{') else { return vec![path] };
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            '{' | '}' => depth += if c == '{' { 1 } else { -1 },
            _ => {}
        }
        if (c != ',' || depth > 0) && !c.is_whitespace() {
            parts.last_mut().expect("there is one").push(c);
        }
    }
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| spread(part))
        .map(|rest| path.clone() + &rest)
        .collect()
}

/// The module that a file of a crate is, from the crate's root.
fn module_of(inside: &str) -> Vec<&str> {
    let path = inside.trim_end_matches(".rs");
    path.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).collect()
}

/// What a source names of its own crate, from the crate's root: behind `crate::`, and behind `super::`.
fn named(inside: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut found = Vec::new();
    let starts = |word: &'static str| {
        code.match_indices(word).map(|(at, _)| at).filter(|at| {
            let before = code[..*at].chars().next_back();
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
        })
    };
    for at in starts("crate::") {
        found.extend(spread(&code[at + "crate::".len()..]));
    }
    for at in starts("super::") {
        let mut parent = module_of(inside);
        let mut rest = &code[at..];
        while let Some(behind) = rest.strip_prefix("super::") {
            parent.pop();
            rest = behind;
        }
        let parent: String = parent.iter().map(|part| format!("{part}::")).collect();
        found.extend(spread(rest).into_iter().map(|path| parent.clone() + &path));
    }
    found
}

/// Where a module stands in the layers of its crate.
fn height(layers: &[&[&str]], module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
}

/// The sources of a crate that keep to its layers: path inside, module, text. What is `aside` is made for all of the crate.
fn layered(of: &str, aside: &[&str]) -> Vec<(String, String, String)> {
    let below = format!("crates/{of}/src/");
    let inside = sources().into_iter().filter_map(|(name, text)| {
        let inside = name.strip_prefix(&below)?.to_owned();
        let test =
            inside.ends_with("tests.rs") || inside.contains("/tests/") || inside.ends_with("/bench.rs");
        let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        (!test && !aside.contains(&inside.as_str())).then_some((inside, module, text))
    });
    inside.collect()
}

/// What of a crate does not keep to its layers.
fn upward_arrows(of: &str, layers: &[&[&str]], renamed: &[(&str, &str)], aside: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, own, text) in layered(of, aside) {
        let Some(at) = height(layers, &own) else {
            complaints.push(format!("{name} is in no layer of its crate"));
            continue;
        };
        let seen: std::collections::BTreeSet<_> = named(&name, &text)
            .into_iter()
            .map(|path| path.split("::").next().unwrap_or_default().to_owned())
            .map(|module| renamed.iter().find(|row| row.0 == module).map_or(module, |row| row.1.to_owned()))
            .collect();
        let above = |module: &&String| **module != own && height(layers, module).is_some_and(|h| h >= at);
        complaints.extend(
            seen.iter()
                .filter(above)
                .map(|module| format!("{name} must not see crate::{module}, which lies no lower")),
        );
    }
    complaints
}

/// What stands in the `impl` blocks of `Cpu`: with `all`, those of traits, too.
fn of_cpu(code: &str, all: bool) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in code.lines() {
        inside |= line == "impl Cpu {" || all && line.starts_with("impl ") && line.ends_with(" for Cpu {");
        inside &= line != "}";
        if inside {
            kept += &format!("{line}\n");
        }
    }
    kept
}

/// The names right behind each of some words.
fn behind<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let free = |at: usize| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "_.".contains(c));
    code.match_indices(word).filter(move |(at, _)| free(*at)).map(move |(at, _)| {
        let rest = &code[at + word.len()..];
        &rest[..rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())]
    })
}

/// A method of `Cpu` can be called without a word of its module: where it is written counts, too.
#[test]
fn the_cores_methods_call_those_of_lower_layers_only() {
    let modules: Vec<_> = layered("cpu", &["lib.rs", "memory_functions.rs"])
        .into_iter()
        .map(|(name, own, text)| (name, own, code(&text)))
        .collect();
    let mut written: BTreeMap<String, &str> = BTreeMap::new();
    let mut complaints = Vec::new();
    for (name, own, code) in &modules {
        let methods = of_cpu(code, false);
        for method in behind(&methods, "fn ").filter(|method| !method.is_empty()) {
            if written.insert(method.to_owned(), own).is_some_and(|other| other != own) {
                complaints.push(format!("{name} has a method {method} of Cpu, as another module has"));
            }
        }
    }
    for (name, own, code) in &modules {
        let chained = |code: &str| {
            code.lines().map(|line| line.trim()).fold(String::new(), |whole, line| {
                whole + if line.starts_with('.') { "" } else { "\n" } + line
            })
        };
        let (inside, whole) = (chained(&of_cpu(code, true)), chained(code));
        let called = [(&inside, "self."), (&inside, "Self::"), (&whole, "cpu."), (&whole, "Cpu::")]
            .into_iter()
            .flat_map(|(code, word)| behind(code, word));
        let called: std::collections::BTreeSet<_> = called.collect();
        for (method, other) in called.iter().filter_map(|method| Some((method, *written.get(*method)?))) {
            if other != own && height(&LAYERS, other) >= height(&LAYERS, own) {
                complaints
                    .push(format!("{name} must not call Cpu::{method} of {other}, which lies no lower"));
            }
        }
    }
    assert!(written.len() > 100, "only {} methods of Cpu were found", written.len());
    clean(complaints);
}

#[test]
fn paths_are_found_in_lists_and_behind_super() {
    let text = "use crate::{a::{b, c::{d, e}}, f};\nuse super::super::g;\nuse super::{h, i::k};\n\
                #[cfg(test)]\nfn not() {\n    crate::x();\n}\nfn yes() {\n    crate::y::z();\n    // crate::w\n}\n\
                #[cfg(test)]\nmod tests {\n    use crate::v;\n}\n";
    let expected = ["a::b", "a::c::d", "a::c::e", "f", "y::z", "g", "one::h", "one::i::k"];
    assert_eq!(named("one/two.rs", text), expected);
}

#[test]
fn the_cores_modules_see_lower_layers_only() {
    clean(upward_arrows("cpu", &LAYERS, &RENAMED, &["lib.rs", "memory_functions.rs"]));
}

#[test]
fn the_parts_of_the_command_see_lower_ones_only() {
    clean(upward_arrows("cli", &PARTS, &[("say", "output"), ("out", "output")], &["main.rs"]));
}

#[test]
fn the_cores_lower_modules_do_not_see_the_upper_ones() {
    let mut complaints = Vec::new();
    for (module, may) in BELOW {
        let inside = format!("crates/cpu/src/{module}");
        let own = module.replace('/', "::");
        let parts = sources().into_iter().filter(|(name, _)| {
            name.strip_prefix(&inside).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
        let mut files = 0;
        for (name, text) in parts.filter(|(name, _)| !name.ends_with("tests.rs")) {
            files += 1;
            let fine = |path: &String| {
                [own.as_str()].iter().chain(may).any(|allowed| {
                    path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                })
            };
            let own_path = name.trim_start_matches("crates/cpu/src/");
            let wrong = named(own_path, &text).into_iter().filter(|path| !fine(path));
            complaints.extend(wrong.map(|path| format!("{name} must not see crate::{path}")));
        }
        if files == 0 {
            complaints.push(format!("{inside} is in the table of the core's layers and does not exist"));
        }
    }
    clean(complaints);
}

/// Where a VMCB is known: its layout, the half of `nested` that owns it, and the instructions that name one.
const OF_SVM: [&str; 3] = ["crates/x86/src/vmcb.rs", "crates/nested/src/svm/", "crates/cpu/src/svm.rs"];

#[test]
fn only_svm_knows_what_a_vmcb_is() {
    const WORDS: [&str; 4] = ["vmcb", "Vmcb", "VMCB", "exitcode"];
    let ours = |name: &str| OF_SVM.iter().any(|place| name.starts_with(place));
    let shipped = |name: &str| {
        !name.starts_with("crates/lab/") && !name.contains("/tests/") && !name.ends_with("tests.rs")
    };
    let mut complaints = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| shipped(name) && !ours(name)) {
        let code = code(&text);
        let wrong = code
            .lines()
            .filter(|line| words(line).any(|word| WORDS.contains(&word)) && !line.contains("pub mod vmcb;"));
        complaints.extend(wrong.map(|line| format!("{name} must not know a VMCB: {}", line.trim())));
    }
    clean(complaints);
}

/// Modules of the core that choose a vendor: what a processor is, its table of routines, its MSRs and leaves.
const CHOOSERS: [&str; 8] =
    ["lib.rs", "svm.rs", "routine.rs", "routines.rs", "processor/", "msr/", "cpuid/", "isa.rs"];
/// AMD-V's words, and VT-x's.
const OF_A_VENDOR: [&str; 12] = [
    "svm", "SVM", "svme", "SVME", "Vmrun", "vmrun", "Vmmcall", "Vmcall", "Vmlaunch", "Vmresume", "vmx",
    "Vmxon",
];

#[test]
fn what_runs_a_guest_names_no_vendor() {
    let mut complaints = Vec::new();
    for (name, text) in sources() {
        let Some(own) = name.strip_prefix("crates/cpu/src/") else { continue };
        if CHOOSERS.iter().any(|place| own.starts_with(place)) || own.ends_with("tests.rs") {
            continue;
        }
        let code = code(&text);
        let wrong = code.lines().filter(|line| words(line).any(|word| OF_A_VENDOR.contains(&word)));
        complaints.extend(wrong.map(|line| format!("{name} must not name a vendor: {}", line.trim())));
    }
    clean(complaints);
}

/// Files that ARCHITECTURE.md lets hold unsafe code: one path in backquotes a line, between the markers.
fn unsafe_files() -> Result<Vec<String>, String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).map_err(|_| {
        "ARCHITECTURE.md is missing: it names the files that may hold unsafe code".to_string()
    })?;
    let inside = text
        .split_once("<!-- unsafe:begin -->")
        .and_then(|(_, rest)| rest.split_once("<!-- unsafe:end -->"))
        .ok_or("ARCHITECTURE.md has no list between <!-- unsafe:begin --> and <!-- unsafe:end -->")?
        .0;
    Ok(inside.lines().filter_map(|l| l.split('`').nth(1)).map(str::to_string).collect())
}

fn holds_unsafe(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let code = !line.starts_with("//")
            && !line.contains("forbid(unsafe_code)")
            && !line.contains("deny(unsafe_code)");
        let words =
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "global_asm!", "allow(unsafe_code)"];
        code && words.iter().any(|w| line.contains(w)) && !line.contains('"')
    })
}

#[test]
fn unsafe_code_is_where_the_architecture_says() {
    let listed = unsafe_files().unwrap_or_else(|sentence| panic!("{sentence}"));
    let complaints = sources()
        .into_iter()
        .filter(|(name, text)| holds_unsafe(text) && !listed.contains(name))
        .map(|(name, _)| format!("{name} holds unsafe code and is not in ARCHITECTURE.md's list"));
    clean(complaints.collect());
}

#[test]
fn files_on_the_unsafe_list_exist_and_need_it() {
    let listed = unsafe_files().unwrap_or_else(|sentence| panic!("{sentence}"));
    let known: BTreeMap<_, _> = sources().into_iter().collect();
    let needless = |name: &&String| !known.get(*name).is_some_and(|text| holds_unsafe(text));
    clean(
        listed
            .iter()
            .filter(needless)
            .map(|n| format!("{n} is listed for unsafe code and has none"))
            .collect(),
    );
}

#[test]
fn every_file_with_unsafe_code_says_why() {
    let silent = |(_, text): &&(String, String)| holds_unsafe(text) && !text.contains("// UNSAFETY:");
    clean(
        sources()
            .iter()
            .filter(silent)
            .map(|(name, _)| format!("{name} has no `// UNSAFETY:` sentence"))
            .collect(),
    );
}

#[test]
fn every_crate_says_what_it_is() {
    let bare = |path: &PathBuf| {
        let text = ["src/lib.rs", "src/main.rs"].iter().find_map(|f| fs::read_to_string(path.join(f)).ok());
        !text.unwrap_or_default().starts_with("//!")
    };
    let complaints = crates().into_iter().filter(|(_, path)| bare(path));
    clean(complaints.map(|(name, _)| format!("crates/{name} does not open with //!")).collect());
}

#[test]
fn no_file_is_too_long() {
    let long = |(_, text): &&(String, String)| text.lines().count() > MOST_LINES;
    let found = sources();
    let complaints = found.iter().filter(long);
    clean(
        complaints
            .map(|(name, text)| format!("{name} has {} lines; split it", text.lines().count()))
            .collect(),
    );
}

#[test]
fn names_are_the_manuals_words() {
    let mut complaints = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !name.ends_with("tests/tidy.rs")) {
        for (n, line) in text.lines().enumerate() {
            if let Some(word) = bad_name(line) {
                complaints.push(format!("{name}:{}: {word}", n + 1));
            }
        }
    }
    clean(complaints);
}

/// Names of our own that decision 0007 has replaced everywhere: first cells of its table that say nothing besides.
fn replaced_names() -> HashSet<String> {
    let text = fs::read_to_string(root().join("docs/decisions/0007-names.md")).unwrap_or_default();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let everywhere = cells.filter(|cell| {
        let besides: String = cell.split('`').step_by(2).collect();
        besides.chars().all(|c| " ,".contains(c))
    });
    everywhere.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn no_name_that_was_replaced_comes_back() {
    let replaced = replaced_names();
    assert!(replaced.len() > 20, "{replaced:?}");
    let kinds = ["struct ", "enum ", "trait ", "type ", "fn ", "mod ", "const ", "static "];
    let mut complaints = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !name.ends_with("tests/tidy.rs")) {
        if let Some(file) = replaced.iter().find(|old| name.ends_with(&format!("/{old}"))) {
            complaints.push(format!("{name}: decision 0007 replaced {file}"));
        }
        let defined: HashSet<&str> = kinds.iter().flat_map(|kind| behind(text, kind)).collect();
        let again = replaced.iter().filter(|old| defined.contains(old.as_str()));
        complaints.extend(again.map(|old| format!("{name}: decision 0007 replaced {old}")));
    }
    clean(complaints);
}

/// Methods of other libraries' traits: `vm_memory::GuestMemory`'s.
const FOREIGN: &[&str] = &["get_slices"];

fn bad_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
    let (kind, rest) = rest.split_once(' ')?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    let vague = ["Manager", "Helper", "Util", "Common"].iter().any(|w| name.contains(w));
    let bad = match kind {
        "struct" | "enum" | "trait" | "type" => vague,
        "fn" => name.starts_with("get_") && !FOREIGN.contains(&name),
        _ => false,
    };
    bad.then_some(name)
}

#[test]
fn nothing_names_this_machine() {
    // Put together here, so that this file does not find itself.
    let places = [["/wo", "rk/"].concat(), ["/tmp/", "brief"].concat()];
    let mut complaints = Vec::new();
    for path in files(&root(), &[".rs", ".toml", ".md", ".sh", ".json", ".yml", "run"]) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if places.iter().any(|p| text.contains(p.as_str())) {
            complaints.push(format!("{} names a path of this machine", path.display()));
        }
    }
    clean(complaints);
}

/// What stands in backquotes and between the brackets of links, code blocks left out.
fn quoted(text: &str) -> Vec<String> {
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    });
    let prose = prose.collect::<Vec<_>>().join("\n");
    let quotes = prose.split('`').skip(1).step_by(2).map(str::to_string);
    let links =
        prose.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).map(str::to_string);
    quotes.chain(links).collect()
}

/// `a/{b,c}.rs` is two paths.
fn unfolded(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
        Some((head, (words, tail))) => {
            words.split(',').flat_map(|word| unfolded(&format!("{head}{word}{tail}"))).collect()
        }
        None => vec![path.to_string()],
    }
}

/// Whether words in a text are meant as a path of the tree.
fn is_path(words: &str) -> bool {
    let ending = [".rs", ".md", ".toml"].iter().any(|ending| words.ends_with(ending));
    let letters = words.chars().all(|c| c.is_ascii_alphanumeric() || "._/-{},*".contains(c));
    let elsewhere = words.starts_with('/') || words.starts_with("target/");
    letters && !elsewhere && (ending || words.contains('/'))
}

/// As texts shorten it: `cpu/mmu/walk.rs` is `crates/cpu/src/mmu/walk.rs`.
fn shortened(path: &str) -> String {
    path.replacen("/crates/", "/", 1).replacen("/src/", "/", 1)
}

#[test]
fn paths_that_texts_name_are_there() {
    let whole = |path: &PathBuf| {
        path.strip_prefix(root()).map(|path| format!("/{}", path.to_string_lossy())).unwrap_or_default()
    };
    let mut tree: Vec<String> = files(&root(), &[""]).iter().map(whole).collect();
    tree.extend(tree.iter().map(|path| shortened(path)).collect::<Vec<_>>());
    let there = |path: &str| {
        let wanted = format!("/{}", path.trim_end_matches('/'));
        let (file, below) = (format!("{wanted}.rs"), format!("{wanted}/"));
        tree.iter().any(|own| match wanted.split_once('*') {
            Some((head, tail)) => own.contains(head) && own.ends_with(tail),
            None => own.ends_with(&wanted) || own.ends_with(&file) || own.contains(&below),
        })
    };
    let mut complaints = Vec::new();
    for text in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let words = quoted(&fs::read_to_string(root().join(text)).unwrap_or_default());
        let paths = words.iter().filter(|words| is_path(words)).flat_map(|path| unfolded(path));
        complaints.extend(
            paths.filter(|path| !there(path)).map(|path| format!("{text} names {path}, which is not there")),
        );
    }
    clean(complaints);
}

#[test]
fn texts_name_the_least_rust_that_the_manifest_names() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap_or_default();
    let manifest = read("Cargo.toml");
    let least = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap_or_default();
    let least = least.trim_matches('"');
    let said =
        [("README.md", format!("Rust {least} or newer")), ("CONTRIBUTING.md", format!("cargo +{least}.0 "))];
    let complaints = said.iter().filter(|(text, words)| !read(text).contains(words));
    clean(complaints.map(|(text, words)| format!("{text} does not say {words}")).collect());
}

/// Functions, types and constants that CONTRIBUTING.md sends its reader to.
#[test]
fn names_that_the_guides_give_are_in_the_sources() {
    let is_name = |words: &String| {
        let first = words.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
        // A thread with its number, as `blkN` and `blkNqM`.
        let numbered = words.ends_with('N') && words.starts_with(|c: char| c.is_ascii_lowercase());
        let name = words.chars().all(|c| c.is_ascii_alphanumeric() || "_:.".contains(c));
        first && name && !is_path(words) && !numbered && !words.contains("NqM")
    };
    let known: HashSet<String> = sources()
        .iter()
        .filter(|(file, _)| !file.ends_with("tests/tidy.rs"))
        .flat_map(|(_, text)| words(text).map(str::to_string))
        .collect();
    let mut complaints = Vec::new();
    for guide in ["CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(guide)).unwrap_or_default();
        for name in quoted(&text).into_iter().filter(is_name) {
            let parts = name.split([':', '.']).filter(|part| !part.is_empty());
            let unknown = parts.filter(|part| !known.contains(*part));
            complaints
                .extend(unknown.map(|part| format!("{guide} names {name}, and no source names {part}")));
        }
    }
    clean(complaints);
}

/// The code of the product in a source: neither tests, nor examples, nor what is never shipped.
fn shipped<'a>(name: &str, text: &'a str) -> &'a str {
    let is_shipped = name.contains("/src/")
        && !name.starts_with("crates/lab/")
        && !name.contains("/tests/")
        && !name.ends_with("tests.rs");
    if is_shipped { text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default() } else { "" }
}

/// Standard output and error may be full, closed, or a pipe that nobody reads: the macros of std panic then.
#[test]
fn nothing_that_is_shipped_prints_by_macros_that_panic() {
    let panics = ["print!(", "println!(", "eprint!(", "eprintln!(", "dbg!("];
    let prints = |line: &str| {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || "_!(".contains(c)));
        !line.trim_start().starts_with("//")
            && words.into_iter().any(|word| panics.iter().any(|p| word.starts_with(p)))
    };
    let mut complaints = Vec::new();
    for (name, text) in sources() {
        let lines = shipped(&name, &text).lines().enumerate().filter(|(_, line)| prints(line));
        complaints
            .extend(lines.map(|(number, _)| format!("{name}:{}: use say! or out!, or write!", number + 1)));
    }
    clean(complaints);
}
