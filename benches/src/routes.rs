//! `routes`: what a lookup and a change cost from 100 to 100,000 functions with routes, how much memory each takes, and how
//! long a platform needs to start with all of them.
//!
//! The table is measured by an example of the gateway's crate, in a process of its own that counts what it allocates. The
//! platform's records are filled by an example of control's, through the registry's own releases.

use crate::{
    cpu::resident,
    folder,
    options::{Options, workspace},
    platform::Platform,
    report::{Report, Row},
};
use anyhow::{Context, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use std::{path::Path, process::Command, time::Instant};

const FUNCTIONS: u32 = 100_000;
/// Whose code they all have.
const CODE: &str = "code";
const MEMORY_GOAL: &str = "≤ 10 KB";

/// A line of the gateway's example.
#[derive(Deserialize)]
struct Line {
    functions: u64,
    lookups: Vec<Lookup>,
    bytes_each: f64,
    picture_bytes_each: f64,
    build_ms: f64,
    deploy_us: f64,
    create_us: f64,
}

#[derive(Deserialize)]
struct Lookup {
    by: String,
    all_ns: f64,
    hot_ns: f64,
}

/// What control's example says about reading the records.
#[derive(Deserialize)]
struct Loaded {
    functions: u64,
    open_ms: f64,
    picture_ms: f64,
    records_bytes: f64,
    picture_bytes: f64,
}

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("routes");
    if options.wants("lookup") {
        lookups(&mut report)?;
    }
    if options.wants("start") {
        start(&mut report, options).await?;
    }
    report.finish()
}

fn lookups(report: &mut Report) -> anyhow::Result<()> {
    let lines: Vec<Line> = example("mayfly-gateway", "routes", &[])?;
    let first = lines.first().context("the example wrote nothing")?;
    for line in &lines {
        let functions = line.functions;
        for (now, few) in line.lookups.iter().zip(&first.lookups) {
            for (which, now_ns, few_ns) in [("any", now.all_ns, few.all_ns), ("hot 1,000", now.hot_ns, few.hot_ns)] {
                let row = Row::new(format!("lookup by {}, {which}, {functions} functions", now.by), now_ns, "ns");
                report.row(row.against("100 functions", few_ns, now_ns / few_ns));
            }
        }
        report.row(Row::new(format!("gateway's memory each, {functions} functions"), line.bytes_each, "bytes"));
        report.row(Row::new(format!("picture's memory each, {functions} functions"), line.picture_bytes_each, "bytes"));
        report.row(Row::new(format!("whole table, {functions} functions"), line.build_ms, "ms"));
        for (what, now, few) in
            [("deploy", line.deploy_us, first.deploy_us), ("new function", line.create_us, first.create_us)]
        {
            let row = Row::new(format!("table after a {what}, {functions} functions"), now, "µs");
            report.row(row.against("100 functions", few, now / few));
        }
    }
    Ok(())
}

/// A platform with one function, and then with all of them.
async fn start(report: &mut Report, options: &Options) -> anyhow::Result<()> {
    let mut platform = Platform::start(&options.binary)?;
    platform.deploy(&folder::server(&platform.place(), CODE, &[], "concurrency = 100\n")?)?;
    platform.restart()?;
    let (few, memory_few) = (platform.started_in()?, resident(platform.pid()?)?);
    platform.stop();
    let records = platform.records();
    let db = records.to_str().context("a path that is no text")?;
    let begun = Instant::now();
    example::<Loaded>("mayfly-control", "seed", &[db, CODE, &FUNCTIONS.to_string()])?;
    println!("seeded in {:?}, {} MiB of records", begun.elapsed(), size(&records)? >> 20);
    let loaded: Vec<Loaded> = example("mayfly-control", "seed", &[db])?;
    let loaded = loaded.first().context("the example wrote nothing")?;
    ensure!(loaded.functions == u64::from(FUNCTIONS) + 1, "{} functions were read", loaded.functions);
    let each = |bytes: f64| bytes / f64::from(FUNCTIONS) / 1e3;
    report.row(Row::new(format!("records read, {FUNCTIONS} functions"), loaded.open_ms, "ms"));
    report.row(Row::new(format!("picture made, {FUNCTIONS} functions"), loaded.picture_ms, "ms"));
    report.row(Row::new(format!("records' memory each, {FUNCTIONS} functions"), each(loaded.records_bytes), "KB"));
    report.row(Row::new(format!("picture's memory each, {FUNCTIONS} functions"), each(loaded.picture_bytes), "KB"));
    platform.restart()?;
    let all = platform.started_in()?;
    let memory = resident(platform.pid()?)?.saturating_sub(memory_few) as f64;
    // They are there: by name, by a route and after a change.
    for path in [format!("/shop-{}/", FUNCTIONS - 1), "/users/7/shop-1".into(), "/api/v1/shop-3/x".into()] {
        platform.call(&path).await.with_context(|| format!("the call of {path}"))?;
    }
    report.row(Row::new(format!("start to serving, {FUNCTIONS} functions"), all.as_secs_f64(), "s").against(
        "one function",
        few.as_secs_f64(),
        all.as_secs_f64() / few.as_secs_f64(),
    ));
    report
        .row(Row::new(format!("platform's memory each, {FUNCTIONS} functions"), each(memory), "KB").goal(MEMORY_GOAL));
    let begun = Instant::now();
    platform.cli(&["alias", "set", "shop-7", "live", "1"]).await?;
    platform.cli(&["alias", "set", "shop-7", "other", "1"]).await?;
    report.row(Row::new(
        format!("two changes by the command line, {FUNCTIONS} functions"),
        begun.elapsed().as_secs_f64() * 1e3,
        "ms",
    ));
    platform.call("/other---shop-7/").await.map(drop)
}

fn size(file: &Path) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(file)?.len())
}

/// Runs a crate's example, and reads its lines of JSON.
fn example<T: DeserializeOwned>(package: &str, name: &str, args: &[&str]) -> anyhow::Result<Vec<T>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--release", "--quiet", "--package", package, "--example", name, "--"])
        .args(args)
        .current_dir(workspace())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "the example {name} failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("the example wrote no text")?;
    text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context(text.clone())
}
