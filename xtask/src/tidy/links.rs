//! Links in our documents lead somewhere, and so do the promises: to a test that is there.

use super::{
    Finding,
    house::{File, House},
};

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let documents = house.files.iter().filter(|file| file.path.ends_with(".md"));
    let mut findings: Vec<Finding> = documents.flat_map(|file| check_file(house, file)).collect();
    findings.extend(promises(house));
    findings
}

fn check_file(house: &House, file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_block = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.starts_with("```") {
            in_block = !in_block;
        }
        let targets = targets(line).filter(|_| !in_block);
        for target in targets.filter(|target| !leads_somewhere(house, &file.path, target)) {
            let remedy = "Correct it, or write the page";
            findings.push(Finding::new(&file.path, index + 1, "link", format!("`{target}` is not there"), remedy));
        }
    }
    findings
}

/// What stands in `](…)`, where it is a path.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.match_indices("](").map(|(at, mark)| &line[at + mark.len()..]);
    let targets = ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

/// True where a file stands there, or below it.
fn leads_somewhere(house: &House, from: &str, target: &str) -> bool {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    let path = parts.join("/");
    let folder = format!("{path}/");
    // A file that is no text is not read, so it is looked for by its neighbours.
    path.is_empty() || house.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
}

/// Where each promise names what holds it.
const PROMISES: &str = "docs/promises.md";
/// Names of tests read as sentences: a shorter word in backticks is something else.
const NAME_MIN: usize = 18;

/// Tests that a promise names and nobody wrote.
fn promises(house: &House) -> Vec<Finding> {
    let Some(file) = house.file(PROMISES) else { return Vec::new() };
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2).filter(|name| is_test_name(name)) {
            let code = format!("fn {name}(");
            if !house.files.iter().any(|file| file.path.ends_with(".rs") && file.text.contains(&code)) {
                let what = format!("there is no test `{name}`");
                let remedy = "Name the test that holds the promise, or write *untested*";
                findings.push(Finding::new(PROMISES, index + 1, "promise", what, remedy));
            }
        }
    }
    findings
}

fn is_test_name(name: &str) -> bool {
    name.len() >= NAME_MIN && name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}
