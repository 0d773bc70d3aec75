//! `routes`: what a lookup costs from 100 to 100,000 functions with routes, and how much memory each takes.
//!
//! The table is measured by an example of the gateway's crate, in a process of its own that counts what it allocates.

use crate::{
    options::workspace,
    report::{Report, Row},
};
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::process::Command;

/// A line of the example.
#[derive(Deserialize)]
struct Line {
    functions: u64,
    prefix_ns: f64,
    parameter_ns: f64,
    host_ns: f64,
    name_ns: f64,
    bytes_each: f64,
    build_ms: f64,
    change_us: f64,
}

pub fn run() -> anyhow::Result<()> {
    let mut report = Report::new("routes");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--release", "--quiet", "--package", "mayfly-gateway", "--example", "routes"])
        .current_dir(workspace())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "the example failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("the example wrote no text")?;
    let lines: Vec<Line> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context(text.clone())?;
    let first = lines.first().context("the example wrote nothing")?;
    for line in &lines {
        for (what, now, few) in [
            ("prefix", line.prefix_ns, first.prefix_ns),
            ("parameter", line.parameter_ns, first.parameter_ns),
            ("host", line.host_ns, first.host_ns),
            ("by name", line.name_ns, first.name_ns),
        ] {
            let row = Row::new(format!("lookup, {what}, {} functions", line.functions), now, "ns");
            report.row(row.against("100 functions", few, now / few));
        }
        report.row(Row::new(format!("memory each, {} functions", line.functions), line.bytes_each, "bytes"));
        report.row(Row::new(format!("whole table, {} functions", line.functions), line.build_ms, "ms"));
        report.row(Row::new(format!("one change, {} functions", line.functions), line.change_us, "µs"));
    }
    report.finish()
}
