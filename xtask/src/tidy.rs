//! `cargo xtask tidy`: holds what reviewers should not have to: the direction of crates, who owns which library,
//! names, sizes, and that nothing of one person's machine gets into the tree.
//!
//! Reading order: [`house`] reads the tree and its manifests; each further module is one family of rules, a table
//! first; [`report`] prints.

mod direction;
mod house;
mod links;
mod names;
mod owners;
mod places;
mod source;
mod workspace;

#[cfg(test)]
mod tests;

use anyhow::Result;
use house::House;
use std::{fmt, path::Path, process::ExitCode};

/// One fault: where, which rule, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    rule: &'static str,
    what: String,
    remedy: String,
}

impl Finding {
    fn new(file: &str, line: usize, rule: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, rule, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}. {}", self.file, self.line, self.rule, self.what, self.remedy)
    }
}

pub(crate) fn main(root: &Path) -> Result<ExitCode> {
    match report(root)? {
        0 => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Prints every finding, and how many there are.
pub(crate) fn report(root: &Path) -> Result<usize> {
    let findings = inspect(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: the house is in order"),
        count => println!("tidy: {count} findings"),
    }
    Ok(findings.len())
}

/// All findings in the tree at `root`, in the order of their places.
fn inspect(root: &Path) -> Result<Vec<Finding>> {
    let house = House::read(root)?;
    let rules =
        [direction::check, owners::check, workspace::check, names::check, source::check, places::check, links::check];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(&house)).collect();
    findings.sort();
    Ok(findings)
}
