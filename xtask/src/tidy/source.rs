//! Each source file: it says what it is for, has a size that one can read, and leaves nothing undone.

use super::{
    Finding,
    house::{File, House, Plane},
};

const LINES_MAX: usize = 500;
/// Tests are lists of cases and may be longer.
const TEST_LINES_MAX: usize = 1_000;

/// Code of users, or standing for theirs: written as they would.
const NOT_OURS: &[&str] = &["examples/", "/templates/", "/fixtures/", "/tests/guests/"];

/// Macros that leave something undone or were left behind.
const LEFT_BEHIND: &[&str] = &["todo", "unimplemented", "dbg"];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let ours = |file: &&File| file.path.ends_with(".rs") && !is_foreign(&file.path);
    let mut findings: Vec<Finding> = house.files.iter().filter(ours).flat_map(check_file).collect();
    findings.extend(invariants(house));
    findings
}

fn is_foreign(path: &str) -> bool {
    // `examples/` of a crate of ours is ours.
    NOT_OURS.iter().any(|part| if part.starts_with('/') { path.contains(part) } else { path.starts_with(part) })
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add =
        |line, rule, what: String, remedy: &str| findings.push(Finding::new(&file.path, line, rule, what, remedy));
    let first = file.text.lines().next().unwrap_or_default();
    if first.strip_prefix("//!").is_none_or(|text| text.trim().is_empty()) {
        let remedy = "Begin it with one sentence that a newcomer understands";
        add(1, "first line", "the file does not begin with `//!` and what it is for".into(), remedy);
    }
    let (lines, max) = (file.text.lines().count(), lines_max(&file.path));
    if lines > max {
        add(
            max + 1,
            "size",
            format!("{lines} lines, {max} are the most"),
            "Find the second responsibility in it, and give that a file",
        );
    }
    for (index, line) in file.text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if let Some(name) = LEFT_BEHIND.iter().find(|name| calls(code, name)) {
            add(index + 1, "left behind", format!("`{name}!` is in the code"), "Finish it, or take it out");
        }
        if code.starts_with("#[ignore") && !code.contains("\"run by ") {
            let remedy = "Run it, or let the test that runs it stand in the reason: #[ignore = \"run by …\"]";
            add(index + 1, "skipped test", "a test that nobody runs can't fail".into(), remedy);
        }
    }
    findings
}

fn lines_max(path: &str) -> usize {
    let test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    if test { TEST_LINES_MAX } else { LINES_MAX }
}

fn calls(code: &str, name: &str) -> bool {
    let call = format!("{name}!(");
    code.match_indices(&call).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Each library of ours says what it does not know, and stands on the map.
fn invariants(house: &House) -> Vec<Finding> {
    let map = house.file("ARCHITECTURE.md").map(|file| file.text.as_str()).unwrap_or_default();
    let mut findings = Vec::new();
    for one in house.crates.iter().filter(|one| one.plane != Plane::Outside) {
        let path = format!("{}src/lib.rs", one.folder);
        if let Some(file) = house.file(&path)
            && !file.text.lines().any(|line| line.starts_with("//! **Invariant"))
        {
            let what = format!("{} states no **Invariant**", one.name);
            findings.push(Finding::new(
                &path,
                1,
                "invariant",
                what,
                "Say in its `//!` what is absent: what it does not know",
            ));
        }
        if !map.contains(&format!("`{}`", one.name)) {
            let what = format!("`{}` is not on the map in ARCHITECTURE.md", one.name);
            findings.push(Finding::new(&one.manifest_path(), 1, "map", what, "Give it a line there"));
        }
    }
    findings
}
