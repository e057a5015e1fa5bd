//! Scripts of our own wording with what PowerShell says of them. `== source` names the page or section the expectation is from, `> `
//! is the script, `< ` an answer to Read-Host; then the output follows, `! ` before the first line of an error.

use ireko_script::Interpreter;
use ireko_script::host::Terminal;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

const FILES: [(&str, &str); 8] = [
    ("numbers", include_str!("corpus/numbers.txt")),
    ("text", include_str!("corpus/text.txt")),
    ("collections", include_str!("corpus/collections.txt")),
    ("flow", include_str!("corpus/flow.txt")),
    ("functions", include_str!("corpus/functions.txt")),
    ("errors", include_str!("corpus/errors.txt")),
    ("types", include_str!("corpus/types.txt")),
    ("cmdlets", include_str!("corpus/cmdlets.txt")),
];

#[derive(Default)]
struct Case {
    source: String,
    line: usize,
    script: String,
    answers: VecDeque<String>,
    expected: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(source) = line.strip_prefix("== ") {
            all.push(Case { source: source.into(), line: at + 1, ..Case::default() });
            continue;
        }
        let Some(case) = all.last_mut() else { continue };
        if let Some(script) = line.strip_prefix("> ") {
            case.script += &format!("{script}\n");
        } else if let Some(answer) = line.strip_prefix("< ") {
            case.answers.push_back(answer.into());
        } else {
            case.expected += &format!("{line}\n");
        }
    }
    all
}

struct Person {
    said: Rc<RefCell<String>>,
    answers: VecDeque<String>,
}

impl Terminal for Person {
    fn output(&mut self, text: &str) -> bool {
        *self.said.borrow_mut() += text;
        true
    }
    fn error(&mut self, text: &str) {
        let first = text.lines().next().unwrap_or_default();
        *self.said.borrow_mut() += &format!("! {first}\n");
    }
    fn ask(&mut self, _: &str) -> Option<String> {
        self.answers.pop_front()
    }
}

fn said(case: &Case) -> String {
    let said = Rc::new(RefCell::new(String::new()));
    let person = Person { said: said.clone(), answers: case.answers.clone() };
    Interpreter::new(Box::new(person)).script(&case.script, "", &[]);
    said.take()
}

fn run(name: &str) {
    let (_, text) = FILES.iter().find(|(own, _)| *own == name).expect("a file of the corpus");
    let mut wrong = Vec::new();
    for case in cases(text) {
        let said = said(&case);
        if said.trim_end() != case.expected.trim_end() {
            wrong.push(format!(
                "{name}.txt:{} ({})\n{}expected:\n{}said:\n{said}",
                case.line, case.source, case.script, case.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn numbers_are_as_powershell_has_them() {
    run("numbers");
}

#[test]
fn text_is_as_powershell_has_it() {
    run("text");
}

#[test]
fn collections_are_as_powershell_has_them() {
    run("collections");
}

#[test]
fn statements_choose_and_repeat() {
    run("flow");
}

#[test]
fn functions_bind_and_stream() {
    run("functions");
}

#[test]
fn errors_are_told_and_caught() {
    run("errors");
}

#[test]
fn types_are_as_net_has_them() {
    run("types");
}

#[test]
fn cmdlets_work_on_any_objects() {
    run("cmdlets");
}

#[test]
fn every_case_names_its_source_and_its_script() {
    let all: Vec<Case> = FILES.iter().flat_map(|(_, text)| cases(text)).collect();
    assert!(all.len() >= 120, "{}", all.len());
    for case in all {
        assert!(!case.source.is_empty() && !case.script.is_empty(), "line {}", case.line);
    }
}
