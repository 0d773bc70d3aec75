//! `windows`: what the fleet's look costs with 100,000 functions of which 20,000 are called, and the memory that they take.
//!
//! Measured by an example of the fleet's crate, in a process of its own.

use crate::{
    options::workspace,
    report::{Report, Row},
};
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::process::Command;

/// The example's line.
#[derive(Deserialize)]
struct Line {
    functions: u64,
    active: u64,
    look_ms: f64,
    active_ns: f64,
    grown_mib: f64,
}

pub fn run() -> anyhow::Result<()> {
    let mut report = Report::new("windows");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--release", "--quiet", "--package", "mayfly-fleet", "--example", "windows"])
        .current_dir(workspace())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "the example failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("the example wrote no text")?;
    let line: Line = serde_json::from_str(text.trim()).context(text.clone())?;
    let of = format!("{} functions, {} active", line.functions, line.active);
    report.row(Row::new(format!("a look at all, {of}"), line.look_ms, "ms"));
    report.row(Row::new("a look at an active one, record and decision".to_owned(), line.active_ns, "ns"));
    report.row(Row::new(format!("memory, {of}"), line.grown_mib, "MiB"));
    report.finish()
}
