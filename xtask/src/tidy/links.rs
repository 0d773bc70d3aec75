//! Links in our documents lead somewhere.

use super::{
    Finding,
    house::{File, House},
};

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let documents = house.files.iter().filter(|file| file.path.ends_with(".md"));
    documents.flat_map(|file| check_file(house, file)).collect()
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
