//! Which crates, modules and methods see which, as ARCHITECTURE.md has it.

mod tree;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use tree::*;

/// Which crates a crate may see (design: dependencies point down the list only). What is not listed may see nothing.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("x86", &[]),
    ("vmcore", &["x86"]),
    ("translate", &["x86"]),
    ("nested", &["x86"]),
    ("cpu", &["x86", "vmcore", "translate", "nested"]),
    ("kvm", &["x86", "vmcore"]),
    ("devices", &["vmcore"]),
    ("storage", &["vmcore"]),
    ("nat", &["vmcore"]),
    ("net", &["vmcore"]),
    ("jail", &["vmcore"]),
    ("script", &[]),
    ("machine", &["x86", "vmcore", "cpu", "kvm", "devices", "storage"]),
    ("manage", &["x86", "vmcore", "storage", "nat", "net", "jail", "machine"]),
    ("cli", &["vmcore", "translate", "cpu", "nat", "net", "jail", "script", "machine", "manage"]),
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
            "nat",
            "net",
            "machine",
            "manage",
        ],
    ),
];

/// The layers of `cpu`, lowest first: a module may name modules of lower layers, and no other (design: the core's layers).
const LAYERS: [&[&str]; 22] = [
    &["processor", "host", "hash", "fault", "wake", "boundary", "single_copy"],
    &["tsc", "tuning", "signal", "xstate", "inspect", "pending", "siblings"],
    &["direct"],
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
    &["ferr", "lockstep", "saved", "direct_execution"],
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
    &["level", "vm", "image_command", "doctor", "run_args", "run_network", "manual"],
    &["agent", "nest", "run", "shell", "tree", "serve", "setup"],
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
    ("mmu/physical", &["mmu::walk", "single_copy"]),
    ("mmu/bank", &["hash", "direct"]),
    ("mmu/shared", &[]),
    ("code/jumps", &[]),
];

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

/// The paths that a `use` tree stands for: `a::{b, c::{d, e}}` is three. A glob ends in its star.
fn spread(tree: &str) -> Vec<String> {
    let path: String =
        tree.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '*')).collect();
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

/// The sources of a crate that keep to its layers: path inside, module, text. What is `exempt` is made for all of the crate.
fn layered(of: &str, exempt: &[&str]) -> Vec<(String, String, String)> {
    let below = format!("crates/{of}/src/");
    let inside = sources().into_iter().filter_map(|(name, text)| {
        let inside = name.strip_prefix(&below)?.to_owned();
        let test =
            inside.ends_with("tests.rs") || inside.contains("/tests/") || inside.ends_with("/bench.rs");
        let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        (!test && !exempt.contains(&inside.as_str())).then_some((inside, module, text))
    });
    inside.collect()
}

/// What of a crate does not keep to its layers.
fn upward_arrows(of: &str, layers: &[&[&str]], renamed: &[(&str, &str)], exempt: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, own, text) in layered(of, exempt) {
        let Some(at) = height(layers, &own) else {
            complaints.push(format!("{name} is in no layer of its crate"));
            continue;
        };
        let paths = named(&name, &text);
        // A glob of a module names the module; one of the crate brings in whatever there is.
        if paths.iter().any(|path| path == "*") {
            complaints.push(format!("{name} must say what it sees of the crate, instead of all"));
        }
        let seen: std::collections::BTreeSet<_> = paths
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

/// What a source calls its `Cpu`: parameters, fields and bindings of that type, by reference or not.
fn receivers(code: &str) -> std::collections::BTreeSet<&str> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let types = code.match_indices("Cpu").filter(|(at, _)| !code[at + 3..].starts_with(letter));
    let named = types.filter_map(|(at, _)| {
        let reference = code[..at].trim_end_matches(|c| letter(c) || c == ':');
        let reference = reference.strip_suffix("mut ").unwrap_or(reference);
        let lifetime = reference.trim_end_matches(' ').trim_end_matches(letter);
        let reference = lifetime.strip_suffix('\'').unwrap_or(reference);
        let name = reference.strip_suffix('&').unwrap_or(reference).strip_suffix(": ")?;
        Some(&name[name.trim_end_matches(letter).len()..])
    });
    named.filter(|name| !name.is_empty()).collect()
}

/// The methods that are called of a receiver, whatever it is a field of.
fn called_of<'a>(code: &'a str, receiver: &str) -> Vec<&'a str> {
    let word = format!("{receiver}.");
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let calls = code.match_indices(&word).filter(|(at, _)| !code[..*at].ends_with(letter));
    let calls = calls.map(|(at, _)| &code[at + word.len()..]);
    calls.map(|rest| &rest[..rest.find(|c| !letter(c)).unwrap_or(rest.len())]).collect()
}

#[test]
fn a_cpu_is_found_by_its_type() {
    let text = "fn up(c: &mut Cpu, d: &'a crate::cpu::Cpu) {}\nstruct A<'a> {\n    e: &'a mut crate::Cpu,\n    f: Cpu,\n}\n\
                fn not(g: &CpuSpec, h: u8) -> Cpu { self.f.above(); xf.not() }\nlet k: &Cpu = &x;";
    assert_eq!(receivers(text).into_iter().collect::<Vec<_>>(), ["c", "d", "e", "f", "k"]);
    assert_eq!(called_of(text, "f"), ["above"]);
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
        let called = [(&inside, "self."), (&inside, "Self::"), (&whole, "Cpu::")]
            .into_iter()
            .flat_map(|(code, word)| behind(code, word));
        let mut receivers = receivers(&whole);
        receivers.insert("cpu");
        let named = receivers.into_iter().flat_map(|receiver| called_of(&whole, receiver));
        let called: std::collections::BTreeSet<_> = called.chain(named).collect();
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

/// Methods of a type but `Cpu` that another module than its own has written, unless somebody else has one of that name.
fn methods_from_elsewhere(modules: &[(String, String, String)]) -> BTreeMap<String, String> {
    let homes: HashSet<(&str, &str)> = modules
        .iter()
        .flat_map(|(_, own, code)| {
            let types = ["struct ", "enum "].into_iter().flat_map(|kind| behind(code, kind));
            types.map(move |name| (name, own.as_str()))
        })
        .collect();
    let mut written: BTreeMap<String, Vec<(bool, String)>> = BTreeMap::new();
    for (_, own, code) in modules {
        let mut of = None;
        for line in code.lines() {
            if let Some(rest) = line.strip_prefix("impl ") {
                let name = rest.split([' ', '<', '{']).next().unwrap_or_default();
                of = (!rest.contains(" for ") && name != "Cpu").then_some(name);
            } else if line == "}" {
                of = None;
            }
            let method = line
                .split_once("fn ")
                .filter(|(before, _)| before.starts_with("    ") && !before.contains("//"));
            if let (Some(of), Some((_, rest))) = (of, method) {
                let name: String =
                    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let at_home = homes.contains(&(of, own)) || !homes.iter().any(|(name, _)| *name == of);
                written.entry(name).or_default().push((at_home, own.clone()));
            }
        }
    }
    let alone = written.into_iter().filter_map(|(name, by)| match &by[..] {
        [(false, module)] => Some((name, module.clone())),
        _ => None,
    });
    alone.collect()
}

#[test]
fn methods_that_an_upper_module_gives_a_lower_type_are_its_own() {
    let modules: Vec<_> = layered("cpu", &["lib.rs", "memory_functions.rs"])
        .into_iter()
        .map(|(name, own, text)| (name, own, code(&text)))
        .collect();
    let written = methods_from_elsewhere(&modules);
    assert!(written.len() > 10, "{written:?}");
    let mut complaints = Vec::new();
    for (name, own, code) in &modules {
        for (method, other) in written.iter().filter(|(_, other)| *other != own) {
            let above = height(&LAYERS, other) >= height(&LAYERS, own);
            if above && code.contains(&format!(".{method}(")) {
                complaints.push(format!("{name} must not call {method} of {other}, which lies no lower"));
            }
        }
    }
    clean(complaints);
}

#[test]
fn paths_are_found_in_lists_and_behind_super() {
    let text = "use crate::{a::{b, c::{d, e}}, f};\nuse super::super::g;\nuse super::{h, i::k};\nuse crate::*;\nuse super::{l, m::*};\n\
                #[cfg(test)]\nfn not() {\n    crate::x();\n}\nfn yes() {\n    crate::y::z();\n    // crate::w\n}\n\
                #[cfg(test)]\nmod tests {\n    use crate::v;\n}\n";
    let expected =
        ["a::b", "a::c::d", "a::c::e", "f", "*", "y::z", "g", "one::h", "one::i::k", "one::l", "one::m::*"];
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
