//! Names that say nothing: where everything fits, nothing is found.

use super::{Finding, house::House};

const RULE: &str = "name";

/// Words that no crate, folder or module is called by.
const EMPTY: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "stuff"];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in &house.crates {
        if let Some(word) = empty(&one.name) {
            findings.push(finding(&one.manifest_path(), 1, &one.name, word));
        }
    }
    for file in house.files.iter().filter(|file| file.path.ends_with(".rs")) {
        let parts = file.path.trim_end_matches(".rs").split('/');
        for (part, word) in parts.filter_map(|part| Some((part, empty(part)?))) {
            findings.push(finding(&file.path, 1, part, word));
        }
        for (index, line) in file.text.lines().enumerate() {
            if let Some(name) = inline_module(line)
                && let Some(word) = empty(name)
            {
                findings.push(finding(&file.path, index + 1, name, word));
            }
        }
    }
    findings
}

fn finding(path: &str, line: usize, name: &str, word: &str) -> Finding {
    let what = format!("`{name}`: `{word}` says nothing about what is inside");
    Finding::new(path, line, RULE, what, "Name it after what it is for, or put its parts where they are used")
}

/// The word in a name that says nothing.
fn empty(name: &str) -> Option<&'static str> {
    let words = || name.split(['-', '_', '.']);
    EMPTY.iter().copied().find(|empty| words().any(|word| word == *empty))
}

/// `name` of `mod name {` with its body in the same file.
fn inline_module(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let rest = rest.strip_prefix("pub(crate) ").or_else(|| rest.strip_prefix("pub ")).unwrap_or(rest);
    rest.strip_prefix("mod ")?.strip_suffix(" {")
}
