//! The `handler` rows of bench `proxy`: the platform's own CPU for a call of a handler: by our bootstraps, and by the official clients.

use crate::{
    duel::{self, Side},
    folder,
    load::get,
    options::Options,
    platform::Platform,
    report::Report,
    yardstick::{self, Yardstick},
};
use anyhow::bail;

/// Instances, and connections that keep all of them busy.
pub const MANY: usize = 8;

/// Example, what it stands for, goal in µs of the platform's CPU.
const HANDLERS: [(&str, &str, &str); 6] = [
    ("hello-node", "node, plain", "≤ 15 µs"),
    ("hello-python", "python, plain", "≤ 15 µs"),
    ("ric-python", "python, awslambdaric", "≤ 30 µs"),
    ("ric-node", "node, aws-lambda-ric", "≤ 30 µs"),
    ("hello-go", "go, aws-lambda-go", "≤ 30 µs"),
    ("hello-rust", "rust, lambda_runtime", "≤ 30 µs"),
];

pub async fn run(report: &mut Report, options: &Options) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (example, what, goal) in HANDLERS {
        if !options.wants(example) {
            continue;
        }
        // One at a time: idle runtimes poll and collect garbage.
        if let Err(error) = measure(report, options, example, what, goal).await {
            missing.push(format!("{what}: {error:#}"));
        }
    }
    anyhow::ensure!(missing.is_empty(), "not measured:\n{}", missing.join("\n"));
    Ok(())
}

async fn measure(report: &mut Report, options: &Options, example: &str, what: &str, goal: &str) -> anyhow::Result<()> {
    let platform = deployed(&options.binary, example).await?;
    let other = match &options.against {
        Some(binary) => Some(deployed(binary, example).await?),
        None => None,
    };
    let ours = side(what, &platform, example)?;
    let other = other.as_ref().map(|platform| side("other build", platform, example)).transpose()?;
    let yardstick = Yardstick::start()?;
    let bare = yardstick.side();
    let mut sides = vec![&ours, &bare];
    sides.extend(&other);
    for connections in [MANY, 1] {
        let rounds = duel::run(&sides, connections, options).await?;
        let [own, bare, others @ ..] = rounds.as_slice() else { bail!("no rounds") };
        // The row that the promise names has no suffix.
        let name = if connections == MANY { what.to_owned() } else { format!("{what}, c={connections}") };
        let row = own.row(format!("cpu per call, {name}"), "µs", yardstick::NAME, bare, duel::cpu);
        report.row(if connections == MANY { row.goal(goal) } else { row });
        report.row(own.row(format!("p50, {name}"), "µs", yardstick::NAME, bare, duel::p50));
        for other in others {
            report.row(own.row(format!("cpu per call, {name}"), "µs", "other build", other, duel::cpu));
        }
    }
    Ok(())
}

pub async fn deployed(binary: &std::path::Path, example: &str) -> anyhow::Result<Platform> {
    let platform = Platform::start(binary)?;
    let scale = format!("[scale]\nmin = {MANY}\nmax = {MANY}\n");
    platform.deploy(&folder::example(&platform.place(), example, &scale)?)?;
    platform.wait_ready(example, MANY).await?;
    platform.call(&format!("/{example}/")).await?;
    Ok(platform)
}

fn side(name: &str, platform: &Platform, example: &str) -> anyhow::Result<Side> {
    let (address, meter) = (platform.gateway()?, Some(platform.meter()?));
    Ok(Side { name: name.into(), address, request: get(&format!("/{example}/")), meter })
}
