//! Bench `cold`: for each language, from the deploy to the first byte, from nothing to the first byte, and warm.

use crate::{
    duel::median,
    folder,
    load::{Connection, get, percentile},
    options::Options,
    platform::Platform,
    report::{Report, Row},
};
use anyhow::ensure;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// Warm calls, one after the other.
const WARM: usize = 300;

/// A function, what it stands for, and a command that starts its interpreter and ends.
struct Case {
    name: &'static str,
    what: &'static str,
    bare: &'static [&'static str],
}

const CASES: [Case; 8] = [
    Case { name: "hello-node", what: "node, plain", bare: &["node", "-e", ""] },
    Case { name: "hello-python", what: "python, plain", bare: &["python3", "-c", ""] },
    Case { name: "hello-go", what: "go, plain", bare: &[] },
    Case { name: "hello-rust", what: "rust, plain", bare: &[] },
    Case {
        name: "hello-java",
        what: "java, plain",
        bare: &["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-version"],
    },
    Case { name: "shout", what: "command, a shell", bare: &["/bin/sh", "-c", ":"] },
    Case { name: "upstream", what: "static binary, http", bare: &[] },
    Case { name: "hello-wasm", what: "component", bare: &[] },
];

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("cold");
    let mut platform = Platform::start(&options.binary)?;
    let mut missing = Vec::new();
    let mut measured = Vec::new();
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        match deploy(&platform, case).await {
            Ok(deploy_ms) => measured.push((case, deploy_ms)),
            Err(error) => missing.push(format!("{}: {error:#}", case.what)),
        }
    }
    let mut cold_ms = vec![Vec::new(); measured.len()];
    let mut warm_us = vec![Vec::new(); measured.len()];
    let mut bare_ms = vec![Vec::new(); measured.len()];
    for _ in 0..options.rounds {
        platform.restart()?;
        let mut connection = Connection::open(&platform.gateway()?).await?;
        // The connection's own beginning is not the function's: nobody has this name.
        connection.call(&get("/nobody-has-this-name/")).await?;
        for (index, (case, _)) in measured.iter().enumerate() {
            cold_ms[index].push(first_byte(&mut connection, case.name).await? / 1e6);
            let mut nanos = Vec::new();
            for _ in 0..WARM {
                nanos.push(first_byte(&mut connection, case.name).await? as u32);
            }
            warm_us[index].push(percentile(&mut nanos, 0.5));
            if let Some(ms) = bare(case.bare)? {
                bare_ms[index].push(ms);
            }
        }
    }
    for (index, (case, deploy_ms)) in measured.iter().enumerate() {
        let (cold, bare) = (median(cold_ms[index].clone()), median(bare_ms[index].clone()));
        let row = Row::new(case.what, cold, "ms").spread(width(&cold_ms[index]));
        report.row(if bare.is_nan() { row } else { row.against("interpreter alone", bare, cold / bare) });
        report.row(Row::new(format!("{}: deploy to first byte", case.what), *deploy_ms, "ms"));
        report.row(Row::new(format!("{}: warm p50", case.what), median(warm_us[index].clone()), "µs"));
    }
    report.finish()?;
    ensure!(missing.is_empty(), "not measured:\n{}", missing.join("\n"));
    Ok(())
}

/// Milliseconds from the start of the command to the first byte of a call made right after it.
async fn deploy(platform: &Platform, case: &Case) -> anyhow::Result<f64> {
    let place = platform.place();
    let folder = match case.name {
        "upstream" => scale_to_zero(&folder::upstream(&place, "upstream")?)?,
        "hello-wasm" => folder::component(&place, case.name, None)?,
        name => folder::example(&place, name, "")?,
    };
    let begun = Instant::now();
    platform.deploy(&folder)?;
    platform.call(&format!("/{}/", case.name)).await?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    println!("  {:<22} deployed and called in {ms:.0} ms", case.what);
    Ok(ms)
}

fn scale_to_zero(folder: &Path) -> anyhow::Result<PathBuf> {
    let manifest = folder.join("mayfly.toml");
    let text = std::fs::read_to_string(&manifest)?;
    std::fs::write(&manifest, text.replace("min = 1", "min = 0"))?;
    Ok(folder.to_owned())
}

async fn first_byte(connection: &mut Connection, name: &str) -> anyhow::Result<f64> {
    let answer = connection.call(&get(&format!("/{name}/"))).await?;
    ensure!(answer.status == 200, "{name} answered {}: {}", answer.status, connection.text(answer));
    Ok(answer.first_byte.as_nanos() as f64)
}

/// Milliseconds of an interpreter that has nothing to do.
fn bare(command: &[&str]) -> anyhow::Result<Option<f64>> {
    let Some((program, args)) = command.split_first() else { return Ok(None) };
    let program = if *program == "python3" { python()? } else { program.into() };
    let begun = Instant::now();
    Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    Ok(Some(begun.elapsed().as_secs_f64() * 1e3))
}

/// Python itself: what stands in `PATH` may be a script that looks for it.
fn python() -> anyhow::Result<PathBuf> {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable, end='')"]).output()?;
    Ok(String::from_utf8(output.stdout)?.into())
}

fn width(values: &[f64]) -> f64 {
    let (low, high) = values.iter().fold((f64::MAX, 0.0_f64), |(low, high), ms| (low.min(*ms), high.max(*ms)));
    (high - low) / median(values.to_vec())
}
