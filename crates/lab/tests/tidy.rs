//! What the design says about the tree, checked; which parts see which is in `layers.rs`.

mod tree;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use tree::*;

const MOST_LINES: usize = 800;

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

/// Where a VMCB is known: its layout, the half of `nested` that owns it, and the instructions that name one.
const OF_SVM: [&str; 3] = ["crates/x86/src/vmcb.rs", "crates/nested/src/svm/", "crates/cpu/src/svm.rs"];

#[test]
fn only_svm_knows_what_a_vmcb_is() {
    const WORDS: [&str; 8] =
        ["vmcb", "Vmcb", "VMCB", "exitcode", "npf", "EXITINFO1", "EXITINTINFO", "EVENTINJ"];
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

/// Words of our own that name nothing any more, whatever case they are in. (What decision 0007 has replaced in one place, and what is
/// a word of the field's in others, is not among them.)
const REPLACED: [&str; 34] = [
    "bell",
    "leap",
    "depart",
    "mixer",
    "mixing",
    "happening",
    "keeper",
    "wish",
    "wishes",
    "surroundings",
    "doors",
    "nursery",
    "grave",
    "penance",
    "orders",
    "manner",
    "twin",
    "lone",
    "straight",
    "departures",
    "attend",
    "attended",
    "settle",
    "settles",
    "settled",
    "settling",
    "memory_settling",
    "aside",
    "ending",
    "ireko_system_ending",
    "hang",
    "rung",
    "silicon",
    "router_inside",
];

/// Types that were many of one name, and how many there are.
const ONE_THING: [(&str, usize); 3] = [("Place", 0), ("World", 1), ("State", 2)];

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

/// The names that a line defines: items, fields, variants and bindings.
fn defined(line: &str) -> Option<&str> {
    let mut words =
        line.trim_start().split([' ', '(', '<', ':', ',', '{', '=']).filter(|word| !word.is_empty());
    let mut first = words.next()?;
    while matches!(first, "pub" | "crate)" | "super)" | "const" | "static" | "unsafe" | "mut") {
        first = words.next()?;
    }
    match first {
        "fn" | "struct" | "enum" | "trait" | "type" | "mod" | "let" => words.next(),
        _ => Some(first),
    }
}

#[test]
fn words_of_our_own_name_nothing() {
    let mut complaints = Vec::new();
    for (name, text) in sources() {
        let code = shipped(&name, &text);
        for name_there in code.lines().filter(|line| !line.trim_start().starts_with("//")).filter_map(defined)
        {
            if REPLACED.contains(&name_there.to_ascii_lowercase().as_str()) {
                complaints.push(format!(
                    "{name}: {name_there} is a word of our own; docs/decisions/0007-names.md has another"
                ));
            }
        }
    }
    clean(complaints);
}

#[test]
fn a_word_that_named_many_things_names_one() {
    let types = ["struct ", "enum ", "trait "];
    let sources = sources();
    let mut complaints = Vec::new();
    for (word, most) in ONE_THING {
        let defines = |(name, text): &&(String, String)| {
            types.iter().any(|kind| behind(shipped(name, text), kind).any(|name| name == word))
        };
        let files: Vec<_> = sources.iter().filter(defines).map(|(name, _)| name.as_str()).collect();
        if files.len() > most {
            complaints.push(format!("{} types are called {word}: {}", files.len(), files.join(", ")));
        }
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
